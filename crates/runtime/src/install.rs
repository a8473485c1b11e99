//! Makes `palisade-runtime` the OCI runtime of an engine, and undoes it.
//!
//! An engine is told in its own settings; the user's other settings and comments stay. What
//! stood in each file before is written down, so that it can be put back byte for byte. A file
//! that somebody changed since keeps those changes, and loses ours alone.
//!
//! [`Installer::plan`] and [`Installer::plan_undo`] read and decide, [`Installer::apply`]
//! writes. Nothing is restarted: the plan says what remains to be done.

mod containerd;
mod crio;
mod docker;
mod files;
mod podman;
mod record;
mod toml;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use palisade_base::Explain;
use serde_json::{Value, json};

pub use files::{FILE_BYTES_MAX, FileState, Step, unified_diff};

use files::Root;
use record::{Entry, Kind, Record};

/// The name under which engines know the runtime and Docker the plugin.
pub const NAME: &str = "palisade";
/// The folder with the links by which engines call the program.
pub const LINKS: &str = "/usr/local/lib/palisade/engines";
/// Where Docker finds the plugin's socket.
pub const AUTHZ_SOCKET: &str = "/run/docker/plugins/palisade.sock";

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// Docker Engine.
    Docker,
    /// containerd, with its plugin for Kubernetes.
    Containerd,
    /// Podman.
    Podman,
    /// CRI-O.
    Crio,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Docker, Self::Containerd, Self::Podman, Self::Crio];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Podman => "podman",
            Self::Crio => "crio",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|engine| engine.as_str() == text);
        known.ok_or_else(|| "docker, containerd, podman or crio".to_string())
    }
}

/// What could not be planned or done.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file cannot be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The engine's settings are not what the engine itself could read.
    #[error("the settings `{}` are not valid: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        problem: String,
    },
    /// A link stands where a file is to be written, or leads out of the root.
    #[error("`{}` is a link or no file", path.display())]
    Link {
        /// The path.
        path: PathBuf,
    },
    /// The program that engines would call can be exchanged by others than root.
    #[error("`{}` can be changed by others than root", path.display())]
    Program {
        /// The program.
        path: PathBuf,
    },
    /// A file was changed between planning and writing.
    #[error("`{}` was changed meanwhile", path.display())]
    Raced {
        /// The file.
        path: PathBuf,
    },
}

impl Explain for InstallError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } | Self::Write { .. } => "run as root, on a writable /etc".into(),
            Self::Invalid { .. } => "mend it, or move it away; nothing was changed".into(),
            Self::Link { path } => {
                format!("whoever manages `{}` must make the change; see --dry-run", path.display())
            }
            Self::Program { .. } => {
                "install it for root alone (make install), or name another with --program".into()
            }
            Self::Raced { .. } => "run the command again".into(),
        })
    }
}

/// What is to be installed.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where `/` is: another folder when an image is prepared.
    pub root: PathBuf,
    /// The program, as it is named on the machine where engines run.
    pub program: PathBuf,
    /// Where it is written down what stood in the files before, below `root`.
    pub record: PathBuf,
    /// The policy; without it the settings that are there stay, or `baseline` is taken.
    pub policy: Option<String>,
    /// Whether systemd starts engines and their plugin.
    pub units: bool,
    /// Whether Docker asks the plugin about each call.
    pub authz: bool,
}

/// What would be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// For which engine.
    pub engine: Engine,
    /// Files and links, in the order in which they are written; empty: nothing to do.
    pub steps: Vec<Step>,
    /// What remains to be done by hand for it to take effect.
    pub next: Vec<String>,
    /// Doors that stay open, and what was found that speaks against it.
    pub notes: Vec<String>,
    record: Record,
}

/// A file as it should be.
struct Wanted {
    path: PathBuf,
    state: FileState,
    kind: Kind,
    why: &'static str,
}

impl Wanted {
    /// A file that is ours alone.
    fn own(path: impl Into<PathBuf>, text: String, why: &'static str) -> Self {
        let state = FileState::File { bytes: text.into_bytes(), mode: 0o644 };
        Self { path: path.into(), state, kind: Kind::Own, why }
    }
}

/// Plans and applies.
#[derive(Debug)]
pub struct Installer {
    options: Options,
    root: Root,
}

impl Installer {
    /// Looks at nothing but the program.
    pub fn new(options: Options) -> Result<Self, InstallError> {
        let root = Root::new(&options.root)?;
        root.check_program(&options.program)?;
        Ok(Self { options, root })
    }

