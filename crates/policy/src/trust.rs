//! Who must have signed which images, and what must be said about them: the lists
//! `images.trust` and `images.attestations`.

use std::path::{Path, PathBuf};

use palisade_base::{Severity, Timestamp};

use crate::check::note;
use crate::code::Code;
use crate::condition::Condition;
use crate::document::{ImageVerification, Images, Policy, matches};
use crate::key::text;
use crate::predicate;
use crate::read::Reader;
use crate::table::{Choice, Default as Preset, Key, Kind, TextRule};

/// Rules, and attestations, of one policy.
const RULES_MAX: usize = 128;
/// Texts of one list.
const TEXTS_MAX: usize = 64;

/// Who must have signed images of certain names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustRule {
    /// Name.
    pub name: String,
    /// Names of images; `*` stands for any text; empty for all.
    pub images: Vec<String>,
    /// Public keys (PEM files), relative to the policy file.
    pub keys: Vec<PathBuf>,
    /// Name that a certificate must give; `*` stands for any text; empty for none.
    pub subject: String,
    /// Who must have vouched for that name.
    pub issuer: String,
    /// A file of OpenID providers: ID tokens give the name, not certificates. Empty for none.
    pub openpubkey: PathBuf,
    /// A trust policy of the Notary Project that says who may sign. Empty for none.
    pub notary: PathBuf,
    /// How many different signers are needed.
    pub signers_min: u32,
    /// The first day on which it holds, or empty.
    pub from: String,
    /// The last day on which it holds, or empty.
    pub until: String,
}

/// What must be said about images of certain names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequiredAttestation {
    /// Type of the predicate; `*` stands for any text.
    pub predicate: String,
    /// Names of images; `*` stands for any text; empty for all.
    pub images: Vec<String>,
    /// What must hold of its content.
    pub conditions: Vec<String>,
    /// Provenance: who built it; `*` stands for any text; empty: not asked.
    pub builder: String,
    /// Provenance: how it was built; as `builder`.
    pub build_type: String,
    /// Provenance: where the sources came from; as `builder`.
    pub source: String,
    /// Provenance: what may have gone in; empty: not asked.
    pub materials: Vec<String>,
    /// A scan: how many hours ago it may have ended.
    pub scan_hours_max: Option<u64>,
    /// A scan: the worst that it may have found.
    pub severity_max: Option<palisade_model::Severity>,
    /// A bill of materials: its format and version; empty: not asked.
    pub sbom: Vec<String>,
    /// A VEX document: which statuses its statements may have; empty: not asked.
    pub vex_statuses: Vec<String>,
}

/// Whether a list of names covers the image `name`; an empty one covers all.
fn covers(patterns: &[String], name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name))
}

impl TrustRule {
    /// Whether it is about the image of that name.
    pub fn is_about(&self, image: &str) -> bool {
        covers(&self.images, image)
    }

    /// Why it does not hold at `now`, if it does not.
    pub fn not_at(&self, now: Timestamp) -> Option<String> {
        let at = |day: &str, time: &str| format!("{day}T{time}Z").parse::<Timestamp>().ok();
        if !self.from.is_empty() && at(&self.from, "00:00:00").is_none_or(|from| now < from) {
            return Some(format!("it holds from {} on", self.from));
        }
        if !self.until.is_empty() && self.end().is_none_or(|end| now > end) {
            return Some(format!("it held until {}", self.until));
        }
        None
    }
}

impl TrustRule {
    /// The last moment at which it holds, if there is one.
    pub fn end(&self) -> Option<Timestamp> {
        format!("{}T23:59:59.999999999Z", self.until).parse().ok()
    }
}

impl Images {
    /// Whether anybody is named who may sign.
    pub fn names_signers(&self) -> bool {
        !self.keys.is_empty() || !self.trust.is_empty()
    }

    /// Whether a rule names whom the certificate of a trusted root must name.
    pub fn needs_root(&self) -> bool {
        self.trust.iter().any(|rule| !rule.subject.is_empty() && stated(&rule.openpubkey).is_none())
    }

    /// How long it is remembered at most that an image satisfies this; sooner ends what one
    /// decision rests on ([`TrustDecision::until`]).
    pub fn remember(&self) -> std::time::Duration {
        std::time::Duration::from_mins(self.remember_minutes.into())
    }
}

impl RequiredAttestation {
    /// Whether it is asked of the image of that name.
    pub fn is_about(&self, image: &str) -> bool {
        covers(&self.images, image)
    }

