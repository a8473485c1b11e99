//! Checks of an image's configuration and build history, as data.
//!
//! Identifiers `IMG-…` are those of the project's check catalogue. What a history shows is
//! what the builder wrote into it; images built without history are judged by the rest.

use palisade_base::Timestamp;
use palisade_image::ImageConfig;
use palisade_model::Severity::{self, Critical, High, Low, Medium, Negligible};
use palisade_model::finding::Misconfiguration;

use crate::secrets::Searcher;

/// What the checks look at.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The configuration.
    pub config: &'a ImageConfig,
    /// Tag by which the image was named, if one was.
    pub tag: Option<&'a str>,
    /// Paths seen in the image that matter to a check, without leading slash.
    pub landmarks: &'a [String],
    /// Whether `/etc/shadow` has an account without a password.
    pub empty_password: bool,
    /// The present.
    pub now: Timestamp,
    /// The secret detectors.
    pub secrets: &'a Searcher,
}

/// One check.
pub struct ConfigurationCheck {
    /// Stable name: `image-runs-as-root`.
    pub id: &'static str,
    /// Number in the check catalogue.
    pub catalogue: &'static str,
    /// How bad a violation is.
    pub severity: Severity,
    /// What is wrong; `{}` is replaced by the detail.
    pub title: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// The detail when the check is violated.
    judge: fn(&Facts<'_>) -> Option<String>,
}

/// Images older than this many days have missed a year of fixes.
const AGE_DAYS_MAX: u64 = 365;
/// History steps beyond this number are not read.
const HISTORY_STEPS_MAX: usize = 1_000;
/// Details beyond this many characters are cut.
const DETAIL_CHARS_MAX: usize = 80;

macro_rules! check {
    ($id:literal, $catalogue:literal, $severity:expr, $title:literal, $fix:literal, $judge:expr) => {
        ConfigurationCheck {
            id: $id,
            catalogue: $catalogue,
            severity: $severity,
            title: $title,
            fix: $fix,
            judge: $judge,
        }
    };
}

/// All checks.
#[rustfmt::skip]
pub const CHECKS: &[ConfigurationCheck] = &[
    check!("image-runs-as-root", "IMG-001", High, "the program runs as root ({})", "add `USER` with an unprivileged number to the build", runs_as_root),
    check!("secret-in-environment", "IMG-005", Critical, "environment variable {} holds a secret", "pass it when the container starts, from a secret store", secret_in_environment),
    check!("secret-in-label", "IMG-005", Critical, "label {} holds a secret", "remove the label and revoke the secret", secret_in_label),
    check!("secret-in-history", "IMG-005", Critical, "build step {} shows a secret", "use build secrets (`RUN --mount=type=secret`) and revoke this one", secret_in_history),
    check!("password-set-in-build", "IMG-023", Critical, "build step {} sets a password", "leave accounts locked", |f| step(f, |s| s.contains("chpasswd") || s.contains("passwd --stdin") || s.contains("usermod -p ") || s.contains("useradd -p "))),
    check!("empty-password", "IMG-023", Critical, "an account in /etc/shadow has no password{}", "lock it: `passwd -l`", |f| f.empty_password.then(String::new)),
    check!("pipe-to-shell", "IMG-010", High, "build step {} pipes a download into a shell", "download, verify a checksum, then execute", |f| step(f, pipes_to_shell)),
    check!("tls-verification-off", "IMG-011", High, "TLS verification is switched off: {}", "remove the option and install the right certificates", tls_off),
    check!("signature-check-off", "IMG-012", High, "build step {} installs packages without checking signatures", "remove the option and add the repository's key", |f| step(f, |s| ["--allow-unauthenticated", "--nogpgcheck", "--allow-untrusted", "--no-gpg-checks", "trusted=yes"].iter().any(|o| s.contains(o)))),
    check!("remote-add", "IMG-008", Medium, "build step {} adds a file from the network", "download with a checksum: `ADD --checksum=…`", |f| step(f, |s| s.contains("ADD http") && !s.contains("--checksum"))),
    check!("add-instead-of-copy", "IMG-009", Low, "build step {} uses ADD where COPY would do", "use `COPY`; it neither unpacks nor downloads", add_not_copy),
    check!("ssh-exposed", "IMG-019", Medium, "port {} of an SSH server is exposed", "remove it; use the engine's `exec`", |f| f.config.exposed_ports.iter().find(|p| matches!(p.as_str(), "22" | "22/tcp")).cloned()),
    check!("sshd-installed", "IMG-019", Medium, "an SSH server is installed at /{}", "remove the package", |f| landmark(f, &["usr/sbin/sshd"])),
    check!("sudo-installed", "IMG-018", Medium, "/{} is installed", "remove it; drop privileges with `USER` instead", |f| landmark(f, &["usr/bin/sudo"])),
    check!("repository-copied", "IMG-027", Medium, "a source repository was copied into the image at /{}", "add `.git` to `.dockerignore`", |f| f.landmarks.iter().find(|p| p.ends_with(".git/HEAD")).cloned()),
    check!("package-cache-left", "IMG-015", Low, "the package manager's cache is left at /{}", "remove it in the step that fills it", |f| f.landmarks.iter().find(|p| p.starts_with("var/lib/apt/lists/") || p.starts_with("var/cache/")).cloned()),
    check!("system-path-volume", "IMG-028", Medium, "a volume covers the system path {}", "declare volumes for data only", |f| f.config.volumes.iter().find(|v| is_system_path(v)).cloned()),
    check!("working-folder-unsafe", "IMG-022", Low, "the working folder is {}", "use an absolute path of the program's own", working_folder),
    check!("mutable-tag", "IMG-002", Low, "the image is named by the tag {}, which moves", "name it by version or digest", |f| f.tag.filter(|tag| tag.rsplit(':').next() == Some("latest")).map(|_| "`latest`".into())),
    check!("image-old", "IMG-030", Low, "the image was built {} days ago", "build it anew on a current base", too_old),
    check!("no-healthcheck", "IMG-020", Negligible, "no health check is declared{}", "add `HEALTHCHECK`, or let the orchestrator probe", |f| no_healthcheck(f).then(String::new)),
];

/// Paths that [`Facts::landmarks`] should hold when the image has them.
pub fn is_landmark(path: &str) -> bool {
    let is_kind =
        |kind: &str| std::path::Path::new(path).extension().is_some_and(|found| found == kind);
    matches!(path, "usr/sbin/sshd" | "usr/bin/sudo")
        || path.ends_with(".git/HEAD")
        || (path.starts_with("var/lib/apt/lists/") && path.ends_with("_Packages"))
        || (path.starts_with("var/cache/apt/archives/") && is_kind("deb"))
        || (path.starts_with("var/cache/apk/APKINDEX") && is_kind("gz"))
}

/// Whether the text of an `/etc/shadow` has an account that needs no password.
pub fn has_empty_password(shadow: &[u8]) -> bool {
    let text = String::from_utf8_lossy(shadow);
    text.lines().any(|line| {
        let mut fields = line.split(':');
        fields.next().is_some_and(|name| !name.is_empty()) && fields.next() == Some("")
    })
}

/// The violations of all checks, in the table's order.
pub fn examine(facts: &Facts<'_>) -> Vec<Misconfiguration> {
    let violated = |check: &ConfigurationCheck| {
        let detail: String = (check.judge)(facts)?.chars().take(DETAIL_CHARS_MAX).collect();
        Some(Misconfiguration {
            check: check.id.to_string(),
            title: check.title.replace("{}", &detail),
            fix: check.fix.to_string(),
            severity: check.severity,
        })
    };
    CHECKS.iter().filter_map(violated).collect()
}

fn runs_as_root(facts: &Facts<'_>) -> Option<String> {
    let user = facts.config.user.split(':').next().unwrap_or_default();
    match user {
        "" => Some("no `USER` is set".into()),
        "root" => Some("`USER root`".into()),
        number if number.parse() == Ok(0_u32) => Some(format!("`USER {number}`")),
        _ => None,
    }
}

/// The build steps, without what builders put around the command.
fn steps<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a str> {
    let steps = facts.config.history.iter().take(HISTORY_STEPS_MAX);
    steps.filter_map(|step| step.created_by.as_deref())
}

/// The number of the first step that `is_bad`.
fn step(facts: &Facts<'_>, is_bad: impl Fn(&str) -> bool) -> Option<String> {
    steps(facts).position(is_bad).map(|index| (index + 1).to_string())
}

fn pipes_to_shell(step: &str) -> bool {
    let fetches = step.contains("curl ") || step.contains("wget ");
    let shells = ["sh", "bash", "dash", "ash", "zsh", "python", "python3", "perl", "sudo"];
    let is_shell = |part: &str| {
        let word = part.split_whitespace().next().unwrap_or_default();
        shells.contains(&word.rsplit('/').next().unwrap_or_default())
    };
    fetches && step.split('|').skip(1).any(is_shell)
}

fn tls_off(facts: &Facts<'_>) -> Option<String> {
    let variables = [
        "NODE_TLS_REJECT_UNAUTHORIZED=0",
        "PYTHONHTTPSVERIFY=0",
        "GIT_SSL_NO_VERIFY=1",
        "GIT_SSL_NO_VERIFY=true",
        "NPM_CONFIG_STRICT_SSL=false",
    ];
    let variable = facts
        .config
        .env
        .iter()
        .find(|env| variables.iter().any(|bad| bad.eq_ignore_ascii_case(env)));
    let options = [
        "curl -k ",
        "--insecure",
        "--no-check-certificate",
        "--trusted-host",
        "strict-ssl false",
        "http.sslVerify false",
        "http.sslverify false",
    ];
    let in_history = || step(facts, |s| options.iter().any(|option| s.contains(option)));
    variable.cloned().or_else(|| in_history().map(|number| format!("build step {number}")))
}

fn add_not_copy(facts: &Facts<'_>) -> Option<String> {
    let archive = [".tar", ".tgz", ".txz", ".tar.gz", ".tar.xz", "http://", "https://", "git@"];
    let bad = |step: &str| {
        let command = step.trim_start_matches("/bin/sh -c #(nop)").trim_start();
        command.starts_with("ADD ")
            // A base image's first layer is an ADD of its root by the classic builder.
            && !(command.starts_with("ADD file:") && command.trim_end().ends_with(" in /"))
            && !archive.iter().any(|suffix| command.contains(suffix))
    };
    step(facts, bad)
}

fn is_system_path(path: &str) -> bool {
    let roots = ["/", "/boot", "/dev", "/etc", "/lib", "/proc", "/run", "/sys", "/usr", "/var/run"];
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    roots.contains(&path) || path.ends_with("docker.sock")
}

fn working_folder(facts: &Facts<'_>) -> Option<String> {
    let folder = facts.config.working_dir.as_str();
    let bad = !folder.is_empty()
        && (!folder.starts_with('/') || (folder != "/" && is_system_path(folder)));
    bad.then(|| format!("`{folder}`"))
}

fn landmark(facts: &Facts<'_>, wanted: &[&str]) -> Option<String> {
    facts.landmarks.iter().find(|path| wanted.contains(&path.as_str())).cloned()
}

fn too_old(facts: &Facts<'_>) -> Option<String> {
    let created: Timestamp = facts.config.created.as_ref()?.parse().ok()?;
    // Reproducible builds date images to 1970 or 1980; that says nothing.
    let plausible = created.as_nanos() > PLAUSIBLE_NANOS_MIN;
    let days = facts.now.since(created).as_secs() / 86_400;
    (plausible && days > AGE_DAYS_MAX).then(|| days.to_string())
}

/// 2013-01-01: there are no older container images.
const PLAUSIBLE_NANOS_MIN: u64 = 1_356_998_400_000_000_000;

fn no_healthcheck(facts: &Facts<'_>) -> bool {
    match facts.config.healthcheck.as_deref() {
        None | Some([]) => true,
        Some([first, ..]) => first == "NONE",
    }
}

/// Names whose value is a secret whatever it looks like.
const SECRET_NAMES: [&str; 8] =
    ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "PRIVATE_KEY", "ACCESS_KEY"];

