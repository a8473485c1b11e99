//! What every command needs: global flags, the terminal, where things are.

use std::path::PathBuf;

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
}
