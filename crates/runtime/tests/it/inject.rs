//! An OCI runtime that fails on command, to see what is left when it does.

use palisade_runtime::{IdSpace, RunError, Runc, Runtime, Stdio};

use super::bench::{Bench, can_run, restricted, write_script};

/// A runtime like that of `bench`, over a script that does `before` ahead of the real runC.
fn with_script(bench: &Bench, before: &str) -> Runtime {
    let real = Runc::find().unwrap();
    let script = bench.folder.path().join("fake-runc");
    let text = format!("#!/bin/sh\n{before}\nexec {} \"$@\"\n", real.path().display());
    write_script(&script, &text);
    let runc = Runc::find_among(&[script]).unwrap();
    Runtime::open(bench.runtime.paths().clone(), runc, IdSpace::of_this_machine()).unwrap()
}

mod root {
    use super::*;

    #[test]
    fn the_record_is_on_disk_before_the_first_process() {
        if !can_run() {
            return;
        }
        let bench = Bench::new();
        let records = bench.runtime.paths().records();
        // The operation stands behind the global options; `create` must find a record.
        let check = format!(
            "case \" $* \" in *\" create \"*) grep -q '\"engine\": \"palisade\"' {}/*.json || exit 66;; esac",
            records.display()
        );
        let runtime = with_script(&bench, &check);
        let policy = restricted();
        let outcome =
            runtime.run(&bench.request(&policy, &["/bin/true"]), Stdio::default()).unwrap();
        assert_eq!(outcome.exit.unwrap().shell_code(), 0);
    }

    #[test]
    fn whatever_operation_fails_nothing_is_left() {
        if !can_run() {
            return;
        }
        let bench = Bench::new();
        let before = bench.traces();
        let policy = restricted();
        let fail = |operation: &str, how: &str| {
            format!("case \" $* \" in *\" {operation} \"*) {how};; esac")
        };
        let real = Runc::find().unwrap();
        let create_then_fail = format!("{} \"$@\"; exit 1", real.path().display());
        for (operation, how) in [
            ("create", "exit 1"),
            ("create", "kill -9 $$"),
            // It made the container and then said that it had not.
            ("create", create_then_fail.as_str()),
            ("start", "exit 1"),
            ("start", "kill -9 $$"),
            // Whoever deletes must not depend on it.
            ("delete", "exit 1"),
        ] {
            let runtime = with_script(&bench, &fail(operation, how));
            let result =
                runtime.run(&bench.request(&policy, &["/bin/sleep", "0.1"]), Stdio::default());
            match operation {
                "delete" => assert!(result.is_ok(), "{result:?}"),
                _ => assert!(
                    matches!(result, Err(RunError::Runc(_))),
                    "{operation} {how}: {result:?}"
                ),
            }
            assert_eq!(bench.traces(), before, "{operation} {how}");
        }
    }
}
