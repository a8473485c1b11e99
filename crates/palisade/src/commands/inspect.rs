//! `palisade inspect`: what a running container may do, what that exposes, what closes it.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use palisade_runtime::inspect::{Exposure, Held, Inspection, Level, exposures};
use palisade_runtime::oci::{Confinement, Settings};
use palisade_sensor::identity::Facts;
use serde_json::json;

use super::Context;
use super::container::find;
use super::image::named_stores;
use crate::cli::{self, InspectFormat};
use crate::exit::{Exit, Failure, OrExit as _};

/// Mounts and devices that are shown as text; JSON has all.
const SHOWN_MAX: usize = 24;

/// Looks at a container.
pub(crate) fn inspect(context: &Context<'_>, args: &cli::Inspect) -> Result<Exit, Failure> {
    let stores = named_stores(context, &args.store)?;
    let (facts, pid) = find(context, &args.container, &stores)?;
    let found = Inspection::of(pid).or_exit(Exit::Incomplete)?;
    // That it cannot be read says nothing about the container.
    let settings = Settings::read(&args.config).unwrap_or_default();
    let confinement = Confinement::read(&settings.state, &facts.full_id);
    let held = held(&facts, confinement.as_ref());
    let exposures = exposures(&found, held);
    let text = match args.format {
        InspectFormat::Json => {
            let document = json!({
                "schema": "palisade.dev/inspect/v1",
                "container": *facts.container,
                "confinement": confinement,
                "found": found,
                "exposures": exposures,
            });
            format!("{document:#}\n")
        }
        InspectFormat::Text => {
            let confined = confined(&facts, confinement.as_ref(), held);
            text(context, &facts, &found, confined, &exposures)
        }
    };
    context.terminal.result(&text)?;
    Ok(if found.unknown.is_empty() { Exit::Clean } else { Exit::Partial })
}

fn list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    if items.is_empty() { "none".into() } else { items.join(" ") }
}

fn text(
    context: &Context<'_>,
    facts: &Facts,
    it: &Inspection,
    confined: String,
    exposures: &[Exposure],
) -> String {
    let mut out = String::new();
    let container = &facts.container;
    let bold = |text: &str| context.terminal.paint(Style::new().bold(), text);
    let name = if container.name.is_empty() { facts.id.as_str() } else { &container.name };
    let _ = writeln!(out, "{}", bold(&format!("{name} ({}, {})", facts.id, facts.type_name)));
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<16} {value}");
    };
    if !facts.image.is_empty() {
        row("image", facts.image.clone());
    }
    row("confined by", confined);
    row("first process", it.pid.to_string());
    let inside = it.users.uid_inside.map_or_else(|| "?".into(), |uid| uid.to_string());
    let outside = match it.users.uid {
        0 => "root of the host".to_string(),
        uid => format!("{uid} on the host"),
    };
    row("user", format!("{inside} inside, {outside}"));
    let capabilities = &it.capabilities;
    row("capabilities", list(&capabilities.effective));
    if capabilities.bounding != capabilities.effective {
        row("  may gain", list(&capabilities.bounding));
    }
    row("new privileges", if it.no_new_privileges { "no" } else { "can be gained" }.into());
    let filters = match it.n_seccomp_filters {
        0 => String::new(),
        n => format!(" ({n} filter(s))"),
    };
    row("system calls", format!("{}{filters}", it.seccomp));
    let label = it.security_label.clone().unwrap_or_else(|| "none".into());
    row(
        "security module",
        if it.mandatory { label } else { format!("{label} (not in this kernel)") },
    );
    let kinds = |host: bool| -> Vec<&str> {
        it.namespaces.iter().filter(|n| n.host == host).map(|n| n.kind).collect()
    };
    row("own namespaces", list(&kinds(false)));
    row("the host's", list(&kinds(true)));
    row("root", if it.read_only_root { "read-only" } else { "writable" }.into());
    let limit =
        |value: Option<u64>, unit: &str| value.map_or("none".into(), |n| format!("{n}{unit}"));
    let limits = &it.limits;
    row(
        "limits",
        format!(
            "memory {}, processes {}, processor {}, open files {}, core {}",
            limit(limits.memory_bytes, " bytes"),
            limit(limits.pids, ""),
            limit(limits.cpu_millis, " thousandths"),
            limit(limits.open_files, ""),
            limit(limits.core_bytes, " bytes"),
        ),
    );
    let from_host = it.mounts.iter().filter(|mount| mount.host.is_some() && !mount.engine);
    let mut n_mounts = 0;
    for mount in from_host {
        n_mounts += 1;
        if n_mounts > SHOWN_MAX {
            continue;
        }
        let how = if mount.writable { "writable" } else { "read-only" };
        let host = mount.host.as_deref().unwrap_or_default();
        row("mount", format!("{} is {host} of the host, {how}", mount.destination));
    }
    if n_mounts > SHOWN_MAX {
        row("", format!("and {} more mounts (--format json)", n_mounts - SHOWN_MAX));
    }
    for device in it.devices.iter().take(SHOWN_MAX) {
        row(
            "device",
            format!("{} ({} {}:{})", device.path, device.kind, device.major, device.minor),
        );
    }
    if let Some(rules) = &it.device_rules {
        row("device rights", rules.join(", "));
    }
    for unknown in &it.unknown {
        row("unknown", unknown.clone());
    }
    out.push('\n');
    if exposures.is_empty() {
        out.push_str("nothing is exposed that a policy closes\n");
    }
    for exposure in exposures {
        let (word, color) = match exposure.level {
            Level::High => ("high", AnsiColor::Red),
            Level::Medium => ("medium", AnsiColor::Yellow),
            Level::Low => ("low", AnsiColor::Cyan),
        };
        let word = context.terminal.paint(color.on_default(), &format!("{word:<6}"));
        let _ = writeln!(out, "{word}  {}", exposure.has);
        let _ = writeln!(out, "        exposes  {}", exposure.exposes);
        let _ = writeln!(out, "        policy   {}", exposure.policy);
    }
    let count = |level| exposures.iter().filter(|exposure| exposure.level == level).count();
    let _ = writeln!(
        out,
        "\n{} high, {} medium, {} low",
        count(Level::High),
        count(Level::Medium),
        count(Level::Low)
    );
    out
}

/// Who holds it to a policy.
fn held<'f>(facts: &'f Facts, confinement: Option<&Confinement>) -> Held<'f> {
    match confinement {
        Some(found) if found.enforced => Held::Enforced,
        Some(_) => Held::Reported,
        None if facts.container.policy.is_some() => Held::Run,
        None => Held::Nobody(&facts.type_name),
    }
}

/// Whose policy it is under.
fn confined(facts: &Facts, confinement: Option<&Confinement>, held: Held<'_>) -> String {
    match (confinement, &facts.container.policy) {
        (Some(found), _) if found.enforced => {
            format!("policy {} ({} changes)", found.policy, found.changes.len())
        }
        (Some(found), _) => format!("nothing; policy {} only reports", found.policy),
        (None, Some(policy)) => format!("policy {policy}"),
        (None, None) => format!("nothing of Palisade's ({})", held.controlled()),
    }
}
