//! An AppArmor profile of one container, from its hardened spec: what the program may do as the
//! spec says it, held by another part of the kernel.
//!
//! The profile is written in the language of `apparmor.d(5)`, includes no other file and names
//! no feature newer than AppArmor 2.13, so that any parser since then compiles it. Its name ends
//! in the digest of its text: the same container has the same profile, and a changed one never
//! takes another's place while that is in use.
//!
//! Sources: `apparmor.d(5)`, Linux `security/apparmor`, OCI runtime specification `config.md`.

use std::fmt::Write as _;

use palisade_base::Digest;
use serde_json::Value;

use crate::Change;
use crate::patch::{Malformed, Patch};

/// Mounts of a spec that get a rule.
const MOUNTS_MAX: usize = 4096;
/// Characters of the policy's name that the profile's has.
const NAME_CHARS_MAX: usize = 40;

/// What every container is denied, whatever its mounts and capabilities: ways to the kernel's
/// own settings. A `deny` stands above every permission.
const ALWAYS_DENIED: [(&str, &str); 9] = [
    ("/proc/{sysrq-trigger,kcore,kmem,mem,keys,key-users,timer_list,latency_stats}", "rwklx"),
    ("/proc/sys/kernel/{core_pattern,modprobe,hotplug,poweroff_cmd,randomize_va_space}", "wkl"),
    ("/proc/sys/{fs,vm,kernel/yama}/**", "wkl"),
    ("/proc/{bus,fs,irq,driver,scsi,acpi,tty}/**", "wkl"),
    ("/sys/kernel/{debug,tracing,security}/**", "rwklx"),
    ("/sys/firmware/{efi/efivars,acpi}/**", "rwklx"),
    ("/sys/fs/bpf/**", "rwklx"),
    ("/sys/**/uevent_helper", "wkl"),
    ("/sys/fs/cgroup/**/release_agent", "wkl"),
];

/// A profile that can be compiled and loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name, for `process.apparmorProfile`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The profile of the container of `spec`, which has been hardened by the policy `policy`.
pub fn profile(spec: &Value, policy: &str) -> Result<Profile, Malformed> {
    let body = body(spec)?;
    let digest = Digest::of(body.as_bytes()).hex();
    let plain: String = policy
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
        .take(NAME_CHARS_MAX)
        .collect();
    let name = format!("palisade-{plain}-{}", digest.get(..16).unwrap_or(&digest));
    // Processes of one profile may signal and trace one another, and be seen by the host.
    let text = format!(
        "profile \"{name}\" flags=(attach_disconnected,mediate_deleted) {{\n{body}  \
         signal (receive),\n  signal (send) peer=\"{name}\",\n  \
         ptrace (readby, tracedby),\n  ptrace (read, trace) peer=\"{name}\",\n}}\n"
    );
    Ok(Profile { name, text })
}

/// Has the container of `spec` and what is executed in it run under `profile`.
pub fn apply(spec: Value, profile: &Profile) -> Result<(Value, Vec<Change>), Malformed> {
    let mut patch = Patch::new(spec)?;
    patch.set(
        "/process/apparmorProfile",
        Value::String(profile.name.clone()),
        "AppArmor holds the same limits in another part of the kernel",
    )?;
    Ok(patch.finish())
}

fn body(spec: &Value) -> Result<String, Malformed> {
    let mut out = String::new();
    capabilities(&mut out, spec);
    networks(&mut out, spec);
    files(&mut out, spec)?;
    Ok(out)
}

/// Each capability that the program or a program that it starts may have.
fn capabilities(out: &mut String, spec: &Value) {
    let bounding = spec.pointer("/process/capabilities/bounding").and_then(Value::as_array);
    let names = bounding.into_iter().flatten().filter_map(Value::as_str);
    let mut names: Vec<String> = names
        .map(|name| name.trim_start_matches("CAP_").to_ascii_lowercase())
        .filter(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let _ = writeln!(out, "  capability {name},");
    }
}

/// Sockets of the Internet, of this machine, and those that tell a program its addresses. Raw and
/// packet sockets come with their capability; other families are closed.
fn networks(out: &mut String, spec: &Value) {
    out.push_str("  network unix,\n  network netlink raw,\n");
    for family in ["inet", "inet6"] {
        let _ = writeln!(out, "  network {family} stream,\n  network {family} dgram,");
    }
    let bounding = spec.pointer("/process/capabilities/bounding").and_then(Value::as_array);
    if bounding.is_some_and(|names| names.iter().any(|name| name == "CAP_NET_RAW")) {
        out.push_str("  network inet raw,\n  network inet6 raw,\n  network packet,\n");
    }
}

/// What may be read, written and executed: the root, and each mount by its options.
fn files(out: &mut String, spec: &Value) -> Result<(), Malformed> {
    let read_only = spec.pointer("/root/readonly").and_then(Value::as_bool).unwrap_or(false);
    let root = if read_only { "rmkix" } else { "rwlmkix" };
    let _ = writeln!(out, "  / r,\n  /** {root},");
    // What a process says to itself and the kernel lets it: its own limits, its name, and files
    // that it opens by their descriptors. Whose process it is decides the kernel.
    out.push_str("  /proc/[0-9]*/** rw,\n  /dev/** rw,\n");
    let mounts = spec.pointer("/mounts").and_then(Value::as_array);
    let mounts = mounts.map_or(&[][..], Vec::as_slice);
    if mounts.len() > MOUNTS_MAX {
        return Err(Malformed("/mounts".into()));
    }
    for mount in mounts {
        mount_rules(out, mount)?;
    }
    for (path, rights) in ALWAYS_DENIED {
        let _ = writeln!(out, "  deny {path} {rights},");
    }
    for (key, rights) in [("maskedPaths", "rwklx"), ("readonlyPaths", "wkl")] {
        let list = spec.pointer(&format!("/linux/{key}")).and_then(Value::as_array);
        for path in list.into_iter().flatten().filter_map(Value::as_str) {
            let path = quoted(path).ok_or_else(|| Malformed(format!("/linux/{key}")))?;
            let _ = writeln!(out, "  deny \"{path}\" {rights},\n  deny \"{path}/**\" {rights},");
        }
    }
    Ok(())
}