    /// Whether that is the type of predicate that is asked for.
    pub fn is_of(&self, predicate_type: &str) -> bool {
        matches(&self.predicate, predicate_type)
    }
}

/// Somebody whose signature of an image was verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundSigner {
    /// The files of policies in which the key stands.
    pub keys: Vec<PathBuf>,
    /// Whom the certificate names.
    pub subjects: Vec<String>,
    /// Who vouched for that.
    pub issuer: Option<String>,
    /// The files of providers, and the trust policies of the Notary Project, by which the
    /// signature counts; empty for keys and for certificates of a trusted root.
    pub accepted_by: Vec<PathBuf>,
    /// The last moment at which the signature certainly still counts, if it ends.
    pub until: Option<Timestamp>,
}

/// What somebody said about an image, and was verified to have said.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundAttestation {
    /// Type of the predicate.
    pub predicate_type: String,
    /// Who said it.
    pub signer: FoundSigner,
    /// The predicate.
    pub predicate: serde_json::Value,
}

/// What one rule says of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustVerdict {
    /// The rule: `images.keys`, `images.trust[release]`, `images.attestations[TYPE]`.
    pub rule: String,
    /// What it lacks; nothing: it is met.
    pub lacks: Vec<String>,
}

/// Who is trusted with an image, and whether they have signed it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustDecision {
    /// What each rule that is about the image says.
    pub rules: Vec<TrustVerdict>,
    /// What each attestation that is asked for lacks.
    pub attestations: Vec<TrustVerdict>,
    /// The last moment at which all this is certainly still so: the first end of a rule, of a
    /// signature, or of the age that something that was said may have.
    pub until: Option<Timestamp>,
}

impl TrustDecision {
    /// The rule that is met, if everything that is asked for is.
    pub fn allowed_by(&self) -> Option<&str> {
        let said = self.attestations.iter().all(|it| it.lacks.is_empty());
        let rule = self.rules.iter().find(|it| it.lacks.is_empty());
        rule.filter(|_| said).map(|it| it.rule.as_str())
    }

    /// Why the image is not trusted.
    pub fn reasons(&self) -> Vec<String> {
        let lines = |all: &[TrustVerdict]| -> Vec<String> {
            let bad = all.iter().filter(|it| !it.lacks.is_empty());
            bad.map(|it| format!("{}: {}", it.rule, it.lacks.join("; "))).collect()
        };
        if self.rules.is_empty() {
            return vec!["no rule of the policy is about this image".into()];
        }
        let is_signed = self.rules.iter().any(|it| it.lacks.is_empty());
        let mut out = if is_signed { Vec::new() } else { lines(&self.rules) };
        out.extend(lines(&self.attestations));
        out
    }
}

/// A rule as it is applied: those of `images.trust`, and one for `images.keys`.
struct Applied<'p> {
    shown: String,
    keys: &'p [PathBuf],
    identity: Option<(&'p str, &'p str)>,
    /// The file of providers by which that identity is known.
    openpubkey: Option<&'p Path>,
    notary: Option<&'p Path>,
    signers_min: usize,
    lacks: Option<String>,
}

impl Default for Applied<'_> {
    fn default() -> Self {
        let (openpubkey, notary, identity, lacks) = (None, None, None, None);
        Self {
            shown: String::new(),
            keys: &[],
            identity,
            openpubkey,
            notary,
            signers_min: 1,
            lacks,
        }
    }
}

/// A path that was written.
fn stated(path: &Path) -> Option<&Path> {
    Some(path).filter(|it| !it.as_os_str().is_empty())
}

impl Applied<'_> {
    fn names(&self, signer: &FoundSigner) -> bool {
        let is_accepted =
            |by: Option<&Path>| by.is_some_and(|by| signer.accepted_by.iter().any(|it| it == by));
        // A name is worth what made it known: a certificate's is not that of a token.
        let is_known = match self.openpubkey {
            Some(_) => is_accepted(self.openpubkey),
            None => signer.accepted_by.is_empty(),
        };
        signer.keys.iter().any(|key| self.keys.contains(key))
            || is_accepted(self.notary)
            || self.identity.is_some_and(|(subject, issuer)| {
                is_known
                    && signer.issuer.as_deref() == Some(issuer)
                    && signer.subjects.iter().any(|it| matches(subject, it))
            })
    }

    fn verdict(&self, signers: &[FoundSigner]) -> TrustVerdict {
        let mut lacks: Vec<String> = self.lacks.iter().cloned().collect();
        let n = signers.iter().filter(|it| self.names(it)).count();
        if n < self.signers_min {
            lacks.push(format!("{n} of {} signers have signed", self.signers_min));
        }
        TrustVerdict { rule: self.shown.clone(), lacks }
    }
}

