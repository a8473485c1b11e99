//! What every command needs: global flags, the terminal, where things are.

use std::path::{Path, PathBuf};

use palisade_runtime::Rootless;

use crate::Environment;
use crate::cli::Global;
use crate::terminal::Terminal;

/// What every command needs.
pub(crate) struct Context<'c> {
    pub(crate) global: &'c Global,
    pub(crate) terminal: Terminal,
    pub(crate) environment: &'c Environment,
    /// The ordinary user whose namespace this process is in.
    pub(crate) rootless: Option<&'c Rootless>,
}

impl Context<'_> {
    /// The advisory database: the flag, or its place in the data folder.
    pub(crate) fn database(&self, flag: Option<&PathBuf>) -> PathBuf {
        flag.cloned().unwrap_or_else(|| self.global.data_dir.join("advisories.db"))
    }

    /// Lets a command whose data folder is `folder` decide by the same advisory database, if
    /// there is one.
    pub(crate) fn lend_database(&self, folder: &Path) -> std::io::Result<()> {
        let database = std::path::absolute(self.database(None))?;
        if !database.is_file() {
            return Ok(());
        }
        std::os::unix::fs::symlink(database, folder.join("advisories.db"))
    }
}
