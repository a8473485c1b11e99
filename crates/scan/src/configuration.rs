//! What the checks of an image's configuration need to know of its files.
//!
//! The checks themselves are those of [`crate::config`], which also judge Dockerfiles: the
//! history of an image is read as the instructions that made it.

/// Paths that matter to a check, when the image has them: without leading slash.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use palisade_base::Timestamp;
    use palisade_image::{HistoryStep, ImageConfig};
    use palisade_model::judgement::SuppressedBy;
    use palisade_policy::{CheckException, Checks};

    use super::*;
    use crate::config::checks::ImageFacts;
    use crate::config::examine_image;
    use crate::secrets::Searcher;

    fn ids(change: impl FnOnce(&mut ImageConfig)) -> BTreeSet<String> {
        let mut config = ImageConfig {
            user: "65532".into(),
            healthcheck: Some(vec!["CMD".into(), "true".into()]),
            ..ImageConfig::default()
        };
        change(&mut config);
        let secrets = Searcher::new().unwrap();
        let facts = ImageFacts {
            landmarks: &[],
            empty_password: false,
            created: config.created.as_deref(),
            now: "2026-11-22T00:00:00Z".parse().unwrap(),
        };
        let found = examine_image(&config, None, &facts, &secrets, &Checks::default());
        found.found.into_iter().map(|m| m.check).collect()
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
        check(
            "RUN /bin/sh -c curl -k https://x | sh # buildkit",
            &["pipe-to-shell", "tls-verification-off"],
        );
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
        let facts = ImageFacts {
            landmarks: &landmarks,
            empty_password: has_empty_password(b"root:*:1\nguest::1\n"),
            created: None,
            now: Timestamp::from_nanos(0),
        };
        let found = examine_image(&config, Some("latest"), &facts, &secrets, &Checks::default());
        let found: BTreeSet<String> = found.found.into_iter().map(|m| m.check).collect();
        assert_eq!(
            found,
            set(&[
                "empty-password",
                "sshd-installed",
                "sudo-installed",
                "repository-copied",
                "package-cache-left",
                "mutable-tag"
            ])
        );
        assert!(!has_empty_password(b"root:*:1\n\nbroken\n"));
    }

    #[test]
    fn what_the_policy_excuses_is_set_aside_with_its_reason() {
        let config =
            ImageConfig { healthcheck: Some(vec!["CMD".into()]), ..ImageConfig::default() };
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let facts = ImageFacts { landmarks: &[], empty_password: false, created: None, now };
        let secrets = Searcher::new().unwrap();
        let judge = |expires: &str, path: &str| {
            let exception = CheckException {
                check: "image-runs-as-root".into(),
                path: path.into(),
                reason: "it binds port 80".into(),
                expires: expires.parse().unwrap(),
                ..CheckException::default()
            };
            let policy = Checks { except: vec![exception], ..Checks::default() };
            examine_image(&config, None, &facts, &secrets, &policy)
        };
        let report = judge("2027-01-01T00:00:00Z", "");
        assert_eq!((report.found.len(), report.excused.len()), (0, 1));
        assert_eq!(report.excused[0].by, SuppressedBy::Policy);
        assert_eq!(report.excused[0].reason, "it binds port 80");
        for (expires, path) in [("2026-01-01T00:00:00Z", ""), ("2027-01-01T00:00:00Z", "x.yaml")] {
            let report = judge(expires, path);
            assert_eq!((report.found.len(), report.excused.len()), (1, 0), "{expires} {path}");
        }
    }
}
