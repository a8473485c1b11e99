//! Files → containers and objects → findings, with exceptions taken out.

use std::collections::HashSet;

use palisade_base::yaml::{Node, Place, Problem, ProblemKind, cut};
use palisade_base::{Diagnostic, Severity as Level, Timestamp};
use palisade_image::ImageConfig;
use palisade_model::finding::{Misconfiguration, SourceLocation};
use palisade_model::judgement::{Suppressed, SuppressedBy};
use palisade_model::package::Gap;
use palisade_model::{Finding, Severity};
use palisade_policy::Checks;

use super::checks::{self, Check, Cluster, Facts, Hit, ImageFacts, Judge, Sink};
use super::comments::{self, Comment};
use super::compose::{self, Variables, parse_variables};
use super::detect::Kind;
use super::kubernetes::{self, Object};
use super::settings::Container;
use super::{custom, dockerfile, ecs, image, oci, scc, tree};
use crate::ignore::{self, Ignore};
use crate::secrets::Searcher;

/// Files of one examination; those beyond are a gap.
pub const FILES_MAX: usize = 50_000;
/// Findings of one examination; those beyond are counted.
pub const FINDINGS_MAX: usize = 100_000;

/// A file to examine.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file as the user named it; `-` is standard input.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Its kind, where the user said it.
    pub kind: Option<Kind>,
    /// Whether the user named this very file, not a folder it lies in.
    pub is_named: bool,
}

/// Gives the text of a file that another one refers to: the file that refers, as it was
/// named, and the path as written. The caller keeps within the roots that the user named.
pub type Load<'a> = &'a dyn Fn(&str, &str) -> Result<String, String>;

/// How to examine.
pub struct Options<'a> {
    /// The present: exceptions end.
    pub now: Timestamp,
    /// What the policy says of checks.
    pub policy: &'a Checks,
    /// Checks of the user's own, compiled.
    pub custom: &'a [custom::CustomCheck],
    /// Entries of an ignore file.
    pub ignores: &'a [Ignore],
    /// The secret detectors.
    pub searcher: &'a Searcher,
    /// Other files.
    pub load: Load<'a>,
}

/// What was made of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Containers in it.
    pub n_containers: usize,
    /// Kubernetes objects in it.
    pub n_objects: usize,
}

/// What an examination found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Files that were examined.
    pub files: Vec<FileReport>,
    /// Files of no known kind, left alone.
    pub n_other_files: usize,
    /// Findings, by file and place.
    pub findings: Vec<Finding>,
    /// What is wrong with the files and with exceptions in them.
    pub problems: Vec<Diagnostic>,
    /// What could not be examined.
    pub gaps: Vec<Gap>,
    /// Findings that comments, the policy or the ignore file excuse.
    pub n_excused: u64,
    /// Exceptions of the policy and the ignore file that have expired and hid nothing.
    pub n_expired: u64,
    /// Findings beyond the bound.
    pub n_dropped: u64,
}

impl CheckReport {
    /// The worst finding.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(Finding::severity).max()
    }
}

/// What is wrong with an image's configuration.
#[derive(Debug, Clone, Default)]
pub struct ImageReport {
    /// Violations, at most one of each check.
    pub found: Vec<Misconfiguration>,
    /// Violations that the policy excuses, at most one of each check.
    pub excused: Vec<Suppressed>,
}

/// A file that was read.
struct Read<'a> {
    source: &'a Source,
    kind: Kind,
    documents: Vec<Node>,
    containers: Vec<Container>,
    comments: Vec<Comment>,
}

/// A violation and where it is.
struct Violation {
    file: usize,
    hit: Hit,
    resource: String,
    of: Of,
}

