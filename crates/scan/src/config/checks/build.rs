//! Checks of the commands that a build runs.

use super::super::build::{Build, Instruction, Step};
use super::super::settings::{Container, Platform, VariableValue};
use super::super::shell::{self, Command, Origin};
use super::files::instructions;
use super::{Check, DOCKERFILE_DOCS, Facts, Judge, Sink, shown};

macro_rules! check {
    ($name:literal, $id:literal, $title:literal, $why:literal, $fix:literal, $judge:expr) => {
        Check {
            name: $name,
            id: $id,
            title: $title,
            why: $why,
            fix: $fix,
            references: &[DOCKERFILE_DOCS],
            judge: Judge::Container($judge),
        }
    };
}

pub(super) const CHECKS: &[Check] = &[
    check!(
        "pipe-to-shell",
        "IMG-010",
        "a download is executed unseen",
        "Whoever controls the server, or the way to it, controls the build.",
        "download, verify a checksum, then execute",
        pipe_to_shell
    ),
    check!(
        "tls-verification-off",
        "IMG-011",
        "TLS verification is switched off",
        "Everything that is downloaded can be replaced on the way.",
        "remove the option and install the right certificates",
        tls_off
    ),
    check!(
        "signature-check-off",
        "IMG-012",
        "packages are installed without checking signatures",
        "A package of anybody's is installed as the distribution's.",
        "remove the option and add the repository's key",
        |c, _, sink| each_command(c, sink, |command| {
            ignores_signatures(command).then_some("installs packages without checking signatures")
        })
    ),
    check!(
        "index-update-alone",
        "IMG-013",
        "the package index is updated in a step of its own",
        "The step is cached: later builds install old, vulnerable versions.",
        "update and install in one step: `RUN apt-get update && apt-get install …`",
        |c, _, sink| if c.platform == Platform::Dockerfile {
            update_alone(c, sink);
        }
    ),
    check!(
        "distribution-upgrade",
        "IMG-014",
        "the build upgrades the distribution",
        "What the image holds then depends on the day of the build; the base should be current.",
        "use a newer base image",
        |c, _, sink| if c.platform == Platform::Dockerfile {
            each_command(c, sink, |command| {
                let bad = match command.program() {
                    "apt" | "apt-get" | "aptitude" => {
                        command.has_any(&["dist-upgrade", "full-upgrade"])
                    }
                    "zypper" => command.has_any(&["dist-upgrade", "dup"]),
                    "do-release-upgrade" => true,
                    _ => false,
                };
                bad.then_some("upgrades the distribution")
            });
        }
    ),
    check!(
        "recommended-packages",
        "IMG-016",
        "recommended packages are installed along",
        "Every package is one more that can be attacked and must be updated.",
        "add `--no-install-recommends` (apt), `--setopt=install_weak_deps=False` (dnf), `--no-recommends` (zypper)",
        |c, _, sink| if c.platform == Platform::Dockerfile {
            each_command(c, sink, |command| {
                let words = command.arguments();
                let says = |part: &str| words.iter().any(|word| word.contains(part));
                let bad = match command.program() {
                    "apt" | "apt-get" => {
                        !says("--no-install-recommends") && !says("Install-Recommends")
                    }
                    "dnf" | "microdnf" => !says("install_weak_deps"),
                    "zypper" => !says("--no-recommends"),
                    _ => false,
                };
                (bad && command.verb() == "install").then_some("installs recommended packages")
            });
        }
    ),
    check!(
        "unpinned-packages",
        "IMG-017",
        "packages are installed in whatever version is newest",
        "The same build gives another image tomorrow.",
        "name versions, or install from a lock file",
        |c, _, sink| if c.platform == Platform::Dockerfile {
            each_command(c, sink, |command| {
                unpinned(command).then_some("installs packages without versions")
            });
        }
    ),
    check!(
        "sudo-installed",
        "IMG-018",
        "sudo is installed or used",
        "In a build everything is root already; in the image sudo is a way to become root.",
        "remove it; drop privileges with `USER` instead",
        |c, facts, sink| {
            if facts.image.is_some() {
                return super::files::sudo_installed(c, facts, sink);
            }
            each_command(c, sink, |command| {
                let used = command.words.iter().any(|word| shell::base_name(word) == "sudo");
                (used && packages(command).is_none()).then_some("uses sudo")
            });
            installs(c, &["sudo"], sink);
        }
    ),
    check!(
        "no-healthcheck",
        "IMG-020",
        "no health check is declared",
        "An engine restarts only what it knows to be sick.",
        "add `HEALTHCHECK`, or let the orchestrator probe",
        |c, _, sink| {
            let judged = matches!(c.platform, Platform::Dockerfile | Platform::Image);
            if judged && c.healthcheck.effective() == Some(&false) {
                sink.add(c.healthcheck.place_or(c.place), "no health check is declared");
            }
        }
    ),
    check!(
        "repeated-instruction",
        "IMG-021",
        "an instruction of which only the last counts stands several times",
        "The earlier ones are without effect, which is hardly what was meant.",
        "keep one in each stage",
        |c, _, sink| if c.platform == Platform::Dockerfile {
            repeated(c, sink);
        }
    ),
    check!(
        "shell-form",
        "IMG-029",
        "the program is started by a shell, or a failed pipe goes unseen",
        "A shell as process 1 does not pass signals on; without `pipefail` a download that fails is no error.",
        "use the JSON form: `CMD [\"program\", \"argument\"]`; set `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]`",
        |c, _, sink| if c.platform == Platform::Dockerfile {
            shell_form(c, sink);
        }
    ),
];

