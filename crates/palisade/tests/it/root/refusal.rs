//! A kernel that refuses some of the probes.
//!
//! No kernel at hand does, so a library in front of the C library answers for it: it says no to
//! `bpf(BPF_PROG_LOAD)` of the named programs, as a verifier would.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON};
use crate::support::{Running, wait_for};

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

long syscall(long number, ...)
{
	static long (*real)(long, ...);
	long a[6];
	va_list list;
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	const char *names = getenv("REFUSED_PROGRAMS");
	if (number == SYS_bpf && a[0] == BPF_PROG_LOAD && names) {
		/* The kernel keeps fifteen bytes of a name; so do those who ask. */
		char name[20] = " ";
		strncat(name, ((union bpf_attr *)a[1])->prog_name, 16);
		strcat(name, " ");
		if (strstr(names, name)) {
			errno = EINVAL;
			return -1;
		}
	}
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
"#;

const RULES: &str = "
- rule: Memory file
  desc: d
  condition: evt.type = memfd_create and proc.name = nobody
  output: o
  priority: WARNING
- rule: Memory file or link
  desc: d
  condition: evt.type in (memfd_create, symlink) and proc.name = nobody
  output: o
  priority: WARNING
- rule: Canary
  desc: d
  condition: evt.type in (execve, execveat) and proc.cmdline contains canary-run and container.name = shop
  output: canary %proc.cmdline
  priority: WARNING
- rule: Switched off
  desc: d
  condition: evt.type = symlink
  output: o
  priority: WARNING
  enabled: false
";

/// Builds the library.
fn library(bed: &Bed) -> PathBuf {
    let (source, library) = (bed.path().join("refuse.c"), bed.path().join("refuse.so"));
    std::fs::write(&source, LIBRARY).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .output()
        .expect("a C compiler, which the build needs as well");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

fn watch(bed: &Bed, refused: &str, flags: &[&str]) -> Running {
    let flags = [
        &["watch", "--ready-file", "ready", "--rules", "rules.yaml", "--no-builtin-rules"][..],
        flags,
    ]
    .concat();
    let mut command = bed.command(&flags);
    command.env("LD_PRELOAD", bed.path().join("refuse.so")).env("REFUSED_PROGRAMS", refused);
    let _ = std::fs::remove_file(bed.path().join("ready"));
    Running::start(command, b"")
}

#[test]
fn a_refused_probe_costs_its_rules_and_no_others() {
    let Some(bed) = Bed::new() else { return };
    library(&bed);
    std::fs::write(bed.path().join("rules.yaml"), RULES).unwrap();
    let ready = bed.path().join("ready");

    let watch_with = |refused: &str, flags: &[&str]| {
        let mut watch = watch(&bed, refused, flags);
        wait_for("attached sensor", SOON, || {
            assert!(!watch.has_ended(), "watch has ended: {}", watch.stderr());
            ready.exists().then_some(())
        });
        watch
    };
    // Two handlers; names are as long as the kernel keeps them.
    let running = watch_with(" call_memfd_crea call_connect ", &[]);
    let stderr = running.stderr();
    for expected in [
        "probe call_memfd_create is left out: the kernel refuses it",
        "probe call_connect is left out",
        "rule \"Memory file\" is unsupported: memfd_create: call_memfd_create",
        "rule \"Memory file or link\" is partial",
    ] {
        assert!(stderr.contains(expected), "`{expected}` is not in {stderr}");
    }
    assert!(!stderr.contains("rule \"Canary\""), "{stderr}");

    // The others work.
    bed.detach("shop", &[], "/bin/true canary-run; while :; do sleep 1; done");
    wait_for("alert", SOON, || running.stdout().contains("canary-run").then_some(()));

    let ended = bed.run(&["status", "--format", "json"]).expect(1);
    let status: Value = serde_json::from_str(&ended.stdout).unwrap();
    let state = |name: &str| -> String {
        let rules = status["rules"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["name"] == name).unwrap();
        rule["state"].as_str().unwrap().to_string()
    };
    assert_eq!(
        ["Memory file", "Memory file or link", "Canary", "Switched off"].map(state),
        ["unsupported", "partial", "on", "off"]
    );
    assert_eq!(status["refused"].as_array().unwrap().len(), 2, "{}", status["refused"]);
    let text = bed.run(&["status"]).expect(1).stdout;
    for expected in [
        "DEGRADED",
        "refused: call_memfd_create (memfd_create)",
        "1 on, 1 partial, 1 unsupported, 1 off",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in {text}");
    }
    // Refused again when rules are read again, and no reason to refuse them.
    std::fs::write(bed.path().join("rules.yaml"), RULES.replace("symlink", "rename")).unwrap();
    wait_for("reload", SOON, || running.stderr().contains("reloaded (").then_some(()));
    bed.run(&["status"]).expect(1);
    running.signal(Signal::TERM);
    running.wait(SOON).expect(0);

    // A program at a hook of its own.
    let running = watch_with(" on_exit ", &[]);
    assert!(running.stderr().contains("probe on_exit is left out"), "{}", running.stderr());
    running.signal(Signal::TERM);
    running.wait(SOON).expect(0);

    // Who wants all or nothing gets nothing.
    watch(&bed, " call_memfd_crea ", &["--strict"])
        .wait(SOON)
        .expect_error_with_output(3, "not every rule can see what it asks for");
    // And without any probe there is nothing to watch with.
    let all = " on_fork on_exec on_exit dispatch ";
    watch(&bed, all, &[]).wait(SOON).expect_error_with_output(3, "load the probes");
    let running = watch_with("", &["--strict"]);
    running.signal(Signal::TERM);
    running.wait(SOON).expect(0);
}
