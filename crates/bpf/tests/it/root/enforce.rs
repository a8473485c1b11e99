//! Processes are killed by rules in guarded cgroups, and nowhere else.

use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use palisade_bpf::enforce::{
    Action, Counts, Decision, EnforceError, EnforcedRule, Enforcer, LEVELS_MAX, Means, Outcome,
    Plan, Refusals, lsm_is_active,
};
use palisade_rules::selector::NumberTest::{AnyBit, Equal, Greater, Less};
use palisade_rules::selector::{Atom, EventSelector, Input, NumberTest, Selector, Term, Test};

use super::*;

const SIGKILL: i32 = 9;

/// A selector for `event`: all of `need`, none of `forbid`.
pub(super) fn selector(event: &str, need: Vec<Atom>, forbid: Vec<Atom>) -> Selector {
    let bits = |n: usize| (1_u64 << n) - 1;
    let term = Term { need: bits(need.len()), forbid: bits(forbid.len()) << need.len() };
    let atoms = need.into_iter().chain(forbid).collect();
    Selector { events: vec![EventSelector { event: event.into(), atoms, terms: vec![term] }] }
}

pub(super) fn is(input: Input, texts: &[&str]) -> Atom {
    let equal = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let (prefixes, suffixes) = (BTreeSet::new(), BTreeSet::new());
    Atom { input, test: Test::Text { equal, prefixes, suffixes } }
}

fn begins(input: Input, text: &str) -> Atom {
    let prefixes = [text.as_bytes().to_vec()].into();
    let (equal, suffixes) = (BTreeSet::new(), BTreeSet::new());
    Atom { input, test: Test::Text { equal, prefixes, suffixes } }
}

fn ends(input: Input, text: &str) -> Atom {
    let (equal, prefixes) = (BTreeSet::new(), BTreeSet::new());
    let suffixes = [text.as_bytes().to_vec()].into();
    Atom { input, test: Test::Text { equal, prefixes, suffixes } }
}

pub(super) fn number(input: Input, test: NumberTest) -> Atom {
    Atom { input, test: Test::Numbers(vec![test]) }
}

fn kill(number: u32, selector: Selector) -> EnforcedRule {
    EnforcedRule { number, selector, action: Action::Kill, dry_run: false }
}

pub(super) fn deny(number: u32, selector: Selector) -> EnforcedRule {
    EnforcedRule { action: Action::Deny, ..kill(number, selector) }
}

fn net(input: Input, text: &str) -> Atom {
    Atom { input, test: Test::Nets([text.parse().unwrap()].into()) }
}

pub(super) fn plan(rules: Vec<EnforcedRule>) -> Plan {
    Plan { rules }
}

/// The probes of `events`, with enforcement by `enforcer`.
fn enforcing(events: &[&str], enforcer: &Enforcer) -> Sensor {
    load(events, &Options { enforcement: Some(enforcer.tables()), ..Options::default() })
}

