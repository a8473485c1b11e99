//! Files that are dangerous by what they are, not by what they contain: setuid programs,
//! file capabilities, world-writable files, devices, key stores, a second root user.
//!
//! Each entry of a walk is shown to [`Inspector::see`] once; owners are looked up at the end,
//! when the inventory is complete.

mod content;

use std::collections::HashMap;

use palisade_image::{FileEntry, FileKind};
use palisade_model::finding::{DangerousFile, FileDanger};
use palisade_model::{Package, Severity};

/// Dangerous files beyond this number are dropped and counted.
pub const FILES_MAX: usize = 20_000;

/// Collects dangerous files during a walk.
#[derive(Debug, Default)]
pub struct Inspector {
    found: Vec<DangerousFile>,
    n_dropped: u64,
}

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_EXECUTE: u32 = 0o010;
const ANY_EXECUTE: u32 = 0o111;

/// Programs with privilege that every distribution has, when its package brings them.
const NORMAL: [&str; 26] = [
    "su",
    "sudo",
    "passwd",
    "gpasswd",
    "chsh",
    "chfn",
    "chage",
    "expiry",
    "newgrp",
    "sg",
    "mount",
    "umount",
    "fusermount",
    "fusermount3",
    "ping",
    "unix_chkpwd",
    "pam_timestamp_check",
    "ssh-agent",
    "ssh-keysign",
    "dbus-daemon-launch-helper",
    "wall",
    "write",
    "newuidmap",
    "newgidmap",
    "crontab",
    "utempter",
];

/// Key stores are binary, so the search for secrets does not see into them.
const KEY_STORES: [&str; 6] = [".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk"];

impl Inspector {
    /// An inspector that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Examines one entry.
    pub fn see(&mut self, entry: &FileEntry) {
        match entry.kind {
            FileKind::Regular | FileKind::HardLink => self.see_file(entry),
            FileKind::Folder => self.see_folder(entry),
            FileKind::CharDevice | FileKind::BlockDevice => {
                // Overlay whiteouts never get here; what does is a real device.
                self.add(entry, FileDanger::Device, "device node".into(), Severity::High);
            }
            FileKind::Symlink | FileKind::Fifo | FileKind::Socket => {}
        }
    }

    fn see_file(&mut self, entry: &FileEntry) {
        let mode = entry.mode;
        let detail = || format!("mode {:04o}, owner {}:{}", mode & 0o7777, entry.uid, entry.gid);
        if mode & SETUID != 0 {
            let severity = if entry.uid == 0 { Severity::High } else { Severity::Medium };
            self.add(entry, FileDanger::Setuid, detail(), severity);
        }
        // Setgid without execution for the group was mandatory locking, never privilege.
        if mode & SETGID != 0 && mode & GROUP_EXECUTE != 0 {
            self.add(entry, FileDanger::Setgid, detail(), Severity::Medium);
        }
        if let Some(value) = entry.capability() {
            let (text, severity) = match decode_capabilities(value) {
                Some(names) => {
                    let strong = names.iter().any(|name| STRONG.contains(name));
                    let severity = if strong { Severity::High } else { Severity::Medium };
                    (names.join(", "), severity)
                }
                None => ("malformed capability attribute".to_string(), Severity::High),
            };
            self.add(entry, FileDanger::Capabilities, text, severity);
        }
        if mode & OTHERS_WRITE != 0 {
            let program = mode & ANY_EXECUTE != 0;
            let severity = if program { Severity::High } else { Severity::Medium };
            self.add(entry, FileDanger::WorldWritable, detail(), severity);
        }
        let lower = entry.path.to_ascii_lowercase();
        if KEY_STORES.iter().any(|suffix| lower.ends_with(suffix)) {
            self.add(entry, FileDanger::PrivateKey, "key store".into(), Severity::High);
        }
    }

    /// Examines the beginning of a file's content.
    pub fn see_head(&mut self, entry: &FileEntry, head: &[u8]) {
        if let Some(found) = content::hidden_program(entry, head) {
            self.push(found);
        }
        if entry.path.ends_with("gnupg/secring.gpg") && !head.is_empty() {
            self.add(entry, FileDanger::PrivateKey, "GnuPG secret keyring".into(), Severity::High);
        }
    }

    /// Examines the text of a file.
    pub fn see_text(&mut self, entry: &FileEntry, text: &[u8]) {
        if let Some(found) = content::examine(entry, text) {
            self.push(found);
        }
    }

    /// Examines `etc/shadow` (or `etc/passwd`, where old systems keep the hash): accounts that
    /// need no password.
    pub fn see_passwords(&mut self, path: &str, text: &[u8]) {
        for name in content::empty_passwords(text) {
            self.push(DangerousFile {
                danger: FileDanger::EmptyPassword,
                path: path.to_string(),
                detail: format!("user `{name}` needs no password"),
                package: None,
                severity: Severity::Critical,
            });
        }
    }

