//! The table of event types, parsed once from `events.txt` and `flags.txt`.
//!
//! The table is data, because the numbers, names and parameter orders are the scap
//! format's and must be compared with it, not argued about. Parsing it is infallible:
//! a malformed line would be a mistake of ours, which the tests of this module find.

use std::sync::LazyLock;

/// How a parameter is encoded. All integers are little-endian and unaligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParamType {
    /// Signed integer of that many bytes.
    Int(u8),
    /// Unsigned integer of that many bytes.
    Uint(u8),
    /// NUL-terminated text.
    Text,
    /// NUL-terminated path.
    Path,
    /// NUL-terminated path, relative to the descriptor in the parameter of that index.
    RelativePath(u8),
    /// Raw bytes.
    Bytes,
    /// `i64`: a result, negative `errno` on failure.
    Errno,
    /// Family byte and address.
    SockAddr,
    /// Family byte and both ends.
    SockTuple,
    /// `i64` (in few events `i32`): a descriptor, or a negative `errno`.
    Fd,
    /// `i64` (in few events `i32`): a process or thread.
    Pid,
    /// `u16` count, then `i64` descriptor and `i16` flags each.
    FdList,
    /// `u16`: a code of `syscalls.txt`.
    Syscall,
    /// `u8`: a signal.
    Signal,
    /// `u64` nanoseconds; all ones means none.
    RelativeTime,
    /// `u64` nanoseconds since the epoch.
    AbsoluteTime,
    /// `u32` truth value.
    Bool,
    /// A set of flags of that many bytes.
    Flags(u8),
    /// An enumeration of that many bytes.
    Enumeration(u8),
    /// `u32`; all ones means none.
    Uid,
    /// `u32`; all ones means none.
    Gid,
    /// `u32` file mode.
    Mode,
    /// `u32`: the lower half of a signal set.
    SignalSet,
    /// A leading byte chooses one of several types.
    Dynamic(Dynamic),
    /// Anything the format lists and no event uses.
    Other,
}

/// The families of [`ParamType::Dynamic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dynamic {
    /// Socket options: bytes, errno, `u32`, `u64`, time.
    SockOpt,
    /// `ptrace`: `u64` in hexadecimal, or a signal.
    Ptrace,
    /// `bpf`: descriptor, or result.
    Bpf,
    /// `keyctl`: `i64`, or text.
    Keyctl,
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberFormat {
    /// As the type says.
    Default,
    /// Upper-case hexadecimal.
    Hexadecimal,
    /// Octal with a leading 0.
    Octal,
}

/// Names of the values of a flag or enumeration parameter.
pub type Names = &'static [(&'static str, u32)];

/// One parameter of an event type.
#[derive(Debug, Clone, Copy)]
pub struct ParamInfo {
    /// Its name in `evt.arg.NAME`.
    pub name: &'static str,
    /// Its encoding.
    pub kind: ParamType,
    /// How numbers are written.
    pub format: NumberFormat,
    /// Names of its values, when it has some.
    pub names: Names,
}

/// What an event is about, as `evt.category` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the field's values")]
pub enum Category {
    Unknown,
    Other,
    File,
    Net,
    Ipc,
    Memory,
    Process,
    Sleep,
    System,
    Signal,
    User,
    Time,
    Processing,
    IoRead,
    IoWrite,
    IoOther,
    Wait,
    Scheduler,
    Internal,
}

/// What produces an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Nothing: the number only fills a pair.
    None,
    /// A system call.
    Syscall,
    /// A kernel tracepoint.
    Tracepoint,
    /// A plugin.
    Plugin,
    /// The library itself.
    Meta,
    /// A kernel iterator.
    Iterator,
}

/// Properties of an event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits(u16);

