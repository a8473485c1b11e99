//! What `check --fix-diff` changes: every fixer, through `patch` as a user applies it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use palisade_policy::Checks;
use palisade_scan::config::fix::{self, FixedFile, Fixes};

use crate::checks::{findings, run_with, with_options};

/// A file before and after the findings of one check are mended.
struct Case {
    check: &'static str,
    name: &'static str,
    before: &'static str,
    after: &'static str,
}

const fn case(
    check: &'static str,
    name: &'static str,
    before: &'static str,
    after: &'static str,
) -> Case {
    Case { check, name, before, after }
}

const POD: &str = "pod.yaml";
const COMPOSE: &str = "compose.yaml";
const DOCKER: &str = "Dockerfile";

const CASES: &[Case] = &[
    case(
        "privileged",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n    - name: c # the program\n      image: a:1\n      securityContext:\n        privileged: true   # for the device\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n    - name: c # the program\n      image: a:1\n      securityContext:\n        privileged: false   # for the device\n",
    ),
    case(
        "host-pid",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  hostPID: yes\n  containers: [{name: c, image: a}]\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  hostPID: false\n  containers: [{name: c, image: a}]\n",
    ),
    case(
        "host-ipc",
        POD,
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {hostIPC: true, containers: [{name: c}]}}\n",
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {hostIPC: false, containers: [{name: c}]}}\n",
    ),
    case(
        "host-network",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  hostNetwork: true\n  containers: [{name: c, image: a}]\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  hostNetwork: false\n  containers: [{name: c, image: a}]\n",
    ),
    case(
        "host-process",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      windowsOptions: {hostProcess: true}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      windowsOptions: {hostProcess: false}\n",
    ),
    // The key's line is followed, so that the comment stays with what it is about.
    case(
        "host-users",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  # one of each\n  containers:\n  - name: c\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  hostUsers: false\n  # one of each\n  containers:\n  - name: c\n",
    ),
    case(
        "service-account-token",
        POD,
        "apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: a\nspec:\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: Never\n          containers:\n            - name: c\n",
        "apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: a\nspec:\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          automountServiceAccountToken: false\n          restartPolicy: Never\n          containers:\n            - name: c\n",
    ),
    case(
        "runs-as-root",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - image: a\n    # the name\n    name: c\n  - name: d\n    securityContext: {}\n  - name: e\n    securityContext: {readOnlyRootFilesystem: true}\n  - name: f\n    securityContext:\n  - name: g\n    securityContext:\n      runAsNonRoot: false\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - image: a\n    securityContext:\n      runAsNonRoot: true\n    # the name\n    name: c\n  - name: d\n    securityContext: {runAsNonRoot: true}\n  - name: e\n    securityContext: {runAsNonRoot: true, readOnlyRootFilesystem: true}\n  - name: f\n    securityContext:\n      runAsNonRoot: true\n  - name: g\n    securityContext:\n      runAsNonRoot: true\n",
    ),
    case(
        "privilege-escalation",
        POD,
        "apiVersion: v1\r\nkind: Pod\r\nmetadata: {name: a}\r\nspec:\r\n  containers:\r\n  - name: c\r\n    securityContext:\r\n      # not yet\r\n      allowPrivilegeEscalation: true\r\n  - name: d\r\n",
        "apiVersion: v1\r\nkind: Pod\r\nmetadata: {name: a}\r\nspec:\r\n  containers:\r\n  - name: c\r\n    securityContext:\r\n      # not yet\r\n      allowPrivilegeEscalation: false\r\n  - name: d\r\n    securityContext:\r\n      allowPrivilegeEscalation: false\r\n",
    ),
    // The last line has no end, before and after.
    case(
        "writable-root",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      readOnlyRootFilesystem: true",
    ),
    case(
        "capabilities-kept",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      capabilities:\n        drop:\n          # see the wiki\n          - MKNOD\n  - name: d\n    securityContext: {capabilities: {drop: [MKNOD]}}\n  - name: e\n    securityContext:\n      capabilities: {add: [NET_BIND_SERVICE]}\n  - name: f\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      capabilities:\n        drop:\n          - ALL\n          # see the wiki\n          - MKNOD\n  - name: d\n    securityContext: {capabilities: {drop: [ALL, MKNOD]}}\n  - name: e\n    securityContext:\n      capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}\n  - name: f\n    securityContext:\n      capabilities:\n        drop: [ALL]\n",
    ),
    case(
        "net-raw-kept",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      capabilities:\n        drop:\n        - MKNOD\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      capabilities:\n        drop:\n        - NET_RAW\n        - MKNOD\n",
    ),
    case(
        "seccomp-unconfined",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  securityContext:\n    seccompProfile: {type: \"Unconfined\"}\n  containers: [{name: c}, {name: d}]\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  securityContext:\n    seccompProfile: {type: \"RuntimeDefault\"}\n  containers: [{name: c}, {name: d}]\n",
    ),
    case(
        "seccomp-not-set",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n  - {name: d}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      seccompProfile:\n        type: RuntimeDefault\n  - {securityContext: {seccompProfile: {type: RuntimeDefault}}, name: d}\n",
    ),
    case(
        "mandatory-access-off",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      appArmorProfile:\n        type: Unconfined\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      appArmorProfile:\n        type: RuntimeDefault\n",
    ),
    case(
        "proc-unmasked",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      procMount: Unmasked\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    securityContext:\n      procMount: Default\n",
    ),
    case(
        "privileged",
        COMPOSE,
        "services:\n  web:\n    image: a:1\n    privileged: true\n",
        "services:\n  web:\n    image: a:1\n    privileged: false\n",
    ),
    case(
        "host-pid",
        COMPOSE,
        "services:\n  web:\n    image: a:1\n    pid: host # to watch\n    # what else\n    user: '10001'\n",
        "services:\n  web:\n    image: a:1\n    # what else\n    user: '10001'\n",
    ),
    case(
        "host-ipc",
        COMPOSE,
        "services:\n  web:\n    ipc: \"host\"\n    image: a:1\n",
        "services:\n  web:\n    image: a:1\n",
    ),
    case(
        "host-network",
        COMPOSE,
        "services:\n  web:\n    image: a:1\n    network_mode: host\n",
        "services:\n  web:\n    image: a:1\n",
    ),
    case(
        "host-namespaces",
        COMPOSE,
        "services:\n  web:\n    image: a:1\n    uts: host\n    userns_mode: host\n    cgroup: host\n",
        "services:\n  web:\n    image: a:1\n",
    ),
    case(
        "seccomp-unconfined",
        COMPOSE,
        "services:\n  web:\n    image: a:1\n    security_opt:\n      - seccomp:unconfined\n      - no-new-privileges:true\n",
        "services:\n  web:\n    image: a:1\n    security_opt:\n      - no-new-privileges:true\n",
    ),
    case(
        "mandatory-access-off",
        COMPOSE,
        "services:\n  web:\n    image: a:1\n    security_opt:\n      - apparmor=unconfined\n",
        "services:\n  web:\n    image: a:1\n",
    ),
    case(
        "proc-unmasked",
        COMPOSE,
        "services:\n  web:\n    image: a:1\n    security_opt: [systempaths=unconfined]\n",
        "services:\n  web:\n    image: a:1\n",
    ),
    case(
        "writable-root",
        COMPOSE,
        "services:\n  web:\n    # from the registry\n    image: a:1\n  db: {image: b}\n  cache:\n    image: c\n    read_only: false\n",
        "services:\n  web:\n    read_only: true\n    # from the registry\n    image: a:1\n  db: {read_only: true, image: b}\n  cache:\n    image: c\n    read_only: true\n",
    ),
    case(
        "privilege-escalation",
        COMPOSE,
        "services:\n  web:\n    image: a:1\n  db:\n    image: b\n    security_opt:\n    - \"no-new-privileges:false\"\n  cache:\n    image: c\n    security_opt:\n    - label:type:container_t\n",
        "services:\n  web:\n    security_opt: [\"no-new-privileges:true\"]\n    image: a:1\n  db:\n    image: b\n    security_opt:\n    - \"no-new-privileges:true\"\n  cache:\n    image: c\n    security_opt:\n    - no-new-privileges:true\n    - label:type:container_t\n",
    ),
    case(
        "capabilities-kept",
        COMPOSE,
        "services:\n  web:\n    image: a:1\n  db:\n    image: b\n    cap_drop:\n      - MKNOD\n    cap_add: [NET_BIND_SERVICE]\n",
        "services:\n  web:\n    cap_drop: [ALL]\n    image: a:1\n  db:\n    image: b\n    cap_drop:\n      - ALL\n      - MKNOD\n    cap_add: [NET_BIND_SERVICE]\n",
    ),
    case(
        "net-raw-kept",
        COMPOSE,
        "services:\n  web:\n    image: a:1\n    cap_drop: []\n",
        "services:\n  web:\n    image: a:1\n    cap_drop: [NET_RAW]\n",
    ),
    case(
        "add-instead-of-copy",
        DOCKER,
        "FROM a:1\n# the program\nADD --chown=1:1 app /srv/\nADD x.tar.gz /srv/\n",
        "FROM a:1\n# the program\nCOPY --chown=1:1 app /srv/\nADD x.tar.gz /srv/\n",
    ),
    case(
        "tls-verification-off",
        DOCKER,
        "FROM a:1\nRUN curl -k -o f https://e/f && wget --no-check-certificate https://e/g\nRUN curl -fsSkL https://e/f \\\n    --insecure \\\n    # quietly\n    -o f\n",
        "FROM a:1\nRUN curl -o f https://e/f && wget https://e/g\nRUN curl -fsSL https://e/f \\\n    # quietly\n    -o f\n",
    ),
    case(
        "signature-check-off",
        DOCKER,
        "FROM a:1\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends --allow-unauthenticated a=1 \\\n && rm -rf /var/lib/apt/lists/*\n",
        "FROM a:1\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends a=1 \\\n && rm -rf /var/lib/apt/lists/*\n",
    ),
    case(
        "recommended-packages",
        DOCKER,
        "FROM a:1\nRUN apt-get update && apt-get install -y a=1 && rm -rf /var/lib/apt/lists/*\nRUN dnf -y install a-1 && dnf clean all\n",
        "FROM a:1\nRUN apt-get update && apt-get install --no-install-recommends -y a=1 && rm -rf /var/lib/apt/lists/*\nRUN dnf -y install --setopt=install_weak_deps=False a-1 && dnf clean all\n",
    ),
    case(
        "package-cache-left",
        DOCKER,
        "FROM a:1\nRUN apt-get update && \\\n    apt-get install -y \\\n      # the server\n      nginx=1\nRUN apk add b=1\nRUN pip install c==1\nRUN yum install -y d-1\n",
        "FROM a:1\nRUN apt-get update && \\\n    apt-get install -y \\\n      # the server\n      nginx=1 \\\n      && rm -rf /var/lib/apt/lists/*\nRUN apk add --no-cache b=1\nRUN pip install --no-cache-dir c==1\nRUN yum install -y d-1 && yum clean all\n",
    ),
    case(
        "repeated-instruction",
        DOCKER,
        "FROM a:1\nCMD [\"a\", \\\n  \"b\"]\nUSER 10001\nCMD [\"c\"]\nCMD [\"d\"]\n",
        "FROM a:1\nUSER 10001\nCMD [\"d\"]\n",
    ),
    case(
        "shell-form",
        DOCKER,
        "FROM a:1\nCMD  server --port 80\n",
        "FROM a:1\nCMD  [\"server\", \"--port\", \"80\"]\n",
    ),
];

