//! Podman: one file beside the user's `containers.conf`.

use super::{Installer, LINKS, Plan, Wanted};

const DROP_IN: &str = "/etc/containers/containers.conf.d/palisade.conf";

pub(super) fn plan(installer: &Installer, plan: &mut Plan, wanted: &mut Vec<Wanted>) {
    // Containers that exist remember `runc` or `crun`: by that name the same one is handed to.
    let text = format!(
        "# Written by `palisade install podman`; `palisade uninstall podman` removes it.\n\
         [engine]\n\
         runtime = \"palisade\"\n\
         runtime_supports_json = [\"crun\", \"runc\", \"kata\", \"runsc\", \"krun\", \"palisade\"]\n\n\
         [engine.runtimes]\n\
         palisade = [\"{LINKS}/palisade-runtime\"]\n\
         # What names these is confined as well.\n\
         runc = [\"{LINKS}/runc\"]\n\
         crun = [\"{LINKS}/crun\"]\n"
    );
    let why = "Podman's default runtime";
    wanted.push(Wanted::own(DROP_IN, text, why));
    for file in ["/etc/containers/containers.conf", "/root/.config/containers/containers.conf"] {
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