/// Rules of one mount: written only where its options let it, executed likewise.
fn mount_rules(out: &mut String, mount: &Value) -> Result<(), Malformed> {
    let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or_default();
    // Rules above speak of these; the kernel's own files are nothing that options open.
    if matches!(text("type"), "proc" | "sysfs" | "cgroup" | "cgroup2" | "devpts") {
        return Ok(());
    }
    let malformed = || Malformed("/mounts/destination".into());
    let destination = text("destination").trim_end_matches('/');
    if destination.is_empty() || destination == "/dev" {
        return Ok(());
    }
    let path = quoted(destination).ok_or_else(malformed)?;
    let options = mount.get("options").and_then(Value::as_array);
    let has = |option: &str| options.is_some_and(|list| list.iter().any(|entry| entry == option));
    if has("ro") || has("rro") {
        let _ = writeln!(out, "  deny \"{path}\" wkl,\n  deny \"{path}/**\" wl,");
    } else {
        let _ = writeln!(out, "  \"{path}\" rwk,\n  \"{path}/\" rw,\n  \"{path}/**\" rwkl,");
    }
    if has("noexec") {
        let _ = writeln!(out, "  deny \"{path}/**\" x,");
    } else {
        let _ = writeln!(out, "  \"{path}/**\" mix,");
    }
    Ok(())
}

/// A path as it stands between quotes, with what would be a pattern taken literally; none for
/// one that no rule can name.
fn quoted(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.chars().any(char::is_control) {
        return None;
    }
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '^' | '"' | '\\' | '@') {
            out.push('\\');
        }
        out.push(c);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec() -> Value {
        json!({
            "process": {"capabilities": {"bounding": ["CAP_NET_BIND_SERVICE", "CAP_CHOWN"]}},
            "root": {"readonly": true},
            "mounts": [
                {"destination": "/proc", "type": "proc"},
                {"destination": "/tmp", "type": "tmpfs", "options": ["nosuid", "noexec"]},
                {"destination": "/run/app", "type": "tmpfs", "options": ["rw"]},
                {"destination": "/etc/hosts", "type": "bind", "options": ["bind", "ro"]},
            ],
            "linux": {"maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]},
        })
    }

    #[test]
    fn the_profile_says_what_the_spec_says() {
        let profile = profile(&spec(), "rest/ricted").unwrap();
        assert!(profile.name.starts_with("palisade-rest-ricted-"), "{}", profile.name);
        let has = |line: &str| {
            assert!(profile.text.contains(&format!("  {line}\n")), "{line}: {}", profile.text);
        };
        for line in [
            "capability chown,",
            "capability net_bind_service,",
            "/** rmkix,",
            "\"/tmp/**\" rwkl,",
            "deny \"/tmp/**\" x,",
            "\"/run/app/**\" mix,",
            "deny \"/etc/hosts\" wkl,",
            "deny \"/proc/kcore\" rwklx,",
            "deny \"/proc/sys/**\" wkl,",
        ] {
            has(line);
        }
        for absent in ["packet", "mount", "sys_admin", "change_profile", "\"/proc\""] {
            assert!(!profile.text.contains(absent), "{absent}: {}", profile.text);
        }
    }

    #[test]
    fn a_writable_root_and_net_raw_are_said_and_change_the_name() {
        let mut other = spec();
        other["root"]["readonly"] = json!(false);
        other["process"]["capabilities"]["bounding"] = json!(["CAP_NET_RAW"]);
        let changed = profile(&other, "p").unwrap();
        assert!(changed.text.contains("/** rwlmkix,") && changed.text.contains("network packet,"));
        assert_ne!(changed.name, profile(&spec(), "p").unwrap().name);
        assert_eq!(profile(&spec(), "p").unwrap(), profile(&spec(), "p").unwrap());
    }

    #[test]
    fn names_of_files_are_no_patterns_and_no_rules() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(quoted(path).as_deref(), expected, "{path}");
        };
        check("/data", Some("/data"));
        check("/a b", Some("/a b"));
        check("/a*{b}", Some("/a\\*\\{b\\}"));
        check("/a\" rwx,", Some("/a\\\" rwx,"));
        check("/a\n/** rwx,", None);
        check("relative", None);
        let mut bad = spec();
        bad["mounts"][1]["destination"] = json!("/t\nx");
        assert!(profile(&bad, "p").is_err());
    }

    #[test]
    fn it_is_applied_to_the_process() {
        let one = profile(&spec(), "p").unwrap();
        let (spec, changes) = apply(spec(), &one).unwrap();
        assert_eq!(spec["process"]["apparmorProfile"], json!(one.name));
        assert_eq!((changes.len(), changes[0].path.as_str()), (1, "/process/apparmorProfile"));
    }
}
