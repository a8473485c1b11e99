//! The terminal as a screen: another page of it, keys one by one, and everything put back at the
//! end, however that comes.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use palisade_sys::signals::{SignalPipe, wait_readable};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use super::draw::{Line, Style};

/// The size where the terminal does not say.
const SIZE: (usize, usize) = (80, 24);
/// How long a change of the size may go unnoticed.
const TICK: Duration = Duration::from_millis(200);
/// Another page, no cursor; and both back.
const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

/// What was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    None,
    Up,
    Down,
    PageUp,
    PageDown,
    Sort,
    Pause,
    Quit,
}

/// The screen.
pub(super) struct Screen {
    before: Termios,
    signals: SignalPipe,
    pending: Vec<u8>,
    shown: Option<(usize, usize)>,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        let signals = SignalPipe::install(false)?;
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        // Keys as they come, and none of them shown. Ctrl-C stays a signal.
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        let this = Self { before, signals, pending: Vec::new(), shown: None };
        write(OPEN)?;
        Ok(this)
    }

    /// Columns and rows.
    #[expect(clippy::unused_self, reason = "the size is that of the screen that is open")]
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (usize::from(size.ws_col), usize::from(size.ws_row))
            }
            _ => SIZE,
        }
    }

    pub(super) fn show(&mut self, lines: &[Line]) -> io::Result<()> {
        let size = self.size();
        let mut text = String::from("\x1b[H");
        if self.shown.replace(size) != Some(size) {
            text.push_str("\x1b[2J");
        }
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                text.push_str("\r\n");
            }
            text.push_str(match line.style {
                Style::Plain => "",
                Style::Bold => "\x1b[1m",
                Style::Chosen => "\x1b[7m",
                Style::Alarm => "\x1b[1;31m",
                Style::Dim => "\x1b[2m",
            });
            text.push_str(&line.text);
            text.push_str("\x1b[0m\x1b[K");
        }
        text.push_str("\x1b[J");
        write(&text)
    }

    /// Waits for a key, at most for `timeout` or until the size has changed.
    pub(super) fn wait(&mut self, timeout: Duration) -> Key {
        if let Some(key) = self.take() {
            return key;
        }
        let stdin = io::stdin();
        let ready = wait_readable(&[stdin.as_fd(), self.signals.as_fd()], Some(timeout.min(TICK)));
        if !matches!(self.signals.take(), Ok(None)) {
            return Key::Quit;
        }
        if ready.is_ok_and(|ready| ready == Some(0)) {
            let mut bytes = [0; 64];
            match stdin.lock().read(&mut bytes) {
                // The terminal is gone.
                Ok(0) | Err(_) => return Key::Quit,
                Ok(n) => self.pending.extend_from_slice(bytes.get(..n).unwrap_or_default()),
            }
        }
        self.take().unwrap_or(Key::None)
    }

    fn take(&mut self) -> Option<Key> {
        while !self.pending.is_empty() {
            let (key, n) = parse(&self.pending);
            self.pending.drain(..n.min(self.pending.len()));
            if key != Key::None {
                return Some(key);
            }
        }
        None
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody left to tell of a failure.
        let _closed = write(CLOSE);
        let _restored = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The first key in `bytes` (not empty), and how many bytes it takes. Sequences as those of
/// xterm; one that is not known is passed over as a whole.
fn parse(bytes: &[u8]) -> (Key, usize) {
    match bytes {
        [0x1b, b'[' | b'O', rest @ ..] => {
            let n = rest.iter().take_while(|byte| !(0x40..=0x7e).contains(*byte)).count();
            let key = match (&rest[..n], rest.get(n)) {
                ([], Some(b'A')) => Key::Up,
                ([], Some(b'B')) => Key::Down,
                (b"5", Some(b'~')) => Key::PageUp,
                (b"6", Some(b'~')) => Key::PageDown,
                _ => Key::None,
            };
            (key, 2 + n + 1)
        }
        [b'q' | b'Q' | 3 | 4, ..] => (Key::Quit, 1),
        [b'k', ..] => (Key::Up, 1),
        [b'j', ..] => (Key::Down, 1),
        [b'b', ..] => (Key::PageUp, 1),
        [b' ', ..] => (Key::PageDown, 1),
        [b's', ..] => (Key::Sort, 1),
        [b'p', ..] => (Key::Pause, 1),
        _ => (Key::None, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_others_passed_over() {
        let check = |bytes: &[u8], expected: &[Key]| {
            let (mut rest, mut keys) = (bytes, Vec::new());
            while !rest.is_empty() {
                let (key, n) = parse(rest);
                keys.push(key);
                rest = rest.get(n..).unwrap_or_default();
            }
            assert_eq!(keys, expected, "{bytes:?}");
        };
        check(b"jk", &[Key::Down, Key::Up]);
        check(b"\x1b[A\x1bOB", &[Key::Up, Key::Down]);
        check(b"\x1b[5~\x1b[6~s", &[Key::PageUp, Key::PageDown, Key::Sort]);
        check(b"\x1b[1;5Cq", &[Key::None, Key::Quit]);
        check(b"\x1b[", &[Key::None]);
        check(b"\x1bq", &[Key::None, Key::Quit]);
        check("\u{e9}p".as_bytes(), &[Key::None, Key::None, Key::Pause]);
    }
}
