//! An OCI runtime between an engine and the distribution's: it reads what the engine asks
//! for, confines or refuses it by policy, and hands over to runC or crun with the same
//! arguments.
//!
//! Docker, containerd, Podman and CRI-O call an OCI runtime four to five times for one
//! container. `create`, `run` and `restore` read the bundle's `config.json`, `exec` reads the
//! process that is to be started; everything else goes through untouched. When the policy or
//! the settings cannot be read nothing new is started, while what runs can still be stopped.
//!
//! A refusal goes into the runtime's own log (`--log`), which is where engines take the
//! message from that their user reads.
//!
//! Not seen from here: pulling, `docker cp`, volumes that an engine makes, its API.

mod arguments;
mod document;
mod fitness;
mod identity;
mod keeper;
mod log;
mod origin;
mod program;
mod settings;
mod state;
mod trust;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, Timestamp};
use palisade_harden::{
    ContainerKind, EngineFacts, Facts, Hardened, ImageFacts, Machine, Refusal, Rlimit,
    harden_container, harden_exec,
};
use palisade_policy::standing::Standing;
use palisade_policy::{Allowance, EngineMode, LoadedPolicy, Policy, Seccomp};
use palisade_sys::facts;
use serde_json::{Value, json};

pub use arguments::{Invocation, parse as parse_arguments};
pub use document::{DOCUMENT_BYTES_MAX, Document, DocumentError};
pub(crate) use identity::is_socket;
use identity::state_roots;
pub use identity::{engine_facts, first_process};
pub use program::{called_as, hand_over};
pub use settings::{SETTINGS_PATH, Settings, SettingsError};
pub use state::Confinement;

/// Bytes of a seccomp profile file that are read.
const SECCOMP_BYTES_MAX: u64 = 1 << 20;
/// Reasons of a refusal that an engine's user is shown: `--privileged` asks for thirty capabilities.
const REASONS_SHOWN_MAX: usize = 6;
/// Flag of `exec` that runC and crun both know.
const NO_NEW_PRIVILEGES: &str = "--no-new-privs";
/// What flags of `exec` say of a process.
const FLAGGED: [&str; 5] = [
    "/user/uid",
    "/user/additionalGids",
    "/capabilities/bounding",
    "/apparmorProfile",
    "/selinuxLabel",
];
/// Exit code of a refused `exec`, as runC's own failures have.
const EXEC_FAILED: u8 = 255;

/// What becomes of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Handover {
    /// Another program goes on.
    Exec {
        /// The runtime.
        program: PathBuf,
        /// Its arguments: those that we were given, and flags that take away.
        arguments: Vec<OsString>,
    },
    /// Nothing is started; the reason is in the log.
    Refused {
        /// What the engine's user reads.
        message: String,
        /// Our exit code.
        code: u8,
    },
}

/// Takes one call of an engine: `arguments` without the program's own name, which is `called`.
///
/// `own` is this program, which must not be taken for the runtime to hand over to.
pub fn take(called: &str, arguments: &[OsString], settings_path: &Path, own: &Path) -> Handover {
    let invocation = parse_arguments(arguments);
    let settings = Settings::read(settings_path);
    let state = settings.as_ref().map_or_else(|_| Settings::default().state, |s| s.state.clone());
    let command = invocation.command.as_deref().unwrap_or_default();
    let runtime = settings.as_ref().ok().and_then(|settings| settings.runtime.clone());
    // Looked for first: what nobody will start must not have been written anew.
    let found = settings::find_runtime(called, runtime.as_deref(), own);
    let mut handed = arguments.to_vec();
    let after_command = handed.len().min(invocation.before_command + 1);
    let result = match command {
        "create" | "run" | "restore" => settings.as_ref().map_err(why).and_then(|settings| {
            let program = found.as_ref().map_err(String::clone)?;
            start(&invocation, settings, program, own)
        }),
        "exec" => settings.as_ref().map_err(why).and_then(|settings| {
            handed.splice(after_command..after_command, exec(&invocation, settings)?);
            Ok(())
        }),
        "delete" => {
            if let Some(id) = &invocation.id {
                if let Some(confinement) = Confinement::read(&state, id) {
                    confinement.remove_groups(&state_roots(invocation.root.as_deref()));
                }
                Confinement::forget(&state, id);
            }
            Ok(())
        }
        _ if invocation.is_doubtful() => Err(format!(
            "palisade does not understand the arguments of this call: {}",
            invocation.shown()
        )),
        _ => Ok(()),
    };
    match result.and(found) {
        Ok(program) => Handover::Exec { program, arguments: handed },
        Err(message) => {
            log::error(&invocation, &message, Timestamp::now());
            Handover::Refused { message, code: if command == "exec" { EXEC_FAILED } else { 1 } }
        }
    }
}

