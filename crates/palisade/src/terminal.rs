//! Results go to stdout, progress and errors to stderr.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;

use crate::cli::LogLevel;
use crate::exit::Failure;

/// Where the commands print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// Whether results are coloured.
    pub(crate) color: bool,
    quiet: bool,
}

impl Terminal {
    pub(crate) fn new(color: bool, quiet: bool) -> Self {
        Self { color, quiet }
    }

    /// Prints a result. A reader that went away (`| head`) is no error.
    #[expect(clippy::unused_self, reason = "the terminal is where results go")]
    pub(crate) fn result(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(anyhow::Error::new(error).context("write to stdout").into())
            }
            _ => Ok(()),
        }
    }

    /// Prints a result to `file`, or to stdout when there is none.
    pub(crate) fn result_to(self, file: Option<&Path>, text: &str) -> Result<(), Failure> {
        let Some(path) = file else { return self.result(text) };
        palisade_base::fs::write_atomic(path, text.as_bytes(), 0o644)
            .with_context(|| format!("write `{}`", path.display()))?;
        self.progress(&format!("wrote {}", path.display()));
        Ok(())
    }

    /// Says what is happening.
    pub(crate) fn progress(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Shows how far something is, in a line that the next call replaces; nothing where
    /// stderr is no terminal.
    pub(crate) fn status(self, text: &str) {
        if !self.quiet && io::IsTerminal::is_terminal(&io::stderr()) {
            let mut out = io::stderr().lock();
            let _ = write!(out, "\r{text}\x1b[K").and_then(|()| out.flush());
        }
    }

    /// Says what went wrong; never suppressed.
    #[expect(clippy::unused_self, reason = "the terminal is where errors go")]
    pub(crate) fn error(self, text: &str) {
        let _ = write!(io::stderr(), "{text}");
    }

    /// `text` in `style`, where results are coloured.
    pub(crate) fn paint(self, style: anstyle::Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}

/// Sends log messages of `level` and above to stderr.
pub(crate) fn start_logging(level: LogLevel) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    // A second call, which only tests make, keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false)
        .try_init();
}

/// Lines up `rows` under `header`, two blanks between columns.
pub(crate) fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    };
    let mut out = line(&mut header.iter().copied());
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

/// `rows` separated by tabs, for scripts; tabs and line ends within a cell become blanks.
pub(crate) fn tsv(rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().map(|cell| cell.replace(['\t', '\n', '\r'], " ")).collect();
        out.push_str(&cells.join("\t"));
        out.push('\n');
    }
    out
}

/// A count with its digits in groups of three.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// CPU time that this process has used, all threads together.
pub(crate) fn cpu_time() -> std::time::Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    std::time::Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let rows = [vec!["a".into(), "long cell".into()], vec!["bcd".into(), "x".into()]];
        assert_eq!(columns(&["K", "V"], &rows), "K    V\na    long cell\nbcd  x\n");
    }

    #[test]
    fn digits_are_grouped() {
        let shown = [0, 999, 1000, 1_234_567].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_tab_in_a_cell_does_not_add_a_column() {
        assert_eq!(tsv(&[vec!["a\tb".into(), "c".into()]]), "a b\tc\n");
    }
}
