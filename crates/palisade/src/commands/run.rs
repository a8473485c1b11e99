//! `palisade run`, `ps`, `exec`, `stop` and `rm`.

use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use palisade_bpf::isolate;
use palisade_harden::Change;
use palisade_image::Image;
use palisade_model::Target;
use palisade_policy::{Admission, Network, Policy, Seccomp};
use palisade_runtime::network::{NetworkName, PUBLISHED_MAX};
use palisade_runtime::{
    DriftDenial, DriftReport, ExecRequest, Found, IdSpace, Input, LogFile, ManageError, Output,
    Record, RunError, RunRequest, Runc, Runtime, RuntimePaths, Stdio,
};
use palisade_scan::db::Database;

use super::admission::Admitter;
use super::look::Looks;
use super::{Context, logs, supervise};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, tsv};

/// How long another process may take to keep the text of its policy.
const KEEP_DEADLINE: Duration = Duration::from_secs(10);
/// A seccomp profile file beyond this size is refused.
const SECCOMP_BYTES_MAX: u64 = 1 << 20;

/// Runs a container from an image.
pub(crate) fn run(context: &Context<'_>, args: &cli::Run) -> Result<Exit, Failure> {
    let loaded = context.load_policy(&args.policy)?;
    let mut policy = loaded.policy;
    let deny_drift = args.deny_drift || policy.containers.deny_drift;
    if context.global.supervised.is_some() {
        supervise::leave_terminal();
    }
    let detach = args.detach && context.global.supervised.is_none();
    if detach && deny_drift && !args.explain && context.rootless.is_none() {
        // Somebody has to answer for the container's programs as long as it runs.
        return supervise::start(context, args.name.as_deref());
    }
    policy.images.keys.extend(args.key.iter().cloned());
    if let Some(file) = &args.seccomp {
        policy.containers.seccomp = Seccomp::File(file.clone());
    }
    narrow_network(&mut policy, args, context.rootless.is_some())?;
    let target: Target = match (&args.target, &args.rootfs) {
        (Some(target), _) => target.parse().or_exit(Exit::Usage)?,
        (None, Some(folder)) => Target::Folder(folder.clone()),
        (None, None) => return Err(Failure::message(Exit::Usage, "neither image nor folder")),
    };
    let is_folder = args.target.is_none();
    if !is_folder
        && matches!(
            target,
            Target::Folder(_) | Target::Host | Target::Container(_) | Target::Aci(_)
        )
    {
        return Err(Failure::message(Exit::Usage, format!("`{target}` is no image")).with_hint(
            "run an image: NAME, registry:NAME, oci:DIR[:TAG], archive:FILE; or a folder: \
                        --rootfs DIR",
        ));
    }
    if args.db.as_ref().is_some_and(|path| !path.exists()) {
        // Without a name the usual place may be empty; one that was named must be there.
        Database::open(&context.database(args.db.as_ref())).or_exit(Exit::Incomplete)?;
    }
    let image = super::image::open_target(context, &target, &args.source)?;
    let database = super::db::open_for_gate(context, &policy, args.db.as_ref())?;
    let looks = Looks::for_admission(context, &policy, &args.source)?;
    let ignores = super::scan::exceptions_of(context, &policy.images.gate)?;
    let look = looks.as_ref().map(Looks::look).unwrap_or_default();
    let admitter = Admitter::new(&policy, database.as_ref(), look)
        .with_standing(&context.global.data_dir)
        .with_exceptions(ignores)
        .with_registry(context, &args.source);
    let mut command = args.command.clone();
    if let Some(program) = &args.entrypoint {
        command.insert(0, program.clone());
    }
    let terminal = context.terminal;
    // Said before the container starts, not when a server ends days later.
    let admit = |image: &Image| {
        let judged = admitter.judge(image);
        if let Some(Admission::Admitted { warnings }) = admitter.verdict() {
            for warning in &warnings {
                terminal.error(&format!("warning: {warning}\n"));
            }
        }
        judged
    };
    let started = |record: &Record, _: &[Change]| {
        if args.detach {
            let _ = terminal.result(&format!("{}\n", record.container.id));
        }
    };
    let runtime = open(context, args.runtime.as_deref())?;
    require_terminal(args.interactive, args.tty)?;
    let (stdio, log) = stdio(context, args, &runtime)?;
    let request = RunRequest {
        image: &image,
        reference: reference(&target, &image),
        name: args.name.clone(),
        command,
        clear_entrypoint: args.entrypoint.is_some(),
        env: args.env.clone(),
        working_dir: None,
        policy: &policy,
        seccomp_document: seccomp_document(&policy)?,
        published: args.publish.clone(),
        network: shared(args).cloned(),
        admit: &admit,
        terminal: args.tty,
        detach,
        log,
        forward_signals: !detach,
        deny_drift,
        stop_grace: Duration::from_secs(10),
        warn: &|text| terminal.progress(&format!("warning: {text}")),
        started: &started,
    };
    if args.explain {
        let changes = runtime.explain(&request).map_err(|error| refusal(error, &admitter))?;
        context.terminal.result(&explanation(&changes))?;
        return Ok(Exit::Clean);
    }
    remember_policy(context, &policy.name, &loaded.text)?;
    let outcome = runtime.run(&request, stdio).map_err(|error| refusal(error, &admitter))?;
    if outcome.out_of_memory {
        context.terminal.error("warning: the container reached its memory limit, and was killed\n");
    }
    if outcome.output_bytes_lost > 0 {
        context.terminal.error(&format!(
            "warning: {} bytes of the container's output could not be written\n",
            outcome.output_bytes_lost
        ));
    }
    if let Some(drift) = &outcome.drift {
        say_drift(context, drift);
    }
    // The program's own exit code is the result, as users of `docker run` expect.
    match outcome.exit {
        Some(exit) => Err(Failure::program(exit.shell_code())),
        None => Ok(Exit::Clean),
    }
}

