//! Docker: `daemon.json`, units of systemd, the authorization plugin.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::record::Kind;
use super::{FileState, InstallError, Installer, LINKS, NAME, Plan, Wanted, json_object, pretty};

const DAEMON_JSON: &str = "/etc/docker/daemon.json";
const UNIT: &str = "/etc/systemd/system/palisade-authz.service";

/// The unit of the plugin, which must be there when Docker asks.
fn unit(program: &Path) -> String {
    format!(
        "# Written by `palisade install docker`; `palisade uninstall docker` removes it.\n\
         [Unit]\n\
         Description=Palisade: which calls of Docker's API are allowed\n\
         Documentation=man:palisade-authz(1)\n\
         Before=docker.service\n\n\
         [Service]\n\
         Type=notify\n\
         NotifyAccess=main\n\
         ExecStart={} authz\n\
         # Without it Docker refuses every call.\n\
         Restart=always\n\
         RestartSec=1s\n\
         OOMScoreAdjust=-900\n\
         MemoryMax=256M\n\
         TasksMax=512\n\
         # Where sources of mounts lead is looked up anywhere; nothing is written but the socket.\n\
         CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE\n\
         NoNewPrivileges=yes\n\
         ProtectSystem=strict\n\
         ReadWritePaths=/run\n\
         RestrictAddressFamilies=AF_UNIX\n\
         RestrictNamespaces=yes\n\
         SystemCallArchitectures=native\n\
         SystemCallFilter=@system-service\n\
         LockPersonality=yes\n\
         MemoryDenyWriteExecute=yes\n",
        program.display()
    )
}

/// The search path in which an engine finds our `runc` before the distribution's: what names
/// that runtime itself (`--runtime runc`, builds, `ctr run`) is confined as well.
pub(super) fn path_drop_in(unit: &str, wants: Option<&str>) -> String {
    let wants =
        wants.map(|other| format!("[Unit]\nWants={other}\nAfter={other}\n\n")).unwrap_or_default();
    format!(
        "# Written by `palisade install`; `palisade uninstall` removes it.\n\
         {wants}[Service]\n\
         # {unit} finds its `runc` here first.\n\
         Environment=PATH={LINKS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
    )
}

pub(super) fn plan(
    installer: &Installer,
    plan: &mut Plan,
    wanted: &mut Vec<Wanted>,
) -> Result<(), InstallError> {
    let options = &installer.options;
    let authz = options.authz;
    if options.units {
        if authz {
            let why = "the authorization plugin, which Docker asks about each call of its API";
            wanted.push(Wanted::own(UNIT, unit(&options.program), why));
        }
        let why = "what names the distribution's runtime is confined as well";
        let wants = authz.then_some("palisade-authz.service");
        for (unit, wants) in [("docker", wants), ("containerd", None)] {
            let path = format!("/etc/systemd/system/{unit}.service.d/palisade.conf");
            wanted.push(Wanted::own(path, path_drop_in(unit, wants), why));
        }
    } else {
        plan.notes.push(format!(
            "there is no systemd here: whoever names the distribution's runtime (--runtime runc, \
             builds) is not confined unless `{LINKS}` comes first in the PATH of dockerd and \
             containerd"
        ));
    }
    if !authz {
        plan.notes.push(
            "Docker asks no authorization plugin: whoever may speak to its socket can name \
             another runtime, and mount what they like through a volume's options"
                .into(),
        );
    }
    let path = PathBuf::from(DAEMON_JSON);
    let current = installer.root.text(&path)?;
    let text = settings(&path, current.as_deref().unwrap_or_default(), authz, &mut plan.notes)?;
    let state = FileState::File { bytes: text.into_bytes(), mode: 0o644 };
    let why = "Docker's default runtime, and its authorization plugin";
    wanted.push(Wanted { path, state, kind: Kind::DaemonJson, why });
    plan.next = next(options.units);
    if !options.units && authz {
        let program = options.program.display();
        plan.next.insert(
            0,
            format!("{program} authz &   # keep it running; without it Docker refuses every call"),
        );
    }
    Ok(())
}

