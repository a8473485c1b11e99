//! Fields of the event itself: `evt.*` and `syscall.type`.

use palisade_rules::fields::{FieldArgument, Value, Values};

use super::EventView;
use crate::identity::SHORT_ID_CHARS;
use crate::record::Param;
use crate::schema::number::{
    ACCEPT_5_X, ACCEPT4_6_X, CONNECT_X, CREAT_X, GENERIC_X, INFRASTRUCTURE_EVENT_E,
    OPEN_BY_HANDLE_AT_X, OPEN_X, OPENAT_2_X, OPENAT2_X, PROCINFO_E,
};
use crate::schema::{Category, Field, Origin, ParamType, Traits};
use crate::state::apply_socket::ip_and_port;
use crate::state::thread::Thread;
use crate::state::{Fd, FdKind};
use crate::text::{civil_from_seconds, push_fmt};

const SECOND_NS: u64 = 1_000_000_000;

impl<'e> EventView<'e> {
    pub(super) fn extract_event<'v>(
        &'v self,
        field: Field,
        argument: &FieldArgument,
        out: &mut Values<'v>,
    ) {
        let record = &self.record;
        let time = record.time_ns;
        let traits = record.info.traits;
        let value = match field {
            Field::EvtNum => Some(Value::Uint(self.number)),
            Field::EvtTime
            | Field::EvtTimeS
            | Field::EvtTimeIso8601
            | Field::EvtDatetime
            | Field::EvtDatetimeS => Some(self.text(|out| push_clock(field, time, out))),
            Field::EvtRawtime => Some(Value::Uint(time)),
            Field::EvtRawtimeS => Some(Value::Uint(time / SECOND_NS)),
            Field::EvtRawtimeNs => Some(Value::Uint(time % SECOND_NS)),
            Field::EvtReltime => Some(Value::Uint(self.relative_ns())),
            Field::EvtReltimeS => Some(Value::Uint(self.relative_ns() / SECOND_NS)),
            Field::EvtReltimeNs => Some(Value::Uint(self.relative_ns() % SECOND_NS)),
            Field::EvtDeltatime => Some(Value::Uint(self.delta_ns())),
            Field::EvtDeltatimeS => Some(Value::Uint(self.delta_ns() / SECOND_NS)),
            Field::EvtDeltatimeNs => Some(Value::Uint(self.delta_ns() % SECOND_NS)),
            Field::EvtSource => Some(Value::Text(b"syscall")),
            Field::EvtIsAsync => Some(Value::Bool(record.info.origin == Origin::Meta)),
            Field::EvtAsynctype => {
                (record.info.origin == Origin::Meta).then(|| text(self.type_name()))
            }
            Field::EvtHostname => Some(text(&self.state.machine.hostname)),
            Field::EvtOutputtime => Some(self.text(|out| push_clock(Field::EvtTime, time, out))),
            Field::EvtLatency
            | Field::EvtLatencyS
            | Field::EvtLatencyNs
            | Field::EvtLatencyQuantized
            | Field::EvtWaitLatency => Some(Value::Uint(0)),
            Field::EvtLatencyHuman => Some(text("0ns")),
            Field::EvtType => Some(text(self.type_name())),
            Field::EvtTypeIs => Some(Value::Uint(u64::from(self.is_type(argument)))),
            Field::EvtDir => Some(text(if record.info.is_enter() { ">" } else { "<" })),
            Field::SyscallType => {
                (record.info.origin == Origin::Syscall).then(|| text(self.type_name()))
            }
            Field::EvtCategory => Some(text(self.category())),
            Field::EvtCpu => Some(Value::Int(i64::from(record.cpu))),
            Field::EvtArgs | Field::EvtInfo => Some(Value::Text(self.args())),
            Field::EvtArg => self.argument_text(argument),
            Field::EvtRawarg => self.raw_argument(argument),
            Field::EvtBuffer => {
                record.param_by_name("data").map(|(_, param)| Value::Bytes(param.bytes))
            }
            Field::EvtBuflen
            | Field::EvtBuflenIn
            | Field::EvtBuflenOut
            | Field::EvtBuflenFile
            | Field::EvtBuflenFileIn
            | Field::EvtBuflenFileOut
            | Field::EvtBuflenNet
            | Field::EvtBuflenNetIn
            | Field::EvtBuflenNetOut => self.transferred(field).map(Value::Uint),
            Field::EvtRes => record.result().map(|result| {
                if result >= 0 {
                    text("SUCCESS")
                } else {
                    Value::Text(self.rendered(0, super::Rendered::best))
                }
            }),
            Field::EvtRawres => record.result().map(Value::Int),
            Field::EvtFailed => record.result().map(|result| Value::Bool(result < 0)),
            Field::EvtIsIo => {
                Some(Value::Bool(traits.any(Traits::READS_FD.with(Traits::WRITES_FD))))
            }
            Field::EvtIsIoRead => Some(Value::Bool(traits.any(Traits::READS_FD))),
            Field::EvtIsIoWrite => Some(Value::Bool(traits.any(Traits::WRITES_FD))),
            Field::EvtIoDir if traits.any(Traits::WRITES_FD) => Some(text("write")),
            Field::EvtIoDir if traits.any(Traits::READS_FD) => Some(text("read")),
            Field::EvtIsWait => Some(Value::Bool(traits.any(Traits::WAITS))),
            Field::EvtIsSyslog => Some(Value::Bool(self.is_syslog())),
            Field::EvtCount => Some(Value::Uint(1)),
            Field::EvtCountExit => (!record.info.is_enter()).then_some(Value::Uint(1)),
            Field::EvtCountError
            | Field::EvtCountErrorFile
            | Field::EvtCountErrorNet
            | Field::EvtCountErrorMemory
            | Field::EvtCountErrorOther => self.error_count(field).map(Value::Uint),
            Field::EvtCountProcinfo | Field::EvtCountThreadinfo => {
                Some(Value::Uint(u64::from(self.is_statistics(field))))
            }
            Field::EvtInfraDockerName
            | Field::EvtInfraDockerContainerId
            | Field::EvtInfraDockerContainerName
            | Field::EvtInfraDockerContainerImage => self.engine_event(field).map(Value::Text),
            Field::UtilCnt => {
                let count = self.buffers.count.get() + 1;
                self.buffers.count.set(count);
                Some(Value::Uint(count))
            }
            Field::EvtAround => match argument {
                FieldArgument::Key(time) => time.parse().ok(),
                FieldArgument::Index(time) => Some(u64::from(*time)),
                FieldArgument::None => None,
            }
            .map(|around: u64| Value::Uint(time.abs_diff(around))),
            Field::EvtAbspath => self.absolute_path(argument),
            Field::EvtIsOpenRead
            | Field::EvtIsOpenWrite
            | Field::EvtIsOpenExec
            | Field::EvtIsOpenCreate => Some(Value::Bool(self.is_open(field))),
            Field::EvtAddrIp => self.address().map(|(address, _)| Value::Ip(address)),
            Field::EvtAddrPort => self.address().map(|(_, port)| Value::Uint(u64::from(port))),
            _ => None,
        };
        out.extend(value);
    }

    /// The IP address and port that the call names.
    fn address(&self) -> Option<(std::net::IpAddr, u16)> {
        let (_, param) = self.record.param_by_name("addr")?;
        ip_and_port(param.bytes)
    }

    fn relative_ns(&self) -> u64 {
        self.record.time_ns.saturating_sub(self.first_ns)
    }

    fn delta_ns(&self) -> u64 {
        if self.previous_ns == 0 { 0 } else { self.record.time_ns.saturating_sub(self.previous_ns) }
    }

    fn is_type(&self, argument: &FieldArgument) -> bool {
        match argument {
            FieldArgument::Key(name) => self.record.info.name == &**name,
            FieldArgument::Index(number) => u32::from(self.record.number()) == *number,
            FieldArgument::None => false,
        }
    }

    fn category(&self) -> &'static str {
        match self.record.info.category {
            Category::Unknown => "unknown",
            Category::Other => "other",
            Category::File => "file",
            Category::Net => "net",
            Category::Ipc => "IPC",
            Category::Memory => "memory",
            Category::Process => "process",
            Category::Sleep => "sleep",
            Category::System => "system",
            Category::Signal => "signal",
            Category::User => "user",
            Category::Time => "time",
            Category::Processing => "processing",
            Category::Wait => "wait",
            Category::Scheduler => "scheduler",
            Category::Internal => "internal",
            Category::IoRead | Category::IoWrite | Category::IoOther => self.io_category(),
        }
    }

    /// Input and output are about what the descriptor is about.
    fn io_category(&self) -> &'static str {
        let thread = self.thread();
        let fd = thread
            .and_then(|thread| self.touched.fd.and_then(|fd| self.state.fds_of(thread)?.get(fd)));
        match fd.map(|fd| fd.kind) {
            Some(FdKind::File | FdKind::Directory) => "file",
            Some(kind) if kind.is_ip() => "net",
            Some(
                FdKind::Pipe
                | FdKind::UnixSocket
                | FdKind::Event
                | FdKind::Signal
                | FdKind::Inotify
                | FdKind::UserFault,
            ) => "ipc",
            _ => "unknown",
        }
    }

    fn args(&self) -> &'e [u8] {
        if self.record.number() == GENERIC_X {
            return b"";
        }
        let mut rendered = self.buffers.rendered.take();
        let args = self.build(|out| {
            for index in 0..self.record.n_params() {
                self.render(index, &mut rendered);
                if index > 0 {
                    out.push(b' ');
                }
                out.extend_from_slice(self.record.info.params[index].name.as_bytes());
                out.push(b'=');
                out.extend_from_slice(&rendered.plain);
                if !rendered.resolved.is_empty() {
                    out.push(b'(');
                    out.extend_from_slice(&rendered.resolved);
                    out.push(b')');
                }
            }
        });
        self.buffers.rendered.set(rendered);
        args
    }

    fn argument_index(&self, argument: &FieldArgument) -> Option<usize> {
        match argument {
            FieldArgument::Index(index) => {
                let index = usize::try_from(*index).ok()?;
                (index < self.record.n_params()).then_some(index)
            }
            FieldArgument::Key(name) => self.record.param_by_name(name).map(|(index, _)| index),
            FieldArgument::None => None,
        }
    }

    fn argument_text(&self, argument: &FieldArgument) -> Option<Value<'e>> {
        let index = self.argument_index(argument)?;
        Some(Value::Text(self.rendered(index, super::Rendered::best)))
    }

    fn raw_argument(&self, argument: &FieldArgument) -> Option<Value<'e>> {
        let param = self.record.param(self.argument_index(argument)?);
        raw_value(param)
    }

    /// The descriptor that the event itself is about; not one from before.
    fn own_fd(&self) -> Option<&'e Fd> {
        self.state.fds_of(self.thread()?)?.get(self.touched.fd?)
    }

    fn transferred(&self, field: Field) -> Option<u64> {
        use Field::{
            EvtBuflenFile, EvtBuflenFileIn, EvtBuflenFileOut, EvtBuflenIn, EvtBuflenNet,
            EvtBuflenNetIn, EvtBuflenNetOut, EvtBuflenOut,
        };
        let fd = self.own_fd()?;
        let category = self.record.info.category;
        let moves = match field {
            EvtBuflenIn | EvtBuflenFileIn | EvtBuflenNetIn => category == Category::IoRead,
            EvtBuflenOut | EvtBuflenFileOut | EvtBuflenNetOut => category == Category::IoWrite,
            _ => matches!(category, Category::IoRead | Category::IoWrite | Category::IoOther),
        };
        let is_kind = match field {
            EvtBuflenFile | EvtBuflenFileIn | EvtBuflenFileOut => fd.kind == FdKind::File,
            EvtBuflenNet | EvtBuflenNetIn | EvtBuflenNetOut => fd.kind.is_ip(),
            _ => true,
        };
        let result = self.record.result().filter(|_| moves && is_kind)?;
        u64::try_from(result).ok()
    }

    fn is_statistics(&self, field: Field) -> bool {
        let of_main = || self.thread().is_some_and(Thread::is_main);
        self.record.number() == PROCINFO_E && (field == Field::EvtCountThreadinfo || of_main())
    }

    /// A part of an engine's event that an old agent put into a capture:
    /// `Event: start; ID: 3b5…; name: web; Image: nginx@sha256:…`.
    fn engine_event(&self, field: Field) -> Option<&'e [u8]> {
        if self.record.number() != INFRASTRUCTURE_EVENT_E {
            return None;
        }
        let name: &[u8] = match field {
            Field::EvtInfraDockerName => b"Event",
            Field::EvtInfraDockerContainerId => b"ID",
            Field::EvtInfraDockerContainerName => b"name",
            _ => b"Image",
        };
        let description = self.record.param(2).text();
        let parts = description.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let part = parts.into_iter().find(|part| part.starts_with(name))?;
        let at_colon = part.iter().position(|byte| *byte == b':')?;
        let mut value = part.get(at_colon + 1..)?;
        match field {
            Field::EvtInfraDockerContainerImage => {
                let end = value.iter().position(|byte| *byte == b'@');
                value = &value[..end.unwrap_or(value.len())];
            }
            _ => value = value.split(|byte| *byte == b':').next()?,
        }
        value = value.trim_ascii();
        if field == Field::EvtInfraDockerContainerId {
            value = value.get(..SHORT_ID_CHARS).unwrap_or(value);
        }
        Some(value)
    }

    fn is_syslog(&self) -> bool {
        const NEEDLE: &[u8] = b"/dev/log";
        self.record.info.traits.any(Traits::WRITES_FD)
            && self
                .own_fd()
                .is_some_and(|fd| fd.name().windows(NEEDLE.len()).any(|part| part == NEEDLE))
    }

    fn error_count(&self, field: Field) -> Option<u64> {
        let failed = u64::from(self.record.result()? < 0);
        let number = self.record.number();
        let is_memory = self.record.info.category == Category::Memory;
        let fd = self.own_fd().map(|fd| fd.kind);
        let (is_file, is_net) = match fd {
            Some(kind) => (
                matches!(kind, FdKind::File | FdKind::Directory),
                kind.is_ip() || kind == FdKind::UnixSocket,
            ),
            None => (
                matches!(number, OPEN_X | CREAT_X | OPENAT_2_X | OPENAT2_X | OPEN_BY_HANDLE_AT_X),
                matches!(number, ACCEPT_5_X | ACCEPT4_6_X | CONNECT_X),
            ),
        };
        let counts = match field {
            Field::EvtCountErrorFile => is_file,
            Field::EvtCountErrorNet => is_net,
            Field::EvtCountErrorMemory => is_memory,
            // A memory call about a descriptor counts on both sides.
            Field::EvtCountErrorOther => !is_file && !is_net && (fd.is_some() || !is_memory),
            _ => true,
        };
        counts.then_some(failed)
    }

    fn is_open(&self, field: Field) -> bool {
        const READ: u32 = 1;
        const WRITE: u32 = 1 << 1;
        const CREATE: u32 = 1 << 2;
        const TMPFILE: u32 = 1 << 13;
        const CREATED: u32 = 1 << 14;
        /// Execute bits of the scap format's modes.
        const EXECUTE: u32 = 1 | 1 << 3 | 1 << 6;
        let record = &self.record;
        let (flags, mode) = match record.number() {
            OPEN_X | OPEN_BY_HANDLE_AT_X => (record.param(2).u32(), record.param(3).u32()),
            OPENAT_2_X | OPENAT2_X => (record.param(3).u32(), record.param(4).u32()),
            CREAT_X => {
                let mode = record.param(2).u32().unwrap_or(0);
                return field == Field::EvtIsOpenExec && mode & EXECUTE != 0;
            }
            _ => return false,
        };
        let flags = flags.unwrap_or(0);
        match field {
            Field::EvtIsOpenRead => flags & READ != 0,
            Field::EvtIsOpenWrite => flags & WRITE != 0,
            Field::EvtIsOpenCreate => {
                let made = record.result().is_some_and(|result| result >= 0);
                flags & CREATED != 0 || (flags & TMPFILE != 0 && made)
            }
            _ => {
                record.number() != OPEN_BY_HANDLE_AT_X
                    && flags & (TMPFILE | CREATE) != 0
                    && mode.unwrap_or(0) & EXECUTE != 0
            }
        }
    }
}

