//! What outputs show of fields, and what conditions compare, where the two differ.

use std::net::{IpAddr, Ipv4Addr};

use palisade_rules::fields::Fields;
use palisade_rules::{Evaluator, LoadOptions, OutputFormat, RuleSet};
use palisade_sensor::record::RecordBuilder;
use palisade_sensor::state::{Ends, Fd, FdKind, Role, State, Thread};
use palisade_sensor::{Engine, EventView, Record, SyscallSchema};
use serde_json::{Value as Json, json};

/// init > sshd > bash > cat, each with an environment of its own.
fn lineage() -> State {
    let mut state = State::new();
    let names = ["init", "sshd", "bash", "cat"];
    for (index, name) in names.into_iter().enumerate() {
        let mut thread = Thread::default();
        (thread.tid, thread.ptid) = (index as i64 + 1, index as i64);
        (thread.pid, thread.vtid, thread.vpid) = (thread.tid, thread.tid, thread.tid);
        thread.comm = name.as_bytes().into();
        thread.exe = format!("/bin/{name}").as_bytes().into();
        thread.env = format!("LEVEL={index}\0HOME=/home/{name}").as_bytes().into();
        thread.cwd = b"/srv/"[..].into();
        thread.set_args(if name == "sshd" { b"-D" } else { b"" });
        state.add_initial_thread(thread);
    }
    let mut folder = Fd::of(FdKind::Directory);
    folder.set_name(b"/data");
    state.add_initial_fd(4, 3, folder);
    let mut socket = Fd::of(FdKind::Ipv4Socket);
    socket.ends = Ends {
        source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        dest: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
        source_port: 4000,
        dest_port: 80,
    };
    socket.role = Role::Client;
    state.add_initial_fd(4, 5, socket);
    state.add_initial_fd(4, 6, Fd::of(FdKind::Memory));
    state.finish_initial();
    state
}

