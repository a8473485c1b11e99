//! The pairing of checks with controls is the project's own: what is written in the program is
//! what was decided.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use palisade_scan::config::catalogue::ROWS;

fn set<'a>(ids: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    ids.into_iter().collect()
}

fn table() -> Option<String> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    #[expect(clippy::disallowed_methods, reason = "tests have no settings to read it from")]
    let shared = std::env::var_os("PALISADE_SHARED").unwrap_or_else(|| default.into());
    std::fs::read_to_string(PathBuf::from(shared).join("research/check-catalogue.tsv")).ok()
}

#[test]
fn controls_are_those_of_the_catalogue() {
    let Some(table) = table() else {
        eprintln!("skipped: the catalogue is absent; set PALISADE_SHARED");
        return;
    };
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let column = |name: &str| names.iter().position(|found| *found == name).unwrap();
    let (docker, kubernetes, nist) =
        (column("cis_docker_1.6"), column("cis_k8s_1.12"), column("nist_800_190"));
    let rows: BTreeMap<&str, Vec<&str>> = lines
        .map(|line| line.split('\t').collect::<Vec<&str>>())
        .filter(|cells| cells.len() > nist)
        .map(|cells| (cells[0], cells))
        .collect();
    assert!(rows.len() > 80, "{}", rows.len());
    let mut differences = Vec::new();
    for row in ROWS {
        let Some(cells) = rows.get(row.id) else {
            differences.push(format!("{}: not in the catalogue", row.id));
            continue;
        };
        for (column, ours) in
            [(docker, row.cis_docker), (kubernetes, row.cis_kubernetes), (nist, row.nist_800_190)]
        {
            let (theirs, ours) = (set(cells[column].split_whitespace()), set(ours.iter().copied()));
            if theirs != ours {
                let name = names[column];
                differences.push(format!("{} {name}: {ours:?}, catalogue {theirs:?}", row.id));
            }
        }
    }
    let known = set(ROWS.iter().map(|row| row.id));
    differences
        .extend(rows.keys().filter(|id| !known.contains(*id)).map(|id| format!("{id}: no row")));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The controls of the Pod Security Standards, by level, as the standard names them.
const POD_SECURITY: [(&str, &[&str]); 2] = [
    (
        "Baseline",
        &[
            "HostProcess",
            "Host Namespaces",
            "Privileged Containers",
            "Capabilities",
            "HostPath Volumes",
            "Host Ports",
            "Host Probes / Lifecycle Hooks",
            "AppArmor",
            "SELinux",
            "/proc Mount Type",
            "Seccomp",
            "Sysctls",
        ],
    ),
    (
        "Restricted",
        &[
            "Volume Types",
            "Privilege Escalation",
            "Running as Non-root",
            "Running as Non-root user",
            "Seccomp",
            "Capabilities",
        ],
    ),
];

#[test]
fn controls_of_the_pod_security_standards_are_in_the_standard() {
    let mut n = 0;
    for row in ROWS {
        for control in row.pod_security {
            let (level, name) = control.split_once(": ").unwrap_or(("", control));
            let is_known = POD_SECURITY.iter().any(|(known, names)| {
                known.eq_ignore_ascii_case(level)
                    && names.iter().any(|known| known.eq_ignore_ascii_case(name))
            });
            assert!(is_known, "{}: {control}", row.id);
            n += 1;
        }
    }
    assert!(n > 10, "{n}");
}

/// The chapters of the NSA/CISA Kubernetes Hardening Guide, 1.2, that say what to do.
const HARDENING_GUIDE: [&str; 5] = [
    "Kubernetes Pod security",
    "Network separation and hardening",
    "Authentication and authorization",
    "Audit Logging and Threat Detection",
    "Upgrading and application security practices",
];

#[test]
fn sections_of_the_hardening_guide_are_in_the_guide() {
    let named = || ROWS.iter().flat_map(|row| row.nsa_cisa.iter().copied());
    let unknown: Vec<&str> = named().filter(|name| !HARDENING_GUIDE.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(set(named()), set(HARDENING_GUIDE), "a chapter that nothing is about");
}