    fn see_folder(&mut self, entry: &FileEntry) {
        if entry.mode & OTHERS_WRITE != 0 && entry.mode & STICKY == 0 {
            let detail = format!("folder, mode {:04o}, not sticky", entry.mode & 0o7777);
            self.add(entry, FileDanger::WorldWritable, detail, Severity::Medium);
        }
    }

    /// Examines `etc/passwd`: a second user with id 0 is root under another name.
    pub fn see_passwd(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        for line in text.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(_), Some(uid)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if uid.parse() == Ok(0_u32) && name != "root" {
                self.push(DangerousFile {
                    danger: FileDanger::DuplicateRoot,
                    path: "/etc/passwd".into(),
                    detail: format!(
                        "user `{}` has id 0",
                        name.chars().take(64).collect::<String>()
                    ),
                    package: None,
                    severity: Severity::High,
                });
            }
        }
    }

    fn add(&mut self, entry: &FileEntry, danger: FileDanger, detail: String, severity: Severity) {
        self.push(DangerousFile {
            danger,
            path: entry.absolute(),
            detail,
            package: None,
            severity,
        });
    }

    fn push(&mut self, file: DangerousFile) {
        if self.found.len() < FILES_MAX {
            self.found.push(file);
        } else {
            self.n_dropped += 1;
        }
    }

    /// The dangerous files with their owners, and how many were dropped.
    ///
    /// A setuid or setgid program or a capability that a distribution's package installed is
    /// one step less bad: it is known, reviewed and updated.
    pub fn finish(self, packages: &[Package]) -> (Vec<DangerousFile>, u64) {
        let mut owners: HashMap<&str, Option<&Package>> =
            self.found.iter().map(|file| (normal_path(&file.path), None)).collect();
        for package in packages {
            for path in &package.files {
                if let Some(owner) = owners.get_mut(normal_path(path)) {
                    *owner = Some(package);
                }
            }
        }
        let mut names: Vec<Option<String>> = Vec::with_capacity(self.found.len());
        for file in &self.found {
            let owner = owners.get(normal_path(&file.path)).copied().flatten();
            names.push(owner.map(|package| package.name.clone()));
        }
        let mut found = self.found;
        for (file, owner) in found.iter_mut().zip(names) {
            let privilege = matches!(
                file.danger,
                FileDanger::Setuid | FileDanger::Setgid | FileDanger::Capabilities
            );
            if privilege && owner.is_some() {
                let name = file.path.rsplit('/').next().unwrap_or_default();
                file.severity = match file.severity {
                    _ if NORMAL.contains(&name) => Severity::Low,
                    Severity::High | Severity::Critical => Severity::Medium,
                    _ => Severity::Low,
                };
            }
            // What a distribution starts or lets in it has thought about.
            let is_content = matches!(
                file.danger,
                FileDanger::Persistence | FileDanger::HiddenProgram | FileDanger::Sudoers
            );
            if is_content && owner.is_some() {
                file.severity = file.severity.min(Severity::Low);
            }
            file.package = owner;
        }
        (found, self.n_dropped)
    }
}

/// The packages that own files: from [`normal_path`] of each of `paths` to the package's name.
pub(crate) fn owners<'a>(
    paths: impl Iterator<Item = &'a str>,
    inventory: &palisade_model::Inventory,
) -> HashMap<String, String> {
    let wanted: std::collections::HashSet<&str> = paths.map(normal_path).collect();
    let mut owners = HashMap::new();
    if wanted.is_empty() {
        return owners;
    }
    for package in inventory.packages.iter().filter(|p| p.kind.is_of_distribution()) {
        for path in &package.files {
            let path = normal_path(path);
            if wanted.contains(path) {
                owners.insert(path.to_string(), package.name.clone());
            }
        }
    }
    owners
}

/// `/usr/lib/x` and `/lib/x` are one file on merged systems; both lose their `usr`.
pub(crate) fn normal_path(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    path.strip_prefix("usr/").unwrap_or(path)
}

/// Capabilities that amount to root or lead there.
const STRONG: [&str; 12] = [
    "cap_chown",
    "cap_dac_override",
    "cap_fowner",
    "cap_setuid",
    "cap_setgid",
    "cap_setfcap",
    "cap_sys_admin",
    "cap_sys_module",
    "cap_sys_ptrace",
    "cap_sys_rawio",
    "cap_bpf",
    "cap_dac_read_search",
];

/// Names by number (`include/uapi/linux/capability.h`).
const CAPABILITIES: [&str; 41] = [
    "cap_chown",
    "cap_dac_override",
    "cap_dac_read_search",
    "cap_fowner",
    "cap_fsetid",
    "cap_kill",
    "cap_setgid",
    "cap_setuid",
    "cap_setpcap",
    "cap_linux_immutable",
    "cap_net_bind_service",
    "cap_net_broadcast",
    "cap_net_admin",
    "cap_net_raw",
    "cap_ipc_lock",
    "cap_ipc_owner",
    "cap_sys_module",
    "cap_sys_rawio",
    "cap_sys_chroot",
    "cap_sys_ptrace",
    "cap_sys_pacct",
    "cap_sys_admin",
    "cap_sys_boot",
    "cap_sys_nice",
    "cap_sys_resource",
    "cap_sys_time",
    "cap_sys_tty_config",
    "cap_mknod",
    "cap_lease",
    "cap_audit_write",
    "cap_audit_control",
    "cap_setfcap",
    "cap_mac_override",
    "cap_mac_admin",
    "cap_syslog",
    "cap_wake_alarm",
    "cap_block_suspend",
    "cap_audit_read",
    "cap_perfmon",
    "cap_bpf",
    "cap_checkpoint_restore",
];