fn text(value: &str) -> Value<'_> {
    Value::Text(value.as_bytes())
}

/// A parameter with its own type.
fn raw_value(param: Param<'_>) -> Option<Value<'_>> {
    Some(match param.kind {
        ParamType::Text | ParamType::Path | ParamType::RelativePath(_) => Value::Text(param.text()),
        ParamType::Int(_) | ParamType::Errno | ParamType::Fd | ParamType::Pid => {
            Value::Int(match param.bytes.len() {
                1 => i64::from(param.u8()?.cast_signed()),
                2 => i64::from(param.u16()?.cast_signed()),
                _ => param.i64()?,
            })
        }
        ParamType::Bytes
        | ParamType::SockAddr
        | ParamType::SockTuple
        | ParamType::FdList
        | ParamType::Dynamic(_)
        | ParamType::Other => Value::Bytes(param.bytes),
        ParamType::Bool => Value::Bool(param.uint()? != 0),
        _ => Value::Uint(param.uint()?),
    })
}

fn push_clock(field: Field, time_ns: u64, out: &mut Vec<u8>) {
    let (year, month, day, hour, minute, second) = civil_from_seconds(time_ns / SECOND_NS);
    let fraction = time_ns % SECOND_NS;
    match field {
        Field::EvtTimeIso8601 => push_fmt(
            out,
            format_args!(
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}+0000"
            ),
        ),
        Field::EvtDatetime | Field::EvtDatetimeS => {
            push_fmt(out, format_args!("{year:04}-{month:02}-{day:02} "));
            push_fmt(out, format_args!("{hour:02}:{minute:02}:{second:02}"));
        }
        _ => push_fmt(out, format_args!("{hour:02}:{minute:02}:{second:02}")),
    }
    if matches!(field, Field::EvtTime | Field::EvtDatetime) {
        push_fmt(out, format_args!(".{fraction:09}"));
    }
}