/// The network that was asked for, as far as the policy allows it.
fn narrow_network(policy: &mut Policy, args: &cli::Run, is_rootless: bool) -> Result<(), Failure> {
    if args.network == Some(cli::ContainerNetwork::User) && !is_rootless {
        return Err(Failure::message(Exit::Usage, "root's containers have no such network")
            .with_hint("take --network bridge"));
    }
    let allowed = policy.containers.network;
    let wanted = args.network.as_ref().map_or(allowed, |network| match network {
        cli::ContainerNetwork::None => Network::None,
        cli::ContainerNetwork::Bridge
        | cli::ContainerNetwork::Shared(_)
        | cli::ContainerNetwork::User => Network::Bridge,
        cli::ContainerNetwork::Host => Network::Host,
    });
    let refused = |message: String, hint: &str| {
        Err(Failure::message(Exit::Refused, message).with_hint(hint.to_string()))
    };
    if wanted > allowed {
        let message = format!("policy `{}` allows no such network", policy.name);
        return refused(message, "set `containers.network` in the policy");
    }
    if let Some(name) = shared(args) {
        if is_rootless {
            return refused(
                "only root can make networks that containers share".into(),
                "take --network user, or run as root",
            );
        }
        if !policy.containers.shared_networks.contains(&name.to_string()) {
            let message = format!("policy `{}` allows no shared network `{name}`", policy.name);
            return refused(message, "name it in `containers.shared_networks` of the policy");
        }
    }
    policy.containers.network = wanted;
    if !args.publish.is_empty() && wanted != Network::Bridge {
        let message =
            "only a container on the bridge, or with `--network user`, can publish ports".into();
        return refused(message, "set `containers.network: bridge` in the policy");
    }
    if args.publish.len() > PUBLISHED_MAX {
        let message = format!("more than {PUBLISHED_MAX} published ports");
        return refused(message, "publish fewer");
    }
    Ok(())
}

/// The network that the container is to share.
fn shared(args: &cli::Run) -> Option<&NetworkName> {
    match &args.network {
        Some(cli::ContainerNetwork::Shared(name)) => Some(name),
        _ => None,
    }
}

