//! Commands on containers that an ordinary user gives: the user's folders, and the namespace in
//! which the user is root.

use std::path::{Path, PathBuf};

use palisade_runtime::{Rootless, RootlessError};

use super::run::paths_of;
use crate::Environment;
use crate::cli::{Command, DATA_DIR, Global, RUN_DIR};
use crate::exit::{Exit, Failure, OrExit as _};

/// An ordinary user's place.
pub(super) struct Place {
    /// The user.
    pub(super) rootless: Rootless,
    /// The flags, with the user's folders where none were named.
    pub(super) global: Global,
}

/// Goes into the user's namespace when an ordinary user gives a command on containers. Nothing of
/// the process may run beside it yet.
pub(super) fn enter(
    command: &Command,
    global: &Global,
    environment: &Environment,
) -> Result<Option<Place>, Failure> {
    let concerns = matches!(
        command,
        Command::Run(_)
            | Command::Ps(_)
            | Command::Logs(_)
            | Command::Exec(_)
            | Command::Stop(_)
            | Command::Rm(_)
    );
    if !concerns || palisade_sys::facts::user().0 == 0 {
        return Ok(None);
    }
    let mut global = global.clone();
    if global.data_dir == Path::new(DATA_DIR) {
        global.data_dir = data_folder(environment)
            .ok_or(RootlessError::NoFolder("HOME", "layers"))
            .or_exit(Exit::Incomplete)?;
    }
    if global.run_dir == Path::new(RUN_DIR) {
        let folder = environment.xdg_runtime_dir.as_ref().map(|folder| folder.join("palisade"));
        global.run_dir = folder
            .ok_or(RootlessError::NoFolder("XDG_RUNTIME_DIR", "the state of running containers"))
            .or_exit(Exit::Incomplete)?;
    }
    let rootless = Rootless::enter(&paths_of(&global)).or_exit(Exit::Incomplete)?;
    Ok(Some(Place { rootless, global }))
}

/// Where an ordinary user's data is (XDG Base Directory Specification).
fn data_folder(environment: &Environment) -> Option<PathBuf> {
    let named = environment.xdg_data_home.clone().filter(|folder| folder.is_absolute());
    let home = || environment.home.as_ref().map(|home| home.join(".local/share"));
    named.or_else(home).map(|folder| folder.join("palisade"))
}
