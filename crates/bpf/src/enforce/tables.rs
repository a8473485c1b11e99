//! From selectors to the tables that `probes/decide.h` reads.

use std::collections::BTreeMap;

use ipnet::IpNet;
use palisade_rules::selector::{Atom, EventSelector, Input, NumberTest, Test};

use super::effect::judged_event;
use super::{Action, EnforceError, EnforcedRule, Plan, RULES_MAX};

/// Words of 64 atoms (`ATOM_WORDS`).
const ATOM_WORDS: usize = 2;
/// Questions about one event, those of all rules together.
pub const EVENT_ATOMS_MAX: usize = 64 * ATOM_WORDS;
/// Alternatives for one event, those of all rules together (`TERMS_MAX`).
pub const EVENT_TERMS_MAX: usize = 128;
/// Questions about numbers, and whether something is there, for one event (`CHECKS_MAX`).
pub const EVENT_CHECKS_MAX: usize = 128;
/// Texts and networks, those of all rules and events together: half of what the trie holds.
pub const TEXTS_MAX: usize = 32_768;
/// Events with a plan.
pub const PLANS_MAX: usize = 64;
const N_INPUTS: usize = 32;
/// The last parameter of a record that is looked at; the result, 0, is an input of its own.
pub(super) const PARAMETER_MAX: u8 = 4;
/// Bytes of a key of the trie: its length in bits, four of place, the text.
const TEXT_KEY_BYTES: usize = 4 + 4 + 244;
const PLACE_BITS: u32 = 32;

type Mask = [u64; ATOM_WORDS];

/// What the kernel is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tables {
    /// The number of the rule of each slot.
    pub(super) rules: Vec<u32>,
    pub(super) plans: Vec<EventPlan>,
}

/// The plan of one type of events (`struct plan`), and its part of the trie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventPlan {
    pub(super) event: u16,
    inputs: u32,
    atoms_of: [Mask; N_INPUTS],
    terms: Vec<PlanTerm>,
    checks: Vec<Check>,
    pub(super) texts: BTreeMap<Text, Mask>,
}

