//! Events that open, duplicate and close descriptors of files, and change folders.

use std::borrow::Cow;

use super::fd::{Fd, FdKind, O_CLOEXEC};
use super::thread::flag;
use super::{State, Touched};
use crate::record::{NOT_AVAILABLE, Record};
use crate::schema::number::{
    CREAT_E, CREAT_X, DUP3_X, OPEN_BY_HANDLE_AT_X, OPEN_X, OPENAT_2_E, OPENAT_2_X, OPENAT2_E,
    PIPE2_X,
};
use crate::text::join_path;

/// `AT_FDCWD`: paths are relative to the working folder.
pub(crate) const AT_FDCWD: i64 = -100;

/// What stands for a folder that no descriptor names.
pub(crate) const UNKNOWN_FOLDER: &[u8] = b"<UNKNOWN>";

/// Open flags of the scap format. Those from [`O_CREATED`] on are the kernel's findings,
/// those below it what the program asked for.
const O_DIRECTORY: u32 = 1 << 10;
const O_CREATED: u32 = 1 << 14;
const FD_UPPER_LAYER: u32 = 1 << 15;
const FD_LOWER_LAYER: u32 = 1 << 16;

struct Opened<'r> {
    name: &'r [u8],
    flags: u32,
    dev: u32,
    ino: u64,
    /// Directory descriptor, or none for the working folder.
    dirfd: Option<i64>,
    /// Paths are relative to the working folder.
    in_cwd: bool,
}

