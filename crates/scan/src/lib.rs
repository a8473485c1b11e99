//! Advisories, matching, secrets, dangerous files, reports.
