//! Parameters as text, as `evt.args` and `evt.arg` show them.
//!
//! Each has a plain form and, where the state or a table knows more, a resolved one:
//! `3` and `<f>/etc/passwd`, `-2` and `ENOENT`.

use super::EventView;
use crate::names;
use crate::record::{NOT_AVAILABLE, Param};
use crate::schema::{Dynamic, Names, NumberFormat, ParamType, syscall_name};
use crate::state::thread::Thread;
use crate::state::{Fd, apply_file, apply_socket};
use crate::text::{civil_from_seconds, format_g, join_path_into, push_fmt, push_printable};

/// Plain and resolved form of a parameter.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    pub(crate) plain: Vec<u8>,
    pub(crate) resolved: Vec<u8>,
}

impl Rendered {
    fn clear(&mut self) {
        self.plain.clear();
        self.resolved.clear();
    }

    /// The resolved form if there is one.
    pub(crate) fn best(&self) -> &[u8] {
        if self.resolved.is_empty() { &self.plain } else { &self.resolved }
    }
}

impl EventView<'_> {
    /// Renders the parameter at `index` into `out`.
    pub(crate) fn render(&self, index: usize, out: &mut Rendered) {
        out.clear();
        let Some(info) = self.record.info.params.get(index) else { return };
        let mut param = self.record.param(index);
        if param.is_empty() && !param.is_null_text() {
            out.plain.extend_from_slice(match param.kind {
                ParamType::Bytes
                | ParamType::SockTuple
                | ParamType::FdList
                | ParamType::Dynamic(_) => b"NULL",
                _ => NOT_AVAILABLE,
            });
            return;
        }
        let mut format = info.format;
        if let ParamType::Dynamic(family) = param.kind
            && let Some((kind, own_format)) = dynamic_kind(family, param.bytes[0])
        {
            param = Param { bytes: &param.bytes[1..], kind };
            format = if own_format == NumberFormat::Default { format } else { own_format };
        }
        self.render_kind(param, format, info.names, out);
    }

    fn render_kind(
        &self,
        param: Param<'_>,
        format: NumberFormat,
        names: Names,
        out: &mut Rendered,
    ) {
        match param.kind {
            ParamType::Int(_) | ParamType::Uint(_) => {
                push_number(param.i64_of_any_width(), param, format, &mut out.plain);
            }
            ParamType::Fd => self.render_fd(param.i64().unwrap_or(-1), out),
            ParamType::Pid => {
                let tid = param.i64().unwrap_or(-1);
                push_fmt(&mut out.plain, format_args!("{tid}"));
                if let Some(thread) = self.state.thread(tid) {
                    out.resolved.extend_from_slice(&thread.comm);
                }
            }
            ParamType::Errno => {
                let value = param.i64().unwrap_or(0);
                push_fmt(&mut out.plain, format_args!("{value}"));
                push_errno(value, &mut out.resolved);
            }
            ParamType::Text => out.plain.extend_from_slice(param.text()),
            ParamType::Path | ParamType::RelativePath(_) => self.render_path(param, out),
            ParamType::Bytes => {
                let dotted = |byte: &u8| if (0x20..0x7f).contains(byte) { *byte } else { b'.' };
                out.plain.extend(param.bytes.iter().map(dotted));
            }
            ParamType::SockAddr => out.plain = apply_socket::address_text(param.bytes),
            ParamType::SockTuple => out.plain = apply_socket::tuple_text(param.bytes),
            ParamType::FdList => self.render_fd_list(param.bytes, &mut out.plain),
            ParamType::Syscall => {
                let code = param.u16().unwrap_or(0);
                push_fmt(&mut out.plain, format_args!("{code}"));
                out.resolved.extend_from_slice(syscall_name(code).as_bytes());
            }
            ParamType::Signal => {
                let signal = param.uint().unwrap_or(0);
                push_fmt(&mut out.plain, format_args!("{signal}"));
                out.resolved.extend_from_slice(names::signal(signal).as_bytes());
            }
            ParamType::RelativeTime => match param.u64().unwrap_or(u64::MAX) {
                u64::MAX => out.plain.extend_from_slice(b"none"),
                value => {
                    push_fmt(&mut out.plain, format_args!("{value}"));
                    let seconds = format_g(value as f64 / 1e9);
                    push_fmt(&mut out.resolved, format_args!("{seconds}s"));
                }
            },
            ParamType::AbsoluteTime => push_time(param.u64().unwrap_or(0), &mut out.plain),
            ParamType::Flags(_) | ParamType::Enumeration(_) => {
                let value = param.uint().unwrap_or(0) as u32;
                push_fmt(&mut out.plain, format_args!("{value}"));
                let exact = matches!(param.kind, ParamType::Enumeration(_));
                push_flags(value, names, exact, &mut out.resolved);
            }
            ParamType::Mode => {
                push_number(param.i64_of_any_width(), param, format, &mut out.plain);
                push_mode(param.u32().unwrap_or(0), names, &mut out.resolved);
            }
            ParamType::Uid | ParamType::Gid => self.render_id(param, out),
            ParamType::SignalSet => push_signals(param.u32().unwrap_or(0), &mut out.plain),
            ParamType::Bool | ParamType::Dynamic(_) | ParamType::Other => {
                out.plain.extend_from_slice(b"(n.a.)");
            }
        }
    }

    fn render_fd(&self, number: i64, out: &mut Rendered) {
        push_fmt(&mut out.plain, format_args!("{number}"));
        let Some(thread) = self.thread() else { return };
        if number >= 0 {
            if let Some(fd) = self.state.fds_of(thread).and_then(|fds| fds.get(number)) {
                push_fd(fd, &mut out.resolved);
            }
        } else if number == apply_file::AT_FDCWD {
            out.resolved.extend_from_slice(b"AT_FDCWD");
        } else {
            push_errno(number, &mut out.resolved);
        }
    }

    fn render_path(&self, param: Param<'_>, out: &mut Rendered) {
        let path = param.text();
        push_printable(path, &mut out.plain);
        let Some(thread) = self.thread() else { return };
        let is_relative = path.first().is_some_and(|first| *first != b'/');
        if !is_relative || path == NOT_AVAILABLE {
            return;
        }
        match param.kind {
            ParamType::RelativePath(dirfd) => {
                let dirfd = self.record.param(usize::from(dirfd)).i64().unwrap_or(-1);
                if dirfd == apply_file::AT_FDCWD {
                    join_path_into(self.state.cwd_of(thread), path, &mut out.resolved);
                } else {
                    let folder = self.folder_of_fd(thread, dirfd);
                    join_path_into(folder, path, &mut out.resolved);
                }
            }
            _ => join_path_into(self.state.cwd_of(thread), path, &mut out.resolved),
        }
    }

    /// The folder that a descriptor stands for, with a slash at its end; empty when it is
    /// not known.
    fn folder_of_fd(&self, thread: &Thread, fd: i64) -> &[u8] {
        let name = self.state.fds_of(thread).and_then(|fds| fds.get(fd)).map_or(&b""[..], Fd::name);
        if name.is_empty() || name.ends_with(b"/") {
            return self.scratch.alloc_slice_copy(name);
        }
        let folder = self.scratch.alloc_slice_fill_copy(name.len() + 1, b'/');
        folder[..name.len()].copy_from_slice(name);
        folder
    }

    fn render_fd_list(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let Some(thread) = self.thread() else { return };
        let fds = self.state.fds_of(thread);
        for (index, (fd, flags)) in fd_list(bytes).enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            let letter = fds.and_then(|fds| fds.get(fd)).map_or("?", |fd| fd.kind.letter());
            push_fmt(out, format_args!("{}:{letter}{:x}", fd.cast_unsigned(), i32::from(flags)));
        }
    }

    fn render_id(&self, param: Param<'_>, out: &mut Rendered) {
        let Some(id) = param.u32().filter(|id| *id != u32::MAX) else {
            out.plain.extend_from_slice(b"-1");
            out.resolved.extend_from_slice(b"<NONE>");
            return;
        };
        push_fmt(&mut out.plain, format_args!("{}", id.cast_signed()));
        let accounts = &self.state.accounts;
        let container = self.thread().map(|thread| &*thread.container_id);
        let name = container.and_then(|container| match param.kind {
            ParamType::Uid => accounts.user(container, id).map(|user| &*user.name),
            _ => accounts.group(container, id),
        });
        match name.filter(|name| !name.is_empty()) {
            Some(name) => push_printable(name, &mut out.resolved),
            None => out.resolved.extend_from_slice(NOT_AVAILABLE),
        }
    }
}