/// Whether `name` ends in one of `all`.
pub(super) fn ends(name: &str, all: &[&str]) -> bool {
    all.iter().any(|end| name.ends_with(end))
}

/// What a judge says of every command of every `RUN`.
fn each_command(c: &Container, sink: &mut Sink, judge: impl Fn(&Command) -> Option<&'static str>) {
    for Step { command, place } in instructions(c, "RUN").flat_map(Instruction::commands) {
        if let Some(message) = judge(&command) {
            sink.add(place, message);
        }
    }
}

fn fetches(command: &Command) -> bool {
    matches!(command.program(), "curl" | "wget" | "fetch" | "aria2c")
}

fn executes(command: &Command) -> bool {
    shell::is_shell(command.program()) || matches!(command.program(), "eval" | "source" | ".")
}

fn pipe_to_shell(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    for run in instructions(c, "RUN") {
        let steps = run.commands();
        let mut fetched_in_pipe = false;
        let mut before: Option<&Command> = None;
        for Step { command, place } in &steps {
            let piped = command.origin == Origin::Pipe;
            fetched_in_pipe &= piped;
            let substituted = command.origin == Origin::Substitution
                && fetches(command)
                && before.is_some_and(executes);
            if (piped && fetched_in_pipe && executes(command)) || substituted {
                sink.add(*place, "pipes a download into a shell");
            }
            fetched_in_pipe |= fetches(command);
            before = Some(command);
        }
    }
}

/// Variables that switch verification off, with the values that do.
const TLS_VARIABLES: [(&str, &[&str]); 6] = [
    ("NODE_TLS_REJECT_UNAUTHORIZED", &["0"]),
    ("PYTHONHTTPSVERIFY", &["0"]),
    ("GIT_SSL_NO_VERIFY", &["1", "true"]),
    ("NPM_CONFIG_STRICT_SSL", &["false"]),
    ("YARN_STRICT_SSL", &["false"]),
    ("PIP_TRUSTED_HOST", &[]),
];

fn is_tls_off(name: &str, value: &str) -> bool {
    TLS_VARIABLES.iter().any(|(known, values)| {
        let bad = values.is_empty() && !value.is_empty();
        known.eq_ignore_ascii_case(name)
            && (bad || values.iter().any(|off| off.eq_ignore_ascii_case(value)))
    })
}

fn tls_off(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    for variable in &c.env {
        if let VariableValue::Literal(value) = &variable.value.value
            && is_tls_off(&variable.value.name, value)
        {
            let message =
                format!("TLS verification is switched off: {}", shown(&variable.value.name));
            sink.add(variable.place, message);
        }
    }
    each_command(c, sink, |command| {
        let has = |words: &[&str]| command.has_any(words);
        let words = command.arguments();
        let pair = |first: &str, second: &str| {
            words.windows(2).any(|w| w[0].eq_ignore_ascii_case(first) && w[1] == second)
        };
        let off = match command.program() {
            "curl" => has(&["--insecure"]) || command.has_short('k'),
            "wget" => has(&["--no-check-certificate"]),
            "pip" | "pip3" | "uv" | "python" | "python3" => words
                .iter()
                .any(|w| w.starts_with("--trusted-host") || w == "--allow-insecure-host"),
            "npm" | "yarn" | "pnpm" => {
                pair("strict-ssl", "false") || words.iter().any(|w| w.ends_with("strict-ssl=false"))
            }
            "git" => {
                pair("http.sslVerify", "false")
                    || words.iter().any(|w| w.eq_ignore_ascii_case("http.sslVerify=false"))
            }
            "apt" | "apt-get" | "yum" | "dnf" => words.iter().any(|w| {
                let w = w.to_ascii_lowercase();
                w.contains("verify-peer=false")
                    || w.contains("sslverify=false")
                    || w.contains("sslverify=0")
            }),
            _ => false,
        };
        let assigned = command
            .words
            .iter()
            .any(|word| word.split_once('=').is_some_and(|(name, value)| is_tls_off(name, value)));
        (off || assigned).then_some("switches TLS verification off")
    });
}

