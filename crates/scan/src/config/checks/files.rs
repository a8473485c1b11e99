//! Checks of what a build copies into an image, and of what stands there.

use super::super::build::{Build, Instruction, Word};
use super::super::settings::{Container, Platform};
use super::{Check, DOCKERFILE_DOCS, Facts, Judge, Sink, shown};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "secret-file-copied",
        id: "IMG-006",
        title: "a file of secrets is copied into the image",
        why: "A later step that removes it leaves it in the layer below.",
        fix: "mount it for the one step that needs it (`RUN --mount=type=secret`), and revoke it if the image was shared",
        references: &["https://docs.docker.com/build/building/secrets/"],
        judge: Judge::Container(|c, _, sink| {
            for source in copied(c) {
                if is_secret_file(&source.text) {
                    sink.add(
                        source.place,
                        format!("copies {} into the image", shown(&source.text)),
                    );
                }
            }
        }),
    },
    Check {
        name: "remote-add",
        id: "IMG-008",
        title: "a file is added from the network without a checksum",
        why: "Nobody notices when the server, or somebody on the way, gives another file.",
        fix: "add `--checksum=sha256:…`",
        references: &["https://docs.docker.com/reference/dockerfile/#add"],
        judge: Judge::Container(|c, _, sink| {
            for add in instructions(c, "ADD").filter(|add| add.flag("checksum").is_none()) {
                for source in sources(add).iter().filter(|source| is_url(&source.text)) {
                    sink.add(
                        source.place,
                        format!("adds {} without a checksum", shown(&source.text)),
                    );
                }
            }
        }),
    },
    Check {
        name: "add-instead-of-copy",
        id: "IMG-009",
        title: "`ADD` is used where `COPY` would do",
        why: "`ADD` also downloads and unpacks, so that a file may become something else.",
        fix: "use `COPY`; it neither unpacks nor downloads",
        references: &["https://docs.docker.com/reference/dockerfile/#add"],
        judge: Judge::Container(add_not_copy),
    },
    Check {
        name: "package-cache-left",
        id: "IMG-015",
        title: "the package manager's cache is left in the image",
        why: "It is megabytes that nobody needs, and a list of what to attack.",
        fix: "remove it in the step that fills it, or use `RUN --mount=type=cache`",
        references: &[DOCKERFILE_DOCS],
        judge: Judge::Container(|c, facts, sink| match facts.image {
            Some(image) => {
                let is_cache = |path: &&String| {
                    path.starts_with("var/lib/apt/lists/") || path.starts_with("var/cache/")
                };
                if let Some(path) = image.landmarks.iter().find(is_cache) {
                    let message =
                        format!("the package manager's cache is left at /{}", shown(path));
                    sink.add(c.place, message);
                }
            }
            None => super::build::cache_left(c, sink),
        }),
    },
    Check {
        name: "sshd-installed",
        id: "IMG-019",
        title: "an SSH server is installed",
        why: "It is a way in that the engine's records do not see.",
        fix: "remove the package; use the engine's `exec`",
        references: &[DOCKERFILE_DOCS],
        judge: Judge::Container(|c, facts, sink| match facts.image {
            Some(_) => landmark(c, facts, "usr/sbin/sshd", sink),
            None => super::build::installs(c, &["openssh-server", "openssh", "dropbear"], sink),
        }),
    },
    Check {
        name: "ssh-exposed",
        id: "IMG-019",
        title: "the port of an SSH server is exposed",
        why: "It is a way in that the engine's records do not see.",
        fix: "remove it; use the engine's `exec`",
        references: &[DOCKERFILE_DOCS],
        judge: Judge::Container(|c, _, sink| {
            for port in c.exposed.iter().filter(|p| matches!(p.value.as_str(), "22" | "22/tcp")) {
                let message = format!("port {} of an SSH server is exposed", shown(&port.value));
                sink.add(port.place, message);
            }
        }),
    },
    Check {
        name: "repository-copied",
        id: "IMG-027",
        title: "the whole build context or a source repository is copied into the image",
        why: "With it come history, local settings, keys and whatever else lies there.",
        fix: "copy what is needed by name, and add the rest (`.git`, `.env`) to `.dockerignore`",
        references: &["https://docs.docker.com/build/concepts/context/#dockerignore-files"],
        judge: Judge::Container(|c, facts, sink| {
            if let Some(image) = facts.image {
                if let Some(path) = image.landmarks.iter().find(|p| p.ends_with(".git/HEAD")) {
                    let message = format!(
                        "a source repository was copied into the image at /{}",
                        shown(path)
                    );
                    sink.add(c.place, message);
                }
                return;
            }
            // What a build stage copies does not reach the image.
            let Some(build) = &c.build else { return };
            for copy in
                build.image_instructions().filter(|i| is_copy(i) && i.flag("from").is_none())
            {
                for source in sources(copy) {
                    let plain = source.text.trim_end_matches('/');
                    if matches!(plain, "." | "" | "*" | "./*" | ".git" | "./.git") {
                        let message = format!("copies {} into the image", shown(&source.text));
                        sink.add(source.place, message);
                    }
                }
            }
        }),
    },
    Check {
        name: "system-path-volume",
        id: "IMG-028",
        title: "a volume covers a system path",
        why: "The engine then mounts a folder over the system's files, and what is written there outlives the container.",
        fix: "declare volumes for data only",
        references: &["https://docs.docker.com/reference/dockerfile/#volume"],
        judge: Judge::Container(|c, _, sink| {
            for volume in c.volumes.iter().filter(|volume| is_system_path(&volume.value)) {
                let message = format!("a volume covers the system path {}", shown(&volume.value));
                sink.add(volume.place, message);
            }
        }),
    },
    Check {
        name: "working-folder-unsafe",
        id: "IMG-022",
        title: "the working folder is relative or a system folder",
        why: "A relative folder depends on the base image; in a system folder the program's files mix with the system's.",
        fix: "use an absolute path of the program's own",
        references: &["https://docs.docker.com/reference/dockerfile/#workdir"],
        judge: Judge::Container(|c, _, sink| {
            let Some((folder, place)) = c.working_dir.known() else { return };
            let is_relative = !folder.starts_with(['/', '$']) && !is_windows_path(folder);
            if !folder.is_empty() && (is_relative || (folder != "/" && is_system_path(folder))) {
                sink.add(place, format!("the working folder is `{}`", shown(folder)));
            }
        }),
    },
];

