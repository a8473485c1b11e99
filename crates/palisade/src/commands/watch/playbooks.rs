//! What a watch needs for playbooks: their files, and hands.

use std::path::PathBuf;

use palisade_agent::playbooks::{PlaybookRunner, PlaybookSettings, Tools};
use palisade_agent::{Agent, playbooks};
use palisade_policy::playbook::{LoadPlaybookError, Playbook, load_file};
use palisade_respond::Hands;

use super::super::{Context, orders, playbook};
use crate::cli::{self, RespondMode};
use crate::exit::{Exit, Failure};

/// The playbooks at `paths`; or every problem, each as the terminal shows it.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Playbook>, Vec<String>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let files = playbook::expand(paths).map_err(|failure| vec![failure.render()])?;
    let (mut found, mut problems): (Vec<Playbook>, Vec<String>) = (Vec::new(), Vec::new());
    for file in files {
        match load_file(&file) {
            Ok(loaded) => {
                if found.iter().any(|known| known.name == loaded.playbook.name) {
                    let name = &loaded.playbook.name;
                    problems.push(format!("{}: a second playbook `{name}`", file.display()));
                }
                found.push(loaded.playbook);
            }
            Err(LoadPlaybookError::Invalid { text, diagnostics, .. }) => {
                let quoted = diagnostics.0.iter().map(|one| one.render(Some(&text)));
                problems.extend(quoted.map(|text| text.trim_end().to_string()));
            }
            Err(error) => problems.push(palisade_base::render_chain(&error, None)),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// Has the agent start the playbooks of the command line; the runner is for a thread of its own.
pub(super) fn begin(
    context: &Context<'_>,
    args: &cli::Watch,
    agent: &mut Agent,
) -> Result<Option<PlaybookRunner>, Failure> {
    if args.playbooks.is_empty() {
        return Ok(None);
    }
    if args.respond == RespondMode::Off {
        return Err(Failure::message(Exit::Usage, "playbooks are named, and nothing responds")
            .with_hint("give --respond dry-run to see what they would do, or --respond on"));
    }
    let loaded = read(&args.playbooks).map_err(|problems| {
        for problem in problems {
            context.terminal.error(&format!("{}\n", problem.trim_end()));
        }
        Failure::message(Exit::Usage, "the playbooks cannot be used")
            .with_hint("`palisade playbook check` tries them")
    })?;
    let settings = PlaybookSettings {
        folder: orders::folder(context)?,
        is_dry_run: args.respond == RespondMode::DryRun,
        host_paths: super::host_paths(context),
    };
    let (desk, runner) = playbooks::start(settings, loaded);
    agent.start_playbooks(desk);
    Ok(Some(runner))
}

/// The system's hands, and a guard for what is held for a time.
pub(super) struct WatchTools<'c> {
    pub(super) context: &'c Context<'c>,
}

impl Tools for WatchTools<'_> {
    fn with_hands(&mut self, act: &mut dyn FnMut(&mut dyn Hands)) -> Result<(), String> {
        orders::with_hands(self.context, None, None, |hands| {
            act(hands);
            Ok(())
        })
        .map_err(|failure| failure.render())
    }

    fn guard(&mut self, order: &str) {
        orders::guard(self.context, order, None);
    }
}
