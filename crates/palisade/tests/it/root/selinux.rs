//! A module made of a record, compiled, loaded, and denying what the record does not have.
//!
//! Only in a guest whose kernel has SELinux and no policy yet: a policy cannot be unloaded. The
//! base that the module stands on is the test's own, smaller than any distribution's: everything is
//! allowed but what the module is asked about.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::bed::Bed;
use super::docker::make_root;
use crate::support::{Ended, finish};

const FOLDER: &str = "/sys/fs/selinux";
/// The version of the policy's binary form: the kernel's own is this or newer.
const VERSION: &str = "31";

/// The blocks are those that udica's templates have; classes without a permission here are allowed.
const BASE: &str = "
(handleunknown allow)
(policycap nnp_nosuid_transition)
(mls false)
(class tcp_socket (name_bind))
(class udp_socket (name_bind))
(class capability (net_bind_service))
(class process (transition dyntransition))
(class file (quotaon)) (class dir (quotaon))
(classorder (tcp_socket udp_socket capability process file dir))
(sid kernel) (sid security) (sid unlabeled) (sid fs) (sid file) (sid file_labels) (sid init)
(sid any_socket) (sid port) (sid netif) (sid netmsg) (sid node)
(sidorder (kernel security unlabeled fs file file_labels init any_socket port netif netmsg node))
(sensitivity s0) (sensitivityorder (s0)) (category c0) (categoryorder (c0))
(sensitivitycategory s0 (c0))
(user system_u) (role system_r) (userrole system_u system_r)
(userlevel system_u (s0)) (userrange system_u ((s0) (s0)))
(type host_t) (roletype system_r host_t)
(type object_t) (roletype system_r object_t)
(type container_t) (roletype system_r container_t)
(type container_file_t)
(type port_t) (roletype system_r port_t)
(type reserved_port_t) (roletype system_r reserved_port_t)
(type unreserved_port_t) (roletype system_r unreserved_port_t)
(sidcontext kernel (system_u system_r host_t ((s0) (s0))))
(sidcontext init (system_u system_r host_t ((s0) (s0))))
(sidcontext security (system_u system_r object_t ((s0) (s0))))
(sidcontext unlabeled (system_u system_r object_t ((s0) (s0))))
(sidcontext fs (system_u system_r object_t ((s0) (s0))))
(sidcontext file (system_u system_r object_t ((s0) (s0))))
(sidcontext file_labels (system_u system_r object_t ((s0) (s0))))
(sidcontext any_socket (system_u system_r object_t ((s0) (s0))))
(sidcontext port (system_u system_r port_t ((s0) (s0))))
(sidcontext netif (system_u system_r object_t ((s0) (s0))))
(sidcontext netmsg (system_u system_r object_t ((s0) (s0))))
(sidcontext node (system_u system_r object_t ((s0) (s0))))
(portcon tcp (1 1023) (system_u system_r reserved_port_t ((s0) (s0))))
(portcon tcp (1024 65535) (system_u system_r unreserved_port_t ((s0) (s0))))
(allow host_t reserved_port_t (tcp_socket (name_bind)))
(allow host_t unreserved_port_t (tcp_socket (name_bind)))
(allow host_t host_t (process (transition dyntransition)))
(allow host_t container_t (process (transition dyntransition)))
(fsuse trans tmpfs (system_u system_r object_t ((s0) (s0))))
(fsuse trans mqueue (system_u system_r object_t ((s0) (s0))))
(allow host_t host_t (capability (net_bind_service)))
(block container
  (blockabstract container)
  (type process)
  (roletype system_r process)
  (allow host_t process (process (transition dyntransition))))
(block restricted_net_container (blockabstract restricted_net_container))
";

/// Whether this is a machine on which a policy may be loaded; says why not.
fn may_load() -> bool {
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if !modules.trim().split(',').any(|name| name == "selinux") {
        eprintln!("skipped: the kernel has started without SELinux");
        return false;
    }
    if !Path::new(FOLDER).join("load").exists() {
        let mut mount = Command::new("mount");
        mount.args(["-t", "selinuxfs", "selinuxfs", FOLDER]);
        finish(mount).expect(0);
    }
    if std::fs::read("/proc/self/attr/current").is_ok_and(|label| !label.starts_with(b"kernel")) {
        eprintln!("skipped: SELinux has a policy already");
        return false;
    }
    let mut compiler = Command::new("secilc");
    compiler.arg("--help");
    if compiler.output().is_err() {
        eprintln!("skipped: secilc is not installed (scripts/install-deps.sh vm)");
        return false;
    }
    true
}

/// A record that binds a port below 1024.
fn record(bed: &Bed) {
    let endpoint = json!([{"family": "inet", "address": "127.0.0.1", "port": 80}]);
    let record = json!({
        "schema": "palisade.dev/profile-record/v1", "name": "web", "architecture": "x86_64",
        "n_merged": 1, "floor": "seen", "gaps": [], "calls": {"bind": ["recorded"]},
        "arguments": {}, "refused": [], "capabilities_known": true,
        "capabilities": [{"name": "NET_BIND_SERVICE", "calls": ["bind"]}],
        "files": {"written": [], "changed": [], "executed": []},
        "network": {"bound": endpoint, "connected": [], "unix_bound": [], "unix_connected": []},
    });
    std::fs::write(bed.path().join("web.json"), record.to_string()).unwrap();
}

