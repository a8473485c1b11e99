//! Conditions as the kernel decides them.

use std::fmt::Write as _;
use std::net::IpAddr;

use palisade_rules::fields::Value;
use palisade_rules::selector::{
    Fact, Input, NUMBERS_MAX, Selector, TERMS_MAX, TEXT_BYTES_MAX, Unlowered,
};
use palisade_rules::{Evaluator, LoadOptions, RuleMatching, RuleSet};
use proptest::prelude::*;

use crate::schema::{Owned, TestEvent, TestSchema, text};

fn load(conditions: &[&str]) -> RuleSet {
    let mut file = String::new();
    for (i, condition) in conditions.iter().enumerate() {
        let quoted = condition.replace('\'', "''");
        write!(
            file,
            "- rule: r{i}\n  desc: d\n  condition: '{quoted}'\n  output: o\n  priority: INFO\n"
        )
        .unwrap();
    }
    let options = LoadOptions {
        matching: RuleMatching::All,
        keep_expressions: true,
        ..LoadOptions::default()
    };
    let (rules, diagnostics) = RuleSet::load(&[("f", &file)], &[TestSchema::kernel()], &options);
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    rules
}

fn exact(condition: &str) -> Result<Selector, Unlowered> {
    Selector::exact(&load(&[condition]).rules()[0], TestSchema::kernel())
}

/// Events, and the numbers of their terms and atoms.
fn sizes(condition: &str) -> Vec<(String, usize, usize)> {
    let selector = exact(condition).unwrap();
    selector.events.iter().map(|e| (e.event.clone(), e.terms.len(), e.atoms.len())).collect()
}

#[test]
fn conditions_become_terms_for_each_event() {
    let check = |condition: &str, expected: &[(&str, usize, usize)]| {
        let found = sizes(condition);
        let found: Vec<_> = found.iter().map(|(e, t, a)| (e.as_str(), *t, *a)).collect();
        assert_eq!(found, expected, "{condition}");
    };
    check(
        "evt.type = execve and container.id != host and proc.name in (sh, bash)",
        &[("execve", 1, 1)],
    );
    // Every event has terms of its own; what only concerns others is gone.
    check(
        "evt.type in (open, execve) and (evt.type = execve and proc.name = a or fd.name = /b)",
        &[("execve", 1, 1), ("open", 1, 1)],
    );
    check(
        "evt.type = open and (proc.name = a or user.uid = 0) and not fd.name = /x",
        &[("open", 2, 3)],
    );
    // A shorter alternative covers a longer one.
    check(
        "evt.type = open and (proc.name = a or (proc.name = a and user.uid = 0))",
        &[("open", 1, 1)],
    );
    // A contradiction is nothing.
    check("evt.type = open and proc.name = a and not proc.name = a", &[]);
    check("evt.type = open and container.id = host", &[]);
    check("evt.type = execve and fd.name exists", &[]);
    check("evt.type = execve and not fd.name exists", &[("execve", 1, 0)]);
    check(
        "evt.type = open and fd.typechar = f and fd.num >= 0 and evt.is_open_write = true",
        &[("open", 1, 4)],
    );
    // Nothing is one of none, whatever the field is.
    check("evt.type = execve and not proc.cmdline in ()", &[("execve", 1, 0)]);
    check("evt.type = execve and proc.tty != 0", &[("execve", 1, 1)]);
    check("evt.type = kill and evt.rawarg.sig in (9, 15)", &[("kill", 1, 1)]);
    check("evt.type = open and evt.res != SUCCESS", &[("open", 1, 1)]);
}

