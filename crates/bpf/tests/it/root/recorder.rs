//! What processes do is noted, theirs alone, and from their exec on.

use std::process::Command;

use palisade_bpf::recorder::{AddressKind, Kind, PathKind, Plan, Recorder, Site};

use super::*;

fn plan() -> Plan {
    let number = |call: i64| u32::try_from(call).unwrap();
    Plan {
        kinds: vec![
            (number(libc::SYS_openat), Kind::Open),
            (number(libc::SYS_mkdirat), Kind::PathAt(1)),
            (number(libc::SYS_unlinkat), Kind::PathAt(1)),
            (number(libc::SYS_execve), Kind::Exec),
            (number(libc::SYS_connect), Kind::Connect),
            #[cfg(target_arch = "x86_64")]
            (number(libc::SYS_mkdir), Kind::Path(0)),
        ],
        watched: vec![(number(libc::SYS_socket), [Some(0), Some(1)])],
        allowed: None,
    }
}

/// Runs `script` followed as target 0.
fn run(recorder: &Recorder, script: &str) {
    let own = std::process::id();
    recorder.follow_children(0, own).unwrap();
    let mut child = Command::new("bash").args(["-c", script]).spawn().unwrap();
    recorder.leave(own);
    child.wait().unwrap();
}

#[test]
fn files_sockets_and_calls_of_a_tree_are_noted() {
    let Some(_alone) = root() else { return };
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::load(&plan()).unwrap();
    let at = folder.path().display().to_string();
    run(
        &recorder,
        &format!(
            "cd {at}; echo 1 > written; cat written > /dev/null; (mkdir made); \
             exec 3<>/dev/tcp/127.0.0.1/9 2>/dev/null; true"
        ),
    );
    let seen = recorder.read(0);
    assert!(!seen.is_filtered);
    for call in [libc::SYS_openat, libc::SYS_execve, libc::SYS_exit_group, libc::SYS_connect] {
        assert!(seen.calls.contains(&u32::try_from(call).unwrap()), "{call}");
    }
    // Nobody mounts here, though this process and others on the machine are free to.
    assert!(!seen.calls.contains(&u32::try_from(libc::SYS_mount).unwrap()));
    let paths = |kind| -> Vec<&str> {
        seen.paths.iter().filter(|p| p.kind == kind).map(|p| p.path.as_str()).collect()
    };
    assert!(paths(PathKind::Written).contains(&format!("{at}/written").as_str()), "{seen:?}");
    // The caller wrote `made`: the folder is the one that it stood in.
    assert!(paths(PathKind::Changed).contains(&format!("{at}/made").as_str()), "{seen:?}");
    assert!(paths(PathKind::Executed).iter().any(|path| path.ends_with("/mkdir")), "{seen:?}");
    let socket = u32::try_from(libc::SYS_socket).unwrap();
    let families: Vec<u64> =
        seen.sites.iter().filter(|s| s.number == socket).map(|s| s.arguments[0]).collect();
    assert!(families.contains(&2), "{seen:?}");
    assert_eq!((seen.n_lost, seen.n_unfollowed), (0, 0));
    // The connection was refused, so no address was needed; and nothing is followed any more.
    assert!(seen.addresses.iter().all(|address| address.kind == AddressKind::Connected));
    assert_eq!(recorder.followed(), [0_u32; 0]);
}

#[test]
fn places_of_calls_that_are_not_allowed_are_noted() {
    let Some(_alone) = root() else { return };
    let getppid = u32::try_from(libc::SYS_getppid).unwrap();
    let allowed = (0..1024).filter(|number| *number != getppid).collect();
    let recorder = Recorder::load(&Plan { allowed: Some(allowed), ..plan() }).unwrap();
    run(&recorder, "true");
    let seen = recorder.read(0);
    let of_call: Vec<&Site> = seen.sites.iter().filter(|s| s.number == getppid).collect();
    assert!(!of_call.is_empty(), "bash asks for its parent");
    assert!(of_call.iter().all(|site| site.address != 0 && site.n > 0 && site.comm == "bash"));
}

#[test]
fn a_target_too_many_is_refused() {
    let Some(_alone) = root() else { return };
    let recorder = Recorder::load(&Plan::default()).unwrap();
    let error = recorder.follow_process(palisade_bpf::recorder::TARGETS_MAX, 1).unwrap_err();
    assert_eq!(error.to_string(), "target 64 is one too many to be recorded");
}
