//! Inputs as wholes: kinds of workloads, exceptions, policies, what cannot be read.

use palisade_model::Severity;
use palisade_policy::{CheckException, Checks, CustomCheck, SeverityChange};

use super::{findings, places, run, run_with};

#[test]
fn every_workload_has_its_containers_judged() {
    let template = |indent: &str| {
        format!(
            "{indent}template:\n{indent}  spec:\n{indent}    containers:\n{indent}    - name: c\n{indent}      securityContext: {{privileged: true}}\n"
        )
    };
    let kinds = [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
        ("batch/v1", "Job"),
        ("apps.openshift.io/v1", "DeploymentConfig"),
        ("argoproj.io/v1alpha1", "Rollout"),
        ("serving.knative.dev/v1", "Service"),
    ];
    for (api, kind) in kinds {
        let text = format!(
            "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n{}",
            template("  ")
        );
        let report = run("k.yaml", &text);
        assert_eq!(places(&report, "privileged"), [(9, 39)], "{kind}");
        let resource = findings(&report)[0].resource.clone().unwrap();
        assert!(resource.starts_with(&format!("{kind}/a")), "{resource}");
    }
    let cron = format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: a}}\nspec:\n  jobTemplate:\n    spec:\n{}",
        template("      ")
    );
    assert_eq!(places(&run("k.yaml", &cron), "privileged").len(), 1);
}

#[test]
fn every_role_of_container_is_judged() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: [{name: a, securityContext: {privileged: true}}]\n  initContainers: [{name: b, securityContext: {privileged: true}}]\n  ephemeralContainers: [{name: c, securityContext: {privileged: true}}]\n";
    let report = run("k.yaml", text);
    let lines: Vec<u64> = places(&report, "privileged").iter().map(|at| at.0).collect();
    assert_eq!(lines, [5, 6, 7]);
    // A debug container has no limits to set, and an init container is not probed.
    assert_eq!(places(&report, "no-memory-limit").len(), 2);
    assert_eq!(places(&report, "no-probe").len(), 1);
}

#[test]
fn lists_and_documents_are_taken_apart() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec: {hostPID: true, containers: [{name: a}, {name: b}]}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {hostPID: true, containers: [{name: a}]}\n";
    let report = run("k.yaml", text);
    // What two containers share is one finding.
    assert_eq!(places(&report, "host-pid"), [(7, 19), (12, 17)]);
    assert_eq!(report.files[0].n_objects, 2);
    assert_eq!(report.files[0].n_containers, 3);
    let json = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"hostPID": true, "containers": [{"name": "a"}]}}"#;
    assert_eq!(places(&run("k.json", json), "host-pid"), [(1, 84)]);
}

#[test]
fn files_are_judged_together() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: shop}\nspec: {podSelector: {}}\n";
    let report = run_with(&[("a.yaml", namespace), ("b.yaml", policy)], &Checks::default());
    assert!(places(&report, "no-network-policy").is_empty());
    assert_eq!(places(&run("a.yaml", namespace), "no-network-policy").len(), 1);
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  # palisade:ignore host-pid it is a debugger\n  hostPID: true\n  hostIPC: true # palisade:ignore RUN-004\n  hostNetwork: true # palisade:ignore RUN-001 not privileged at all\n  containers: [{name: a}]\n";

#[test]
fn comments_excuse_with_a_reason() {
    let report = run("k.yaml", POD);
    assert!(places(&report, "host-pid").is_empty());
    assert_eq!(places(&report, "host-ipc").len(), 1);
    assert_eq!(places(&report, "host-network").len(), 1);
    assert_eq!(report.n_excused, 1);
    let codes: Vec<(&str, usize)> =
        report.problems.iter().map(|p| (p.code, p.location.line)).collect();
    assert_eq!(codes, [("ignore-without-reason", 7), ("unused-exception", 8)]);
}