#[test]
fn what_the_kernel_cannot_decide_is_named() {
    let check = |condition: &str, expected: &str| {
        let error = exact(condition).unwrap_err().to_string();
        assert!(error.contains(expected), "{condition}: {error}");
    };
    check(
        "evt.type = execve and proc.cmdline contains x",
        "`proc.cmdline contains x` (for `execve`): the field is not known in the kernel",
    );
    check("evt.type = open and fd.name contains passwd", "does not search");
    check("evt.type = open and proc.name endswith sh", "does not search");
    check("evt.type = open and tolower(proc.name) = a", "does not transform");
    check("evt.type = open and proc.name = val(fd.name)", "with constants only");
    check("evt.type = open and proc.is_exe_upper_layer = true", "the last exec");
    check("evt.type = open and container.id = 0123456789ab", "name it in the policy");
    check("evt.type = open and fd.name pmatch (/home/*/.ssh)", "wildcards");
    check("evt.type = open and evt.res = EWHATEVER", "evt.rawres");
    check("evt.type = open and user.uid = -1", "outside what the kernel compares");
    let long = "a".repeat(TEXT_BYTES_MAX + 1);
    check(&format!("evt.type = open and fd.name = /{long}"), "longer than");
    let numbers: Vec<String> = (0..=NUMBERS_MAX).map(|n| n.to_string()).collect();
    check(&format!("evt.type = open and user.uid in ({})", numbers.join(", ")), "more numbers");
    // An obstacle that cannot matter is none.
    assert!(
        exact("evt.type = open and (proc.name = a or evt.type = kill and proc.cmdline = b)")
            .is_ok()
    );
}

#[test]
fn a_container_answers_for_itself() {
    let container = TestEvent::new(TestSchema::kernel(), "open")
        .with("container.id", [text("0123456789ab")])
        .with("container.image.repository", [text("docker.io/library/nginx")]);
    let check = |condition: &str, expected: Option<usize>| {
        let condition = format!("evt.type = execve and proc.name = sh and {condition}");
        let rules = load(&[&condition]);
        assert!(Selector::exact(&rules.rules()[0], TestSchema::kernel()).is_err(), "{condition}");
        let selector =
            Selector::exact_in(&rules.rules()[0], TestSchema::kernel(), &container).unwrap();
        assert_eq!(selector.for_event("execve").map(|e| e.atoms.len()), expected, "{condition}");
    };
    check("container.image.repository endswith nginx", Some(1));
    check("not container.image.repository in (docker.io/library/nginx, b)", None);
    check("container.image.repository contains redis", None);
    check("(container.id = 0123456789ab or user.uid = 0)", Some(1));
    check("(container.id = 0123456789ac or user.uid = 0)", Some(2));
    // What it does not know, it does not have.
    check("container.privileged = true", None);
    check("not container.privileged exists", Some(1));
}

#[test]
fn bounds_are_errors_when_exact_and_everything_when_relaxed() {
    // Pairs of alternatives: two to the power of their number.
    let pair = |i: usize| format!("(proc.name = a{i} or fd.name = /b{i})");
    let pairs: Vec<String> = (0..8).map(pair).collect();
    let condition = format!("evt.type = open and {}", pairs.join(" and "));
    let error = exact(&condition).unwrap_err();
    assert_eq!(
        error,
        Unlowered::TooLarge { event: "open".into(), what: "alternatives", max: TERMS_MAX }
    );
    let rules = load(&[&condition]);
    let relaxed = Selector::relaxed(&rules.rules()[0], TestSchema::kernel()).unwrap();
    assert!(relaxed.for_event("open").unwrap().may_hold(&|_| Fact::Absent));
    // One alternative that needs more questions than there are bits.
    let many: Vec<String> = (0..65).map(|i| format!("not fd.name = /b{i}")).collect();
    let error = exact(&format!("evt.type = open and {}", many.join(" and "))).unwrap_err();
    assert!(matches!(error, Unlowered::TooLarge { what: "questions", .. }), "{error}");
}

#[test]
fn what_is_unknown_holds_in_neither_direction() {
    let selector = exact("evt.type = open and not fd.name = /etc/shadow").unwrap();
    let open = selector.for_event("open").unwrap();
    assert!(!open.holds(&|_| Fact::Unknown));
    assert!(open.may_hold(&|_| Fact::Unknown));
    let selector = exact("evt.type = open and fd.name = /etc/shadow").unwrap();
    let open = selector.for_event("open").unwrap();
    assert!(!open.holds(&|_| Fact::Unknown));
    assert!(open.holds(&|_| Fact::Known(Value::Text(b"/etc/shadow"))));
}