/// A beginning of texts of one input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text {
    input: u8,
    bits: u32,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PlanTerm {
    need: Mask,
    forbid: Mask,
    rule: u32,
    slot: u16,
    action: Action,
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Check {
    input: u8,
    kind: u8,
    bit: u16,
    value: i64,
}

/// The number of an input (`enum input`).
fn number_of(input: Input) -> u8 {
    match input {
        Input::Comm => 0,
        Input::ExePath => 1,
        Input::Path => 2,
        Input::Directory => 3,
        Input::FileName => 4,
        Input::AddressIp => 5,
        Input::ServerIp => 6,
        Input::ParentName => 7,
        Input::Result => 8,
        Input::Uid => 9,
        Input::Descriptor => 10,
        Input::OpenFlags => 11,
        Input::IsDirectory => 12,
        Input::Layer => 13,
        Input::ExeFlags => 14,
        Input::AddressPort => 15,
        Input::ServerPort => 16,
        Input::Terminal => 29,
        Input::Parameter(index) => 17 + index.min(PARAMETER_MAX),
    }
}

/// The number under which ends of a text are looked up: those of the text backwards.
fn end_of(input: Input) -> Option<u8> {
    match input {
        Input::Path => Some(30),
        Input::ExePath => Some(31),
        _ => None,
    }
}

impl Tables {
    pub(super) fn new(plan: &Plan) -> Result<Self, EnforceError> {
        if plan.rules.len() > RULES_MAX {
            return Err(EnforceError::TooMany {
                what: "rules",
                n: plan.rules.len(),
                max: RULES_MAX,
            });
        }
        let mut builders: BTreeMap<u16, EventPlan> = BTreeMap::new();
        for (slot, rule) in plan.rules.iter().enumerate() {
            for selector in &rule.selector.events {
                let judged = judged_event(&selector.event).ok_or_else(|| {
                    EnforceError::NotJudged { rule: rule.number, event: selector.event.clone() }
                })?;
                let event =
                    builders.entry(judged.number).or_insert_with(|| EventPlan::new(judged.number));
                // A slot is below RULES_MAX.
                event.add(rule, slot as u16, selector)?;
            }
        }
        let mut plans: Vec<EventPlan> = builders.into_values().collect();
        plans.iter_mut().for_each(EventPlan::finish);
        let n_texts = plans.iter().map(|plan| plan.texts.len()).sum();
        for (what, n, max) in [("texts", n_texts, TEXTS_MAX), ("events", plans.len(), PLANS_MAX)] {
            if n > max {
                return Err(EnforceError::TooMany { what, n, max });
            }
        }
        Ok(Self { rules: plan.rules.iter().map(|rule| rule.number).collect(), plans })
    }
}

impl EventPlan {
    fn new(event: u16) -> Self {
        Self {
            event,
            inputs: 0,
            atoms_of: [[0; ATOM_WORDS]; N_INPUTS],
            terms: Vec::new(),
            checks: Vec::new(),
            texts: BTreeMap::new(),
        }
    }

    fn n_atoms(&self) -> usize {
        self.atoms_of.iter().flatten().map(|word| word.count_ones() as usize).sum()
    }

    fn add(
        &mut self,
        rule: &EnforcedRule,
        slot: u16,
        selector: &EventSelector,
    ) -> Result<(), EnforceError> {
        let too_many = |what, n, max| Err(EnforceError::TooMany { what, n, max });
        let first = self.n_atoms();
        if first + selector.atoms.len() > EVENT_ATOMS_MAX {
            let n = first + selector.atoms.len();
            return too_many("questions about one event", n, EVENT_ATOMS_MAX);
        }
        for (i, atom) in selector.atoms.iter().enumerate() {
            // Both are below EVENT_ATOMS_MAX.
            self.add_atom(rule.number, atom, (first + i) as u16)?;
        }
        if self.checks.len() > EVENT_CHECKS_MAX {
            let n = self.checks.len();
            return too_many("numbers asked about one event", n, EVENT_CHECKS_MAX);
        }
        for term in &selector.terms {
            self.terms.push(PlanTerm {
                need: shifted(term.need, first),
                forbid: shifted(term.forbid, first),
                rule: rule.number,
                slot,
                action: rule.action,
                dry_run: rule.dry_run,
            });
        }
        if self.terms.len() > EVENT_TERMS_MAX {
            return too_many("alternatives for one event", self.terms.len(), EVENT_TERMS_MAX);
        }
        Ok(())
    }

    fn add_atom(&mut self, rule: u32, atom: &Atom, bit: u16) -> Result<(), EnforceError> {
        if let Input::Parameter(index) = atom.input
            && !(1..=PARAMETER_MAX).contains(&index)
        {
            return Err(EnforceError::Parameter { rule, index });
        }
        let mut input = number_of(atom.input);
        if let Test::Text { equal, prefixes, suffixes } = &atom.test
            && !suffixes.is_empty()
        {
            let end = end_of(atom.input).filter(|_| equal.is_empty() && prefixes.is_empty());
            input = end.ok_or(EnforceError::Ends { rule })?;
        }
        let mask = shifted(1, bit.into());
        self.inputs |= 1 << input;
        join(&mut self.atoms_of[usize::from(input)], mask);
        match &atom.test {
            Test::Exists => self.checks.push(Check { input, kind: 0, bit, value: 0 }),
            Test::Numbers(tests) => {
                for test in tests {
                    let (kind, value) = match *test {
                        NumberTest::Equal(n) => (1, n),
                        NumberTest::Less(n) => (2, n),
                        NumberTest::Greater(n) => (3, n),
                        NumberTest::AnyBit(bits) => (4, i64::from(bits)),
                    };
                    self.checks.push(Check { input, kind, bit, value });
                }
            }
            Test::Text { equal, prefixes, suffixes } => {
                for text in suffixes {
                    let backwards: Vec<u8> = text.iter().rev().copied().collect();
                    self.add_text(input, &backwards, mask);
                }
                for text in equal {
                    self.add_text(input, &[text.as_slice(), &[0]].concat(), mask);
                }
                for text in prefixes {
                    self.add_text(input, text, mask);
                }
            }
            Test::Nets(nets) => nets.iter().for_each(|net| self.add_net(input, net, mask)),
        }
        Ok(())
    }

    fn add_text(&mut self, input: u8, text: &[u8], mask: Mask) {
        // At most 240 bytes: `TEXT_BYTES_MAX` of the selector and a NUL.
        let bits = 8 * text.len() as u32;
        join(self.texts.entry(Text { input, bits, bytes: text.to_vec() }).or_default(), mask);
    }

    fn add_net(&mut self, input: u8, net: &IpNet, mask: Mask) {
        let (family, octets) = match net.network() {
            std::net::IpAddr::V4(address) => (4, address.octets().to_vec()),
            std::net::IpAddr::V6(address) => (6, address.octets().to_vec()),
        };
        let bits = 8 + u32::from(net.prefix_len());
        let text = Text { input, bits, bytes: [&[family], octets.as_slice()].concat() };
        join(self.texts.entry(text.cut(bits)).or_default(), mask);
    }

    /// Gives each text the atoms of the shorter ones that it begins with, since the trie shows
    /// only the longest; and puts what acts before what only reports.
    fn finish(&mut self) {
        let own = self.texts.clone();
        for (text, mask) in &mut self.texts {
            let is_net = matches!(text.input, 5 | 6);
            let step = if is_net { 1 } else { 8 };
            for bits in (0..text.bits).step_by(step) {
                if let Some(shorter) = own.get(&text.cut(bits)) {
                    join(mask, *shorter);
                }
            }
        }
        self.terms.sort_by_key(|term| (term.dry_run, term.slot));
    }

    /// `struct plan`, for the part `slot` of the trie.
    pub(super) fn bytes(&self, slot: u8) -> Vec<u8> {
        let mut out = Vec::new();
        let words = [self.terms.len() as u32, self.checks.len() as u32, self.inputs, slot.into()];
        out.extend(words.into_iter().flat_map(u32::to_ne_bytes));
        out.extend(self.atoms_of.iter().flatten().flat_map(|word| word.to_ne_bytes()));
        let nothing = PlanTerm {
            need: [0; ATOM_WORDS],
            forbid: [0; ATOM_WORDS],
            rule: 0,
            slot: 0,
            action: Action::Kill,
            dry_run: true,
        };
        let terms = self.terms.iter().chain(std::iter::repeat(&nothing));
        for term in terms.take(EVENT_TERMS_MAX) {
            out.extend(term.need.iter().chain(&term.forbid).flat_map(|word| word.to_ne_bytes()));
            out.extend(term.rule.to_ne_bytes());
            out.extend(term.slot.to_ne_bytes());
            out.extend([term.action as u8, term.dry_run.into()]);
        }
        let nothing = Check { input: 0, kind: 0, bit: 0, value: 0 };
        let checks = self.checks.iter().chain(std::iter::repeat(&nothing));
        for check in checks.take(EVENT_CHECKS_MAX) {
            out.extend(check.value.to_ne_bytes());
            out.extend(check.bit.to_ne_bytes());
            out.extend([check.input, check.kind]);
            out.extend([0; 4]);
        }
        out
    }
}

impl Text {
    /// Its first `bits` bits, the rest of the last byte cleared.
    fn cut(&self, bits: u32) -> Self {
        let mut bytes = self.bytes.clone();
        bytes.truncate(bits.div_ceil(8) as usize);
        if let Some(last) = bytes.last_mut().filter(|_| !bits.is_multiple_of(8)) {
            *last &= 0xff << (8 - bits % 8);
        }
        Self { input: self.input, bits, bytes }
    }

    /// `struct text_key`.
    pub(super) fn key(&self, generation: u8, slot: u8) -> Vec<u8> {
        let mut key = Vec::with_capacity(TEXT_KEY_BYTES);
        key.extend((PLACE_BITS + self.bits).to_ne_bytes());
        key.extend([generation, slot, self.input, 0]);
        key.extend(&self.bytes);
        key.resize(TEXT_KEY_BYTES, 0);
        key
    }
}

fn join(mask: &mut Mask, other: Mask) {
    mask.iter_mut().zip(other).for_each(|(word, more)| *word |= more);
}

/// A mask of 64 bits moved up by `by` bits, below [`EVENT_ATOMS_MAX`].
fn shifted(bits: u64, by: usize) -> Mask {
    let wide = u128::from(bits) << by;
    [wide as u64, (wide >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use palisade_rules::fields::Value;
    use palisade_rules::selector::{Fact, Selector, Term};
    use proptest::prelude::*;

    use super::*;

    /// The machine of `probes/decide.h` over a plan: the first entry that holds.
    fn judge(plan: &EventPlan, facts: &dyn Fn(Input) -> Fact<'static>) -> Option<u32> {
        let (mut sure, mut maybe): (Mask, Mask) = ([0; ATOM_WORDS], [0; ATOM_WORDS]);
        let inputs = INPUTS.into_iter().flat_map(|input| {
            std::iter::once((input, number_of(input))).chain(Some(input).zip(end_of(input)))
        });
        for (input, number) in inputs {
            let value = match facts(input) {
                Fact::Absent => continue,
                Fact::Unknown => {
                    join(&mut maybe, plan.atoms_of[usize::from(number)]);
                    continue;
                }
                Fact::Known(value) => value,
            };
            let mut holding = [0; ATOM_WORDS];
            if let Some(key) = key_of(number, value) {
                // The trie shows the longest that fits.
                let fits = |text: &Text| text.input == number && key.cut(text.bits) == *text;
                let found = plan.texts.iter().filter(|(text, _)| fits(text));
                if let Some((_, mask)) = found.max_by_key(|(text, _)| text.bits) {
                    holding = *mask;
                }
            }
            for check in plan.checks.iter().filter(|check| check.input == number) {
                let n = if let Value::Int(n) = value { n } else { 0 };
                let holds = match check.kind {
                    0 => true,
                    1 => n == check.value,
                    2 => n < check.value,
                    3 => n > check.value,
                    _ => n & check.value != 0,
                };
                if holds {
                    join(&mut holding, shifted(1, check.bit.into()));
                }
            }
            join(&mut sure, holding);
            join(&mut maybe, holding);
        }
        let holds = |term: &&PlanTerm| {
            (0..ATOM_WORDS).all(|i| term.need[i] & !sure[i] == 0 && term.forbid[i] & maybe[i] == 0)
        };
        plan.terms.iter().find(holds).map(|term| term.rule)
    }

    const INPUTS: [Input; 4] = [Input::Comm, Input::Path, Input::Result, Input::AddressIp];

    /// The text that is looked up for a value.
    fn key_of(input: u8, value: Value<'static>) -> Option<Text> {
        let bytes = match value {
            Value::Text(text) if input >= 30 => {
                [text.iter().rev().copied().collect(), vec![0]].concat()
            }
            Value::Text(text) => [text, &[0]].concat(),
            Value::Ip(IpAddr::V4(address)) => [&[4][..], &address.octets()].concat(),
            Value::Ip(IpAddr::V6(address)) => [&[6][..], &address.octets()].concat(),
            _ => return None,
        };
        Some(Text { input, bits: 8 * bytes.len() as u32, bytes })
    }

    const TEXTS: [&str; 8] = ["", "/", "/a", "/a/", "/ab", "/a/b", "/a/bc", "b"];
    const ADDRESSES: [&str; 5] = ["10.0.0.1", "10.0.0.2", "11.0.0.1", "2001:db8::1", "::a00:1"];
    const NETS: [&str; 7] = [
        "10.0.0.0/8",
        "10.0.0.0/30",
        "10.0.0.1/32",
        "0.0.0.0/0",
        "::/0",
        "2001:db8::/33",
        "8.0.0.0/6",
    ];

    fn atom() -> impl Strategy<Value = Atom> {
        let texts = || {
            let text = prop::sample::select(&TEXTS[..]).prop_map(|text| text.as_bytes().to_vec());
            prop::collection::btree_set(text, 0..4)
        };
        let none = BTreeSet::new;
        let text = (any::<bool>(), texts(), texts()).prop_map(move |(is_comm, equal, prefixes)| {
            let input = if is_comm { Input::Comm } else { Input::Path };
            Atom { input, test: Test::Text { equal, prefixes, suffixes: none() } }
        });
        let end = texts().prop_map(move |suffixes| {
            let test = Test::Text { equal: none(), prefixes: none(), suffixes };
            Atom { input: Input::Path, test }
        });
        let net = prop::sample::select(&NETS[..]).prop_map(|net| net.parse::<IpNet>().unwrap());
        let net = prop::collection::btree_set(net, 1..4)
            .prop_map(|nets| Atom { input: Input::AddressIp, test: Test::Nets(nets) });
        let number = (0..4_usize, -2..3_i64).prop_map(|(kind, n)| {
            let test = match kind {
                0 => NumberTest::Equal(n),
                1 => NumberTest::Less(n),
                2 => NumberTest::Greater(n),
                _ => NumberTest::AnyBit(n.unsigned_abs() as u32),
            };
            Atom { input: Input::Result, test: Test::Numbers(vec![test, NumberTest::Equal(2)]) }
        });
        let exists =
            prop::sample::select(&INPUTS[..]).prop_map(|input| Atom { input, test: Test::Exists });
        prop_oneof![text, end, net, number, exists]
    }

    fn event() -> impl Strategy<Value = EventSelector> {
        let atoms = prop::collection::vec(atom(), 1..6);
        let terms = prop::collection::vec((any::<u64>(), any::<u64>()), 1..4);
        (atoms, terms).prop_map(|(atoms, terms)| {
            let all = (1 << atoms.len()) - 1;
            let term = |(need, choice): (u64, u64)| Term {
                need: need & all & choice,
                forbid: !need & all & choice.rotate_left(7),
            };
            EventSelector {
                event: "openat".into(),
                atoms,
                terms: terms.into_iter().map(term).collect(),
            }
        })
    }

    fn fact(value: impl Strategy<Value = Value<'static>>) -> impl Strategy<Value = Fact<'static>> {
        prop_oneof![1 => Just(Fact::Absent), 1 => Just(Fact::Unknown), 6 => value.prop_map(Fact::Known)]
    }

    fn facts() -> impl Strategy<Value = Vec<Fact<'static>>> {
        let text = || prop::sample::select(&TEXTS[..]).prop_map(|t| Value::Text(t.as_bytes()));
        let address =
            prop::sample::select(&ADDRESSES[..]).prop_map(|text| Value::Ip(text.parse().unwrap()));
        (fact(text()), fact(text()), fact((-2..3_i64).prop_map(Value::Int)), fact(address))
            .prop_map(|(comm, path, result, address)| vec![comm, path, result, address])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// The tables say what the selectors say, whichever rules share them.
        #[test]
        fn tables_decide_as_selectors(
            events in prop::collection::vec(event(), 1..6),
            happenings in prop::collection::vec(facts(), 1..12),
        ) {
            let rule = |(number, event): (u32, &EventSelector)| EnforcedRule {
                number,
                selector: Selector { events: vec![event.clone()] },
                action: Action::Kill,
                dry_run: false,
            };
            let plan = Plan { rules: (0..).zip(&events).map(rule).collect() };
            let tables = Tables::new(&plan).unwrap();
            for happening in &happenings {
                let facts = |input| {
                    let at = INPUTS.iter().position(|known| *known == input).unwrap();
                    happening[at]
                };
                let expected = events.iter().position(|event| event.holds(&facts));
                prop_assert_eq!(judge(&tables.plans[0], &facts).map(|n| n as usize), expected);
            }
        }
    }

    #[test]
    fn sizes_are_the_kernel_s() {
        let tables = Tables::new(&Plan { rules: vec![rule(vec![], 1)] }).unwrap();
        // struct plan: a head, the atoms of each input, terms and checks.
        let bytes = 16 + N_INPUTS * 16 + EVENT_TERMS_MAX * 40 + EVENT_CHECKS_MAX * 16;
        assert_eq!(tables.plans[0].bytes(0).len(), bytes);
        let text = Text { input: 2, bits: 16, bytes: b"/a".to_vec() };
        let key = text.key(1, 3);
        assert_eq!((key.len(), &key[4..10]), (TEXT_KEY_BYTES, &[1, 3, 2, 0, b'/', b'a'][..]));
    }

    fn rule(atoms: Vec<Atom>, n_terms: usize) -> EnforcedRule {
        let terms = vec![Term { need: 0, forbid: 0 }; n_terms];
        let event = EventSelector { event: "openat".into(), atoms, terms };
        let selector = Selector { events: vec![event] };
        EnforcedRule { number: 1, selector, action: Action::Kill, dry_run: false }
    }

    #[test]
    fn bounds_are_errors_that_say_which() {
        let check = |rules: Vec<EnforcedRule>, expected: &str| {
            let error = Tables::new(&Plan { rules }).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(vec![rule(vec![], 1); RULES_MAX + 1], "257 rules");
        check(vec![rule(vec![], 64), rule(vec![], 64), rule(vec![], 1)], "129 alternatives");
        let parameter = Atom { input: Input::Parameter(5), test: Test::Exists };
        check(vec![rule(vec![parameter], 1)], "parameter 5 is not looked at");
        let suffixes: BTreeSet<Vec<u8>> = [b"a".to_vec()].into();
        let none = BTreeSet::new;
        let ends = Test::Text { equal: none(), prefixes: none(), suffixes: suffixes.clone() };
        check(vec![rule(vec![Atom { input: Input::Comm, test: ends }], 1)], "of paths only");
        let mixed = Test::Text { equal: suffixes.clone(), prefixes: none(), suffixes };
        check(vec![rule(vec![Atom { input: Input::Path, test: mixed }], 1)], "a question of their");
        let exists = Atom { input: Input::Path, test: Test::Exists };
        check(vec![rule(vec![exists.clone(); 64], 1); 3], "192 questions about one event");
        let numbers = Test::Numbers((0..16).map(NumberTest::Equal).collect());
        let numbers = Atom { input: Input::Uid, test: numbers };
        check(vec![rule(vec![numbers; 9], 1)], "144 numbers asked");
        let equal = (0..=TEXTS_MAX).map(|n| format!("/{n}").into_bytes()).collect();
        let texts = Test::Text { equal, prefixes: BTreeSet::new(), suffixes: BTreeSet::new() };
        check(vec![rule(vec![Atom { input: Input::Path, test: texts }], 1)], "32769 texts");
    }
}
