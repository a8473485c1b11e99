//! `palisade runtime`, or the program by the name `palisade-runtime`: what it is, for people who
//! call it by hand. The rest is `palisade_runtime::oci`.

use std::io::Write as _;

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::exit::Exit;

/// What the command is.
pub(crate) fn help() -> Exit {
    let mut command = Cli::command();
    if let Some(command) = command.find_subcommand_mut("runtime") {
        let text = command.render_long_help();
        let _ = writeln!(std::io::stdout(), "{text}");
    }
    Exit::Clean
}