/// An error with its causes and its remedy, on one line.
pub(crate) fn why<E: palisade_base::Explain + std::error::Error>(error: &E) -> String {
    let mut out = format!("palisade: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        out = format!("{out}: {cause}");
        source = cause.source();
    }
    match error.hint() {
        Some(hint) => format!("{out} ({hint})"),
        None => out,
    }
}

/// A refusal as one line: each reason with its remedy, and how many more there are.
fn refusal_text(refusal: &Refusal, policy: &Policy, what: &str) -> String {
    let shown = refusal.reasons.iter().take(REASONS_SHOWN_MAX);
    let mut reasons: Vec<String> = shown
        .map(|reason| format!("{} [{}]: {}", reason.message, reason.control, reason.fix))
        .collect();
    let n_more = refusal.reasons.len().saturating_sub(REASONS_SHOWN_MAX);
    if n_more > 0 {
        reasons.push(format!("and {n_more} more reasons"));
    }
    format!("palisade: policy `{}` refuses this {what}: {}", policy.name, reasons.join("; "))
}

fn load(settings: &Settings) -> Result<LoadedPolicy, String> {
    Policy::load(&settings.policy).map_err(|error| why(&error))
}

/// This process's limits, which what it starts would inherit.
pub(crate) fn own_rlimits() -> BTreeMap<&'static str, Rlimit> {
    facts::rlimits().into_iter().map(|(name, soft, hard)| (name, Rlimit { soft, hard })).collect()
}

/// What hardening must know of machine and policy.
pub fn machine_facts(policy: &Policy) -> Result<Facts, String> {
    let containers = &policy.containers;
    let seccomp_document = match &containers.seccomp {
        Seccomp::File(path) => {
            let read = std::fs::File::open(path)
                .and_then(|file| {
                    palisade_base::read_bounded(file, "seccomp profile", SECCOMP_BYTES_MAX)
                })
                .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            Some(read.map_err(|error| {
                format!("palisade: read seccomp profile `{}`: {error}", path.display())
            })?)
        }
        _ => None,
    };
    let can_limit_swap = containers.limits.memory_bytes.is_some()
        && palisade_sys::Hierarchies::detect().is_ok_and(|found| found.can_limit_swap());
    Ok(Facts {
        image: ImageFacts::default(),
        machine: Machine {
            architecture: facts::kernel().machine,
            rlimits: own_rlimits(),
            may_raise_rlimits: facts::may_raise_rlimits(),
            can_limit_swap,
            disk: None,
        },
        seccomp_document,
    })
}

