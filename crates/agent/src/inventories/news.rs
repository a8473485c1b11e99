//! What a look found, within bounds, and the alerts about it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use palisade_base::{Digest, Timestamp};
use palisade_model::finding::Vulnerability;
use palisade_model::package::Subject;
use palisade_model::{Container, Priority, Severity};
use serde_json::{Value, json};

use super::{MANY_VULNERABLE_RULE, VULNERABLE_RULE};

/// Images that are told one by one; of more, one alert tells the sum.
pub const IMAGES_MAX: usize = 50;
/// Images that the sum names.
pub const IMAGES_NAMED_MAX: usize = 100;
/// Vulnerabilities that an alert names, the worst first.
pub const NAMED_MAX: usize = 20;
/// Vulnerabilities that are told apart while the sum is made, the worst.
const IDS_MAX: usize = 4096;
/// Those beyond them that are counted, each once.
const OTHERS_MAX: usize = 1 << 16;
/// Those on the alert's line.
const SHOWN_MAX: usize = 4;
/// Containers that an alert names.
const CONTAINERS_MAX: usize = 50;
/// Characters of a name, a version, an address.
const TEXT_CHARS_MAX: usize = 256;

/// An image of which something became known.
#[derive(Debug)]
struct ImageNews {
    name: String,
    digest: Option<Digest>,
    n_new: u64,
    worst: Severity,
    n_exploited: u64,
    /// The worst, while images are told one by one.
    named: Vec<Named>,
}

/// A vulnerability as an alert names it.
#[derive(Debug)]
struct Named {
    short: String,
    whole: Value,
}

/// A vulnerability over all images.
#[derive(Debug, Default)]
struct IdNews {
    n_images: u64,
    severity: Severity,
    known_exploited: bool,
}

/// How much it matters that one is named.
type Rank = (bool, Severity);

/// Vulnerabilities over all images: the worst are kept, the others counted.
#[derive(Debug, Default)]
struct Ids {
    kept: BTreeMap<String, IdNews>,
    /// The same, the least first.
    ranked: BTreeSet<(Rank, Reverse<String>)>,
    /// Hashes of those for which there is no room.
    others: HashSet<u64>,
}

impl Ids {
    /// Counts an image in which `id` is new, of which the worst is `rank`.
    fn add(&mut self, id: String, rank: Rank) {
        let known = self.kept.get(&id).map(|known| (known.known_exploited, known.severity));
        if known.is_none() && self.kept.len() >= IDS_MAX {
            match self.ranked.first() {
                // It loses what was counted of it, which is less than what comes.
                Some((least, _)) if *least < rank => {
                    if let Some((_, Reverse(least))) = self.ranked.pop_first() {
                        self.kept.remove(&least);
                        self.count(&least);
                    }
                }
                _ => return self.count(&id),
            }
        }
        self.others.remove(&hash(&id));
        let before = known.unwrap_or(rank);
        // The worst of each: what is exploited here may be rated higher there.
        let now = (before.0 | rank.0, before.1.max(rank.1));
        self.ranked.remove(&(before, Reverse(id.clone())));
        self.ranked.insert((now, Reverse(id.clone())));
        let news = self.kept.entry(id).or_default();
        news.n_images += 1;
        (news.known_exploited, news.severity) = now;
    }