fn secret_in_environment(facts: &Facts<'_>) -> Option<String> {
    let found = facts.config.env.iter().find_map(|variable| {
        let name = variable.split_once('=')?.0;
        (is_told_by_name(variable) || holds_secret(facts, variable)).then(|| name.to_string())
    });
    found.map(|name| format!("`{name}`"))
}

/// Whether `NAME=value` sets something that the name calls a secret.
fn is_told_by_name(variable: &str) -> bool {
    let Some((name, value)) = variable.split_once('=') else { return false };
    let upper = name.to_ascii_uppercase();
    // `POSTGRES_PASSWORD_FILE=/run/secrets/x` names a file, which is the right way.
    let points_elsewhere =
        upper.ends_with("_FILE") || upper.ends_with("_PATH") || value.starts_with(['/', '$']);
    let told_by_name =
        SECRET_NAMES.iter().any(|word| upper == *word || upper.ends_with(&format!("_{word}")));
    told_by_name && value.len() >= 6 && !points_elsewhere
}

/// Whether a build step shows the value of a build argument or variable that its name calls a
/// secret: `ARG NAME=value`, `ENV NAME=value`, and what classic builders write before a
/// command, `|1 NAME=value /bin/sh -c …`.
fn sets_secret_argument(step: &str) -> bool {
    let step = step.trim_start_matches("/bin/sh -c #(nop)").trim_start();
    let arguments = ["ARG ", "ENV ", "RUN |", "|"].iter().find_map(|word| step.strip_prefix(word));
    let Some(arguments) = arguments else { return false };
    let before_command = arguments.split(" /bin/").next().unwrap_or(arguments);
    before_command.split_whitespace().any(is_told_by_name)
}

