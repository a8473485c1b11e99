//! Which input of the kernel stands behind a field, event by event.

use super::{Input, NumberTest, Test};
use crate::ast::{FieldUse, Operand};
use crate::fields::Value;

/// Flags of opens and of programs in the format of captures (`file_flags`, `exe_flags`).
const O_READ: u32 = 1;
const O_WRITE: u32 = 1 << 1;
const O_TMPFILE: u32 = 1 << 13;
const O_CREATED: u32 = 1 << 14;
const EXE_WRITABLE: u32 = 1;
const EXE_UPPER_LAYER: u32 = 1 << 1;
const EXE_FROM_MEMFD: u32 = 1 << 2;
const EXE_LOWER_LAYER: u32 = 1 << 3;

const UNKNOWN_FIELD: &str = "the field is not known in the kernel";
const OF_LAST_EXEC: &str = "what the last exec found is not kept in the kernel";
const TRANSFORMED: &str = "the kernel does not transform values";
const OTHER_FIELD: &str = "the kernel compares with constants only";

/// What a field is to the kernel.
pub(super) enum Answer {
    /// An input, always there unless `may_be_absent`.
    Input { input: Input, may_be_absent: bool },
    /// A truth value that is such an atom.
    Bool(Input, Test),
    /// One value of three: if the atom holds, if it does not, and if the event does not have
    /// the input (which the kernel does not tell from not knowing it).
    Choice(Input, Test, [Option<Constant>; 3]),
    /// `evt.res`: a word for success, names of errors.
    ResultText,
    /// The same for all such events; nothing if they do not have the field.
    Constant(Option<Constant>),
    /// `container.id`.
    ContainerId,
    /// Not known; why.
    Unknown(&'static str),
}

/// A value that all events of a type share.
pub(super) enum Constant {
    Text(String),
    Bool(bool),
}

impl Constant {
    /// As the evaluator compares it.
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text.as_bytes()),
            Self::Bool(value) => Value::Bool(*value),
        }
    }
}

/// Events that have much in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Exec,
    Open,
    Connect,
    Bind,
    Other,
}

fn family(event: &str) -> Family {
    match event {
        "execve" | "execveat" => Family::Exec,
        "open" | "openat" | "openat2" | "creat" => Family::Open,
        "connect" => Family::Connect,
        "bind" => Family::Bind,
        _ => Family::Other,
    }
}

/// The left side of a comparison.
pub(super) fn operand(event: &str, operand: &Operand) -> Answer {
    match operand {
        Operand::Field(field) => answer(event, field),
        Operand::Transform(_) => Answer::Unknown(TRANSFORMED),
        Operand::Literal(..) | Operand::List(..) => Answer::Unknown(OTHER_FIELD),
    }
}

/// What the kernel does with a comparison of two fields.
pub(super) fn other_field() -> &'static str {
    OTHER_FIELD
}

fn always(input: Input) -> Answer {
    Answer::Input { input, may_be_absent: false }
}

fn sometimes(input: Input) -> Answer {
    Answer::Input { input, may_be_absent: true }
}

fn text(text: &str) -> Answer {
    Answer::Constant(Some(word(text)))
}

fn bits(input: Input, bits: u32) -> Answer {
    Answer::Bool(input, Test::Numbers(vec![NumberTest::AnyBit(bits)]))
}

fn equals(input: Input, number: i64, values: [Option<Constant>; 3]) -> Answer {
    Answer::Choice(input, Test::Numbers(vec![NumberTest::Equal(number)]), values)
}

fn word(text: &str) -> Constant {
    Constant::Text(text.to_owned())
}

fn answer(event: &str, field: &FieldUse) -> Answer {
    if let Some(argument) = &field.argument {
        return match (field.name.as_str(), parameter(event, argument)) {
            ("evt.rawarg", Some(index)) => always(Input::Parameter(index)),
            _ => Answer::Unknown(UNKNOWN_FIELD),
        };
    }
    let family = family(event);
    match field.name.as_str() {
        "evt.type" | "syscall.type" => text(event),
        "evt.dir" => text("<"),
        "evt.source" => text("syscall"),
        "evt.rawres" => always(Input::Result),
        "evt.failed" => Answer::Bool(Input::Result, Test::Numbers(vec![NumberTest::Less(0)])),
        "evt.res" => Answer::ResultText,
        "container.id" => Answer::ContainerId,
        "proc.name" => always(Input::Comm),
        "proc.pname" => sometimes(Input::ParentName),
        "proc.exepath" => always(Input::ExePath),
        "user.uid" => always(Input::Uid),
        "proc.tty" if family == Family::Exec => always(Input::Terminal),
        name if name.starts_with("evt.is_open_") => open_flag(event, family, name),
        name if name.starts_with("proc.is_exe_") => exe_flag(family, name),
        name if name.starts_with("fd.") => descriptor(event, family, name),
        name if name.starts_with("evt.addr.") => address(family, name),
        name => match name.split_once("evt.rawarg.").and_then(|(_, key)| parameter(event, key)) {
            Some(index) => always(Input::Parameter(index)),
            None => Answer::Unknown(UNKNOWN_FIELD),
        },
    }
}

fn open_flag(event: &str, family: Family, name: &str) -> Answer {
    let flags = match name {
        "evt.is_open_read" => O_READ,
        "evt.is_open_write" => O_WRITE,
        // A nameless file that was asked for and not made has been made by nobody.
        "evt.is_open_create" => O_CREATED | O_TMPFILE,
        _ if family == Family::Open => return Answer::Unknown(UNKNOWN_FIELD),
        _ => 0,
    };
    // The rule language says no to all of these for creat(2), whatever it does.
    if family != Family::Open || event == "creat" {
        return Answer::Constant(Some(Constant::Bool(false)));
    }
    bits(Input::OpenFlags, flags)
}