/// Flags of a container that may do everything but what SELinux forbids.
fn flags(bed: &Bed, name: &str, selinux: &str) -> [String; 4] {
    let text = format!(
        "version: 1\nname: {name}\nimages: {{verify: off}}\ncontainers:\n  user: image\n  \
         capabilities: [NET_BIND_SERVICE, NET_ADMIN]\n  read_only_root: false\n  \
         selinux: {selinux}\n"
    );
    let policy = bed.path().join(format!("{name}.yaml"));
    std::fs::write(&policy, text).unwrap();
    let rootfs = bed.path().join("root").display().to_string();
    ["--policy".into(), policy.display().to_string(), "--rootfs".into(), rootfs]
}

/// Runs a shell in such a container.
fn shell(bed: &Bed, name: &str, selinux: &str, script: &str) -> Ended {
    let flags = flags(bed, name, selinux);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    bed.run(&[&["run"][..], &flags, &["--", "/bin/sh", "-c", script]].concat())
}

#[test]
fn a_module_made_of_a_record_denies_what_the_record_does_not_have() {
    let Some(bed) = Bed::new() else { return };
    if !may_load() {
        return;
    }
    make_root(bed.path());
    record(&bed);
    let args = ["profile", "export", "web.json", "--format", "selinux", "--output", "web.cil"];
    bed.run(&args).expect(0);
    std::fs::write(bed.path().join("base.cil"), BASE).unwrap();
    let mut compile = Command::new("secilc");
    compile
        .args(["-c", VERSION, "-M", "false", "-o", "policy", "-f", "contexts"])
        .args(["base.cil", "web.cil"])
        .current_dir(bed.path());
    finish(compile).expect(0);
    let policy = std::fs::read(bed.path().join("policy")).unwrap();
    std::fs::write(Path::new(FOLDER).join("load"), policy).unwrap();
    std::fs::write(Path::new(FOLDER).join("enforce"), "1").unwrap();

    let try_both = "ip link set lo up 2>/dev/null
        for port in 80 8080; do
            (timeout 2 nc -l -p $port </dev/null; echo code $?) 2>&1 | sed \"s/^/$port /\"
            echo $port done
        done; cat /proc/self/attr/current; echo; cat /etc/hosts
        grep -o 'context=[^, ]*' /proc/self/mountinfo; :";
    let free = shell(&bed, "free", "none", try_both).expect(0).stdout;
    assert!(free.matches("code 143").count() == 2, "both wait until they are ended: {free}");
    let label = "system_u:system_r:web_palisade.process";
    let held = shell(&bed, "held", label, try_both).expect(0).stdout;
    assert!(held.contains(label), "the label is the process's own: {held}");
    assert!(held.contains("80 code 143\n"), "the port of the record: {held}");
    assert!(held.contains("8080 nc: bind: Permission denied\n8080 code 1\n"), "another: {held}");
    let files = "system_u:object_r:container_file_t";
    assert!(held.contains(&format!("context={files}")), "its root's label: {held}");

    // What is started in it later, and the files that it is given, have its labels too.
    let held = flags(&bed, "kept", label);
    let held: Vec<&str> = held.iter().map(String::as_str).collect();
    let rest = ["--", "/bin/sleep", "100"];
    let ended = bed.run(&[&["run", "--detach", "--name", "kept"][..], &held, &rest].concat());
    let id = ended.expect(0).stdout.trim().to_string();
    let inside = bed.run(&["exec", "kept", "--", "/bin/cat", "/proc/self/attr/current"]);
    assert!(inside.expect(0).stdout.starts_with(label));
    let mut stat = Command::new("stat");
    stat.args(["-c", "%C"]).arg(bed.run_dir.join("bundles").join(&id).join("hosts"));
    assert_eq!(finish(stat).expect(0).stdout.trim(), files);
    bed.run(&["stop", "--grace", "0", "kept"]).expect(0);

    // The label of containers, where nothing is named; one that is named has to be there.
    let ended = shell(&bed, "auto", "auto", "cat /proc/self/attr/current").expect(0);
    assert!(ended.stdout.starts_with("system_u:system_r:container_t"), "{}", ended.stdout);
    let ended = shell(&bed, "unknown", "system_u:system_r:other_t", "true").expect(3);
    assert!(ended.stderr.contains("does not know the label"), "{}", ended.stderr);

    // The state of the machine is shown.
    let shown = bed.run(&["doctor", "--format", "tsv"]).stdout;
    let is_line = |line: &&str| line.split('\t').any(|part| part == "SELinux");
    let line = shown.lines().find(is_line).unwrap_or_default();
    assert!(line.contains("enforcing"), "{shown}");
}
