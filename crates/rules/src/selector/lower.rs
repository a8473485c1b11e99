//! From a condition's tree to terms.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::fields::{self, Answer};
use super::formula::{Atoms, Formula, TooLarge};
use super::{
    Atom, EVENTS_MAX, EventSelector, Input, NUMBERS_MAX, NumberTest, Selector, TEXT_BYTES_MAX,
    Term, Test, Unlowered,
};
use crate::ast::{Comparison, Expr, Operand, Quantifier, Relation, Right};
use crate::constant::Constant;
use crate::fields::{Fields, Schema, Value, ValueType, Values};
use crate::matcher::Matcher;
use crate::operand::find_field;
use crate::rule_set::Rule;

/// Which way what the kernel cannot say goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is an error; events are those of containers.
    Exact,
    /// It is true; events are those of the whole machine.
    Relaxed,
}

const SEARCHED: &str =
    "the kernel compares whole texts, beginnings, and ends of paths, and does not search in them";
const COUNTED: &str = "the kernel does not count how many of several hold";
const TOO_LONG: &str = "the text is longer than those that the kernel compares";
const GLOB: &str = "the kernel knows no wildcards";
const NUMBER: &str = "the number is outside what the kernel compares";
const TOO_MANY_NUMBERS: &str = "it names more numbers than the kernel compares with at once";
const OTHER_CONTAINER: &str =
    "which container it is is not known in the kernel; name it in the policy";
const SEVERAL: &str = "the field can have several values";
const OTHER_RESULT: &str = "the error's number is not known here; ask for it with `evt.rawres`";

pub(super) fn rule(
    rule: &Rule,
    schema: &dyn Schema,
    mode: Mode,
    container: Option<&dyn Fields>,
) -> Result<Selector, Unlowered> {
    if rule.stateful.is_some() && mode == Mode::Exact {
        return Err(Unlowered::Stateful);
    }
    let expression = rule.expression.as_ref().ok_or(Unlowered::NoExpression)?;
    part(rule, expression, schema, mode, container)
}

pub(super) fn part(
    rule: &Rule,
    expression: &Expr,
    schema: &dyn Schema,
    mode: Mode,
    container: Option<&dyn Fields>,
) -> Result<Selector, Unlowered> {
    let names: BTreeSet<&str> = rule
        .event_types
        .iter()
        .filter_map(|number| schema.event_types().get(usize::from(number)).copied())
        .collect();
    if names.len() > EVENTS_MAX && mode == Mode::Exact {
        return Err(Unlowered::TooManyEvents { n: names.len() });
    }
    let mut events = Vec::new();
    for event in names {
        let (atoms, obstacles) = (Atoms::default(), Vec::new());
        let mut lowering = Lowering { schema, event, mode, container, atoms, obstacles };
        let formula = lowering.expr(expression, false);
        if let Some(selector) = lowering.finish(formula)? {
            events.push(selector);
        }
    }
    Ok(Selector { events })
}

struct Lowering<'s> {
    schema: &'s dyn Schema,
    event: &'s str,
    mode: Mode,
    /// Answers the fields of the container.
    container: Option<&'s dyn Fields>,
    atoms: Atoms,
    /// Predicates that the kernel cannot decide, and why.
    obstacles: Vec<(String, &'static str)>,
}

/// A question, and what becomes of it.
type Lowered = Result<Formula, &'static str>;

