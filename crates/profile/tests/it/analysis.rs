//! Programs compiled for the purpose, and the machine's own.

use std::collections::HashMap;
use std::process::Command;

use palisade_profile::analysis::{AnalysisError, Files, Symbols, analyse};

/// Files in memory, and the machine's for what is not there.
struct Sources(HashMap<String, Vec<u8>>, bool);

impl Files for Sources {
    fn read(&mut self, path: &str) -> Option<Vec<u8>> {
        self.0.get(path).cloned().or_else(|| self.1.then(|| std::fs::read(path).ok())?)
    }
}

/// The machine code of `source`, or `None` where no compiler is.
fn compile(source: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("a.c"), folder.path().join("a.out"));
    std::fs::write(&input, source).unwrap();
    let done = Command::new("cc").args(arguments).arg("-o").arg(&output).arg(&input).status();
    match done {
        Ok(status) if status.success() && cfg!(target_arch = "x86_64") => {
            Some(std::fs::read(&output).unwrap())
        }
        _ => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "skipped: no C compiler for x86-64");
            None
        }
    }
}

/// Calls, and how many things are unknown.
#[track_caller]
fn check(source: &str, arguments: &[&str], calls: &[&str], n_unknown: usize) {
    let Some(program) = compile(source, arguments) else { return };
    let mut files = Sources([("/a.out".to_string(), program)].into(), false);
    let found = analyse("/a.out", &mut files).unwrap();
    assert_eq!(found.calls.keys().collect::<Vec<_>>(), calls, "{found:#?}");
    assert_eq!(found.unknown.len(), n_unknown, "{found:#?}");
}

const CALL: &str = "static inline long call(long n, long a) { long r; __asm__ volatile(\"syscall\" \
     : \"=a\"(r) : \"a\"(n), \"D\"(a) : \"rcx\", \"r11\", \"memory\"); return r; }\n";
const BARE: [&str; 5] = ["-O1", "-nostdlib", "-static-pie", "-fPIE", "-s"];

#[test]
fn numbers_are_found_where_code_is_reached() {
    // Called, through a table, after a loop; `mount` stands in code that nothing reaches.
    let source = format!(
        "{CALL}
        __attribute__((noinline)) static int quit(int c) {{ return call(231, c); }}
        __attribute__((noinline)) static int ask(int c) {{ return call(39, c); }}
        int (*volatile table[])(int) = {{ quit, ask }};
        __attribute__((used, noinline)) static int dead(int c) {{ return call(165, c); }}
        __attribute__((noinline)) static void again(int n) {{ do call(24, 0); while (--n); }}
        void _start(void) {{ call(110, 0); again(3); table[0](0); for (;;); }}"
    );
    check(&source, &BARE, &["exit_group", "getpid", "getppid", "sched_yield"], 0);
}

#[test]
fn ways_that_disagree_are_unknown_and_those_that_agree_are_not() {
    let either = format!(
        "{CALL} volatile int x; void _start(void) {{ long n = x ? 39 : 110; if (x) x++; else x--; call(n, 0); for (;;); }}"
    );
    let Some(program) = compile(&either, &BARE) else { return };
    let mut files = Sources([("/a".to_string(), program)].into(), false);
    let found = analyse("/a", &mut files).unwrap();
    // A compiler may keep two calls, or choose a number for one.
    assert!(found.calls.len() == 2 || found.unknown.len() == 1, "{found:#?}");
    let computed = format!("{CALL} volatile long x; void _start(void) {{ call(x, 0); for (;;); }}");
    check(&computed, &BARE, &[], 1);
}

#[test]
fn a_program_of_the_machine_holds_what_it_is_seen_to_call() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let found = analyse("/bin/cat", &mut Sources(HashMap::new(), true)).unwrap();
    // `strace cat FILE` of glibc 2.31 to 2.41, and of musl: what each of them shows.
    for call in ["brk", "close", "execve", "exit_group", "mmap", "openat", "read", "write"] {
        // The program itself executes nothing.
        if call != "execve" {
            assert!(found.calls.contains_key(call), "{call}: {found:#?}");
        }
    }
    for call in ["mount", "init_module", "bpf", "ptrace", "reboot"] {
        assert!(!found.calls.contains_key(call), "{call}: {found:#?}");
    }
    assert!(found.objects.len() >= 2, "{found:#?}");
}

#[test]
fn what_is_missing_is_named() {
    let Some(program) = compile("int main(void) { return 0; }", &["-O1"]) else { return };
    let script = b"#!/usr/bin/env a.out\n".to_vec();
    let files = [("/usr/bin/a.out".to_string(), program), ("/run.sh".to_string(), script)];
    let found = analyse("/run.sh", &mut Sources(files.into(), false)).unwrap();
    let unknown: Vec<&str> = found.unknown.iter().map(String::as_str).collect();
    assert!(
        unknown.iter().any(|what| what.starts_with("library `libc.so.6` is not in")),
        "{unknown:?}"
    );
    assert!(unknown.iter().any(|what| what.starts_with("`/run.sh` is a script")), "{unknown:?}");
    let nothing = &mut Sources(HashMap::new(), false);
    assert_eq!(analyse("/x", nothing), Err(AnalysisError::NotFound("/x".into())));
    let turns = [("/a".to_string(), b"#!/a\n".to_vec())];
    assert_eq!(
        analyse("/a", &mut Sources(turns.into(), false)),
        Err(AnalysisError::Interpreters("/a".into()))
    );
    let text = [("/a".to_string(), b"no program".to_vec())];
    assert!(matches!(
        analyse("/a", &mut Sources(text.into(), false)),
        Err(AnalysisError::Elf { .. })
    ));
}

#[test]
fn places_have_the_names_of_their_functions() {
    let source = "int there(int x) { return x + 1; } int main(void) { return there(1); }";
    let Some(program) = compile(source, &["-O0"]) else { return };
    let symbols = Symbols::parse(&program).unwrap();
    let hits: Vec<(&str, u64)> =
        (0x1000..0x1300).filter_map(|at| symbols.function_at(at)).collect();
    assert!(hits.contains(&("there", 3)), "{}", hits.len());
    assert!(hits.iter().any(|(name, _)| *name == "main"), "{}", hits.len());
    assert_eq!(symbols.function_at(u64::MAX), None);
    // Without its symbols the same place has no name.
    let Some(bare) = compile(source, &["-O0", "-s"]) else { return };
    let bare = Symbols::parse(&bare).unwrap();
    assert!(
        (0x1000..0x1300).all(|at| bare.function_at(at).is_none_or(|(name, _)| name != "there"))
    );
}
