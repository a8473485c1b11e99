use palisade_base::{Digest, Timestamp};

use super::*;
use crate::runc::write_script;

/// A policy that trusts the key `k.pub`, and a program that verifies nothing and counts.
struct Bench {
    folder: tempfile::TempDir,
    settings: Settings,
}

const NAME: &str = "r.example/shop:1";

impl Bench {
    fn new(images: &str, rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("k.pub"), "key").unwrap();
        let policy = format!("version: 1\nname: p\nimages:\n{images}{rest}");
        std::fs::write(path("p.yaml"), policy).unwrap();
        let settings = Settings {
            policy: path("p.yaml").to_str().unwrap().into(),
            decisions: path("data/decisions"),
            verifier: Some(path("verifier")),
            ..Settings::default()
        };
        let bench = Self { folder, settings };
        bench.verifier("echo 'error: not signed' >&2; exit 1");
        bench
    }

    fn required(rest: &str) -> Self {
        Self::new("  verify: required\n  keys: [k.pub]\n", rest)
    }

    fn verifier(&self, what: &str) {
        let path = self.folder.path().join("verifier");
        let calls = self.folder.path().join("calls");
        write_script(&path, &format!("echo \"$@\" >>{}\n{what}", calls.display()));
    }

    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        text.lines().map(str::to_string).collect()
    }

    fn policy(&self) -> Policy {
        Policy::load(&self.settings.policy).unwrap().policy
    }

    /// Remembers that the image `digest` satisfies the policy as `name`.
    fn decide(&self, digest: Digest, name: &str) {
        let policy = self.policy();
        let question = Question {
            digest,
            name: name.into(),
            policy: policy.digest,
            materials: materials(&policy.images, None).unwrap(),
        };
        let answer = Answer::Allowed { rule: "images.keys".into(), signer: "k".into() };
        let decisions = Decisions::new(&self.settings.decisions, policy.images.remember());
        decisions.keep(&question, &[], &answer, None).unwrap();
    }

    fn judge(&self, origin: &Origin) -> Verdict {
        let mut engine = EngineFacts::unknown("c1", Timestamp::now());
        engine.image = origin.names.first().cloned();
        self.judge_of(&engine, origin)
    }

    fn judge_of(&self, engine: &EngineFacts, origin: &Origin) -> Verdict {
        let own = Path::new("/nowhere/palisade-runtime");
        judge(&self.policy(), engine, || origin.clone(), &self.settings, own)
    }
}

fn shop() -> Origin {
    Origin {
        digests: vec![Digest::of(b"image"), Digest::of(b"index")],
        names: vec![NAME.into()],
        places: vec![format!("{NAME}@{}", Digest::of(b"index"))],
    }
}

#[track_caller]
fn refused(verdict: Verdict, what: &str) {
    match verdict {
        Verdict::Refused(reason) => assert!(reason.contains(what), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_decided_is_believed_and_asked_for_otherwise() {
    let bench = Bench::required("");
    refused(bench.judge(&shop()), "not signed");
    let calls = bench.calls();
    assert_eq!(calls.len(), 1);
    let data = bench.folder.path().join("data");
    for part in [
        format!("--data-dir {}", data.display()),
        format!("--policy {}", bench.settings.policy),
        format!("--reference {NAME}"),
        shop().places[0].clone(),
    ] {
        assert!(calls[0].contains(&part), "`{part}` is not in {}", calls[0]);
    }
    // A refusal is not remembered, an acceptance is: by any of its digests.
    bench.decide(Digest::of(b"index"), NAME);
    assert_eq!(bench.judge(&shop()), Verdict::Trusted);
    assert_eq!(bench.calls().len(), 1);
    // Under another name, other rules may hold.
    let other = Origin { names: vec!["r.example/other:1".into()], ..shop() };
    refused(bench.judge(&other), "not signed");
    // The key was exchanged.
    std::fs::write(bench.folder.path().join("k.pub"), "other").unwrap();
    refused(bench.judge(&shop()), "not signed");
    std::fs::remove_file(bench.folder.path().join("k.pub")).unwrap();
    refused(bench.judge(&shop()), "k.pub");
}

#[test]
fn a_verifier_is_believed_by_what_it_remembers_alone() {
    let bench = Bench::required("");
    bench.verifier("exit 0");
    refused(bench.judge(&shop()), "is another image");
    bench.verifier("echo 'error: the registry cannot be reached' >&2; exit 5");
    refused(bench.judge(&shop()), "cannot be reached");
    std::fs::remove_file(bench.folder.path().join("verifier")).unwrap();
    refused(bench.judge(&shop()), "ask `");
    let alone = Bench {
        settings: Settings { verifier: None, ..bench.settings.clone() },
        folder: bench.folder,
    };
    refused(alone.judge(&shop()), "palisade verify --policy");
}

#[test]
fn what_the_policy_does_not_ask_is_not_asked() {
    let images = |text: &str| Bench::new(text, "").judge(&shop());
    assert_eq!(images("  verify: \"off\"\n  keys: [k.pub]\n"), Verdict::Trusted);
    assert_eq!(images("  verify: required\n"), Verdict::Trusted);
    match images("  verify: warn\n  keys: [k.pub]\n") {
        Verdict::Noted(what) => assert!(what.contains("not signed"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unknown_image_is_refused_or_not_as_the_policy_says() {
    let unknown = Origin { names: vec![NAME.into()], ..Origin::default() };
    refused(Bench::required("").judge(&unknown), "engines.unknown_images");
    let allowed = Bench::required("engines:\n  unknown_images: allow\n");
    assert!(matches!(allowed.judge(&unknown), Verdict::Noted(_)));
    refused(allowed.judge(&shop()), "not signed");
}

#[test]
fn exceptions_and_builds_are_not_verified() {
    let exception = |day: &str| {
        format!(
            "engines:\n  exceptions:\n    - images: [\"r.example/*\"]\n      \
             allow: [unsigned-image]\n      reason: old\n      expires: \"{day}\"\n"
        )
    };
    let held = Bench::required(&exception("2099-01-01"));
    assert!(matches!(held.judge(&shop()), Verdict::Noted(_)));
    refused(Bench::required(&exception("2020-01-01")).judge(&shop()), "not signed");
    let mut build = EngineFacts::unknown("c1", Timestamp::now());
    build.kind = ContainerKind::Build;
    assert_eq!(Bench::required("").judge_of(&build, &shop()), Verdict::Trusted);
    let strict = Bench::required("engines:\n  builds: policy\n");
    refused(strict.judge_of(&build, &shop()), "not signed");
}

#[test]
fn those_who_ask_at_once_have_it_found_out_once() {
    let bench = Bench::required("");
    bench.verifier("sleep 0.3; echo 'error: not signed' >&2; exit 1");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| refused(bench.judge(&shop()), "not signed"));
        }
    });
    assert_eq!(bench.calls().len(), 1);
}
