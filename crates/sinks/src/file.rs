//! Alerts as lines of a file.
//!
//! A line is on the disk when its delivery counts as done. The file is rotated by size, and
//! opened anew when its name belongs to another file (or to none): a log rotator needs to
//! send no signal. What the death of the machine tore stays a line of its own.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::SendError;
use crate::item::Message;
use crate::transport::{Failed, Transport};

/// A file of lines.
#[derive(Debug)]
pub(crate) struct FileSender {
    path: PathBuf,
    rotate_bytes: u64,
    n_kept: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: (u64, u64),
}

impl FileSender {
    pub(crate) fn new(path: PathBuf, rotate_bytes: u64, n_kept: u32) -> Self {
        Self { path, rotate_bytes, n_kept, open: None }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> SendError + use<> {
        let path = self.path.clone();
        move |source| SendError::File { action, path, source }
    }

    /// The file that has the name now.
    fn current(&mut self) -> Result<&mut File, SendError> {
        let named = std::fs::metadata(&self.path).map(|m| (m.dev(), m.ino())).ok();
        if self.open.as_ref().is_some_and(|open| Some(open.inode) != named) {
            self.open = None;
        }
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        match &mut self.open {
            Some(open) => Ok(&mut open.file),
            None => Err(SendError::NotAFile(self.path.clone())),
        }
    }

    fn open(&self) -> Result<Open, SendError> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            // A link would lead a program of root's somewhere else, a pipe would stop it.
            .custom_flags(flags.bits().cast_signed())
            .open(&self.path)
            .map_err(self.failed("open"))?;
        let metadata = file.metadata().map_err(self.failed("open"))?;
        if !metadata.is_file() {
            return Err(SendError::NotAFile(self.path.clone()));
        }
        end_torn_line(&mut file, metadata.len()).map_err(self.failed("write"))?;
        Ok(Open { file, inode: (metadata.dev(), metadata.ino()) })
    }

    fn write(&mut self, lines: &str) -> Result<(), SendError> {
        let failed = self.failed("write");
        let file = self.current()?;
        let result = (|| {
            let length = file.metadata()?.len();
            file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()).inspect_err(|_| {
                // A part of it may be there; what follows must not continue it.
                let _ = file.set_len(length);
            })?;
            file.metadata().map(|metadata| metadata.len())
        })();
        let length = result.map_err(failed)?;
        if length >= self.rotate_bytes {
            self.rotate()?;
        }
        Ok(())
    }

    /// `FILE` becomes `FILE.1`, that `FILE.2`, and so on; the last goes.
    fn rotate(&mut self) -> Result<(), SendError> {
        for i in (0..self.n_kept).rev() {
            match std::fs::rename(numbered(&self.path, i), numbered(&self.path, i + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.failed("rotate")(error));
                }
                _ => {}
            }
        }
        self.open = None;
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_path_buf();
    }
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Ends a last line that was not ended, so that the next one does not continue it.
fn end_torn_line(file: &mut File, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::Start(length - 1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

impl Transport for FileSender {
    fn send(&mut self, messages: &[Message]) -> Result<(), Failed> {
        let mut lines = String::new();
        for message in messages {
            lines.push_str(&message.body);
            lines.push('\n');
        }
        Ok(self.write(&lines)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;
    use crate::testing::alert;

    fn message(body: &str) -> Message {
        Message::new(Item::Alert(&alert()), body.into())
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_appended_and_a_torn_one_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alerts.jsonl");
        std::fs::write(&path, "torn").unwrap();
        let mut sender = FileSender::new(path.clone(), 1 << 20, 5);
        sender.send(&[message("one"), message("two")]).unwrap();
        sender.send(&[message("three")]).unwrap();
        assert_eq!(read(&path), "torn\none\ntwo\nthree\n");
        let fresh = folder.path().join("fresh");
        FileSender::new(fresh.clone(), 1 << 20, 5).send(&[message("one")]).unwrap();
        assert_eq!(std::fs::metadata(&fresh).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_renamed_or_removed_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let moved = folder.path().join("b");
        let mut sender = FileSender::new(path.clone(), 1 << 20, 5);
        sender.send(&[message("one")]).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        sender.send(&[message("two")]).unwrap();
        assert_eq!((read(&moved), read(&path)), ("one\n".into(), "two\n".into()));
        std::fs::remove_file(&path).unwrap();
        sender.send(&[message("three")]).unwrap();
        assert_eq!(read(&path), "three\n");
        std::fs::write(&path, "").unwrap();
        sender.send(&[message("four")]).unwrap();
        assert_eq!(read(&path), "four\n", "emptied in place");
    }

    #[test]
    fn rotation_is_by_size_and_keeps_so_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut sender = FileSender::new(path.clone(), 10, 2);
        for i in 0..5 {
            sender.send(&[message(&format!("line-{i:05}"))]).unwrap();
        }
        assert!(!path.exists(), "rotated when it was full");
        assert_eq!(read(&numbered(&path, 1)), "line-00004\n");
        assert_eq!(read(&numbered(&path, 2)), "line-00003\n");
        assert!(!numbered(&path, 3).exists());
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: PathBuf| {
            let failed = FileSender::new(path, 10, 2).send(&[message("x")]).unwrap_err();
            assert_eq!(failed.n_sent, 0);
            failed.error.chain()
        };
        let target = folder.path().join("target");
        std::fs::write(&target, "").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(check(link).contains("link"));
        assert!(check(folder.path().to_path_buf()).contains("open"));
        assert!(check(folder.path().join("missing/a")).contains("No such file"));
        assert!(check(PathBuf::from("/dev/null")).contains("not a regular file"));
        assert_eq!(read(&target), "");
    }
}
