//! For each action of Falco's event generator something harmless that fires the same rule.
//!
//! The list of actions, each with the rule that it must fire, is Falco's; what is done here
//! for each is ours. Rules that their files turn off are on.

use serde_json::Value;

use super::stage::Kind;
use super::watcher::{Loading, Watcher, shown};
use super::{Tally, falco_rules, material};
use crate::support::is_root;

use Where::{Both, Container, Host};

/// Where the rule asks for it to be done.
#[derive(Clone, Copy)]
enum Where {
    Host,
    Container,
    Both,
}

impl Where {
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Host => &[Kind::Host],
            Self::Container => &[Kind::Container],
            Self::Both => &Kind::BOTH,
        }
    }
}

/// The action, the process that does it, where, and how.
type Row = (&'static str, &'static str, Where, &'static str);

#[rustfmt::skip] // a table
const ROWS: &[Row] = &[
    ("AddingSshKeysToAuthorizedKeys", "act", Both,
        "mkdir -p /root/.ssh; act 'openat AT_FDCWD /root/.ssh/authorized_keys O_WRONLY|O_CREAT 0600'"),
    // Without CAP_SYS_ADMIN, so that the call is refused.
    ("ChangeNamespacePrivilegesViaUnshare", "act", Container,
        "DO='unshare CLONE_NEWNS' setpriv --reuid 1 --clear-groups --inh-caps -all /opt/eg/act"),
    ("ChangeThreadNamespace", "act", Both,
        "act 'openat AT_FDCWD /proc/self/ns/uts O_RDONLY; setns $ CLONE_NEWUTS'"),
    ("ClearLogActivities", "act", Both,
        "act 'openat AT_FDCWD /var/log/eg-canary O_WRONLY|O_CREAT|O_TRUNC 0600'"),
    ("ContactEC2InstanceMetadataServiceFromContainer", "act", Container,
        "act 'socket AF_INET SOCK_DGRAM 0; connect $ in:169.254.169.254:80'"),
    ("ContainerDriftDetectedChmod", "act", Container,
        ": >/tmp/eg-drift; act 'fchmodat AT_FDCWD /tmp/eg-drift 0755'"),
    ("ContainerDriftDetectedOpenCreate", "act", Container,
        "act 'openat AT_FDCWD /tmp/eg-created O_WRONLY|O_CREAT 0755'"),
    ("CreateFilesBelowDev", "act", Both, "act 'openat AT_FDCWD /dev/eg-canary O_WRONLY|O_CREAT 0600'"),
    ("CreateHardlinkOverSensitiveFiles", "act", Both,
        "act 'linkat AT_FDCWD /etc/shadow AT_FDCWD /etc/eg-link 0; unlinkat AT_FDCWD /etc/eg-link 0'"),
    ("CreateHiddenFilesOrDirectories", "act", Both, "act 'openat AT_FDCWD /tmp/.eg-hidden O_WRONLY|O_CREAT 0600'"),
    ("CreateSymlinkOverSensitiveFiles", "act", Both, "act 'symlinkat /etc AT_FDCWD /tmp/eg-symlink'"),
    ("DbProgramSpawnedProcess", "true", Both, "as mysqld 'spawn /bin/true'"),
    ("DebugfsLaunchedInPrivilegedContainer", "debugfs", Container, "as debugfs getpid"),
    ("DecodingPayloadInContainer", "base64", Container, "echo aGVsbG8= | base64 -d"),
    ("DeleteOrRenameShellHistory", "act", Both,
        ": >/tmp/.bash_history; act 'unlinkat AT_FDCWD /tmp/.bash_history 0'"),
    ("DetectCryptoMinersUsingTheStratumProtocol", "act", Both, "as act getpid -o stratum+tcp://pool.invalid:3333"),
    ("DetectReleaseAgentFileContainerEscapes", "act", Container,
        "act 'openat AT_FDCWD /tmp/release_agent O_WRONLY|O_CREAT 0600'"),
    ("DirectoryTraversalMonitoredFileRead", "eg-reader", Both,
        r#"as eg-reader getpid; as httpd 'spawn "DO=openat AT_FDCWD /etc/../etc/../etc/passwd O_RDONLY" /opt/eg/eg-reader'"#),
    ("DisallowedSSHConnectionNonStandardPort", "ssh", Both,
        "as ssh 'serve in:203.0.113.10:443; socket AF_INET SOCK_STREAM 0; connect $ in:203.0.113.10:443'"),
    ("DropAndExecuteNewBinaryInContainer", "eg-dropped", Container,
        "cp /opt/eg/act /usr/eg-dropped; /usr/eg-dropped"),
    ("ExecutionFromDevShm", "eg-in-shm", Both, "cp /opt/eg/act /dev/shm/eg-in-shm; /dev/shm/eg-in-shm"),
    ("FilelessExecutionViaMemfdCreate", "", Both, "act \"memfd_create 'eg' 0; copy /opt/eg/act; fexec\""),
    ("FindAwsCredentials", "grep", Both, "grep -r aws_secret_access_key /mnt || :"),
    ("InterpretedProcsInboundNetworkActivity", "python3", Both, "as python3 'serve in:203.0.113.10:8000'"),
    ("InterpretedProcsOutboundNetworkActivity", "python3", Both,
        "as python3 'socket AF_INET SOCK_DGRAM 0; connect $ in:203.0.113.10:53'"),
    ("JavaProcessClassFileDownload", "java", Both,
        r"as java $'socket AF_INET SOCK_DGRAM 0; bind 3 in:127.0.0.1:7555; sendto 3 \'\xca\xfe\xba\xbe\' 4 0 in:127.0.0.1:7555; recvfrom 3 zeros:64 64 0 0 0'"),
    ("KubernetesClientToolLaunchedInContainer", "kubectl", Container, "as kubectl getpid get pods"),
    ("LaunchIngressRemoteFileCopyToolsInContainer", "wget", Container, "as wget getpid http://nowhere.invalid/"),
    ("LaunchPackageManagementProcessInContainer", "apt-get", Container, "as apt-get getpid install nothing"),
    ("LaunchRemoteFileCopyToolsInContainer", "rsync", Container, "as rsync getpid a nowhere.invalid:b"),
    ("LaunchSuspiciousNetworkToolInContainer", "nmap", Container, "as nmap getpid 127.0.0.1"),
    ("LaunchSuspiciousNetworkToolOnHost", "nmap", Host, "as nmap getpid 127.0.0.1"),
    ("MkdirBinaryDirs", "act", Both, "act 'mkdirat AT_FDCWD /usr/bin/eg-canary 0755'"),
    ("ModifyBinaryDirs", "act", Both,
        ": >/usr/bin/eg-file; act 'renameat AT_FDCWD /usr/bin/eg-file AT_FDCWD /usr/bin/eg-renamed'"),
    // The rule asks for a file of this name, and opens are seen by the file that they reached, all
    // links resolved: here it is one, on a file system that stands where the kernel's was.
    ("ModifyContainerEntrypoint", "act", Container,
        "DO='openat AT_FDCWD /proc/self/exe O_WRONLY' unshare -m sh -ec \
         'mount -t tmpfs eg /proc; mkdir /proc/self; : >/proc/self/exe; exec /opt/eg/act'"),
    ("ModifyShellConfigurationFile", "act", Both, "act 'openat AT_FDCWD /tmp/.bashrc O_WRONLY|O_CREAT 0600'"),
    ("MountLaunchedInPrivilegedContainer", "mount", Container, "as mount getpid /dev/eg-canary /mnt"),
    ("NetcatRemoteCodeExecutionInContainer", "nc", Container, "as nc getpid 127.0.0.1 1 -e /bin/sh"),
    ("NonSudoSetuid", "act", Both, "DO='setuid 2' setpriv --reuid 1 --clear-groups /opt/eg/act"),
    ("PacketSocketCreatedInContainer", "act", Container, "act 'socket AF_PACKET SOCK_RAW 0'"),
    ("PolkitLocalPrivilegeEscalationVulnerabilityCVE20214034", "pkexec", Both, "as pkexec getpid"),
    ("PotentialLocalPrivilegeEscalationViaEnvironmentVariablesMisuse", "act", Both,
        "GLIBC_TUNABLES=eg.canary=1 as act getpid"),
    ("ProgramRunWithDisallowedHttpProxyEnv", "curl", Both, "http_proxy=http://nowhere.invalid as curl getpid"),
    ("PtraceAntiDebugAttempt", "act", Both, "act 'ptrace PTRACE_TRACEME 0 0 0'"),
    ("PtraceAttachedToProcess", "act", Both, "act 'fork; ptrace PTRACE_ATTACH $ 0 0; reap'"),
    ("ReadEnvironmentVariableFromProcFiles", "act", Container, "act 'openat AT_FDCWD /proc/1/environ O_RDONLY'"),
    // A trusted program is one that has run for five seconds.
    ("ReadSensitiveFileTrustedAfterStartup", "nginx", Both,
        "as nginx 'sleep 5100; openat AT_FDCWD /etc/shadow O_RDONLY'"),
    ("ReadSensitiveFileUntrusted", "act", Both, "act 'openat AT_FDCWD /etc/shadow O_RDONLY'"),
    ("ReadShellConfigurationFile", "act", Both, ": >/tmp/.profile; act 'openat AT_FDCWD /tmp/.profile O_RDONLY'"),
    ("ReadSshInformation", "act", Both, "mkdir -p /root/.ssh; act 'openat AT_FDCWD /root/.ssh O_RDONLY|O_DIRECTORY'"),
    ("RemoveBulkDataFromDisk", "shred", Both, "as shred getpid /mnt/nothing"),
    ("RunShellUntrusted", "sh", Both, "as nginx 'spawn /bin/sh -c :'"),
    ("ScheduleCronJobs", "act", Both, "mkdir -p /etc/cron.d; act 'openat AT_FDCWD /etc/cron.d/eg O_WRONLY|O_CREAT 0600'"),
    ("SearchPrivateKeysOrPasswords", "find", Both, "find /mnt -name id_rsa"),
    ("SetSetuidOrSetgidBit", "act", Both, ": >/tmp/eg-setuid; act 'fchmodat AT_FDCWD /tmp/eg-setuid 04755'"),
    ("SudoPotentialPrivilegeEscalation", "sudoedit", Both, r"as sudoedit getpid -s '\'"),
    ("SystemProcsNetworkActivity", "cat", Both,
        "as cat 'socket AF_INET SOCK_DGRAM 0; connect $ in:203.0.113.10:53'"),
    ("SystemUserInteractive", "login", Both, "as login getpid; setpriv --reuid 1 --clear-groups /opt/eg/login"),
    ("UnexpectedUDPTraffic", "act", Both, "act 'socket AF_INET SOCK_DGRAM 0; connect $ in:203.0.113.10:9999'"),
    ("UnprivilegedDelegationOfPageFaultsHandlingToAUserspaceProcess", "act", Both,
        "DO='userfaultfd 0' setpriv --reuid 1 --clear-groups /opt/eg/act"),
    ("UserMgmtBinaries", "useradd", Host, "as useradd getpid nobody-real"),
    ("WriteBelowBinaryDir", "act", Both, "act 'openat AT_FDCWD /usr/bin/eg-written O_WRONLY|O_CREAT 0644'"),
    ("WriteBelowEtc", "act", Both, "act 'openat AT_FDCWD /etc/eg-written O_WRONLY|O_CREAT 0644'"),
    ("WriteBelowMonitoredDir", "act", Both, "act 'openat AT_FDCWD /usr/local/bin/eg-written O_WRONLY|O_CREAT 0644'"),
    ("WriteBelowRoot", "act", Both, "act 'openat AT_FDCWD /root/eg-written O_WRONLY|O_CREAT 0644'"),
    ("WriteBelowRpmDatabase", "act", Both,
        "mkdir -p /var/lib/rpm; act 'openat AT_FDCWD /var/lib/rpm/eg-written O_WRONLY|O_CREAT 0644'"),
];

#[test]
fn each_action_fires_its_rule() {
    let (true, Some(material)) = (is_root(), material()) else { return };
    let text = std::fs::read_to_string(material.join("tables/event_generator_actions.json"));
    let actions: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let rules = falco_rules(&material);
    let rules: Vec<_> = rules.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let loading = Loading { all_enabled: true, ..Loading::default() };
    let mut watcher = Watcher::start(&Kind::BOTH, &rules, &loading);
    let mut tally = Tally::default();
    for action in actions.as_array().unwrap() {
        let name = action[0].as_str().unwrap();
        let (rule, priority) = (action[3][0].as_str().unwrap(), action[3][2].as_str().unwrap());
        let Some(row) = ROWS.iter().find(|row| row.0 == name) else {
            tally.failed(name, "there is no row for it");
            continue;
        };
        for kind in row.2.kinds() {
            match check(&mut watcher, row, *kind, rule, priority) {
                Ok(()) => tally.n_passed += 1,
                Err(why) => tally.failed(&format!("{name} on {kind:?}"), &why),
            }
        }
    }
    tally.finish("actions of the event generator");
}

fn check(
    watcher: &mut Watcher,
    (_, process, _, script): &Row,
    kind: Kind,
    rule: &str,
    priority: &str,
) -> Result<(), String> {
    let (detections, status) = watcher.act(kind, script);
    if status != 0 {
        return Err(format!("`{script}` ended with {status}"));
    }
    let stage = watcher.stage(kind);
    let expected = detections.iter().find(|detection| {
        let name = detection.process.as_ref().map_or("", |process| process.name.as_str());
        detection.rule.name == rule
            && (process.is_empty() || name == *process)
            && stage.is_of(detection)
    });
    let Some(expected) = expected else {
        return Err(format!("`{rule}` has not fired\n{}", shown(&detections)));
    };
    let actual = expected.rule.priority.to_string();
    let is_equal = actual.to_uppercase().starts_with(&priority[..4]);
    is_equal.then_some(()).ok_or_else(|| format!("priority {actual}, not {priority}"))
}
