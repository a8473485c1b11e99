//! Rules, signers, and what must be said, on tables.

use super::*;

#[test]
fn a_rule_holds_on_its_days() {
    let check = |from: &str, until: &str, now: &str, expected: bool| {
        let rule = TrustRule { from: from.into(), until: until.into(), ..TrustRule::default() };
        assert_eq!(rule.not_at(now.parse().unwrap()).is_none(), expected, "{from} {until} {now}");
    };
    check("", "", "2027-01-01T00:00:00Z", true);
    check("2027-01-01", "", "2026-12-31T23:59:59Z", false);
    check("2027-01-01", "", "2027-01-01T00:00:00Z", true);
    check("", "2027-06-30", "2027-06-30T23:59:59Z", true);
    check("", "2027-06-30", "2027-07-01T00:00:00Z", false);
    // What is no day holds never.
    check("tomorrow", "", "2027-07-01T00:00:00Z", false);
}

#[test]
fn rules_are_about_the_images_that_they_name() {
    let rule = TrustRule { images: vec!["r.example/a/*".into()], ..TrustRule::default() };
    assert!(rule.is_about("r.example/a/b:1") && !rule.is_about("r.example/ab:1"));
    assert!(TrustRule::default().is_about("anything"));
}

fn signer(key: &str) -> FoundSigner {
    FoundSigner { keys: vec![key.into()], ..FoundSigner::default() }
}

fn robot(subject: &str, issuer: &str) -> FoundSigner {
    let (subjects, issuer) = (vec![subject.into()], Some(issuer.into()));
    FoundSigner { subjects, issuer, ..FoundSigner::default() }
}

fn images(text: &str) -> Images {
    let text = format!("version: 1\nname: p\nimages:\n{text}");
    crate::parse(&text, "p", std::path::Path::new("")).unwrap().policy.images
}

#[test]
fn signers_are_counted_and_named_by_rules() {
    let images = images(
        "  trust:\n    - name: release\n      images: [\"r.example/a/*\"]\n      \
         keys: [a.pub, b.pub, c.pub]\n      signers_min: 2\n    - name: robot\n      \
         images: [\"r.example/a/*\"]\n      subject: \"https://git.example/*@refs/tags/*\"\n      \
         issuer: https://token.example\n    - name: old\n      keys: [old.pub]\n      \
         until: \"2026-01-01\"\n",
    );
    let check = |name: &str, signers: &[FoundSigner], expected: Result<&str, &str>| {
        let now = "2027-01-01T00:00:00Z".parse().unwrap();
        let decision = decide(&images, name, signers, &[], now);
        match (decision.allowed_by(), expected) {
            (Some(rule), Ok(wanted)) => assert_eq!(rule, wanted),
            (None, Err(why)) => {
                let reasons = decision.reasons().join("\n");
                assert!(reasons.contains(why), "{why}: {reasons}");
            }
            (found, expected) => panic!("{name} {signers:?}: {found:?} is not {expected:?}"),
        }
    };
    let (a, b, old) = (signer("a.pub"), signer("b.pub"), signer("old.pub"));
    let release = Ok("images.trust[release]");
    check("r.example/a/x:1", &[a.clone(), b.clone()], release);
    check("r.example/a/x:1", std::slice::from_ref(&a), Err("1 of 2 signers"));
    check("r.example/a/x:1", &[a.clone(), old.clone()], Err("1 of 2 signers"));
    check("r.example/b/x:1", &[a, b], Err("0 of 1 signers"));
    check("r.example/b/x:1", &[old], Err("it held until 2026-01-01"));
    let good = robot("https://git.example/shop@refs/tags/v1", "https://token.example");
    check("r.example/a/x:1", &[good], Ok("images.trust[robot]"));
    let other = robot("https://git.example/shop@refs/tags/v1", "https://other.example");
    check("r.example/a/x:1", &[other], Err("images.trust[robot]: 0 of 1"));
    let branch = robot("https://git.example/shop@refs/heads/x", "https://token.example");
    check("r.example/a/x:1", &[branch], Err("images.trust[robot]: 0 of 1"));
}

#[test]
fn a_name_is_worth_what_made_it_known() {
    let images = images(
        "  trust:\n    - name: token\n      subject: dev\n      issuer: https://op.example\n      \
         openpubkey: op.json\n    - name: certificate\n      subject: dev\n      \
         issuer: https://token.example\n    - name: notary\n      notary: trustpolicy.json\n",
    );
    let check = |issuer: &str, by: &str, expected: Option<&str>| {
        let mut signer = robot("dev", issuer);
        signer.accepted_by.extend(stated(Path::new(by)).map(Path::to_path_buf));
        let decision = decide(&images, "x", &[signer], &[], Timestamp::from_nanos(0));
        assert_eq!(decision.allowed_by(), expected, "{issuer} {by}");
    };
    check("https://op.example", "op.json", Some("images.trust[token]"));
    check("https://op.example", "other.json", None);
    check("https://op.example", "", None);
    check("https://token.example", "", Some("images.trust[certificate]"));
    check("https://token.example", "op.json", None);
    check("", "trustpolicy.json", Some("images.trust[notary]"));
}