/// Confines a container that is about to be made.
///
/// `program` is the runtime that it is handed over to, `own` this program.
fn start(
    invocation: &Invocation,
    settings: &Settings,
    program: &Path,
    own: &Path,
) -> Result<(), String> {
    let loaded = load(settings)?;
    let policy = &loaded.policy;
    let bundle = invocation.bundle.clone().unwrap_or_else(|| PathBuf::from("."));
    let document = Document::read(&bundle.join("config.json")).map_err(|error| why(&error))?;
    let id = invocation.id.as_deref().unwrap_or_default();
    let engine = engine_facts(&document.value, &bundle, id, Timestamp::now())?;
    let origin = || origin::origin(&document.value, &bundle, id);
    if invocation.command.as_deref() == Some("restore") {
        restored(policy, &engine)?;
    }
    quarantine(settings, &engine, origin)?;
    let verdict = trust::judge(policy, &engine, origin, settings, own);
    if let (trust::Verdict::Refused(reason), EngineMode::Enforce) = (&verdict, policy.engines.mode)
    {
        return Err(reason.clone());
    }
    let facts = machine_facts(policy)?;
    let result = harden_container(document.value.clone(), policy, &facts, &engine);
    let mut confinement = Confinement::of(&engine, policy, &result)
        .with_cgroup(&document.value)
        .with_verdict(verdict);
    if result.is_ok() || policy.engines.mode == EngineMode::Report {
        confinement.warnings.extend(fitness::check(program, &settings.state)?);
    }
    match (result, policy.engines.mode) {
        (Ok(hardened), EngineMode::Enforce) => {
            // Also where nothing changed: the runtime then reads what was judged, and nothing that
            // its reader takes otherwise or that was put there meanwhile.
            document.replace(&hardened.spec).map_err(|error| why(&error))?;
        }
        (Err(refusal), EngineMode::Enforce) => {
            return Err(refusal_text(&refusal, policy, "container"));
        }
        (_, EngineMode::Report) => {}
    }
    // What is known of it is for people; without it the container is as confined.
    if invocation.command.as_deref() == Some("run") {
        // Started and deleted in one call, as builders do: no `delete` comes to forget it.
        Confinement::sweep(&settings.state, engine.now);
        if engine.kind == ContainerKind::Build {
            return Ok(());
        }
        confinement = confinement.with_roots(state_roots(invocation.root.as_deref()));
    }
    confinement.write(&settings.state);
    Ok(())
}

/// Refuses a container that comes out of a checkpoint: user, capabilities, filter and
/// `no_new_privs` of its processes are in CRIU's files, which its engine's user may bring along,
/// and the configuration says nothing of them.
fn restored(policy: &Policy, engine: &EngineFacts) -> Result<(), String> {
    let mut about = policy.engines.exceptions.iter().filter(|it| it.is_about(engine.subject()));
    let is_excepted =
        about.any(|it| engine.now <= it.expires && it.allow.contains(&Allowance::Privileged));
    if is_excepted || policy.engines.mode == EngineMode::Report {
        return Ok(());
    }
    Err(format!(
        "palisade: policy `{name}` refuses this container: what its processes may do comes out of \
         a checkpoint, which nobody here can judge [restore]: start it anew, or have policy \
         `{name}` allow `privileged` (engines.exceptions)",
        name = policy.name
    ))
}

/// Refuses an image that a response has put into quarantine, whatever the policy's mode: it was
/// ordered for this image. What cannot be read refuses as well.
fn quarantine(
    settings: &Settings,
    engine: &EngineFacts,
    origin: impl FnOnce() -> origin::Origin,
) -> Result<(), String> {
    let standing = Standing::read(&settings.standing).map_err(|error| why(&error))?;
    if standing.images.is_empty() {
        return Ok(());
    }
    let known = engine.image_digests.iter().chain(&engine.asked_digests);
    let mut digests: Vec<Digest> = known.filter_map(|text| text.parse().ok()).collect();
    // containerd's containers have names alone; its database has the digests.
    digests.extend(origin().digests);
    match standing.image(&digests) {
        Some(entry) => {
            Err(format!("palisade: image {} is in quarantine {}", entry.what, entry.why()))
        }
        None => Ok(()),
    }
}