fn exe_flag(family: Family, name: &str) -> Answer {
    if family != Family::Exec {
        return Answer::Unknown(OF_LAST_EXEC);
    }
    match name {
        "proc.is_exe_writable" => bits(Input::ExeFlags, EXE_WRITABLE),
        "proc.is_exe_upper_layer" => bits(Input::ExeFlags, EXE_UPPER_LAYER),
        "proc.is_exe_lower_layer" => bits(Input::ExeFlags, EXE_LOWER_LAYER),
        "proc.is_exe_from_memfd" => bits(Input::ExeFlags, EXE_FROM_MEMFD),
        _ => Answer::Unknown(UNKNOWN_FIELD),
    }
}

fn descriptor(event: &str, family: Family, name: &str) -> Answer {
    let layer = [Some(Constant::Bool(true)), Some(Constant::Bool(false)), None];
    match (family, name) {
        // An exec is about no descriptor.
        (Family::Exec, _) => Answer::Constant(None),
        (Family::Open, "fd.name") => always(Input::Path),
        (Family::Open, "fd.directory") => always(Input::Directory),
        (Family::Open, "fd.filename") => sometimes(Input::FileName),
        (Family::Open, "fd.num") => always(Input::Descriptor),
        (Family::Open, "fd.type") => {
            equals(Input::IsDirectory, 1, [Some(word("directory")), Some(word("file")), None])
        }
        (Family::Open, "fd.typechar") => {
            // The letter of what an open that fails would have made.
            let expected = if event == "open" { "o" } else { "f" };
            equals(Input::IsDirectory, 1, [word("d"), word("f"), word(expected)].map(Some))
        }
        (Family::Open, "fd.is_upper_layer") => equals(Input::Layer, 1, layer),
        (Family::Open, "fd.is_lower_layer") => equals(Input::Layer, 2, layer),
        (Family::Connect, "fd.sip" | "fd.snet") => sometimes(Input::ServerIp),
        (Family::Connect, "fd.sport") => sometimes(Input::ServerPort),
        (
            Family::Connect,
            "fd.rip" | "fd.rnet" | "fd.rport" | "fd.lip" | "fd.lnet" | "fd.lport",
        ) => Answer::Unknown(
            "which end is the container's own is not known in the kernel; \
                 ask for the server's with `fd.sip` and `fd.sport`, or for what the call \
                 names with `evt.addr.ip` and `evt.addr.port`",
        ),
        _ => Answer::Unknown(UNKNOWN_FIELD),
    }
}

fn address(family: Family, name: &str) -> Answer {
    match (family, name) {
        (Family::Connect | Family::Bind, "evt.addr.ip") => sometimes(Input::AddressIp),
        (Family::Connect | Family::Bind, "evt.addr.port") => sometimes(Input::AddressPort),
        (Family::Exec | Family::Open, _) => Answer::Constant(None),
        _ => Answer::Unknown(UNKNOWN_FIELD),
    }
}

/// Numbers of at most four bytes among the parameters of some events, by their index in the
/// format.
fn parameter(event: &str, name: &str) -> Option<u8> {
    Some(match (event, name) {
        ("unshare", "flags")
        | ("bpf", "cmd")
        | ("socket", "domain")
        | ("setuid", "uid")
        | ("setgid", "gid") => 1,
        ("kill" | "tkill", "sig")
        | ("setns", "nstype")
        | ("memfd_create", "flags")
        | ("socket", "type")
        | ("chmod" | "fchmod", "mode") => 2,
        ("ptrace", "request") | ("tgkill", "sig") | ("socket", "proto") | ("fchmodat", "mode") => 3,
        ("mount", "flags") => 4,
        _ => return None,
    })
}

/// Numbers of the errors that rules name (`include/uapi/asm-generic/errno-base.h`, `errno.h`).
pub(super) fn errno(name: &str) -> Option<i64> {
    const ERRNO: [(&str, i64); 46] = [
        ("EPERM", 1),
        ("ENOENT", 2),
        ("ESRCH", 3),
        ("EINTR", 4),
        ("EIO", 5),
        ("ENXIO", 6),
        ("E2BIG", 7),
        ("ENOEXEC", 8),
        ("EBADF", 9),
        ("ECHILD", 10),
        ("EAGAIN", 11),
        ("ENOMEM", 12),
        ("EACCES", 13),
        ("EFAULT", 14),
        ("EBUSY", 16),
        ("EEXIST", 17),
        ("EXDEV", 18),
        ("ENODEV", 19),
        ("ENOTDIR", 20),
        ("EISDIR", 21),
        ("EINVAL", 22),
        ("ENFILE", 23),
        ("EMFILE", 24),
        ("ETXTBSY", 26),
        ("EFBIG", 27),
        ("ENOSPC", 28),
        ("EROFS", 30),
        ("EPIPE", 32),
        ("ENAMETOOLONG", 36),
        ("ENOSYS", 38),
        ("ENOTEMPTY", 39),
        ("ELOOP", 40),
        ("EPROTONOSUPPORT", 93),
        ("EOPNOTSUPP", 95),
        ("EAFNOSUPPORT", 97),
        ("EADDRINUSE", 98),
        ("EADDRNOTAVAIL", 99),
        ("ENETUNREACH", 101),
        ("ECONNRESET", 104),
        ("EISCONN", 106),
        ("ENOTCONN", 107),
        ("ETIMEDOUT", 110),
        ("ECONNREFUSED", 111),
        ("EHOSTUNREACH", 113),
        ("EALREADY", 114),
        ("EINPROGRESS", 115),
    ];
    ERRNO.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}
