mod root {
    use std::io::{Seek as _, Write as _};
    use std::os::fd::{AsFd, AsRawFd as _};
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::process::Command;
    use std::time::Duration;

    use palisade_base::{Digest, Timestamp};
    use palisade_respond::bundle::{CaseFacts, Item, Manifest, Opening, extract, verify};
    use palisade_respond::case::{Socket, diff, read, timeline};
    use palisade_respond::evidence::{Attachment, EvidenceOptions, Request, collect};
    use rustix::fs::{MemfdFlags, Mode};

    use crate::support::{Sandbox, copy_program, is_root};

    fn inherit(fd: impl AsFd) {
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).unwrap();
    }

    fn case(sandbox: &Sandbox) -> CaseFacts {
        CaseFacts {
            incident: Some("INC-1".into()),
            container: sandbox.container.clone(),
            hostname: "host".into(),
            tool: "test".into(),
            frozen: true,
            started: Timestamp::now(),
        }
    }

    fn upper(folder: &Path) {
        std::fs::create_dir_all(folder.join("etc/deep")).unwrap();
        std::fs::write(folder.join("etc/deep/changed"), "the attacker was here").unwrap();
        symlink("/etc/shadow", folder.join("etc/link")).unwrap();
        symlink("/root", folder.join("folder-link")).unwrap();
        std::fs::write(folder.join("big"), vec![7_u8; 100_000]).unwrap();
        let device = rustix::fs::makedev(0, 0);
        let kind = rustix::fs::FileType::CharacterDevice;
        let mode = Mode::from_raw_mode(0);
        rustix::fs::mknodat(rustix::fs::CWD, folder.join("gone"), kind, mode, device).unwrap();
    }

    fn item(manifest: &Manifest, find: impl Fn(&Item) -> bool) -> &Item {
        manifest.items.iter().find(|item| find(item)).expect("item is in the bundle")
    }

    #[test]
    fn what_was_planted_is_found_again() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let layer = folder.path().join("upper");
        upper(&layer);
        let mut memfd: std::fs::File =
            rustix::fs::memfd_create("payload", MemfdFlags::empty()).unwrap().into();
        memfd.write_all(b"memfd program").unwrap();
        memfd.rewind().unwrap();
        inherit(&memfd);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        inherit(&listener);
        let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        inherit(&connected);
        // A program that deletes itself once it runs.
        let program = folder.path().join("dropped");
        copy_program("/bin/sleep", &program);
        let mut sandbox = Sandbox::new();
        let pid = sandbox.start(
            Command::new(&program)
                .arg("600")
                .env("DB_PASSWORD", "planted-secret-9d41")
                .env("HARMLESS", "kept"),
        );
        std::fs::remove_file(&program).unwrap();
        let target = sandbox.target();
        let bundle = folder.path().join("case.tar");
        let before = folder.path().join("before.tar");
        let early = Request {
            target: &target,
            case: case(&sandbox),
            incident: None,
            config: None,
            upper: None,
            attachments: &[],
            options: EvidenceOptions::default(),
            deadline: Duration::from_mins(1),
            recipients: &[],
            stamper: None,
        };
        collect(&before, &early, None).unwrap();
        // A program that never had a file.
        let mut in_memory: std::fs::File =
            rustix::fs::memfd_create("implant", MemfdFlags::CLOEXEC).unwrap().into();
        in_memory.write_all(&std::fs::read("/bin/sleep").unwrap()).unwrap();
        let own = format!("/proc/{}/fd/{}", std::process::id(), in_memory.as_raw_fd());
        let readable = std::fs::File::open(&own).unwrap();
        drop(in_memory);
        let own = format!("/proc/{}/fd/{}", std::process::id(), readable.as_raw_fd());
        let implant = sandbox.start(Command::new(own).arg("602"));
        sandbox.group.freeze(Duration::from_secs(30)).unwrap();

        let attachments = [Attachment {
            name: "alerts.jsonl".into(),
            source: "palisade".into(),
            bytes: b"{}\n".to_vec(),
        }];
        let request = Request {
            target: &target,
            case: case(&sandbox),
            incident: None,
            config: None,
            upper: Some(&layer),
            attachments: &attachments,
            options: EvidenceOptions {
                memory: true,
                file_bytes_max: 90_000,
                ..EvidenceOptions::default()
            },
            deadline: Duration::from_mins(1),
            recipients: &[],
            stamper: None,
        };
        let summary = collect(&bundle, &request, None).unwrap();
        eprintln!(
            "evidence: {} items, {} bytes, {} gaps in {:?}",
            summary.manifest.items.len(),
            summary.n_bytes,
            summary.manifest.gaps.len(),
            summary.duration
        );
        assert!(sandbox.group.is_frozen().unwrap(), "collection leaves the container frozen");
        assert!(summary.manifest.case.frozen);
        assert_eq!(summary.n_processes, 2);

        let out = folder.path().join("out");
        extract(&bundle, Opening::default(), &out).unwrap();
        let manifest = verify(&bundle, Opening::default()).unwrap().manifest;
        let text = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
        let environ = text(&format!("processes/{pid}/environ"));
        assert!(environ.contains("HARMLESS=kept") && environ.contains("DB_PASSWORD=<redacted"));
        assert!(!environ.contains("planted-secret-9d41"));

        // The deleted executable and the memfd, byte for byte.
        let held = format!("/proc/{pid}/exe");
        let exe = item(&manifest, |i| i.path.starts_with("nameless/") && i.source == held);
        assert_eq!(
            exe.sha256,
            Digest::of(
                &std::fs::read("/bin/sleep").unwrap()
                    [..90_000.min(std::fs::metadata("/bin/sleep").unwrap().len() as usize)]
            )
        );
        let payload = Digest::of(b"memfd program");
        item(&manifest, |i| i.path.starts_with("nameless/") && i.sha256 == payload);

        let sockets = text("network/0-sockets.json");
        let port = listener.local_addr().unwrap().port();
        assert!(sockets.contains(&format!("127.0.0.1:{port}")) && sockets.contains("established"));
        assert!(sockets.contains(&format!("\"pid\": {pid}")));

        // The changed file with its content; links described and not followed.
        let index = text("upper/index.json");
        let changed = Digest::of(b"the attacker was here");
        assert!(index.contains(&changed.to_string()));
        item(&manifest, |i| i.source == "upper:/etc/deep/changed" && i.sha256 == changed);
        let big = Digest::of(&vec![7_u8; 100_000]).to_string();
        assert!(index.contains(&big), "hashed although too large to be stored");
        assert!(manifest.gaps.iter().any(|gap| gap.source == "upper:/big"));
        assert!(index.contains("\"link\": \"/etc/shadow\"") && index.contains("\"deleted\""));
        assert!(!manifest.items.iter().any(|i| i.source.contains("folder-link/")));

        // The secret is in the stack of the process, hence in its memory.
        let memory = std::fs::read(out.join(format!("memory/{pid}.ranges"))).unwrap();
        let needle = b"planted-secret-9d41";
        assert!(memory.windows(needle.len()).any(|window| window == needle));
        assert!(text("context/000-alerts.jsonl").starts_with('{'));
        assert!(manifest.gaps.iter().any(|gap| gap.source == "memory of the host"));
        tells_all(&before, &bundle, (pid, implant), port);
    }

    /// The same as people see it: in the picture, on the timeline, between two bundles.
    fn tells_all(before: &Path, bundle: &Path, (pid, implant): (u32, u32), port: u16) {
        let (early, told) =
            (read(before, Opening::default()).unwrap(), read(bundle, Opening::default()).unwrap());
        assert_eq!(told.unread, [""; 0]);
        let process = |pid| told.processes.iter().find(|process| process.pid == pid).unwrap();
        assert!(process(pid).exe.ends_with("dropped (deleted)"), "{:?}", process(pid));
        assert!(process(implant).exe.starts_with("/memfd:implant"), "{:?}", process(implant));
        let sleep = Digest::of(&std::fs::read("/bin/sleep").unwrap());
        assert_eq!(process(implant).exe_sha256, Some(sleep));
        let held = format!("/proc/{implant}/exe");
        assert!(told.nameless.iter().any(|file| file.source == held));
        let own = format!("127.0.0.1:{port}");
        let established = |s: &&Socket| s.state == "established" && s.remote.as_ref() == Some(&own);
        assert!(told.sockets.iter().any(|socket| established(&socket)), "{:?}", told.sockets);

        let (events, n_left_out) = timeline(&told);
        assert_eq!(n_left_out, 0);
        assert!(events.windows(2).all(|pair| pair[0].time <= pair[1].time));
        let at = |text: String| events.iter().find(|event| event.what.contains(&text)).unwrap();
        let starts = at(format!("pid {implant} of"));
        let age = Timestamp::now().since(starts.time);
        assert!(age < Duration::from_mins(2), "{starts:?} was {age:?} ago");
        at("/etc/deep/changed".into());

        let between = diff(&early, &told);
        let begun: Vec<u32> = between.processes_begun.iter().map(|process| process.pid).collect();
        assert_eq!(begun, [implant]);
        assert!(between.processes_ended.is_empty());
        assert!(between.files_added.iter().any(|change| change.path == "/etc/deep/changed"));
        assert!(diff(&told, &told).is_empty());
    }

    /// A file system that is full: what was begun is taken away, the container stays as it was.
    #[test]
    fn a_full_disk_ends_the_collection_and_leaves_nothing() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let run =
            |args: &[&str]| Command::new(args[0]).args(&args[1..]).status().unwrap().success();
        let place = folder.path().to_str().unwrap();
        assert!(run(&["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", place]));
        let mut sandbox = Sandbox::sleeping();
        sandbox.start(Command::new("sleep").arg("603"));
        let target = sandbox.target();
        sandbox.group.freeze(Duration::from_secs(30)).unwrap();
        let request = Request {
            target: &target,
            case: case(&sandbox),
            incident: None,
            config: None,
            upper: None,
            attachments: &[],
            options: EvidenceOptions::default(),
            deadline: Duration::from_mins(1),
            recipients: &[],
            stamper: None,
        };
        let error = collect(&folder.path().join("case.tar"), &request, None).unwrap_err();
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert!(run(&["umount", place]));
        let hint = palisade_base::Explain::hint(&error).unwrap();
        assert!(hint.contains("free space"), "{error}: {hint}");
        assert_eq!(left, 0, "nothing half-written is left");
        assert!(sandbox.group.is_frozen().unwrap());
    }

    #[test]
    fn bounds_and_deadlines_end_the_collection_and_are_listed() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut sandbox = Sandbox::sleeping();
        sandbox.start(Command::new("sleep").arg("601"));
        let target = sandbox.target();
        let request = Request {
            target: &target,
            case: case(&sandbox),
            incident: None,
            config: None,
            upper: None,
            attachments: &[],
            options: EvidenceOptions::default(),
            deadline: Duration::ZERO,
            recipients: &[],
            stamper: None,
        };
        let bundle = folder.path().join("case.tar");
        let summary = collect(&bundle, &request, None).unwrap();
        let gaps = &summary.manifest.gaps;
        assert!(gaps.iter().any(|gap| gap.reason.contains("2 parts were left out")), "{gaps:?}");
        assert!(!summary.manifest.case.frozen, "it was not frozen, whatever the caller said");
        verify(&bundle, Opening::default()).unwrap();
    }
}