/// What really happened: rules and the kernel both look at it.
#[derive(Debug, Clone)]
struct Happening {
    event: &'static str,
    comm: &'static str,
    thread_is_called_otherwise: bool,
    parent: &'static str,
    exe: &'static str,
    path: &'static str,
    result: i64,
    uid: u64,
    flags: u32,
    is_directory: bool,
    layer: i64,
    address: Option<(&'static str, u64)>,
    signal: u64,
}

/// Names that sound like paths end like some.
const ENDS: [&str; 4] = ["passwd", "c", "/", ""];
const PATHS: [&str; 7] =
    ["/", "/etc", "/etc/passwd", "/etcetera", "/tmp/a b", "/a", "/etc/passwd2"];
const NAMES: [&str; 4] = ["a", "bash", "sh", "ssh"];

fn happening() -> impl Strategy<Value = Happening> {
    let who = (
        prop::sample::select(vec![
            "open", "openat", "creat", "execve", "connect", "kill", "unlink",
        ]),
        prop::sample::select(&NAMES[..]),
        prop::bool::weighted(0.2),
        prop::sample::select(&NAMES[..]),
        prop::sample::select(&PATHS[..]),
        0..3_u64,
    );
    let what = (
        prop::sample::select(&PATHS[..]),
        prop::sample::select(vec![-13, -2, 0, 3, 4]),
        prop::sample::select(vec![1, 2, 3, 3 | 1 << 14, 2 | 1 << 13]),
        any::<bool>(),
        0..3_i64,
        prop::option::weighted(
            0.8,
            (
                prop::sample::select(vec!["10.0.0.1", "10.1.2.3", "192.168.0.9", "2001:db8::1"]),
                prop::sample::select(vec![22, 443]),
            ),
        ),
        prop::sample::select(vec![9, 15]),
    );
    (who, what).prop_map(
        |(
            (event, comm, thread_is_called_otherwise, parent, exe, uid),
            (path, result, flags, is_directory, layer, address, signal),
        )| Happening {
            event,
            comm,
            thread_is_called_otherwise,
            parent,
            exe,
            path,
            result,
            uid,
            flags,
            is_directory,
            layer,
            address,
            signal,
        },
    )
}

impl Happening {
    fn is_open(&self) -> bool {
        matches!(self.event, "open" | "openat" | "creat")
    }

    fn folder(&self) -> &'static str {
        match self.path.rsplit_once('/') {
            _ if self.is_directory => self.path,
            Some(("", _)) | None => "/",
            Some((folder, _)) => folder,
        }
    }

