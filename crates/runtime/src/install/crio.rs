//! CRI-O: one file in its folder of settings.

use std::fmt::Write as _;
use std::path::Path;

use super::{Installer, LINKS, Plan, Wanted};

const DROP_IN: &str = "/etc/crio/crio.conf.d/99-palisade.conf";

pub(super) fn plan(installer: &Installer, plan: &mut Plan, wanted: &mut Vec<Wanted>) {
    let mut text = format!(
        "# Written by `palisade install crio`; `palisade uninstall crio` removes it.\n\
         [crio.runtime]\n\
         default_runtime = \"palisade\"\n\n\
         [crio.runtime.runtimes.palisade]\n\
         runtime_path = \"{LINKS}/palisade-runtime\"\n\
         runtime_type = \"oci\"\n\
         runtime_root = \"/run/palisade-runtime\"\n"
    );
    // A handler that is there keeps its folder of state, and is confined as well.
    for name in ["runc", "crun"] {
        let is_there = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]
            .into_iter()
            .any(|folder| installer.root.exists(&Path::new(folder).join(name)));
        if is_there {
            let _ = write!(
                text,
                "\n# Pods of this RuntimeClass are confined as well.\n\
                 [crio.runtime.runtimes.{name}]\n\
                 runtime_path = \"{LINKS}/{name}\"\n\
                 runtime_type = \"oci\"\n\
                 runtime_root = \"/run/{name}\"\n"
            );
        }
    }
    let why = "CRI-O's default handler for pods";
    wanted.push(Wanted::own(DROP_IN, text, why));
    plan.next = next(installer.options.units);
}

pub(super) fn next(units: bool) -> Vec<String> {
    if units { vec!["systemctl restart crio".into()] } else { vec!["restart crio".into()] }
}
