//! `palisade` on a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::bed::{Bed, SOON};
use crate::support::wait_for;

/// A terminal with a program on it.
pub(super) struct Terminal {
    pub(super) main: File,
    other: OwnedFd,
    pub(super) child: Child,
    said: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts `palisade` on a terminal of 80 columns and 24 rows.
    pub(super) fn start(bed: &Bed, args: &[&str]) -> Self {
        let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&main).unwrap();
        unlockpt(&main).unwrap();
        let name = ptsname(&main, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let other = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
        let stdio = || Stdio::from(other.try_clone().unwrap());
        set_size(&main, 80, 24);
        let mut command = bed.command(args);
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        let child = command.spawn().unwrap();
        drop(command);
        let main = File::from(main);
        let said = Arc::new(Mutex::new(String::new()));
        let (mut reader, heard) = (main.try_clone().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                heard.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        Self { main, other, child, said }
    }

    /// All that was shown.
    pub(super) fn text(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    #[track_caller]
    pub(super) fn shows(&self, text: &str) {
        wait_for(text, SOON, || self.text().contains(text).then_some(()));
    }

    /// Types `keys`.
    pub(super) fn types(&mut self, keys: &[u8]) {
        self.main.write_all(keys).unwrap();
    }

    /// Waits for the end with `code`, which leaves the terminal as it was.
    #[track_caller]
    pub(super) fn expect_end(&mut self, code: i32) {
        let status = wait_for("end", SOON, || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(code), "{}", self.text());
        let modes = tcgetattr(&self.other).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives a terminal another size.
pub(super) fn set_size(main: impl std::os::fd::AsFd, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(main, size).unwrap();
}