    fn file_name(&self) -> Option<&'static str> {
        let name = self.path.rsplit_once('/').map_or(self.path, |(_, name)| name);
        (!self.is_directory).then_some(if name.is_empty() { self.path } else { name })
    }

    fn ip(&self) -> Option<(IpAddr, u64)> {
        self.address.map(|(ip, port)| (ip.parse().unwrap(), port))
    }

    fn letter(&self) -> &'static str {
        match (self.result, self.event) {
            (..0, "open") => "o",
            (0.., _) if self.is_directory => "d",
            _ => "f",
        }
    }

    /// As rules see it.
    fn seen(&self) -> TestEvent {
        let failed = self.result < 0;
        let mut event = TestEvent::new(TestSchema::kernel(), self.event)
            .with("evt.rawres", [Owned::Int(self.result)])
            .with("evt.failed", [Owned::Bool(failed)])
            .with(
                "evt.res",
                [text(match self.result {
                    -13 => "EACCES",
                    -2 => "ENOENT",
                    _ => "SUCCESS",
                })],
            )
            .with("container.id", [text("0123456789ab")])
            .with("proc.name", [text(self.comm)])
            .with("proc.pname", [text(self.parent)])
            .with("proc.exepath", [text(self.exe)])
            .with("proc.cmdline", [text("a b")])
            .with("proc.is_exe_upper_layer", [Owned::Bool(self.layer == 1)])
            .with("user.uid", [Owned::Uint(self.uid)]);
        let has_flags = self.is_open() && self.event != "creat";
        for (name, bits) in [
            ("evt.is_open_read", 1),
            ("evt.is_open_write", 2),
            ("evt.is_open_create", 1 << 14 | if failed { 0 } else { 1 << 13 }),
        ] {
            event = event.with(name, [Owned::Bool(has_flags && self.flags & bits != 0)]);
        }
        if self.is_open() {
            event = event.with("fd.num", [Owned::Int(self.result.max(-1))]);
            // Of an open that fails, rules see what was asked for.
            event = event.with("fd.name", [text(self.path)]);
            event = event.with("fd.typechar", [text(self.letter())]);
            event = event.with("fd.directory", [text(self.folder())]);
            if !failed {
                let kind = if self.is_directory { "directory" } else { "file" };
                event = event.with("fd.type", [text(kind)]);
                event = event.with("fd.filename", self.file_name().map(text));
                event = event.with("fd.is_upper_layer", [Owned::Bool(self.layer == 1)]);
            }
        }
        if let Some((ip, port)) = self.ip().filter(|_| self.event == "connect") {
            event = event.with("evt.addr.ip", [Owned::Ip(ip)]);
            event = event.with("evt.addr.port", [Owned::Uint(port)]);
            if !failed {
                for name in ["fd.sip", "fd.snet"] {
                    event = event.with(name, [Owned::Ip(ip)]);
                }
                event = event.with("fd.sport", [Owned::Uint(port)]);
            }
        }
        if self.event == "kill" {
            event = event.with("evt.rawarg[sig]", [Owned::Uint(self.signal)]);
        }
        event
    }

    /// As the kernel knows it.
    fn fact(&self, input: Input) -> Fact<'static> {
        let failed = self.result < 0;
        let known = |text: &'static str| Fact::Known(Value::Text(text.as_bytes()));
        match input {
            Input::Comm if self.thread_is_called_otherwise => Fact::Unknown,
            Input::Comm => known(self.comm),
            Input::ParentName => known(self.parent),
            Input::ExePath => known(self.exe),
            Input::Result => Fact::Known(Value::Int(self.result)),
            Input::Uid => Fact::Known(Value::Uint(self.uid)),
            Input::Descriptor => Fact::Known(Value::Int(self.result.max(-1))),
            Input::OpenFlags => {
                let flags = if failed { self.flags & !(1 << 13) } else { self.flags };
                Fact::Known(Value::Uint(flags.into()))
            }
            Input::Path
            | Input::Directory
            | Input::FileName
            | Input::IsDirectory
            | Input::Layer
            | Input::ExeFlags
            | Input::Terminal
            | Input::ServerIp
            | Input::ServerPort
                if failed =>
            {
                Fact::Unknown
            }
            Input::Path => known(self.path),
            Input::Directory => known(self.folder()),
            Input::FileName => self.file_name().map_or(Fact::Absent, known),
            Input::IsDirectory => Fact::Known(Value::Int(self.is_directory.into())),
            Input::Layer => Fact::Known(Value::Int(self.layer)),
            Input::Terminal => Fact::Known(Value::Uint(34816)),
            Input::ExeFlags => Fact::Known(Value::Int(if self.layer == 1 { 2 } else { 0 })),
            Input::AddressIp | Input::ServerIp => {
                self.ip().map_or(Fact::Absent, |(ip, _)| Fact::Known(Value::Ip(ip)))
            }
            Input::AddressPort | Input::ServerPort => {
                self.ip().map_or(Fact::Absent, |(_, port)| Fact::Known(Value::Uint(port)))
            }
            Input::Parameter(2) => Fact::Known(Value::Uint(self.signal)),
            Input::Parameter(_) => panic!("no rule asks for it"),
        }
    }

    fn is_known(&self) -> bool {
        !self.thread_is_called_otherwise && self.result >= 0
    }
}

