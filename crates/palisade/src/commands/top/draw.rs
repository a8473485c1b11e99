//! What is on the screen, as lines: pure, so that a test can look at every cell.

use std::collections::{BTreeMap, BTreeSet};

use palisade_agent::control::protocol::{LastAlert, TopContainer, TopProcess};

use super::super::status::age;
use super::rates::Frame;
use super::screen::Key;
use crate::terminal::thousands;

/// Links of a tree that are followed.
const DEPTH_MAX: usize = 64;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Chosen,
    Alarm,
    Dim,
}

/// A line, no wider than the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) style: Style,
}

/// By what containers are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Order {
    #[default]
    Events,
    Alerts,
    Name,
}

/// What the person at the keys has chosen.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// Id of the container whose processes are shown.
    pub(super) chosen: Option<String>,
    pub(super) order: Order,
    /// Processes that are scrolled past.
    pub(super) scrolled: usize,
    pub(super) is_paused: bool,
}

impl View {
    /// Chooses a container when none is chosen, or when the chosen one is gone.
    pub(super) fn settle(&mut self, frame: &Frame<'_>) {
        let is_there =
            |id: &String| frame.top.containers.iter().any(|container| container.id == *id);
        if !self.chosen.as_ref().is_some_and(is_there) {
            self.chosen = frame.busiest().map(str::to_string);
            self.scrolled = 0;
        }
        let n = frame.top.processes.len();
        self.scrolled = self.scrolled.min(n.saturating_sub(1));
    }

    /// Does what a key says; whether another container is chosen.
    pub(super) fn press(&mut self, key: Key, frame: &Frame<'_>) -> bool {
        match key {
            Key::Up | Key::Down => {
                let rows = self.sorted(frame);
                let at = rows.iter().position(|row| Some(&row.id) == self.chosen.as_ref());
                let at = at.unwrap_or(0);
                let next = if key == Key::Up { at.saturating_sub(1) } else { at + 1 };
                if let Some(row) = rows.get(next) {
                    self.chosen = Some(row.id.clone());
                    self.scrolled = 0;
                    return next != at;
                }
            }
            Key::PageUp => self.scrolled = self.scrolled.saturating_sub(8),
            Key::PageDown => self.scrolled += 8,
            Key::Sort => {
                self.order = match self.order {
                    Order::Events => Order::Alerts,
                    Order::Alerts => Order::Name,
                    Order::Name => Order::Events,
                }
            }
            Key::Pause => self.is_paused = !self.is_paused,
            Key::None | Key::Quit => {}
        }
        false
    }

    fn sorted<'t>(&self, frame: &Frame<'t>) -> Vec<&'t TopContainer> {
        let mut rows: Vec<&TopContainer> = frame.top.containers.iter().collect();
        rows.sort_by(|a, b| {
            let by_name = || (&a.name, &a.id).cmp(&(&b.name, &b.id));
            match self.order {
                Order::Events => frame.container_rate(b).total_cmp(&frame.container_rate(a)),
                Order::Alerts => b.n_alerts.cmp(&a.n_alerts),
                Order::Name => std::cmp::Ordering::Equal,
            }
            .then_with(by_name)
        });
        rows
    }
}

