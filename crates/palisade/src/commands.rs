//! One module for each command.

mod admission;
mod attached;
mod authz;
mod capture;
mod check;
mod completions;
mod confinement;
mod container;
mod containers;
mod containers_remote;
mod context;
mod convert;
mod db;
mod decided;
mod doctor;
mod drill;
mod enforce;
mod evidence;
mod explain;
mod harden;
mod ima;
mod image;
mod inspect;
mod install;
mod log;
mod logs;
mod look;
mod means;
mod network;
mod orders;
mod others;
mod patch;
mod playbook;
mod policy;
mod probe;
mod profile;
mod promote;
mod replay;
mod respond;
mod rootless;
mod rules;
mod run;
pub(crate) mod runtime;
mod scan;
mod sealing;
mod send;
mod sign;
mod signing;
mod sink;
mod status;
mod stored;
mod supervise;
mod top;
mod trust;
mod trust_change;
mod trust_explain;
mod trust_root;
mod trusted;
mod verify;
mod version;
mod watch;

use crate::Environment;
use crate::cli::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::terminal::Terminal;
use context::Context;

/// Carries out the command of `cli`.
pub(crate) fn run(
    cli: &Cli,
    terminal: Terminal,
    environment: &Environment,
) -> Result<Exit, Failure> {
    let place = rootless::enter(&cli.command, &cli.global, environment)?;
    let context = Context {
        global: place.as_ref().map_or(&cli.global, |place| &place.global),
        terminal,
        environment,
        rootless: place.as_ref().map(|place| &place.rootless),
    };
    match &cli.command {
        Command::Scan(args) => scan::scan(&context, args),
        Command::Check(args) => check::check(&context, args),
        Command::Sbom(args) => scan::sbom(&context, args),
        Command::Convert(args) => convert::convert(&context, args),
        Command::Explain(args) => explain::explain(&context, args),
        Command::Sign(args) => signing::sign(&context, args),
        Command::Attest(args) => signing::attest(&context, args),
        Command::Patch(command) => patch::patch(&context, command),
        Command::Verify(args) => verify::verify(&context, args),
        Command::Promote(args) => promote::promote(&context, args),
        Command::Copy(args) => promote::copy(&context, args),
        Command::Run(args) => run::run(&context, args),
        Command::Runtime(_) => Ok(runtime::help()),
        Command::Authz(args) => authz::authz(&context, args),
        Command::Harden(args) => harden::harden(&context, args),
        Command::Profile(command) => profile::profile(&context, command),
        Command::Ima(command) => ima::ima(&context, command),
        Command::Inspect(args) => inspect::inspect(&context, args),
        Command::Install(args) => install::install(&context, args),
        Command::Uninstall(args) => install::uninstall(&context, args),
        Command::Ps(args) => run::ps(&context, args),
        Command::Logs(args) => logs::logs(&context, args),
        Command::Exec(args) => run::exec(&context, args),
        Command::Stop(args) => run::stop(&context, args),
        Command::Rm(args) => run::rm(&context, args),
        Command::Watch(args) => watch::watch(&context, args),
        Command::Top(args) => top::top(&context, args),
        Command::Status(args) => status::status(&context, args),
        Command::Sink(command) => sink::sink(&context, command),
        Command::Respond(command) => respond::respond(&context, command),
        Command::Playbook(command) => playbook::playbook(&context, command),
        Command::Drill(command) => drill::drill(&context, command),
        Command::Probe(args) => probe::probe(&context, args),
        Command::Evidence(command) => evidence::evidence(&context, command),
        Command::Network(command) => network::network(&context, command),
        Command::Policy(command) => policy::policy(&context, command),
        Command::Rules(command) => rules::rules(&context, command),
        Command::Replay(args) => replay::replay(&context, args),
        Command::Capture(command) => capture::capture(&context, command),
        Command::Doctor(args) => doctor::doctor(&context, args),
        Command::Db(command) => db::db(&context, command),
        Command::Log(command) => log::log(&context, command),
        Command::Trust(command) => trust::trust(&context, command),
        Command::Completions(args) => completions::completions(&context, args),
        Command::Man(args) => completions::man(&context, args),
        Command::Version(args) => version::version(&context, args),
    }
}
