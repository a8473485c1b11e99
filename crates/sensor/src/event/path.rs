//! Fields of calls that work on paths: `fs.path.*` and `evt.abspath`.

use palisade_rules::fields::{FieldArgument, Value, Values};

use super::EventView;
use crate::schema::Field;
use crate::schema::number::{
    CHMOD_X, CHOWN_X, FCHMOD_X, FCHMODAT_X, FCHOWN_X, FCHOWNAT_X, LCHOWN_X, LINK_2_X, LINKAT_2_X,
    MKDIR_2_X, MKDIRAT_X, MOUNT_X, OPEN_BY_HANDLE_AT_X, OPEN_X, OPENAT_2_X, OPENAT2_X, QUOTACTL_X,
    RENAME_X, RENAMEAT_X, RENAMEAT2_X, RMDIR_2_X, SYMLINK_X, SYMLINKAT_X, UMOUNT_1_X, UMOUNT2_X,
    UNLINK_2_X, UNLINKAT_2_X,
};
use crate::state::apply_file::{AT_FDCWD, UNKNOWN_FOLDER};
use crate::state::{Fd, FdKind};
use crate::text::join_path_into;

/// Which path of a call a field means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Name,
    Source,
    Target,
}

/// Name of the parameter that holds a call's path; `fd` stands for the descriptor's name.
fn path_param(number: u16, side: Side) -> Option<&'static str> {
    Some(match (number, side) {
        (MKDIR_2_X | MKDIRAT_X | RMDIR_2_X | UNLINK_2_X | CHOWN_X | LCHOWN_X, Side::Name) => "path",
        (UNLINKAT_2_X | OPEN_X | OPENAT_2_X | OPENAT2_X | UMOUNT_1_X | UMOUNT2_X, Side::Name) => {
            "name"
        }
        (FCHMODAT_X | CHMOD_X, Side::Name) => "filename",
        (FCHMOD_X | FCHOWN_X, Side::Name) => "fd",
        (FCHOWNAT_X, Side::Name) => "pathname",
        (QUOTACTL_X, Side::Name) => "special",
        // The source of a link is the new name, its target the file that exists.
        (RENAME_X | RENAMEAT_X | RENAMEAT2_X, Side::Source)
        | (LINK_2_X | LINKAT_2_X, Side::Target) => "oldpath",
        (RENAME_X | RENAMEAT_X | RENAMEAT2_X, Side::Target)
        | (LINK_2_X | LINKAT_2_X, Side::Source) => "newpath",
        (SYMLINK_X | SYMLINKAT_X, Side::Source) => "linkpath",
        (SYMLINK_X | SYMLINKAT_X, Side::Target) => "target",
        (MOUNT_X, Side::Source) => "dev",
        (MOUNT_X, Side::Target) => "dir",
        _ => return None,
    })
}

impl<'e> EventView<'e> {
    pub(super) fn extract_path<'v>(&'v self, field: Field, out: &mut Values<'v>) {
        let side = match field {
            Field::FsPathName | Field::FsPathNameraw => Side::Name,
            Field::FsPathSource | Field::FsPathSourceraw => Side::Source,
            _ => Side::Target,
        };
        let raw =
            matches!(field, Field::FsPathNameraw | Field::FsPathSourceraw | Field::FsPathTargetraw);
        out.extend(self.path_of(side, raw).map(Value::Text));
    }

    fn path_of(&self, side: Side, raw: bool) -> Option<&'e [u8]> {
        let number = self.record.number();
        let name = path_param(number, side)?;
        let result = self.record.result()?;
        let is_open = matches!(number, OPEN_X | OPENAT_2_X | OPENAT2_X);
        let succeeded = if is_open { result != -1 } else { result == 0 };
        if !succeeded {
            return None;
        }
        let path = if name == "fd" {
            self.fd().map_or(&b""[..], Fd::name)
        } else {
            self.record.param_by_name(name)?.1.text()
        };
        if raw {
            return Some(path);
        }
        Some(self.absolute(number, side, path))
    }

    fn absolute(&self, number: u16, side: Side, path: &'e [u8]) -> &'e [u8] {
        if path.first() == Some(&b'/') {
            return self.build(|out| join_path_into(b"", path, out));
        }
        let Some(thread) = self.thread() else { return path };
        let joined = |folder: &[u8]| self.build(|out| join_path_into(folder, path, out));
        match number {
            OPENAT_2_X | OPENAT2_X => self.fd().map_or(UNKNOWN_FOLDER, Fd::name),
            FCHOWNAT_X | FCHMODAT_X | MKDIRAT_X | UNLINKAT_2_X => joined(&self.dirfd_folder()),
            SYMLINKAT_X if side == Side::Source => joined(&self.dirfd_folder()),
            SYMLINKAT_X => joined(UNKNOWN_FOLDER),
            RENAMEAT2_X => {
                let index = if side == Side::Target { 3 } else { 1 };
                let dirfd = self.record.param(index).i64().unwrap_or(-1);
                joined(&self.state.folder_of(self.record.tid, path, dirfd))
            }
            _ => joined(self.state.cwd_of(thread)),
        }
    }

    /// The folder of the event's own descriptor.
    fn dirfd_folder(&self) -> Vec<u8> {
        match self.fd().filter(|fd| fd.kind == FdKind::Directory).map(Fd::name) {
            None => UNKNOWN_FOLDER.to_vec(),
            Some(name) if name.is_empty() || name.ends_with(b"/") => name.to_vec(),
            Some(name) => [name, b"/"].concat(),
        }
    }

    /// `evt.abspath`, `evt.abspath.src` and `evt.abspath.dst`.
    pub(super) fn absolute_path(&self, argument: &FieldArgument) -> Option<Value<'e>> {
        let wants_second = matches!(argument, FieldArgument::Key(key) if &**key == "dst");
        let (dirfd, path) = match self.record.number() {
            RENAMEAT_X | RENAMEAT2_X if wants_second => ("newdirfd", "newpath"),
            RENAMEAT_X | RENAMEAT2_X => ("olddirfd", "oldpath"),
            LINKAT_2_X if wants_second => ("newdir", "newpath"),
            LINKAT_2_X => ("olddir", "oldpath"),
            SYMLINKAT_X => ("linkdirfd", "linkpath"),
            OPENAT_2_X | OPENAT2_X | UNLINKAT_2_X => ("dirfd", "name"),
            MKDIRAT_X => ("dirfd", "path"),
            FCHMODAT_X => ("dirfd", "filename"),
            FCHOWNAT_X => ("dirfd", "pathname"),
            OPEN_BY_HANDLE_AT_X => {
                let path = self.record.param(3).text();
                self.record.result().filter(|fd| *fd > 0)?;
                return Some(self.text(|out| join_path_into(b"", path, out)));
            }
            _ => return None,
        };
        let thread = self.thread()?;
        let dirfd = self.record.param_by_name(dirfd)?.1.i64()?;
        let (_, path) = self.record.param_by_name(path).filter(|(_, path)| !path.is_empty())?;
        let path = path.text();
        let folder = match dirfd {
            _ if path.first() == Some(&b'/') => Vec::new(),
            AT_FDCWD => self.state.cwd_of(thread).to_vec(),
            dirfd => match self.state.fd(self.record.tid, dirfd).map(Fd::name) {
                Some(name) => [name, b"/"].concat(),
                None => [UNKNOWN_FOLDER, b"/"].concat(),
            },
        };
        Some(self.text(|out| join_path_into(&folder, path, out)))
    }
}
