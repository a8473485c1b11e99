//! The guards of bridges' ports that the policy's section `network` asks for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use palisade_policy::NetworkGuards;
use palisade_runtime::network::{Keeper, Kept};

use super::inputs::Inputs;
use crate::cli::RespondMode;
use crate::terminal::Terminal;

/// How often it is looked for new ports.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked whether the watch has ended.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// Guards each port that comes to one of the policy's bridges, until `stop`.
pub(super) fn keep(terminal: Terminal, inputs: &Inputs, respond: RespondMode, stop: &AtomicBool) {
    let mut keeper = Keeper::default();
    let mut wanted = NetworkGuards::default();
    let mut last_failure = String::new();
    while !stop.load(Ordering::Relaxed) {
        let now = inputs.planned(|policy| policy.network.clone()).unwrap_or_default();
        if now != wanted {
            // Guards that were made stay: `palisade network unguard` takes them away.
            keeper.begin_anew();
            wanted = now;
            if respond == RespondMode::DryRun && !wanted.bridges.is_empty() {
                let bridges = wanted.bridges.join(", ");
                terminal.progress(&format!("would guard the ports of the bridges {bridges}"));
            }
        }
        if respond == RespondMode::On && !wanted.bridges.is_empty() {
            match keeper.look(|bridge, device| wanted.names(bridge, device)) {
                Ok(kept) => kept.iter().for_each(|kept| tell(terminal, kept)),
                Err(error) => {
                    let text = palisade_base::render_chain(&error, None);
                    if text != last_failure {
                        terminal.error(&format!("warning: no port can be guarded: {text}\n"));
                        last_failure = text;
                    }
                }
            }
        }
        let end = Instant::now() + LOOK_INTERVAL;
        while Instant::now() < end && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(STOP_INTERVAL);
        }
    }
}

fn tell(terminal: Terminal, kept: &Kept) {
    match kept {
        Kept::Guarded { bridge, guard } => {
            let addresses: Vec<String> = guard.addresses.iter().map(ToString::to_string).collect();
            terminal.progress(&format!(
                "port {} of {bridge} guarded: {}, {}",
                guard.device,
                guard.mac,
                addresses.join(", ")
            ));
        }
        Kept::Failed { bridge, device, why } => {
            terminal.error(&format!("warning: port {device} of {bridge} is not guarded: {why}\n"));
        }
    }
}