/// Decides whether `signers`, all different, are those whom the policy trusts with the image of
/// that name, and whether they said what must be said.
pub fn decide(
    images: &Images,
    name: &str,
    signers: &[FoundSigner],
    said: &[FoundAttestation],
    now: Timestamp,
) -> TrustDecision {
    let mut applied = Vec::new();
    if !images.keys.is_empty() {
        let (shown, keys) = ("images.keys".into(), images.keys.as_slice());
        applied.push(Applied { shown, keys, ..Applied::default() });
    }
    for rule in images.trust.iter().filter(|rule| rule.is_about(name)) {
        let identity = (rule.subject.as_str(), rule.issuer.as_str());
        applied.push(Applied {
            shown: format!("images.trust[{}]", rule.name),
            keys: &rule.keys,
            identity: (!rule.subject.is_empty()).then_some(identity),
            openpubkey: stated(&rule.openpubkey),
            notary: stated(&rule.notary),
            signers_min: rule.signers_min.max(1) as usize,
            lacks: rule.not_at(now),
        });
    }
    let trusted = |signer: &FoundSigner| {
        applied.iter().any(|rule| rule.lacks.is_none() && rule.names(signer))
    };
    let held = images.trust.iter().filter(|rule| rule.is_about(name) && rule.not_at(now).is_none());
    let mut ends: Vec<Timestamp> = held.filter_map(TrustRule::end).collect();
    ends.extend(signers.iter().filter(|it| trusted(it)).filter_map(|it| it.until));
    let attestations = images.attestations.iter().filter(|it| it.is_about(name)).map(|wanted| {
        let of_type = said.iter().filter(|it| wanted.is_of(&it.predicate_type));
        let mut lacks = vec!["nobody whom the policy trusts says it".to_string()];
        for one in of_type.filter(|it| trusted(&it.signer)) {
            lacks = unmet(&wanted.conditions, &one.predicate);
            let kind = one.predicate_type.as_str();
            lacks.extend(predicate::unmet(wanted, kind, &one.predicate, now));
            if lacks.is_empty() {
                ends.extend(one.signer.until);
                ends.extend(predicate::until(wanted, &one.predicate));
                break;
            }
        }
        TrustVerdict { rule: format!("images.attestations[{}]", wanted.predicate), lacks }
    });
    let attestations = attestations.collect();
    TrustDecision {
        rules: applied.iter().map(|rule| rule.verdict(signers)).collect(),
        attestations,
        until: ends.into_iter().min(),
    }
}

/// The conditions that a predicate does not fulfil.
fn unmet(conditions: &[String], predicate: &serde_json::Value) -> Vec<String> {
    let lacks = |text: &String| match Condition::parse(text) {
        Ok(condition) => condition.lacks(predicate),
        Err(why) => Some(why),
    };
    conditions.iter().filter_map(lacks).collect()
}

fn rule(policy: &mut Policy, set: impl FnOnce(&mut TrustRule)) {
    if let Some(item) = policy.images.trust.last_mut() {
        set(item);
    }
}

pub(crate) fn attestation(policy: &mut Policy, set: impl FnOnce(&mut RequiredAttestation)) {
    if let Some(item) = policy.images.attestations.last_mut() {
        set(item);
    }
}

pub(crate) const fn texts(
    path: &'static str,
    rule: TextRule,
    set: fn(&mut Policy, Vec<String>),
    doc: &'static str,
    example: &'static str,
) -> Key {
    let kind = Kind::Texts { rule, n_max: TEXTS_MAX, set };
    Key { path, kind, default: Preset::Values(&[]), doc, example }
}

const TRUSTED_ROOT: &[Choice] = &[Choice {
    name: "machine",
    meaning: "`/etc/palisade/trusted_root.json`, else what `trust root` put into the data folder",
    set: |p| p.images.trusted_root = None,
}];