/// What a decision says of its own end is what a clock finds: it is so to that moment, and
/// not a nanosecond longer where nothing takes the place of what ended.
#[test]
fn a_decision_ends_with_the_first_thing_it_rests_on() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let now = at("2027-01-01T00:00:00Z");
    let vuln = "https://cosign.sigstore.dev/attestation/vuln/v1";
    let scan = |signer: FoundSigner, finished: &str| FoundAttestation {
        predicate_type: vuln.into(),
        signer,
        predicate: serde_json::json!({"metadata": {"scanFinishedOn": finished}}),
    };
    let ends = |mut signer: FoundSigner, text: &str| {
        signer.until = Some(at(text));
        signer
    };
    let (a, b) = (signer("a.pub"), signer("b.pub"));
    let check =
        |text: &str, signers: &[FoundSigner], said: &[FoundAttestation], end: Option<&str>| {
            let images = images(text);
            let ask = |now: Timestamp| {
                // Whoever verifies later finds nobody whose signature has ended.
                let lasts = |it: &FoundSigner| it.until.is_none_or(|end| now <= end);
                let signers: Vec<_> = signers.iter().filter(|it| lasts(it)).cloned().collect();
                let said: Vec<_> = said.iter().filter(|it| lasts(&it.signer)).cloned().collect();
                decide(&images, "x", &signers, &said, now)
            };
            let decision = ask(now);
            assert!(decision.allowed_by().is_some(), "{text}: {:?}", decision.reasons());
            assert_eq!(decision.until, end.map(at), "{text} {signers:?} {said:?}");
            let Some(end) = decision.until else { return };
            assert_eq!(ask(end).until, Some(end), "{text}");
            assert!(ask(end).allowed_by().is_some(), "{text}");
            let next = ask(Timestamp::from_nanos(end.as_nanos() + 1));
            assert!(next.allowed_by().is_none() || next.until != Some(end), "{text}");
        };
    let days = |until: &str| format!("  trust:\n    - {{name: r, keys: [a.pub, b.pub]{until}}}\n");
    check(&days(""), std::slice::from_ref(&a), &[], None);
    check(
        &days(", until: \"2027-01-31\""),
        std::slice::from_ref(&a),
        &[],
        Some("2027-01-31T23:59:59.999999999Z"),
    );
    // A rule of days that are over, and a signer of no rule, end nothing.
    check(
        "  keys: [a.pub]\n  trust:\n    - {name: r, keys: [b.pub], until: \"2026-01-31\"}\n",
        &[a.clone(), ends(signer("c.pub"), "2027-01-02T00:00:00Z")],
        &[],
        None,
    );
    // ID tokens and certificates that are judged by the clock.
    check(
        &days(""),
        &[ends(a.clone(), "2027-01-02T03:04:05.999999999Z")],
        &[],
        Some("2027-01-02T03:04:05.999999999Z"),
    );
    check(
        &days(", signers_min: 2"),
        &[ends(a.clone(), "2027-01-03T00:00:00Z"), ends(b.clone(), "2027-01-02T00:00:00Z")],
        &[],
        Some("2027-01-02T00:00:00Z"),
    );
    // The age of a scan; of two the one that counts.
    let scans = format!(
        "  keys: [a.pub, b.pub]\n  attestations:\n    - {{predicate: \"{vuln}\", scan_hours_max: 24}}\n"
    );
    check(
        &scans,
        std::slice::from_ref(&a),
        &[scan(a.clone(), "2026-12-31T12:00:00Z")],
        Some("2027-01-01T12:00:00.999999999Z"),
    );
    check(
        &scans,
        std::slice::from_ref(&a),
        &[scan(a.clone(), "2026-12-30T12:00:00Z"), scan(b.clone(), "2026-12-31T20:00:00Z")],
        Some("2027-01-01T20:00:00.999999999Z"),
    );
    check(
        &scans,
        std::slice::from_ref(&a),
        &[scan(ends(b.clone(), "2027-01-01T01:00:00Z"), "2026-12-31T20:00:00Z")],
        Some("2027-01-01T01:00:00Z"),
    );
    // Whatever is first.
    let all = format!(
        "  trust:\n    - {{name: r, keys: [a.pub], until: \"2027-01-01\"}}\n{}",
        scans.split_once('\n').unwrap().1
    );
    check(
        &all,
        std::slice::from_ref(&a),
        &[scan(a.clone(), "2026-12-31T12:00:00Z")],
        Some("2027-01-01T12:00:00.999999999Z"),
    );
    check(
        &all,
        std::slice::from_ref(&a),
        &[scan(a.clone(), "2027-01-01T00:04:00Z")],
        Some("2027-01-01T23:59:59.999999999Z"),
    );
}

#[test]
fn attestations_are_those_of_trusted_signers_and_fulfil_conditions() {
    let images = images(
        "  keys: [a.pub]\n  attestations:\n    - predicate: \"https://slsa.dev/provenance/*\"\n      \
         conditions: ['builder.id == \"https://ci.example\"']\n",
    );
    let said = |key: &str, kind: &str, builder: &str| FoundAttestation {
        predicate_type: kind.into(),
        signer: signer(key),
        predicate: serde_json::json!({"builder": {"id": builder}}),
    };
    let check = |said: &[FoundAttestation], expected: Option<&str>| {
        let now = Timestamp::from_nanos(0);
        let decision = decide(&images, "x", &[signer("a.pub")], said, now);
        let reasons = decision.reasons().join("\n");
        match expected {
            None => assert_eq!(decision.allowed_by(), Some("images.keys"), "{reasons}"),
            Some(why) => {
                assert!(decision.allowed_by().is_none());
                assert!(reasons.contains(why), "{reasons}");
            }
        }
    };
    let (slsa, ci) = ("https://slsa.dev/provenance/v1", "https://ci.example");
    check(&[said("a.pub", slsa, ci)], None);
    check(&[said("a.pub", slsa, "x"), said("a.pub", slsa, ci)], None);
    check(&[], Some("nobody whom the policy trusts"));
    check(&[said("b.pub", slsa, ci)], Some("nobody whom the policy trusts"));
    check(&[said("a.pub", "https://cyclonedx.org/bom", ci)], Some("nobody"));
    check(&[said("a.pub", slsa, "https://evil.example")], Some("evil.example"));
}