impl Lowering<'_> {
    fn finish(self, formula: Formula) -> Result<Option<EventSelector>, Unlowered> {
        let event = self.event.to_owned();
        let formula = match (self.mode, formula.unknown()) {
            (Mode::Relaxed, _) => formula.relaxed(),
            (Mode::Exact, None) => formula,
            (Mode::Exact, Some(number)) => {
                let (predicate, why) =
                    self.obstacles.into_iter().nth(number).unwrap_or((String::new(), ""));
                return Err(Unlowered::Predicate { event, predicate, why });
            }
        };
        match (formula.terms(&self.atoms), self.mode) {
            (Ok((_, terms)), _) if terms.is_empty() => Ok(None),
            (Ok((atoms, terms)), _) => Ok(Some(EventSelector { event, atoms, terms })),
            (Err(TooLarge(what, max)), Mode::Exact) => {
                Err(Unlowered::TooLarge { event, what, max })
            }
            // Every event of this type may match.
            (Err(_), Mode::Relaxed) => {
                let terms = vec![Term { need: 0, forbid: 0 }];
                Ok(Some(EventSelector { event, atoms: Vec::new(), terms }))
            }
        }
    }

    fn expr(&mut self, expr: &Expr, negated: bool) -> Formula {
        match expr {
            Expr::Not(child, _) => self.expr(child, !negated),
            // De Morgan: a negated `and` is an `or` of negated children.
            Expr::And(children, _) | Expr::Or(children, _) => {
                let parts: Vec<Formula> =
                    children.iter().map(|child| self.expr(child, negated)).collect();
                let is_and = matches!(expr, Expr::And(..)) != negated;
                if is_and { Formula::and(parts) } else { Formula::or(parts) }
            }
            Expr::Exists(operand, _) => {
                let lowered = self.exists(operand, negated);
                self.or_obstacle(lowered, expr)
            }
            Expr::Compare(comparison, _) => {
                let lowered = self.comparison(comparison, negated);
                self.or_obstacle(lowered, expr)
            }
            Expr::Macro(..) => self.or_obstacle(Err("the macro was not replaced"), expr),
        }
    }

    fn or_obstacle(&mut self, lowered: Lowered, predicate: &Expr) -> Formula {
        lowered.unwrap_or_else(|why| {
            self.obstacles.push((predicate.to_string(), why));
            Formula::Unknown(self.obstacles.len() - 1)
        })
    }

    fn atom(&mut self, input: Input, test: Test, negated: bool) -> Formula {
        Formula::atom(&mut self.atoms, Atom { input, test }, negated)
    }

    /// What the container answers to a field of its own; nothing if it is not asked.
    fn of_container<'v>(&'v self, operand: &Operand) -> Option<Result<Values<'v>, &'static str>> {
        let Operand::Field(field) = operand else { return None };
        let container = self.container?;
        if !field.name.starts_with("container.") && !field.name.starts_with("k8s.") {
            return None;
        }
        let resolved = find_field(self.schema, &field.name, field.argument.as_deref(), 0).ok()?;
        let mut values = Values::new();
        container.extract(resolved.id, &resolved.argument, &mut values);
        // Lists and lines of values have comparisons of their own.
        let is_single = !resolved.is_list && values.len() <= 1;
        Some(if is_single { Ok(values) } else { Err(SEVERAL) })
    }

    fn exists(&mut self, operand: &Operand, negated: bool) -> Lowered {
        if let Some(values) = self.of_container(operand) {
            return Ok(Formula::Constant(values?.is_empty() == negated));
        }
        let always = Ok(Formula::Constant(!negated));
        match fields::operand(self.event, operand) {
            Answer::Input { input, may_be_absent: true } => {
                Ok(self.atom(input, Test::Exists, negated))
            }
            Answer::Choice(input, test, values) => {
                Ok(self.choice(input, test, values.map(|value| value.is_some() != negated)))
            }
            Answer::Input { .. } | Answer::Bool(..) | Answer::ResultText => always,
            Answer::Constant(constant) => Ok(Formula::Constant(constant.is_some() != negated)),
            Answer::ContainerId if self.mode == Mode::Exact => always,
            Answer::ContainerId => Err(OTHER_CONTAINER),
            Answer::Unknown(why) => Err(why),
        }
    }

    fn comparison(&mut self, comparison: &Comparison, negated: bool) -> Lowered {
        let values = match &comparison.right {
            Right::Value(value, _) => std::slice::from_ref(value),
            Right::List(values, _) => values.as_slice(),
            Right::Operand(_) => return Err(fields::other_field()),
        };
        let is_set = comparison.operator.relation.takes_list();
        if is_set && values.is_empty() {
            // Nothing is one of none.
            return Ok(Formula::Constant(negated));
        }
        let Operand::Field(field) = &comparison.left else {
            return match fields::operand(self.event, &comparison.left) {
                Answer::Unknown(why) => Err(why),
                _ => Err(fields::other_field()),
            };
        };
        let value_type = find_field(self.schema, &field.name, field.argument.as_deref(), 0)
            .map_err(|_| "the field does not exist")?
            .value_type;
        let asked = Asked {
            relation: comparison.operator.relation,
            quantifier: comparison.operator.quantifier,
            values,
            value_type,
        };
        if let Some(values) = self.of_container(&comparison.left) {
            let holds = values?.first().map_or(Ok(false), |value| asked.holds(*value))?;
            return Ok(Formula::Constant(holds != negated));
        }
        match fields::operand(self.event, &comparison.left) {
            Answer::Unknown(why) => Err(why),
            Answer::Constant(None) => Ok(Formula::Constant(negated)),
            Answer::Constant(Some(constant)) => {
                Ok(Formula::Constant(asked.holds(constant.value())? != negated))
            }
            Answer::ContainerId => self.container(&asked, negated),
            Answer::ResultText => self.result_text(&asked, negated),
            Answer::Bool(input, test) => {
                let (yes, no) = (asked.holds(Value::Bool(true))?, asked.holds(Value::Bool(false))?);
                Ok(match (yes, no) {
                    (true, false) => self.atom(input, test, negated),
                    (false, true) => self.atom(input, test, !negated),
                    (same, _) => Formula::Constant(same != negated),
                })
            }
            Answer::Choice(input, test, values) => {
                let mut answers = [negated; 3];
                for (answer, value) in answers.iter_mut().zip(&values) {
                    if let Some(value) = value {
                        *answer = asked.holds(value.value())? != negated;
                    }
                }
                Ok(self.choice(input, test, answers))
            }
            Answer::Input { input, may_be_absent } => {
                self.input(input, may_be_absent, &asked, negated)
            }
        }
    }

    /// The formula of a question with its answers: if the atom holds, if it does not, and if
    /// there is no input.
    fn choice(&mut self, input: Input, test: Test, answers: [bool; 3]) -> Formula {
        let [yes, no, absent] = answers;
        if yes == no && no == absent {
            return Formula::Constant(yes);
        }
        let mut parts = Vec::new();
        if yes {
            parts.push(self.atom(input, test.clone(), false));
        }
        if no {
            let exists = self.atom(input, Test::Exists, false);
            parts.push(Formula::and([exists, self.atom(input, test, true)]));
        }
        if absent {
            parts.push(self.atom(input, Test::Exists, true));
        }
        Formula::or(parts)
    }

    /// Events are those of containers: the id is some container's, and never `host`.
    fn container(&mut self, asked: &Asked<'_>, negated: bool) -> Lowered {
        if self.mode == Mode::Relaxed {
            return Err(OTHER_CONTAINER);
        }
        match (asked.relation, asked.quantifier, asked.values) {
            (Relation::NotEqual, None, [value]) if value == "host" => {
                Ok(Formula::Constant(!negated))
            }
            (Relation::Equal | Relation::In, None, [value]) if value == "host" => {
                Ok(Formula::Constant(negated))
            }
            // An id that is known but empty belongs to no container.
            (Relation::NotEqual, None, [value]) if value.is_empty() => {
                Ok(Formula::Constant(!negated))
            }
            _ => Err(OTHER_CONTAINER),
        }
    }

    /// `evt.res`: `SUCCESS`, or the name of an error.
    fn result_text(&mut self, asked: &Asked<'_>, negated: bool) -> Lowered {
        let numbers = |value: &String| match value.as_str() {
            "SUCCESS" => Ok(NumberTest::Greater(-1)),
            name => fields::errno(name).map(|n| NumberTest::Equal(-n)).ok_or(OTHER_RESULT),
        };
        let flip = match (asked.relation, asked.quantifier) {
            (Relation::Equal | Relation::In, None | Some(Quantifier::Any)) => false,
            (Relation::NotEqual, None) => true,
            _ => return Err(SEARCHED),
        };
        let tests: Vec<NumberTest> = asked.values.iter().map(numbers).collect::<Result<_, _>>()?;
        if tests.is_empty() {
            return Ok(Formula::Constant(flip != negated));
        }
        Ok(self.atom(Input::Result, numbers_test(tests)?, flip != negated))
    }

    fn input(
        &mut self,
        input: Input,
        may_be_absent: bool,
        asked: &Asked<'_>,
        negated: bool,
    ) -> Lowered {
        let (test, flip) = match asked.value_type {
            ValueType::Text | ValueType::Path => asked.text_test(input)?,
            ValueType::Ip | ValueType::Net => asked.net_test()?,
            _ => asked.number_test()?,
        };
        let Some(test) = test else {
            // Compared with nothing.
            return Ok(Formula::Constant(negated));
        };
        let holds = self.atom(input, test, flip != negated);
        if !flip || !may_be_absent {
            return Ok(holds);
        }
        // `!=` is false of what is not there, and so its negation true.
        let exists = self.atom(input, Test::Exists, negated);
        Ok(if negated { Formula::or([holds, exists]) } else { Formula::and([holds, exists]) })
    }
}