/// Which check was violated.
enum Of {
    BuiltIn(&'static Check),
    Custom(usize),
}

/// Examines `sources` together: what one file says of another's objects counts.
pub fn examine(sources: &[Source], options: &Options<'_>) -> CheckReport {
    let mut report = CheckReport::default();
    let mut files = Vec::new();
    for source in sources.iter().take(FILES_MAX) {
        if let Some(file) = read(source, sources, options, &mut report) {
            files.push(file);
        }
    }
    if sources.len() > FILES_MAX {
        let reason = format!("{} files more than {FILES_MAX}", sources.len() - FILES_MAX);
        report.gaps.push(Gap { path: "/".into(), reason });
    }
    let objects = objects_of(&files, &mut report);
    let mut n_objects = vec![0; files.len()];
    let mut containers: Vec<(usize, Container)> = Vec::new();
    for object in &objects {
        n_objects[object.file] += 1;
        let own = kubernetes::containers(object);
        containers.extend(own.into_iter().map(|container| (object.file, container)));
        if scc::is_constraint(object) {
            containers.push((object.file, scc::container(object)));
        }
    }
    for (index, file) in files.iter().enumerate() {
        containers.extend(file.containers.iter().map(|container| (index, container.clone())));
    }
    let cluster = Cluster::of(&objects);
    let facts = Facts {
        searcher: options.searcher,
        registries: &options.policy.registries,
        cluster: &cluster,
        image: None,
    };
    let mut violations = Vec::new();
    for (file, container) in &containers {
        judge_container(*file, container, &facts, options, &mut violations, &mut report);
    }
    for object in &objects {
        judge_object(object, &facts, options, &mut violations, &mut report);
    }
    excuse(&files, violations, options, &mut report);
    let mut n_containers = vec![0; files.len()];
    for (owner, _) in &containers {
        n_containers[*owner] += 1;
    }
    for (index, file) in files.iter().enumerate() {
        report.files.push(FileReport {
            name: file.source.name.clone(),
            kind: file.kind,
            n_containers: n_containers[index],
            n_objects: n_objects[index],
        });
    }
    report
}

/// The violations of an image's configuration and history.
pub fn examine_image(
    config: &ImageConfig,
    name: Option<&str>,
    image_facts: &ImageFacts<'_>,
    searcher: &Searcher,
    policy: &Checks,
) -> ImageReport {
    let container = image::from_config(config, name);
    let cluster = Cluster::default();
    let facts = Facts {
        searcher,
        registries: &policy.registries,
        cluster: &cluster,
        image: Some(image_facts),
    };
    let mut report = ImageReport::default();
    for check in checks::all().filter(|check| !is_off(check, policy)) {
        let Judge::Container(judge) = check.judge else { continue };
        let mut sink = Sink::default();
        judge(&container, &facts, &mut sink);
        // One step that is wrong in many ways, or many in one, is one thing to mend.
        let Some(hit) = sink.hits.into_iter().next() else { continue };
        let message = match hit.place.line {
            0 => hit.message.clone(),
            step => format!("build step {step} {}", hit.message),
        };
        let hit = Hit { message, ..hit };
        let found = finding(check, &hit, None, None, policy);
        // An exception for some files or resources is about those.
        let exception = policy.except.iter().find(|exception| {
            check.is_called(&exception.check)
                && exception.path.is_empty()
                && exception.resource.is_empty()
                && exception.expires > image_facts.now
        });
        match exception {
            Some(exception) => report.excused.push(Suppressed {
                finding: Finding::Configuration(found),
                by: SuppressedBy::Policy,
                reason: exception.reason.clone(),
                expires: Some(exception.expires),
            }),
            None => report.found.push(found),
        }
    }
    report
}

fn read<'a>(
    source: &'a Source,
    sources: &[Source],
    options: &Options<'_>,
    report: &mut CheckReport,
) -> Option<Read<'a>> {
    let is_forced_dockerfile = source.kind == Some(Kind::Dockerfile);
    let as_dockerfile = is_forced_dockerfile
        || (source.kind.is_none()
            && super::detect::detect(&source.name, &source.text, &[]) == Some(Kind::Dockerfile));
    let (documents, problems) =
        if as_dockerfile { (Vec::new(), Vec::new()) } else { tree::parse(&source.text) };
    let kind = source.kind.or_else(|| {
        if as_dockerfile {
            Some(Kind::Dockerfile)
        } else {
            super::detect::detect(&source.name, &source.text, &documents)
        }
    });
    let Some(kind) = kind else {
        not_ours(source, &problems, report);
        return None;
    };
    let is_own = |word: &str| options.custom.iter().any(|c| c.id.eq_ignore_ascii_case(word));
    let is_dockerfile = kind == Kind::Dockerfile;
    let (comments, excuses) = comments::read(&source.text, &source.name, is_dockerfile, &is_own);
    report.problems.extend(excuses);
    let mut file = Read { source, kind, documents, containers: Vec::new(), comments };
    let mut found = problems;
    match kind {
        Kind::Dockerfile => {
            let (build, problems) = dockerfile::parse(&source.text);
            found.extend(problems);
            if !build.stages.is_empty() {
                file.containers.push(image::from_build(build));
            }
        }
        Kind::Compose => {
            let variables = environment(source, sources, options);
            for document in &file.documents {
                let load = |path: &str| (options.load)(&source.name, path);
                let read = compose::read(document, &variables, &load);
                found.extend(read.problems);
                file.containers.extend(read.containers);
            }
        }
        Kind::Ecs => file.containers = file.documents.iter().flat_map(ecs::containers).collect(),
        Kind::OciSpec => file.containers = file.documents.iter().map(oci::from_spec).collect(),
        Kind::Engine => {
            file.containers = file.documents.iter().flat_map(oci::from_engine).collect();
        }
        Kind::Kubernetes => {}
    }
    note_problems(source, found, report);
    Some(file)
}

