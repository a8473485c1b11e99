//! `palisade harden lxc`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use palisade_harden::lxc::{
    CONFIG_BYTES_MAX, LxcFacts, LxcHardened, Usernet, harden_lxc, harden_usernet,
};
use palisade_runtime::{IdLedger, IdSpace};
use serde_json::json;

use crate::cli::{self, ListFormat};
use crate::commands::Context;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, tsv};

/// Where the kernel has a setting of each interface.
const SETTINGS: &str = "/proc/sys/net/ipv6/conf";
/// Interfaces of this machine that are looked at.
const INTERFACES_MAX: usize = 4096;

/// Audits a configuration, and writes it anew if that is asked for.
pub(super) fn harden(context: &Context<'_>, args: &cli::HardenLxc) -> Result<Exit, Failure> {
    let policy = context.load_policy(&args.policy)?.policy;
    let text = read(&args.config)
        .with_context(|| format!("read `{}`", args.config.display()))
        .map_err(|error| {
            Failure::from(error)
                .with_hint("name a container's configuration, such as /var/lib/lxc/NAME/config")
        })?;
    let facts = facts(context, args)?;
    let hardened = harden_lxc(&text, &policy.containers, &facts).or_exit(Exit::Incomplete)?;
    // Without the file nobody but root may have any.
    let before = read(&args.usernet).unwrap_or_default();
    let usernet = harden_usernet(&before).or_exit(Exit::Incomplete)?;
    show(context, args, &text, &hardened, &usernet)?;
    if args.in_place && hardened.config != text {
        write(context, args, &facts, &hardened)?;
    }
    if args.usernet_in_place && usernet.text != before {
        let path = &args.usernet;
        palisade_base::fs::write_atomic(path, usernet.text.as_bytes(), 0o644)
            .with_context(|| format!("write `{}`", path.display()))?;
        context.terminal.progress(&format!("wrote {}", path.display()));
    }
    Ok(Exit::Clean)
}

fn read(path: &Path) -> std::io::Result<String> {
    let limit = u64::try_from(CONFIG_BYTES_MAX).unwrap_or(u64::MAX);
    let bytes = palisade_base::read_bounded(std::fs::File::open(path)?, "configuration", limit)?;
    String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8"))
}

/// The file beside the configuration that ends in `.SUFFIX`.
fn beside(config: &Path, suffix: &str) -> PathBuf {
    let mut name = config.as_os_str().to_os_string();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn facts(context: &Context<'_>, args: &cli::HardenLxc) -> Result<LxcFacts, Failure> {
    let config = std::path::absolute(&args.config).context("find the configuration")?;
    let folder = config.parent().and_then(Path::file_name);
    let folder = folder.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let first_id = match args.first_id {
        Some(first) => first,
        None => ledger(context).next().or_exit(Exit::Incomplete)?.first,
    };
    let mut accept_ra = BTreeMap::new();
    let entries = std::fs::read_dir(SETTINGS).into_iter().flatten().flatten();
    for entry in entries.take(INTERFACES_MAX) {
        let value = std::fs::read_to_string(entry.path().join("accept_ra"));
        if let Some(value) = value.ok().and_then(|text| text.trim().parse().ok()) {
            accept_ra.insert(entry.file_name().to_string_lossy().into_owned(), value);
        }
    }
    // What newuidmap and newgidmap read, where LXC finds them.
    let given = |program: &str, file: &str| {
        let found = ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"];
        let is_there = found.iter().any(|folder| Path::new(folder).join(program).is_file());
        match is_there.then(|| read(Path::new(file))) {
            // Nothing is given.
            Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Some(String::new()))
            }
            text => text.transpose().with_context(|| format!("read `{file}`")),
        }
    };
    Ok(LxcFacts {
        subuid: given("newuidmap", "/etc/subuid")?,
        subgid: given("newgidmap", "/etc/subgid")?,
        name: args.name.clone().unwrap_or(folder),
        first_id,
        seccomp_path: beside(&config, "seccomp").display().to_string(),
        accept_ra,
    })
}

fn ledger(context: &Context<'_>) -> IdLedger {
    IdLedger::new(crate::commands::run::paths(context).ledger(), IdSpace::of_this_machine())
}

/// Writes the configuration last: it names the others.
fn write(
    context: &Context<'_>,
    args: &cli::HardenLxc,
    facts: &LxcFacts,
    hardened: &LxcHardened,
) -> Result<(), Failure> {
    if args.first_id.is_none() && hardened.config.contains(&format!("0 {} ", facts.first_id)) {
        let ledger_path = crate::commands::run::paths(context).ledger();
        if let Some(folder) = ledger_path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("create `{}`", folder.display()))?;
        }
        let config = std::path::absolute(&args.config).context("find the configuration")?;
        let range = ledger(context).allocate(&config).or_exit(Exit::Incomplete)?;
        if range.first != facts.first_id {
            let message = "another container took the ids meanwhile";
            return Err(Failure::message(Exit::Incomplete, message).with_hint("call it again"));
        }
    }
    let files = [
        ("seccomp", &hardened.seccomp, "the closed system calls"),
        ("nft", &hardened.filter, "load it when the container starts: nft -f"),
        ("sysctl", &hardened.sysctl, "copy it to /etc/sysctl.d"),
        ("subids", &hardened.subids, "append it to /etc/subuid and /etc/subgid"),
    ];
    for (suffix, text, what) in files {
        if text.is_empty() {
            continue;
        }
        let path = beside(&args.config, suffix);
        palisade_base::fs::write_atomic(&path, text.as_bytes(), 0o644)
            .with_context(|| format!("write `{}`", path.display()))?;
        context.terminal.progress(&format!("wrote {}: {what}", path.display()));
    }
    let config = &args.config;
    palisade_base::fs::write_atomic(config, hardened.config.as_bytes(), 0o644)
        .with_context(|| format!("write `{}`", config.display()))?;
    context.terminal.progress(&format!("wrote {}", config.display()));
    Ok(())
}

fn show(
    context: &Context<'_>,
    args: &cli::HardenLxc,
    before: &str,
    hardened: &LxcHardened,
    usernet: &Usernet,
) -> Result<(), Failure> {
    let all = hardened.findings.iter().chain(&usernet.findings);
    let level =
        |finding: &palisade_harden::lxc::LxcFinding| format!("{:?}", finding.level).to_lowercase();
    let row = |finding: &palisade_harden::lxc::LxcFinding| {
        let line = if finding.line == 0 { "-".into() } else { finding.line.to_string() };
        vec![
            level(finding),
            line,
            finding.key.clone(),
            finding.message.clone(),
            finding.fix.clone(),
        ]
    };
    let text = match args.format {
        _ if args.diff => {
            let name = args.config.display().to_string();
            let other = format!("{name} (hardened)");
            palisade_runtime::install::unified_diff(&name, &other, before, &hardened.config)
        }
        ListFormat::Json => {
            let document = json!({
                "schema": "palisade.dev/harden-lxc/v1",
                "findings": hardened.findings,
                "usernet": usernet.findings,
                "subids": hardened.subids,
                "config": hardened.config,
                "seccomp": hardened.seccomp,
                "filter": hardened.filter,
                "sysctl": hardened.sysctl,
            });
            format!("{document:#}\n")
        }
        ListFormat::Tsv => tsv(&all.map(row).collect::<Vec<_>>()),
        ListFormat::Table => {
            let rows: Vec<_> = all.map(row).collect();
            columns(&["LEVEL", "LINE", "KEY", "WHAT IT OPENS", "INSTEAD"], &rows)
        }
    };
    context.terminal.result(&text)
}