fn predicate() -> impl Strategy<Value = String> {
    let texts =
        vec!["proc.name", "proc.pname", "proc.exepath", "fd.name", "fd.directory", "fd.filename"];
    let value = prop::sample::select([&NAMES[..], &PATHS[..]].concat());
    let values = prop::collection::vec(value.clone(), 1..4);
    let shape = prop::sample::select(vec![
        "=",
        "!=",
        "startswith",
        "in",
        "pmatch",
        "anyof",
        "prefixes",
        "endswith",
    ]);
    let text = (prop::sample::select(texts), shape, value, values).prop_map(
        |(field, shape, value, values)| {
            let list =
                values.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(", ");
            match shape {
                "in" | "pmatch" => format!("{field} {shape} ({list})"),
                "anyof" => format!("{field} = anyof ({list})"),
                "endswith" => format!("{field} endswith \"{}\"", ENDS[value.len() % ENDS.len()]),
                "prefixes" => format!("{field} startswith anyof ({list})"),
                _ => format!("{field} {shape} \"{value}\""),
            }
        },
    );
    let number = (
        prop::sample::select(vec!["user.uid", "fd.num", "evt.rawres", "fd.sport", "evt.addr.port"]),
        prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]),
        prop::sample::select(vec![0, 1, 4, 22]),
    )
        .prop_map(|(field, relation, n)| format!("{field} {relation} {n}"));
    let fixed = prop::sample::select(vec![
        "evt.type = open",
        "evt.type in (open, openat, execve)",
        "evt.type != connect",
        "evt.type startswith open",
        "evt.failed = false",
        "evt.res = SUCCESS",
        "evt.res in (ENOENT, EACCES)",
        "evt.res != EACCES",
        "container.id != host",
        "container.id = host",
        "evt.is_open_read = true",
        "evt.is_open_write != false",
        "evt.is_open_create = true",
        "fd.typechar = f",
        "fd.typechar in (d, f)",
        "fd.typechar != f",
        "fd.type != directory",
        "fd.type exists",
        "fd.name exists",
        "fd.filename exists",
        "fd.is_upper_layer = true",
        "fd.is_upper_layer = false",
        "fd.is_upper_layer exists",
        "fd.sip = 10.0.0.1",
        "fd.sip != 10.0.0.1",
        "fd.sip in (10.0.0.1, 2001:db8::1)",
        "fd.sip exists",
        "fd.snet in (10.0.0.0/8)",
        "fd.snet != 2001:db8::/32",
        "evt.addr.ip != 192.168.0.9",
        "evt.addr.port in (443, 80)",
        "evt.rawarg.sig = 9",
        "proc.is_exe_upper_layer = true",
        "proc.cmdline = \"a b\"",
    ]);
    prop_oneof![text, number, fixed.prop_map(str::to_owned)]
}

fn condition() -> impl Strategy<Value = String> {
    let tree = predicate().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|parts| format!("({})", parts.join(" and "))),
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|parts| format!("({})", parts.join(" or "))),
            inner.prop_map(|part| format!("not ({part})")),
        ]
    });
    let event = prop::sample::select(vec![
        "evt.type in (open, openat, creat)",
        "evt.type = execve",
        "evt.type = connect",
        "evt.type in (kill, open, execve)",
        "evt.type exists",
    ]);
    (event, tree).prop_map(|(event, tree)| format!("{event} and {tree}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The kernel acts only where the rule matches, and wherever it does if all is known; a
    /// filter lets through whatever a rule matches.
    #[test]
    fn the_kernel_decides_as_the_evaluator(
        condition in condition(),
        happenings in prop::collection::vec(happening(), 1..12),
    ) {
        let rules = load(&[&condition]);
        let rule = &rules.rules()[0];
        let exact = Selector::exact(rule, TestSchema::kernel());
        let relaxed = Selector::relaxed(rule, TestSchema::kernel()).unwrap();
        let mut evaluator = Evaluator::new(&rules);
        for happening in &happenings {
            let mut matched = Vec::new();
            evaluator.evaluate(&happening.seen(), &mut matched);
            let matches = !matched.is_empty();
            let fact = |input| happening.fact(input);
            let may_hold = relaxed.for_event(happening.event).is_some_and(|e| e.may_hold(&fact));
            prop_assert!(!matches || may_hold, "filtered: {happening:?}");
            if let Ok(exact) = &exact {
                let holds = exact.for_event(happening.event).is_some_and(|e| e.holds(&fact));
                prop_assert!(!holds || matches, "acts in excess: {happening:?}");
                if happening.is_known() {
                    prop_assert_eq!(holds, matches, "{:?}", happening);
                }
            }
        }
    }
}