/// Descriptors and flags of an `FdList` parameter; a lying count ends early.
pub(crate) fn fd_list(bytes: &[u8]) -> impl Iterator<Item = (i64, i16)> {
    let mut cursor = crate::record::Cursor(bytes);
    let count = cursor.u16().unwrap_or(0);
    (0..count).map_while(move |_| Some((cursor.i64()?, cursor.u16()?.cast_signed())))
}

fn push_fd(fd: &Fd, out: &mut Vec<u8>) {
    let transport = if fd.kind.is_ip() { fd.l4proto().letter() } else { "" };
    push_fmt(out, format_args!("<{}{transport}>", fd.kind.letter()));
    push_printable(fd.name(), out);
}

fn push_errno(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.extend_from_slice(names::errno(value.unsigned_abs()).as_bytes());
    }
}

fn dynamic_kind(family: Dynamic, index: u8) -> Option<(ParamType, NumberFormat)> {
    let kind = match (family, index) {
        (Dynamic::SockOpt, 0) => ParamType::Bytes,
        (Dynamic::SockOpt | Dynamic::Bpf, 1) => ParamType::Errno,
        (Dynamic::SockOpt, 2) => ParamType::Uint(4),
        (Dynamic::SockOpt, 3) => ParamType::Uint(8),
        (Dynamic::SockOpt, 4) => ParamType::RelativeTime,
        (Dynamic::Ptrace, 0) => return Some((ParamType::Uint(8), NumberFormat::Hexadecimal)),
        (Dynamic::Ptrace, 1) => ParamType::Signal,
        (Dynamic::Bpf, 0) => ParamType::Fd,
        (Dynamic::Keyctl, 0) => ParamType::Int(8),
        (Dynamic::Keyctl, 1) => ParamType::Text,
        _ => return None,
    };
    Some((kind, NumberFormat::Default))
}

