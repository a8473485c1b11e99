//! Benign attempts to get out of the container, or over its limits, from inside.
//!
//! Each opens, mounts or calls what a real way out needs, and does nothing with it: what is
//! written is the value that was there, what is mounted is unmounted by the end of the process
//! that mounted it. A script ends with 0 when the attempt came through, with 77 when the image
//! lacks what it takes, with anything else when it was refused.

use palisade_model::Severity;
use serde::Serialize;

/// An attempt.
#[derive(Debug)]
pub struct Attempt {
    /// Its name.
    pub id: &'static str,
    /// What is tried, for people.
    pub title: &'static str,
    /// Technique of MITRE ATT&CK.
    pub technique: &'static str,
    /// How bad it is when it comes through.
    pub severity: Severity,
    /// What `/bin/sh` runs.
    pub script: &'static str,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was refused.
    Refused,
    /// It came through.
    Through,
    /// The image lacks what it takes.
    Skipped,
}

/// An attempt that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The attempt's name.
    pub attempt: &'static str,
    /// What was tried.
    pub title: &'static str,
    /// Technique of MITRE ATT&CK.
    pub technique: &'static str,
    /// What became of it.
    pub verdict: Verdict,
}

/// Exit code that says that the image lacks what it takes.
pub const LACKS: i32 = 77;

const fn attempt(
    id: &'static str,
    title: &'static str,
    technique: &'static str,
    script: &'static str,
) -> Attempt {
    Attempt { id, title, technique, severity: Severity::Critical, script }
}

/// One that is a step on the way, and not out.
const fn step(
    id: &'static str,
    title: &'static str,
    technique: &'static str,
    script: &'static str,
) -> Attempt {
    Attempt { id, title, technique, severity: Severity::Medium, script }
}

