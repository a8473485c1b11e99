//! Orders carried out by the kernel, with a real SIGKILL at every point.

mod root {
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::time::Duration;

    use palisade_base::{Digest, Timestamp};
    use palisade_model::Container;
    use palisade_model::incident::ActionResult;
    use palisade_policy::playbook::{Act, Step};
    use palisade_policy::standing::Standing;
    use palisade_respond::hands::{BestNetwork, Remotes, Store};
    use palisade_respond::order::{AUDIT_FILE, Engine, RunState, StepOutcome};
    use palisade_respond::{
        BpfNetwork, Collected, Hands, KernelContainment, NetworkCut as _, Order, Performed,
        SystemHands, Target,
    };
    use palisade_sys::cgroup::Hierarchies;

    use crate::support::{Sandbox, is_root, wait_for};

    /// Lets `act` work with the system's own hands.
    fn with_hands<T>(folder: &Path, act: impl FnOnce(&mut dyn Hands) -> T) -> T {
        let hierarchies = Hierarchies::detect().unwrap();
        let network = BestNetwork::new(BpfNetwork::default(), &folder.join("nft"));
        let containment = KernelContainment::new(&network);
        let mut collect = |order: &Order, _: &Target, frozen: bool, _: Duration| {
            let file = folder.join(format!("{}.evidence", order.id)).display().to_string();
            std::fs::write(&file, b"evidence").map_err(|error| error.to_string())?;
            Ok(Collected { file, detail: format!("frozen: {frozen}"), partial: false })
        };
        let mut send = |_: &_, _: Duration| Err("nothing is sent in this test".to_string());
        let upper = folder.join("upper");
        let mut hands = SystemHands {
            hierarchies: &hierarchies,
            containment: &containment,
            collect: &mut collect,
            store: Store::new(folder),
            snapshots: folder.join("snapshots"),
            upper: &|_: &Container| Some(upper.clone()),
            remotes: &Remotes::default(),
            send: &mut send,
        };
        act(&mut hands)
    }