/// The keys, in the order in which they are written and explained.
pub(crate) const KEYS: &[Key] = &[
    Key {
        path: "images.trusted_root",
        kind: Kind::ChoiceOrFile(TRUSTED_ROOT, |p, file| p.images.trusted_root = Some(file)),
        default: Preset::Value("machine"),
        doc: "The logs and authorities that are trusted where a rule names whom certificates must \
              name. A relative path starts at the folder of the policy file.",
        example: "trusted_root.json",
    },
    Key {
        path: "images.remember_minutes",
        kind: Kind::Integer {
            min: 0,
            max: 10_080,
            optional: false,
            set: |p, n| {
                p.images.remember_minutes = u32::try_from(n.unwrap_or(0)).unwrap_or(u32::MAX);
            },
        },
        default: Preset::Value("60"),
        doc: "For how many minutes it is remembered that an image satisfies `keys`, `trust` and \
              `attestations`, by `run`, `promote` and the runtime of engines; 0 verifies it each \
              time. A change of the policy or a file that it names, and the first end of what it \
              rests on (a rule's days, an ID token, a certificate or a list of revoked ones, the \
              age of a scan, the metadata of a fetched root), end it sooner. `verify` always \
              verifies.",
        example: "5",
    },
    Key {
        path: "images.trust",
        kind: Kind::Items {
            n_max: RULES_MAX,
            begin: |p| p.images.trust.push(TrustRule::default()),
        },
        default: Preset::Nothing,
        doc: "Who must have signed which images. One rule that is about the image and holds is \
              enough. Where there are rules, an image that none of them is about is not signed.",
        example: "[{name: release, keys: [a.pub, b.pub], signers_min: 2}]",
    },
    text(
        "images.trust[].name",
        TextRule::Name,
        |p, text| rule(p, |item| item.name = text),
        Preset::Required,
        "Name of the rule, shown with the decisions that it makes.",
        "release",
    ),
    texts(
        "images.trust[].images",
        TextRule::Sentence,
        |p, texts| rule(p, |item| item.images = texts),
        "Names of the images that it is about, as in `registry.example/team/shop:1.0`; `*` stands \
         for any text; none for all.",
        "[\"registry.example/team/*\"]",
    ),
    texts(
        "images.trust[].keys",
        TextRule::File,
        |p, texts| rule(p, |item| item.keys = texts.into_iter().map(PathBuf::from).collect()),
        "Public keys (PEM files) whose holders may sign. A relative path starts at the folder of \
         the policy file.",
        "[keys/release.pub]",
    ),
    text(
        "images.trust[].subject",
        TextRule::Sentence,
        |p, text| rule(p, |item| item.subject = text),
        Preset::Value(""),
        "Whom a signer's certificate must name: an address or a URI; `*` stands for any text.",
        "\"https://git.example/shop/*@refs/tags/*\"",
    ),
    text(
        "images.trust[].issuer",
        TextRule::Sentence,
        |p, text| rule(p, |item| item.issuer = text),
        Preset::Value(""),
        "The OpenID provider that must have vouched for `subject`, to the letter.",
        "https://token.git.example",
    ),
    text(
        "images.trust[].openpubkey",
        TextRule::Sentence,
        |p, text| rule(p, |item| item.openpubkey = text.into()),
        Preset::Value(""),
        "A file of OpenID providers (OpenPubkey): `subject` and `issuer` are then those of an ID \
         token that itself vouches for the signature, and no certificate is needed. A relative \
         path starts at the folder of the policy file.",
        "providers.json",
    ),
    text(
        "images.trust[].notary",
        TextRule::Sentence,
        |p, text| rule(p, |item| item.notary = text.into()),
        Preset::Value(""),
        "A trust policy of the Notary Project, with its trust store beside it: whom it trusts with \
         the image's repository may sign. A statement of it that does not enforce who signed \
         (`audit`, `skip`) trusts nobody here.",
        "notation/trustpolicy.json",
    ),
    Key {
        path: "images.trust[].signers_min",
        kind: Kind::Integer {
            min: 1,
            max: 64,
            optional: false,
            set: |p, n| {
                rule(p, |item| {
                    item.signers_min = u32::try_from(n.unwrap_or(1)).unwrap_or(u32::MAX);
                });
            },
        },
        default: Preset::Value("1"),
        doc: "How many different signers of the rule must have signed.",
        example: "2",
    },
    text(
        "images.trust[].from",
        TextRule::LastDay,
        |p, text| rule(p, |item| item.from = text),
        Preset::Value(""),
        "The first day (UTC) on which the rule holds; without it there is no beginning. With two \
         rules whose days overlap a key is exchanged.",
        "\"2027-01-01\"",
    ),
    text(
        "images.trust[].until",
        TextRule::LastDay,
        |p, text| rule(p, |item| item.until = text),
        Preset::Value(""),
        "The last day (UTC) on which the rule holds; without it there is no end.",
        "\"2027-06-30\"",
    ),
    Key {
        path: "images.attestations",
        kind: Kind::Items {
            n_max: RULES_MAX,
            begin: |p| p.images.attestations.push(RequiredAttestation::default()),
        },
        default: Preset::Nothing,
        doc: "What signers must say about images besides signing them. Every entry that is about \
              the image must be met by one attestation of a signer whom `keys` or a rule of \
              `trust` names.",
        example: "[{predicate: \"https://slsa.dev/provenance/v1\"}]",
    },
    text(
        "images.attestations[].predicate",
        TextRule::Sentence,
        |p, text| attestation(p, |item| item.predicate = text),
        Preset::Required,
        "Type of the predicate; `*` stands for any text.",
        "\"https://slsa.dev/provenance/v1\"",
    ),
    texts(
        "images.attestations[].images",
        TextRule::Sentence,
        |p, texts| attestation(p, |item| item.images = texts),
        "Names of the images of which it is asked; `*` stands for any text; none for all.",
        "[\"registry.example/prod/*\"]",
    ),
    texts(
        "images.attestations[].conditions",
        TextRule::Sentence,
        |p, texts| attestation(p, |item| item.conditions = texts),
        "What must hold of the predicate: a path of its members, a comparison (`==`, `!=`, `<`, \
         `<=`, `>`, `>=`, or `like` with `*`) and a JSON value. `[*]` in a path stands for every \
         element of a list, of which there must be one, and each must fulfil it.",
        "['runDetails.builder.id == \"https://ci.example\"']",
    ),
];