/// The right side of a comparison and how it is made.
struct Asked<'a> {
    relation: Relation,
    quantifier: Option<Quantifier>,
    values: &'a [String],
    value_type: ValueType,
}

/// A test, if anything can pass it, and whether its answer is to be turned round.
type Turned = Result<(Option<Test>, bool), &'static str>;

impl Asked<'_> {
    fn constants(&self) -> Result<Vec<Constant>, &'static str> {
        let read = |value: &String| Constant::parse(value, self.value_type).map_err(|_| NUMBER);
        self.values.iter().map(read).collect()
    }

    /// What the evaluator says about a value.
    fn holds(&self, value: Value<'_>) -> Result<bool, &'static str> {
        Matcher::new(self.relation, self.quantifier, &self.constants()?)
            .map(|matcher| matcher.holds(value))
            .map_err(|_| SEARCHED)
    }

    fn one_of(&self) -> Result<(), &'static str> {
        match self.quantifier {
            None | Some(Quantifier::Any) => Ok(()),
            Some(_) if self.values.len() == 1 => Ok(()),
            Some(_) => Err(COUNTED),
        }
    }

    fn text_test(&self, input: Input) -> Turned {
        self.one_of()?;
        let (mut equal, mut prefixes, mut suffixes) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut flip = false;
        for value in self.values.iter().map(String::as_bytes) {
            if value.len() > TEXT_BYTES_MAX {
                return Err(TOO_LONG);
            }
            // The kernel's texts end at a NUL, so none begins with or is one that holds it.
            let is_possible = !value.contains(&0);
            match self.relation {
                Relation::Equal | Relation::In | Relation::StartsWith | Relation::EndsWith
                    if !is_possible => {}
                Relation::Equal | Relation::In => {
                    equal.insert(value.to_vec());
                }
                Relation::NotEqual if self.values.len() == 1 && is_possible => {
                    flip = true;
                    equal.insert(value.to_vec());
                }
                Relation::StartsWith => {
                    prefixes.insert(value.to_vec());
                }
                Relation::EndsWith if matches!(input, Input::Path | Input::ExePath) => {
                    suffixes.insert(value.to_vec());
                }
                Relation::PMatch => parents(value, &mut equal, &mut prefixes)?,
                _ => return Err(SEARCHED),
            }
        }
        let is_empty = equal.is_empty() && prefixes.is_empty() && suffixes.is_empty();
        Ok(((!is_empty).then_some(Test::Text { equal, prefixes, suffixes }), flip))
    }

    fn net_test(&self) -> Turned {
        self.one_of()?;
        let flip = match self.relation {
            Relation::Equal | Relation::In => false,
            Relation::NotEqual if self.values.len() == 1 => true,
            _ => return Err(SEARCHED),
        };
        let nets: BTreeSet<IpNet> = self
            .constants()?
            .into_iter()
            .filter_map(|constant| match constant {
                Constant::Net(net) => Some(net.trunc()),
                Constant::Ip(std::net::IpAddr::V4(ip)) => Ipv4Net::new(ip, 32).ok().map(IpNet::V4),
                Constant::Ip(std::net::IpAddr::V6(ip)) => Ipv6Net::new(ip, 128).ok().map(IpNet::V6),
                _ => None,
            })
            .collect();
        Ok(((!nets.is_empty()).then_some(Test::Nets(nets)), flip))
    }

    fn number_test(&self) -> Turned {
        self.one_of()?;
        let (mut tests, mut flip) = (Vec::new(), false);
        for constant in self.constants()? {
            let number = match constant {
                Constant::Int(n) => n,
                Constant::Uint { wide, narrow } if wide == narrow => {
                    i64::try_from(wide).map_err(|_| NUMBER)?
                }
                _ => return Err(NUMBER),
            };
            let (test, turned) = match self.relation {
                Relation::Equal | Relation::In => (NumberTest::Equal(number), false),
                Relation::NotEqual => (NumberTest::Equal(number), true),
                Relation::Less => (NumberTest::Less(number), false),
                Relation::GreaterOrEqual => (NumberTest::Less(number), true),
                Relation::Greater => (NumberTest::Greater(number), false),
                Relation::LessOrEqual => (NumberTest::Greater(number), true),
                _ => return Err(SEARCHED),
            };
            if turned && self.values.len() > 1 {
                return Err(COUNTED);
            }
            flip = turned;
            tests.push(test);
        }
        if tests.is_empty() {
            return Ok((None, false));
        }
        Ok((Some(numbers_test(tests)?), flip))
    }
}

fn numbers_test(mut tests: Vec<NumberTest>) -> Result<Test, &'static str> {
    tests.sort_unstable();
    tests.dedup();
    if tests.len() > NUMBERS_MAX {
        return Err(TOO_MANY_NUMBERS);
    }
    Ok(Test::Numbers(tests))
}

/// `pmatch`: the path, and everything below it. Paths of the kernel have no doubled slashes.
fn parents(
    path: &[u8],
    equal: &mut BTreeSet<Vec<u8>>,
    prefixes: &mut BTreeSet<Vec<u8>>,
) -> Result<(), &'static str> {
    if path.iter().any(|byte| b"*?[".contains(byte)) {
        return Err(GLOB);
    }
    if path.contains(&0) {
        return Ok(());
    }
    let components: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()).collect();
    if components.is_empty() {
        prefixes.insert(Vec::new());
        return Ok(());
    }
    let relative = components.join(&b'/');
    let absolute = [b"/".as_slice(), &relative].concat();
    for path in [relative, absolute] {
        if path.len() + 1 > TEXT_BYTES_MAX {
            return Err(TOO_LONG);
        }
        prefixes.insert([path.as_slice(), b"/"].concat());
        equal.insert(path);
    }
    Ok(())
}