impl State {
    /// The folder to which a path is relative, with a slash at its end.
    pub(crate) fn folder_of(&self, tid: i64, path: &[u8], dirfd: i64) -> Cow<'_, [u8]> {
        if path.first() == Some(&b'/') {
            return Cow::Borrowed(b".");
        }
        let Some(thread) = self.threads.get(&tid) else { return Cow::Borrowed(UNKNOWN_FOLDER) };
        if dirfd == AT_FDCWD {
            return Cow::Borrowed(self.cwd_of(thread));
        }
        match self.fd(tid, dirfd).map(Fd::name) {
            None => Cow::Borrowed(UNKNOWN_FOLDER),
            Some(name) if name.is_empty() || name.ends_with(b"/") => Cow::Borrowed(name),
            Some(name) => Cow::Owned([name, b"/"].concat()),
        }
    }

    pub(crate) fn on_open(&mut self, record: &Record<'_>, touched: &mut Touched) {
        let Some(thread) = self.threads.get(&record.tid) else { return };
        let Some(fd) = record.result() else { return };
        let enter_bytes = self.enter_of(record);
        let enter = enter_bytes.as_deref().and_then(|bytes| Record::decode(bytes).ok());
        let opened = read_open(record, enter.as_ref());
        if fd < 0 {
            return;
        }
        let folder = match opened.dirfd {
            _ if opened.in_cwd => Cow::Borrowed(self.cwd_of(thread)),
            Some(dirfd) => self.folder_of(record.tid, opened.name, dirfd),
            None => Cow::Borrowed(&b""[..]),
        };
        let path = join_path(&folder, opened.name);
        let is_directory = opened.flags & O_DIRECTORY != 0;
        let mut entry = Fd::of(if is_directory { FdKind::Directory } else { FdKind::File });
        entry.open_flags = opened.flags;
        entry.dev = opened.dev;
        entry.ino = opened.ino;
        entry.raw_name = Some(record.raw_path.unwrap_or(opened.name).into());
        entry.upper_layer = opened.flags & FD_UPPER_LAYER != 0;
        entry.lower_layer = opened.flags & FD_LOWER_LAYER != 0;
        entry.set_name(&path);
        touched.fd = self.add_fd(record.tid, fd, entry);
    }

    pub(crate) fn on_close(&mut self, record: &Record<'_>, touched: Touched) {
        if let (Some(0..), Some(fd)) = (record.result(), touched.fd) {
            self.close_after_event(record.tid, fd);
        }
    }

    pub(crate) fn on_close_range(&mut self, record: &Record<'_>) {
        const CLOEXEC: u32 = 1 << 2;
        if record.result().is_none_or(|result| result < 0) {
            return;
        }
        let bound = |index| i64::from(record.param(index).u32().unwrap_or(0));
        let range = bound(1)..=bound(2);
        let only_marks = record.param(3).u32().unwrap_or(0) & CLOEXEC != 0;
        let Some(fds) = self.fds_mut(record.tid) else { return };
        if only_marks {
            fds.for_each_mut(|fd, entry| {
                if range.contains(&fd) {
                    entry.open_flags |= O_CLOEXEC;
                }
            });
        } else {
            fds.retain(|fd, _| !range.contains(&fd));
        }
    }

    pub(crate) fn on_dup(&mut self, record: &Record<'_>, touched: &mut Touched) {
        let (Some(new @ 0..), Some(old)) = (record.result(), touched.fd) else { return };
        if let Some(thread) = self.threads.get_mut(&record.tid) {
            match new {
                0 => thread.flags |= flag::PIPE_DEST,
                1 => thread.flags |= flag::PIPE_SOURCE,
                _ => {}
            }
        }
        let Some(mut entry) = self.fd(record.tid, old).cloned() else { return };
        entry.keep_on_exec();
        if record.number() == DUP3_X && record.param(3).u32().unwrap_or(0) & O_CLOEXEC != 0 {
            entry.open_flags |= O_CLOEXEC;
        }
        touched.fd = self.add_fd(record.tid, new, entry);
    }

    pub(crate) fn on_fcntl(&mut self, record: &Record<'_>, touched: &mut Touched) {
        const DUPFD: u8 = 1;
        const SETFD: u8 = 3;
        const DUPFD_CLOEXEC: u8 = 26;
        let (Some(new @ 0..), Some(old)) = (record.result(), touched.fd) else { return };
        let Some(command) = record.param(2).u8() else { return };
        if command == SETFD {
            let close = record.param(3).u64().unwrap_or(0) & 1 != 0;
            if let Some(entry) = self.fds_mut(record.tid).and_then(|fds| fds.get_mut(old)) {
                entry.keep_on_exec();
                if close {
                    entry.open_flags |= O_CLOEXEC;
                }
            }
        } else if matches!(command, DUPFD | DUPFD_CLOEXEC) {
            let Some(mut entry) = self.fd(record.tid, old).cloned() else { return };
            entry.keep_on_exec();
            if command == DUPFD_CLOEXEC {
                entry.open_flags |= O_CLOEXEC;
            }
            touched.fd = self.add_fd(record.tid, new, entry);
        }
    }

    pub(crate) fn on_pipe(&mut self, record: &Record<'_>, touched: &mut Touched) {
        if record.result().is_none_or(|result| result < 0) {
            return;
        }
        let mut entry = Fd::of(FdKind::Pipe);
        entry.ino = record.param(3).u64().unwrap_or(0);
        if record.number() == PIPE2_X {
            entry.open_flags = record.param(4).u32().unwrap_or(0);
        }
        for index in [1, 2] {
            if let Some(fd) = record.param(index).i64() {
                touched.fd = self.add_fd(record.tid, fd, entry.clone());
            }
        }
    }

    pub(crate) fn change_cwd(&mut self, tid: i64, path: &[u8]) {
        let Some(thread) = self.threads.get(&tid) else { return };
        let Some(main) = self.main_tid(tid) else { return };
        let mut cwd = join_path(&thread.cwd, path);
        if cwd.last() != Some(&b'/') {
            cwd.push(b'/');
        }
        if let Some(main) = self.threads.get_mut(&main)
            && *main.cwd != *cwd
        {
            main.cwd = cwd.into();
        }
    }

    pub(crate) fn on_chdir(&mut self, record: &Record<'_>) {
        if record.result().is_some_and(|result| result >= 0) {
            self.change_cwd(record.tid, record.param(1).text());
        }
    }

    pub(crate) fn on_fchdir(&mut self, record: &Record<'_>, touched: Touched) {
        let (Some(0..), Some(fd)) = (record.result(), touched.fd) else { return };
        if let Some(name) = self.fd(record.tid, fd).and_then(|fd| fd.name.clone()) {
            self.change_cwd(record.tid, &name);
        }
    }

    pub(crate) fn on_memfd(&mut self, record: &Record<'_>, touched: &mut Touched) {
        let Some(fd @ 0..) = record.result() else { return };
        let mut entry = Fd::of(FdKind::Memory);
        entry.set_name(record.param(1).text());
        entry.open_flags = record.param(2).u32().unwrap_or(0);
        touched.fd = self.add_fd(record.tid, fd, entry);
    }

    pub(crate) fn on_pidfd_open(&mut self, record: &Record<'_>, touched: &mut Touched) {
        let Some(fd @ 0..) = record.result() else { return };
        let mut entry = Fd::of(FdKind::PidFd);
        entry.pid = record.param(1).i64().unwrap_or(-1);
        entry.set_name(format!("/proc/{}", entry.pid).as_bytes());
        entry.open_flags = record.param(2).u32().unwrap_or(0);
        touched.fd = self.add_fd(record.tid, fd, entry);
    }

    pub(crate) fn on_pidfd_getfd(&mut self, record: &Record<'_>, touched: &mut Touched) {
        let Some(fd @ 0..) = record.result() else { return };
        let pidfd = record.param(1).i64().unwrap_or(-1);
        let target = record.param(2).i64().unwrap_or(-1);
        let Some(process) = self.fd(record.tid, pidfd).filter(|fd| fd.kind == FdKind::PidFd) else {
            return;
        };
        let Some(mut entry) = self.fd(process.pid, target).cloned() else { return };
        entry.keep_on_exec();
        entry.open_flags |= O_CLOEXEC;
        touched.fd = self.add_fd(record.tid, fd, entry);
    }
}

