//! What a watch reads: policy, rules, sinks. Once at the start, and again at each reload.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use palisade_agent::enforce::assign;
use palisade_agent::reload::Loaded;
use palisade_base::render_chain;
use palisade_policy::{LoadPolicyError, LoadedPolicy, Policy};
use palisade_rules::{LoadOptions, RuleSet};
use palisade_sensor::SyscallSchema;

use super::super::enforce;
use super::super::rules::Sources;
use crate::cli::{self, RespondMode};
use crate::exit::Failure;

/// The name of standard input among rule files.
const STDIN: &str = "-";

/// Where policy, rules and sinks come from.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    policy: String,
    rules: Vec<PathBuf>,
    playbooks: Vec<PathBuf>,
    no_builtin_rules: bool,
    respond: RespondMode,
    sinks: super::super::sink::SinkFlags,
    /// What standard input held: it cannot be read twice.
    stdin: Option<String>,
    /// The policy with its responses, whether they are carried out or not: what is in force, and
    /// what is to come with the reload that is under way.
    planned: Arc<Mutex<Planned>>,
    /// What the command line says of enforcement, which comes before the policy.
    enforce: Option<cli::EnforceMode>,
}

#[derive(Debug, Default)]
struct Planned {
    now: Option<Policy>,
    next: Option<Policy>,
}

impl Inputs {
    pub(super) fn new(args: &cli::Watch) -> Result<Self, Failure> {
        let mut this = Self {
            policy: args.policy.clone(),
            rules: args.rules.clone(),
            playbooks: args.playbooks.clone(),
            no_builtin_rules: args.no_builtin_rules,
            respond: args.respond,
            sinks: super::super::sink::SinkFlags::new(args),
            stdin: None,
            planned: Arc::default(),
            enforce: args.enforce,
        };
        if this.rules.iter().any(|file| file == Path::new(STDIN)) {
            let mut read = Sources::read(&[PathBuf::from(STDIN)], false)?;
            this.stdin = read.0.pop().map(|(_, text)| text);
        }
        Ok(this)
    }

    /// The policy as the agent is to have it, and with what it plans beside it.
    pub(super) fn take_policy(&self, mut policy: Policy) -> Policy {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = policy.clone();
        if planned.now.is_none() {
            planned.now = Some(whole);
        } else {
            planned.next = Some(whole);
        }
        if self.respond != RespondMode::On {
            // The agent carries out whatever the policy says; here it is to say nothing.
            policy.response.clear();
        }
        policy
    }

    /// The policy in force with the responses that it plans.
    pub(super) fn planned<T>(&self, look: impl FnOnce(&Policy) -> T) -> Option<T> {
        let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        planned.now.as_ref().map(look)
    }

    /// The reload has ended.
    pub(super) fn settle(&self, ok: bool) {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = planned.next.take().filter(|_| ok) {
            planned.now = Some(next);
        }
    }

    /// The rule files of a policy and of the command line.
    pub(super) fn sources(&self, policy: &Policy) -> Result<Sources, Failure> {
        let builtin = policy.runtime.builtin_rules && !self.no_builtin_rules;
        let mut sources = Sources::read(&policy.runtime.rules, builtin)?;
        for file in &self.rules {
            match &self.stdin {
                Some(text) if file == Path::new(STDIN) => {
                    sources.0.push((STDIN.to_string(), text.clone()));
                }
                _ => sources.0.extend(Sources::read(std::slice::from_ref(file), false)?.0),
            }
        }
        Ok(sources)
    }

    pub(super) fn sinks(&self, policy: &Policy) -> Result<Vec<palisade_policy::Sink>, Failure> {
        self.sinks.with(policy)
    }

    /// The files to watch for changes.
    pub(super) fn files(&self, loaded: &LoadedPolicy) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if Policy::builtin(&self.policy).is_none() {
            files.push(PathBuf::from(&self.policy));
        }
        files.extend(loaded.policy.runtime.rules.iter().cloned());
        files.extend(super::super::playbook::expand(&self.playbooks).unwrap_or_default());
        files.extend(self.rules.iter().filter(|file| *file != Path::new(STDIN)).cloned());
        files
    }

    /// Reads everything again; or every problem, each as the terminal shows it.
    pub(super) fn read(&self) -> Result<Loaded, Vec<String>> {
        let mut loaded = match Policy::load(&self.policy) {
            Ok(loaded) => loaded,
            Err(LoadPolicyError::Invalid { text, diagnostics, .. }) => {
                let quoted = diagnostics.0.iter().map(|one| one.render(Some(&text)));
                return Err(quoted.map(|text| text.trim_end().to_string()).collect());
            }
            Err(error) => return Err(vec![one_line(&render_chain(&error, None))]),
        };
        let mut problems = Vec::new();
        let rules = match self.sources(&loaded.policy) {
            Ok(sources) => {
                let mut rules = read_rules(&sources, &mut problems);
                assign(&mut rules, &loaded.policy.enforce);
                rules
            }
            Err(failure) => {
                problems.push(one_line(&failure.render()));
                RuleSet::default()
            }
        };
        loaded.policy.enforce.mode = enforce::mode(self.enforce, &loaded.policy);
        let sinks = self.sinks(&loaded.policy).unwrap_or_else(|failure| {
            problems.push(one_line(&failure.render()));
            Vec::new()
        });
        let playbooks = super::playbooks::read(&self.playbooks).unwrap_or_else(|found| {
            problems.extend(found);
            Vec::new()
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let files = self.files(&loaded);
        Ok(Loaded { rules, policy: self.take_policy(loaded.policy), sinks, playbooks, files })
    }
}

/// The rules, and what is wrong with them; warnings alone are no problem.
fn read_rules(sources: &Sources, problems: &mut Vec<String>) -> RuleSet {
    // What the kernel can decide beforehand is read off the conditions' trees.
    let load = LoadOptions { keep_expressions: true, ..LoadOptions::default() };
    let (rules, found) = RuleSet::load(&sources.texts(), &[&SyscallSchema], &load);
    if found.has_errors() {
        problems.extend(found.0.iter().map(|problem| {
            problem.render(sources.text(&problem.location.file)).trim_end().to_string()
        }));
    }
    rules
}

fn one_line(text: &str) -> String {
    text.trim().trim_start_matches("error: ").replace('\n', "; ")
}