/// The lines of a screen of `columns` and `rows`; without rows, all that there is to show.
pub(super) fn draw(
    frame: &Frame<'_>,
    view: &View,
    columns: usize,
    rows: Option<usize>,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut push = |text: String, style| lines.push(Line { text: fit(&text, columns), style });
    push(title(frame, view), Style::Bold);
    let (text, style) = losses(frame);
    push(text, style);
    push(String::new(), Style::Plain);

    let containers = view.sorted(frame);
    // The keys' line, two headings and a blank line are there besides.
    let left = rows.map_or(usize::MAX, |rows| rows.saturating_sub(7));
    let n_shown = containers.len().min((left / 2).max(3)).min(left);
    let at = containers.iter().position(|row| Some(&row.id) == view.chosen.as_ref()).unwrap_or(0);
    let first = (at + 1).saturating_sub(n_shown);
    push(
        container_row(["CONTAINER", "IMAGE", "EV/S", "ALERTS", "PROCS", "LAST ALERT"], columns),
        Style::Dim,
    );
    for container in containers.iter().skip(first).take(n_shown) {
        let cells = container_cells(frame, container);
        let is_chosen = Some(&container.id) == view.chosen.as_ref();
        let style = if is_chosen && rows.is_some() { Style::Chosen } else { Style::Plain };
        push(container_row(cells.each_ref().map(String::as_str), columns), style);
    }
    push(String::new(), Style::Plain);

    let of = containers.get(at).map_or("", |row| row.name.as_str());
    push(
        process_row("PID", "UID", "CPU%", &format!("PROCESSES OF {of}"), "LAST ALERT", columns),
        Style::Dim,
    );
    let tree = tree(&frame.top.processes);
    let n_left = left.saturating_sub(n_shown);
    for (depth, process) in tree.iter().skip(view.scrolled).take(n_left) {
        let percent = frame.process_percent(process);
        let command = format!("{}{}", "  ".repeat((*depth).min(12)), command(process));
        let alert = process.last_alert.as_ref();
        let text = process_row(
            &process.pid.to_string(),
            &process.uid.to_string(),
            &percent.map_or("-".into(), |percent| format!("{percent:.1}")),
            &command,
            &alert.map_or(String::new(), |alert| last(frame, alert)),
            columns,
        );
        push(text, if alert.is_some() { Style::Alarm } else { Style::Plain });
    }
    if let Some(rows) = rows {
        lines.truncate(rows.saturating_sub(1));
        while lines.len() + 1 < rows {
            lines.push(Line { text: String::new(), style: Style::Plain });
        }
        let more =
            tree.len().saturating_sub(view.scrolled + n_left) as u64 + frame.top.n_processes_more;
        let more = if more > 0 { format!("  {more} processes below") } else { String::new() };
        let keys = format!("up/down container  PgUp/PgDn processes  s sort  p pause  q quit{more}");
        lines.push(Line { text: fit(&keys, columns), style: Style::Dim });
        lines.truncate(rows);
    }
    lines
}

fn title(frame: &Frame<'_>, view: &View) -> String {
    let top = frame.top;
    let memory = top
        .resident_bytes
        .map_or(String::new(), |bytes| format!("  {:.1} MiB", bytes as f64 / f64::from(1 << 20)));
    format!(
        "palisade top{}  up {}  {} ev/s  {} alerts ({:.1}/s)  CPU {:.1} %{memory}  {} rules",
        if view.is_paused { " [paused]" } else { "" },
        age(top.time, top.started),
        thousands(frame.events_per_second().round() as u64),
        thousands(top.n_alerts),
        frame.alerts_per_second(),
        frame.cpu_percent(),
        top.n_rules
    )
}

fn losses(frame: &Frame<'_>) -> (String, Style) {
    let lately: Vec<String> = frame
        .top
        .losses
        .iter()
        .filter(|loss| loss.last_minute > 0)
        .map(|loss| format!("{} {} ({})", loss.last_minute, loss.kind.class, loss.kind.cause))
        .collect();
    let total: u64 = frame.top.losses.iter().map(|loss| loss.total).sum();
    if !lately.is_empty() {
        return (format!("LOST in the last minute: {}", lately.join(", ")), Style::Alarm);
    }
    if total > 0 {
        let text = format!("nothing lost in the last minute; {} since the start", thousands(total));
        return (text, Style::Plain);
    }
    ("nothing lost".into(), Style::Plain)
}

fn container_cells(frame: &Frame<'_>, container: &TopContainer) -> [String; 6] {
    let name = if container.name.is_empty() {
        container.id.get(..12).unwrap_or(&container.id)
    } else {
        &container.name
    };
    [
        clean(name),
        clean(&container.image),
        thousands(frame.container_rate(container).round() as u64),
        container.n_alerts.to_string(),
        container.n_processes.to_string(),
        container.last_alert.as_ref().map_or(String::new(), |alert| last(frame, alert)),
    ]
}

