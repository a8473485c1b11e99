//! `palisade logs`: what a container has written.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use palisade_runtime::{KEPT_BYTES_MAX, LogFile, ManageError, RuntimePaths, Status};

use super::Context;
use super::run::{open, paths};
use crate::cli;
use crate::exit::{Exit, Failure};

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes copied at once, and looked through at once for the beginning of a line.
const CHUNK_BYTES: u64 = 64 << 10;

/// The file that takes the output of a detached container `name`.
pub(super) fn path(paths: &RuntimePaths, name: &str) -> PathBuf {
    paths.data.join("logs").join(format!("{}.log", name.replace('/', "_")))
}

/// Makes the folder of logs, which nobody else may enter, with those above it.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Opens a log to append to it. What containers say may be anybody's secret.
pub(super) fn open_to_append(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(path)
}

/// Prints what a container has written.
pub(crate) fn logs(context: &Context<'_>, args: &cli::Logs) -> Result<Exit, Failure> {
    let runtime = open(context, None)?;
    let (log, is_gone) = match runtime.find(&args.container) {
        Ok(found) => {
            let log = found.record.run.log.ok_or_else(|| {
                let message = format!("the output of `{}` is not kept", args.container);
                Failure::message(Exit::Usage, message)
                    .with_hint("an earlier version of this program started it; start it anew")
            })?;
            (log, false)
        }
        // The file stays when the container is gone: what it said last is often the question.
        Err(error @ ManageError::NotFound { .. }) => {
            let path = path(&paths(context), &args.container);
            if !path.is_file() {
                return Err(Failure::from_explained(error, Exit::Incomplete));
            }
            (LogFile { path, offset: 0, supervisor: None }, true)
        }
        Err(error) => return Err(Failure::from_explained(error, Exit::Incomplete)),
    };
    let shown = || format!("read log `{}`", log.path.display());
    let mut file = File::open(&log.path).with_context(shown)?;
    let first = first_kept(&mut file, log.offset).with_context(shown)?;
    if first > log.offset && args.tail.is_none() {
        context.terminal.error(&format!(
            "warning: only the last {} MiB of the output are kept\n",
            KEPT_BYTES_MAX >> 20
        ));
    }
    let start = match args.tail {
        Some(n) => last_lines(&mut file, first, n).with_context(shown)?,
        None => first,
    };
    let mut follower = Follower { file, at: start };
    loop {
        // Asked before the look at the file: what a container wrote before its end is then in it.
        let has_ended = is_gone
            || runtime.find(&args.container).map_or(true, |found| found.status == Status::Stopped);
        let cut = follower.copy().with_context(shown)?;
        if cut {
            context.terminal.error(&format!(
                "warning: `{}` was cut meanwhile; what stood in it is lost\n",
                log.path.display()
            ));
        }
        if !args.follow || has_ended {
            return Ok(Exit::Clean);
        }
        std::thread::sleep(LOOK);
    }
}

/// Removes the file of a container's output, if there is one.
pub(super) fn remove(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(anyhow::Error::new(error)
            .context(format!("remove log `{}`", path.display()))
            .into()),
        _ => Ok(()),
    }
}

/// Where in a file that may grow, or be cut by its writer, we stand.
struct Follower {
    file: File,
    at: u64,
}

impl Follower {
    /// Copies to standard output what there is; true if the file was cut before, or what came next
    /// was given up.
    fn copy(&mut self) -> io::Result<bool> {
        let length = self.file.metadata()?.len();
        let mut is_cut = length < self.at;
        if is_cut {
            self.at = 0;
        }
        let first = first_kept(&mut self.file, self.at)?;
        is_cut |= first > self.at;
        self.at = first;
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut out = io::stdout().lock();
        let left = length.saturating_sub(self.at);
        let copied = io::copy(&mut Read::by_ref(&mut self.file).take(left), &mut out)
            .and_then(|n| out.flush().map(|()| n));
        match copied {
            Ok(n) => self.at += n,
            // The reader has seen enough (`| head`).
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => return Err(error),
        }
        Ok(is_cut)
    }
}

/// Where, from `start` on, something is kept: what the runtime gave up is a hole in the file. Behind
/// one it is the beginning of a line.
fn first_kept(file: &mut File, start: u64) -> io::Result<u64> {
    let first = match rustix::fs::seek(&*file, rustix::fs::SeekFrom::Data(start)) {
        Ok(first) => first,
        // Nothing is behind it, or the file system knows no holes.
        Err(rustix::io::Errno::NXIO | rustix::io::Errno::INVAL) => return Ok(start),
        Err(error) => return Err(error.into()),
    };
    if first <= start {
        return Ok(start);
    }
    file.seek(SeekFrom::Start(first))?;
    let mut chunk = Vec::new();
    Read::by_ref(file).take(CHUNK_BYTES).read_to_end(&mut chunk)?;
    let line = chunk.iter().position(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
    Ok(first + line)
}

/// Where the last `n` lines behind `start` begin. A last line without its end counts as one.
fn last_lines(file: &mut File, start: u64, n: usize) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if n == 0 || length <= start {
        return Ok(length.max(start));
    }
    let (mut end, mut n_left) = (length, n);
    while end > start {
        let begin = end.saturating_sub(CHUNK_BYTES).max(start);
        file.seek(SeekFrom::Start(begin))?;
        let mut chunk = Vec::new();
        Read::by_ref(file).take(end - begin).read_to_end(&mut chunk)?;
        for (at, byte) in chunk.iter().enumerate().rev() {
            // The end of the last line begins no line.
            if *byte != b'\n' || begin + at as u64 + 1 == length {
                continue;
            }
            n_left -= 1;
            if n_left == 0 {
                return Ok(begin + at as u64 + 1);
            }
        }
        end = begin;
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_is_passed_over() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "old\nnew\n").unwrap();
        let mut file = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(first_kept(&mut file, 0).unwrap(), 0);
        assert_eq!(first_kept(&mut file, 4).unwrap(), 4);
        assert_eq!(first_kept(&mut file, 8).unwrap(), 8, "at the end");
        // The rest of a line, and a whole one.
        std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        let mut more = File::options().append(true).open(&path).unwrap();
        more.write_all(b"ld\nnew\n").unwrap();
        let mut file = File::open(&path).unwrap();
        let first = first_kept(&mut file, 3).unwrap();
        let all = std::fs::read(&path).unwrap();
        assert_eq!(&all[usize::try_from(first).unwrap()..], b"new\n");
        let start = last_lines(&mut file, first, 5).unwrap();
        assert_eq!(start, first);
    }

    #[test]
    fn the_last_lines_begin_where_a_line_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let check = |text: &str, start: u64, n: usize, expected: &str| {
            std::fs::write(&path, text).unwrap();
            let mut file = File::open(&path).unwrap();
            let at = last_lines(&mut file, start, n).unwrap();
            assert_eq!(&text[usize::try_from(at).unwrap()..], expected, "{n} of {text:?}");
        };
        check("one\ntwo\nthree\n", 0, 2, "two\nthree\n");
        check("one\ntwo\nthree", 0, 2, "two\nthree");
        check("one\ntwo\n", 0, 9, "one\ntwo\n");
        check("one\ntwo\nthree\n", 4, 9, "two\nthree\n");
        check("one\n", 0, 0, "");
        check("\n\n", 0, 1, "\n");
        check("", 0, 3, "");
        let long = format!("{}\nlast\n", "x".repeat(200_000));
        check(&long, 0, 1, "last\n");
        check(&long, 0, 2, &long);
    }
}