    fn count(&mut self, id: &str) {
        if self.others.len() < OTHERS_MAX {
            self.others.insert(hash(id));
        }
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct News {
    images: Vec<ImageNews>,
    pub(super) n_images: u64,
    pub(super) n_new: u64,
    n_exploited: u64,
    worst: Severity,
    ids: Ids,
}

/// An alert about images, before it has an id, a time and the containers that run them.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) rule: &'static str,
    pub(crate) priority: Priority,
    pub(crate) tags: Vec<String>,
    fields: BTreeMap<String, Value>,
    /// The output before and behind the containers.
    output: (String, String),
    images: BTreeSet<Digest>,
}

impl News {
    /// Takes what became known of an image.
    pub(super) fn add(&mut self, subject: &Subject, mut new: Vec<Vulnerability>) {
        if new.is_empty() {
            return;
        }
        let n_exploited = new.iter().filter(|v| v.known_exploited).count() as u64;
        let worst = new.iter().map(severity).max().unwrap_or_default();
        self.n_images += 1;
        self.n_new += new.len() as u64;
        self.n_exploited += n_exploited;
        self.worst = self.worst.max(worst);
        let mut ids: BTreeMap<String, Rank> = BTreeMap::new();
        for one in &new {
            let rank = ids.entry(cut(&one.id)).or_default();
            *rank = (rank.0 | one.known_exploited, rank.1.max(severity(one)));
        }
        for (id, rank) in ids {
            self.ids.add(id, rank);
        }
        let n_new = new.len() as u64;
        let is_one_by_one = self.n_images as usize <= IMAGES_MAX;
        if !is_one_by_one {
            self.images.iter_mut().for_each(|image| image.named = Vec::new());
        }
        if self.images.len() >= IMAGES_NAMED_MAX {
            // The least makes room, unless that is this one.
            let ranks = self.images.iter().map(ImageNews::rank).enumerate();
            let least = ranks.min_by_key(|(_, rank)| *rank);
            if let Some((at, _)) = least.filter(|(_, least)| *least < (n_exploited, worst)) {
                self.images.remove(at);
            }
        }
        if self.images.len() < IMAGES_NAMED_MAX {
            new.sort_by_key(|v| (Reverse(v.known_exploited), Reverse(severity(v)), v.id.clone()));
            let named = new.iter().take(if is_one_by_one { NAMED_MAX } else { 0 });
            self.images.push(ImageNews {
                name: cut(&subject.name),
                digest: subject.digest,
                n_new,
                worst,
                n_exploited,
                named: named.map(Named::new).collect(),
            });
        }
    }

    /// The alerts: one for each image, or the sum.
    pub(super) fn drafts(self, database: Timestamp) -> Vec<Draft> {
        if self.n_images as usize > IMAGES_MAX {
            return vec![self.sum(database)];
        }
        self.images.into_iter().map(|image| image.draft(database)).collect()
    }

    fn sum(self, database: Timestamp) -> Draft {
        let Self { mut images, n_images, n_new, n_exploited, worst, ids } = self;
        images.sort_by_key(|image| Reverse(image.rank()));
        let n_ids = ids.kept.len() + ids.others.len();
        let mut ids: Vec<(String, IdNews)> = ids.kept.into_iter().collect();
        ids.sort_by_key(|(_, id)| {
            (Reverse(id.known_exploited), Reverse(id.severity), Reverse(id.n_images))
        });
        let shown = ids.iter().map(|(id, news)| {
            let of = if news.n_images == 1 { "image" } else { "images" };
            format!(
                "{id} in {} {of} ({})",
                news.n_images,
                rating(news.severity, news.known_exploited)
            )
        });
        let behind = shown_of(shown, n_ids as u64);
        let named: Vec<Value> = ids
            .iter()
            .take(NAMED_MAX)
            .map(|(id, news)| {
                json!({
                    "id": id,
                    "n_images": news.n_images,
                    "severity": news.severity,
                    "known_exploited": news.known_exploited,
                })
            })
            .collect();
        let of_images: Vec<Value> = images
            .iter()
            .map(|image| {
                json!({
                    "name": image.name,
                    "digest": image.digest,
                    "n_new": image.n_new,
                    "worst": image.worst,
                    "n_exploited": image.n_exploited,
                })
            })
            .collect();
        let n_unnamed = n_images - images.len() as u64;
        let fields = [
            ("images.count", n_images.into()),
            ("images.found", of_images.into()),
            ("images.n_unnamed", n_unnamed.into()),
            ("vulnerability.found", named.into()),
        ];
        let what = format!("{n_images} images became vulnerable (");
        let whole = Whole { n_new, n_exploited, worst, database };
        let images = images.iter().filter_map(|image| image.digest).collect();
        whole.draft(MANY_VULNERABLE_RULE, (what, behind), fields.into(), images)
    }
}

impl ImageNews {
    /// How much it matters that it is named.
    fn rank(&self) -> (u64, Severity) {
        (self.n_exploited, self.worst)
    }