impl Traits {
    /// Returns a new descriptor.
    pub const CREATES_FD: Self = Self(1);
    /// Ends a descriptor.
    pub const DESTROYS_FD: Self = Self(1 << 1);
    /// Works on a descriptor.
    pub const USES_FD: Self = Self(1 << 2);
    /// Reads from a descriptor.
    pub const READS_FD: Self = Self(1 << 3);
    /// Writes to a descriptor.
    pub const WRITES_FD: Self = Self(1 << 4);
    /// Changes the state that is kept.
    pub const MODIFIES_STATE: Self = Self(1 << 5);
    /// Not in use.
    pub const UNUSED: Self = Self(1 << 6);
    /// Waits.
    pub const WAITS: Self = Self(1 << 7);
    /// Leaves the state of its thread alone.
    pub const SKIPS_STATE: Self = Self(1 << 8);
    /// An old version of an event type.
    pub const OLD: Self = Self(1 << 9);
    /// Parameter lengths are 32 bits wide.
    pub const LARGE: Self = Self(1 << 11);
    /// Upgraded when it comes from an old capture.
    pub const UPGRADED: Self = Self(1 << 12);

    /// Whether any property of `other` is set.
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One event type.
#[derive(Debug)]
pub struct EventInfo {
    /// Its number; even ones are enter events.
    pub number: u16,
    /// Its name in `evt.type`.
    pub name: &'static str,
    /// What it is about.
    pub category: Category,
    /// What produces it.
    pub origin: Origin,
    /// Its properties.
    pub traits: Traits,
    /// Its parameters in order.
    pub params: Box<[ParamInfo]>,
}

impl EventInfo {
    /// Whether it is an enter event, or one without an exit.
    pub const fn is_enter(&self) -> bool {
        self.number & 1 == 0
    }

    /// Whether its first parameter is a system call's result.
    pub fn has_result(&self) -> bool {
        self.number != super::number::GENERIC_X
            && self.origin == Origin::Syscall
            && !self.is_enter()
            && !self.params.is_empty()
    }

    /// Index of the parameter `name`.
    pub fn param_index(&self, name: &str) -> Option<usize> {
        self.params.iter().position(|param| param.name == name)
    }
}

/// Number of event types; a record with a larger type is from a newer version.
pub const N_EVENTS: usize = 454;

/// Parameters of one event; no type has more, and a record that claims more is refused.
pub const PARAMS_MAX: usize = 32;

static EVENTS: LazyLock<Vec<EventInfo>> = LazyLock::new(|| {
    let flags = parse_flags(include_str!("flags.txt"));
    lines(include_str!("events.txt")).map(|line| parse_event(line, &flags)).collect()
});

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let usable = |event: &EventInfo| if event.name == "NA" { "" } else { event.name };
    let mut names: Vec<_> = events().iter().map(usable).collect();
    // A call without a type of its own is a generic event; `evt.type` tells it by its
    // system call's name, so those names are numbered after the table's.
    names.extend(SYSCALLS.iter().copied());
    names
});

static SYSCALLS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut names = Vec::new();
    for line in lines(include_str!("syscalls.txt")) {
        let mut words = line.split(' ');
        let code: usize = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let name = words.next().unwrap_or("unknown");
        if names.len() <= code {
            names.resize(code + 1, "");
        }
        names[code] = name;
    }
    names
});

/// Codes of the kernel's own numbers; 0 where there is none.
static NATIVE: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let mut codes = Vec::new();
    for line in lines(include_str!("native.txt")) {
        let Some((number, name)) = line.split_once(' ') else { continue };
        let number: usize = number.parse().unwrap_or(0);
        let code = SYSCALLS.iter().position(|known| *known == name).unwrap_or(0);
        codes.resize(codes.len().max(number + 1), 0);
        codes[number] = code as u16;
    }
    codes
});

/// The code of a system call that a capture has only by its number on x86-64.
pub(crate) fn syscall_of_native(number: u16) -> u16 {
    NATIVE.get(usize::from(number)).copied().unwrap_or(0)
}

