//! In the steady state, an event is judged without an allocation.

use palisade_rules::{Evaluator, LoadOptions, RuleMatching, RuleSet};
use palisade_sensor::capture::{CaptureWriter, replay};
use palisade_sensor::record::RecordBuilder;

use palisade_sensor::state::{State, Thread};
use palisade_sensor::{Record, SyscallSchema};

/// Numbers of event types.
const READ_X: u16 = 7;
const CONNECT_X: u16 = 23;
const OPEN_X: u16 = 3;
const OPENAT_2_X: u16 = 307;

/// Rules that ask for names, ancestors, paths and rendered arguments, in every way there is.
const RULES: &str = r#"
- rule: names
  desc: d
  condition: proc.name in (cat, sh) and not proc.pname startswith kube and proc.aname != init
  output: o
  priority: INFO
- rule: paths
  desc: d
  condition: fd.name startswith /etc and fd.name contains shadow and fd.directory = /etc and fd.filename endswith w
  output: o
  priority: INFO
- rule: more paths
  desc: d
  condition: >
    fd.name pmatch (/etc, /usr/*) and (fd.name glob '/etc/*' or fd.name icontains SHADOW)
    and fd.name regex '.*shadow'
  output: o
  priority: INFO
- rule: arguments
  desc: d
  condition: >
    evt.arg.flags contains O_RDONLY and evt.arg[0] != '' and evt.rawres >= 0 and evt.is_open_read = true
    and evt.args contains etc
  output: o
  priority: INFO
- rule: processes
  desc: d
  condition: >
    proc.cmdline contains "cat" and toupper(proc.name) = CAT and basename(proc.exepath) = cat
    and len(proc.name) = 3 and proc.aname[1] exists and proc.args intersects (x, /etc/shadow)
  output: o
  priority: INFO
- rule: everything
  desc: d
  condition: evt.num >= 0 and container.id = host and user.uid = 0 and concat(proc.name, fd.name) exists
  output: o
  priority: DEBUG
  warn_evttypes: false
"#;

fn state() -> State {
    let mut state = State::new();
    for (tid, ptid, comm) in [(1, 0, "init"), (7, 1, "sh"), (8, 7, "cat")] {
        let mut thread = Thread::default();
        (thread.tid, thread.pid, thread.ptid, thread.uid) = (tid, tid, ptid, 0);
        thread.comm = comm.as_bytes().into();
        thread.exe = format!("/bin/{comm}").as_bytes().into();
        thread.set_exe_path(format!("/usr/bin/{comm}").as_bytes());
        thread.cwd = b"/srv/"[..].into();
        thread.set_args(b"/etc/shadow\0-n");
        state.add_initial_thread(thread);
    }
    state.accounts.add_user(b"", 0, b"root", b"/root", b"/bin/sh");
    state.finish_initial();
    state
}

/// Rounds of the same few events.
fn capture(n_rounds: usize) -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new(), &state()).unwrap();
    let mut bytes = Vec::new();
    let mut write = |builder: &RecordBuilder, number| {
        builder.build(&mut bytes, number, 1_000, 8).unwrap();
        writer.write(&Record::decode(&bytes).unwrap()).unwrap();
    };
    for _ in 0..n_rounds {
        let mut builder = RecordBuilder::new();
        builder.push_i64(5).push_i64(-100).push_text(b"/etc/shadow");
        builder.push_u32(1).push_u32(0).push_u32(0).push_u64(0);
        write(&builder, OPENAT_2_X);
        builder.clear().push_i64(4).push(b"root").push_i64(5).push_u32(4096);
        write(&builder, READ_X);
        builder.clear().push_i64(-2).push_empty().push_i64(5).push_empty();
        write(&builder, CONNECT_X);
        builder.clear().push_i64(-2).push_text(b"../tmp/x");
        builder.push_u32(2).push_u32(0o600).push_u32(0).push_u64(0);
        write(&builder, OPEN_X);
    }
    writer.into_inner().unwrap()
}

#[test]
fn evaluation_allocates_nothing() {
    let options = LoadOptions { matching: RuleMatching::All, ..LoadOptions::default() };
    let (rules, diagnostics) = RuleSet::load(&[("r", RULES)], &[&SyscallSchema], &options);
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let mut evaluator = Evaluator::new(&rules);
    let mut matched = Vec::with_capacity(16);
    // The first events make the room that later ones need; regular expressions do so only
    // once they have been asked in earnest.
    let n_warm_up = 400;
    let (mut n_events, mut n_matches) = (0_u64, 0);
    let (mut n_warm_up_allocations, mut n_allocations) = (0, 0);
    let report = replay(&capture(1000)[..], |event| {
        n_events += 1;
        matched.clear();
        let counts = allocation_counter::measure(|| evaluator.evaluate(event, &mut matched));
        n_matches += matched.len();
        if n_events > n_warm_up {
            n_allocations += counts.count_total;
        } else {
            n_warm_up_allocations += counts.count_total;
        }
    });
    assert!(report.unwrap().problem.is_none());
    assert_eq!(n_events, 4000);
    assert!(n_matches >= 6000, "the rules must have been evaluated in earnest: {n_matches}");
    assert!(n_warm_up_allocations > 0, "allocations are counted");
    assert_eq!(n_allocations, 0);
}
