//! What the template shows, computed from the input.

use std::collections::BTreeMap;

use askama::Template;
use palisade_base::Timestamp;
use palisade_model::finding::Finding;
use palisade_model::incident::{ActionResult, TimelineEntry, TimelineEvent};
use palisade_model::{Incident, IncidentState, Priority, Process, Severity, Verdict};
use palisade_respond::bundle::{Gap, Item, Seal};

use super::attack::{self, TACTICS};
use super::{FINDINGS_MAX, HardeningFact, ITEMS_MAX, PROCESSES_MAX, ROWS_MAX, ReportInput};

/// Deepest level of the process tree that is indented.
const TREE_DEPTH_MAX: usize = 24;
/// Width of the timeline's drawing, in its own units.
const STRIP_WIDTH: f64 = 1000.0;
/// Where its time begins; the lanes' names stand left of it.
const STRIP_LEFT: f64 = 90.0;

#[derive(Template)]
#[template(path = "incident.html")]
pub(super) struct Page {
    id: String,
    tool: String,
    hostname: String,
    generated: String,
    verdict: VerdictView,
    figures: Vec<Figure>,
    facts: Vec<(&'static str, String)>,
    strip: Strip,
    rows: Vec<Row>,
    n_rows_hidden: usize,
    n_dropped: u64,
    tree: Vec<TreeRow>,
    n_processes_hidden: usize,
    tactics: Vec<Tactic>,
    score: Vec<(String, String)>,
    reach: Vec<super::reach::ReachView>,
    scan: Option<ScanView>,
    hardening: Vec<HardeningFact>,
    evidence: Option<EvidenceView>,
}

struct VerdictView {
    class: &'static str,
    word: &'static str,
    sentence: String,
}

struct Figure {
    value: String,
    unit: &'static str,
    label: &'static str,
}

struct Row {
    offset: String,
    clock: String,
    class: &'static str,
    badge: &'static str,
    title: String,
    detail: String,
    meta: String,
}

#[derive(Default)]
struct Strip {
    marks: Vec<Mark>,
    ticks: Vec<Tick>,
}

struct Mark {
    x: String,
    y: u32,
    class: &'static str,
    title: String,
}

struct Tick {
    x: String,
    label: &'static str,
}

struct TreeRow {
    depth: usize,
    name: String,
    pid: u32,
    command: String,
    exe: String,
    uid: u32,
    n_blocked: usize,
    n_detected: usize,
}

struct Tactic {
    name: &'static str,
    techniques: Vec<Technique>,
}

struct Technique {
    id: String,
    link: String,
    name: &'static str,
}

struct ScanView {
    subject: String,
    digest: String,
    n_packages: usize,
    counts: Vec<(Severity, usize, usize)>,
    findings: Vec<FindingRow>,
    n_hidden: usize,
    n_gaps: usize,
    vulnerabilities_checked: bool,
}

struct FindingRow {
    severity: Severity,
    what: String,
    detail: String,
    remedy: String,
}

struct EvidenceView {
    file: String,
    seal_class: &'static str,
    seal: &'static str,
    frozen: bool,
    merkle_root: String,
    chain: String,
    duration: String,
    n_items: usize,
    n_bytes: String,
    groups: Vec<ItemGroup>,
    n_items_hidden: usize,
    gaps: Vec<Gap>,
    n_gaps: u64,
}

struct ItemGroup {
    name: String,
    n_bytes: String,
    items: Vec<ItemRow>,
}

struct ItemRow {
    path: String,
    size: String,
    sha256: String,
    source: String,
    note: String,
}

impl Page {
    pub(super) fn new(input: &ReportInput<'_>) -> Self {
        let incident = input.incident;
        let rows: Vec<Row> =
            incident.timeline.iter().take(ROWS_MAX).map(|entry| row(incident, entry)).collect();
        let (tree, n_processes_hidden) = tree(incident);
        Self {
            id: incident.id.clone(),
            tool: input.tool.to_string(),
            hostname: clean(input.hostname),
            generated: input.time.rfc3339(),
            verdict: verdict(incident),
            figures: figures(input),
            facts: facts(incident),
            strip: strip(incident),
            n_rows_hidden: incident.timeline.len() - rows.len(),
            rows,
            n_dropped: incident.n_dropped,
            tree,
            n_processes_hidden,
            tactics: tactics(&incident.techniques),
            score: super::reach::score(incident),
            reach: super::reach::views(incident),
            scan: input.scan.map(scan),
            hardening: input.hardening.to_vec(),
            evidence: input.evidence.as_ref().map(evidence),
        }
    }
}

/// `text` with characters that steer or reorder made visible.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let steers = c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if steers { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// Milliseconds with as many digits as matter.
fn millis(nanos: u64) -> String {
    let ms = nanos as f64 / 1e6;
    if ms < 10.0 {
        format!("{ms:.2}")
    } else if ms < 1000.0 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.0}")
    }
}

fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn nanos_since(time: Timestamp, start: Timestamp) -> u64 {
    time.as_nanos().saturating_sub(start.as_nanos())
}

/// The end of the first successful `action`.
fn action_time(incident: &Incident, name: &str) -> Option<Timestamp> {
    incident.timeline.iter().find_map(|entry| match &entry.what {
        TimelineEvent::Action { action, result: ActionResult::Done, .. } if action == name => {
            Some(entry.time)
        }
        _ => None,
    })
}

/// From the last critical event before the container was frozen to the freeze.
fn reaction(incident: &Incident) -> Option<u64> {
    let end = action_time(incident, "freeze").or_else(|| action_time(incident, "kill"))?;
    let trigger = incident.timeline.iter().rev().find_map(|entry| match &entry.what {
        TimelineEvent::Alert { priority, .. }
            if *priority >= Priority::Critical && entry.time <= end =>
        {
            Some(entry.time)
        }
        _ => None,
    })?;
    Some(nanos_since(end, trigger))
}

fn count_alerts(incident: &Incident, wanted: Verdict) -> usize {
    let is = |entry: &&TimelineEntry| matches!(&entry.what, TimelineEvent::Alert { verdict, .. } if *verdict == wanted);
    incident.timeline.iter().filter(is).count()
}

fn verdict(incident: &Incident) -> VerdictView {
    let (blocked, detected) =
        (count_alerts(incident, Verdict::Blocked), count_alerts(incident, Verdict::Detected));
    let attempts = format!(
        "{blocked} {} refused, {detected} seen as {} happened",
        if blocked == 1 { "attempt was" } else { "attempts were" },
        if detected == 1 { "it" } else { "they" },
    );
    match incident.state {
        IncidentState::Contained | IncidentState::Closed
            if action_time(incident, "freeze").is_some()
                || action_time(incident, "kill").is_some() =>
        {
            let how = match reaction(incident) {
                Some(nanos) => format!(
                    "The container stood still {} ms after the critical event. {attempts}.",
                    millis(nanos)
                ),
                None => format!("The response has ended. {attempts}."),
            };
            VerdictView { class: "good", word: "Contained", sentence: how }
        }
        IncidentState::Closed => VerdictView {
            class: "good",
            word: "Closed",
            sentence: format!("A person closed this incident. {attempts}."),
        },
        IncidentState::Contained => {
            VerdictView { class: "good", word: "Contained", sentence: format!("{attempts}.") }
        }
        IncidentState::Responding => VerdictView {
            class: "warn",
            word: "Responding",
            sentence: format!("The response is not finished. {attempts}."),
        },
        IncidentState::Open if detected == 0 && blocked > 0 => VerdictView {
            class: "good",
            word: "Blocked",
            sentence: format!("Hardening refused everything that was tried. {attempts}."),
        },
        IncidentState::Open => VerdictView {
            class: "bad",
            word: "Open",
            sentence: format!("Nothing was done about it yet. {attempts}."),
        },
    }
}

fn figures(input: &ReportInput<'_>) -> Vec<Figure> {
    let incident = input.incident;
    let mut figures = Vec::new();
    let mut add = |value: String, unit: &'static str, label: &'static str| {
        figures.push(Figure { value, unit, label });
    };
    let mut latencies: Vec<u64> = incident
        .timeline
        .iter()
        .filter_map(|entry| match &entry.what {
            TimelineEvent::Alert { latency_ns, .. } => Some(*latency_ns),
            _ => None,
        })
        .collect();
    latencies.sort_unstable();
    add(latencies.len().to_string(), "", "alerts");
    add(count_alerts(incident, Verdict::Blocked).to_string(), "", "blocked");
    add(count_alerts(incident, Verdict::Detected).to_string(), "", "detected");
    if let Some(median) = latencies.get(latencies.len() / 2) {
        add(millis(*median), "ms", "from event to alert (median)");
    }
    if let Some(nanos) = reaction(incident) {
        add(millis(nanos), "ms", "from event to standstill");
    }
    if let Some(evidence) = &input.evidence {
        add(evidence.manifest.items.len().to_string(), "", "pieces of evidence");
    }
    figures
}