/// Runs `script` by bash, in the cgroup if there is one, to its end.
pub(super) fn run(cgroup: Option<&Path>, script: &str) -> (ExitStatus, String) {
    let enter =
        cgroup.map_or(String::new(), |path| format!("echo $$ > {}/cgroup.procs; ", path.display()));
    let mut child = Command::new("bash")
        .args(["-c", &format!("{enter}{script}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > SOON {
            child.kill().unwrap();
            panic!("`{script}` has not ended in {SOON:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    (status, text)
}

pub(super) fn decisions(enforcer: &mut Enforcer) -> Vec<Decision> {
    let mut all = Vec::new();
    enforcer.poll(&mut |decision| all.push(decision));
    all
}

/// A program of its own that makes a file and ends.
fn program(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    std::fs::copy("/usr/bin/touch", &path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A command that runs [`helper_for_other_tests`] to do `what`.
pub(super) fn helper(what: &str) -> String {
    let test = std::env::current_exe().unwrap();
    format!(
        "PALISADE_TEST_DO={what} exec {} --exact root::enforce::helper_for_other_tests",
        test.display()
    )
}

/// Does what the tests below need done in a process of its own.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test tells its child what to do")]
fn helper_for_other_tests() {
    let udp = |from: &str, to: &str| UdpSocket::bind(from).unwrap().connect(to);
    match std::env::var("PALISADE_TEST_DO").as_deref() {
        Ok("udp") => udp("0.0.0.0:0", "127.0.0.1:9").unwrap(),
        Ok("udp6") => drop(udp("[::]:0", "[::1]:9")),
        Ok("mapped") => drop(udp("[::]:0", "[::ffff:127.0.0.1]:9")),
        Ok("unix") => drop(UnixStream::connect("/nowhere").unwrap_err()),
        Ok("bind") => drop(UdpSocket::bind("127.0.0.1:0").unwrap()),
        Ok("thread") => {
            let name = std::thread::Builder::new().name("worker".into());
            name.spawn(move || udp("0.0.0.0:0", "127.0.0.1:9")).unwrap().join().unwrap().unwrap();
        }
        #[cfg(target_arch = "x86_64")]
        Ok(call) if call.starts_with("call ") => super::refused_calls::make(call),
        _ => {}
    }
}

#[test]
fn a_thread_by_another_name_is_judged_by_what_both_names_say() {
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("kill-thread");
    let mut enforcer = Enforcer::load(&Plan::default()).unwrap();
    enforcer.guard(&cgroup.0, &BTreeSet::new()).unwrap();
    let _sensor = enforcing(&["connect"], &enforcer);
    let process = std::env::current_exe().unwrap();
    let process = &process.file_name().unwrap().to_str().unwrap();
    let process = &process[..process.len().min(15)];
    let mut check = |need: &[&str], forbid: &[&str], killed: bool| {
        let names = |names: &[&str]| match names {
            [] => vec![],
            names => vec![is(Input::Comm, names)],
        };
        let rule = kill(1, selector("connect", names(need), names(forbid)));
        enforcer.replace(&plan(vec![rule])).unwrap();
        let (status, _) = run(Some(&cgroup.0), &helper("thread"));
        assert_eq!(status.signal(), killed.then_some(SIGKILL), "{need:?} {forbid:?}");
    };
    check(&["worker"], &[], false);
    check(&[process], &[], false);
    check(&["worker", process], &[], true);
    check(&[], &["worker"], false);
    check(&[], &[process], false);
    check(&[], &["other"], true);
}

#[test]
fn an_exec_is_killed_before_its_first_instruction_in_its_cgroup_only() {
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("kill-exec");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let miner = program(&folder, "miner");
    let other = program(&folder, "miner2");
    let rule = selector("execve", vec![is(Input::ExePath, &[&miner])], vec![]);
    let mut enforcer = Enforcer::load(&plan(vec![kill(7, rule)])).unwrap();
    let _sensor = enforcing(&["execve"], &enforcer);
    let made = folder.join("made");
    let attempt = |program: &str, cgroup: Option<&Path>| {
        let _absent = std::fs::remove_file(&made);
        let (status, _) = run(cgroup, &format!("exec {program} {}", made.display()));
        (status.signal(), made.exists())
    };

    // Nothing is guarded yet.
    assert_eq!(attempt(&miner, Some(&cgroup.0)), (None, true));
    let id = enforcer.guard(&cgroup.0, &BTreeSet::new()).unwrap();
    assert_eq!(id, cgroup.id());
    assert_eq!(attempt(&miner, Some(&cgroup.0)), (Some(SIGKILL), false));
    assert_eq!(attempt(&miner, None), (None, true), "outside of the cgroup");
    assert_eq!(attempt(&other, Some(&cgroup.0)), (None, true), "a longer name");

    let found = decisions(&mut enforcer);
    assert_eq!(found.len(), 1, "{found:?}");
    let decision = &found[0];
    assert_eq!(
        (decision.rule, decision.means, decision.outcome),
        (7, Means::KernelKill, Outcome::Killed)
    );
    assert_eq!((decision.event, decision.cgroup_id), (EXECVE, cgroup.id()));
    assert_eq!(decision.comm, "miner");
    assert!(decision.tgid > 1 && decision.start_boottime_ns > 0);
    let counts = enforcer.counts();
    assert_eq!(counts[&7], Counts { n_killed: 1, ..Counts::default() });

    // An exception, a cgroup below, and the end.
    enforcer.guard(&cgroup.0, &[7].into()).unwrap();
    assert_eq!(attempt(&miner, Some(&cgroup.0)), (None, true));
    enforcer.guard(&cgroup.0, &[8].into()).unwrap();
    let below = cgroup.0.join("below");
    std::fs::create_dir(&below).unwrap();
    assert_eq!(attempt(&miner, Some(&below)), (Some(SIGKILL), false), "a cgroup below");
    enforcer.unguard(cgroup.id());
    assert_eq!(attempt(&miner, Some(&cgroup.0)), (None, true));
    enforcer.guard(&cgroup.0, &BTreeSet::new()).unwrap();
    assert_eq!(attempt(&miner, Some(&cgroup.0)), (Some(SIGKILL), false));
    drop(enforcer);
    assert_eq!(attempt(&miner, Some(&cgroup.0)), (None, true), "the enforcer is gone");
    std::fs::remove_dir(&below).unwrap();
}

#[test]
fn an_opened_file_is_never_read() {
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("kill-open");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let file = |name: &str| folder.join(name).display().to_string();
    for name in ["secret", "public"] {
        std::fs::write(file(name), name).unwrap();
    }
    std::os::unix::fs::symlink("secret", file("innocent")).unwrap();
    let read = selector(
        "openat",
        vec![
            is(Input::Path, &[&file("secret")]),
            number(Input::Descriptor, Greater(-1)),
            number(Input::OpenFlags, AnyBit(1)),
        ],
        vec![is(Input::Comm, &["head"])],
    );
    let mut enforcer = Enforcer::load(&plan(vec![kill(1, read)])).unwrap();
    enforcer.guard(&cgroup.0, &BTreeSet::new()).unwrap();
    let mut sensor = enforcing(&["openat", "open"], &enforcer);
    let check = |name: &str, program: &str, killed: bool| {
        let (status, text) = run(Some(&cgroup.0), &format!("exec {program} {}", file(name)));
        assert_eq!(status.signal(), killed.then_some(SIGKILL), "{program} {name}");
        assert_eq!(text.is_empty(), killed, "{program} {name}: {text}");
    };
    check("public", "cat", false);
    check("secret", "cat", true);
    check("innocent", "cat", true); // by the file's own path, whatever the link's
    check("secret", "head", false);
    assert_eq!(enforcer.counts()[&1].n_killed, 2);

    // The record comes all the same, with the thread and the time of the decision.
    let found = decisions(&mut enforcer);
    let record =
        find(&mut sensor, |e| e.text(2) == file("secret") && e.tid == u64::from(found[0].tid));
    // A machine that is busy, or not there for a moment as virtual ones are, stands still between.
    assert!(record.time_ns.abs_diff(found[0].time_ns) < 1_000_000_000, "{record:?} {found:?}");
}

#[test]
fn a_rule_on_trial_only_reports() {
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("kill-dry");
    let rule = |number, dry_run| EnforcedRule {
        dry_run,
        ..kill(number, selector("execve", vec![is(Input::Comm, &["true"])], vec![]))
    };
    let mut enforcer = Enforcer::load(&plan(vec![rule(1, true)])).unwrap();
    enforcer.guard(&cgroup.0, &BTreeSet::new()).unwrap();
    let _sensor = enforcing(&["execve"], &enforcer);
    assert!(run(Some(&cgroup.0), "exec /bin/true").0.success());
    let found = decisions(&mut enforcer);
    assert_eq!(
        found.iter().map(|d| (d.rule, d.outcome)).collect::<Vec<_>>(),
        [(1, Outcome::Would)]
    );

    // One that acts goes first; replacing takes effect at once, and counts anew.
    enforcer.replace(&plan(vec![rule(1, true), rule(2, false)])).unwrap();
    assert_eq!(run(Some(&cgroup.0), "exec /bin/true").0.signal(), Some(SIGKILL));
    let counts = enforcer.counts();
    assert_eq!((counts[&1].n_would, counts[&2].n_killed), (0, 1));
    for _ in 0..3 {
        enforcer.replace(&Plan::default()).unwrap();
        assert!(run(Some(&cgroup.0), "exec /bin/true").0.success());
        enforcer.replace(&plan(vec![rule(3, false)])).unwrap();
        assert_eq!(run(Some(&cgroup.0), "exec /bin/true").0.signal(), Some(SIGKILL));
    }
}

#[test]
fn what_rules_ask_is_answered_by_the_kernel() {
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("kill-inputs");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    std::fs::write(folder.join("file"), "x").unwrap();
    let path = folder.join("file").display().to_string();
    let parent = folder.display().to_string();
    let mut enforcer = Enforcer::load(&Plan::default()).unwrap();
    enforcer.guard(&cgroup.0, &BTreeSet::new()).unwrap();
    let events =
        ["execve", "open", "openat", "connect", "bind", "kill", "unshare", "socket", "unlinkat"];
    let _sensor = enforcing(&events, &enforcer);
    let mut check = |script: &str, event: &str, atom: Atom, holds: bool| {
        // Bash itself opens and executes as well.
        let others = match event {
            "openat" | "execve" => vec![is(Input::Comm, &["bash"])],
            _ => vec![],
        };
        // Positively and negated: exactly one of the two holds.
        let rule = |number, need, forbid| EnforcedRule {
            dry_run: event == "openat",
            ..kill(number, selector(event, need, forbid))
        };
        let rules = vec![
            rule(1, vec![atom.clone()], others.clone()),
            rule(2, vec![], [vec![atom.clone()], others].concat()),
        ];
        enforcer.replace(&plan(rules)).unwrap();
        let (status, _) = run(Some(&cgroup.0), script);
        let rules: Vec<u32> = decisions(&mut enforcer).iter().map(|d| d.rule).collect();
        if event == "openat" {
            // Libraries are opened as well, and are not what is asked for.
            assert!(rules.contains(&2), "{script}: {atom:?}: {status:?}");
            assert_eq!(rules.contains(&1), holds, "{script}: {atom:?}: {rules:?} {status:?}");
        } else {
            assert_eq!(rules, [if holds { 1 } else { 2 }], "{script}: {atom:?}: {status:?}");
        }
    };
    let cat = format!("exec cat {path}");
    check(&cat, "openat", begins(Input::Path, &parent), true);
    check(&cat, "openat", ends(Input::Path, "/file"), true);
    check(&cat, "openat", ends(Input::Path, &path), true);
    check(&cat, "openat", ends(Input::Path, "//file"), false);
    check(&cat, "openat", is(Input::Directory, &[&parent]), true);
    check(&cat, "openat", is(Input::FileName, &["file"]), true);
    check(&cat, "openat", is(Input::FileName, &["fil", "file2"]), false);
    check(&cat, "openat", number(Input::IsDirectory, Equal(1)), false);
    check(&format!("exec ls {parent}"), "openat", number(Input::IsDirectory, Equal(1)), true);
    check(&format!("exec ls {parent}"), "openat", is(Input::Directory, &[&parent]), true);
    check(&cat, "openat", number(Input::OpenFlags, AnyBit(2)), false);
    check("exec true", "execve", ends(Input::ExePath, "/true"), true);
    check("exec true", "execve", ends(Input::ExePath, "/rue"), false);
    check("exec true", "execve", is(Input::ParentName, &["bash"]), false);
    check("/bin/true; :", "execve", is(Input::ParentName, &["bash"]), true);
    check("exec true", "execve", number(Input::Uid, Equal(0)), true);
    check("exec true", "execve", number(Input::Result, Equal(0)), true);
    check("exec true", "execve", begins(Input::ExePath, "/usr/bin/t"), true);
    check("exec true", "execve", number(Input::ExeFlags, AnyBit(4)), false);
    // A child has its parent's terminal.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let terminal = fields.split(' ').nth(4).unwrap().parse().unwrap();
    check("exec true", "execve", number(Input::Terminal, Equal(terminal)), true);
    check("exec true", "execve", number(Input::Terminal, Greater(terminal)), false);
    check("exec true", "execve", Atom { input: Input::AddressIp, test: Test::Exists }, false);
    let udp = helper("udp");
    check(&udp, "connect", net(Input::AddressIp, "127.0.0.0/8"), true);
    check(&udp, "connect", net(Input::AddressIp, "10.0.0.0/8"), false);
    check(&udp, "connect", net(Input::ServerIp, "127.0.0.1/32"), true);
    check(&udp, "connect", number(Input::ServerPort, Equal(9)), true);
    check(&udp, "connect", number(Input::AddressPort, Greater(9)), false);
    check(&udp, "connect", Atom { input: Input::ServerIp, test: Test::Exists }, true);
    let udp6 = helper("udp6");
    check(&udp6, "connect", net(Input::AddressIp, "::/1"), true);
    check(&udp6, "connect", net(Input::ServerIp, "::2/128"), false);
    check(&helper("mapped"), "connect", net(Input::AddressIp, "127.0.0.1/32"), true);
    let unix = helper("unix");
    check(&unix, "connect", net(Input::AddressIp, "0.0.0.0/0"), false);
    check(&unix, "connect", number(Input::Result, Less(0)), true);
    check(&helper("bind"), "bind", number(Input::AddressPort, Equal(0)), true);
    check(&helper("bind"), "socket", number(Input::Parameter(1), Equal(2)), true);
    check("kill -0 $$", "kill", number(Input::Parameter(2), Equal(0)), true);
    check(&format!("exec rm {path}"), "unlinkat", begins(Input::ExePath, "/usr/bin/"), true);
}

#[test]
fn the_host_cannot_be_guarded() {
    let Some(_alone) = root() else { return };
    let mut enforcer = Enforcer::load(&Plan::default()).unwrap();
    let guard = |enforcer: &mut Enforcer, path: &Path| enforcer.guard(path, &BTreeSet::new());
    let error = guard(&mut enforcer, &cgroup2()).unwrap_err();
    assert!(matches!(error, EnforceError::RootCgroup { .. }), "{error}");
    let error = guard(&mut enforcer, Path::new("/tmp")).unwrap_err();
    assert!(matches!(error, EnforceError::NotCgroup2 { .. }), "{error}");
    let error = guard(&mut enforcer, Path::new("/nowhere")).unwrap_err();
    assert!(matches!(error, EnforceError::Open { .. }), "{error}");

    // A cgroup of this very process, and those above it.
    let cgroup = TestCgroup::new("own");
    let below = cgroup.0.join("below");
    std::fs::create_dir(&below).unwrap();
    let list = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let home = list.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    let home = cgroup2().join(home).join("cgroup.procs");
    std::fs::write(below.join("cgroup.procs"), "0").unwrap();
    let errors = [&below, &cgroup.0].map(|path| guard(&mut enforcer, path));
    std::fs::write(home, std::process::id().to_string()).unwrap();
    for error in errors {
        assert!(matches!(error, Err(EnforceError::NotAContainer { .. })), "{error:?}");
    }
    guard(&mut enforcer, &cgroup.0).unwrap();
    std::fs::remove_dir(&below).unwrap();

    // Too many depths.
    let mut path = cgroup.0.clone();
    let mut made = Vec::new();
    for _ in 0..LEVELS_MAX {
        path = path.join("deeper");
        std::fs::create_dir(&path).unwrap();
        made.push(path.clone());
    }
    let (last, fit) = made.split_last().unwrap();
    for path in fit {
        guard(&mut enforcer, path).unwrap();
    }
    let error = guard(&mut enforcer, last).unwrap_err();
    assert!(matches!(error, EnforceError::TooManyLevels), "{error}");
    for path in made.iter().rev() {
        std::fs::remove_dir(path).unwrap();
    }
}

#[test]
fn a_child_does_not_pay_for_its_parent_nor_the_agent_for_its_rules() {
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("kill-fork");
    // Events that cannot be judged are refused before anything is loaded.
    for event in ["clone", "procexit", "close", "reboot"] {
        let error =
            Enforcer::load(&plan(vec![kill(1, selector(event, vec![], vec![]))])).unwrap_err();
        assert!(matches!(error, EnforceError::NotJudged { rule: 1, .. }), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().canonicalize().unwrap().join("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    let opens = selector("openat", vec![is(Input::Path, &[file])], vec![]);
    let mut enforcer = Enforcer::load(&plan(vec![kill(1, opens)])).unwrap();
    enforcer.guard(&cgroup.0, &BTreeSet::new()).unwrap();
    let _sensor = enforcing(&["openat", "clone", "procexit"], &enforcer);
    let script = format!("(exit 3); echo $?; (: < {file}); echo $?");
    let (status, text) = run(Some(&cgroup.0), &script);
    assert_eq!((status.success(), text.as_str()), (true, "3\n137\n"), "{text}");
    assert_eq!(enforcer.counts()[&1].n_killed, 1);
    // This process opens files, and lives.
    assert!(std::fs::read(file).is_ok());
}

#[test]
fn every_probe_loads_with_enforcement() {
    let Some(_alone) = root() else { return };
    let enforcer = Enforcer::load(&Plan::default()).unwrap();
    let mut interest = Interest::all();
    interest.add("close").unwrap();
    let options = Options { enforcement: Some(enforcer.tables()), ..Options::default() };
    let sensor = Sensor::load(&interest, &options).unwrap();
    let refused: Vec<_> = sensor.refusals().collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert!(sensor.attached().len() >= 4, "{:?}", sensor.attached());
}

/// Connections by their destination and port, refused by one means or the other.
fn check_refused_addresses(name: &str, refusals: Refusals, means: Means) {
    let cgroup = TestCgroup::new(name);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let other = format!("exec 3<>/dev/tcp/127.0.0.2/{port}");
    let to = |address: &str| {
        let port = number(Input::ServerPort, Equal(port.into()));
        vec![net(Input::ServerIp, address), port]
    };
    let rule = deny(5, selector("connect", to("127.0.0.1/32"), vec![is(Input::Comm, &["curl"])]));
    let mut enforcer = Enforcer::with_refusals(&plan(vec![rule.clone()]), refusals).unwrap();
    assert!(run(Some(&cgroup.0), &connect).0.success(), "not guarded yet");
    let id = enforcer.guard(&cgroup.0, &BTreeSet::new()).unwrap();
    // Refused, and alive: the shell says so itself.
    assert_eq!(run(Some(&cgroup.0), &connect).0.code(), Some(1));
    assert!(run(None, &connect).0.success(), "outside of the cgroup");
    // Nobody listens there, which is the kernel's own refusal, and none of ours.
    assert_eq!(run(Some(&cgroup.0), &other).0.code(), Some(1));
    let found = decisions(&mut enforcer);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].rule, found[0].means, found[0].outcome), (5, means, Outcome::Denied));
    assert_eq!(found[0].object, [&[127, 0, 0, 1][..], &port.to_be_bytes()].concat());
    assert_eq!((found[0].event, found[0].comm.as_str()), (CONNECT, "bash"));
    let below = cgroup.0.join("below");
    std::fs::create_dir(&below).unwrap();
    assert!(!run(Some(&below), &connect).0.success(), "a cgroup below");
    assert_eq!(enforcer.counts()[&5].n_denied, 2);
    assert_eq!(enforcer.n_undecided(), 0);

    // On trial, for names, for IPv6, for binding.
    enforcer.replace(&plan(vec![EnforcedRule { dry_run: true, ..rule.clone() }])).unwrap();
    assert!(run(Some(&cgroup.0), &connect).0.success());
    assert_eq!(enforcer.counts()[&5].n_would, 1);
    let named = selector("connect", to("127.0.0.0/8"), vec![is(Input::Comm, &["bash"])]);
    enforcer.replace(&plan(vec![deny(5, named)])).unwrap();
    assert!(run(Some(&cgroup.0), &connect).0.success());
    let mut refused = |event: &str, atom: Atom, what: &str, expected: bool| {
        enforcer.replace(&plan(vec![deny(6, selector(event, vec![atom], vec![]))])).unwrap();
        let _whether_it_failed = run(Some(&cgroup.0), &helper(what));
        assert_eq!(enforcer.counts()[&6].n_denied > 0, expected, "{event} {what}");
    };
    refused("connect", net(Input::AddressIp, "::1/128"), "udp6", true);
    refused("connect", net(Input::AddressIp, "::2/128"), "udp6", false);
    refused("connect", net(Input::AddressIp, "127.0.0.0/8"), "mapped", true);
    refused("connect", net(Input::AddressIp, "0.0.0.0/0"), "unix", false);
    refused("bind", net(Input::AddressIp, "127.0.0.1/32"), "bind", true);
    refused("bind", number(Input::AddressPort, Greater(0)), "bind", false);

    // And it ends.
    enforcer.replace(&plan(vec![rule])).unwrap();
    assert!(!run(Some(&cgroup.0), &connect).0.success());
    enforcer.unguard(id);
    assert!(run(Some(&cgroup.0), &connect).0.success());
    enforcer.guard(&cgroup.0, &BTreeSet::new()).unwrap();
    assert!(!run(Some(&cgroup.0), &connect).0.success());
    drop(enforcer);
    assert!(run(Some(&cgroup.0), &connect).0.success());
    std::fs::remove_dir(&below).unwrap();
}

#[test]
fn a_cgroup_s_connections_are_refused_by_address() {
    let Some(_alone) = root() else { return };
    let refusals = Refusals { cgroup: true, lsm: false };
    check_refused_addresses("deny-connect", refusals, Means::Cgroup);
}

/// Whether programs of the security framework can be tested here. Says why not.
pub(super) fn has_lsm() -> bool {
    let refusals = Refusals { cgroup: false, lsm: true };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let is_active = lsm_is_active().unwrap_or(false);
    if is_active && !release.starts_with("5.10.") {
        return true;
    }
    say("skipped: `bpf` is not among this kernel's security modules, or the kernel is not 5.15");
    let exec = deny(1, selector("execve", vec![is(Input::ExePath, &["/nowhere"])], vec![]));
    let error = Enforcer::with_refusals(&plan(vec![exec]), refusals).unwrap_err();
    match error {
        EnforceError::Load { .. } => assert!(is_active, "{error}"),
        EnforceError::NoLsm | EnforceError::LsmList(_) => assert!(!is_active, "{error}"),
        other => panic!("{other}"),
    }
    false
}

pub(super) fn enforcing_by_lsm(rules: Vec<EnforcedRule>, cgroup: &TestCgroup) -> Enforcer {
    let refusals = Refusals { cgroup: false, lsm: true };
    let mut enforcer = Enforcer::with_refusals(&plan(rules), refusals).unwrap();
    enforcer.guard(&cgroup.0, &BTreeSet::new()).unwrap();
    enforcer
}

#[test]
fn the_security_framework_refuses_connections() {
    let Some(_alone) = root() else { return };
    if has_lsm() {
        let refusals = Refusals { cgroup: false, lsm: true };
        check_refused_addresses("lsm-connect", refusals, Means::Lsm);
    }
}

#[test]
fn the_security_framework_refuses_programs() {
    let Some(_alone) = root() else { return };
    if !has_lsm() {
        return;
    }
    let cgroup = TestCgroup::new("lsm-exec");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let miner = program(&folder, "miner");
    let script = folder.join("a-script-with-a-long-name");
    std::fs::write(&script, "#!/bin/bash\necho ran\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    let interpreter = std::fs::canonicalize("/bin/bash").unwrap();
    let interpreter = interpreter.to_str().unwrap();
    let made = folder.join("made");
    let by = |atoms: Vec<Atom>| deny(9, selector("execve", atoms, vec![]));
    let mut enforcer = enforcing_by_lsm(vec![by(vec![is(Input::ExePath, &[&miner])])], &cgroup);

    let attempt = format!("{miner} {}", made.display());
    assert_eq!(run(Some(&cgroup.0), &attempt).0.code(), Some(126));
    assert!(!made.exists());
    let found = decisions(&mut enforcer);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].rule, found[0].means, found[0].outcome), (9, Means::Lsm, Outcome::Denied));
    assert_eq!((found[0].event, found[0].object.as_slice()), (EXECVE, miner.as_bytes()));
    assert!(run(None, &attempt).0.success() && made.exists(), "outside of the cgroup");

    let mut check = |atoms: Vec<Atom>, command: &str, refused: bool| {
        let shown = format!("{atoms:?} {command}");
        enforcer.replace(&plan(vec![by(atoms)])).unwrap();
        let (status, _) = run(Some(&cgroup.0), command);
        assert_eq!(status.code() == Some(126), refused, "{shown}: {status:?}");
        assert_eq!(enforcer.counts()[&9].n_denied, u64::from(refused), "{shown}");
    };
    // A script has its own name, and its interpreter's path.
    check(vec![is(Input::ExePath, &[script])], script, false);
    check(vec![is(Input::ExePath, &[interpreter])], script, true);
    check(vec![is(Input::Comm, &["a-script-with-a"])], script, true);
    check(vec![is(Input::Comm, &["bash"])], script, false);
    check(vec![is(Input::Comm, &["miner"]), number(Input::Uid, Equal(0))], &attempt, true);
    check(vec![is(Input::Comm, &["miner"]), number(Input::Uid, Greater(0))], &attempt, false);
    check(vec![ends(Input::ExePath, "/miner")], &attempt, true);
    check(
        vec![is(Input::ParentName, &["bash"]), is(Input::Comm, &["miner"])],
        &format!("{attempt}; exit $?"),
        true,
    );
    check(vec![number(Input::ExeFlags, AnyBit(4))], &attempt, false);
    check(vec![begins(Input::ExePath, "/usr")], &attempt, false);
}

#[test]
fn the_security_framework_refuses_opens() {
    let Some(_alone) = root() else { return };
    if !has_lsm() {
        return;
    }
    let cgroup = TestCgroup::new("lsm-open");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let file = |name: &str| folder.join(name).display().to_string();
    for name in ["secret", "public"] {
        std::fs::write(file(name), name).unwrap();
    }
    std::os::unix::fs::symlink("secret", file("innocent")).unwrap();
    let parent = folder.display().to_string();
    let by = |need: Vec<Atom>, forbid: Vec<Atom>| {
        let all = ["open", "openat", "openat2"];
        let events = all.map(|event| selector(event, need.clone(), forbid.clone()).events);
        deny(3, Selector { events: events.concat() })
    };
    let secret = is(Input::Path, &[&file("secret")]);
    let mut enforcer = enforcing_by_lsm(vec![], &cgroup);
    let mut check = |need: &[Atom], forbid: &[Atom], command: &str, refused: bool| {
        enforcer.replace(&plan(vec![by(need.to_vec(), forbid.to_vec())])).unwrap();
        let (status, text) = run(Some(&cgroup.0), command);
        assert_eq!(status.success(), !refused, "{need:?} {forbid:?} {command}: {status:?} {text}");
        let found = decisions(&mut enforcer);
        assert_eq!(found.is_empty(), !refused, "{found:?}");
        if let Some(decision) = found.first() {
            assert_eq!((decision.means, decision.outcome), (Means::Lsm, Outcome::Denied));
            assert!(decision.object.starts_with(parent.as_bytes()), "{decision:?}");
        }
    };
    let cat = |name: &str| format!("cat {}", file(name));
    let some = [secret.clone()];
    check(&some, &[], &cat("public"), false);
    check(&some, &[], &cat("secret"), true);
    check(&some, &[], &cat("innocent"), true);
    check(&some, &[is(Input::Comm, &["cat"])], &cat("secret"), false);
    check(&[secret.clone(), number(Input::Descriptor, Greater(-1))], &[], &cat("secret"), true);
    check(&[secret.clone(), number(Input::Result, Less(0))], &[], &cat("secret"), false);
    check(&[ends(Input::Path, "/secret")], &[], &cat("secret"), true);
    check(&[ends(Input::Path, "/secret")], &[], &cat("public"), false);
    check(&[is(Input::Directory, &[&parent])], &[], &cat("public"), true);
    check(
        &[is(Input::FileName, &["public"]), begins(Input::Path, &parent)],
        &[],
        &cat("public"),
        true,
    );
    check(
        &[is(Input::FileName, &["publi"]), begins(Input::Path, &parent)],
        &[],
        &cat("public"),
        false,
    );
    // Writing is refused before anything is lost.
    let writes = [secret.clone(), number(Input::OpenFlags, AnyBit(2))];
    check(&writes, &[], &cat("secret"), false);
    check(&writes, &[], &format!("echo x > {}", file("secret")), true);
    assert_eq!(std::fs::read(file("secret")).unwrap(), b"secret");
    check(
        &[is(Input::Path, &[&parent]), number(Input::IsDirectory, Equal(1))],
        &[],
        &format!("ls {parent}"),
        true,
    );
    // Outside of the cgroup nothing has changed.
    check(&some, &[], "true", false);
    assert!(run(None, &cat("secret")).0.success());
}

/// Rules that are exchanged under a stream of calls leave no call unjudged.
#[test]
fn no_call_passes_while_rules_are_exchanged() {
    let Some(_alone) = root() else { return };
    let cgroup = TestCgroup::new("exchange");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = |number: u32, n_others: u16| {
        let own = [net(Input::AddressIp, "127.0.0.1/32")];
        let port_is = |port: u16| number_of(Input::AddressPort, port);
        let rule = |at: u32, port: u16| {
            let need = own.iter().cloned().chain([port_is(port)]).collect();
            deny(at, selector("connect", need, vec![]))
        };
        let others = (0..n_others).map(|n| rule(number + 1 + u32::from(n), 1 + n));
        plan(others.chain([rule(number, port)]).collect())
    };
    let refusals = Refusals { cgroup: true, lsm: false };
    let mut enforcer = Enforcer::with_refusals(&to(1000, 0), refusals).unwrap();
    enforcer.guard(&cgroup.0, &BTreeSet::new()).unwrap();
    let stop = tempfile::tempdir().unwrap();
    let script = format!(
        "echo $$ > {}/cgroup.procs; n=0; while [ ! -e {}/stop ]; do \
         (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo passed; n=$((n+1)); done; echo tries $n",
        cgroup.0.display(),
        stop.path().display(),
    );
    let child = Command::new("bash").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = BTreeSet::new();
    for round in 1..=50_u32 {
        enforcer.replace(&to(1000 + round, (round % 5) as u16)).unwrap();
        // Some calls are judged by each.
        let start = Instant::now();
        while start.elapsed() < SOON {
            let found = decisions(&mut enforcer);
            let is_new = found.iter().any(|decision| decision.rule == 1000 + round);
            seen.extend(found.iter().map(|decision| decision.rule));
            if is_new {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    std::fs::write(stop.path().join("stop"), "").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("passed") && text.contains("tries "), "{text}");
    assert!((1001..=1050).all(|rule| seen.contains(&rule)), "{seen:?}");
}

fn number_of(input: Input, port: u16) -> Atom {
    number(input, Equal(port.into()))
}
