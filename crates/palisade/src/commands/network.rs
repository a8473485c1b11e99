//! `palisade network`: connect, guard, list.

use anyhow::Context as _;
use palisade_respond::Target;
use palisade_runtime::network::{self, Connection, Guard, Member, Port, Subnet};
use palisade_sys::Hierarchies;
use serde_json::json;

use super::Context;
use super::respond::by_hand::container;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, tsv};

/// Schema of the list.
const SCHEMA: &str = "palisade.dev/network-ports/v1";

/// Carries out a `palisade network` command.
pub(crate) fn network(context: &Context<'_>, command: &cli::Network) -> Result<Exit, Failure> {
    match command {
        cli::Network::Connect(args) => connect(context, args),
        cli::Network::Guard(args) => {
            let guards =
                network::guard(pid(context, &args.container)?).or_exit(Exit::Incomplete)?;
            say(context, &guards)?;
            Ok(Exit::Clean)
        }
        cli::Network::Unguard(args) => {
            let n = network::unguard(pid(context, &args.container)?).or_exit(Exit::Incomplete)?;
            context.terminal.result(&format!("{n} guard(s) taken away\n"))?;
            Ok(Exit::Clean)
        }
        cli::Network::List(args) => list(context, args.format),
    }
}

/// A process of the container that `text` names.
fn pid(context: &Context<'_>, text: &str) -> Result<u32, Failure> {
    let container = container(context, text)?;
    let hierarchies = Hierarchies::detect().or_exit(Exit::Incomplete)?;
    let target = Target::resolve(&container, &hierarchies).or_exit(Exit::Incomplete)?;
    let pids = target.group().processes().or_exit(Exit::Incomplete)?;
    pids.first().copied().ok_or_else(|| {
        Failure::message(Exit::Incomplete, format!("container `{text}` has no process"))
            .with_hint("it must be running")
    })
}

fn connect(context: &Context<'_>, args: &cli::NetworkConnect) -> Result<Exit, Failure> {
    let address: Subnet =
        args.address.parse().map_err(|text: String| Failure::message(Exit::Usage, text))?;
    let (bridge, gateway) = (args.bridge.clone(), args.gateway);
    let connection = Connection { bridge, address, gateway };
    let guard =
        network::connect(pid(context, &args.container)?, &connection).or_exit(Exit::Incomplete)?;
    say(context, &[guard])?;
    Ok(Exit::Clean)
}

fn say(context: &Context<'_>, guards: &[Guard]) -> Result<(), Failure> {
    let line = |guard: &Guard| {
        let addresses: Vec<String> = guard.addresses.iter().map(ToString::to_string).collect();
        format!("{} guarded: {}, {}\n", guard.device, guard.mac, addresses.join(", "))
    };
    context.terminal.result(&guards.iter().map(line).collect::<String>())
}

fn list(context: &Context<'_>, format: ListFormat) -> Result<Exit, Failure> {
    let ports = network::list().or_exit(Exit::Incomplete)?;
    let place = super::run::paths(context).network();
    let networks = network::shared_networks(&place).or_exit(Exit::Incomplete)?;
    let of_port = |port: &Port| {
        let has = |member: &Member| port.device == network::device_of(&member.container);
        networks.iter().find(|network| network.members.iter().any(has))
    };
    let row = |port: &Port| {
        let r = port.refused;
        let counts = [r.mac, r.arp, r.address, r.dhcp, r.router, r.neighbour, r.other];
        std::iter::once(port.device.clone())
            .chain(counts.iter().map(ToString::to_string))
            .chain([of_port(port).map_or_else(|| "-".into(), |it| it.name.to_string())])
            .collect::<Vec<String>>()
    };
    let rows: Vec<Vec<String>> = ports.iter().map(row).collect();
    let header =
        ["PORT", "MAC", "ARP", "ADDRESS", "DHCP", "ROUTER", "NEIGHBOUR", "OTHER", "NETWORK"];
    let text = match format {
        ListFormat::Json => {
            let document = json!({"schema": SCHEMA, "ports": ports, "networks": networks});
            serde_json::to_string_pretty(&document).context("write the list")? + "\n"
        }
        ListFormat::Tsv => tsv(&rows),
        ListFormat::Table => columns(&header, &rows),
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}
