mod root {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;
    use std::time::Duration;

    use palisade_model::incident::ActionResult;
    use palisade_policy::Action;
    use palisade_respond::containment::ContainmentError;
    use palisade_respond::{
        Collected, Containment, Effect, KernelContainment, Means, Plan, Responder, Target,
        plan_by_hand,
    };

    use crate::support::{Remembered, Sandbox, is_root};

    /// Dies before or after its n-th operation, as a SIGKILL would strike.
    struct Dying<'a> {
        inner: &'a dyn Containment,
        left: Cell<usize>,
    }

    impl Dying<'_> {
        fn tick(&self) {
            if self.left.get() == 0 {
                // Not a failed assertion: no message on the terminal.
                std::panic::resume_unwind(Box::new("killed here"));
            }
            self.left.set(self.left.get() - 1);
        }

        fn around<T>(&self, act: impl FnOnce() -> T) -> T {
            self.tick();
            let result = act();
            self.tick();
            result
        }
    }

    type Done = Result<Effect, ContainmentError>;

    impl Containment for Dying<'_> {
        fn freeze(&self, target: &Target, deadline: Duration) -> Done {
            self.around(|| self.inner.freeze(target, deadline))
        }
        fn thaw(&self, target: &Target, deadline: Duration) -> Done {
            self.around(|| self.inner.thaw(target, deadline))
        }
        fn isolate(&self, target: &Target, deadline: Duration) -> Done {
            self.around(|| self.inner.isolate(target, deadline))
        }
        fn rejoin(&self, target: &Target, deadline: Duration) -> Done {
            self.around(|| self.inner.rejoin(target, deadline))
        }
        fn kill(&self, target: &Target, deadline: Duration) -> Done {
            self.around(|| self.inner.kill(target, deadline))
        }
    }

    fn evidence(plan: &Plan, target: &Target, frozen: bool) -> Collected {
        assert!(!target.group().processes().unwrap().is_empty(), "collected before the kill");
        Collected {
            file: format!("{}.tar", plan.id),
            detail: format!("collected, frozen: {frozen}"),
            partial: false,
        }
    }

    fn run(
        folder: &Path,
        sandbox: &Sandbox,
        plan: Option<&Plan>,
        containment: &dyn Containment,
    ) -> Vec<(Action, ActionResult)> {
        let mut responder = Responder::open(folder).unwrap();
        let mut collect = |plan: &Plan, target: &Target, frozen: bool, _: Duration| {
            Ok(evidence(plan, target, frozen))
        };
        let mut means =
            Means { hierarchies: &sandbox.hierarchies, containment, collect: &mut collect };
        if let Some(plan) = plan {
            responder.execute(plan, &[], &mut means, &mut |_| {}).unwrap();
        } else {
            responder.recover(&mut means, &mut |_, _| {}).unwrap();
        }
        assert_eq!(responder.unfinished().count(), 0);
        let outcomes = responder.outcomes("test-plan");
        outcomes.iter().map(|outcome| (outcome.action, outcome.result)).collect()
    }

    fn whole_plan(sandbox: &Sandbox) -> Plan {
        plan_by_hand("test-plan", &sandbox.container, &Action::ALL, "INC-1")
    }

    /// A container that may make groups below its own, as those with systemd inside may.
    #[test]
    fn groups_below_groups_hide_nothing_from_a_response() {
        if !is_root() {
            return;
        }
        let (folder, network) = (tempfile::tempdir().unwrap(), Remembered::default());
        let mut sandbox = Sandbox::new();
        let pid = sandbox.start(std::process::Command::new("sleep").arg("600"));
        let deep = format!("{}{}", sandbox.group.path(), "/d".repeat(40));
        let deep = sandbox.hierarchies.group(&deep).unwrap();
        deep.create().unwrap();
        for group in deep.folders() {
            // Groups of cpuset take processes only once configured.
            let _ = std::fs::write(group.join("cgroup.procs"), pid.to_string());
        }
        assert_eq!(sandbox.target().group().processes().unwrap(), [pid]);
        let containment = KernelContainment::new(&network);
        let plan = whole_plan(&sandbox);
        let results = run(folder.path(), &sandbox, Some(&plan), &containment);
        assert_eq!(results, Action::ALL.map(|action| (action, ActionResult::Done)));
        assert!(sandbox.is_dead());
    }

    #[test]
    fn a_plan_is_carried_out_once() {
        if !is_root() {
            return;
        }
        let (folder, network) = (tempfile::tempdir().unwrap(), Remembered::default());
        let mut sandbox = Sandbox::sleeping();
        let containment = KernelContainment::new(&network);
        let plan = whole_plan(&sandbox);
        let results = run(folder.path(), &sandbox, Some(&plan), &containment);
        let done = |action| (action, ActionResult::Done);
        assert_eq!(results, Action::ALL.map(done));
        assert!(sandbox.is_dead());
        // A second time: nothing is repeated, and the journal knows the results.
        let dying = Dying { inner: &containment, left: Cell::new(0) };
        assert_eq!(run(folder.path(), &sandbox, Some(&plan), &dying), results);
    }

    #[test]
    fn killed_at_any_step_it_completes_after_a_restart() {
        if !is_root() {
            return;
        }
        for n in 0..6 {
            let (folder, network) = (tempfile::tempdir().unwrap(), Remembered::default());
            let mut sandbox = Sandbox::sleeping();
            let containment = KernelContainment::new(&network);
            let plan = whole_plan(&sandbox);
            let dying = Dying { inner: &containment, left: Cell::new(n) };
            let died = catch_unwind(AssertUnwindSafe(|| {
                run(folder.path(), &sandbox, Some(&plan), &dying)
            }));
            assert!(died.is_err(), "killed at operation {n}");
            let results = run(folder.path(), &sandbox, None, &containment);
            assert_eq!(results.len(), 4, "killed at operation {n}: {results:?}");
            for (action, result) in &results {
                let well = matches!(result, ActionResult::Done | ActionResult::Unchanged);
                assert!(well, "killed at operation {n}: {action:?} {result:?}");
            }
            assert!(sandbox.is_dead(), "killed at operation {n}");
        }
    }

    #[test]
    fn a_journal_cut_after_any_line_is_completed() {
        if !is_root() {
            return;
        }
        let network = Remembered::default();
        let containment = KernelContainment::new(&network);
        let first = tempfile::tempdir().unwrap();
        let whole = {
            let sandbox = Sandbox::sleeping();
            let plan = whole_plan(&sandbox);
            run(first.path(), &sandbox, Some(&plan), &containment);
            let text = std::fs::read_to_string(first.path().join("actions.jsonl")).unwrap();
            (text, sandbox.container.clone())
        };
        let n_lines = whole.0.lines().count();
        assert_eq!(n_lines, 2 + 2 * 4);
        for n in 1..=n_lines {
            let folder = tempfile::tempdir().unwrap();
            let mut sandbox = Sandbox::sleeping();
            let text: String = whole.0.split_inclusive('\n').take(n).collect();
            let text = text.replace(&whole.1.id, &sandbox.container.id);
            std::fs::write(folder.path().join("actions.jsonl"), text).unwrap();
            let results = run(folder.path(), &sandbox, None, &containment);
            assert_eq!(results.len(), 4, "cut after line {n}");
            // From the end of the kill on, the journal says that the container is dead.
            assert_eq!(sandbox.is_dead(), n < n_lines - 1, "cut after line {n}");
        }
    }

    #[test]
    fn what_a_plan_keeps_in_force_is_put_back_until_released() {
        if !is_root() {
            return;
        }
        let (folder, network) = (tempfile::tempdir().unwrap(), Remembered::default());
        let sandbox = Sandbox::sleeping();
        let containment = KernelContainment::new(&network);
        let actions = [Action::Freeze, Action::Isolate];
        let plan = plan_by_hand("test-plan", &sandbox.container, &actions, "INC-1");
        run(folder.path(), &sandbox, Some(&plan), &containment);
        assert!(sandbox.group.is_frozen().unwrap());
        // Lost, as after a reboot of the agent without pins.
        network.0.lock().unwrap().clear();
        sandbox.group.thaw(Duration::from_secs(1)).unwrap();
        run(folder.path(), &sandbox, None, &containment);
        assert!(sandbox.group.is_frozen().unwrap());
        assert_eq!(network.0.lock().unwrap().len(), 1);
        let mut responder = Responder::open(folder.path()).unwrap();
        let mut collect = |_: &Plan, _: &Target, _: bool, _: Duration| Err("unused".to_string());
        let means = Means {
            hierarchies: &sandbox.hierarchies,
            containment: &containment,
            collect: &mut collect,
        };
        let effects = responder.release(&sandbox.container, &means).unwrap();
        assert!(effects.iter().all(|effect| effect.changed));
        assert!(!sandbox.group.is_frozen().unwrap());
        drop(responder);
        run(folder.path(), &sandbox, None, &containment);
        assert!(!sandbox.group.is_frozen().unwrap(), "released stays released");
    }

    #[test]
    fn a_container_that_ended_is_no_failure() {
        if !is_root() {
            return;
        }
        let (folder, network) = (tempfile::tempdir().unwrap(), Remembered::default());
        let sandbox = Sandbox::new();
        sandbox.group.remove(Duration::from_secs(2)).unwrap();
        let containment = KernelContainment::new(&network);
        let results = run(folder.path(), &sandbox, Some(&whole_plan(&sandbox)), &containment);
        assert_eq!(results[0].1, ActionResult::Unchanged);
        assert_eq!(results[2], (Action::Evidence, ActionResult::Failed));
        assert_eq!(results[3].1, ActionResult::Unchanged);
    }

    #[test]
    fn freezing_is_fast() {
        if !is_root() {
            return;
        }
        let sandbox = Sandbox::sleeping();
        let target = sandbox.target();
        let mut times: Vec<Duration> = (0..100)
            .map(|_| {
                let start = std::time::Instant::now();
                let deadline = Duration::from_secs(10);
                assert!(palisade_respond::containment::freeze(&target, deadline).unwrap().changed);
                let took = start.elapsed();
                sandbox.group.thaw(Duration::from_secs(1)).unwrap();
                took
            })
            .collect();
        times.sort();
        eprintln!("freeze: p50 {:?}, p99 {:?} over {}", times[50], times[98], times.len());
        // The slower ones waited for a processor on a busy machine.
        assert!(times[10] < Duration::from_millis(50), "p10 {:?}", times[10]);
    }
}