fn facts(incident: &Incident) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(container) = &incident.container {
        facts.push(("Container", format!("{} ({})", clean(&container.name), container.short_id())));
        facts.push(("Engine", container.engine.to_string()));
        if let Some(image) = &container.image {
            facts.push(("Image", clean(&image.reference)));
            if let Some(digest) = image.digest {
                facts.push(("Digest", digest.to_string()));
            }
        }
        if let Some(policy) = &container.policy {
            facts.push(("Policy", clean(policy)));
        }
        if let Some(pod) = &container.pod {
            facts.push(("Pod", clean(&format!("{}/{}", pod.namespace, pod.name))));
        }
    }
    for link in &incident.links {
        let name = incident.containers().find(|c| c.id == link.to).map_or(&link.to, |c| &c.name);
        let text = format!("{name}, by {}: {}", link.kind.as_str(), link.detail);
        facts.push(("Reached", clean(&text)));
    }
    if let Some(root) = &incident.root {
        facts.push(("Began in", clean(&format!("{} [{}]", root.cmdline, root.pid))));
    }
    facts.push(("First event", incident.opened.rfc3339()));
    facts.push(("Last change", incident.updated.rfc3339()));
    facts.push(("Highest priority", incident.priority.to_string()));
    facts
}

fn row(incident: &Incident, entry: &TimelineEntry) -> Row {
    let offset = format!("+{}", millis(nanos_since(entry.time, incident.opened)));
    let clock = entry.time.rfc3339();
    let clock = clock.get(11..23).unwrap_or("").to_string();
    let (class, badge, title, detail, meta) = match &entry.what {
        TimelineEvent::Alert { rule, priority, verdict, output, pid, latency_ns, .. } => {
            let (class, badge) = match verdict {
                Verdict::Blocked => ("blocked", "blocked"),
                Verdict::Detected if *priority >= Priority::Critical => ("critical", "detected"),
                Verdict::Detected => ("detected", "detected"),
            };
            let pid = pid.map_or_else(String::new, |pid| format!(" · pid {pid}"));
            let meta = format!("{priority}{pid} · seen after {} ms", millis(*latency_ns));
            (class, badge, clean(rule), clean(output), meta)
        }
        TimelineEvent::Action { action, result, detail, duration_ns } => {
            let class = match result {
                ActionResult::Done | ActionResult::Unchanged => "action",
                ActionResult::Planned => "note",
                ActionResult::Partial | ActionResult::Failed => "failed",
            };
            let result = match result {
                ActionResult::Done => "done",
                ActionResult::Unchanged => "was so already",
                ActionResult::Partial => "in part",
                ActionResult::Failed => "failed",
                ActionResult::Planned => "planned",
            };
            let meta = format!("{result} · took {} ms", millis(*duration_ns));
            (class, "action", clean(action), clean(detail), meta)
        }
        TimelineEvent::Note { text } => {
            ("note", "state", clean(text), String::new(), String::new())
        }
    };
    Row { offset, clock, class, badge, title, detail, meta }
}