    /// Hands that are killed, with the process, at the n-th point.
    struct Dying<'a> {
        inner: &'a mut dyn Hands,
        left: usize,
    }

    impl Dying<'_> {
        fn point(&mut self) {
            if self.left == 0 {
                let own = rustix::process::getpid();
                let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
            }
            self.left -= 1;
        }
    }

    impl Hands for Dying<'_> {
        fn perform(&mut self, act: &Act, order: &Order, deadline: Duration) -> Performed {
            self.point();
            let performed = self.inner.perform(act, order, deadline);
            self.point();
            performed
        }
    }

    fn nothing(_: &Order, _: &str, _: bool, _: &StepOutcome) {}

    fn steps(tree: u32) -> Vec<Act> {
        vec![
            Act::Freeze,
            Act::Isolate { allow: Vec::new() },
            Act::Evidence,
            Act::Snapshot,
            Act::QuarantineImage { digest: Some(Digest::of(b"image")) },
            Act::BlockExecutable { sha256: Digest::of(b"program") },
            Act::Protect,
            Act::Hook { command: vec!["/bin/true".into()] },
            Act::KillTree { pid: Some(tree), started: None },
            Act::Kill,
        ]
    }

    fn order(sandbox: &Sandbox, acts: Vec<Act>) -> Order {
        let mut order = Order::by_hand(
            Step::of("first", Act::Freeze),
            Some(sandbox.container.clone()),
            ("test", "test"),
            Timestamp::now(),
        )
        .unwrap();
        order.steps = acts.into_iter().map(|act| Step::of(act.name(), act)).collect();
        order
    }

    /// The process that is killed: not a test unless it is told where.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the parent tells its child by the environment")]
    fn victim() {
        let Ok(folder) = std::env::var("PALISADE_TEST_VICTIM") else { return };
        let folder = PathBuf::from(folder);
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let order: Order = serde_json::from_str(&read("order.json")).unwrap();
        let left: usize = read("left").parse().unwrap();
        let undo = read("undo") == "true";
        with_hands(&folder, |hands| {
            let mut engine = Engine::open(&folder).unwrap();
            let now = Timestamp::now;
            engine.submit(&order, now()).unwrap();
            let mut dying = Dying { inner: hands, left: if undo { usize::MAX } else { left } };
            engine.advance(&order.id, &now, &mut dying, &mut nothing).unwrap();
            if undo {
                dying.left = left;
                engine.undo(&order.id, "test", &now, &mut dying, &mut nothing).unwrap();
            }
        });
    }

    /// The victim of `order`, which is killed at the point `left`.
    fn start_victim(folder: &Path, order: &Order, left: usize, undo: bool) -> Command {
        std::fs::create_dir_all(folder.join("upper")).unwrap();
        std::fs::write(folder.join("upper/changed"), b"changed").unwrap();
        std::fs::write(folder.join("order.json"), serde_json::to_vec(order).unwrap()).unwrap();
        std::fs::write(folder.join("left"), left.to_string()).unwrap();
        std::fs::write(folder.join("undo"), undo.to_string()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "orders_root::root::victim", "--nocapture"]);
        command.env("PALISADE_TEST_VICTIM", folder);
        command
    }

    /// Runs the victim; whether it was killed.
    fn run_victim(folder: &Path, order: &Order, left: usize, undo: bool) -> bool {
        let output = start_victim(folder, order, left, undo).output().unwrap();
        let killed = output.status.signal() == Some(9);
        assert!(killed || output.status.success(), "{output:?}");
        killed
    }

    #[test]
    fn killed_at_every_point_of_every_action_it_is_completed() {
        if !is_root() {
            return;
        }
        let mut n_killed = 0;
        for left in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let mut sandbox = Sandbox::sleeping();
            let tree = sandbox.start(Command::new("sleep").arg("600"));
            let order = order(&sandbox, steps(tree));
            let killed = run_victim(folder.path(), &order, left, false);
            n_killed += usize::from(killed);
            with_hands(folder.path(), |hands| {
                let mut engine = Engine::open(folder.path()).unwrap();
                engine.tick(&Timestamp::now, hands, &mut nothing).unwrap();
                let run = engine.run(&order.id).unwrap();
                assert_eq!(run.state, RunState::Done, "killed at point {left}");
                for (i, view) in &run.steps {
                    let outcome = view.outcome.as_ref().unwrap();
                    assert_ne!(outcome.result, ActionResult::Failed, "{left}: {i} {outcome:?}");
                }
            });
            assert!(sandbox.is_dead(), "killed at point {left}");
            let standing = Standing::read(&folder.path().join("standing.json")).unwrap();
            let n = (standing.images.len(), standing.executables.len(), standing.protected.len());
            assert_eq!(n, (1, 1, 1), "killed at point {left}");
            // The pins of a container that is gone.
            BpfNetwork::default().sweep(&|id| id != sandbox.container.id).unwrap();
            if !killed {
                break;
            }
        }
        assert_eq!(n_killed, 2 * 10);
    }

    #[test]
    fn killed_at_every_point_of_undoing_it_is_undone() {
        if !is_root() {
            return;
        }
        let mut n_killed = 0;
        for left in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let sandbox = Sandbox::sleeping();
            let acts = steps(0).into_iter().take(7).collect();
            let order = order(&sandbox, acts);
            let killed = run_victim(folder.path(), &order, left, true);
            n_killed += usize::from(killed);
            with_hands(folder.path(), |hands| {
                let mut engine = Engine::open(folder.path()).unwrap();
                engine.tick(&Timestamp::now, hands, &mut nothing).unwrap();
                assert_eq!(engine.run(&order.id).unwrap().state, RunState::Undone);
            });
            assert!(!sandbox.group.is_frozen().unwrap(), "killed at point {left}");
            assert!(!BpfNetwork::default().is_cut(&sandbox.target()).unwrap());
            let standing = Standing::read(&folder.path().join("standing.json")).unwrap();
            assert_eq!(standing, Standing::default(), "killed at point {left}");
            if !killed {
                break;
            }
        }
        assert_eq!(n_killed, 2 * 5, "freeze, isolate and three entries can be undone");
    }

    /// What stops single things: a destination, a program, a process, a tree; and what writes.
    fn single_steps(folder: &Path, process: u32, tree: u32) -> Vec<Act> {
        let hook = format!("echo $PALISADE_ORDER >>{}", folder.join("hooked").display());
        vec![
            Act::BlockDestination { to: "10.99.0.0/16".into() },
            Act::BlockExecutable { sha256: Digest::of(b"program") },
            Act::KillProcess { pid: Some(process), started: None },
            Act::KillTree { pid: Some(tree), started: None },
            Act::Snapshot,
            Act::Hook { command: vec!["/bin/sh".into(), "-c".into(), hook] },
        ]
    }

    /// Whether the packet filter in the container's namespace blocks the destination.
    fn is_blocked(sandbox: &Sandbox) -> bool {
        let pid = sandbox.group.processes().unwrap()[0].to_string();
        let list = ["-t", &pid, "-n", "nft", "list", "ruleset"];
        let output = Command::new("nsenter").args(list).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).contains("10.99.0.0/16")
    }

    fn is_alive(pid: u32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    }

    /// Has the victim killed while it carries out [`single_steps`], has them completed by another
    /// process, and looks whether all of it was done; whether it was killed.
    fn complete_single_steps(kill: &dyn Fn(&Path, &Order) -> bool, when: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut sandbox = networked();
        let first = sandbox.group.processes().unwrap()[0];
        let mut start = |command: &[&str]| {
            let mut entered = Command::new("nsenter");
            sandbox.start(entered.args(["-t", &first.to_string(), "-n"]).args(command))
        };
        let process = start(&["sleep", "600"]);
        let tree = start(&["/bin/sh", "-c", "sleep 601 & sleep 602 & wait"]);
        wait_for("the tree to stand", || sandbox.group.processes().unwrap().len() >= 5);
        let order = order(&sandbox, single_steps(folder, process, tree));
        let killed = kill(folder, &order);
        with_hands(folder, |hands| {
            let mut engine = Engine::open(folder).unwrap();
            // Killed before the log had it, it is for whoever asks again.
            engine.submit(&order, Timestamp::now()).unwrap();
            engine.advance(&order.id, &Timestamp::now, hands, &mut nothing).unwrap();
            engine.tick(&Timestamp::now, hands, &mut nothing).unwrap();
            let run = engine.run(&order.id).unwrap();
            assert_eq!(run.state, RunState::Done, "killed {when}");
            for (i, view) in &run.steps {
                let outcome = view.outcome.as_ref().unwrap();
                assert_ne!(outcome.result, ActionResult::Failed, "{when}: {i} {outcome:?}");
            }
            let file = run.steps.values().find_map(|view| view.outcome.clone()?.file);
            let layer = file.unwrap_or_else(|| panic!("killed {when}: no snapshot"));
            let tar = Command::new("tar").args(["-tf", &layer]).output().unwrap();
            let listed = String::from_utf8_lossy(&tar.stdout);
            assert!(tar.status.success() && listed.contains("changed"), "{when}: {tar:?}");
        });
        assert!(is_blocked(&sandbox), "killed {when}");
        assert!(!is_alive(process) && !is_alive(tree), "killed {when}");
        assert!(is_alive(first), "killed {when}: what was not named lives");
        let standing = Standing::read(&folder.join("standing.json")).unwrap();
        assert_eq!(standing.executables.len(), 1, "killed {when}");
        // A hook may run again, and knows it by the order.
        let hooked = std::fs::read_to_string(folder.join("hooked")).unwrap();
        assert!((1..=2).contains(&hooked.lines().count()), "killed {when}: {hooked}");
        assert!(hooked.lines().all(|line| line == order.id));
        let left: Vec<_> = std::fs::read_dir(folder.join("snapshots")).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "killed {when}: {left:?}");
        killed
    }

    #[test]
    fn killed_at_every_point_what_stops_single_things_is_completed() {
        if !is_root() || !has("nft") || !has("ip") {
            return;
        }
        let mut n_killed = 0;
        for left in 0.. {
            let kill = |folder: &Path, order: &Order| run_victim(folder, order, left, false);
            if !complete_single_steps(&kill, &format!("at point {left}")) {
                break;
            }
            n_killed += 1;
        }
        assert_eq!(n_killed, 2 * 6);
    }

    /// Within an action, too: wherever the victim is after so many microseconds.
    #[test]
    fn killed_at_any_moment_what_stops_single_things_is_completed() {
        if !is_root() || !has("nft") || !has("ip") {
            return;
        }
        let mut n_killed = 0;
        for n in 0..24_u64 {
            let kill = |folder: &Path, order: &Order| {
                let mut victim = start_victim(folder, order, usize::MAX, false).spawn().unwrap();
                // The log is there when the program has begun with the order.
                let end = std::time::Instant::now() + Duration::from_secs(20);
                while !folder.join(AUDIT_FILE).exists() && std::time::Instant::now() < end {
                    std::thread::sleep(Duration::from_micros(200));
                }
                std::thread::sleep(Duration::from_micros(n * 2_500));
                let _it_may_have_ended = victim.kill();
                victim.wait().unwrap().signal() == Some(9)
            };
            n_killed += u32::from(complete_single_steps(&kill, &format!("after {n} times 2.5 ms")));
        }
        assert!(n_killed > 0, "it was always faster");
    }

    #[test]
    fn killed_at_every_point_of_undoing_a_blocked_destination_is_free() {
        if !is_root() || !has("nft") || !has("ip") {
            return;
        }
        let mut n_killed = 0;
        for left in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let sandbox = networked();
            let acts = single_steps(folder.path(), 0, 0).into_iter().take(2).collect();
            let order = order(&sandbox, acts);
            let killed = run_victim(folder.path(), &order, left, true);
            with_hands(folder.path(), |hands| {
                let mut engine = Engine::open(folder.path()).unwrap();
                engine.tick(&Timestamp::now, hands, &mut nothing).unwrap();
                assert_eq!(engine.run(&order.id).unwrap().state, RunState::Undone, "{left}");
            });
            assert!(!is_blocked(&sandbox), "killed at point {left}");
            let standing = Standing::read(&folder.path().join("standing.json")).unwrap();
            assert_eq!(standing, Standing::default(), "killed at point {left}");
            if !killed {
                break;
            }
            n_killed += 1;
        }
        assert_eq!(n_killed, 2 * 2);
    }

    #[test]
    fn a_tree_is_ended_and_the_rest_lives() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut sandbox = Sandbox::sleeping();
        let script = "sleep 600 & (sleep 601 & sleep 602) & wait";
        let tree = sandbox.start(Command::new("/bin/sh").args(["-c", script]));
        // A sleeper, the tree's shell, its subshell and three sleepers, fewer where a shell executes
        // its last command in its own place.
        wait_for("the tree to stand", || sandbox.group.processes().unwrap().len() >= 5);
        with_hands(folder.path(), |hands| {
            let reused =
                Act::KillProcess { pid: Some(tree), started: Some(Timestamp::from_nanos(1)) };
            let order = order(&sandbox, Vec::new());
            let within = Duration::from_secs(30);
            let performed = hands.perform(&reused, &order, within);
            assert_eq!(performed.result, ActionResult::Unchanged, "{performed:?}");
            let stranger =
                Act::KillProcess { pid: Some(std::os::unix::process::parent_id()), started: None };
            assert_eq!(hands.perform(&stranger, &order, within).result, ActionResult::Failed);
            let act = Act::KillTree { pid: Some(tree), started: None };
            let performed = hands.perform(&act, &order, within);
            assert_eq!(performed.result, ActionResult::Done, "{performed:?}");
        });
        let pids = sandbox.group.processes().unwrap();
        let alive = |pid: &&u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        };
        assert_eq!(pids.iter().filter(alive).count(), 1, "the other sleeper");
    }

    #[test]
    fn a_hook_is_ended_at_its_deadline_and_sees_the_order() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::new();
        let order = order(&sandbox, vec![Act::Freeze]);
        let hook = |script: &str| Act::Hook {
            command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        };
        with_hands(folder.path(), |hands| {
            let seen = folder.path().join("seen.json");
            let act = hook(&format!("cat > {}; echo $PALISADE_ORDER", seen.display()));
            let performed = hands.perform(&act, &order, Duration::from_secs(30));
            assert_eq!(performed.result, ActionResult::Done);
            assert!(performed.detail.contains(&order.id), "{performed:?}");
            let read: Order = serde_json::from_slice(&std::fs::read(&seen).unwrap()).unwrap();
            assert_eq!(read, order);
            let start = std::time::Instant::now();
            let performed =
                hands.perform(&hook("sleep 60; true"), &order, Duration::from_millis(200));
            assert_eq!(performed.result, ActionResult::Failed);
            assert!(start.elapsed() < Duration::from_secs(50));
            let performed = hands.perform(&hook("exit 3"), &order, Duration::from_secs(30));
            assert!(performed.detail.contains("exit status: 3"), "{performed:?}");
        });
    }

    /// A container with a network namespace of its own, in which loopback is up.
    fn networked() -> Sandbox {
        let mut sandbox = Sandbox::new();
        let script = "ip link set lo up; ip addr add 10.99.0.1/32 dev lo; exec sleep 600";
        let pid = sandbox.start(Command::new("unshare").args(["-n", "/bin/sh", "-c", script]));
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        wait_for("a namespace with loopback up", || {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let namespace = std::fs::read_link(format!("/proc/{pid}/ns/net"));
            name.trim() == "sleep" && namespace.is_ok_and(|namespace| namespace != own)
        });
        sandbox
    }

    /// Whether a ping of `to` within the container comes back.
    fn pings(sandbox: &Sandbox, to: &str, in_group: bool) -> bool {
        let pid = sandbox.group.processes().unwrap()[0];
        let enter = format!(
            "{} exec nsenter -t {pid} -n busybox ping -c1 -W1 {to}",
            if in_group {
                let group = sandbox.group.unified().unwrap().join("cgroup.procs");
                format!("echo $$ > {};", group.display())
            } else {
                String::new()
            }
        );
        // A machine that is busy may need longer than one of them waits.
        (0..3).any(|_| {
            let output = Command::new("/bin/sh").args(["-c", &enter]).output().unwrap();
            output.status.success()
        })
    }

    fn has(program: &str) -> bool {
        let found = Command::new("/bin/sh").args(["-c", &format!("command -v {program}")]).output();
        let found = found.is_ok_and(|output| output.status.success());
        if !found {
            eprintln!("skipped: `{program}` is not installed");
        }
        found
    }

    #[test]
    fn packet_filters_cut_and_block_in_the_containers_own_namespace() {
        use palisade_respond::hands::NftNetwork;
        if !is_root() || !has("nft") || !has("ip") || !has("busybox") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let sandbox = networked();
        assert!(pings(&sandbox, "10.99.0.1", false) && pings(&sandbox, "127.0.0.1", false));
        with_hands(folder.path(), |hands| {
            let order = order(&sandbox, Vec::new());
            let within = Duration::from_secs(30);
            let mut act = |act: Act| {
                let performed = hands.perform(&act, &order, within);
                assert_ne!(performed.result, ActionResult::Failed, "{performed:?}");
                performed.result
            };
            let block = || Act::BlockDestination { to: "10.99.0.0/16".into() };
            assert_eq!(act(block()), ActionResult::Done);
            assert_eq!(act(block()), ActionResult::Unchanged);
            assert!(!pings(&sandbox, "10.99.0.1", false) && pings(&sandbox, "127.0.0.1", false));
            let unblock = || Act::UnblockDestination { to: "10.99.0.0/16".into() };
            assert_eq!(act(unblock()), ActionResult::Done);
            assert_eq!(act(unblock()), ActionResult::Unchanged);
            assert!(pings(&sandbox, "10.99.0.1", false));
        });
        let target = sandbox.target();
        NftNetwork.cut_but(&target, &["10.99.0.1".parse().unwrap()]).unwrap();
        assert!(NftNetwork.is_cut(&target).unwrap());
        assert!(pings(&sandbox, "10.99.0.1", false), "the responder");
        assert!(!pings(&sandbox, "127.0.0.1", false));
        NftNetwork.restore(&target).unwrap();
        assert!(!NftNetwork.is_cut(&target).unwrap() && pings(&sandbox, "127.0.0.1", false));
        // The host's own network is nobody's to cut.
        let host = Sandbox::sleeping();
        assert!(NftNetwork.cut(&host.target()).unwrap_err().contains("host's network"));
    }

    #[test]
    fn isolation_lets_the_responder_through_and_nobody_else() {
        if !is_root() || !has("ip") || !has("busybox") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let sandbox = networked();
        if sandbox.group.unified().is_none() {
            eprintln!("skipped: no unified hierarchy");
            return;
        }
        with_hands(folder.path(), |hands| {
            let order = order(&sandbox, Vec::new());
            let within = Duration::from_secs(30);
            let act = Act::Isolate { allow: vec!["10.99.0.1".parse().unwrap()] };
            assert_eq!(hands.perform(&act, &order, within).result, ActionResult::Done);
            assert_eq!(hands.perform(&act, &order, within).result, ActionResult::Unchanged);
            assert!(pings(&sandbox, "10.99.0.1", true), "the responder");
            assert!(!pings(&sandbox, "127.0.0.1", true));
            assert_eq!(hands.perform(&Act::Unisolate, &order, within).result, ActionResult::Done);
            assert!(pings(&sandbox, "127.0.0.1", true));
        });
    }

    #[test]
    fn a_snapshot_is_a_layer_that_tar_reads() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let upper = folder.path().join("upper");
        let long = format!("{}/{}", "d".repeat(90), "n".repeat(120));
        std::fs::create_dir_all(upper.join(&long).parent().unwrap()).unwrap();
        std::fs::write(upper.join(&long), b"long").unwrap();
        std::fs::write(upper.join("changed"), b"changed").unwrap();
        std::fs::set_permissions(upper.join("changed"), PermissionsExt::from_mode(0o4755)).unwrap();
        std::fs::hard_link(upper.join("changed"), upper.join("second")).unwrap();
        symlink("/etc/shadow", upper.join("link")).unwrap();
        std::fs::create_dir(upper.join("opaque")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            upper.join("deleted"),
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::empty(),
            0,
        )
        .unwrap();
        let sandbox = Sandbox::sleeping();
        let order = order(&sandbox, Vec::new());
        let performed = with_hands(folder.path(), |hands| {
            hands.perform(&Act::Snapshot, &order, Duration::from_secs(20))
        });
        assert_eq!(performed.result, ActionResult::Done, "{performed:?}");
        let layer = performed.file.clone().unwrap();
        let digest = Digest::of(&std::fs::read(&layer).unwrap()).to_string();
        assert!(performed.detail.contains(&digest), "{performed:?}");
        let out = folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let tar = Command::new("tar").args(["-xf", &layer, "-C"]).arg(&out).output().unwrap();
        assert!(tar.status.success(), "{tar:?}");
        assert_eq!(std::fs::read(out.join(&long)).unwrap(), b"long");
        let changed = std::fs::metadata(out.join("changed")).unwrap();
        assert_eq!(changed.permissions().mode() & 0o7777, 0o4755);
        assert_eq!(changed.ino(), std::fs::metadata(out.join("second")).unwrap().ino());
        assert_eq!(std::fs::read_link(out.join("link")).unwrap(), Path::new("/etc/shadow"));
        assert_eq!(std::fs::metadata(out.join(".wh.deleted")).unwrap().len(), 0);
        assert!(!out.join("deleted").exists());
    }
}
