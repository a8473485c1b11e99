//! From the text of a test file to a [`Suite`], or to everything that is wrong with it.

use std::path::{Path, PathBuf};

use palisade_base::yaml::{self, Dialect, Key, Node, Place, Value, cut};
use palisade_base::{Diagnostic, Diagnostics, Location, Severity, suggest};
use palisade_rules::{OutputFormat, Priority, RuleMatching, RuleSelection, Selector};
use palisade_sensor::SyscallSchema;

use super::spec::{Case, Count, Expectation, Suite, VERSION, ValueTest};

/// A case's expectations have values, which may be mappings: six levels.
const DIALECT: Dialect =
    Dialect { name: "a rule test", document: "test file", depth_max: 12, n_nodes_max: 100_000 };

/// Problems after which no more are noted.
const PROBLEMS_MAX: usize = 200;

const SHARED_KEYS: [&str; 8] =
    ["rules", "capture", "captures", "matching", "priority", "select", "damaged", "others"];
const SUITE_KEYS: [&str; 4] = ["version", "name", "description", "cases"];
const CASE_KEYS: [&str; 4] = ["name", "description", "expect", "forbid"];
const EXPECTATION_KEYS: [&str; 6] = ["rule", "count", "at_least", "at_most", "where", "output"];
const TEST_KEYS: [&str; 5] = ["equals", "contains", "starts_with", "ends_with", "matches"];

/// Reads a test file. `file` is its name, for messages and for the suite's own name; all
/// problems are errors.
pub fn read(text: &str, file: &str) -> Result<Suite, Diagnostics> {
    let (root, found) = yaml::parse(text, DIALECT);
    let mut reader = Reader { file, found: Vec::new() };
    reader.found.extend(found.into_iter().map(|problem| problem.diagnostic(file)));
    let suite = match root {
        Some(root) => reader.suite(&root),
        None if reader.found.is_empty() => {
            reader.error(
                "empty",
                Place::START,
                "the file is empty",
                Some("docs/formats/rule-tests.md has an example"),
            );
            None
        }
        None => None,
    };
    match suite {
        Some(suite) if reader.found.is_empty() => Ok(suite),
        _ => Err(Diagnostics(reader.found)),
    }
}

struct Reader<'r> {
    file: &'r str,
    found: Vec<Diagnostic>,
}

/// What a file and each of its cases may say.
#[derive(Clone, Default)]
struct Shared {
    rules: Option<Vec<(String, Location)>>,
    captures: Option<Vec<(PathBuf, Location)>>,
    matching: Option<RuleMatching>,
    priority: Option<Priority>,
    select: Option<Vec<RuleSelection>>,
    allows_damage: Option<bool>,
    forbids_others: Option<bool>,
}