    /// What would be changed to have `engine` use the runtime.
    pub fn plan(&self, engine: Engine) -> Result<Plan, InstallError> {
        let record = Record::read(&self.root, &self.options.record)?;
        let mut plan =
            Plan { engine, steps: Vec::new(), next: Vec::new(), notes: Vec::new(), record };
        let mut wanted = self.shared()?;
        match engine {
            Engine::Docker => docker::plan(self, &mut plan, &mut wanted)?,
            Engine::Containerd => containerd::plan(self, &mut plan, &mut wanted)?,
            Engine::Podman => podman::plan(self, &mut plan, &mut wanted),
            Engine::Crio => crio::plan(self, &mut plan, &mut wanted),
        }
        for wanted in wanted {
            self.want(&mut plan, wanted)?;
        }
        Ok(plan)
    }

    /// What would be changed to have `engine` as it was before.
    pub fn plan_undo(&self, engine: Engine) -> Result<Plan, InstallError> {
        let record = Record::read(&self.root, &self.options.record)?;
        let mut plan =
            Plan { engine, steps: Vec::new(), next: Vec::new(), notes: Vec::new(), record };
        // What was written last is undone first: links go after the settings that name them.
        let mut left = Vec::new();
        for mut entry in std::mem::take(&mut plan.record.entries).into_iter().rev() {
            if !entry.engines.contains(&engine.to_string()) {
                left.push(entry);
                continue;
            }
            entry.engines.retain(|name| name != engine.as_str());
            if entry.engines.is_empty() {
                self.undo(&mut plan, &entry)?;
            } else {
                left.push(entry);
            }
        }
        left.reverse();
        plan.record.entries = left;
        if !plan.steps.is_empty() {
            plan.next = match engine {
                Engine::Docker => docker::next(self.options.units),
                Engine::Containerd => containerd::next(self.options.units),
                Engine::Podman => Vec::new(),
                Engine::Crio => crio::next(self.options.units),
            };
        }
        Ok(plan)
    }

    /// Writes what was planned; each file as a whole, and the record before the files.
    pub fn apply(&self, plan: &Plan) -> Result<(), InstallError> {
        for step in &plan.steps {
            if self.root.state(&step.path)? != step.before {
                return Err(InstallError::Raced { path: step.path.clone() });
            }
        }
        let before = Record::read(&self.root, &self.options.record)?;
        let mut record = plan.record.clone();
        record.will_make(&self.root, &self.options.record);
        for step in plan.steps.iter().filter(|step| step.after != FileState::Absent) {
            record.will_make(&self.root, &step.path);
        }
        // Until all is written the record knows of what is being written and of what was.
        before.joined(&record).write(&self.root, &self.options.record)?;
        for step in &plan.steps {
            self.root.put(&step.path, &step.after)?;
        }
        // A folder that was made and is empty again goes; one that is used stays.
        record.write(&self.root, &self.options.record)?;
        if record.entries.is_empty() {
            for folder in record.folders.iter().rev() {
                self.root.remove_empty(folder);
            }
        }
        Ok(())
    }

    /// What every engine needs: the links, and the runtime's settings.
    fn shared(&self) -> Result<Vec<Wanted>, InstallError> {
        let link = |name: &str| Wanted {
            path: Path::new(LINKS).join(name),
            state: FileState::Link(self.options.program.clone()),
            kind: Kind::Own,
            why: "the program by the name under which the engine calls it",
        };
        let mut out: Vec<Wanted> = ["palisade-runtime", "runc", "crun"].map(link).into();
        let path = PathBuf::from(super::oci::SETTINGS_PATH);
        let current = self.root.text(&path)?;
        let text = match (&current, &self.options.policy) {
            (None, policy) => {
                let policy = policy.as_deref().unwrap_or("baseline");
                Some(format!("{:#}\n", json!({ "policy": policy })))
            }
            (Some(_), None) => None,
            (Some(text), Some(policy)) => {
                let mut value = json_object(&path, text)?;
                value["policy"] = json!(policy);
                Some(pretty(&value, text))
            }
        };
        if let Some(text) = text {
            out.push(Wanted::own(path, text, "which policy holds for containers of engines"));
        } else if let Some(FileState::File { bytes, mode }) = Some(self.root.state(&path)?) {
            let state = FileState::File { bytes, mode };
            out.push(Wanted { path, state, kind: Kind::Own, why: "kept as it is" });
        }
        Ok(out)
    }

