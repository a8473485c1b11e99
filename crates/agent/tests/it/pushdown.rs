//! The filter of opens against the evaluator: over captures, nothing that a rule matches is held
//! back.
//!
//! The captures are the conformance material; without it the tests say so and pass.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use palisade_agent::BUILTIN_RULES;
use palisade_agent::detector::load_rules;
use palisade_agent::pushdown::opens;
use palisade_bpf::{OpenClasses, OpenVerdicts};
use palisade_rules::{Evaluator, LoadOptions, RuleMatching, RuleSet};
use palisade_sensor::EventView;
use palisade_sensor::capture::replay;

/// Conditions made up by chance.
const N_RANDOM: usize = 600;

fn material() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/falco");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no conformance material at {}", folder.display());
    None
}

fn captures(folder: &Path) -> Vec<PathBuf> {
    let files = |group: &str| std::fs::read_dir(folder.join("captures").join(group)).unwrap();
    let paths = ["falco", "sysflow"].into_iter().flat_map(files).map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "scap")).collect();
    paths.sort();
    paths
}

/// What a probe would know of an open before it sends it.
struct Open {
    class: OpenClasses,
    found: Option<Vec<u8>>,
    written: Vec<u8>,
}

fn open_of(event: &EventView<'_>) -> Option<Open> {
    let (name, flags) = match event.type_name() {
        "open" => (1, Some(2)),
        "openat" | "openat2" => (2, Some(3)),
        "creat" => (1, None),
        _ => return None,
    };
    let record = event.record();
    if record.info.is_enter() {
        return None;
    }
    // The format's O_RDONLY is 1, its O_WRONLY 2; the kernel's are 0 and 1.
    let access = match flags.map_or(2, |index| record.param(index).u32().unwrap_or(0) & 3) {
        2 => 1,
        3 => 2,
        _ => 0,
    };
    let failed = record.result()? < 0;
    let contained = event.container().is_some();
    let found = if failed { None } else { event.fd().map(|fd| fd.name().to_vec()) };
    Some(Open {
        // Folders cross in any case; here they have to cross for their path.
        class: OpenClasses::of_open(access, false, failed, contained),
        found,
        written: record.param(name).text().to_vec(),
    })
}

/// Evaluates `rules` over every capture; calls `on_match` with each open and each rule that it
/// matches. Returns the numbers of opens and of matches.
fn run(rules: &RuleSet, folder: &Path, on_match: &mut dyn FnMut(&Open, usize)) -> (usize, usize) {
    let (mut n_opens, mut n_matches) = (0, 0);
    let mut matched = Vec::new();
    for path in captures(folder) {
        let mut evaluator = Evaluator::new(rules);
        let report = replay(File::open(&path).unwrap(), |event| {
            let Some(open) = open_of(event) else { return };
            n_opens += 1;
            matched.clear();
            evaluator.evaluate(event, &mut matched);
            for id in &matched {
                n_matches += 1;
                on_match(&open, id.0 as usize);
            }
        });
        assert!(report.is_ok(), "{}", path.display());
    }
    (n_opens, n_matches)
}

fn all_matching() -> LoadOptions {
    LoadOptions { matching: RuleMatching::All, keep_expressions: true, ..LoadOptions::default() }
}

#[test]
fn no_open_that_a_published_rule_matches_is_held_back() {
    let Some(folder) = material() else { return };
    let texts: Vec<String> =
        ["falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml"]
            .iter()
            .map(|name| std::fs::read_to_string(folder.join("rules").join(name)).unwrap())
            .collect();
    let published: Vec<(&str, &str)> = texts.iter().map(|text| ("rules", text.as_str())).collect();
    for sources in [&published[..1], &published[..], &BUILTIN_RULES[..]] {
        let (rules, diagnostics) = load_rules(sources, &all_matching());
        assert!(!diagnostics.has_errors(), "{diagnostics}");
        let verdicts = OpenVerdicts::of(&opens(&rules));
        let (n_opens, _) = run(&rules, &folder, &mut |open, rule| {
            assert!(
                verdicts.crosses(open.class, open.found.as_deref(), &open.written),
                "rule `{}`: {:?} {} is held back",
                rules.rules()[rule].name,
                open.class,
                String::from_utf8_lossy(&open.written),
            );
        });
        assert!(n_opens > 1000, "{n_opens} opens");
    }
}

/// A generator of numbers, the same in every run (Steele, Lea, Flood: SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    fn of<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.below(choices.len())]
    }
}