pub(super) fn instructions<'c>(
    c: &'c Container,
    keyword: &'static str,
) -> impl Iterator<Item = &'c Instruction> {
    let all = c.build.iter().flat_map(Build::instructions);
    all.filter(move |instruction| instruction.keyword == keyword)
}

fn is_copy(instruction: &Instruction) -> bool {
    matches!(instruction.keyword.as_str(), "COPY" | "ADD")
}

/// What a `COPY` or `ADD` copies: all its words but the last, here-documents left out.
fn sources(instruction: &Instruction) -> Vec<&Word> {
    let n = instruction.words.len().saturating_sub(1);
    instruction.words.iter().take(n).filter(|word| !word.text.starts_with("<<")).collect()
}

/// What comes from the build context.
fn copied(c: &Container) -> Vec<&Word> {
    let all = c.build.iter().flat_map(Build::instructions);
    all.filter(|i| is_copy(i) && i.flag("from").is_none()).flat_map(sources).collect()
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Names of files that hold secrets and nothing else.
const SECRET_FILES: [&str; 24] = [
    ".env",
    ".env.local",
    ".env.production",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".git-credentials",
    ".dockercfg",
    ".htpasswd",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "kubeconfig",
    "credentials",
    "credentials.json",
    "service-account.json",
    "secrets.yml",
    "secrets.yaml",
    "terraform.tfstate",
    "terraform.tfvars",
    "shadow",
];

fn is_secret_file(path: &str) -> bool {
    let lower = path.trim_end_matches('/').to_ascii_lowercase();
    let name = lower.rsplit('/').next().unwrap_or_default();
    let folders = [".ssh", ".aws", ".gnupg", ".kube", ".docker/config.json", ".config/gcloud"];
    SECRET_FILES.contains(&name)
        || [".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk"]
            .iter()
            // Certificates are public; `fullchain.pem` and `ca.pem` are the usual names.
            .any(|end| {
                name.ends_with(end)
                    && !name.contains("cert")
                    && !name.contains("chain")
                    && name != "ca.pem"
            })
        || folders.iter().any(|folder| lower == *folder || lower.ends_with(&format!("/{folder}")))
        || lower.contains(".ssh/id_")
}

/// Whether a file is one that `ADD` unpacks.
fn is_archive(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    [".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"]
        .iter()
        .any(|end| lower.ends_with(end))
}

fn add_not_copy(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    for add in instructions(c, "ADD") {
        // A base image's first layer is an ADD of its root by the classic builder.
        let is_root = c.platform == Platform::Image
            && add.text.starts_with("file:")
            && add.text.trim_end().ends_with(" in /");
        let needs_add = |word: &&Word| {
            let text = &word.text;
            is_url(text)
                || is_archive(text)
                || text.contains("git@")
                || super::build::ends(text, &[".git"])
                || !word.is_known
        };
        let sources = sources(add);
        if !is_root && !sources.is_empty() && !sources.iter().any(needs_add) {
            sink.add(add.place, "uses ADD where COPY would do");
        }
    }
}

fn landmark(c: &Container, facts: &Facts<'_>, wanted: &str, sink: &mut Sink) {
    let landmarks = facts.image.map_or(&[][..], |image| image.landmarks);
    if let Some(path) = landmarks.iter().find(|path| *path == wanted) {
        sink.add(c.place, format!("/{} is installed", shown(path)));
    }
}

pub(super) fn sudo_installed(c: &Container, facts: &Facts<'_>, sink: &mut Sink) {
    landmark(c, facts, "usr/bin/sudo", sink);
}

fn is_windows_path(path: &str) -> bool {
    path.get(1..2) == Some(":")
}

fn is_system_path(path: &str) -> bool {
    let roots = [
        "/", "/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/run", "/sbin", "/sys", "/usr",
        "/var/run",
    ];
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    roots.contains(&path) || path.ends_with("docker.sock")
}