/// Adds the problems that no single key has.
pub(crate) fn check(reader: &mut Reader) {
    let images = reader.policy.images.clone();
    for (i, item) in images.trust.iter().enumerate() {
        let path = format!("images.trust[{i}]");
        let mut conflict = |what: &str, help: &str| {
            note(reader, Code::Conflict, Severity::Error, &path, what, help);
        };
        let has_notary = stated(&item.notary).is_some();
        if item.keys.is_empty() && item.subject.is_empty() && !has_notary {
            let help = "name `keys`, `subject` with `issuer`, or `notary`";
            conflict("the rule names nobody who may sign", help);
        }
        if item.subject.is_empty() != item.issuer.is_empty() {
            conflict(
                "`subject` and `issuer` belong together",
                "a name says nothing without who vouches for it: write both",
            );
        }
        if stated(&item.openpubkey).is_some() && item.subject.is_empty() {
            conflict(
                "`openpubkey` says who vouches, and nobody is named",
                "name whom a token must name: `subject` with `issuer`",
            );
        }
        let n_keys = u32::try_from(item.keys.len()).unwrap_or(u32::MAX);
        if item.subject.is_empty() && !has_notary && n_keys > 0 && item.signers_min > n_keys {
            conflict(
                "more signers are needed than the rule has keys",
                "lower `signers_min`, or name more keys",
            );
        }
        // Days are written so that they compare as texts.
        if !item.until.is_empty() && item.from > item.until {
            conflict("the rule ends before it begins", "exchange `from` and `until`");
        }
        if images.trust.iter().take(i).any(|other| other.name == item.name) {
            conflict("another rule has this name", "give each rule a name of its own");
        }
    }
    for (i, item) in images.attestations.iter().enumerate() {
        predicate::check(reader, i, item);
        for text in &item.conditions {
            if let Err(what) = Condition::parse(text) {
                let path = format!("images.attestations[{i}].conditions");
                let help = "write it as in 'runDetails.builder.id == \"https://ci.example\"'";
                note(reader, Code::BadValue, Severity::Error, &path, &what, help);
            }
        }
    }
    let says_something = !images.trust.is_empty() || !images.attestations.is_empty();
    if says_something && images.verify == ImageVerification::Off {
        let path = if images.trust.is_empty() { "images.attestations" } else { "images.trust" };
        note(
            reader,
            Code::NoEffect,
            Severity::Warning,
            path,
            "who must sign is stated, but `images.verify` is `off`",
            "set `images.verify` to `required` or `warn`",
        );
    }
}

#[cfg(test)]
mod tests;