/// A condition of some depth over what the filter looks at, and over what it cannot know.
fn condition(chance: &mut Chance, depth: usize) -> String {
    const TEXTS: [&str; 22] = [
        "/",
        "/etc",
        "/etc/",
        "/etc/passwd",
        "/usr/lib",
        "/usr",
        "lib",
        ".so",
        ".so.6",
        "/proc/",
        "/proc/self",
        "ld.so.cache",
        "/dev/null",
        "passwd",
        "nsswitch.conf",
        "/lib",
        "cache",
        "/sys",
        "locale",
        "/tmp/",
        "LIBC",
        "conf",
    ];
    const PATTERNS: [&str; 6] = ["/etc/*", "*/lib*", "*.so*", "/usr/*/[a-l]*", "*passw?", "/*"];
    if depth > 0 && chance.below(4) > 0 {
        let joint = chance.of(&["and", "or", "and"]);
        let (left, right) = (condition(chance, depth - 1), condition(chance, depth - 1));
        let not = chance.of(&["", "", "not "]);
        return format!("{not}({left} {joint} {right})");
    }
    let field = chance.of(&[
        "fd.name",
        "fd.name",
        "fd.name",
        "fd.nameraw",
        "evt.arg.name",
        "fd.directory",
        "fd.filename",
    ]);
    match chance.below(9) {
        0 => format!(
            "evt.type in ({})",
            chance.of(&["open, openat", "openat", "creat, open", "connect", "openat2"])
        ),
        1 => format!(
            "evt.is_open_{} = {}",
            chance.of(&["read", "write"]),
            chance.of(&["true", "true", "false"])
        ),
        2 => format!("evt.failed = {}", chance.of(&["true", "false"])),
        3 => chance
            .of(&[
                "fd.num >= 0",
                "evt.rawres >= 0",
                "evt.res in (ENOENT, EACCES)",
                "evt.res = SUCCESS",
                "evt.res = ENOENT",
            ])
            .into(),
        4 => chance
            .of(&[
                "container.id != host",
                "container.id = host",
                "proc.name = bash",
                "evt.type != openat",
                "fd.typechar = 'f'",
            ])
            .into(),
        5 => format!("{field} {} '{}'", chance.of(&["glob", "iglob"]), chance.of(&PATTERNS)),
        6 => format!(
            "{field} {} ({}, {})",
            chance.of(&["in", "pmatch"]),
            chance.of(&TEXTS),
            chance.of(&TEXTS)
        ),
        _ => {
            let relation =
                chance.of(&["startswith", "endswith", "contains", "icontains", "=", "!="]);
            format!("{field} {relation} {}", chance.of(&TEXTS))
        }
    }
}

#[test]
fn no_open_that_a_condition_matches_is_held_back() {
    let Some(folder) = material() else { return };
    let mut chance = Chance(42);
    let text = |number: usize, condition: &str| {
        format!(
            "- rule: r{number}\n  desc: a\n  condition: >\n    {condition}\n  output: a\n  priority: INFO\n"
        )
    };
    let conditions: Vec<String> = (0..N_RANDOM).map(|_| condition(&mut chance, 3)).collect();
    let mut verdicts = Vec::new();
    for (number, condition) in conditions.iter().enumerate() {
        let (rules, diagnostics) = load_rules(&[("r", &text(number, condition))], &all_matching());
        assert_eq!(rules.rules().len(), 1, "{condition}: {diagnostics}");
        verdicts.push(OpenVerdicts::of(&opens(&rules)));
    }
    let all: String = conditions.iter().enumerate().map(|(n, c)| text(n, c)).collect();
    let (rules, _) = load_rules(&[("r", &all)], &all_matching());
    let mut n_by_rule = BTreeMap::new();
    let (n_opens, n_matches) = run(&rules, &folder, &mut |open, rule| {
        *n_by_rule.entry(rule).or_insert(0) += 1;
        assert!(
            verdicts[rule].crosses(open.class, open.found.as_deref(), &open.written),
            "{}\n{:?} {:?} {}",
            conditions[rule],
            open.class,
            open.found.as_deref().map(String::from_utf8_lossy),
            String::from_utf8_lossy(&open.written),
        );
    });
    // The test is one of many conditions that match, and of filters that hold something back.
    assert!(
        n_matches > n_opens && n_by_rule.len() > N_RANDOM / 3,
        "{n_matches} {}",
        n_by_rule.len()
    );
    let class = OpenClasses::of_open(0, false, false, false);
    let n_holding = verdicts.iter().filter(|v| !v.crosses(class, Some(b"/q"), b"/q")).count();
    assert!(n_holding > N_RANDOM / 10, "{n_holding} of {N_RANDOM} filters hold anything back");
}