/// The drawing above the timeline: time to the right on a logarithmic scale, because an
/// attack is over in milliseconds and its evidence takes seconds.
fn strip(incident: &Incident) -> Strip {
    const TICKS: [(f64, &str); 7] = [
        (0.0, "0"),
        (10.0, "10 ms"),
        (100.0, "100 ms"),
        (1e3, "1 s"),
        (1e4, "10 s"),
        (6e4, "1 min"),
        (6e5, "10 min"),
    ];
    let ms = |entry: &TimelineEntry| nanos_since(entry.time, incident.opened) as f64 / 1e6;
    let Some(last) = incident.timeline.last() else {
        return Strip::default();
    };
    // Linear at first, logarithmic from about 10 ms on.
    let scale = |ms: f64| (1.0 + ms / 10.0).ln();
    let full = scale(ms(last).max(1.0) * 1.15);
    let x = |ms: f64| {
        let share = scale(ms) / full;
        format!("{:.1}", STRIP_LEFT + (STRIP_WIDTH - STRIP_LEFT - 20.0) * share)
    };
    let mark = |entry: &TimelineEntry| {
        let (y, class, title) = match &entry.what {
            TimelineEvent::Alert { verdict: Verdict::Blocked, rule, .. } => (28, "blocked", rule),
            TimelineEvent::Alert { priority, rule, .. } if *priority >= Priority::Critical => {
                (60, "critical", rule)
            }
            TimelineEvent::Alert { rule, .. } => (60, "detected", rule),
            TimelineEvent::Action { action, .. } => (92, "action", action),
            TimelineEvent::Note { .. } => return None,
        };
        Some(Mark { x: x(ms(entry)), y, class, title: clean(title) })
    };
    let shown = |(at, _): &&(f64, &str)| scale(*at) <= full;
    Strip {
        marks: incident.timeline.iter().take(ROWS_MAX).filter_map(mark).collect(),
        ticks: TICKS.iter().filter(shown).map(|(at, label)| Tick { x: x(*at), label }).collect(),
    }
}

/// Processes as indented rows, children below their parents.
fn tree(incident: &Incident) -> (Vec<TreeRow>, usize) {
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    let known = |pid: u32| incident.processes.iter().any(|process| process.pid == pid);
    let mut roots = Vec::new();
    for process in &incident.processes {
        if process.ppid != process.pid && known(process.ppid) {
            children.entry(process.ppid).or_default().push(process);
        } else {
            roots.push(process);
        }
    }
    roots.sort_by_key(|process| std::cmp::Reverse((process.start, process.pid)));
    let mut stack: Vec<(usize, &Process)> = roots.into_iter().map(|process| (0, process)).collect();
    let mut rows = Vec::new();
    while let Some((depth, process)) = stack.pop() {
        if rows.len() >= PROCESSES_MAX {
            break;
        }
        rows.push(tree_row(incident, process, depth));
        // Taken out, so that two processes that name each other as parent end the walk.
        let mut below = children.remove(&process.pid).unwrap_or_default();
        below.sort_by_key(|process| std::cmp::Reverse((process.start, process.pid)));
        stack.extend(below.into_iter().map(|child| ((depth + 1).min(TREE_DEPTH_MAX), child)));
    }
    let n_hidden = incident.processes.len() - rows.len();
    (rows, n_hidden)
}

fn tree_row(incident: &Incident, process: &Process, depth: usize) -> TreeRow {
    let count = |wanted: Verdict| {
        let is = |entry: &&TimelineEntry| {
            matches!(&entry.what, TimelineEvent::Alert { pid: Some(pid), verdict, .. }
                if *pid == process.pid && *verdict == wanted)
        };
        incident.timeline.iter().filter(is).count()
    };
    TreeRow {
        depth,
        name: clean(&process.name),
        pid: process.pid,
        command: clean(&process.cmdline),
        exe: clean(&process.exe),
        uid: process.uid,
        n_blocked: count(Verdict::Blocked),
        n_detected: count(Verdict::Detected),
    }
}

fn tactics(techniques: &[String]) -> Vec<Tactic> {
    let mut by_tactic: BTreeMap<usize, Vec<Technique>> = BTreeMap::new();
    for id in techniques {
        let (name, tactic) = attack::technique(id).unwrap_or(("", "Other"));
        let at = TACTICS.iter().position(|known| *known == tactic).unwrap_or(TACTICS.len());
        let link = format!("https://attack.mitre.org/techniques/{}/", id.replace('.', "/"));
        by_tactic.entry(at).or_default().push(Technique { id: id.clone(), link, name });
    }
    by_tactic
        .into_iter()
        .map(|(at, techniques)| Tactic { name: TACTICS.get(at).unwrap_or(&"Other"), techniques })
        .collect()
}