/// The variables of the file `.env` beside a Compose file.
fn environment(source: &Source, sources: &[Source], options: &Options<'_>) -> Variables {
    let folder = source.name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let beside = if folder.is_empty() { ".env".to_string() } else { format!("{folder}/.env") };
    let known = sources.iter().find(|other| other.name == beside).map(|other| other.text.clone());
    let text = known.or_else(|| (options.load)(&source.name, ".env").ok());
    text.map(|text| parse_variables(&text)).unwrap_or_default()
}

/// A file of no kind that is known: an error where the user named it, and a gap where it
/// might have been one of ours.
fn not_ours(source: &Source, problems: &[Problem], report: &mut CheckReport) {
    let is_template = source.text.contains("{{") && source.text.contains("}}");
    let looks_ours = source.text.contains("apiVersion:") && source.text.contains("kind:");
    if is_template && looks_ours {
        let reason = "a template; render it first: helm template CHART | palisade check -";
        report.gaps.push(Gap { path: source.name.clone(), reason: reason.into() });
    } else if source.is_named || (looks_ours && !problems.is_empty()) {
        let reason = match problems.first() {
            Some(problem) => {
                format!("line {}: {}", problem.place.line, problem.message)
            }
            None => "not a Dockerfile, Compose file, Kubernetes manifest, ECS task definition, \
                     OCI runtime spec or engine's answer; --kind says what it is"
                .to_string(),
        };
        report.gaps.push(Gap { path: source.name.clone(), reason });
    } else {
        report.n_other_files += 1;
    }
}

/// Problems as diagnostics; what ended the reading of a file is a gap besides.
fn note_problems(source: &Source, problems: Vec<Problem>, report: &mut CheckReport) {
    for problem in problems {
        let ends = matches!(problem.kind, ProblemKind::Syntax | ProblemKind::TooLarge)
            || problem.message.contains("was not read");
        if ends {
            let reason = format!("line {}: {}", problem.place.line, problem.message);
            report.gaps.push(Gap { path: source.name.clone(), reason });
        }
        let mut diagnostic = problem.diagnostic(&source.name);
        if !ends {
            diagnostic.severity = Level::Warning;
        }
        report.problems.push(diagnostic);
    }
}