/// What an open says. The enter event, where a capture has one, shows what the program
/// passed before the kernel read it; the exit event, what the kernel made of it.
fn read_open<'r>(record: &Record<'r>, enter: Option<&Record<'r>>) -> Opened<'r> {
    let mut opened = match record.number() {
        OPEN_X => Opened {
            name: record.param(1).text(),
            flags: record.param(2).u32().unwrap_or(0),
            dev: record.param(4).u32().unwrap_or(0),
            ino: record.param(5).u64().unwrap_or(0),
            dirfd: None,
            in_cwd: true,
        },
        CREAT_X => {
            let layers = record.param(5).u16().unwrap_or(0);
            let upper = if layers & 1 != 0 { FD_UPPER_LAYER } else { 0 };
            let lower = if upper == 0 && layers & 2 != 0 { FD_LOWER_LAYER } else { 0 };
            Opened {
                name: record.param(1).text(),
                flags: upper | lower,
                dev: record.param(3).u32().unwrap_or(0),
                ino: record.param(4).u64().unwrap_or(0),
                dirfd: None,
                in_cwd: true,
            }
        }
        OPEN_BY_HANDLE_AT_X => Opened {
            name: record.param(3).text(),
            flags: record.param(2).u32().unwrap_or(0),
            dev: record.param(4).u32().unwrap_or(0),
            ino: record.param(5).u64().unwrap_or(0),
            dirfd: None,
            in_cwd: false,
        },
        number => {
            let dev = if number == OPENAT_2_X { 5 } else { 6 };
            let has_ino = !record.param(dev + 1).is_empty();
            let dev_value = record.param(dev).u32().filter(|_| has_ino).unwrap_or(0);
            Opened {
                name: record.param(2).text(),
                flags: record.param(3).u32().unwrap_or(0),
                dev: dev_value,
                ino: record.param(dev + 1).u64().unwrap_or(0),
                dirfd: record.param(1).i64(),
                in_cwd: false,
            }
        }
    };
    if let Some(enter) = enter {
        let first = usize::from(matches!(enter.number(), OPENAT_2_E | OPENAT2_E));
        let name = enter.param(first).text();
        if name != NOT_AVAILABLE {
            opened.name = name;
            if enter.number() != CREAT_E {
                let asked = enter.param(first + 1).u32().unwrap_or(0);
                opened.flags = asked | opened.flags & !(O_CREATED - 1);
            }
            if first == 1 {
                opened.dirfd = enter.param(0).i64();
            }
        }
    }
    opened
}