fn scan(report: &palisade_model::finding::ScanReport) -> ScanView {
    let subject = &report.inventory.subject;
    let most = Severity::ALL
        .iter()
        .map(|severity| report.findings.iter().filter(|f| f.severity() == *severity).count())
        .max()
        .unwrap_or(0)
        .max(1);
    let counts = Severity::ALL
        .iter()
        .map(|severity| {
            let n = report.findings.iter().filter(|f| f.severity() == *severity).count();
            (*severity, n, n * 100 / most)
        })
        .filter(|(_, n, _)| *n > 0)
        .collect();
    let mut worst: Vec<&Finding> = report.findings.iter().collect();
    worst.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
    let findings: Vec<FindingRow> = worst.into_iter().take(FINDINGS_MAX).map(finding_row).collect();
    ScanView {
        subject: clean(&subject.name),
        digest: subject.digest.map_or_else(String::new, |digest| digest.to_string()),
        n_packages: report.inventory.packages.len(),
        counts,
        n_hidden: report.findings.len() - findings.len(),
        findings,
        n_gaps: report.gaps().len(),
        vulnerabilities_checked: report.database.is_some(),
    }
}

fn finding_row(finding: &Finding) -> FindingRow {
    let (what, detail, remedy) = match finding {
        Finding::Vulnerability(v) => {
            let exploited = if v.known_exploited { " · exploited in the wild" } else { "" };
            (
                v.id.clone(),
                format!("{} {}{exploited}", v.package, v.installed),
                v.fixed.as_ref().map_or("no fix yet".into(), |fixed| format!("update to {fixed}")),
            )
        }
        Finding::Secret(s) => {
            (s.title.clone(), format!("{}:{} {}", s.path, s.line, s.redacted), "revoke it".into())
        }
        Finding::File(f) => (f.path.clone(), f.detail.clone(), String::new()),
        Finding::Configuration(c) => (c.check.clone(), c.title.clone(), c.fix.clone()),
        Finding::Malware(m) => {
            (m.title.clone(), format!("{} {}", m.path, m.rule), "build anew without it".into())
        }
        Finding::Licence(l) => (
            format!("licence of {}", l.package),
            format!("{} {}", l.licence, l.reason),
            String::new(),
        ),
        _ => ("finding".into(), String::new(), String::new()),
    };
    FindingRow {
        severity: finding.severity(),
        what: clean(&what),
        detail: clean(&detail),
        remedy: clean(&remedy),
    }
}

fn evidence(info: &super::EvidenceInfo<'_>) -> EvidenceView {
    let manifest = info.manifest;
    let (seal_class, seal) = match info.seal {
        Seal::Signed => ("good", "signature valid, every bit checked"),
        Seal::SignatureUnchecked => ("warn", "signed; checked without the key"),
        Seal::Unsigned => ("warn", "not signed; integrity checked"),
    };
    let mut groups: Vec<ItemGroup> = Vec::new();
    let mut sizes: Vec<u64> = Vec::new();
    for item in manifest.items.iter().take(ITEMS_MAX) {
        let group = item.path.split('/').next().unwrap_or("");
        let at = groups.iter().position(|known| known.name == group).unwrap_or_else(|| {
            let name = group.to_string();
            groups.push(ItemGroup { name, n_bytes: String::new(), items: Vec::new() });
            sizes.push(0);
            groups.len() - 1
        });
        groups[at].items.push(item_row(item));
        sizes[at] += item.size;
    }
    for (group, size) in groups.iter_mut().zip(sizes) {
        group.n_bytes = bytes(size);
    }
    EvidenceView {
        file: clean(info.file),
        seal_class,
        seal,
        frozen: manifest.case.frozen,
        merkle_root: manifest.merkle_root.to_string(),
        chain: manifest.chain.to_string(),
        duration: millis(nanos_since(manifest.ended, manifest.case.started)),
        n_items: manifest.items.len(),
        n_bytes: bytes(manifest.items.iter().map(|item| item.size).sum()),
        groups,
        n_items_hidden: manifest.items.len().saturating_sub(ITEMS_MAX),
        gaps: manifest
            .gaps
            .iter()
            .take(ITEMS_MAX)
            .map(|gap| Gap {
                source: clean(&gap.source),
                reason: clean(&gap.reason),
                errno: gap.errno,
            })
            .collect(),
        n_gaps: manifest.gaps.len() as u64 + manifest.n_gaps_unlisted,
    }
}

fn item_row(item: &Item) -> ItemRow {
    ItemRow {
        path: item.path.clone(),
        size: bytes(item.size),
        sha256: item.sha256.hex(),
        source: clean(&item.source),
        note: item.note.as_deref().map(clean).unwrap_or_default(),
    }
}
