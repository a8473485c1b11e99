//! Podman: one file beside the user's `containers.conf`.

use super::{Installer, LINKS, Plan, Wanted};

const DROP_IN: &str = "/etc/containers/containers.conf.d/palisade.conf";
/// Files in which a runtime may be named; what is later has the last word.
const NAMING: [&str; 3] = [
    "/usr/share/containers/containers.conf",
    "/etc/containers/containers.conf",
    "/root/.config/containers/containers.conf",
];
/// Where Podman looks for crun, which it takes rather than runC.
const CRUN: [&str; 6] = [
    "/usr/bin/crun",
    "/usr/sbin/crun",
    "/usr/local/bin/crun",
    "/usr/local/sbin/crun",
    "/sbin/crun",
    "/bin/crun",
];

/// The name by which our program is to be called so that it hands over to what Podman used:
/// our own name stands for runC where both are installed.
fn link(installer: &Installer) -> &'static str {
    let named = NAMING.iter().rev().find_map(|file| {
        let text = installer.root.text(file.as_ref()).ok().flatten()?;
        let document = text.parse::<toml_edit::DocumentMut>().ok()?;
        Some(document.get("engine")?.get("runtime")?.as_str()?.to_string())
    });
    let has_crun = || CRUN.iter().any(|path| installer.root.exists(path.as_ref()));
    match named.as_deref() {
        Some("crun") => "crun",
        None if has_crun() => "crun",
        Some(_) | None => "palisade-runtime",
    }
}

pub(super) fn plan(installer: &Installer, plan: &mut Plan, wanted: &mut Vec<Wanted>) {
    let link = link(installer);
    // Containers that exist remember `runc` or `crun`: by that name the same one is handed to.
    let text = format!(
        "# Written by `palisade install podman`; `palisade uninstall podman` removes it.\n\
         [engine]\n\
         runtime = \"palisade\"\n\
         runtime_supports_json = [\"crun\", \"runc\", \"kata\", \"runsc\", \"krun\", \"palisade\"]\n\n\
         [engine.runtimes]\n\
         palisade = [\"{LINKS}/{link}\"]\n\
         # What names these is confined as well.\n\
         runc = [\"{LINKS}/runc\"]\n\
         crun = [\"{LINKS}/crun\"]\n"
    );
    let why = "Podman's default runtime";
    wanted.push(Wanted::own(DROP_IN, text, why));
    for file in &NAMING[1..] {
        let named = installer.root.text(file.as_ref()).ok().flatten().is_some_and(|text| {
            text.lines().any(|line| {
                line.trim_start().starts_with("runtime ")
                    || line.trim_start().starts_with("runtime=")
            })
        });
        if named {
            plan.notes.push(format!(
                "`{file}` names a runtime as well; of root's own file Podman takes the last word"
            ));
        }
    }
    plan.notes.push(
        "Podman has no daemon: who runs it as root can name any runtime by its path (--runtime \
         /usr/sbin/runc), or another configuration"
            .into(),
    );
    plan.next = vec!["nothing; containers that are started from now on are confined".into()];
}