fn ignores_signatures(command: &Command) -> bool {
    let says = |part: &str| command.words.iter().any(|word| word.contains(part));
    let is_manager = packages(command).is_some()
        || matches!(
            command.program(),
            "apt" | "apt-get" | "yum" | "dnf" | "microdnf" | "zypper" | "apk" | "rpm" | "tdnf"
        );
    let option = [
        "--allow-unauthenticated",
        "--force-yes",
        "--nogpgcheck",
        "--nosignature",
        "--allow-untrusted",
        "--no-gpg-checks",
        "AllowUnauthenticated=true",
        "gpgcheck=0",
    ];
    (is_manager && option.iter().any(|option| says(option))) || says("trusted=yes")
}

/// The packages that a command installs, if it installs some.
pub(super) fn packages(command: &Command) -> Option<Vec<&str>> {
    let arguments = command.arguments();
    let verbs: &[&str] = match command.program() {
        "apt" | "apt-get" | "aptitude" | "yum" | "dnf" | "microdnf" | "tdnf" | "pip" | "pip3"
        | "gem" | "go" => &["install"],
        "zypper" => &["install", "in"],
        "apk" => &["add"],
        "npm" => &["install", "i", "add"],
        "python" | "python3" if command.has("pip") => &["install"],
        _ => return None,
    };
    let at = arguments.iter().position(|word| verbs.contains(&word.as_str()))?;
    let mut found = Vec::new();
    let mut skips_next = false;
    for word in &arguments[at + 1..] {
        // Options with a value of their own.
        let takes_value = [
            "-t",
            "--target-release",
            "-r",
            "--requirement",
            "-c",
            "--virtual",
            "-X",
            "--repository",
            "-o",
            "--index-url",
            "-i",
            "--extra-index-url",
            "--prefix",
            "-e",
        ];
        if std::mem::take(&mut skips_next) || word.is_empty() {
            continue;
        }
        if word.starts_with('-') {
            skips_next = takes_value.contains(&word.as_str());
            continue;
        }
        found.push(word.as_str());
    }
    Some(found)
}

/// Names the packages among `unwanted` that a build installs into the image.
pub(super) fn installs(c: &Container, unwanted: &[&str], sink: &mut Sink) {
    for Step { command, place } in instructions(c, "RUN").flat_map(Instruction::commands) {
        let names = packages(&command).unwrap_or_default();
        for name in names {
            let plain = name.split(['=', '~', '<', '>', '@']).next().unwrap_or_default();
            if unwanted.contains(&plain) {
                sink.add(place, format!("installs {plain}"));
            }
        }
    }
}

fn update_alone(c: &Container, sink: &mut Sink) {
    for run in instructions(c, "RUN") {
        let steps = run.commands();
        let updates = |command: &Command| match command.program() {
            "apt" | "apt-get" | "apk" => command.verb() == "update",
            "yum" | "dnf" => matches!(command.verb(), "makecache" | "check-update"),
            "zypper" => matches!(command.verb(), "refresh" | "ref"),
            _ => false,
        };
        let uses = |command: &Command| {
            packages(command).is_some()
                || matches!(command.verb(), "upgrade" | "dist-upgrade" | "build-dep" | "source" | "download")
                // A script may install what it likes.
                || ends(command.program(), &[".sh"])
        };
        if let Some(step) = steps.iter().find(|step| updates(&step.command))
            && !steps.iter().any(|step| uses(&step.command))
        {
            sink.add(step.place, "updates the package index and installs nothing");
        }
    }
}

