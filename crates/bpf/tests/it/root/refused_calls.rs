//! Calls that the security framework refuses by what they ask for.

use std::os::fd::AsRawFd as _;
use std::process::Command;

use palisade_bpf::enforce::{Means, Outcome};
use palisade_rules::selector::NumberTest::{AnyBit, Equal};
use palisade_rules::selector::{Atom, Input};

use super::enforce::{
    decisions, deny, enforcing_by_lsm, has_lsm, helper, is, number, plan, run, selector,
};
use super::*;

/// Makes one call in the place of a test, and ends with its error as the exit code.
#[expect(clippy::exit, reason = "a child tells its parent what came of a call")]
pub(super) fn make(call: &str) {
    std::process::exit(errno_of(call))
}

/// Makes one system call, in which nothing is said that could do harm; its error, or 0.
fn errno_of(call: &str) -> i32 {
    let words: Vec<&str> = call.split(' ').skip(1).collect();
    let texts: Vec<std::ffi::CString> =
        words.iter().map(|word| std::ffi::CString::new(*word).unwrap()).collect();
    let at = |index: usize| texts[index].as_ptr() as i64;
    let here = i64::from(libc::AT_FDCWD);
    let zeroes = [0_u64; 32];
    let no_module = std::fs::File::open("/etc/passwd").unwrap();
    let no_module = i64::from(no_module.as_raw_fd());
    let (number, arguments) = match words[0] {
        "unlink" => (libc::SYS_unlink, vec![at(1)]),
        "unlinkat" => (libc::SYS_unlinkat, vec![here, at(1), 0]),
        "removedir" => (libc::SYS_unlinkat, vec![here, at(1), i64::from(libc::AT_REMOVEDIR)]),
        "rmdir" => (libc::SYS_rmdir, vec![at(1)]),
        "rename" => (libc::SYS_rename, vec![at(1), at(2)]),
        "renameat" => (libc::SYS_renameat, vec![here, at(1), here, at(2)]),
        "renameat2" => (libc::SYS_renameat2, vec![here, at(1), here, at(2), 0]),
        "link" => (libc::SYS_link, vec![at(1), at(2)]),
        "linkat" => (libc::SYS_linkat, vec![here, at(1), here, at(2), 0]),
        "symlink" => (libc::SYS_symlink, vec![at(1), at(2)]),
        "symlinkat" => (libc::SYS_symlinkat, vec![at(1), here, at(2)]),
        "mkdir" => (libc::SYS_mkdir, vec![at(1), 0o755]),
        "mkdirat" => (libc::SYS_mkdirat, vec![here, at(1), 0o755]),
        "chmod" => (libc::SYS_chmod, vec![at(1), 0o644]),
        "fchmodat" => (libc::SYS_fchmodat, vec![here, at(1), 0o644]),
        "chown" => (libc::SYS_chown, vec![at(1), 0, 0]),
        "mount" => (libc::SYS_mount, vec![at(1), at(2), at(3), libc::MS_NOEXEC as i64]),
        "umount2" => (libc::SYS_umount2, vec![at(1), 0]),
        "traceme" => (libc::SYS_ptrace, vec![0]),
        "seize" => (libc::SYS_ptrace, vec![0x4206, words[1].parse().unwrap()]),
        "bpf" => (libc::SYS_bpf, vec![1, zeroes.as_ptr() as i64, 256]),
        "init_module" => (libc::SYS_init_module, vec![zeroes.as_ptr() as i64, 256, at(0)]),
        "finit_module" => (libc::SYS_finit_module, vec![no_module, at(0), 0]),
        "kill" => (libc::SYS_kill, vec![std::process::id().into(), 0]),
        other => panic!("{other}"),
    };
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: texts and structures outlive the call, and are as long as it expects.
    let result = unsafe {
        libc::syscall(number, argument(0), argument(1), argument(2), argument(3), argument(4))
    };
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

/// The call is not made where it would succeed.
const NOT_TRIED: i32 = -1;

#[test]
fn the_security_framework_refuses_calls_by_what_they_ask_for() {
    let Some(_alone) = root() else { return };
    if !has_lsm() {
        return;
    }
    let cgroup = TestCgroup::new("lsm-calls");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    for name in ["unlink", "unlinkat", "rename", "renameat", "renameat2", "file"] {
        std::fs::write(path(name), name).unwrap();
    }
    for name in ["rmdir", "removedir", "mountpoint"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    let victim = Killed(Command::new("sleep").arg("60").spawn().unwrap());
    let mut enforcer = enforcing_by_lsm(vec![], &cgroup);
    let mut n_tried = 0;
    // The call, what it is told, its event, what the rule asks beside, the error without us.
    let mut check = |call: &str, told: &str, event: &str, asked: Option<Atom>, errno: i32| {
        let command = helper(&format!("'call {call} {told}'"));
        let by = |need: Vec<Atom>| plan(vec![deny(4, selector(event, need, vec![]))]);
        enforcer.replace(&by(asked.into_iter().collect())).unwrap();
        let (status, _) = run(Some(&cgroup.0), &command);
        assert_eq!(status.code(), Some(libc::EPERM), "{call} {told}");
        let found = decisions(&mut enforcer);
        assert_eq!(found.len(), 1, "{call}: {found:?}");
        assert_eq!((found[0].means, found[0].outcome), (Means::Lsm, Outcome::Denied), "{call}");
        if let Some(first) = told.split(' ').next().filter(|told| told.starts_with('/')) {
            let shown = String::from_utf8_lossy(&found[0].object).into_owned();
            assert!(shown == first || told.ends_with(&shown), "{call}: {shown}");
        }
        if errno == NOT_TRIED {
            return;
        }
        // Neither by another rule, nor outside of the cgroup.
        enforcer.replace(&by(vec![is(Input::Comm, &["nobody"])])).unwrap();
        let inside = if n_tried % 2 == 0 { Some(cgroup.0.as_path()) } else { None };
        assert_eq!(run(inside, &command).0.code(), Some(errno), "{call} {told} afterwards");
        assert_eq!(decisions(&mut enforcer), [], "{call}");
        n_tried += 1;
    };
    let file = path("file");
    check("unlink", &path("unlink"), "unlink", None, 0);
    check("unlinkat", &path("unlinkat"), "unlinkat", None, 0);
    check("removedir", &path("removedir"), "unlinkat", None, 0);
    check("rmdir", &path("rmdir"), "rmdir", None, 0);
    for call in ["rename", "renameat", "renameat2"] {
        let to = format!("{} {}", path(call), path(&format!("{call}-to")));
        check(call, &to, call, Some(number(Input::Uid, Equal(0))), 0);
    }
    for call in ["link", "linkat"] {
        check(call, &format!("{file} {}", path(call)), call, None, 0);
    }
    for call in ["symlink", "symlinkat"] {
        check(call, &format!("{file} {}", path(call)), call, None, 0);
    }
    for call in ["mkdir", "mkdirat"] {
        check(call, &path(call), call, None, 0);
    }
    let mode = |index| Some(number(Input::Parameter(index), Equal(0o644)));
    check("chmod", &file, "chmod", mode(2), 0);
    check("fchmodat", &file, "fchmodat", mode(3), 0);
    check("chown", &file, "chown", None, 0);
    let point = path("mountpoint");
    let flags = Some(number(Input::Parameter(4), AnyBit(8)));
    // Nobody else sees this mount: the helper is told to make one where there is none.
    check("mount", &format!("none {point} palisade-no-such-type"), "mount", flags, libc::ENODEV);
    let mounted = Command::new("mount").args(["-t", "tmpfs", "none", &point]).status().unwrap();
    assert!(mounted.success());
    check("umount2", &point, "umount2", None, 0);
    let request = |n| Some(number(Input::Parameter(3), Equal(n)));
    // A thread that is traced stays until its tracer asks for it, which nobody here does.
    check("traceme", "", "ptrace", request(1), NOT_TRIED);
    check("seize", &victim.0.id().to_string(), "ptrace", request(20), 0);
    check("bpf", "", "bpf", Some(number(Input::Parameter(1), Equal(1))), libc::EINVAL);
    check("init_module", "", "init_module", None, libc::ENOEXEC);
    check("finit_module", "", "finit_module", None, libc::ENOEXEC);
    check("kill", "", "kill", Some(number(Input::Parameter(2), Equal(0))), 0);
    assert_eq!(std::fs::read(&file).unwrap(), b"file");
}

/// A process that is ended with the test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