/// What was refused of a container's programs.
fn say_drift(context: &Context<'_>, drift: &DriftReport) {
    let terminal = context.terminal;
    for denial in &drift.denials {
        let DriftDenial { path, origin } = denial;
        terminal.error(&format!("warning: refused to start {} ({origin})\n", path.display()));
    }
    for problem in &drift.problems {
        terminal.error(&format!("warning: {problem}\n"));
    }
    if drift.n_denied > 0 {
        let (denied, asked) = (drift.n_denied, drift.n_asked);
        terminal.error(&format!("warning: {denied} of {asked} starts of programs were refused\n"));
    }
}

/// What alerts call the image: the layout's or archive's name and the tag, as a registry
/// reference would end; the digest is recorded besides.
fn reference(target: &Target, image: &Image) -> String {
    let path = match target {
        Target::Layout { folder: path, .. } | Target::Archive { file: path, .. } => path,
        // The name in the registry or store, complete.
        other => return image.reference.clone().unwrap_or_else(|| other.to_string()),
    };
    let name = path.file_stem().map_or_else(|| target.to_string(), |n| n.to_string_lossy().into());
    match &image.reference {
        Some(tag) if tag.contains(['/', ':']) => tag.clone(),
        Some(tag) => format!("{name}:{tag}"),
        None => name,
    }
}

/// Keeps the text of the policy, so that a report can say how a container was confined
/// after it is gone.
fn remember_policy(context: &Context<'_>, name: &str, text: &str) -> Result<(), Failure> {
    use anyhow::Context as _;
    let folder = context.global.data_dir.join("policies");
    let path = folder.join(format!("{}.yaml", name.replace('/', "_")));
    std::fs::create_dir_all(&folder)
        .and_then(|()| keep(&folder, &path, text))
        .with_context(|| format!("keep the policy in `{}`", path.display()))?;
    Ok(())
}