/// Every attempt. Redirections that open for appending change nothing.
#[rustfmt::skip] // a table
pub const ATTEMPTS: &[Attempt] = &[
    attempt("core-pattern", "the kernel's core pattern is opened for writing", "T1611", "( : >>/proc/sys/kernel/core_pattern )"),
    attempt("modprobe-path", "the path of the kernel's module loader is opened for writing", "T1611", "( : >>/proc/sys/kernel/modprobe )"),
    attempt("sysrq", "the kernel's emergency keys are opened for writing", "T1611", "( : >>/proc/sysrq-trigger )"),
    attempt("uevent-helper", "the kernel's helper for devices is opened for writing", "T1611", "( : >>/sys/kernel/uevent_helper )"),
    attempt("release-agent", "a control group's release agent is opened for writing", "T1611",
        "for f in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/release_agent; do [ -e \"$f\" ] && ( : >>\"$f\" ) && exit 0; done 2>/dev/null; exit 1"),
    attempt("cgroup-limits", "its own limit of processes is opened for writing", "T1611",
        "for f in /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max; do [ -e \"$f\" ] && ( : >>\"$f\" ) && exit 0; done 2>/dev/null; exit 1"),
    attempt("host-root", "the root of the host's first process is entered", "T1611",
        "[ \"$(readlink /proc/1/ns/pid)\" != \"$(readlink /proc/self/ns/pid)\" ] && ls /proc/1/root/ >/dev/null 2>&1"),
    step("host-processes", "processes of the host are seen", "T1057",
        "n=0; for p in /proc/[0-9]*; do read -r c <\"$p/comm\" 2>/dev/null && case $c in kthreadd|systemd|ksoftirqd*) n=1;; esac; done; [ $n = 1 ]"),
    step("mount", "a file system is mounted", "T1611",
        "command -v mount >/dev/null || exit 77; mkdir -p /tmp/palisade-probe && mount -t tmpfs none /tmp/palisade-probe 2>/dev/null; r=$?; \
         [ $r = 0 ] && umount /tmp/palisade-probe; rmdir /tmp/palisade-probe 2>/dev/null; [ $r = 0 ]"),
    step("user-namespace", "a user namespace is made, with all capabilities within it", "T1611",
        "command -v unshare >/dev/null || exit 77; unshare -U true 2>/dev/null"),
    attempt("disk", "a disk of the host is opened", "T1006",
        "for d in /dev/sd? /dev/vd? /dev/nvme?n? /dev/dm-? /dev/loop?; do [ -e \"$d\" ] && ( : <\"$d\" ) && exit 0; done 2>/dev/null; exit 1"),
    attempt("device-node", "a node of a disk is made", "T1006",
        "command -v mknod >/dev/null || exit 77; mknod /tmp/palisade-probe-disk b 8 0 2>/dev/null && ( : </tmp/palisade-probe-disk ) 2>/dev/null; r=$?; \
         rm -f /tmp/palisade-probe-disk; [ $r = 0 ]"),
    attempt("memory", "the machine's memory is opened", "T1611", "( : </dev/mem ) 2>/dev/null || ( : </dev/kmem ) 2>/dev/null || ( : </proc/kcore ) 2>/dev/null"),
    attempt("engine-socket", "an engine's socket is there", "T1610",
        "for s in /var/run/docker.sock /run/docker.sock /run/containerd/containerd.sock /run/crio/crio.sock /run/podman/podman.sock; do \
         [ -S \"$s\" ] && [ -w \"$s\" ] && exit 0; done; exit 1"),
    step("kernel-log", "the kernel's log is read", "T1082", "command -v dmesg >/dev/null || exit 77; dmesg >/dev/null 2>&1"),
    step("kernel-addresses", "addresses of the kernel are told", "T1082",
        "[ -r /proc/kallsyms ] || exit 1; read -r a _ </proc/kallsyms || exit 1; case $a in *[1-9a-f]*) exit 0;; esac; exit 1"),
    attempt("kernel-module", "a file is offered to the kernel as a module", "T1547.006",
        "command -v insmod >/dev/null || exit 77; : >/tmp/palisade-probe.ko || exit 1; insmod /tmp/palisade-probe.ko 2>&1 | grep -qiE 'invalid|format'; r=$?; \
         rm -f /tmp/palisade-probe.ko; [ $r = 0 ]"),
    step("setuid", "the user is changed to root without a password", "T1548.001",
        "[ \"$(id -u 2>/dev/null)\" = 0 ] && exit 1; command -v su >/dev/null || exit 77; su -c true root </dev/null >/dev/null 2>&1"),
    step("written-program", "a program that was written is started", "T1105",
        "cp /bin/sh /tmp/palisade-probe-sh 2>/dev/null || exit 1; /tmp/palisade-probe-sh -c : 2>/dev/null; r=$?; rm -f /tmp/palisade-probe-sh; [ $r = 0 ]"),
    step("image-changed", "a program's folder of the image is written to", "T1554", "( : >/bin/palisade-probe ) 2>/dev/null && rm -f /bin/palisade-probe"),
    attempt("ambient-capabilities", "a capability that opens the host is held", "T1611",
        "while read -r k v; do [ \"$k\" = CapEff: ] && break; done </proc/self/status; v=${v#????????}; \
         [ $(( 0x$v & 0x2b0000 )) -ne 0 ] && read -r a b c </proc/self/uid_map && [ \"$b\" = 0 ]"),
    step("no-filter", "no filter of system calls is there", "T1611",
        "while read -r k v; do [ \"$k\" = Seccomp: ] && break; done </proc/self/status; [ \"$v\" = 0 ]"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_told_apart_and_are_scripts() {
        let ids: std::collections::BTreeSet<&str> =
            ATTEMPTS.iter().map(|attempt| attempt.id).collect();
        assert_eq!(ids.len(), ATTEMPTS.len());
        for attempt in ATTEMPTS {
            let status = std::process::Command::new("/bin/sh")
                .args(["-n", "-c", attempt.script])
                .status()
                .unwrap();
            assert!(status.success(), "{}", attempt.id);
        }
    }
}