/// The permitted capabilities in a `security.capability` attribute (`struct vfs_cap_data`,
/// revisions 1 to 3); `None` when it is malformed.
pub fn decode_capabilities(value: &[u8]) -> Option<Vec<&'static str>> {
    let word = |index: usize| -> Option<u32> {
        let bytes = value.get(4 * index..4 * index + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let (n_words, n_bytes) = match word(0)? >> 24 {
        1 => (1, 12),
        2 => (2, 20),
        3 => (2, 24),
        _ => return None,
    };
    if value.len() != n_bytes {
        return None;
    }
    let mut permitted = u64::from(word(1)?);
    if n_words == 2 {
        permitted |= u64::from(word(3)?) << 32;
    }
    let held = CAPABILITIES.iter().enumerate().filter(|(bit, _)| permitted & (1 << bit) != 0);
    Some(held.map(|(_, name)| *name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: FileKind, mode: u32, uid: u32) -> FileEntry {
        FileEntry {
            path: path.into(),
            kind,
            mode,
            uid,
            gid: 0,
            size: 0,
            mtime: 0,
            link: None,
            xattrs: vec![],
            layer: None,
        }
    }

    #[test]
    fn modes_are_judged() {
        use FileDanger as D;
        let check = |kind, mode, expected: &[FileDanger]| {
            let mut inspector = Inspector::new();
            inspector.see(&entry("x", kind, mode, 0));
            let (found, _) = inspector.finish(&[]);
            let dangers: Vec<FileDanger> = found.iter().map(|file| file.danger).collect();
            assert_eq!(dangers, expected, "{kind:?} {mode:o}");
        };
        check(FileKind::Regular, 0o755, &[]);
        check(FileKind::Regular, 0o4755, &[D::Setuid]);
        check(FileKind::HardLink, 0o6755, &[D::Setuid, D::Setgid]);
        check(FileKind::Regular, 0o2644, &[]);
        check(FileKind::Regular, 0o666, &[D::WorldWritable]);
        check(FileKind::Folder, 0o1777, &[]);
        check(FileKind::Folder, 0o777, &[D::WorldWritable]);
        check(FileKind::Folder, 0o2775, &[]);
        check(FileKind::Symlink, 0o777, &[]);
        check(FileKind::CharDevice, 0o600, &[D::Device]);
    }

    #[test]
    fn owners_are_found_across_the_merged_usr_and_lower_the_severity() {
        let mut inspector = Inspector::new();
        inspector.see(&entry("usr/bin/su", FileKind::Regular, 0o4755, 0));
        inspector.see(&entry("opt/backdoor", FileKind::Regular, 0o4755, 0));
        let package = Package {
            files: vec!["/bin/su".into()],
            ..Package::new(palisade_model::PackageKind::Dpkg, "util-linux", "1", "")
        };
        let (found, _) = inspector.finish(&[package]);
        assert_eq!(found[0].package.as_deref(), Some("util-linux"));
        assert_eq!((found[0].severity, found[1].severity), (Severity::Low, Severity::High));
        assert_eq!(found[1].detail, "mode 4755, owner 0:0");
    }

    #[test]
    fn capabilities_are_decoded() {
        // `setcap cap_net_raw+ep`, as the kernel stores it.
        let ping = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decode_capabilities(&ping), Some(vec!["cap_net_raw"]));
        let mut bpf = ping;
        bpf[12] = 0x80;
        assert_eq!(decode_capabilities(&bpf), Some(vec!["cap_net_raw", "cap_bpf"]));
        assert_eq!(decode_capabilities(&ping[..19]), None);
        assert_eq!(decode_capabilities(b""), None);
        assert_eq!(decode_capabilities(&[0; 20]), None);
    }

    #[test]
    fn a_second_root_is_found() {
        let mut inspector = Inspector::new();
        inspector.see_passwd(b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nx\na:x:1:1::/:\n");
        let (found, _) = inspector.finish(&[]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].detail, "user `toor` has id 0");
    }

    #[test]
    fn an_image_of_nothing_but_setuid_files_is_bounded() {
        let mut inspector = Inspector::new();
        for _ in 0..FILES_MAX + 3 {
            inspector.see(&entry("x", FileKind::Regular, 0o4755, 0));
        }
        let (found, n_dropped) = inspector.finish(&[]);
        assert_eq!((found.len(), n_dropped), (FILES_MAX, 3));
    }
}