impl Reader<'_> {
    fn error(
        &mut self,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
        help: Option<&str>,
    ) {
        if self.found.len() < PROBLEMS_MAX {
            self.found.push(Diagnostic {
                code,
                severity: Severity::Error,
                location: self.location(place),
                message: message.into(),
                help: help.map(str::to_owned),
            });
        }
    }

    fn location(&self, place: Place) -> Location {
        Location { file: self.file.to_owned(), line: place.line, column: place.column }
    }

    fn wrong_type(&mut self, what: &str, wanted: &str, node: &Node) {
        let message = format!("`{what}` must be {wanted}, not {}", node.type_name());
        self.error("wrong-type", node.place, message, None);
    }

    /// The entries of a mapping whose keys are all in one of `known`.
    fn mapping<'n>(
        &mut self,
        what: &str,
        node: &'n Node,
        known: &[&[&str]],
    ) -> Option<&'n [(Key, Node)]> {
        let Value::Map(entries) = &node.value else {
            self.wrong_type(what, "a mapping", node);
            return None;
        };
        let names = || known.iter().copied().flatten().copied();
        for (key, _) in entries {
            if names().any(|name| name == key.text) {
                continue;
            }
            let help = match suggest::nearest(&key.text, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here are {}", names().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("unknown key `{}`", cut(&key.text));
            self.error("unknown-key", key.place, message, Some(&help));
        }
        Some(entries)
    }

    fn list<'n>(&mut self, what: &str, node: &'n Node) -> &'n [Node] {
        if let Value::List(items) = &node.value {
            return items;
        }
        self.wrong_type(what, "a list", node);
        &[]
    }

    fn text(&mut self, what: &str, node: &Node) -> Option<String> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() => Some(text.clone()),
            _ => {
                self.wrong_type(what, "text", node);
                None
            }
        }
    }

    /// Texts with their places; one text stands for a list of it.
    fn texts(&mut self, what: &str, node: &Node) -> Vec<(String, Location)> {
        if let Value::Scalar { text, .. } = &node.value
            && !node.is_null()
        {
            return vec![(text.clone(), self.location(node.place))];
        }
        let items = self.list(what, node);
        items
            .iter()
            .filter_map(|item| Some((self.text(what, item)?, self.location(item.place))))
            .collect()
    }

    fn one_of<T: Copy>(&mut self, what: &str, node: &Node, known: &[(&str, T)]) -> Option<T> {
        let text = self.text(what, node)?;
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let message = format!("`{what}` is `{}`, which means nothing here", cut(&text));
        self.error("bad-value", node.place, message, Some(&format!("one of {}", names.join(", "))));
        None
    }

    fn number(&mut self, what: &str, node: &Node) -> Option<u64> {
        let Value::Scalar { text, plain: true } = &node.value else {
            self.wrong_type(what, "a whole number from 0", node);
            return None;
        };
        let number = text.parse().ok();
        if number.is_none() {
            self.wrong_type(what, "a whole number from 0", node);
        }
        number
    }

    fn suite(&mut self, root: &Node) -> Option<Suite> {
        let entries = self.mapping("the file", root, &[&SUITE_KEYS, &SHARED_KEYS])?;
        self.version(entries, root.place);
        let stem = Path::new(self.file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = self.optional_text("name", entries).or(stem).unwrap_or_default();
        let description = self.optional_text("description", entries).unwrap_or_default();
        let shared = self.shared(entries);
        let Some(node) = get(entries, "cases") else {
            let help = "add `cases:` with a list of cases, each with a `name`";
            self.error("missing-key", root.place, "`cases` is missing", Some(help));
            return None;
        };
        let items = self.list("cases", node);
        if items.is_empty() && matches!(node.value, Value::List(_)) {
            self.error("empty", node.place, "`cases` is empty: nothing is tested", None);
        }
        let cases: Vec<Case> = items.iter().filter_map(|item| self.case(item, &shared)).collect();
        self.repeated_names(&cases);
        Some(Suite { file: self.file.to_owned(), name, description, cases })
    }

    fn version(&mut self, entries: &[(Key, Node)], place: Place) {
        let Some(node) = get(entries, "version") else {
            let help = format!("add `version: {VERSION}`");
            return self.error("missing-key", place, "`version` is missing", Some(&help));
        };
        if let Some(version) = self.number("version", node)
            && version != VERSION
        {
            let message = format!("version {version} of rule tests is not known");
            let help = format!("this program reads version {VERSION}");
            self.error("bad-value", node.place, message, Some(&help));
        }
    }

    /// Results are told apart by the names of cases.
    fn repeated_names(&mut self, cases: &[Case]) {
        for (i, case) in cases.iter().enumerate() {
            if cases[..i].iter().any(|earlier| earlier.name == case.name) {
                let Location { line, column, .. } = case.location;
                let message = format!("a case of the name `{}` was there before", cut(&case.name));
                self.error("repeated-name", Place { line, column }, message, None);
            }
        }
    }

    fn optional_text(&mut self, key: &str, entries: &[(Key, Node)]) -> Option<String> {
        let node = get(entries, key)?;
        self.text(key, node)
    }

    /// A text that must be there; without it what is wrong is said and it is empty.
    fn required(
        &mut self,
        key: &str,
        message: &str,
        help: &str,
        node: &Node,
        entries: &[(Key, Node)],
    ) -> String {
        if get(entries, key).is_none() {
            self.error("missing-key", node.place, message, Some(help));
        }
        self.optional_text(key, entries).unwrap_or_default()
    }

    fn shared(&mut self, entries: &[(Key, Node)]) -> Shared {
        let mut shared = Shared::default();
        for (key, node) in entries {
            match key.text.as_str() {
                "rules" => shared.rules = Some(self.texts("rules", node)),
                "capture" | "captures" => {
                    let captures = self.texts(&key.text, node).into_iter();
                    shared
                        .captures
                        .get_or_insert_default()
                        .extend(captures.map(|(path, location)| (path.into(), location)));
                }
                "matching" => {
                    let known = [("first", RuleMatching::First), ("all", RuleMatching::All)];
                    shared.matching = self.one_of("matching", node, &known);
                }
                "priority" => shared.priority = self.priority(node),
                "select" => shared.select = Some(self.selections(node)),
                "damaged" => {
                    let known = [("refuse", false), ("allow", true)];
                    shared.allows_damage = self.one_of("damaged", node, &known);
                }
                "others" => {
                    let known = [("allow", false), ("forbid", true)];
                    shared.forbids_others = self.one_of("others", node, &known);
                }
                _ => {}
            }
        }
        shared
    }

    fn priority(&mut self, node: &Node) -> Option<Priority> {
        let text = self.text("priority", node)?;
        let priority = Priority::parse(&text);
        if priority.is_none() {
            let names = Priority::ALL.map(|p| p.name().to_ascii_lowercase()).join(", ");
            let message = format!("`{}` is no priority", cut(&text));
            self.error("bad-value", node.place, message, Some(&format!("one of {names}")));
        }
        priority
    }

    fn selections(&mut self, node: &Node) -> Vec<RuleSelection> {
        let items = self.list("select", node);
        items.iter().flat_map(|item| self.selection(item)).collect()
    }

    fn selection(&mut self, item: &Node) -> Vec<RuleSelection> {
        let known = [("disable", false), ("enable", true)];
        let entries = self.mapping("select", item, &[&["disable", "enable"]]).unwrap_or_default();
        let mut found = Vec::new();
        for (key, node) in entries {
            let Some((_, enable)) = known.iter().find(|(name, _)| *name == key.text) else {
                continue;
            };
            let selector = if let Value::Map(_) = node.value {
                let entries = self.mapping(&key.text, node, &[&["rule", "tag"]]);
                let [(which, value)] = entries.unwrap_or_default() else {
                    let help = "write `{rule: NAME}` or `{tag: TAG}`";
                    let message = format!("`{}` names one thing", key.text);
                    self.error("bad-value", node.place, message, Some(help));
                    continue;
                };
                let Some(text) = self.text(&which.text, value) else { continue };
                if which.text == "tag" { Selector::Tag(text) } else { Selector::Name(text) }
            } else {
                let Some(text) = self.text(&key.text, node) else { continue };
                Selector::Name(text)
            };
            found.push(RuleSelection { enable: *enable, rules: selector });
        }
        found
    }

    fn case(&mut self, node: &Node, file: &Shared) -> Option<Case> {
        let entries = self.mapping("a case", node, &[&CASE_KEYS, &SHARED_KEYS])?;
        let own = self.shared(entries);
        let help = "say in a few words what must hold";
        let name = self.required("name", "the case has no `name`", help, node, entries);
        let rules = own.rules.or_else(|| file.rules.clone()).unwrap_or_default();
        let captures = own.captures.or_else(|| file.captures.clone()).unwrap_or_default();
        let missing = [("rules", rules.is_empty()), ("capture", captures.is_empty())];
        for (key, _) in missing.iter().filter(|(_, is_missing)| *is_missing) {
            let message = format!("neither the case nor the file says `{key}`");
            let help = format!("add `{key}:` with a path relative to this file");
            self.error("missing-key", node.place, message, Some(&help));
        }
        let items = get(entries, "expect").map(|node| self.list("expect", node));
        let expect: Vec<Expectation> =
            items.into_iter().flatten().filter_map(|item| self.expectation(item)).collect();
        let forbid = get(entries, "forbid").map(|node| self.texts("forbid", node));
        let forbids_others = own.forbids_others.or(file.forbids_others).unwrap_or(false);
        if get(entries, "expect").is_none() && forbid.is_none() && !forbids_others {
            let help = Some("add `expect:`, `forbid:` or `others: forbid`");
            self.error("missing-key", node.place, "the case expects nothing", help);
        }
        Some(Case {
            name,
            description: self.optional_text("description", entries).unwrap_or_default(),
            location: self.location(node.place),
            rules,
            captures,
            matching: own.matching.or(file.matching).unwrap_or_default(),
            priority: own.priority.or(file.priority),
            select: own.select.or_else(|| file.select.clone()).unwrap_or_default(),
            expect,
            forbid: forbid.unwrap_or_default(),
            forbids_others,
            allows_damage: own.allows_damage.or(file.allows_damage).unwrap_or(false),
        })
    }

    fn expectation(&mut self, node: &Node) -> Option<Expectation> {
        let entries = self.mapping("expect", node, &[&EXPECTATION_KEYS])?;
        let help = "name the rule whose alerts are meant";
        let rule = self.required("rule", "the expectation has no `rule`", help, node, entries);
        let count = self.count(entries);
        let mut fields = Vec::new();
        if let Some(node) = get(entries, "where") {
            if let Value::Map(entries) = &node.value {
                for (key, value) in entries {
                    self.check_field(key);
                    if let Some(test) = self.value_test(&key.text, value) {
                        fields.push((key.text.clone(), test));
                    }
                }
            } else {
                self.wrong_type("where", "a mapping of fields to values", node);
            }
        }
        let output = get(entries, "output").and_then(|node| self.value_test("output", node));
        Some(Expectation { rule, location: self.location(node.place), count, fields, output })
    }

    fn count(&mut self, entries: &[(Key, Node)]) -> Count {
        let mut number = |key| get(entries, key).map(|node| (node.place, self.number(key, node)));
        let [exact, min, max] = ["count", "at_least", "at_most"].map(&mut number);
        match (exact, min, max) {
            (None, None, None) => Count { min: 1, max: u64::MAX },
            (Some((_, n)), None, None) => {
                let n = n.unwrap_or(0);
                Count { min: n, max: n }
            }
            (Some((place, _)), ..) => {
                let help = Some("say either `count` or `at_least` and `at_most`");
                self.error("bad-value", place, "`count` stands beside another bound", help);
                Count { min: 0, max: 0 }
            }
            (None, min, max) => {
                let place = min.or(max).map_or(Place::START, |(place, _)| place);
                let min = min.and_then(|(_, n)| n).unwrap_or(0);
                let max = max.and_then(|(_, n)| n).unwrap_or(u64::MAX);
                if min > max {
                    let message = format!("at least {min} and at most {max} cannot both hold");
                    self.error("bad-value", place, message, None);
                }
                Count { min, max }
            }
        }
    }

    /// Any field that an output may hold can be asked for.
    fn check_field(&mut self, key: &Key) {
        match OutputFormat::compile(&format!("%{}", key.text), &SyscallSchema) {
            Ok(format) if format.field_names().eq([key.text.as_str()]) => {}
            Ok(_) => {
                let message = format!("`{}` is not a field", cut(&key.text));
                let help = Some("write a field as in `proc.name` or `proc.aname[2]`");
                self.error("no-field", key.place, message, help);
            }
            Err(error) => {
                let help = error.help.unwrap_or("`palisade rules fields` lists all".into());
                let message =
                    format!("`{}` cannot be asked for: {}", cut(&key.text), error.message);
                self.error("no-field", key.place, message, Some(&help));
            }
        }
    }

    fn value_test(&mut self, what: &str, node: &Node) -> Option<ValueTest> {
        if node.is_null() {
            return Some(ValueTest::Absent);
        }
        let entries = match &node.value {
            Value::Scalar { text, .. } => return Some(ValueTest::Equals(vec![text.clone()])),
            Value::List(_) => {
                let texts = self.texts(what, node).into_iter().map(|(text, _)| text).collect();
                return Some(ValueTest::Equals(texts));
            }
            Value::Map(_) => self.mapping(what, node, &[&TEST_KEYS])?,
        };
        let [(key, value)] = entries else {
            let help = format!("one of {}", TEST_KEYS.join(", "));
            let message = format!("`{what}` is tested in one way");
            self.error("bad-value", node.place, message, Some(&help));
            return None;
        };
        if key.text == "equals" {
            return match &value.value {
                Value::Map(_) => {
                    self.wrong_type("equals", "a value or a list of values", value);
                    None
                }
                _ => self.value_test(what, value),
            };
        }
        let text = self.text(&key.text, value)?;
        match key.text.as_str() {
            "contains" => Some(ValueTest::Contains(text)),
            "starts_with" => Some(ValueTest::StartsWith(text)),
            "ends_with" => Some(ValueTest::EndsWith(text)),
            "matches" => match regex::Regex::new(&text) {
                Ok(pattern) => Some(ValueTest::Matches(pattern)),
                Err(error) => {
                    let reason = error.to_string();
                    let reason = reason.lines().last().unwrap_or_default();
                    let message = format!("not a regular expression: {reason}");
                    self.error("bad-value", value.place, message, None);
                    None
                }
            },
            // Unknown keys have been reported.
            _ => None,
        }
    }
}