fn unpinned(command: &Command) -> bool {
    let Some(names) = packages(command) else { return false };
    let is_pinned = |name: &&str| {
        let is_local = name.starts_with(['.', '/', '$'])
            || name.contains("://")
            || ends(name, &[".deb", ".rpm", ".whl"]);
        let has_version = match command.program() {
            "apt" | "apt-get" | "aptitude" => name.contains('='),
            "apk" => name.contains(['=', '~', '<', '>']),
            "yum" | "dnf" | "microdnf" | "tdnf" => {
                name.split('-').skip(1).any(|p| p.starts_with(|c: char| c.is_ascii_digit()))
            }
            "zypper" => name.contains(['=', '<', '>']),
            "npm" => name.trim_start_matches('@').contains('@') && !name.ends_with("@latest"),
            "gem" => name.contains(':') || command.has_any(&["-v", "--version"]),
            "go" => name.contains('@') && !name.ends_with("@latest"),
            _ => name.contains("==") || name.contains('@'),
        };
        is_local || has_version
    };
    // `npm install` and `pip install -r` read a lock file.
    !names.is_empty() && !names.iter().all(is_pinned)
}

/// Caches of package managers, with what removes them.
pub(super) fn cache_left(c: &Container, sink: &mut Sink) {
    let Some(build) = &c.build else { return };
    // What a build stage leaves does not reach the image.
    for run in build.image_instructions().filter(|i| i.keyword == "RUN") {
        if run.flags.iter().any(|(name, value)| name == "mount" && value.contains("type=cache")) {
            continue;
        }
        let steps = run.commands();
        let cleans = |wanted: &[&str]| {
            steps.iter().any(|step| {
                let text = step.command.shown();
                wanted.iter().any(|part| text.contains(part))
            })
        };
        for Step { command, place } in &steps {
            if packages(command).is_none() {
                continue;
            }
            let left = match command.program() {
                "apt" | "apt-get" => !cleans(&["/var/lib/apt/lists"]),
                "apk" => !command.has("--no-cache") && !cleans(&["/var/cache/apk"]),
                "yum" => {
                    !cleans(&["yum clean all", "/var/cache/yum", "/var/cache/dnf", "dnf clean all"])
                }
                "dnf" | "microdnf" => {
                    !cleans(&["dnf clean all", "/var/cache/dnf", "/var/cache/yum", "yum clean all"])
                }
                "tdnf" => !cleans(&["tdnf clean all", "/var/cache"]),
                "zypper" => !cleans(&["zypper clean", "zypper cc", "/var/cache/zypp"]),
                "pip" | "pip3" => {
                    !command.has("--no-cache-dir")
                        && !cleans(&["pip cache purge"])
                        && !sets_no_cache(build)
                }
                _ => false,
            };
            if left {
                sink.add(*place, format!("leaves the cache of {} in the layer", command.program()));
            }
        }
    }
}

/// `ENV PIP_NO_CACHE_DIR=1`.
fn sets_no_cache(build: &Build) -> bool {
    build.instructions().any(|i| i.keyword == "ENV" && i.text.contains("PIP_NO_CACHE_DIR"))
}

fn repeated(c: &Container, sink: &mut Sink) {
    for stage in c.build.iter().flat_map(|build| &build.stages) {
        for keyword in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
            let all = stage.instructions.iter().filter(|i| i.keyword == keyword && !i.is_onbuild);
            for later in all.skip(1) {
                sink.add(later.place, format!("`{keyword}` stands in this stage already"));
            }
        }
    }
}

fn shell_form(c: &Container, sink: &mut Sink) {
    let Some(build) = &c.build else { return };
    for start in build.image_instructions() {
        let starts = matches!(start.keyword.as_str(), "CMD" | "ENTRYPOINT");
        if starts && start.exec.is_none() && !start.text.is_empty() {
            sink.add(start.place, format!("`{}` starts a shell", start.keyword));
        }
    }
    for stage in &build.stages {
        let mut has_pipefail = false;
        for instruction in &stage.instructions {
            match instruction.keyword.as_str() {
                "SHELL" => has_pipefail = instruction.text.contains("pipefail"),
                "RUN" if !has_pipefail && instruction.exec.is_none() => {
                    let steps = instruction.commands();
                    let sets = steps.iter().any(|step| step.command.shown().contains("pipefail"));
                    if let Some(step) =
                        steps.iter().find(|s| s.command.origin == Origin::Pipe).filter(|_| !sets)
                    {
                        sink.add(step.place, "a command before the pipe may fail unseen");
                    }
                }
                _ => {}
            }
        }
    }
}
