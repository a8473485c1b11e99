//! `palisade completions` and `palisade man`: made from the command tree itself.

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::Context;
use crate::cli::{self, Cli};
use crate::exit::{Exit, Failure};
use crate::settings::{Configured, layer};

/// Prints the completion script of a shell.
pub(crate) fn completions(context: &Context<'_>, args: &cli::Completions) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "palisade", &mut script);
    context.terminal.result(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Clean)
}

/// Writes a manual page for the program and for each command.
pub(crate) fn man(context: &Context<'_>, args: &cli::Man) -> Result<Exit, Failure> {
    std::fs::create_dir_all(&args.folder)
        .with_context(|| format!("create folder `{}`", args.folder.display()))?;
    // Layered, so that the pages name the environment variable of each flag.
    let mut command = layer(Cli::command(), &Configured::default());
    command.build();
    let mut pages = vec![("palisade".to_string(), command.clone())];
    pages.extend(
        command
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help")
            .map(|sub| (format!("palisade-{}", sub.get_name()), sub.clone())),
    );
    for (name, page) in pages {
        let mut text = Vec::new();
        let path = args.folder.join(format!("{name}.1"));
        let title = name.clone();
        clap_mangen::Man::new(page.name(name))
            .title(title)
            .render(&mut text)
            .and_then(|()| std::fs::write(&path, &text))
            .with_context(|| format!("write `{}`", path.display()))?;
    }
    context.terminal.progress(&format!("wrote the manual pages to {}", args.folder.display()));
    Ok(Exit::Clean)
}