/// Writes a number as C does: wide ones are signed in decimal, whatever the table says.
fn push_number(value: Option<i64>, param: Param<'_>, format: NumberFormat, out: &mut Vec<u8>) {
    let Some(value) = value else {
        out.extend_from_slice(NOT_AVAILABLE);
        return;
    };
    let bits = match param.bytes.len() {
        1 => u64::from(value as u8),
        2 => u64::from(value as u16),
        4 => u64::from(value as u32),
        _ => value.cast_unsigned(),
    };
    match format {
        NumberFormat::Hexadecimal => push_fmt(out, format_args!("{bits:X}")),
        NumberFormat::Octal if bits == 0 => out.push(b'0'),
        NumberFormat::Octal => push_fmt(out, format_args!("0{bits:o}")),
        NumberFormat::Default => push_fmt(out, format_args!("{value}")),
    }
}

impl Param<'_> {
    /// The number as C passes it to `printf`: small unsigned ones grow, 32-bit ones turn
    /// signed.
    fn i64_of_any_width(&self) -> Option<i64> {
        let is_signed = matches!(self.kind, ParamType::Int(_));
        Some(match self.bytes.len() {
            1 if is_signed => i64::from(self.u8()?.cast_signed()),
            1 => i64::from(self.u8()?),
            2 if is_signed => i64::from(self.u16()?.cast_signed()),
            2 => i64::from(self.u16()?),
            4 => i64::from(self.u32()?.cast_signed()),
            8 => self.u64()?.cast_signed(),
            _ => return None,
        })
    }
}

/// Names of the flags in `value`, joined by bars.
fn push_flags(value: u32, names: Names, exact: bool, out: &mut Vec<u8>) {
    let mut rest = value;
    for (name, bits) in names {
        let matches = if exact {
            *bits == value
        } else {
            (*bits == 0 && value == 0) || (*bits != 0 && rest & bits == *bits && rest != 0)
        };
        if !matches {
            continue;
        }
        push_name(name, out);
        if !exact {
            rest &= !bits;
            if *bits == value {
                break;
            }
        }
    }
}

fn push_mode(value: u32, names: Names, out: &mut Vec<u8>) {
    let mut rest = value;
    for (name, bits) in names {
        if *bits == value {
            push_name(name, out);
            break;
        }
        if *bits != 0 && rest & bits == *bits && rest != 0 {
            push_name(name, out);
            rest &= !bits;
        }
    }
}

fn push_name(name: &str, out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b'|');
    }
    out.extend_from_slice(name.as_bytes());
}

fn push_signals(set: u32, out: &mut Vec<u8>) {
    for bit in 0..32 {
        if set & (1 << bit) != 0 {
            let name = names::signal(bit + 1);
            if !name.is_empty() {
                if !out.is_empty() {
                    out.push(b' ');
                }
                out.extend_from_slice(name.as_bytes());
            }
        }
    }
}

fn push_time(nanoseconds: u64, out: &mut Vec<u8>) {
    let (year, month, day, hour, minute, second) = civil_from_seconds(nanoseconds / 1_000_000_000);
    push_fmt(
        out,
        format_args!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:09}",
            nanoseconds % 1_000_000_000
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_named_in_the_tables_order() {
        let open = crate::schema::event(crate::schema::number::OPEN_X).unwrap();
        let names = open.params[2].names;
        let check = |value: u32, expected: &str| {
            let mut out = Vec::new();
            push_flags(value, names, false, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(1, "O_RDONLY");
        check(3, "O_RDWR");
        check(0x1000 | 0x4 | 0x2, "O_CREAT|O_WRONLY|O_CLOEXEC");
        check(0, "O_NONE");
    }

    #[test]
    fn a_lying_descriptor_count_ends_early() {
        let mut bytes = 3_u16.to_le_bytes().to_vec();
        bytes.extend(5_i64.to_le_bytes());
        bytes.extend(1_i16.to_le_bytes());
        assert_eq!(fd_list(&bytes).collect::<Vec<_>>(), [(5, 1)]);
    }
}