fn with_event(
    number: u16,
    build: impl FnOnce(&mut RecordBuilder),
    see: impl FnOnce(&EventView<'_>),
) {
    let mut builder = RecordBuilder::new();
    build(&mut builder);
    let mut bytes = Vec::new();
    builder.build(&mut bytes, number, 1_700_000_000_000_000_042, 4).unwrap();
    let mut engine = Engine::new(lineage());
    see(&engine.take(Record::decode(&bytes).unwrap()).unwrap());
}

/// `read(5, …)` by the last of them.
fn with_read(data: &[u8], see: impl FnOnce(&EventView<'_>)) {
    with_event(
        7,
        |builder| {
            builder.push_i64(data.len() as i64).push(data).push_i64(5).push_u32(100);
        },
        see,
    );
}

#[track_caller]
fn shows(event: &EventView<'_>, format: &str, expected: &str) {
    let compiled = OutputFormat::compile(format, &SyscallSchema).unwrap();
    assert_eq!(compiled.render(event as &dyn Fields), expected, "{format}");
}

#[track_caller]
fn typed(event: &EventView<'_>, field: &str, expected: &Json) {
    let compiled = OutputFormat::compile(&format!("%{field}"), &SyscallSchema).unwrap();
    let values = compiled.values(event as &dyn Fields);
    let (name, value) = values.first().unwrap();
    assert_eq!(*name, field);
    assert_eq!(&value.as_ref().map_or(Json::Null, Json::from), expected, "{field}");
}

#[track_caller]
fn holds(event: &EventView<'_>, condition: &str, expected: bool) {
    let file = format!(
        "- rule: r\n  desc: d\n  condition: '{condition}'\n  output: o\n  priority: INFO\n"
    );
    let (rules, diagnostics) =
        RuleSet::load(&[("r", &file)], &[&SyscallSchema], &LoadOptions::default());
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let mut matched = Vec::new();
    Evaluator::new(&rules).evaluate(event, &mut matched);
    assert_eq!(!matched.is_empty(), expected, "{condition}");
}

#[test]
fn a_line_of_ancestors_is_shown_joined_and_compared_one_by_one() {
    with_read(b"x", |event| {
        shows(event, "%proc.aname", "bash sshd init");
        shows(event, "%proc.aexe", "/bin/bash /bin/sshd /bin/init");
        shows(event, "%proc.acmdline", "bash sshd -D init");
        typed(event, "proc.aname", &json!("bash sshd init"));
        // None of them has a known path.
        shows(event, "%proc.aexepath", "<NA>");
        shows(event, "%proc.aname[2] %proc.aname[7]", "sshd <NA>");
        holds(event, "proc.aname = sshd", true);
        holds(event, "proc.aname = \"bash sshd init\"", false);
        // Its arguments are one text to conditions as well.
        shows(event, "%proc.aargs", "-D ");
        holds(event, "proc.aargs = \"-D \"", true);
        holds(event, "proc.aargs = -D", false);
        // Without a distance the process shows its own number.
        shows(event, "%proc.apid %proc.apid[1]", "4 3");
        holds(event, "proc.apid = 4", false);
        holds(event, "proc.apid = 1", true);
    });
}

#[test]
fn the_environment_of_ancestors() {
    with_read(b"x", |event| {
        shows(event, "%proc.aenv", "LEVEL=3 HOME=/home/cat");
        shows(event, "%proc.aenv[1]", "LEVEL=2 HOME=/home/bash");
        shows(event, "%proc.aenv[LEVEL]", "2");
        shows(event, "%proc.aenv[9]", "<NA>");
        // A comparison without a name is with each ancestor's, and so is one with a distance.
        holds(event, "proc.aenv contains \"LEVEL=0\"", true);
        holds(event, "proc.aenv[1] contains \"LEVEL=0\"", true);
        holds(event, "proc.aenv contains \"LEVEL=3\"", false);
        holds(event, "proc.aenv[LEVEL] = 2", true);
    });
}

#[test]
fn fields_that_are_there_to_be_compared_show_little() {
    with_read(b"x", |event| {
        shows(event, "%fd.ip %fd.port %fd.net", "<NA> <NA> <NA>");
        shows(event, "%fd.cip %fd.cnet %fd.snet", "10.0.0.1 <IPNET> <IPNET>");
        holds(event, "fd.net = 10.0.0.0/8", true);
    });
}

#[test]
fn addresses_exist_where_a_descriptor_does() {
    let with_folder = |builder: &mut RecordBuilder| {
        // fchdir(3)
        builder.push_i64(0).push_i64(3);
    };
    with_event(97, with_folder, |event| {
        assert_eq!(event.type_name(), "fchdir");
        for field in ["fd.ip", "fd.port", "fd.net", "fd.proto", "fd.sip.name", "fd.types"] {
            holds(event, &format!("{field} exists"), true);
        }
        holds(event, "fd.cip exists or fd.snet exists", false);
        holds(event, "fd.ip != 10.0.0.1 or fd.port != 1 or fd.sip.name != example.org", false);
        shows(event, "%fd.sip.name", "<NA>");
    });
    with_read(b"x", |event| {
        // No name is looked up, so no address has a given one.
        holds(event, "fd.sip.name != example.org", true);
        holds(event, "fd.sip.name = example.org", false);
        shows(event, "%fd.sip.name", "<NA>");
    });
}

#[track_caller]
fn refused(condition: &str, expected: &str) {
    let file =
        format!("- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n");
    let (_, diagnostics) =
        RuleSet::load(&[("r", &file)], &[&SyscallSchema], &LoadOptions::default());
    assert!(diagnostics.to_string().contains(expected), "{condition}: {diagnostics}");
}

#[test]
fn what_no_operator_reads_is_refused() {
    refused("evt.rawarg.tuple contains a", "'contains' operator not supported for type");
    refused("evt.rawarg.data = a", "'=' operator not supported for type");
    refused("evt.rawarg.rgid >= 1", "'>=' operator not supported for type");
    refused("evt.rawarg.nothing = 1", "unknown event argument nothing");
    refused("tolower(evt.type) = sleeping", "unknown event type sleeping");
    refused("len(evt.type) = 4", "unknown event type 4");
    with_read(b"x", |event| {
        holds(
            event,
            "evt.rawarg.data exists and evt.rawarg.fd = 5 and evt.rawarg.size >= 100",
            true,
        );
        holds(event, "evt.rawarg.tuple exists", false);
    });
}

#[test]
fn times_are_numbers_among_typed_values() {
    with_read(b"x", |event| {
        let nanoseconds = json!(1_700_000_000_000_000_042_u64);
        for field in
            ["evt.time", "evt.time.s", "evt.time.iso8601", "evt.datetime", "evt.outputtime"]
        {
            typed(event, field, &nanoseconds);
        }
        typed(event, "evt.rawtime.ns", &json!(42));
        shows(event, "%evt.rawtime.ns %evt.reltime", "000000042 000000000");
        shows(event, "%evt.latency.human %evt.latency", "0ns 0");
    });
}

#[test]
fn events_around_a_time() {
    with_read(b"x", |event| {
        holds(event, "evt.around[1700000000000000042] = 0", true);
        holds(event, "evt.around[1700000000999000000] = 1000", true);
        holds(event, "evt.around[1699999999000000000] = 1000", false);
        holds(event, "evt.around[1] = 1000", false);
        shows(event, "%evt.around[1]", "<NA>");
    });
    refused("evt.around[1] > 5", "evt.around supports only '=' comparison operator");
    refused("evt.around[1] = x", "x is not a valid number");
    refused("evt.around[x] = 5", "unknown event argument x");
    refused("evt.around[1] = val(evt.num)", "doesn't support right-hand side fields");
}

#[test]
fn nothing_shown_can_forge_a_line() {
    with_read(b"a\nb", |event| {
        shows(event, "%evt.buffer", "a.b");
        shows(event, "%evt.buflen %evt.buflen.in", "3 3");
        shows(event, "%evt.buflen.out %evt.buflen.file", "<NA> <NA>");
        shows(event, "%evt.buflen.net", "3");
    });
    with_read(b"", |event| shows(event, "%evt.buffer", "NULL"));
    let open = |builder: &mut RecordBuilder| {
        builder.push_i64(-2).push_i64(-100).push_text(b"a\nb\xff").push_u32(1).push_u32(0);
        builder.push_u32(0).push_u64(0);
    };
    with_event(307, open, |event| {
        shows(event, "%fd.name", "/srv/a\u{fffd}b\u{fffd}");
        shows(event, "%fd.nameraw", "a\u{fffd}b\u{fffd}");
        typed(event, "fd.nameraw", &json!("a\u{fffd}b\u{fffd}"));
        holds(event, "fd.nameraw glob \"a?b*\"", true);
    });
}

#[test]
fn both_paths_of_a_call_are_named_after_a_dot() {
    // linkat(3, "old", AT_FDCWD, "new")
    let link = |builder: &mut RecordBuilder| {
        builder.push_i64(0).push_i64(3).push_text(b"old").push_i64(-100).push_text(b"new");
        builder.push_u32(0);
    };
    with_event(311, link, |event| {
        shows(event, "%evt.abspath %evt.abspath.src", "/data/old /data/old");
        shows(event, "%evt.abspath.dst|", "/srv/new|");
        holds(event, "evt.abspath.dst = /srv/new", true);
        shows(event, "%evt.count.error.file %evt.count.error.other", "<NA> 0");
    });
    with_read(b"x", |event| {
        holds(event, "evt.type.is.read = 1", true);
        holds(event, "evt.type.is.write = 0", true);
        // What is no event type is text behind a field that exists.
        shows(event, "%evt.type.is.nothing", "read.is.nothing");
    });
}

#[test]
fn a_result_that_is_not_there_counts_as_success() {
    let without = |builder: &mut RecordBuilder| {
        builder.push(b"").push_i64(3);
    };
    with_event(97, without, |event| {
        shows(event, "%evt.rawres %evt.res %evt.failed", "0 SUCCESS false");
        holds(event, "evt.rawres >= 0", true);
    });
}

#[test]
fn a_memory_call_about_a_descriptor_counts_as_another_error_too() {
    // mmap(0, 10, 0, 0, 4, 0), which fails.
    let map = |fd: i64| {
        move |builder: &mut RecordBuilder| {
            builder.push_i64(-12).push_u32(0).push_u32(0).push_u32(0).push_u64(0).push_u64(10);
            builder.push_u32(0).push_u32(0).push_i64(fd).push_u64(0);
        }
    };
    let counts = "%evt.count.error.memory %evt.count.error.other %evt.count.error.net";
    with_event(161, map(-1), |event| {
        assert_eq!(event.type_name(), "mmap");
        shows(event, counts, "1 <NA> <NA>");
    });
    with_event(161, map(5), |event| shows(event, counts, "1 <NA> 1"));
    with_event(161, map(6), |event| shows(event, counts, "1 1 <NA>"));
}

/// `connect(5, …)` as its two events say it: the address on entry, then the connection and
/// the address on return.
fn connected(asked: [u8; 4], led_to: [u8; 4], named: [u8; 4]) -> String {
    let socket = |address: [u8; 4]| [&[2], &address[..], &80_u16.to_le_bytes()].concat();
    let tuple = [&[2, 10, 0, 0, 1], &4000_u16.to_le_bytes()[..], &socket(led_to)[1..]].concat();
    let mut engine = Engine::new(lineage());
    let mut bytes = Vec::new();
    let mut builder = RecordBuilder::new();
    builder.push_i64(5).push(&socket(asked)).build(&mut bytes, 22, 1, 4).unwrap();
    engine.take(Record::decode(&bytes).unwrap());
    let mut exit = Vec::new();
    builder.clear().push_i64(0).push(&tuple).push_i64(5).push(&socket(named));
    builder.build(&mut exit, 23, 2, 4).unwrap();
    let event = engine.take(Record::decode(&exit).unwrap()).unwrap();
    OutputFormat::compile("%fd.sip", &SyscallSchema).unwrap().render(&event as &dyn Fields)
}

#[test]
fn an_address_changed_under_way_does_not_hide_the_destination() {
    let (asked, other, third) = ([10, 0, 0, 9], [8, 8, 8, 8], [1, 1, 1, 1]);
    assert_eq!(connected(asked, asked, asked), "10.0.0.9");
    // Both are read from the program's memory, which has changed since.
    assert_eq!(connected(asked, other, other), "10.0.0.9");
    // The kernel's own answer is not what the program named, so it counts.
    assert_eq!(connected(asked, third, other), "1.1.1.1");
}
