//! What a recorder notes of which call, by name: the tables that its loader is given.

/// What a call is noted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Its result is a descriptor of a file.
    Open,
    /// Its argument at this place is a path that it changes.
    Path(u8),
    /// The same, below the folder whose descriptor stands before it.
    PathAt(u8),
    /// It executes a program.
    Exec,
    /// It gives a socket its own address.
    Bind,
    /// It names the other end.
    Connect,
    /// Its fifth argument may name the other end.
    Send,
}

/// Calls that change files or speak with others.
pub const EFFECTS: &[(&str, Effect)] = &[
    ("open", Effect::Open),
    ("openat", Effect::Open),
    ("openat2", Effect::Open),
    ("creat", Effect::Open),
    ("mkdir", Effect::Path(0)),
    ("rmdir", Effect::Path(0)),
    ("unlink", Effect::Path(0)),
    ("rename", Effect::Path(1)),
    ("link", Effect::Path(1)),
    ("symlink", Effect::Path(1)),
    ("mknod", Effect::Path(0)),
    ("chmod", Effect::Path(0)),
    ("chown", Effect::Path(0)),
    ("lchown", Effect::Path(0)),
    ("truncate", Effect::Path(0)),
    ("utime", Effect::Path(0)),
    ("utimes", Effect::Path(0)),
    ("mkdirat", Effect::PathAt(1)),
    ("unlinkat", Effect::PathAt(1)),
    ("renameat", Effect::PathAt(3)),
    ("renameat2", Effect::PathAt(3)),
    ("linkat", Effect::PathAt(3)),
    ("symlinkat", Effect::PathAt(2)),
    ("mknodat", Effect::PathAt(1)),
    ("fchmodat", Effect::PathAt(1)),
    ("fchmodat2", Effect::PathAt(1)),
    ("fchownat", Effect::PathAt(1)),
    ("utimensat", Effect::PathAt(1)),
    ("futimesat", Effect::PathAt(1)),
    ("execve", Effect::Exec),
    ("execveat", Effect::Exec),
    ("bind", Effect::Bind),
    ("connect", Effect::Connect),
    ("sendto", Effect::Send),
];

/// Arguments that filters decide on: families and types of sockets, flags of `clone`, operations.
pub const ARGUMENTS: &[(&str, [Option<u8>; 2])] = &[
    ("socket", [Some(0), Some(1)]),
    ("socketpair", [Some(0), Some(1)]),
    ("clone", [Some(0), None]),
    ("unshare", [Some(0), None]),
    ("setns", [Some(1), None]),
    ("personality", [Some(0), None]),
    ("prctl", [Some(0), None]),
    ("arch_prctl", [Some(0), None]),
    ("ioctl", [Some(1), None]),
    ("keyctl", [Some(0), None]),
    ("seccomp", [Some(0), None]),
    ("bpf", [Some(0), None]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls::exists;

    #[test]
    fn every_name_is_a_call() {
        let names =
            EFFECTS.iter().map(|(name, _)| name).chain(ARGUMENTS.iter().map(|(name, _)| name));
        for name in names {
            assert!(exists(name), "{name}");
        }
    }
}