fn get<'n>(entries: &'n [(Key, Node)], key: &str) -> Option<&'n Node> {
    entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "version: 1\nrules: r.yaml\ncapture: c.scap\n";

    #[test]
    fn a_whole_file_is_read() {
        let text = "version: 1\nname: shells\ndescription: d\nrules: [builtin, r.yaml]\ncaptures: [a.scap, b.scap]\n\
                    matching: all\npriority: notice\nselect:\n  - disable: '*'\n  - enable: {tag: shell}\n  \
                    - enable: {rule: A}\nothers: forbid\ncases:\n  - name: one\n    expect:\n      \
                    - rule: A\n      - rule: B\n        count: 0\n      - rule: C\n        at_least: 1\n        \
                    at_most: 2\n        where:\n          proc.name: sh\n          proc.pid: [1, 2]\n          \
                    fd.name: ~\n          proc.aname[2]: {starts_with: x}\n        output: {matches: 'a.*b'}\n  \
                    - name: two\n    rules: s.yaml\n    capture: d.scap\n    damaged: allow\n    others: allow\n    \
                    matching: first\n    forbid: [A]\n";
        let suite = read(text, "tests/f.yaml").unwrap();
        assert_eq!((suite.name.as_str(), suite.cases.len()), ("shells", 2));
        let one = &suite.cases[0];
        assert_eq!((one.rules.len(), one.captures.len(), one.select.len()), (2, 2, 3));
        assert_eq!(one.matching, RuleMatching::All);
        assert!(one.forbids_others && !one.allows_damage);
        let counts: Vec<String> = one.expect.iter().map(|e| e.count.to_string()).collect();
        assert_eq!(counts, ["at least 1 alert", "no alert", "1 to 2 alerts"]);
        let tests: Vec<String> =
            one.expect[2].fields.iter().map(|(field, test)| format!("{field}: {test}")).collect();
        assert_eq!(
            tests,
            [
                "proc.name: \"sh\"",
                "proc.pid: \"1\" or \"2\"",
                "fd.name: nothing",
                "proc.aname[2]: text that begins with \"x\"",
            ]
        );
        let two = &suite.cases[1];
        assert_eq!(
            (two.rules[0].0.as_str(), two.captures[0].0.to_str()),
            ("s.yaml", Some("d.scap"))
        );
        assert!(!two.forbids_others && two.allows_damage);
        assert_eq!(two.matching, RuleMatching::First);
        assert_eq!(two.forbid[0].0, "A");
    }

    #[track_caller]
    fn check(text: &str, expected: &[(usize, usize, &str)]) {
        let problems = read(text, "f.yaml").unwrap_err();
        let found: Vec<(usize, usize, String)> = problems
            .0
            .iter()
            .map(|d| {
                let help = d.help.as_deref().map_or(String::new(), |help| format!(" ({help})"));
                (d.location.line, d.location.column, format!("{}{help}", d.message))
            })
            .collect();
        let found: Vec<_> = found.iter().map(|(l, c, text)| (*l, *c, text.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_problem_is_found_with_its_place() {
        check(
            "rules: a\nmacthing: all\ncases: {}\n",
            &[
                (2, 1, "unknown key `macthing` (did you mean `matching`?)"),
                (1, 1, "`version` is missing (add `version: 1`)"),
                (3, 8, "`cases` must be a list, not a mapping"),
            ],
        );
        check(
            &format!("{HEAD}cases:\n  - expect: [{{rule: A, cuont: 1}}]\n  - name: b\n"),
            &[
                (5, 5, "the case has no `name` (say in a few words what must hold)"),
                (5, 24, "unknown key `cuont` (did you mean `count`?)"),
                (6, 5, "the case expects nothing (add `expect:`, `forbid:` or `others: forbid`)"),
            ],
        );
        check(
            "version: 2\ncases:\n  - name: a\n    forbid: A\n    matching: some\n",
            &[
                (1, 10, "version 2 of rule tests is not known (this program reads version 1)"),
                (5, 15, "`matching` is `some`, which means nothing here (one of first, all)"),
                (
                    3,
                    5,
                    "neither the case nor the file says `rules` (add `rules:` with a path relative \
                     to this file)",
                ),
                (
                    3,
                    5,
                    "neither the case nor the file says `capture` (add `capture:` with a path \
                     relative to this file)",
                ),
            ],
        );
    }

    #[test]
    fn expectations_are_checked() {
        let expect =
            |body: &str| format!("{HEAD}cases:\n  - name: a\n    expect:\n      - {body}\n");
        check(
            &expect("{count: 1}"),
            &[(7, 9, "the expectation has no `rule` (name the rule whose alerts are meant)")],
        );
        check(
            &expect("{rule: A, count: -1}"),
            &[(7, 26, "`count` must be a whole number from 0, not a number")],
        );
        check(
            &expect("{rule: A, count: 1, at_most: 2}"),
            &[(
                7,
                26,
                "`count` stands beside another bound (say either `count` or `at_least` and \
                 `at_most`)",
            )],
        );
        check(
            &expect("{rule: A, at_least: 3, at_most: 2}"),
            &[(7, 29, "at least 3 and at most 2 cannot both hold")],
        );
        check(
            &expect("{rule: A, where: {proc.nam: x}}"),
            &[(
                7,
                27,
                "`proc.nam` cannot be asked for: unknown filter: filter_check called with \
                 nonexistent field proc.nam (did you mean `proc.name`?)",
            )],
        );
        check(
            &expect("{rule: A, output: {matches: '('}}"),
            &[(7, 37, "not a regular expression: error: unclosed group")],
        );
        check(
            &expect("{rule: A, output: {contains: a, matches: b}}"),
            &[(
                7,
                27,
                "`output` is tested in one way (one of equals, contains, starts_with, ends_with, \
                 matches)",
            )],
        );
        check(
            &format!("{HEAD}cases:\n  - {{name: a, forbid: A}}\n  - {{name: a, forbid: A}}\n"),
            &[(6, 5, "a case of the name `a` was there before")],
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 300,
            failure_persistence: None,
            ..proptest::prelude::ProptestConfig::default()
        })]

        /// A damaged file is read without a panic, and every problem points into it.
        #[test]
        fn a_damaged_file_has_problems_with_places(
            edits in proptest::collection::vec((0..600_usize, proptest::prelude::any::<char>(), 0..3_u8), 1..8)
        ) {
            let mut chars: Vec<char> =
                include_str!("../../../../fuzz/seeds/fuzz_rule_test/whole.yaml").chars().collect();
            for (at, char, kind) in edits {
                let at = at % chars.len();
                match kind {
                    0 => chars[at] = char,
                    1 => chars.insert(at, char),
                    _ => drop(chars.remove(at)),
                }
            }
            let text: String = chars.into_iter().collect();
            if let Err(problems) = read(&text, "f.yaml") {
                let n_lines = text.split(['\n', '\r']).count();
                for problem in &problems.0 {
                    assert!((1..=n_lines + 1).contains(&problem.location.line), "{problem}");
                    assert!(!problem.render(Some(&text)).is_empty());
                }
                assert!(problems.has_errors());
            }
        }
    }

    #[test]
    fn text_that_is_no_test_is_a_problem_and_not_a_crash() {
        for (text, line) in [("", 1), ("- [", 2), ("a: &a [*a]", 1), ("version: 1\n---\n", 2)] {
            let problems = read(text, "f.yaml").unwrap_err();
            assert!(problems.has_errors());
            assert_eq!(problems.0[0].location.line, line, "{text}: {problems}");
        }
        let many = "x: 1\n".repeat(5_000);
        assert!(read(&many, "f").unwrap_err().0.len() <= 1_000 + PROBLEMS_MAX);
        assert!(read(&"[".repeat(100_000), "f").is_err());
    }
}