fn secret_in_label(facts: &Facts<'_>) -> Option<String> {
    let mut labels = facts.config.labels.iter();
    let (name, _) = labels.find(|(_, value)| holds_secret(facts, value))?;
    Some(format!("`{name}`"))
}

fn secret_in_history(facts: &Facts<'_>) -> Option<String> {
    step(facts, |step| holds_secret(facts, step) || sets_secret_argument(step))
}

fn holds_secret(facts: &Facts<'_>, text: &str) -> bool {
    let hits = facts.secrets.search(text.as_bytes()).hits;
    hits.iter().any(|hit| hit.severity > Low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_image::HistoryStep;
    use std::collections::BTreeSet;

    fn ids(change: impl FnOnce(&mut ImageConfig)) -> BTreeSet<String> {
        let mut config = ImageConfig {
            user: "65532".into(),
            healthcheck: Some(vec!["CMD".into(), "true".into()]),
            ..ImageConfig::default()
        };
        change(&mut config);
        let secrets = Searcher::new().unwrap();
        let facts = Facts {
            config: &config,
            tag: None,
            landmarks: &[],
            empty_password: false,
            now: "2026-11-22T00:00:00Z".parse().unwrap(),
            secrets: &secrets,
        };
        examine(&facts).into_iter().map(|m| m.check).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn history(step: &str) -> BTreeSet<String> {
        let created_by = Some(step.to_string());
        ids(|c| {
            c.history.push(HistoryStep { created_by, ..HistoryStep::default() });
        })
    }

    #[test]
    fn a_careful_image_passes() {
        assert_eq!(ids(|_| {}), set(&[]));
        assert_eq!(
            ids(|c| {
                c.env = vec!["PATH=/usr/bin".into(), "DB_PASSWORD_FILE=/run/secrets/db".into()];
                c.working_dir = "/srv/app".into();
                c.volumes = vec!["/var/lib/app".into()];
                c.exposed_ports = vec!["8080/tcp".into()];
                c.created = Some("2026-11-01T00:00:00Z".into());
            }),
            set(&[])
        );
    }

    #[test]
    fn settings_are_judged() {
        for user in ["", "root", "0", "0:0", "root:wheel", "000"] {
            assert_eq!(ids(|c| c.user = user.into()), set(&["image-runs-as-root"]), "{user}");
        }
        assert_eq!(ids(|c| c.healthcheck = None), set(&["no-healthcheck"]));
        assert_eq!(ids(|c| c.healthcheck = Some(vec!["NONE".into()])), set(&["no-healthcheck"]));
        assert_eq!(
            ids(|c| c.env.push("DB_PASSWORD=hunter22".into())),
            set(&["secret-in-environment"])
        );
        let token = format!("xoxb-{}-{}", "123412341234", "q8Zr4Tn1WkV0pLx9sYb3Dm7C");
        assert_eq!(ids(|c| c.env.push(format!("X={token}"))), set(&["secret-in-environment"]));
        assert_eq!(
            ids(|c| {
                c.labels.insert("a".into(), token.clone());
            }),
            set(&["secret-in-label"])
        );
        assert_eq!(ids(|c| c.exposed_ports.push("22/tcp".into())), set(&["ssh-exposed"]));
        assert_eq!(ids(|c| c.volumes.push("/etc/".into())), set(&["system-path-volume"]));
        assert_eq!(ids(|c| c.working_dir = "app".into()), set(&["working-folder-unsafe"]));
        assert_eq!(ids(|c| c.created = Some("2020-01-01T00:00:00Z".into())), set(&["image-old"]));
        assert_eq!(ids(|c| c.created = Some("1970-01-01T00:00:00Z".into())), set(&[]));
        assert_eq!(
            ids(|c| c.env.push("PYTHONHTTPSVERIFY=0".into())),
            set(&["tls-verification-off"])
        );
    }

    #[test]
    fn build_steps_are_judged() {
        let check =
            |step: &str, expected: &[&str]| assert_eq!(history(step), set(expected), "{step}");
        check("RUN /bin/sh -c apt-get update # buildkit", &[]);
        check("/bin/sh -c #(nop) ADD file:0123 in / ", &[]);
        check("ADD app.py /srv/ # buildkit", &["add-instead-of-copy"]);
        check("ADD app.tar.gz /srv/ # buildkit", &[]);
        check("ADD https://host.test/x /x # buildkit", &["remote-add"]);
        check("RUN curl -sSL https://host.test/i | sudo bash -", &["pipe-to-shell"]);
        check("RUN curl -sSL https://host.test/i | tar x", &[]);
        check("RUN wget --no-check-certificate https://x", &["tls-verification-off"]);
        check("RUN apt-get install --allow-unauthenticated x", &["signature-check-off"]);
        check("RUN echo root:x | chpasswd", &["password-set-in-build"]);
        check("|1 DB_PASSWORD=hunter22 /bin/sh -c make", &["secret-in-history"]);
        check("RUN |1 DB_PASSWORD=hunter22 /bin/sh -c make # buildkit", &["secret-in-history"]);
        check("ARG DB_PASSWORD=hunter22", &["secret-in-history"]);
        check("ARG DB_PASSWORD", &[]);
        check("ENV DB_PASSWORD_FILE=/run/secrets/db", &[]);
        check("/bin/sh -c #(nop)  ENV DB_PASSWORD=$X", &[]);
    }

    #[test]
    fn files_and_names_are_judged() {
        let config = ImageConfig {
            user: "1".into(),
            healthcheck: Some(vec!["CMD".into()]),
            ..ImageConfig::default()
        };
        let secrets = Searcher::new().unwrap();
        let landmarks: Vec<String> =
            ["usr/sbin/sshd", "usr/bin/sudo", "srv/.git/HEAD", "var/lib/apt/lists/x_Packages"]
                .iter()
                .map(ToString::to_string)
                .collect();
        assert!(landmarks.iter().all(|path| is_landmark(path)) && !is_landmark("etc/passwd"));
        let facts = Facts {
            config: &config,
            tag: Some("latest"),
            landmarks: &landmarks,
            empty_password: has_empty_password(b"root:*:1\nguest::1\n"),
            now: Timestamp::from_nanos(0),
            secrets: &secrets,
        };
        let found: Vec<String> = examine(&facts).into_iter().map(|m| m.check).collect();
        assert_eq!(
            found,
            [
                "empty-password",
                "sshd-installed",
                "sudo-installed",
                "repository-copied",
                "package-cache-left",
                "mutable-tag"
            ]
        );
        assert!(!has_empty_password(b"root:*:1\n\nbroken\n"));
    }

    #[test]
    fn every_check_has_a_name_of_its_own_and_a_number() {
        let names: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(names.len(), CHECKS.len());
        assert!(CHECKS.iter().all(|check| check.catalogue.starts_with("IMG-")));
    }
}