    fn draft(self, database: Timestamp) -> Draft {
        let Self { name, digest, n_new, worst, n_exploited, named } = self;
        let behind = shown_of(named.iter().map(|one| one.short.clone()), n_new);
        let n_unnamed = n_new - named.len() as u64;
        let found: Vec<Value> = named.into_iter().map(|one| one.whole).collect();
        let what = format!("Image became vulnerable (image={name} ");
        let fields = [
            ("image.name", Value::from(name)),
            ("image.digest", json!(digest)),
            ("vulnerability.found", found.into()),
            ("vulnerability.n_unnamed", n_unnamed.into()),
        ];
        let whole = Whole { n_new, n_exploited, worst, database };
        whole.draft(VULNERABLE_RULE, (what, behind), fields.into(), digest.into_iter().collect())
    }
}

/// What both kinds of alerts say.
struct Whole {
    n_new: u64,
    n_exploited: u64,
    worst: Severity,
    database: Timestamp,
}

impl Whole {
    fn draft(
        self,
        rule: &'static str,
        (what, behind): (String, String),
        fields: Vec<(&'static str, Value)>,
        images: BTreeSet<Digest>,
    ) -> Draft {
        let Self { n_new, n_exploited, worst, database } = self;
        let own = [
            ("vulnerability.n_new", Value::from(n_new)),
            ("vulnerability.n_exploited", n_exploited.into()),
            ("vulnerability.worst", json!(worst)),
            ("database.built", json!(database)),
        ];
        let mut tags = vec!["vulnerability".to_string()];
        if n_exploited > 0 {
            tags.push("known_exploited".into());
        }
        let before = format!("{what}new={n_new} worst={worst} exploited={n_exploited} containers=");
        Draft {
            rule,
            priority: priority(worst, n_exploited > 0),
            tags,
            fields: own
                .into_iter()
                .chain(fields)
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
            output: (before, behind),
            images,
        }
    }
}

impl Draft {
    /// The output and its fields, given the containers that run.
    pub(crate) fn finish(&self, running: &[Arc<Container>]) -> (String, BTreeMap<String, Value>) {
        let is_of_these = |container: &&Arc<Container>| {
            let image = container.image.as_ref();
            image.and_then(|image| image.digest).is_some_and(|digest| self.images.contains(&digest))
        };
        let all: Vec<&Arc<Container>> = running.iter().filter(is_of_these).collect();
        let mut names: Vec<String> =
            all.iter().take(SHOWN_MAX).map(|container| cut(&container.name)).collect();
        if let Some(n_more @ 1..) = all.len().checked_sub(SHOWN_MAX) {
            names.push(format!("{n_more} more"));
        }
        let named: Vec<Value> = all
            .iter()
            .take(CONTAINERS_MAX)
            .map(|container| {
                let image = container.image.as_ref();
                json!({
                    "id": cut(&container.id),
                    "name": cut(&container.name),
                    "image": image.map(|image| cut(&image.reference)),
                })
            })
            .collect();
        let mut fields = self.fields.clone();
        fields.insert("containers.count".into(), all.len().into());
        fields.insert("containers.found".into(), named.into());
        let names = if names.is_empty() { "none".to_string() } else { names.join(",") };
        (format!("{}{names}): {}", self.output.0, self.output.1), fields)
    }
}

impl Named {
    fn new(v: &Vulnerability) -> Self {
        let fixed =
            v.fixed.as_deref().map_or("no fix".into(), |it| format!("fixed in {}", cut(it)));
        let short = format!(
            "{} in {} {} ({fixed}, {})",
            cut(&v.id),
            cut(&v.package),
            cut(&v.installed),
            rating(v.severity, v.known_exploited)
        );
        let mut whole = json!({
            "id": cut(&v.id),
            "package": cut(&v.package),
            "purl": cut(&v.purl),
            "installed": cut(&v.installed),
            "fixed": v.fixed.as_deref().map(cut),
            "severity": v.severity,
            "known_exploited": v.known_exploited,
            "feed": cut(&v.feed),
        });
        if let (Some(symbols), Value::Object(whole)) = (&v.symbols, &mut whole) {
            whole.insert("code".into(), symbols.answer.as_str().into());
        }
        Self { short, whole }
    }
}

/// How bad it is in this image: what is known not to be in its programs cannot be called.
fn severity(v: &Vulnerability) -> Severity {
    if v.is_absent() { v.severity.min(Severity::Negligible) } else { v.severity }
}

fn rating(severity: Severity, known_exploited: bool) -> String {
    format!("{severity}{}", if known_exploited { ", exploited" } else { "" })
}

/// What is exploited or critical is as urgent as an attack in progress; nothing is more.
fn priority(worst: Severity, is_exploited: bool) -> Priority {
    if is_exploited {
        return Priority::Critical;
    }
    match worst {
        Severity::Critical => Priority::Critical,
        Severity::High => Priority::Error,
        Severity::Medium => Priority::Warning,
        Severity::Low | Severity::Negligible | Severity::Unknown => Priority::Notice,
    }
}

/// The first of `shown`, and how many more of the `n` there are.
fn shown_of(shown: impl Iterator<Item = String>, n: u64) -> String {
    let first: Vec<String> = shown.take(SHOWN_MAX).collect();
    let mut text = first.join("; ");
    let n_more = n - first.len() as u64;
    if n_more > 0 {
        let _ = write!(text, "; and {n_more} more");
    }
    text
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use palisade_model::{Engine, ImageIdentity};

    use super::*;

    fn subject(n: u8) -> Subject {
        let digest = Some(Digest::from_bytes([n; 32]));
        Subject { name: format!("oci:shop-{n}"), digest, platform: None }
    }

    fn vulnerability(id: &str, severity: Severity) -> Vulnerability {
        Vulnerability {
            id: id.into(),
            aliases: Vec::new(),
            package: "openssl".into(),
            purl: "pkg:deb/debian/openssl@3.0.1".into(),
            source: None,
            installed: "3.0.1".into(),
            fixed: Some("3.0.2".into()),
            severity,
            title: String::new(),
            feed: "osv/Debian".into(),
            known_exploited: false,
            epss: None,
            status: palisade_model::finding::VulnerabilityStatus::Affected,
            cvss: None,
            cvss_score: None,
            statements: Vec::new(),
            symbols: None,
        }
    }

    fn running(n: u8) -> Arc<Container> {
        let image = ImageIdentity { reference: "shop:1".into(), digest: subject(n).digest };
        let mut container = crate::testing::container(&format!("{n:064}"));
        (container.image, container.engine) = (Some(image), Engine::Docker);
        Arc::new(container)
    }

    #[test]
    fn an_image_has_an_alert_with_what_is_new_and_who_runs_it() {
        let mut news = News::default();
        news.add(&subject(1), Vec::new());
        let mut exploited = vulnerability("CVE-2026-2", Severity::Low);
        (exploited.known_exploited, exploited.fixed) = (true, None);
        news.add(&subject(2), vec![vulnerability("CVE-2026-1", Severity::High), exploited]);
        let drafts = news.drafts(Timestamp::default());
        assert_eq!(drafts.len(), 1, "nothing new, no alert");
        let draft = &drafts[0];
        assert_eq!((draft.rule, draft.priority), (VULNERABLE_RULE, Priority::Critical));
        assert_eq!(draft.tags, ["vulnerability", "known_exploited"]);
        let (output, fields) = draft.finish(&[running(1), running(2)]);
        assert_eq!(
            output,
            format!(
                "Image became vulnerable (image=oci:shop-2 new=2 worst=high exploited=1 \
                 containers=name-{:064}): CVE-2026-2 in openssl 3.0.1 (no fix, low, exploited); \
                 CVE-2026-1 in openssl 3.0.1 (fixed in 3.0.2, high)",
                2
            )
        );
        assert_eq!(fields["vulnerability.found"][0]["id"], "CVE-2026-2");
        assert_eq!(fields["vulnerability.found"][1]["fixed"], "3.0.2");
        assert_eq!(fields["image.digest"], json!(subject(2).digest));
        assert_eq!(fields["containers.found"][0]["image"], "shop:1");
        assert_eq!(fields["containers.count"], 1);
        let (output, _) = draft.finish(&[]);
        assert!(output.contains("containers=none)"), "{output}");
    }

    #[test]
    fn code_that_is_not_in_the_program_is_not_urgent() {
        use palisade_model::symbols::{SymbolAnswer, SymbolCheck};
        let mut absent = vulnerability("CVE-2026-1", Severity::Critical);
        absent.symbols = Some(SymbolCheck {
            answer: SymbolAnswer::Absent,
            program: "usr/bin/shop".into(),
            n_named: 1,
            present: Vec::new(),
            reason: None,
        });
        let mut news = News::default();
        news.add(&subject(1), vec![absent]);
        let drafts = news.drafts(Timestamp::default());
        assert_eq!(drafts[0].priority, Priority::Notice);
        assert_eq!(drafts[0].finish(&[]).1["vulnerability.found"][0]["code"], "absent");
    }

    #[test]
    fn of_many_images_the_sum_is_told_within_bounds() {
        let mut news = News::default();
        let n_images = IMAGES_NAMED_MAX + 20;
        for n in 0..n_images {
            let long = |id: &str| {
                let mut v = vulnerability(id, Severity::Medium);
                (v.package, v.purl) = ("p".repeat(10_000), "q".repeat(10_000));
                v
            };
            let many = (0..NAMED_MAX + 5).map(|n| long(&format!("CVE-2026-{n:05}")));
            let once = vulnerability(&format!("CVE-2025-{n:05}"), Severity::Critical);
            news.add(&subject(n as u8), many.chain([once]).collect());
        }
        let drafts = news.drafts(Timestamp::default());
        assert_eq!(drafts.len(), 1);
        let draft = &drafts[0];
        assert_eq!((draft.rule, draft.priority), (MANY_VULNERABLE_RULE, Priority::Critical));
        let (output, fields) = draft.finish(&[running(3)]);
        assert!(output.starts_with("120 images became vulnerable (new=3120 worst=critical "));
        assert!(output.contains("CVE-2025-00000 in 1 image (critical); "), "{output}");
        assert!(output.ends_with("; and 141 more"), "{output}");
        assert_eq!(fields["images.count"], n_images);
        assert_eq!(fields["images.found"].as_array().unwrap().len(), IMAGES_NAMED_MAX);
        assert_eq!(fields["images.n_unnamed"], 20);
        assert_eq!(fields["vulnerability.found"].as_array().unwrap().len(), NAMED_MAX);
        assert_eq!(fields["containers.count"], 1);
        assert!(json!(fields).to_string().len() < 64 << 10);
    }

    /// Images come in the order of their digests, and what matters most may come last.
    #[test]
    fn the_worst_is_named_wherever_it_comes() {
        let mut news = News::default();
        for n in 0..IMAGES_NAMED_MAX {
            let many =
                (0..60).map(|i| vulnerability(&format!("CVE-2020-{n:03}{i:02}"), Severity::Low));
            news.add(&subject(n as u8), many.collect());
        }
        assert_eq!(news.ids.kept.len(), IDS_MAX);
        let mut exploited = vulnerability("CVE-2026-1", Severity::Low);
        exploited.known_exploited = true;
        let critical = vulnerability("CVE-2026-2", Severity::Critical);
        news.add(&subject(200), vec![critical.clone(), vulnerability("CVE-2026-3", Severity::Low)]);
        news.add(&subject(201), vec![exploited, critical]);
        // One that is known and turns out worse than it was.
        news.add(&subject(202), vec![vulnerability("CVE-2020-00000", Severity::High)]);
        news.add(&subject(203), vec![vulnerability("CVE-2020-00000", Severity::Low)]);
        let n_ids = (IMAGES_NAMED_MAX * 60 + 3) as u64;
        let drafts = news.drafts(Timestamp::default());
        let (output, fields) = drafts[0].finish(&[running(201)]);
        let first = "CVE-2026-1 in 1 image (low, exploited); CVE-2026-2 in 2 images (critical); \
                     CVE-2020-00000 in 3 images (high); ";
        assert!(output.contains(first), "{output}");
        assert!(output.ends_with(&format!("; and {} more", n_ids - SHOWN_MAX as u64)), "{output}");
        let images = fields["images.found"].as_array().unwrap();
        let names: Vec<&str> = images.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names[..3], ["oci:shop-201", "oci:shop-200", "oci:shop-202"]);
        assert_eq!((names.len(), &fields["images.n_unnamed"]), (IMAGES_NAMED_MAX, &json!(4)));
        assert_eq!(fields["containers.count"], 1);
    }

    #[test]
    fn what_one_image_has_too_much_is_counted() {
        let mut news = News::default();
        let many = (0..NAMED_MAX + 7).map(|n| vulnerability(&format!("CVE-{n:03}"), Severity::Low));
        news.add(&subject(1), many.collect());
        let drafts = news.drafts(Timestamp::default());
        let (output, fields) = drafts[0].finish(&[]);
        assert!(output.ends_with("; and 23 more"), "{output}");
        assert_eq!(fields["vulnerability.found"].as_array().unwrap().len(), NAMED_MAX);
        assert_eq!(fields["vulnerability.n_unnamed"], 7);
    }
}
