//! AppArmor and SELinux.
//!
//! Both confine by path or label what the filter cannot see. Reading is left free: a record says
//! what was written and executed; which files a program may come to read is the image's matter.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{plain_name, writable_folders};
use crate::record::Record;

/// Families by their numbers in `include/linux/socket.h`, as AppArmor names them.
const FAMILIES: [(u64, &str); 5] =
    [(1, "unix"), (2, "inet"), (10, "inet6"), (16, "netlink"), (17, "packet")];
/// Types of sockets in the low bits of the second argument.
const TYPES: [(u64, &str); 4] = [(1, "stream"), (2, "dgram"), (3, "raw"), (5, "seqpacket")];

/// A profile in AppArmor's language (apparmor.d(5)).
pub fn apparmor(record: &Record) -> String {
    let name = format!("palisade-{}", plain_name(&record.name));
    let mut out = String::new();
    let _ =
        writeln!(out, "# apparmor_parser -r FILE; then name `{name}` as the container's profile.");
    let _ = writeln!(out, "#include <tunables/global>\n");
    let _ = writeln!(out, "profile {name} flags=(attach_disconnected,mediate_deleted) {{");
    let _ = writeln!(out, "  #include <abstractions/base>\n");
    for capability in &record.capabilities {
        let _ = writeln!(out, "  capability {},", capability.name.to_lowercase());
    }
    for rule in network_rules(record) {
        let _ = writeln!(out, "  network {rule},");
    }
    let _ = writeln!(
        out,
        "\n  # Files are read freely; what was written and executed is named.\n  /{{,**}} mr,"
    );
    for folder in writable_folders(record) {
        let _ = writeln!(out, "  {} rw,", pattern(&folder, "/"));
        let _ = writeln!(out, "  {} rwkl,", pattern(&folder, "/**"));
    }
    for path in &record.files.executed {
        let _ = writeln!(out, "  {} ix,", pattern(path, ""));
    }
    let _ = writeln!(out, "  /dev/{{null,zero,full,random,urandom,tty,console,ptmx}} rw,");
    let _ = writeln!(out, "  /dev/{{pts,shm,mqueue}}/** rw,\n  owner /proc/[0-9]*/** rw,");
    let _ = writeln!(
        out,
        "  deny /proc/sys/** wl,\n  deny /proc/sysrq-trigger rwkl,\n  deny /sys/** wkl,"
    );
    let _ = writeln!(out, "  deny mount,\n  deny umount,\n  deny pivot_root,");
    let _ = writeln!(out, "  signal (receive) peer=unconfined,\n  signal (receive) peer=runc,");
    let _ = writeln!(out, "  signal (receive) peer=crun,\n  signal (send, receive) peer={name},");
    let _ = writeln!(out, "}}");
    out
}

/// A path as AppArmor quotes it: its pattern characters are escaped.
fn pattern(path: &str, end: &str) -> String {
    let mut out = String::from("\"");
    for c in path.trim_end_matches('/').chars() {
        match c {
            '*' | '?' | '[' | ']' | '{' | '}' | '^' | '"' | '\\' | ',' | '@' => {
                out.extend(['\\', c]);
            }
            // A line break would begin another rule.
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out.push_str(end);
    out.push('"');
    out
}

/// `inet stream` and so on, from the sockets that were made.
fn network_rules(record: &Record) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let Some(places) = record.arguments.get("socket") else { return out };
    let values = |place: u8| places.get(&place).into_iter().flatten();
    for family in values(0) {
        let Some((_, family)) = FAMILIES.iter().find(|(number, _)| number == family) else {
            continue;
        };
        for kind in values(1) {
            if let Some((_, kind)) = TYPES.iter().find(|(number, _)| *number == kind & 15) {
                out.insert(format!("{family} {kind}"));
            }
        }
    }
    out
}

/// A module in SELinux's common intermediate language, to be loaded beside the templates of udica
/// (`semodule -i FILE /usr/share/udica/templates/{base_container,net_container}.cil`).
pub fn selinux(record: &Record) -> String {
    let name = plain_name(&record.name).replace('-', "_");
    let mut out = String::new();
    let _ = writeln!(
        out,
        "; semodule -i FILE /usr/share/udica/templates/{{base_container,net_container}}.cil\n\
         ; then run with the label type {name}_palisade.process"
    );
    let _ = writeln!(out, "(block {name}_palisade\n  (blockinherit container)");
    let network = &record.network;
    if !network.bound.is_empty() || !network.connected.is_empty() {
        let _ = writeln!(out, "  (blockinherit restricted_net_container)");
    }
    let names: Vec<String> =
        record.capabilities.iter().map(|capability| capability.name.to_lowercase()).collect();
    // The capabilities from number 32 on are of another class.
    let (new, old): (Vec<_>, Vec<_>) = names.iter().map(String::as_str).partition(|name| {
        [
            "mac_override",
            "mac_admin",
            "syslog",
            "wake_alarm",
            "block_suspend",
            "audit_read",
            "perfmon",
            "bpf",
            "checkpoint_restore",
        ]
        .contains(name)
    });
    for (class, list) in [("capability", old), ("capability2", new)] {
        if !list.is_empty() {
            let _ = writeln!(out, "  (allow process process ({class} ({})))", list.join(" "));
        }
    }
    let ports: BTreeSet<u16> =
        network.bound.iter().map(|end| end.port).filter(|port| *port != 0).collect();
    for port in ports {
        let kind = if port < 1024 { "reserved_port_t" } else { "unreserved_port_t" };
        let _ = writeln!(out, "  ; port {port}: `semanage port -l` may give it a type of its own");
        for class in ["tcp_socket", "udp_socket"] {
            let _ = writeln!(out, "  (allow process {kind} ({class} (name_bind)))");
        }
    }
    for folder in writable_folders(record) {
        let _ = writeln!(out, "  ; writes below {}", folder.replace(char::is_control, "?"));
    }
    let _ = writeln!(out, ")");
    out
}
