//! `palisade trust add` and `trust rotate`: rules of a policy's file, changed line by line.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use palisade_base::{Timestamp, read_bounded};
use palisade_policy::TrustRule;
use palisade_policy::edit::{self, EditError, Rotation};
use palisade_policy::load::FILE_BYTES_MAX;
use palisade_runtime::install::unified_diff;

use super::Context;
use super::policy::print_problems;
use super::sign::read_key;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// How long both keys count, unless told otherwise.
const OVERLAP: Duration = Duration::from_hours(30 * 24);

/// A policy's file.
struct Policy {
    path: PathBuf,
    folder: PathBuf,
    mode: u32,
    text: String,
}

impl Policy {
    fn read(path: &Path) -> Result<Self, Failure> {
        let read = || {
            // Files are named from where the policy is used, which may be a link's folder.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = std::fs::canonicalize(folder.unwrap_or(Path::new(".")))?;
            // What a link leads to is changed, not the link.
            let path = std::fs::canonicalize(path)?;
            let file = File::open(&path)?;
            let mode = file.metadata()?.permissions().mode() & 0o777;
            let bytes = read_bounded(file, "policy", FILE_BYTES_MAX)?;
            let text = String::from_utf8(bytes).context("it is not UTF-8")?;
            anyhow::Ok(Self { path, folder, mode, text })
        };
        read().with_context(|| format!("read policy `{}`", path.display())).map_err(|error| {
            Failure::message(Exit::Usage, format!("{error:#}"))
                .with_hint("name a policy's file; `palisade policy init` writes one")
        })
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// A key as the policy names it: from its own folder where that holds it.
    fn key(&self, path: &Path) -> Result<PathBuf, Failure> {
        read_key(path)?;
        let real = std::fs::canonicalize(path)
            .with_context(|| format!("find key `{}`", path.display()))?;
        Ok(real.strip_prefix(&self.folder).map(Path::to_path_buf).unwrap_or(real))
    }

    /// Writes the changed text, or shows what would be changed.
    fn change(
        &self,
        context: &Context<'_>,
        changed: Result<String, EditError>,
        dry_run: bool,
    ) -> Result<Exit, Failure> {
        let changed = match changed {
            Ok(changed) => changed,
            Err(error) => {
                if let EditError::Invalid(error) | EditError::Refused(error) = &error {
                    print_problems(context, error);
                }
                return Err(error).or_exit(Exit::Usage);
            }
        };
        let name = self.shown();
        if !dry_run {
            palisade_base::fs::write_atomic(&self.path, changed.as_bytes(), self.mode)
                .with_context(|| format!("write policy `{name}`"))?;
        }
        context.terminal.result(&unified_diff(&name, &name, &self.text, &changed))?;
        Ok(Exit::Clean)
    }
}

/// Adds a rule.
pub(super) fn add(context: &Context<'_>, args: &cli::TrustAdd) -> Result<Exit, Failure> {
    let policy = Policy::read(&args.policy)?;
    let keys = args.key.iter().map(|path| policy.key(path)).collect::<Result<Vec<_>, _>>()?;
    let rule = TrustRule {
        name: args.name.clone(),
        images: args.images.clone(),
        keys,
        subject: args.subject.clone().unwrap_or_default(),
        issuer: args.issuer.clone().unwrap_or_default(),
        openpubkey: PathBuf::new(),
        notary: PathBuf::new(),
        signers_min: args.signers_min,
        from: args.from.clone().unwrap_or_default(),
        until: args.until.clone().unwrap_or_default(),
    };
    let changed = edit::add(&policy.text, &policy.shown(), &policy.folder, &rule);
    policy.change(context, changed, args.dry_run)
}

/// Replaces a key of a rule.
pub(super) fn rotate(context: &Context<'_>, args: &cli::TrustRotate) -> Result<Exit, Failure> {
    let policy = Policy::read(&args.policy)?;
    let day = |time: Timestamp| time.rfc3339().split('T').next().unwrap_or_default().to_string();
    let from = args.from.clone().unwrap_or_else(|| day(Timestamp::now()));
    let until = if let Some(until) = &args.until {
        until.clone()
    } else {
        let first: Timestamp = format!("{from}T00:00:00Z").parse().map_err(|_| {
            Failure::message(Exit::Usage, format!("`{from}` is not a day"))
                .with_hint("write year, month and day: 2027-06-30")
        })?;
        let overlap = u64::try_from(OVERLAP.as_nanos()).unwrap_or(0);
        day(Timestamp::from_nanos(first.as_nanos().saturating_add(overlap)))
    };
    if until < from {
        let message = format!("the old key would end ({until}) before the new one begins ({from})");
        return Err(Failure::message(Exit::Usage, message)
            .with_hint("let their days overlap, so that no day is without a key"));
    }
    let rotation = Rotation {
        rule: args.rule.clone(),
        old: args.old.as_ref().map(|path| {
            // It may be gone from the disk.
            policy.folder.join(std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()))
        }),
        new: policy.key(&args.new)?.to_string_lossy().into_owned(),
        name: args.name.clone().unwrap_or_else(|| format!("{}-{from}", args.rule)),
        from,
        until,
    };
    let changed = edit::rotate(&policy.text, &policy.shown(), &policy.folder, &rotation);
    policy.change(context, changed, args.dry_run)
}
