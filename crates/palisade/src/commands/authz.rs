//! `palisade authz`: Docker's authorization plugin.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use palisade_runtime::authz::{Authorizer, Server};
use palisade_runtime::oci::Settings;
use palisade_sys::signals::{SignalPipe, wait_readable};

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::notify::ServiceManager;

/// How often the wait for a signal looks whether the server has ended by itself.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(200);

/// Answers until a signal comes.
pub(crate) fn authz(context: &Context<'_>, args: &cli::Authz) -> Result<Exit, Failure> {
    // Said once at the start; each call reads them again.
    let settings = Settings::read(&args.config).or_exit(Exit::Usage)?;
    let policy = context.load_policy(&settings.policy)?.policy;
    let signals = SignalPipe::install(false).context("catch signals")?;
    let authorizer =
        Authorizer { settings: args.config.clone(), runtimes: args.allow_runtime.clone() };
    let server = Server::bind(&args.socket, authorizer).map_err(|error| {
        let socket = args.socket.display();
        Failure::message(Exit::Incomplete, format!("listen at `{socket}`: {error}"))
            .with_hint("run as root, once; --socket names another place")
    })?;
    let manager = ServiceManager::of_environment();
    manager.ready(&format!("judging Docker's calls by policy {}", policy.name));
    context.terminal.progress(&format!("answering Docker at {}", args.socket.display()));
    let stop = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let ready = wait_readable(&[signals.as_fd()], Some(SIGNAL_INTERVAL));
                if ready.is_err() || !matches!(signals.take(), Ok(None)) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        let served = server.run(&stop);
        // However the server ended, the thread that waits for signals ends too.
        stop.store(true, Ordering::Relaxed);
        served
    });
    manager.stopping();
    served.context("answer Docker")?;
    Ok(Exit::Clean)
}