/// Confines a process that is about to be started in a container; returns flags to be added.
fn exec(invocation: &Invocation, settings: &Settings) -> Result<Option<OsString>, String> {
    let loaded = load(settings)?;
    let policy = &loaded.policy;
    let id = invocation.id.as_deref().unwrap_or_default();
    let found = first_process(invocation.root.as_deref(), id);
    let facts = machine_facts(policy)?;
    let now = Timestamp::now();
    let (spec, bundle) = match &found {
        Some(found) => (found.spec.clone(), found.bundle.clone()),
        None => (json!({}), PathBuf::from(".")),
    };
    let engine = engine_facts(&spec, &bundle, id, now)?;
    let harden = |process: Value| -> Result<Hardened, Refusal> {
        // Nothing is known of a container whose state lies elsewhere; the policy holds.
        harden_exec(process, spec.pointer("/process"), policy, &facts, &engine)
    };
    let Some(path) = &invocation.process else {
        // The runtime takes the container's own process and adds what these flags say.
        let process = flags_as_process(invocation, &spec);
        let hardened = harden(process.clone());
        let leaves = |path: &String| path.split(['/', ':']).any(|part| part == "..");
        return match hardened {
            _ if policy.engines.mode == EngineMode::Report => Ok(None),
            _ if invocation.cgroups.iter().any(leaves) => Err(format!(
                "palisade: policy `{}` refuses this process: it would be in a control group that \
                 is not the container's (leave `..` out of --cgroup)",
                policy.name
            )),
            Err(refusal) => Err(refusal_text(&refusal, policy, "process")),
            Ok(hardened)
                if FLAGGED
                    .iter()
                    .any(|path| hardened.spec.pointer(path) != process.pointer(path)) =>
            {
                Err(format!(
                    "palisade: policy `{}` refuses this process: its flags ask for more than \
                     the container has; give the process by `--process`",
                    policy.name
                ))
            }
            // crun takes everything from the container's process but this, unless told so.
            Ok(hardened) => {
                let wanted = hardened.spec.pointer("/noNewPrivileges") == Some(&json!(true));
                Ok(wanted.then(|| NO_NEW_PRIVILEGES.into()))
            }
        };
    };
    let document = Document::read(path).map_err(|error| why(&error))?;
    match (harden(document.value.clone()), policy.engines.mode) {
        (_, EngineMode::Report) => Ok(None),
        (Err(refusal), EngineMode::Enforce) => Err(refusal_text(&refusal, policy, "process")),
        (Ok(hardened), EngineMode::Enforce) => {
            document.replace(&hardened.spec).map_err(|error| why(&error))?;
            Ok(None)
        }
    }
}