/// All event types; the index is the number.
pub fn events() -> &'static [EventInfo] {
    &EVENTS
}

/// The event type of that number.
pub fn event(number: u16) -> Option<&'static EventInfo> {
    EVENTS.get(usize::from(number))
}

/// The name of a system call code, empty when there is none.
pub fn syscall_name(code: u16) -> &'static str {
    SYSCALLS.get(usize::from(code)).copied().unwrap_or("")
}

/// Names of event types as rules see them: the table's, then those of the system calls
/// that have no type of their own, at [`N_EVENTS`] plus their code.
pub fn type_names() -> &'static [&'static str] {
    &NAMES
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

type FlagTables = Vec<(&'static str, Names)>;

fn parse_flags(text: &'static str) -> FlagTables {
    lines(text)
        .map(|line| {
            let mut words = line.split(' ');
            let table = words.next().unwrap_or("");
            let names: Vec<_> = words
                .filter_map(|word| word.split_once('='))
                .map(|(name, value)| (name, value.parse().unwrap_or(0)))
                .collect();
            // The table lives as long as the program: it is parsed once.
            (table, &*names.leak())
        })
        .collect()
}

fn parse_event(line: &'static str, flags: &FlagTables) -> EventInfo {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or("");
    let number = word().parse().unwrap_or(u16::MAX);
    let name = word();
    let category = parse_category(word());
    let origin = parse_origin(word());
    let traits = parse_traits(word());
    let params = words.map(|param| parse_param(param, flags)).collect();
    EventInfo { number, name, category, origin, traits, params }
}

fn parse_param(text: &'static str, flags: &FlagTables) -> ParamInfo {
    let mut parts = text.split(':');
    let name = parts.next().unwrap_or("");
    let kind_name = parts.next().unwrap_or("");
    let format = match parts.next() {
        Some("x") => NumberFormat::Hexadecimal,
        Some("o") => NumberFormat::Octal,
        _ => NumberFormat::Default,
    };
    let table = parts.next().unwrap_or("");
    let names = flags.iter().find(|(name, _)| *name == table).map_or(&[][..], |(_, names)| names);
    ParamInfo { name, kind: parse_type(kind_name, table), format, names }
}

fn parse_type(name: &str, table: &str) -> ParamType {
    let bytes = |prefix: &str| {
        let bits: u8 = name.strip_prefix(prefix).and_then(|bits| bits.parse().ok()).unwrap_or(0);
        bits / 8
    };
    match name {
        "INT8" | "INT16" | "INT32" | "INT64" => ParamType::Int(bytes("INT")),
        "UINT8" | "UINT16" | "UINT32" | "UINT64" => ParamType::Uint(bytes("UINT")),
        "CHARBUF" => ParamType::Text,
        "FSPATH" => ParamType::Path,
        "FSRELPATH" => ParamType::RelativePath(table.parse().unwrap_or(u8::MAX)),
        "BYTEBUF" => ParamType::Bytes,
        "ERRNO" => ParamType::Errno,
        "SOCKADDR" => ParamType::SockAddr,
        "SOCKTUPLE" => ParamType::SockTuple,
        "FD" | "FD32" => ParamType::Fd,
        "PID" | "PID32" => ParamType::Pid,
        "FDLIST" => ParamType::FdList,
        "SYSCALLID" => ParamType::Syscall,
        "SIGTYPE" => ParamType::Signal,
        "RELTIME" => ParamType::RelativeTime,
        "ABSTIME" => ParamType::AbsoluteTime,
        "BOOL" => ParamType::Bool,
        "FLAGS8" | "FLAGS16" | "FLAGS32" => ParamType::Flags(bytes("FLAGS")),
        "ENUMFLAGS8" | "ENUMFLAGS16" | "ENUMFLAGS32" => ParamType::Enumeration(bytes("ENUMFLAGS")),
        "UID" => ParamType::Uid,
        "GID" => ParamType::Gid,
        "MODE" => ParamType::Mode,
        "SIGSET" => ParamType::SignalSet,
        "DYN" => ParamType::Dynamic(match table {
            "ptrace_dynamic_param" => Dynamic::Ptrace,
            "bpf_dynamic_param" => Dynamic::Bpf,
            "keyctl_dynamic_param" => Dynamic::Keyctl,
            _ => Dynamic::SockOpt,
        }),
        _ => ParamType::Other,
    }
}

fn parse_category(name: &str) -> Category {
    match name {
        "other" => Category::Other,
        "file" => Category::File,
        "net" => Category::Net,
        "ipc" => Category::Ipc,
        "memory" => Category::Memory,
        "process" => Category::Process,
        "sleep" => Category::Sleep,
        "system" => Category::System,
        "signal" => Category::Signal,
        "user" => Category::User,
        "time" => Category::Time,
        "processing" => Category::Processing,
        "io_read" => Category::IoRead,
        "io_write" => Category::IoWrite,
        "io_other" => Category::IoOther,
        "wait" => Category::Wait,
        "scheduler" => Category::Scheduler,
        "internal" => Category::Internal,
        _ => Category::Unknown,
    }
}

fn parse_origin(name: &str) -> Origin {
    match name {
        "syscall" => Origin::Syscall,
        "tracepoint" => Origin::Tracepoint,
        "plugin" => Origin::Plugin,
        "meta" => Origin::Meta,
        "iter" => Origin::Iterator,
        _ => Origin::None,
    }
}

fn parse_traits(letters: &str) -> Traits {
    letters.chars().fold(Traits::default(), |traits, letter| {
        traits.with(match letter {
            'C' => Traits::CREATES_FD,
            'D' => Traits::DESTROYS_FD,
            'U' => Traits::USES_FD,
            'R' => Traits::READS_FD,
            'W' => Traits::WRITES_FD,
            'M' => Traits::MODIFIES_STATE,
            'n' => Traits::UNUSED,
            'w' => Traits::WAITS,
            's' => Traits::SKIPS_STATE,
            'o' => Traits::OLD,
            'L' => Traits::LARGE,
            'c' => Traits::UPGRADED,
            _ => Traits::default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::number;

    #[test]
    fn every_line_of_the_table_is_understood() {
        assert_eq!(events().len(), N_EVENTS);
        for (index, event) in events().iter().enumerate() {
            assert_eq!(usize::from(event.number), index);
            assert!(!event.name.is_empty(), "{index}");
            assert!(event.params.len() <= PARAMS_MAX, "{index}");
            for param in &event.params {
                // Types of events that nothing sends any more need no decoder.
                let dead = event.traits.any(Traits::OLD.with(Traits::UNUSED));
                let known = param.kind != ParamType::Other
                    || event.name == "tracer"
                    || event.origin == Origin::Iterator;
                assert!(dead || known, "{} {}", event.name, param.name);
                assert!(!param.name.is_empty());
                if let ParamType::RelativePath(fd) = param.kind {
                    assert_eq!(event.params[usize::from(fd)].kind, ParamType::Fd, "{}", event.name);
                }
            }
        }
    }

    #[test]
    fn the_table_holds_the_formats_numbers() {
        let check = |number: u16, name: &str, n_params: usize| {
            let event = event(number).unwrap();
            assert_eq!((event.name, event.params.len()), (name, n_params), "{number}");
        };
        check(number::EXECVE_19_X, "execve", 31);
        check(number::CLONE_20_X, "clone", 21);
        check(number::OPENAT_2_X, "openat", 7);
        check(number::CONNECT_X, "connect", 4);
        check(number::PROCEXIT_1_E, "procexit", 5);
        assert!(event(N_EVENTS as u16).is_none());
        assert_eq!(syscall_name(340), "move_mount");
    }
}
