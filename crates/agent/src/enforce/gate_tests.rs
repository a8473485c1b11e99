//! The gate and the warden on mounts that the test makes in a namespace of its own.

mod root {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::{Duration, Instant};

    use palisade_sensor::identity::Facts;

    use super::super::attempt::{Ancestor, Attempt};
    use super::super::gate::{Decide, Denial, Gate};
    use super::super::warden::{Guarded, Note, Warden};

    const SOON: Duration = Duration::from_secs(30);

    /// A shell in a root and a mount namespace of its own, which runs the lines it is given
    /// and says how each ended.
    struct Guest {
        child: Child,
        stdin: ChildStdin,
        stdout: BufReader<ChildStdout>,
        _folder: tempfile::TempDir,
    }

    impl Guest {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().display();
            let script = format!(
                "mount --make-rprivate / && mount -t tmpfs guest {root} && cd {root} && \
                 mkdir usr tmp old proc && mount -t proc proc proc && mount --bind /usr usr && \
                 ln -s usr/bin bin && ln -s usr/lib lib && ln -s usr/lib64 lib64 && \
                 cp /usr/bin/true tmp/own && pivot_root . old && umount -l /old && \
                 exec /bin/sh -c 'echo ready; while read -r line; do eval \"$line\"; echo $?; done'"
            );
            let mut child = Command::new("unshare")
                .args(["--mount", "sh", "-ec", &script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let stdin = child.stdin.take().unwrap();
            let stdout = BufReader::new(child.stdout.take().unwrap());
            let mut guest = Self { child, stdin, stdout, _folder: folder };
            assert_eq!(guest.line(), "ready");
            guest
        }

        fn run(&mut self, line: &str) -> String {
            writeln!(self.stdin, "{line}").unwrap();
            self.line()
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            self.stdout.read_line(&mut line).unwrap();
            line.trim_end().to_string()
        }
    }

    impl Drop for Guest {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[track_caller]
    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + SOON;
        while !holds() {
            assert!(Instant::now() < end, "no {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    struct Stage {
        guest: Guest,
        facts: Arc<Facts>,
        denials: Receiver<Denial>,
        warden: Warden,
        gate: Gate,
    }

    /// A guest whose programs are asked about. `decide` gets the number of the question
    /// about `/tmp/own`, from 0; everything else passes.
    fn stage(
        room: usize,
        deadline: Duration,
        mut decide: impl FnMut(usize) -> bool + Send + 'static,
    ) -> Option<Stage> {
        if !palisade_sys::facts::is_privileged() {
            return None;
        }
        let guest = Guest::start();
        let facts = Arc::new(Facts::of(crate::testing::container("0123456789abcdef")));
        let seen = Arc::clone(&facts);
        let count = AtomicUsize::new(0);
        let judge: Decide = Box::new(move |request| {
            if request.path().unwrap().to_str() != Some("/tmp/own") {
                return None;
            }
            if !decide(count.fetch_add(1, Ordering::Relaxed)) {
                return None;
            }
            let caller = Ancestor::read(request.pid())?;
            let path = b"/tmp/own".to_vec();
            let facts = Arc::clone(&seen);
            Some((
                vec!["r".to_string()],
                Attempt { caller, uid: 0, path, ancestors: vec![], facts, is_upper: None },
            ))
        });
        let (sender, denials) = sync_channel(room);
        let gate = Gate::start(judge, sender, deadline).unwrap();
        let guarded = Guarded::default();
        let warden = Warden::start(gate.link(), Arc::clone(&guarded)).unwrap();
        assert!(warden.see(&facts, guest.child.id()));
        until("guarded container", || warden.note(&facts.full_id).is_some());
        assert_eq!(warden.note(&facts.full_id), Some(Note::Guarded(vec![])));
        assert!(guarded.read().unwrap().len() >= 2);
        Some(Stage { guest, facts, denials, warden, gate })
    }

    #[test]
    fn refusals_are_handed_out_and_what_does_not_fit_is_counted() {
        let Some(mut stage) = stage(1, SOON, |_| true) else { return };
        for _ in 0..3 {
            assert_eq!(stage.guest.run("/tmp/own"), "126");
        }
        // What is counted is counted when it has been answered.
        until("counts", || {
            let counts = stage.gate.counts();
            (counts.denied, counts.unreported, counts.late) == (3, 2, 0) && counts.asked >= 3
        });
        let denial = stage.denials.try_recv().unwrap();
        assert_eq!(
            (denial.rules, denial.attempt.caller.name),
            (vec!["r".to_string()], b"sh".to_vec())
        );
        assert!(denial.latency_ns > 0);
        assert!(stage.denials.try_recv().is_err());
        assert_eq!(stage.warden.notes().len(), 1);
        // Nobody waits once the gate is gone.
        drop(stage.gate);
        assert_eq!(stage.guest.run("/tmp/own"), "0");
    }

    #[test]
    fn a_late_answer_lets_everything_pass_until_the_gate_stands_again() {
        // A busy machine is late as well: that is neither to be taken for the answer's lateness, nor
        // to let it be over before anybody looks.
        let deadline = Duration::from_millis(500);
        let late = Duration::from_secs(6);
        let slow = move |n: usize| {
            if n == 0 {
                std::thread::sleep(late);
            }
            true
        };
        let Some(mut stage) = stage(8, deadline, slow) else { return };
        let began = Instant::now();
        assert_eq!(stage.guest.run("/tmp/own"), "0", "let pass");
        assert!(began.elapsed() < late, "{:?}", began.elapsed());
        until("count", || stage.gate.counts().late == 1);
        until("problem", || {
            stage.gate.take_problems().iter().any(|text| text.contains("later than 500 ms"))
        });
        until("gate that stands again", || stage.guest.run("/tmp/own") == "126");
        // An answer that came too late refused nothing.
        until("count", || stage.gate.counts().denied == 1);
        assert_eq!(stage.warden.note(&stage.facts.full_id), Some(Note::Guarded(vec![])));
    }

    #[test]
    fn a_panic_costs_one_answer() {
        let broken = |n: usize| {
            assert!(n > 0, "a deliberate panic of this test");
            true
        };
        let Some(mut stage) = stage(8, SOON, broken) else { return };
        assert_eq!(stage.guest.run("/tmp/own"), "0");
        until("problem", || {
            stage.gate.take_problems().iter().any(|text| text.contains("panicked"))
        });
        assert_eq!(stage.guest.run("/tmp/own"), "126");
    }
}