mod measurement {
    use std::cell::Cell;
    use std::io::Write as _;
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread::JoinHandle;
    use std::time::{Duration, Instant};

    use palisade_base::Timestamp;
    use palisade_respond::Target;
    use palisade_respond::bundle::{CaseFacts, Opening, verify};
    use palisade_respond::evidence::{EvidenceOptions, Request, collect};

    use crate::support::{Sandbox, is_root, wait_for};

    /// One neighbour that computes and one that writes four kilobytes to the disk, again and again.
    struct Neighbours {
        counts: Arc<[AtomicU64; 2]>,
        stop: Arc<AtomicBool>,
        threads: Vec<JoinHandle<()>>,
        since: Cell<(Instant, [u64; 2])>,
    }

    impl Neighbours {
        fn start(folder: &Path) -> Self {
            let counts: Arc<[AtomicU64; 2]> = Arc::default();
            let stop = Arc::new(AtomicBool::new(false));
            let mut file = std::fs::File::create(folder.join("neighbour")).unwrap();
            let mut number = 1_u64;
            let compute = move || {
                for _ in 0..100_000 {
                    number =
                        std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005) + 1);
                }
            };
            let write = move || {
                file.write_all(&[7; 4096]).unwrap();
                file.sync_data().unwrap();
            };
            let works: [Box<dyn FnMut() + Send>; 2] = [Box::new(compute), Box::new(write)];
            let run = |(i, mut work): (usize, Box<dyn FnMut() + Send>)| {
                let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        work();
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    }
                })
            };
            let threads = works.into_iter().enumerate().map(run).collect();
            Self { counts, stop, threads, since: Cell::new((Instant::now(), [0; 2])) }
        }

        /// What each did a second since the last call.
        fn rates(&self) -> (f64, f64) {
            let now = [0, 1].map(|i| self.counts[i].load(Ordering::Relaxed));
            let (since, before) = self.since.replace((Instant::now(), now));
            let seconds = since.elapsed().as_secs_f64();
            let rate = |i: usize| (now[i] - before[i]) as f64 / seconds;
            (rate(0), rate(1))
        }
    }

    impl Drop for Neighbours {
        fn drop(&mut self) {
            self.stop.store(true, Ordering::Relaxed);
            for thread in self.threads.drain(..) {
                thread.join().unwrap();
            }
        }
    }

    /// Evidence of a container that is one great crowd: as much as the bound says, in time, and
    /// what is left out is said.
    #[test]
    #[ignore = "a measurement that fills the machine: 20,000 processes"]
    fn evidence_of_a_crowd_is_bounded() {
        const CROWD: usize = 20_000;
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut sandbox = Sandbox::new();
        let script =
            format!("for (1..{CROWD}) {{ my $pid = fork; sleep 600 unless $pid }} sleep 600");
        sandbox.start(Command::new("perl").args(["-e", &script]));
        wait_for("the crowd", || sandbox.group.processes().unwrap().len() > CROWD);
        let target = sandbox.target();
        sandbox.group.freeze(Duration::from_mins(1)).unwrap();
        let request =
            measured(&sandbox, &target, EvidenceOptions::default(), Duration::from_mins(1));
        let path = folder.path().join("bundle.tar");
        let summary = collect(&path, &request, None).unwrap();
        sandbox.group.thaw(Duration::from_mins(1)).unwrap();
        eprintln!(
            "measured: evidence of {} of {} processes: {:.2} s, {} MiB, {} items, {} gaps",
            summary.n_processes,
            CROWD + 1,
            summary.duration.as_secs_f64(),
            summary.n_bytes >> 20,
            summary.manifest.items.len(),
            summary.manifest.gaps.len()
        );
        let gaps = format!("{:?}", summary.manifest.gaps);
        assert!(gaps.contains("processes were not described"), "{gaps}");
        assert!(verify(&path, Opening::default()).is_ok());
    }

    /// What a measurement asks for, of a container that is frozen.
    fn measured<'a>(
        sandbox: &Sandbox,
        target: &'a Target,
        options: EvidenceOptions,
        deadline: Duration,
    ) -> Request<'a> {
        Request {
            target,
            case: CaseFacts {
                incident: None,
                container: sandbox.container.clone(),
                hostname: "host".into(),
                tool: "palisade test".into(),
                frozen: true,
                started: Timestamp::now(),
            },
            incident: None,
            config: None,
            upper: None,
            attachments: &[],
            options,
            deadline,
            recipients: &[],
            stamper: None,
        }
    }

    /// Full evidence, memory included, of fifty processes of ten megabytes each.
    #[test]
    #[ignore = "a measurement: scripts/bench-respond.sh"]
    fn evidence_of_fifty_processes_with_500_megabytes() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut sandbox = Sandbox::new();
        for i in 0..50 {
            let script = format!(
                "my $x = join '', map {{ chr(($_ * 7 + {i}) % 251) }} 1..1000; $x x= 10_000; sleep 600"
            );
            sandbox.start(Command::new("perl").args(["-e", &script]));
        }
        std::thread::sleep(Duration::from_secs(3));
        let target = sandbox.target();
        sandbox.group.freeze(Duration::from_secs(30)).unwrap();
        let request = measured(
            &sandbox,
            &target,
            EvidenceOptions { memory: true, ..EvidenceOptions::default() },
            Duration::from_mins(2),
        );
        let path = folder.path().join("bundle.tar");
        // What others on the machine get done, alone and beside the collection.
        let neighbours = Neighbours::start(folder.path());
        std::thread::sleep(Duration::from_secs(2));
        let alone = neighbours.rates();
        let clock = Instant::now();
        let summary = collect(&path, &request, None).unwrap();
        let took = clock.elapsed();
        let beside = neighbours.rates();
        drop(neighbours);
        eprintln!(
            "measured: beside the collection neighbours compute {:.0} % and write {:.0} % of what they do alone ({:.0} and {:.0} a second)",
            100.0 * beside.0 / alone.0,
            100.0 * beside.1 / alone.1,
            alone.0,
            alone.1
        );
        sandbox.group.thaw(Duration::from_secs(1)).unwrap();
        eprintln!(
            "measured: full evidence of {} processes, {} MiB: {:.2} s, {} items, {} gaps",
            summary.n_processes,
            summary.n_bytes >> 20,
            took.as_secs_f64(),
            summary.manifest.items.len(),
            summary.manifest.gaps.len()
        );
        assert_eq!(summary.n_processes, 50);
        assert!(summary.n_bytes > 450 << 20, "{} bytes", summary.n_bytes);
        assert!(verify(&path, Opening::default()).is_ok());
    }
}