    /// Adds what must change for `wanted` to be so.
    fn want(&self, plan: &mut Plan, wanted: Wanted) -> Result<(), InstallError> {
        let Wanted { path, mut state, kind, why } = wanted;
        let current = self.root.state(&path)?;
        if let (FileState::File { mode, .. }, FileState::File { mode: known, .. }) =
            (&mut state, &current)
        {
            *mode = *known;
        }
        let engine = plan.engine.to_string();
        let known = plan.record.entries.iter_mut().find(|entry| entry.path == path);
        let changes = current != state;
        match known {
            Some(entry) => {
                if !entry.engines.contains(&engine) {
                    entry.engines.push(engine);
                }
                if changes {
                    if current != entry.after {
                        // Somebody changed it since; their text without ours is what it was.
                        entry.before = stripped(&path, entry, &current)?;
                    }
                    entry.after = state.clone();
                }
            }
            // What was so already is not ours to undo.
            None if !changes => return Ok(()),
            None => plan.record.entries.push(Entry {
                path: path.clone(),
                engines: vec![engine],
                kind,
                before: current.clone(),
                after: state.clone(),
            }),
        }
        if changes {
            plan.steps.push(Step { path, before: current, after: state, why: why.into() });
        }
        Ok(())
    }

    fn undo(&self, plan: &mut Plan, entry: &Entry) -> Result<(), InstallError> {
        let path = &entry.path;
        let current = self.root.state(path)?;
        let shown = path.display();
        if current == FileState::Absent {
            if entry.before != FileState::Absent {
                plan.notes.push(format!("`{shown}` was removed by somebody and stays so"));
            }
            return Ok(());
        }
        if current == entry.before {
            // It was never written, or somebody put it back already.
            return Ok(());
        }
        let is_ours = current == entry.after;
        let after = if is_ours { entry.before.clone() } else { stripped(path, entry, &current)? };
        if !is_ours && entry.kind == Kind::Own {
            let saved = PathBuf::from(format!("{shown}.palisade-saved"));
            plan.notes.push(format!(
                "`{shown}` was changed by somebody; what they wrote is kept in `{}`",
                saved.display()
            ));
            let before = self.root.state(&saved)?;
            let why = "what somebody wrote into a file of ours".to_string();
            plan.steps.push(Step { path: saved, before, after: current.clone(), why });
        } else if !is_ours {
            plan.notes.push(format!("`{shown}` was changed by somebody; only ours is taken out"));
        }
        if after != current {
            let why = "as it was before".to_string();
            plan.steps.push(Step { path: path.clone(), before: current, after, why });
        }
        Ok(())
    }
}

/// What `current` would be without what we put into it.
fn stripped(path: &Path, entry: &Entry, current: &FileState) -> Result<FileState, InstallError> {
    let FileState::File { bytes, mode } = current else { return Ok(entry.before.clone()) };
    let text = files::text(path, bytes)?;
    let before = match &entry.before {
        FileState::File { bytes, .. } => Some(files::text(path, bytes)?),
        _ => None,
    };
    let text = match entry.kind {
        Kind::Own => return Ok(entry.before.clone()),
        Kind::DaemonJson => docker::strip(path, text, before)?,
        Kind::ContainerdToml => containerd::strip(path, text, before)?,
    };
    Ok(FileState::File { bytes: text.into_bytes(), mode: *mode })
}

/// The object that a file holds.
fn json_object(path: &Path, text: &str) -> Result<Value, InstallError> {
    let invalid = |problem: String| InstallError::Invalid { path: path.to_path_buf(), problem };
    if text.trim().is_empty() {
        return Ok(json!({}));
    }
    let value: Value = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    if !value.is_object() {
        return Err(invalid("it is no object".into()));
    }
    Ok(value)
}

/// `value`, indented as `like` is.
fn pretty(value: &Value, like: &str) -> String {
    use serde::Serialize as _;
    let indent = like.lines().skip(1).find_map(|line| {
        let rest = line.trim_start_matches([' ', '\t']);
        (!rest.is_empty() && rest.len() < line.len()).then(|| &line[..line.len() - rest.len()])
    });
    let formatter =
        serde_json::ser::PrettyFormatter::with_indent(indent.unwrap_or("  ").as_bytes());
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // A value that was read can be written.
    let _ = value.serialize(&mut serializer);
    let mut out = String::from_utf8(out).unwrap_or_default();
    out.push('\n');
    out
}

#[cfg(test)]
mod tests;