/// A policy under which no check but `check` is made.
fn only(check: &str) -> Checks {
    let all = palisade_scan::config::checks::all();
    let off = all.filter(|one| one.name != check).map(|one| one.name.to_string()).collect();
    Checks { off, ..Checks::default() }
}

fn fixes(files: &[(&str, &str)], policy: &Checks) -> Fixes {
    with_options(files, policy, fix::fix)
}

/// What `patch -p1` makes of the file.
fn patched(file: &FixedFile) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(&file.name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, &file.before).unwrap();
    patch(folder.path(), &file.diff());
    std::fs::read_to_string(&path).unwrap()
}

fn patch(folder: &Path, diff: &str) {
    let mut command = Command::new("patch");
    command.args(["-p1", "--fuzz=0", "--binary", "--no-backup-if-mismatch"]).current_dir(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(diff.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{diff}", String::from_utf8_lossy(&output.stdout));
}

/// Findings without their places, which a fix may move.
fn told(name: &str, text: &str, policy: &Checks) -> Vec<(String, String, Option<String>)> {
    let report = run_with(&[(name, text)], policy);
    assert!(report.problems.is_empty() && report.gaps.is_empty(), "{:?}", report.problems);
    let mut told: Vec<_> = findings(&report)
        .into_iter()
        .map(|found| (found.check.clone(), found.title.clone(), found.resource.clone()))
        .collect();
    told.sort();
    told
}

#[test]
fn every_fix_mends_its_check_and_nothing_else() {
    for Case { check, name, before, after } in CASES {
        let policy = only(check);
        assert!(!told(name, before, &policy).is_empty(), "{check} is not violated by\n{before}");
        let made = fixes(&[(name, before)], &policy);
        let [file] = &made.files[..] else { panic!("{check}: {made:?}") };
        assert_eq!(file.after, *after, "{check} {name}");
        assert_eq!(patched(file), *after, "{check} {name}: by patch");
        assert!(told(name, after, &policy).is_empty(), "{check} {name} is still violated");
        // What other checks find is what they found, or less.
        let everything = Checks::default();
        let mut left = told(name, before, &everything);
        for found in told(name, after, &everything) {
            let at = left.iter().position(|one| *one == found);
            left.remove(at.unwrap_or_else(|| panic!("{check} {name} brings {found:?}")));
        }
    }
}

#[test]
fn every_fixer_has_a_case() {
    let tested: BTreeSet<(&str, &str)> = CASES
        .iter()
        .map(|case| {
            let kind = match case.name {
                POD => "kubernetes",
                COMPOSE => "compose",
                _ => "dockerfile",
            };
            (case.check, kind)
        })
        .collect();
    let known: BTreeSet<(&str, &str)> =
        fix::checks().map(|(check, kind)| (check, kind.as_str())).collect();
    assert_eq!(tested, known);
}

/// Everything at once: what is left are choices.
#[test]
fn a_manifest_is_mended_as_a_whole() {
    let before = "# shop\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: shop\n  namespace: shop\nspec:\n  template:\n    spec:\n      hostNetwork: true\n      containers:\n        # the shop itself\n        - name: shop\n          image: ghcr.io/example/shop:1\n          ports:\n            - containerPort: 8080\n        - name: side\n          image: ghcr.io/example/side:1\n          securityContext:\n            privileged: true\n";
    let made = fixes(&[("k8s/shop.yaml", before)], &Checks::default());
    let [file] = &made.files[..] else { panic!("{made:?}") };
    assert_eq!(patched(file), file.after);
    let left: BTreeSet<String> =
        told("k8s/shop.yaml", &file.after, &Checks::default()).into_iter().map(|t| t.0).collect();
    let choices =
        ["default-service-account", "image-mutable", "no-cpu-limit", "no-memory-limit", "no-probe"];
    let unexpected: Vec<&String> =
        left.iter().filter(|check| !choices.contains(&check.as_str())).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}\n{}", file.after);
    for comment in ["# shop\n", "        # the shop itself\n        - name: shop\n"] {
        assert!(file.after.contains(comment), "{}", file.after);
    }
    assert_eq!(made.n_left, told("k8s/shop.yaml", &file.after, &Checks::default()).len());
    // What is mended is not mended again.
    assert_eq!(fixes(&[("k8s/shop.yaml", &file.after)], &Checks::default()).files, []);
}

/// Where a change would not do what it is for, or would do more, there is none.
#[test]
fn what_cannot_be_mended_safely_is_left() {
    let check = |check: &str, name: &str, text: &str| {
        let policy = only(check);
        assert!(!told(name, text, &policy).is_empty(), "{check} is not violated by\n{text}");
        let made = fixes(&[(name, text)], &policy);
        assert_eq!((made.files.len(), made.n_fixed), (0, 0), "{made:?}");
        assert_eq!(made.n_left, told(name, text, &policy).len());
    };
    // A shell is needed for it, or takes what the JSON form would not.
    check("shell-form", DOCKER, "FROM a:1\nCMD server $PORT\n");
    check("shell-form", DOCKER, "FROM a:1\nCMD exec server\n");
    check("shell-form", DOCKER, "FROM a:1\nENTRYPOINT server\nCMD [\"x\"]\n");
    // Everything after it is a comment to the shell.
    check("package-cache-left", DOCKER, "FROM a:1\nRUN apt-get install -y b=1 # done\n");
    check("package-cache-left", DOCKER, "FROM a:1\nRUN <<EOF\napt-get install -y b=1\nEOF\n");
    // Which number is a choice.
    check(
        "runs-as-root",
        POD,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: [{name: c, securityContext: {runAsUser: 0}}]\n",
    );
}

#[test]
fn excuses_and_other_files_stay_as_they_are() {
    let excused = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  # palisade:ignore host-pid it watches\n  hostPID: true\n  containers: [{name: c}]\n";
    let made = fixes(&[(POD, excused), ("other.yaml", "a: 1\n")], &only("host-pid"));
    assert_eq!((made.files.len(), made.n_left), (0, 0));
    // A file that cannot be read whole is not changed.
    let broken = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  hostPID: true\n  containers: [{name: c}]\n---\na: [\n";
    assert_eq!(fixes(&[(POD, broken)], &only("host-pid")).files, []);
}

/// More than is tried one by one.
#[test]
fn tries_are_bounded() {
    // A name that goes on in the next line leaves no room after it.
    let container = |n: usize| format!("  - name: c{n}\n      more\n");
    let containers: String = (0..fix::TRIES_MAX + 10).map(container).collect();
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n{containers}"
    );
    let made = fixes(&[(POD, &text)], &only("runs-as-root"));
    assert_eq!(made.files, []);
    assert_eq!(made.n_left, fix::TRIES_MAX + 10);
}