fn last(frame: &Frame<'_>, alert: &LastAlert) -> String {
    format!("{} ago {}", age(frame.top.time, alert.time), clean(&alert.rule))
}

fn container_row(cells: [&str; 6], columns: usize) -> String {
    // What is left of 80 columns after the numbers goes to names.
    let wide = columns.saturating_sub(28) / 3;
    let [name, image, rate, alerts, processes, last] = cells;
    format!(
        "{} {} {rate:>8} {alerts:>7} {processes:>6}  {last}",
        pad(name, wide.max(8)),
        pad(image, wide.max(8))
    )
}

fn process_row(
    pid: &str,
    uid: &str,
    percent: &str,
    command: &str,
    last: &str,
    columns: usize,
) -> String {
    let wide = columns.saturating_sub(26) * 3 / 5;
    format!("{pid:>8} {uid:>8} {percent:>6} {} {last}", pad(command, wide.max(16)))
}

fn command(process: &TopProcess) -> String {
    if process.cmdline.is_empty() {
        format!("[{}]", clean(&process.name))
    } else {
        clean(&process.cmdline)
    }
}

/// Processes as a tree: each with its depth, children behind their parent.
fn tree(processes: &[TopProcess]) -> Vec<(usize, &TopProcess)> {
    let known: BTreeSet<u32> = processes.iter().map(|process| process.pid).collect();
    let mut children: BTreeMap<u32, Vec<&TopProcess>> = BTreeMap::new();
    let mut open: Vec<(usize, &TopProcess)> = Vec::new();
    for process in processes {
        if process.ppid != process.pid && known.contains(&process.ppid) {
            children.entry(process.ppid).or_default().push(process);
        } else {
            open.push((0, process));
        }
    }
    open.reverse();
    let mut tree = Vec::with_capacity(processes.len());
    while let Some((depth, process)) = open.pop() {
        tree.push((depth, process));
        if let Some(below) = children.remove(&process.pid) {
            let depth = (depth + 1).min(DEPTH_MAX);
            open.extend(below.into_iter().rev().map(|child| (depth, child)));
        }
    }
    // A ring of parents, which only a damaged table has, would be missing.
    tree.extend(children.into_values().flatten().map(|process| (0, process)));
    tree
}

/// Text of others, without what a terminal would obey.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_invisible(c) { '?' } else { c }).collect()
}

/// Marks that change the direction or join with what is before them.
fn is_invisible(c: char) -> bool {
    matches!(c as u32, 0x300..=0x36f | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff)
}

/// Columns of a character: two for those of East Asia and for pictures.
fn width(c: char) -> usize {
    let is_wide = matches!(c as u32, 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd);
    1 + usize::from(is_wide)
}

/// `text`, cut to `columns`.
fn fit(text: &str, columns: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += width(*c);
        used <= columns
    };
    text.chars().take_while(fits).collect()
}

/// `text` in exactly `columns`.
fn pad(text: &str, columns: usize) -> String {
    let mut text = fit(text, columns);
    let used: usize = text.chars().map(width).sum();
    text.extend(std::iter::repeat_n(' ', columns - used));
    text
}

