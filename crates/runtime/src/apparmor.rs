//! AppArmor on this machine: whether the kernel runs it, and loading a container's profile.
//!
//! A profile's name ends in the digest of its text, so that containers of one shape share one
//! and a loaded one is never replaced. Profiles stay loaded when a container ends: taking one
//! away would set free whatever still runs under it. They are gone at the next boot.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use palisade_base::Explain;
use palisade_harden::apparmor::Profile;
use palisade_sys::ProcessHandle;

/// Whether the kernel runs AppArmor (Linux `security/apparmor/lsm.c`).
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// Profiles that are loaded, one a line: `name (mode)`.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
/// Where the compiler is looked for.
const PARSERS: [&str; 2] = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];
/// Bytes of the list of loaded profiles that are read.
const LOADED_BYTES_MAX: u64 = 4 << 20;
/// Bytes of the compiler's messages that are shown.
const MESSAGE_BYTES_MAX: usize = 600;
/// How long the compiler may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// A container that AppArmor does not confine as the policy wants.
#[derive(Debug, thiserror::Error)]
pub enum AppArmorError {
    /// The kernel runs without it.
    #[error("the policy demands AppArmor, and this machine's kernel runs without it")]
    Inactive,
    /// There is no compiler for profiles.
    #[error("there is no apparmor_parser to load the container's profile with")]
    NoParser,
    /// The compiler, or the kernel, refused the profile.
    #[error("load the AppArmor profile `{name}`: {message}")]
    Refused {
        /// The profile.
        name: String,
        /// What the compiler said.
        message: String,
    },
    /// The compiler could not be run.
    #[error("run `{}`", .program.display())]
    Io {
        /// The compiler, or the profile's file.
        program: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for AppArmorError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Inactive => {
                "start the kernel with apparmor=1 security=apparmor, or set \
                 `containers.security_module: auto` in the policy"
            }
            Self::NoParser => "install it: apt install apparmor",
            Self::Refused { .. } => {
                "set `containers.security_module: off` in the policy to run without, and report \
                 the profile with the parser's version"
            }
            Self::Io { .. } => return None,
        };
        Some(text.into())
    }
}

/// Whether this machine's kernel runs AppArmor.
pub fn is_active() -> bool {
    std::fs::read(ENABLED).is_ok_and(|bytes| bytes.starts_with(b"Y"))
}

/// The compiler of profiles, if it is installed.
pub fn parser() -> Option<PathBuf> {
    PARSERS.map(PathBuf::from).into_iter().find(|path| path.is_file())
}

/// Names of our profiles that are loaded; none where the kernel does not tell.
pub fn loaded() -> Vec<String> {
    let Ok(file) = std::fs::File::open(LOADED) else { return Vec::new() };
    let bytes =
        palisade_base::read_bounded(file, "list of profiles", LOADED_BYTES_MAX).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let name = |line: &str| line.rsplit_once(" (").map(|(name, _)| name.to_string());
    text.lines().filter_map(name).filter(|name| name.starts_with("palisade-")).collect()
}

/// Compiles and loads `profile` unless it is loaded; its text goes to a file in `folder`.
pub(crate) fn load(profile: &Profile, folder: &Path) -> Result<(), AppArmorError> {
    if loaded().contains(&profile.name) {
        return Ok(());
    }
    let program = parser().ok_or(AppArmorError::NoParser)?;
    let file = folder.join("apparmor.profile");
    let io = |program: &Path| {
        let program = program.to_path_buf();
        move |source| AppArmorError::Io { program, source }
    };
    std::fs::write(&file, &profile.text).map_err(io(&file))?;
    let log = folder.join("apparmor.log");
    let output = std::fs::File::create(&log).map_err(io(&log))?;
    let mut call = std::process::Command::new(&program);
    call.args(["--replace", "--skip-cache"]).arg(&file).env_clear();
    call.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
    palisade_sys::process::die_with_caller(&mut call);
    let mut child = call.spawn().map_err(io(&program))?;
    let handle = ProcessHandle::open(child.id()).map_err(io(&program))?;
    if !handle.wait_ended(DEADLINE).map_err(io(&program))? {
        let _ = child.kill();
        let _ = child.wait();
        let message = format!("the parser did not end within {} s", DEADLINE.as_secs());
        return Err(AppArmorError::Refused { name: profile.name.clone(), message });
    }
    if child.wait().map_err(io(&program))?.success() {
        return Ok(());
    }
    let bytes = std::fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes.get(..MESSAGE_BYTES_MAX).unwrap_or(&bytes));
    let message = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(AppArmorError::Refused { name: profile.name.clone(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the compiler of this machine makes of profiles for containers of every kind.
    #[test]
    fn the_machine_s_parser_compiles_what_is_generated() {
        let Some(parser) = parser() else {
            eprintln!("skipped: no apparmor_parser: apt install apparmor");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let check = |spec: &serde_json::Value| {
            let profile = palisade_harden::apparmor::profile(spec, "test").unwrap();
            let file = folder.path().join("profile");
            std::fs::write(&file, &profile.text).unwrap();
            let binary = folder.path().join("binary");
            let output = std::process::Command::new(&parser)
                .args(["--skip-kernel-load", "--skip-cache", "--ofile"])
                .arg(&binary)
                .arg(&file)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{said}\n{}", profile.text);
            let bytes = std::fs::read(&binary).unwrap();
            let name = profile.name.as_bytes();
            assert!(bytes.windows(name.len()).any(|window| window == name), "{}", profile.text);
        };
        check(&serde_json::json!({}));
        check(&serde_json::json!({
            "process": {"capabilities": {"bounding": ["CAP_NET_RAW", "CAP_SYS_CHROOT"]}},
            "root": {"readonly": true},
            "mounts": [
                {"destination": "/tmp", "type": "tmpfs", "options": ["noexec"]},
                {"destination": "/a b*{c}[d]?\"e^@{f}", "type": "bind", "options": ["ro"]},
                {"destination": "/exec", "type": "tmpfs", "options": []},
            ],
            "linux": {
                "maskedPaths": palisade_harden::MASKED_PATHS,
                "readonlyPaths": palisade_harden::READ_ONLY_PATHS,
            },
        }));
    }
}
