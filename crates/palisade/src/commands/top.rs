//! `palisade top`: what the running watch sees, live.

mod draw;
mod rates;
mod screen;

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use palisade_agent::control::Client;
use palisade_agent::control::protocol::{Request, Response, Top};
use palisade_model::wire::Envelope;

use self::draw::View;
use self::rates::Frame;
use self::screen::{Key, Screen};
use super::Context;
use crate::cli::{self, StatusFormat};
use crate::exit::{Exit, Failure, OrExit as _};

/// Schema of `top --format json`.
const TOP_SCHEMA: &str = "palisade.dev/top/v1";
/// Bounds of the interval in seconds.
const INTERVAL: (f64, f64) = (0.1, 60.0);
/// Columns of what is printed once.
const ONCE_COLUMNS: usize = 120;

/// Shows what happens until told to stop, or once.
pub(crate) fn top(context: &Context<'_>, args: &cli::Top) -> Result<Exit, Failure> {
    if !(INTERVAL.0..=INTERVAL.1).contains(&args.interval) {
        let message = format!("an interval of {} seconds", args.interval);
        return Err(Failure::message(Exit::Usage, message)
            .with_hint(format!("between {} and {} seconds", INTERVAL.0, INTERVAL.1)));
    }
    let interval = Duration::from_secs_f64(args.interval);
    let mut client = Client::connect(&context.global.run_dir).or_exit(Exit::Incomplete)?;
    let is_screen = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if args.once || args.format == StatusFormat::Json || !is_screen {
        return once(context, args, &mut client, interval);
    }
    live(args, &mut client, interval)
}

fn ask(client: &mut Client, container: Option<&str>) -> Result<Top, Failure> {
    let request = Request::Top { container: container.map(str::to_string) };
    match client.ask(&request).or_exit(Exit::Incomplete)? {
        Response::Top { top } => Ok(*top),
        _ => Err(Failure::message(Exit::Incomplete, "the running watch answers something else")),
    }
}

/// The container that `wanted` names.
fn find(top: &Top, wanted: &str) -> Result<String, Failure> {
    let named = top.containers.iter().filter(|one| one.id == wanted || one.name == wanted);
    let begun = top.containers.iter().filter(|one| one.id.starts_with(wanted));
    let mut exact: Vec<&str> = named.map(|one| one.id.as_str()).collect();
    if exact.is_empty() {
        exact = begun.map(|one| one.id.as_str()).collect();
    }
    match exact.as_slice() {
        [one] => Ok((*one).to_string()),
        [] => Err(Failure::message(Exit::Incomplete, format!("no container `{wanted}` is known"))
            .with_hint("`palisade top --once` lists those that the watch knows")),
        several => Err(Failure::message(
            Exit::Usage,
            format!("`{wanted}` may be one of {} containers", several.len()),
        )
        .with_hint("say more of its id")),
    }
}

fn once(
    context: &Context<'_>,
    args: &cli::Top,
    client: &mut Client,
    interval: Duration,
) -> Result<Exit, Failure> {
    let first = ask(client, None)?;
    let mut chosen = args.container.as_deref().map(|wanted| find(&first, wanted)).transpose()?;
    // The processes of the first look are what processor time is counted from.
    let first = ask(client, chosen.as_deref())?;
    std::thread::sleep(interval);
    let mut second = ask(client, chosen.as_deref())?;
    if chosen.is_none() {
        chosen = Frame::new(Some(&first), &second).busiest().map(str::to_string);
        second = ask(client, chosen.as_deref())?;
    }
    let frame = Frame::new(Some(&first), &second);
    let text = match args.format {
        StatusFormat::Json => {
            serde_json::to_string_pretty(&Envelope::new(TOP_SCHEMA, frame.document()))
                .map_err(anyhow::Error::new)?
                + "\n"
        }
        StatusFormat::Text => {
            let view = View { chosen, ..View::default() };
            let lines = draw::draw(&frame, &view, ONCE_COLUMNS, None);
            let lines = lines.iter().map(|line| line.text.trim_end());
            lines.collect::<Vec<_>>().join("\n") + "\n"
        }
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn live(args: &cli::Top, client: &mut Client, interval: Duration) -> Result<Exit, Failure> {
    let mut previous: Option<Top> = None;
    let mut current = ask(client, None)?;
    let mut view = View::default();
    if let Some(wanted) = &args.container {
        view.chosen = Some(find(&current, wanted)?);
    }
    let mut screen = Screen::open().map_err(anyhow::Error::new)?;
    let mut due = Instant::now();
    loop {
        if Instant::now() >= due {
            due = Instant::now() + interval;
            if !view.is_paused {
                let top = ask(client, view.chosen.as_deref())?;
                previous = Some(std::mem::replace(&mut current, top));
            }
        }
        let frame = Frame::new(previous.as_ref(), &current);
        view.settle(&frame);
        let (columns, rows) = screen.size();
        screen.show(&draw::draw(&frame, &view, columns, Some(rows))).map_err(anyhow::Error::new)?;
        match screen.wait(due.saturating_duration_since(Instant::now())) {
            Key::Quit => return Ok(Exit::Clean),
            Key::None => {}
            key => {
                if view.press(key, &frame) {
                    // Another container: its processes at once.
                    due = Instant::now();
                }
            }
        }
    }
}