#[test]
fn the_policy_excuses_switches_off_and_rates() {
    let exception = |path: &str, resource: &str, expires: &str| CheckException {
        check: "RUN-004".into(),
        path: path.into(),
        resource: resource.into(),
        reason: "r".into(),
        expires: expires.parse().unwrap(),
    };
    let future = "2027-01-01T00:00:00Z";
    let count = |except: CheckException| {
        let policy = Checks { except: vec![except], ..Checks::default() };
        let report = run_with(&[("deploy/k.yaml", POD)], &policy);
        (places(&report, "host-ipc").len(), report.n_expired)
    };
    assert_eq!(count(exception("", "", future)), (0, 0));
    assert_eq!(count(exception("deploy/*", "Pod/a", future)), (0, 0));
    assert_eq!(count(exception("other/*", "", future)), (1, 0));
    assert_eq!(count(exception("", "Pod/b*", future)), (1, 0));
    assert_eq!(count(exception("", "", "2020-01-01T00:00:00Z")), (1, 1));
    let policy = Checks {
        off: vec!["host-network".into()],
        severity: vec![SeverityChange { check: "host-ipc".into(), severity: Severity::Low }],
        ..Checks::default()
    };
    let report = run_with(&[("k.yaml", POD)], &policy);
    assert!(places(&report, "host-network").is_empty());
    let all = findings(&report);
    let ipc = all.iter().find(|found| found.check == "host-ipc").unwrap();
    assert_eq!(ipc.severity, Severity::Low);
}

#[test]
fn own_checks_find_like_built_in_ones() {
    let own = CustomCheck {
        id: "ours-registry".into(),
        title: "the image is not ours".into(),
        when: vec!["image not like ghcr.io/ours/*".into()],
        severity: Severity::High,
        ..CustomCheck::default()
    };
    let policy = Checks { custom: vec![own], ..Checks::default() };
    let text = "services:\n  a: {image: nginx}\n  b: {image: 'ghcr.io/ours/x:1'}\n  c: {image: x} # palisade:ignore ours-registry a reason\n  d: {build: .}\n";
    let report = run_with(&[("compose.yaml", text)], &policy);
    assert_eq!(places(&report, "ours-registry"), [(2, 14)]);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn what_cannot_be_read_is_a_gap_and_the_rest_is_judged() {
    use std::fmt::Write as _;
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostPID: true, containers: [{name: a}]}\n---\na: [\n";
    let report = run("k.yaml", text);
    assert_eq!(places(&report, "host-pid").len(), 1);
    assert_eq!(report.gaps.len(), 1);
    let gap = |name: &str, text: &str| {
        let report = run(name, text);
        assert_eq!(report.gaps.len(), 1, "{text}: {:?}", report.gaps);
        assert!(report.findings.is_empty());
        report.gaps[0].reason.clone()
    };
    assert!(gap("x.yaml", "on: push\n").starts_with("not a Dockerfile"));
    assert!(
        gap("t.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  {{ include \"x\" . }}\n")
            .contains("helm template")
    );
    assert!(gap("x.yaml", "").starts_with("not a Dockerfile"));
    assert!(gap("Dockerfile", "").contains("no `FROM`"));
    let mut laughs = String::from("apiVersion: v1\nkind: Pod\na0: &a0 [l, o, l]\n");
    for i in 1..12 {
        let line = format!("*a{}, ", i - 1).repeat(9);
        let _ = writeln!(laughs, "a{i}: &a{i} [{line}]");
    }
    assert!(gap("bomb.yaml", &laughs).contains("more than"));
}

#[test]
fn findings_carry_controls_and_reasons() {
    let report = run("k.yaml", POD);
    let all = findings(&report);
    let network = all.iter().find(|found| found.check == "host-network").unwrap();
    assert_eq!(network.id.as_deref(), Some("RUN-005"));
    let controls: Vec<String> =
        network.controls.iter().map(|c| format!("{} {}", c.framework, c.id)).collect();
    assert!(controls.contains(&"CIS Kubernetes 1.12 5.2.5".to_string()), "{controls:?}");
    assert!(controls.contains(&"Pod Security Standards baseline: Host Namespaces".to_string()));
    assert!(!network.why.is_empty() && !network.fix.is_empty());
}