/// The part of a process that `runc exec --user … --cap …` asks for.
fn flags_as_process(invocation: &Invocation, spec: &Value) -> Value {
    let mut process = spec.pointer("/process").cloned().unwrap_or_else(|| json!({}));
    if !process.is_object() {
        process = json!({});
    }
    if let Some(user) = &invocation.user {
        let uid = user.split(':').next().unwrap_or_default().parse::<u32>().unwrap_or(0);
        process["user"] = json!({"uid": uid});
    }
    let groups = invocation.groups.iter().flat_map(|list| list.split(','));
    let groups: Vec<Value> = groups.filter_map(|id| Some(json!(id.parse::<u32>().ok()?))).collect();
    if !groups.is_empty() {
        process["user"]["additionalGids"] = json!(groups);
    }
    for (key, value) in
        [("apparmorProfile", &invocation.apparmor), ("selinuxLabel", &invocation.label)]
    {
        if let Some(value) = value {
            process[key] = json!(value);
        }
    }
    let mut bounding: Vec<Value> = process
        .pointer("/capabilities/bounding")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    bounding.extend(invocation.capabilities.iter().map(|name| json!(name)));
    if !bounding.is_empty() {
        process["capabilities"] = json!({"bounding": bounding});
    }
    process
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_policy::standing::{self, Entry};

    /// What becomes of `create` for a container of Docker's whose image is `digest`.
    fn create(standing: &Standing, digest: &str) -> Handover {
        call("create", "audit", standing, digest)
    }

    /// The same, of another command and policy.
    fn call(command: &str, policy: &str, standing: &Standing, digest: &str) -> Handover {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("overlay2/f/merged");
        let docker = folder.path().join("containers/c1");
        let bundle = folder.path().join("io.containerd.runtime.v2.task/moby/c1");
        for path in [&root, &docker, &bundle] {
            std::fs::create_dir_all(path).unwrap();
        }
        let config = json!({"Name": "/web", "Image": digest, "Config": {"Image": "shop:1"}});
        std::fs::write(docker.join("config.v2.json"), config.to_string()).unwrap();
        let own = ["mount", "pid", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
        let spec = json!({"ociVersion": "1.0.2", "root": {"path": root}, "process": {
            "args": ["x"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "capabilities": {}},
            "linux": { "namespaces": own }});
        std::fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        let path = folder.path().join(standing::FILE);
        standing.write(&path).unwrap();
        let mut name = policy.to_string();
        if policy.contains('\n') {
            let file = folder.path().join("policy.yaml");
            std::fs::write(&file, policy).unwrap();
            name = file.display().to_string();
        }
        let settings = json!({"policy": name, "runtime": "/bin/true", "standing": path,
            "state": folder.path().join("state")});
        let settings_path = folder.path().join("runtime.json");
        std::fs::write(&settings_path, settings.to_string()).unwrap();
        let arguments: Vec<OsString> = [command, "--bundle", bundle.to_str().unwrap(), "c1"]
            .into_iter()
            .map(OsString::from)
            .collect();
        take("palisade-runtime", &arguments, &settings_path, Path::new("/nowhere"))
    }

    /// crun takes `no_new_privs` from the call alone when the process is given by flags.
    #[test]
    fn a_process_given_by_flags_is_handed_over_with_what_takes_away() {
        let folder = tempfile::tempdir().unwrap();
        let settings_path = folder.path().join("runtime.json");
        let check = |policy: &str, line: &str, expected: &str| {
            let settings = json!({"policy": policy, "runtime": "/bin/true",
                "state": folder.path().join("state")});
            std::fs::write(&settings_path, settings.to_string()).unwrap();
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let nowhere = Path::new("/nowhere");
            let Handover::Exec { arguments, .. } =
                take("palisade-runtime", &words, &settings_path, nowhere)
            else {
                panic!("{line} is refused")
            };
            let handed: Vec<String> =
                arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            assert_eq!(handed.join(" "), expected, "{policy}");
        };
        let line = "--root /nowhere exec --tty c1 /bin/exec -x";
        let expected = "--root /nowhere exec --no-new-privs --tty c1 /bin/exec -x";
        check("baseline", line, expected);
        check("audit", line, line);
        check("baseline", "--root /nowhere kill c1 9", "--root /nowhere kill c1 9");
    }

    /// What flags say is judged as what a file says: runtimes take the rest from the container.
    #[test]
    fn a_process_given_by_flags_has_no_more_than_the_container() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let bundle = folder.path().join("bundle");
        for path in [&bundle, &folder.path().join("root/c1")] {
            std::fs::create_dir_all(path).unwrap();
        }
        let label = "system_u:system_r:container_t:s0:c1,c2";
        let spec = json!({"process": {"user": {"uid": 5}, "apparmorProfile": "docker-default",
            "selinuxLabel": label, "capabilities": {"bounding": ["CAP_CHOWN"]}}});
        std::fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        let status = json!({ "bundle": bundle });
        std::fs::write(folder.path().join("root/c1/status"), status.to_string()).unwrap();
        let settings = json!({"policy": "baseline", "runtime": "/bin/true", "state": at("state")});
        std::fs::write(at("runtime.json"), settings.to_string()).unwrap();
        let call = |flags: &str| {
            let line = format!("--root {} exec {flags} c1 sh", at("root"));
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            take("palisade-runtime", &words, Path::new(&at("runtime.json")), Path::new("/nowhere"))
        };
        for flags in [
            "",
            "--user 6",
            "--cap CAP_CHOWN",
            "--apparmor docker-default",
            "--cgroup x/y",
            "-tg 7",
        ] {
            assert!(matches!(call(flags), Handover::Exec { .. }), "{flags}: {:?}", call(flags));
        }
        for (flags, expected) in [
            ("--apparmor unconfined", "its flags ask for more"),
            ("-a other", "its flags ask for more"),
            ("--process-label system_u:system_r:spc_t:s0", "its flags ask for more"),
            ("-c CAP_KILL", "its flags ask for more"),
            ("-tcCAP_SYS_ADMIN", "SYS_ADMIN"),
            ("--cgroup ../../x", "control group"),
            ("--cgroup cpu:../x", "control group"),
        ] {
            let Handover::Refused { message, code } = call(flags) else { panic!("{flags}") };
            assert!(message.contains(expected) && code == EXEC_FAILED, "{flags}: {message}");
        }
    }

    /// The runtime reads what was judged, also where nothing was to be changed.
    #[test]
    fn what_was_judged_is_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let settings = json!({"policy": at("policy.yaml"), "runtime": "/bin/true",
            "state": at("state")});
        std::fs::write(at("runtime.json"), settings.to_string()).unwrap();
        let excepted = "version: 1\nname: mine\nengines:\n  exceptions:\n  - containers: [\"*\"]\n    \
                        allow: [privileged]\n    reason: r\n    expires: \"2099-01-01\"\n";
        let report = "version: 1\nname: mine\nengines: {mode: report}\n";
        let spaced = "{ \"process\" : { \"args\" : [ \"x\" ] } }";
        let call = |policy: &str, text: &str, line: &str| {
            std::fs::write(at("policy.yaml"), policy).unwrap();
            for name in ["config.json", "process.json"] {
                std::fs::write(at(name), text).unwrap();
            }
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            take("palisade-runtime", &words, &at("runtime.json"), Path::new("/nowhere"))
        };
        let create = format!("create --bundle {} c1", folder.path().display());
        let exec = format!("exec --process {} c1", at("process.json").display());
        let twice = r#"{"process":{"args":["x"]},"process":{"args":["x"]}}"#;
        for (line, name) in [(&create, "config.json"), (&exec, "process.json")] {
            let read = || std::fs::read_to_string(at(name)).unwrap();
            assert!(matches!(call(excepted, spaced, line), Handover::Exec { .. }), "{line}");
            assert_eq!(read(), r#"{"process":{"args":["x"]}}"#, "{line}");
            assert!(matches!(call(report, spaced, line), Handover::Exec { .. }), "{line}");
            assert_eq!(read(), spaced, "{line}");
            let Handover::Refused { message, .. } = call(excepted, twice, line) else {
                panic!("{line}")
            };
            assert!(message.contains("`process` stands twice"), "{message}");
        }
    }

    /// Rights are in a checkpoint's files.
    #[test]
    fn no_container_comes_out_of_a_checkpoint() {
        let image = Digest::of(b"image").to_string();
        let policy = |rest: &str| format!("version: 1\nname: mine\n{rest}");
        let excepted = format!(
            "engines:\n  exceptions:\n  - images: [\"{image}\"]\n    allow: [privileged]\n    \
             reason: r\n    expires: \"2099-01-01\"\n"
        );
        let restore = |policy: &str| call("restore", policy, &Standing::default(), &image);
        for text in [policy(""), policy("engines: {asked: remove}\n")] {
            let Handover::Refused { message, .. } = restore(&text) else { panic!("{text}") };
            assert!(message.contains("[restore]") && message.contains("`privileged`"), "{message}");
        }
        for text in [policy("engines: {mode: report}\n"), policy(&excepted)] {
            assert!(
                matches!(restore(&text), Handover::Exec { .. }),
                "{text}: {:?}",
                restore(&text)
            );
        }
        let created = call("create", &policy(""), &Standing::default(), &image);
        assert!(matches!(created, Handover::Exec { .. }), "{created:?}");
    }

    #[test]
    fn no_container_is_made_of_an_image_in_quarantine() {
        let bad = Digest::of(b"bad");
        let mut standing = Standing::default();
        let free = create(&standing, &bad.to_string());
        let entry = Entry {
            what: bad,
            since: Timestamp::from_nanos(0),
            owner: "me".into(),
            reason: "intruder".into(),
        };
        standing::add(&mut standing.images, entry).unwrap();
        match create(&standing, &bad.to_string()) {
            Handover::Refused { message, .. } => {
                assert!(message.contains("is in quarantine") && message.contains("intruder"));
            }
            other @ Handover::Exec { .. } => panic!("{other:?}"),
        }
        let other = create(&standing, &Digest::of(b"good").to_string());
        for handed in [free, other] {
            let Handover::Exec { program, arguments } = handed else { panic!("{handed:?}") };
            assert_eq!((program, arguments.len()), ("/bin/true".into(), 4));
        }
    }
}