/// Writes the file at `path` in `folder` unless it is there and has this text. What writers left
/// half written that were killed goes before.
fn keep(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let is_kept = || {
        let file = std::fs::File::open(path).ok()?;
        let kept = palisade_base::read_bounded(file, "kept policy", text.len() as u64).ok()?;
        Some(kept == text.as_bytes())
    };
    let left = || -> std::io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder)?.flatten();
        let is_left =
            |entry: &std::fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".tmp");
        Ok(entries.filter(is_left).map(|entry| entry.path()).collect())
    };
    if is_kept() == Some(true) && left()?.is_empty() {
        return Ok(());
    }
    // A temporary file of somebody who holds the lock is none that was left.
    let lock = std::fs::File::open(folder)?;
    let begun = Instant::now();
    while let Err(error) = lock.try_lock() {
        match error {
            TryLockError::Error(error) => return Err(error),
            TryLockError::WouldBlock if begun.elapsed() > KEEP_DEADLINE => {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            TryLockError::WouldBlock => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    for path in left()? {
        std::fs::remove_file(path)?;
    }
    if is_kept() == Some(true) {
        return Ok(());
    }
    palisade_base::fs::write_atomic(path, text.as_bytes(), 0o600)
}

/// A refused image is 1; an image that could not be judged is 3, like any other failure but that of
/// a program that cannot be started.
fn refusal(error: RunError, admitter: &Admitter<'_>) -> Failure {
    if let RunError::Command { fault, .. } = &error {
        let code = fault.shell_code();
        return Failure::from_explained(error, Exit::Incomplete).ending_with(code);
    }
    let exit = match (&error, admitter.verdict()) {
        (_, Some(Admission::Refused { .. })) => Exit::Refused,
        (RunError::Refused(_), verdict)
            if !matches!(verdict, Some(Admission::Undecided { .. })) =>
        {
            Exit::Refused
        }
        _ => Exit::Incomplete,
    };
    Failure::from_explained(error, exit)
}

/// A container reads our input only when it was asked to: it is not to be trusted with a
/// terminal.
fn input(interactive: bool) -> Input {
    if interactive { Input::Inherit } else { Input::Null }
}

/// Keys are passed on one by one only where there are keys.
fn require_terminal(interactive: bool, tty: bool) -> Result<(), Failure> {
    if tty && interactive && !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        return Err(Failure::message(Exit::Usage, "standard input is no terminal")
            .with_hint("leave out --tty to pass a file or a pipe on, or --interactive"));
    }
    Ok(())
}

/// Our own three streams.
fn streams(interactive: bool) -> Stdio {
    Stdio {
        stdin: input(interactive),
        stdout: Output::Writer(Box::new(std::io::stdout())),
        stderr: Output::Writer(Box::new(std::io::stderr())),
    }
}

/// Output of a detached container goes to its log; of one in the foreground, to ours, and the
/// runtime keeps it as long as the container is there.
fn stdio(
    context: &Context<'_>,
    args: &cli::Run,
    runtime: &Runtime,
) -> Result<(Stdio, Option<LogFile>), Failure> {
    use anyhow::Context as _;
    if !args.detach || args.explain {
        return Ok((streams(args.interactive), None));
    }
    let name = args.name.clone().unwrap_or_else(|| format!("container-{}", std::process::id()));
    let path = logs::path(runtime.paths(), &name);
    let shown = || format!("open log `{}`", path.display());
    let folder = path.parent().unwrap_or(Path::new("/"));
    logs::make_folder(folder).with_context(shown)?;
    let open = || logs::open_to_append(&path);
    let (stdout, stderr) = (open().with_context(shown)?, open().with_context(shown)?);
    let offset = stdout.metadata().with_context(shown)?.len();
    context.terminal.progress(&format!("output goes to {}", path.display()));
    let stdio =
        Stdio { stdin: Input::Null, stdout: Output::File(stdout), stderr: Output::File(stderr) };
    Ok((stdio, Some(LogFile { path, offset, supervisor: context.global.supervised.clone() })))
}

/// The profile that the policy names by file, read.
fn seccomp_document(policy: &Policy) -> Result<Option<serde_json::Value>, Failure> {
    use anyhow::Context as _;
    let Seccomp::File(path) = &policy.containers.seccomp else { return Ok(None) };
    let shown = || format!("read seccomp profile `{}`", path.display());
    let bytes = std::fs::File::open(path)
        .and_then(|file| palisade_base::read_bounded(file, "seccomp profile", SECCOMP_BYTES_MAX))
        .with_context(shown)
        .map_err(|error| {
            Failure::from(error).with_hint(
                "name a profile that is there, such as one of palisade profile export, or leave \
                 --seccomp and the policy's `containers.seccomp` out",
            )
        })?;
    let document = serde_json::from_slice(&bytes).with_context(shown).map_err(|error| {
        Failure::from(error)
            .with_hint("use the form of Docker's default.json or of the OCI runtime spec")
    })?;
    Ok(Some(document))
}

/// What hardening changes, one line each with its reason.
pub(crate) fn explanation(changes: &[Change]) -> String {
    let value = |value: &Option<serde_json::Value>| match value {
        None => "-".to_string(),
        Some(value) => {
            let text = value.to_string();
            let cut: String = text.chars().take(48).collect();
            if cut.len() < text.len() { format!("{cut}…") } else { text }
        }
    };
    let rows: Vec<Vec<String>> = changes
        .iter()
        .map(|change| {
            vec![change.path.clone(), value(&change.from), value(&change.to), change.reason.clone()]
        })
        .collect();
    columns(&["WHERE", "WAS", "IS", "WHY"], &rows)
}

/// Opens the runtime with the folders of the command line.
pub(crate) fn open(context: &Context<'_>, program: Option<&Path>) -> Result<Runtime, Failure> {
    let paths = paths(context);
    let runc = Runc::find_known(program, &paths.runtimes()).or_exit(Exit::Incomplete)?;
    let opened = match context.rootless {
        Some(rootless) => Runtime::open_rootless(paths, runc, rootless.clone()),
        None => Runtime::open(paths, runc, IdSpace::of_this_machine()),
    };
    opened.or_exit(Exit::Incomplete)
}

/// Where containers are kept.
pub(crate) fn paths(context: &Context<'_>) -> RuntimePaths {
    paths_of(context.global)
}

/// Where containers are kept by these flags.
pub(crate) fn paths_of(global: &cli::Global) -> RuntimePaths {
    // Root file systems are assembled in another working folder than ours, and an OCI runtime has
    // its own. Only an empty path has no absolute form.
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    RuntimePaths {
        state: absolute(&global.run_dir),
        data: absolute(&global.data_dir),
        ..RuntimePaths::default()
    }
}

/// Lists containers.
pub(crate) fn ps(context: &Context<'_>, args: &cli::Ps) -> Result<Exit, Failure> {
    let runtime = open(context, None)?;
    let found = runtime.list();
    if args.format == ListFormat::Json {
        let containers: Vec<serde_json::Value> = found
            .iter()
            .map(|found| {
                serde_json::json!({
                    "status": found.status.as_str(),
                    "created": found.record.run.created,
                    "command": found.record.run.command,
                    "network": found.record.run.network,
                    "container": found.record.container,
                })
            })
            .collect();
        let document =
            serde_json::json!({ "schema": "palisade.dev/containers/v1", "containers": containers });
        context.terminal.result(&format!("{document:#}\n"))?;
        return Ok(Exit::Clean);
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|found| {
            let container = &found.record.container;
            vec![
                container.short_id().to_string(),
                container.name.clone(),
                found.status.as_str().to_string(),
                container.init_pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
                container.policy.clone().unwrap_or_else(|| "-".into()),
                container.cgroup.clone().unwrap_or_else(|| "-".into()),
                container.image.as_ref().map_or_else(|| "-".into(), |i| i.reference.clone()),
            ]
        })
        .collect();
    let text = match args.format {
        ListFormat::Tsv => tsv(&rows),
        _ => columns(&["ID", "NAME", "STATUS", "PID", "POLICY", "CGROUP", "IMAGE"], &rows),
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

/// Runs one more command in a container.
pub(crate) fn exec(context: &Context<'_>, args: &cli::Exec) -> Result<Exit, Failure> {
    let runtime = open(context, None)?;
    require_terminal(args.interactive, args.tty)?;
    let request = ExecRequest {
        command: args.command.clone(),
        env: args.env.clone(),
        working_dir: args.workdir.clone(),
        terminal: args.tty,
        forward_signals: true,
    };
    let stdio = streams(args.interactive);
    let exit = runtime.exec(&args.container, &request, stdio).map_err(|error| {
        let code = match &error {
            ManageError::Command { fault, .. } => fault.shell_code(),
            _ => Exit::Incomplete as u8,
        };
        Failure::from_explained(error, Exit::Incomplete).ending_with(code)
    })?;
    Err(Failure::program(exit.shell_code()))
}

/// A response may have wanted the container kept, for what can still be learned from it.
fn refuse_protected(context: &Context<'_>, id: &str, unprotect: bool) -> Result<(), Failure> {
    let path = context.global.data_dir.join(palisade_policy::standing::FILE);
    let orders = palisade_policy::standing::Standing::read(&path).or_exit(Exit::Incomplete)?;
    match orders.protected(id) {
        Some(entry) if !unprotect => {
            let message = format!("container `{id}` is protected {}", entry.why());
            Err(Failure::message(Exit::Refused, message)
                .with_hint("undo the order (`palisade respond orders`), or give --unprotect"))
        }
        _ => Ok(()),
    }
}

/// Removes a container, names it, and says what is left of it: false if anything is.
fn remove(
    context: &Context<'_>,
    runtime: &Runtime,
    found: &Found,
    force: bool,
) -> Result<bool, Failure> {
    let id = &found.record.container.id;
    let left = runtime.remove_found(found, force).or_exit(Exit::Incomplete)?;
    // A cut of its network that a response had pinned outlives the container otherwise.
    isolate::release_pinned(Path::new(isolate::PIN_ROOT), id).or_exit(Exit::Incomplete)?;
    for what in &left {
        context.terminal.error(&format!("warning: {what}\n"));
    }
    context.terminal.result(&format!("{}\n", found.record.container.name))?;
    Ok(left.is_empty())
}

/// Does `work` for each of `names`, whatever becomes of the others; it says whether all was done.
///
/// What fails is shown. When all did, the code is that of the first; when some did, it is that
/// of work which was done in part.
fn for_each(
    context: &Context<'_>,
    names: &[String],
    mut work: impl FnMut(&str) -> Result<bool, Failure>,
) -> Result<Exit, Failure> {
    let (mut exit, mut is_any_done) = (Exit::Clean, false);
    let mut failed: Option<(u8, Failure)> = None;
    for name in names {
        match work(name) {
            Ok(true) => is_any_done = true,
            Ok(false) => (exit, is_any_done) = (Exit::Partial, true),
            Err(failure) => {
                let first = failed.take().map(|(code, earlier)| {
                    context.terminal.error(&earlier.render());
                    code
                });
                failed = Some((first.unwrap_or(failure.code()), failure));
            }
        }
    }
    match failed {
        None => Ok(exit),
        Some((_, last)) if is_any_done => Err(last.ending_with(Exit::Partial as u8)),
        Some((code, last)) => Err(last.ending_with(code)),
    }
}

/// Removes containers that have ended, or kills them first.
pub(crate) fn rm(context: &Context<'_>, args: &cli::Rm) -> Result<Exit, Failure> {
    let runtime = open(context, None)?;
    for_each(context, &args.containers, |name| {
        let found = runtime.find(name).or_exit(Exit::Incomplete)?;
        refuse_protected(context, &found.record.container.id, args.unprotect)?;
        let is_whole = remove(context, &runtime, &found, args.force)?;
        if let (true, Some(log)) = (args.logs, &found.record.run.log) {
            logs::remove(&log.path)?;
            log.supervisor.as_deref().map_or(Ok(()), logs::remove)?;
        }
        Ok(is_whole)
    })
}

/// Stops containers and removes them.
pub(crate) fn stop(context: &Context<'_>, args: &cli::Stop) -> Result<Exit, Failure> {
    let runtime = open(context, None)?;
    let names: Vec<String> = if args.all {
        runtime.list().into_iter().map(|found| found.record.container.id).collect()
    } else {
        args.containers.clone()
    };
    let stopped = for_each(context, &names, |name| {
        let found = match runtime.find(name) {
            // It has ended since it was listed, and whoever ran it has removed it.
            Err(ManageError::NotFound { .. }) if args.all => return Ok(true),
            found => found.or_exit(Exit::Incomplete)?,
        };
        let id = &found.record.container.id;
        refuse_protected(context, id, args.unprotect)?;
        // A frozen program cannot end by itself; removal below kills it.
        if found.status == palisade_runtime::Status::Running {
            match runtime.stop(id, None, Duration::from_secs(args.grace)) {
                // The same, since it was found: what is left of it is removed all the same.
                Ok(_) | Err(ManageError::NotFound { .. } | ManageError::NotRunning(_)) => {}
                Err(error) => return Err(Failure::from_explained(error, Exit::Incomplete)),
            }
        }
        remove(context, &runtime, &found, true)
    });
    let failures = runtime.collect_garbage().failures();
    for failure in &failures {
        context.terminal.error(&format!("warning: {failure}\n"));
    }
    match stopped? {
        Exit::Clean if !failures.is_empty() => Ok(Exit::Partial),
        exit => Ok(exit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_policy_is_written_once_and_what_was_left_half_written_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.yaml");
        let inode = || std::fs::metadata(&path).unwrap().ino();
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        keep(folder.path(), &path, "one").unwrap();
        let first = inode();
        keep(folder.path(), &path, "one").unwrap();
        assert_eq!(inode(), first, "the same text is not written again");
        for text in ["one", "two", "tw", "two2"] {
            std::fs::write(folder.path().join(".tmpAbCdEf"), "o").unwrap();
            keep(folder.path(), &path, text).unwrap();
            assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), names()), (text, 1));
        }
        // Somebody is at work, whose file is none that was left.
        let lock = std::fs::File::open(folder.path()).unwrap();
        lock.lock().unwrap();
        let temporary = folder.path().join(".tmpGhIjKl");
        std::fs::write(&temporary, "").unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| keep(folder.path(), &path, "three"));
            std::thread::sleep(Duration::from_millis(50));
            assert!(temporary.exists());
            lock.unlock().unwrap();
            other.join().unwrap().unwrap();
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three");
    }
}