pub(super) fn next(units: bool) -> Vec<String> {
    if units {
        vec![
            "systemctl daemon-reload".into(),
            "systemctl restart containerd docker   # containers that run keep running with live-restore".into(),
        ]
    } else {
        vec!["restart dockerd".into()]
    }
}

fn settings(
    path: &Path,
    text: &str,
    authz: bool,
    notes: &mut Vec<String>,
) -> Result<String, InstallError> {
    let mut value = json_object(path, text)?;
    let before = value.clone();
    let invalid = |problem: &str| InstallError::Invalid {
        path: path.to_path_buf(),
        problem: problem.to_string(),
    };
    if value.get("runtimes").is_none_or(Value::is_null) {
        value["runtimes"] = json!({});
    }
    let runtimes = value["runtimes"].as_object_mut();
    let runtimes = runtimes.ok_or_else(|| invalid("`runtimes` is no object"))?;
    let ours = format!("{LINKS}/palisade-runtime");
    if runtimes.get(NAME).and_then(|runtime| runtime.get("path")) != Some(&json!(ours)) {
        runtimes.insert(NAME.into(), json!({ "path": ours }));
    }
    let others: Vec<&str> =
        runtimes.keys().map(String::as_str).filter(|name| *name != NAME).collect();
    if !others.is_empty() {
        let what = if authz {
            "the plugin refuses them unless `palisade authz --allow-runtime` names them"
        } else {
            "containers that name them are not confined"
        };
        notes.push(format!("other runtimes are set up ({}): {what}", others.join(", ")));
    }
    value["default-runtime"] = json!(NAME);
    if authz {
        if value.get("authorization-plugins").is_none_or(Value::is_null) {
            value["authorization-plugins"] = json!([]);
        }
        let plugins = value["authorization-plugins"].as_array_mut();
        let plugins = plugins.ok_or_else(|| invalid("`authorization-plugins` is no list"))?;
        if !plugins.contains(&json!(NAME)) {
            plugins.push(json!(NAME));
        }
    }
    // What is so already keeps its own form.
    Ok(if value == before { text.to_string() } else { pretty(&value, text) })
}

/// `text` without what we put into it.
pub(super) fn strip(path: &Path, text: &str, before: Option<&str>) -> Result<String, InstallError> {
    let mut value = json_object(path, text)?;
    let current = value.clone();
    let before = json_object(path, before.unwrap_or_default())?;
    let Some(object) = value.as_object_mut() else { return Ok(text.to_string()) };
    if object.get("default-runtime") == Some(&json!(NAME)) {
        match before.get("default-runtime") {
            Some(known) => drop(object.insert("default-runtime".into(), known.clone())),
            None => drop(object.shift_remove("default-runtime")),
        }
    }
    if let Some(runtimes) = object.get_mut("runtimes").and_then(Value::as_object_mut) {
        match before.pointer("/runtimes/palisade") {
            Some(known) => drop(runtimes.insert(NAME.into(), known.clone())),
            None => drop(runtimes.shift_remove(NAME)),
        }
        if runtimes.is_empty() && before.get("runtimes").is_none() {
            object.shift_remove("runtimes");
        }
    }
    let key = "authorization-plugins";
    let had = before.get(key).and_then(Value::as_array).is_some_and(|l| l.contains(&json!(NAME)));
    if let Some(plugins) = object.get_mut(key).and_then(Value::as_array_mut).filter(|_| !had) {
        plugins.retain(|name| name != NAME);
        if plugins.is_empty() && before.get(key).is_none() {
            object.shift_remove(key);
        }
    }
    // Without anything of ours in it, it keeps its own form.
    Ok(if value == current { text.to_string() } else { pretty(&value, text) })
}