#[cfg(test)]
mod tests {
    use palisade_agent::control::protocol::Top;
    use palisade_base::Timestamp;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos((1_800_000_000 + seconds) * 1_000_000_000)
    }

    fn container(id: &str, n_events: u64, n_alerts: u64) -> TopContainer {
        TopContainer {
            id: id.into(),
            name: format!("name-{id}"),
            image: "registry.example/shop:1".into(),
            n_events,
            n_alerts,
            n_processes: 2,
            last_alert: None,
        }
    }

    fn process(pid: u32, ppid: u32, cmdline: &str) -> TopProcess {
        let (name, cmdline) = (format!("p{pid}"), cmdline.to_string());
        TopProcess { pid, ppid, uid: 33, name, cmdline, cpu_ns: Some(0), last_alert: None }
    }

    fn top(seconds: u64, containers: Vec<TopContainer>, processes: Vec<TopProcess>) -> Top {
        Top {
            time: at(seconds),
            started: at(0),
            n_events: 1000 * seconds,
            n_alerts: 3,
            cpu_ns: 50_000_000 * seconds,
            resident_bytes: Some(35 << 20),
            losses: Vec::new(),
            n_rules: 111,
            containers,
            container: None,
            processes,
            n_processes_more: 0,
        }
    }

    #[test]
    fn a_screen_has_its_size_whatever_it_shows() {
        let many: Vec<_> = (0..40).map(|n| container(&format!("{n:064}"), n, n)).collect();
        let deep: Vec<_> =
            (1..200).map(|n| process(n, n - 1, &"x\u{1b}[31m\u{4e2d}".repeat(40))).collect();
        for (containers, processes) in [(vec![], vec![]), (many, deep)] {
            let top = top(7, containers, processes);
            let frame = Frame::new(None, &top);
            let mut view = View::default();
            view.settle(&frame);
            for (columns, rows) in [(80, 24), (200, 60), (20, 5), (1, 1), (80, 3)] {
                let lines = draw(&frame, &view, columns, Some(rows));
                assert_eq!(lines.len(), rows, "{columns}x{rows}");
                for line in &lines {
                    let used: usize = line.text.chars().map(width).sum();
                    assert!(used <= columns, "{columns}x{rows}: {line:?}");
                    assert!(!line.text.contains(char::is_control), "{line:?}");
                }
            }
        }
    }

    #[test]
    fn rates_come_from_two_looks_and_the_busiest_is_chosen() {
        let mut worker = process(12, 11, "worker");
        let before =
            top(10, vec![container("a", 100, 0), container("b", 50, 2)], vec![worker.clone()]);
        worker.cpu_ns = Some(400_000_000);
        worker.last_alert = Some(LastAlert { time: at(9), rule: "Reverse shell".into() });
        let after = top(
            12,
            vec![container("a", 120, 0), container("b", 450, 2)],
            vec![process(11, 1, "main"), worker],
        );
        let frame = Frame::new(Some(&before), &after);
        let mut view = View::default();
        view.settle(&frame);
        let text: Vec<String> =
            draw(&frame, &view, 80, Some(24)).into_iter().map(|l| l.text).collect();
        assert!(
            text[0].starts_with("palisade top  up 12s  1,000 ev/s  3 alerts (0.0/s)  CPU 5.0 %"),
            "{text:#?}"
        );
        assert_eq!(text[1], "nothing lost");
        assert!(text[4].starts_with("name-b") && text[4].contains(" 200 "), "{text:#?}");
        assert!(text[5].starts_with("name-a") && text[5].contains(" 10 "), "{text:#?}");
        assert!(text[7].contains("PROCESSES OF name-b"), "{text:#?}");
        assert!(text[8].contains("11") && text[8].contains(" main"), "{text:#?}");
        assert!(
            text[9].contains("  20.0   worker") && text[9].contains("3s ago Reverse shell"),
            "{text:#?}"
        );
        // The keys move the choice; at the end it stays.
        assert!(view.press(Key::Down, &frame));
        assert_eq!(view.chosen.as_deref(), Some("a"));
        assert!(!view.press(Key::Down, &frame));
        assert!(view.press(Key::Up, &frame));
        view.press(Key::Sort, &frame);
        view.press(Key::Sort, &frame);
        assert_eq!(view.sorted(&frame)[0].id, "a", "by name");
        // The container ends: another one is chosen.
        let later = top(13, vec![container("a", 130, 0)], Vec::new());
        let frame = Frame::new(Some(&after), &later);
        view.settle(&frame);
        assert_eq!(view.chosen.as_deref(), Some("a"));
    }

    #[test]
    fn a_ring_of_parents_is_shown_all_the_same() {
        let ring = [process(1, 3, "a"), process(2, 1, "b"), process(3, 2, "c"), process(9, 9, "d")];
        assert_eq!(tree(&ring).len(), 4);
    }
}