fn objects_of<'f>(files: &'f [Read<'_>], report: &mut CheckReport) -> Vec<Object<'f>> {
    let mut objects = Vec::new();
    for (index, file) in files.iter().enumerate().filter(|(_, f)| f.kind == Kind::Kubernetes) {
        for document in &file.documents {
            if !kubernetes::objects(document, index, &mut objects) {
                let reason = format!("more than {} objects", kubernetes::OBJECTS_MAX);
                report.gaps.push(Gap { path: file.source.name.clone(), reason });
                break;
            }
        }
    }
    objects
}

fn is_off(check: &Check, policy: &Checks) -> bool {
    policy.off.iter().any(|word| check.is_called(word))
}

fn judge_container(
    file: usize,
    container: &Container,
    facts: &Facts<'_>,
    options: &Options<'_>,
    out: &mut Vec<Violation>,
    report: &mut CheckReport,
) {
    let mut add = |hit: Hit, of: Of| {
        if out.len() >= FINDINGS_MAX {
            report.n_dropped += 1;
            return;
        }
        // What containers share is said once, of the whole.
        let is_shared = hit.place != container.place && container.name.is_some();
        let resource = if is_shared && hit.place <= container.place {
            container.resource.clone()
        } else {
            container.shown()
        };
        out.push(Violation { file, hit, resource, of });
    };
    for check in checks::all().filter(|check| !is_off(check, options.policy)) {
        let Judge::Container(judge) = check.judge else { continue };
        let mut sink = Sink::default();
        judge(container, facts, &mut sink);
        sink.hits.into_iter().for_each(|hit| add(hit, Of::BuiltIn(check)));
    }
    for (index, check) in options.custom.iter().enumerate() {
        if let Some(hit) = check.judge(container) {
            add(hit, Of::Custom(index));
        }
    }
}

fn judge_object(
    object: &Object<'_>,
    facts: &Facts<'_>,
    options: &Options<'_>,
    out: &mut Vec<Violation>,
    report: &mut CheckReport,
) {
    for check in checks::all().filter(|check| !is_off(check, options.policy)) {
        let Judge::Object(judge) = check.judge else { continue };
        let mut sink = Sink::default();
        judge(object, facts, &mut sink);
        for hit in sink.hits {
            if out.len() >= FINDINGS_MAX {
                report.n_dropped += 1;
                continue;
            }
            let resource = object.shown();
            out.push(Violation { file: object.file, hit, resource, of: Of::BuiltIn(check) });
        }
    }
}

/// Violations → findings, without those that somebody excuses.
fn excuse(
    files: &[Read<'_>],
    mut violations: Vec<Violation>,
    options: &Options<'_>,
    report: &mut CheckReport,
) {
    violations.sort_by(|a, b| {
        let key = |v: &Violation| (v.file, v.hit.place);
        key(a).cmp(&key(b))
    });
    let mut used: HashSet<(usize, usize)> = HashSet::new();
    let mut expired: HashSet<usize> = HashSet::new();
    let mut seen: HashSet<(usize, Place, String, String)> = HashSet::new();
    for violation in violations {
        let Violation { file, hit, resource, of } = violation;
        let name = match of {
            Of::BuiltIn(check) => check.name.to_string(),
            Of::Custom(index) => options.custom[index].id.clone(),
        };
        // Containers that share a setting share the finding.
        if !seen.insert((file, hit.place, name.clone(), hit.message.clone())) {
            continue;
        }
        let is_called = |word: &str| match of {
            Of::BuiltIn(check) => check.is_called(word),
            Of::Custom(_) => name.eq_ignore_ascii_case(word),
        };
        let source = files[file].source;
        let comments = files[file].comments.iter().enumerate();
        let mut excused = false;
        for (index, _) in comments.filter(|(_, c)| c.covers(hit.place.line) && is_called(&c.check))
        {
            used.insert((file, index));
            excused = true;
        }
        for (index, exception) in options.policy.except.iter().enumerate() {
            let matches = is_called(&exception.check)
                && (exception.path.is_empty() || custom::is_like(&source.name, &exception.path))
                && (exception.resource.is_empty()
                    || custom::is_like(&resource, &exception.resource));
            if matches && exception.expires > options.now {
                excused = true;
            } else if matches {
                expired.insert(index);
            }
        }
        if excused {
            report.n_excused += 1;
            continue;
        }
        let location = SourceLocation {
            file: source.name.clone(),
            line: hit.place.line as u64,
            column: hit.place.column as u64,
        };
        let finding = match of {
            Of::BuiltIn(check) => {
                finding(check, &hit, Some(location), Some(resource), options.policy)
            }
            Of::Custom(index) => options.custom[index].finding(&hit, location, resource),
        };
        report.findings.push(Finding::Configuration(finding));
    }
    let applied = ignore::apply(&mut report.findings, options.ignores, options.now, None);
    report.n_excused += applied.n_ignored;
    report.n_expired += applied.n_expired + expired.len() as u64;
    for (file, read) in files.iter().enumerate() {
        for (index, comment) in read.comments.iter().enumerate() {
            if !used.contains(&(file, index)) {
                report.problems.push(unused(&read.source.name, comment));
            }
        }
    }
}

fn unused(file: &str, comment: &Comment) -> Diagnostic {
    Diagnostic {
        code: "unused-exception",
        severity: Level::Warning,
        location: palisade_base::Location { file: file.to_string(), line: comment.line, column: 1 },
        message: format!("nothing here violates `{}`", cut(&comment.check)),
        help: Some("remove the comment".to_string()),
    }
}

fn finding(
    check: &Check,
    hit: &Hit,
    location: Option<SourceLocation>,
    resource: Option<String>,
    policy: &Checks,
) -> Misconfiguration {
    let row = check.row();
    let changed = policy.severity.iter().find(|change| check.is_called(&change.check));
    Misconfiguration {
        check: check.name.to_string(),
        id: Some(check.id.to_string()),
        title: hit.message.clone(),
        fix: check.fix.to_string(),
        why: check.why.to_string(),
        severity: match changed {
            Some(change) => change.severity,
            None => hit.severity.unwrap_or(row.severity),
        },
        resource,
        location,
        references: check.references.iter().map(ToString::to_string).collect(),
        controls: row.controls(),
    }
}
