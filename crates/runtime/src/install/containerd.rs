//! containerd: the handler of its Kubernetes plugin, and the search path of its shims.

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table, value};

use super::record::Kind;
use super::{FileState, InstallError, Installer, LINKS, NAME, Plan, Wanted, docker, toml};

const CONFIG: &str = "/etc/containerd/config.toml";
const SHIM: &str = "io.containerd.runc.v2";

/// The settings of the Kubernetes plugin's runtimes, by the version of the file
/// (containerd's docs/PLUGINS.md).
fn runtimes(document: &DocumentMut) -> [&'static str; 3] {
    let version = document.get("version").and_then(Item::as_integer).unwrap_or(1);
    let plugin = match version {
        1 => "cri",
        2 => "io.containerd.grpc.v1.cri",
        _ => "io.containerd.cri.v1.runtime",
    };
    ["plugins", plugin, "containerd"]
}

pub(super) fn plan(
    installer: &Installer,
    plan: &mut Plan,
    wanted: &mut Vec<Wanted>,
) -> Result<(), InstallError> {
    let path = PathBuf::from(CONFIG);
    let current = installer.root.text(&path)?;
    let text = settings(&path, current.as_deref(), &mut plan.notes)?;
    let state = FileState::File { bytes: text.into_bytes(), mode: 0o644 };
    let why = "containerd's default handler for pods";
    wanted.push(Wanted { path, state, kind: Kind::ContainerdToml, why });
    if installer.options.units {
        let why = "what names the distribution's runtime is confined as well";
        let path = "/etc/systemd/system/containerd.service.d/palisade.conf";
        wanted.push(Wanted::own(path, docker::path_drop_in("containerd", None), why));
    } else {
        plan.notes.push(format!(
            "there is no systemd here: containers that are started without Kubernetes (ctr run) \
             are not confined unless `{LINKS}` comes first in containerd's PATH"
        ));
    }
    plan.notes.push(
        "whoever speaks to containerd's socket can name another runtime (ctr run --runc-binary, \
         --runtime): it must stay root's alone"
            .into(),
    );
    plan.next = next(installer.options.units);
    Ok(())
}

pub(super) fn next(units: bool) -> Vec<String> {
    if units {
        vec!["systemctl daemon-reload".into(), "systemctl restart containerd".into()]
    } else {
        vec!["restart containerd".into()]
    }
}

fn settings(
    path: &Path,
    text: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<String, InstallError> {
    // All releases since 1.3 read version 2, and later ones migrate it.
    let mut document = toml::parse(path, text.unwrap_or("version = 2\n"))?;
    let at = runtimes(&document);
    let default = [&at[..], &["default_runtime_name"]].concat();
    let known = toml::get(&document, &default).and_then(Item::as_str).unwrap_or("runc").to_string();
    // How the present handler speaks to control groups is how the node is set up.
    let options = [&at[..], &["runtimes", &known, "options"]].concat();
    let options = toml::get(&document, &options).and_then(Item::as_table_like).map(|table| {
        table.iter().map(|(key, item)| (key.to_string(), item.clone())).collect::<Vec<_>>()
    });
    let all = [&at[..], &["runtimes"]].concat();
    let others = toml::get(&document, &all).and_then(Item::as_table_like);
    for (name, runtime) in others.into_iter().flat_map(toml_edit::TableLike::iter) {
        let program = runtime.get("options").and_then(|o| o.get("BinaryName"));
        let program = program.and_then(Item::as_str).filter(|program| !program.is_empty());
        let kind = runtime.get("runtime_type").and_then(Item::as_str).unwrap_or(SHIM);
        if name != NAME && (program.is_some() || kind != SHIM) {
            let what = program.unwrap_or(kind);
            notes.push(format!(
                "the handler `{name}` names `{what}`: pods of that RuntimeClass are not confined"
            ));
        }
    }
    let ours = [&at[..], &["runtimes", NAME]].concat();
    if toml::get(&document, &ours).is_none() {
        let table = toml::table(path, &mut document, &ours)?;
        table.insert("runtime_type", value(SHIM));
        let mut inner = Table::new();
        for (key, item) in options.into_iter().flatten() {
            inner.insert(&key, item);
        }
        inner.insert("BinaryName", value(format!("{LINKS}/palisade-runtime")));
        table.insert("options", Item::Table(inner));
    }
    if known != NAME {
        toml::table(path, &mut document, &at)?.insert("default_runtime_name", value(NAME));
    }
    Ok(document.to_string())
}

/// `text` without what we put into it.
pub(super) fn strip(path: &Path, text: &str, before: Option<&str>) -> Result<String, InstallError> {
    let mut document = toml::parse(path, text)?;
    let before = toml::parse(path, before.unwrap_or_default())?;
    let at = runtimes(&document);
    let default = [&at[..], &["default_runtime_name"]].concat();
    if toml::get(&document, &default).and_then(Item::as_str) == Some(NAME) {
        match toml::get(&before, &default).and_then(Item::as_str) {
            Some(known) => {
                let known = known.to_string();
                toml::table(path, &mut document, &at)?.insert("default_runtime_name", value(known));
            }
            None => toml::remove(&mut document, &default),
        }
    }
    let ours = [&at[..], &["runtimes", NAME]].concat();
    if toml::get(&before, &ours).is_none() {
        toml::remove(&mut document, &ours);
    }
    toml::hide(&mut document, &before, &at);
    Ok(document.to_string())
}
