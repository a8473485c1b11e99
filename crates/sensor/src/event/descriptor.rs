//! Fields of descriptors: `fd.*` and `fdlist.*`.

use palisade_rules::fields::{FieldArgument, Value, Values};

use super::EventView;
use super::render::fd_list;
use crate::record::NOT_AVAILABLE;
use crate::schema::number::{
    ACCEPT_5_X, ACCEPT4_6_X, CONNECT_X, CREAT_X, EVENTFD_X, EVENTFD2_X, INOTIFY_INIT_X,
    INOTIFY_INIT1_X, OPEN_BY_HANDLE_AT_X, OPEN_X, OPENAT_2_X, OPENAT2_X, PIPE_X, PIPE2_X,
    SIGNALFD_X, SIGNALFD4_X, SOCKET_X, TIMERFD_CREATE_X,
};
use crate::schema::{Field, ParamType, Traits};
use crate::state::thread::Thread;
use crate::state::{Address, Ends, Fd, FdKind, Role};
use crate::text::{join_path_into, push_fmt, split_path};

impl<'e> EventView<'e> {
    pub(super) fn extract_fd<'v>(
        &'v self,
        field: Field,
        argument: &FieldArgument,
        out: &mut Values<'v>,
    ) {
        if field.name().starts_with("fdlist.") {
            out.extend(self.fd_list_text(field).map(Value::Text));
            return;
        }
        let about_fd = Traits::CREATES_FD.with(Traits::USES_FD).with(Traits::DESTROYS_FD);
        if !self.record.info.traits.any(about_fd) {
            return;
        }
        let Some(thread) = self.thread() else { return };
        if field == Field::FdNum {
            out.push(Value::Int(thread.last_fd));
            return;
        }
        if field == Field::FdTypes {
            self.fd_types(thread, argument, out);
            return;
        }
        let fd = self.fd();
        if let Some(text) = self.fd_text(field, thread, fd) {
            out.push(Value::Text(text));
            return;
        }
        let Some(fd) = fd else { return };
        if !self.extract_ends(field, thread, fd, out) {
            out.extend(self.fd_number(field, thread, fd));
        }
    }

    fn fd_types<'v>(&'v self, thread: &'e Thread, argument: &FieldArgument, out: &mut Values<'v>) {
        let Some(fds) = self.state.fds_of(thread) else { return };
        if let FieldArgument::Index(number) = argument {
            let fd = fds.get(i64::from(*number));
            out.extend(fd.map(|fd| Value::Text(fd.kind.name().as_bytes())));
            return;
        }
        for (_, fd) in fds.iter() {
            let name = Value::Text(fd.kind.name().as_bytes());
            if !out.contains(&name) {
                out.push(name);
            }
        }
    }

    fn fd_text(&self, field: Field, thread: &'e Thread, fd: Option<&'e Fd>) -> Option<&'e [u8]> {
        match field {
            Field::FdName => self.name_of(fd, false),
            Field::FdNameraw => {
                let name = match fd {
                    Some(fd) => fd.raw_name.as_deref().unwrap_or(b""),
                    None => self.name_of(None, true)?,
                };
                Some(self.without_doubled_slashes(name))
            }
            Field::FdContainername => {
                let name = self.name_of(fd, false)?;
                Some(self.with_container(thread, name))
            }
            Field::FdDirectory => self.directory_of(fd),
            Field::FdContainerdirectory => {
                let name = self.directory_of(fd)?;
                Some(self.with_container(thread, name))
            }
            Field::FdFilename => {
                let name = fd.filter(|fd| fd.kind == FdKind::File)?.name();
                Some(match split_path(name) {
                    Some((_, file)) if !file.is_empty() => file,
                    Some(_) => name,
                    None => b"/",
                })
            }
            Field::FdType => Some(fd?.kind.name().as_bytes()),
            Field::FdTypechar => {
                Some(fd.map_or_else(|| self.expected_letter(), |fd| fd.kind.letter()).as_bytes())
            }
            Field::FdL4proto => Some(fd?.l4proto().name().as_bytes()),
            Field::FdSockfamily => match fd?.kind {
                kind if kind.is_ip() => Some(b"ip"),
                FdKind::UnixSocket => Some(b"unix"),
                _ => None,
            },
            // Names are not looked up: an address has none, which is not a given one.
            Field::FdCipName | Field::FdSipName | Field::FdLipName | Field::FdRipName => {
                let fd = fd?;
                (fd.kind.is_ip_socket() && fd.role != Role::None).then_some(b"")
            }
            Field::FdUid => Some(
                self.build(|out| push_fmt(out, format_args!("{}{}", thread.tid, thread.last_fd))),
            ),
            Field::FdCproto | Field::FdSproto | Field::FdLproto | Field::FdRproto => {
                self.port_text(field, thread, fd?)
            }
            _ => None,
        }
    }

    /// The descriptor's name; without a descriptor, what the event would have opened.
    fn name_of(&self, fd: Option<&'e Fd>, raw: bool) -> Option<&'e [u8]> {
        if let Some(fd) = fd {
            return Some(fd.name());
        }
        let record = &self.record;
        match record.number() {
            _ if record.info.is_enter() => None,
            OPEN_X | CREAT_X | ACCEPT_5_X | ACCEPT4_6_X | CONNECT_X => {
                Some(self.rendered(1, super::Rendered::best))
            }
            OPENAT_2_X | OPENAT2_X => {
                let (dirfd, name) = (record.param(1), record.param(2));
                if name.is_empty() {
                    return None;
                }
                let name = name.text();
                if raw {
                    return Some(record.raw_path.unwrap_or(name));
                }
                let folder = self.state.folder_of(record.tid, name, dirfd.i64()?);
                Some(self.build(|out| join_path_into(&folder, name, out)))
            }
            OPEN_BY_HANDLE_AT_X => Some(record.param(3).text()),
            _ => Some(b""),
        }
    }

    fn directory_of(&self, fd: Option<&'e Fd>) -> Option<&'e [u8]> {
        let name = match fd {
            Some(fd) if fd.kind == FdKind::Directory => return Some(fd.name()),
            Some(fd) if fd.kind != FdKind::File => return None,
            fd => self.name_of(fd, false)?,
        };
        Some(match split_path(name) {
            // The root's own entries, and names without a folder.
            None | Some((b"", _)) => b"/",
            Some((folder, file)) if !file.is_empty() => folder,
            Some(_) => name,
        })
    }

    fn with_container(&self, thread: &Thread, name: &[u8]) -> &'e [u8] {
        self.build(|out| {
            out.extend_from_slice(&thread.container_id);
            out.push(b':');
            out.extend_from_slice(name);
        })
    }

    fn without_doubled_slashes(&self, name: &'e [u8]) -> &'e [u8] {
        if !name.windows(2).any(|pair| pair == b"//") {
            return name;
        }
        self.build(|out| {
            for byte in name {
                if !(*byte == b'/' && out.last() == Some(&b'/')) {
                    out.push(*byte);
                }
            }
        })
    }

    /// The letter of the descriptor that the call would have made.
    fn expected_letter(&self) -> &'static str {
        match self.record.number() {
            OPENAT_2_X | OPENAT2_X | CREAT_X => "f",
            SOCKET_X | ACCEPT_5_X | ACCEPT4_6_X => "4",
            PIPE_X | PIPE2_X => "p",
            EVENTFD_X | EVENTFD2_X => "e",
            SIGNALFD_X | SIGNALFD4_X => "s",
            TIMERFD_CREATE_X => "t",
            INOTIFY_INIT_X | INOTIFY_INIT1_X => "i",
            _ => "o",
        }
    }

    /// Addresses and ports; false when the field is neither.
    fn extract_ends<'v>(
        &'v self,
        field: Field,
        thread: &Thread,
        fd: &'e Fd,
        out: &mut Values<'v>,
    ) -> bool {
        let ends = &fd.ends;
        let is_server = matches!(fd.kind, FdKind::Ipv4Server | FdKind::Ipv6Server);
        let has_both = fd.kind.is_ip_socket();
        let has_role = fd.role != Role::None;
        match field {
            Field::FdIp | Field::FdNet if has_both => {
                out.push(Value::Ip(ends.source));
                out.push(Value::Ip(ends.dest));
            }
            Field::FdIp | Field::FdNet if is_server => out.push(Value::Ip(ends.dest)),
            Field::FdPort | Field::FdProto if has_both => {
                out.push(Value::Uint(u64::from(ends.source_port)));
                out.push(Value::Uint(u64::from(ends.dest_port)));
            }
            Field::FdPort | Field::FdProto if is_server => {
                out.push(Value::Uint(u64::from(ends.dest_port)));
            }
            Field::FdCip | Field::FdCnet if has_both && has_role => {
                out.push(Value::Ip(ends.source));
            }
            Field::FdSip | Field::FdSnet if (has_both || is_server) && has_role => {
                out.push(Value::Ip(ends.dest));
            }
            Field::FdCport if has_both && has_role => {
                out.push(Value::Uint(u64::from(ends.source_port)));
            }
            Field::FdSport if is_server || (has_both && has_role) => {
                out.push(Value::Uint(u64::from(ends.dest_port)));
            }
            Field::FdLip | Field::FdLnet if has_both && has_role => {
                out.push(Value::Ip(self.sides(thread, ends).0.0));
            }
            Field::FdRip | Field::FdRnet if has_both && has_role => {
                out.push(Value::Ip(self.sides(thread, ends).1.0));
            }
            Field::FdLport if has_both && has_role => {
                out.push(Value::Uint(u64::from(self.sides(thread, ends).0.1)));
            }
            Field::FdRport if has_both && has_role => {
                out.push(Value::Uint(u64::from(self.sides(thread, ends).1.1)));
            }
            Field::FdIp
            | Field::FdNet
            | Field::FdPort
            | Field::FdProto
            | Field::FdCip
            | Field::FdCnet
            | Field::FdSip
            | Field::FdSnet
            | Field::FdCport
            | Field::FdSport
            | Field::FdLip
            | Field::FdLnet
            | Field::FdRip
            | Field::FdRnet
            | Field::FdLport
            | Field::FdRport => {}
            _ => return false,
        }
        true
    }

    /// The local and the remote end.
    fn sides(&self, thread: &Thread, ends: &Ends) -> (End, End) {
        let source = (ends.source, ends.source_port);
        let dest = (ends.dest, ends.dest_port);
        if self.state.is_local(thread, ends.source) { (source, dest) } else { (dest, source) }
    }

    fn port_text(&self, field: Field, thread: &Thread, fd: &Fd) -> Option<&'e [u8]> {
        let is_server = matches!(fd.kind, FdKind::Ipv4Server | FdKind::Ipv6Server);
        let has_both = fd.kind.is_ip_socket() && fd.role != Role::None;
        let port = match field {
            Field::FdCproto if has_both => fd.ends.source_port,
            Field::FdSproto if has_both => fd.ends.dest_port,
            Field::FdLproto if has_both => self.sides(thread, &fd.ends).0.1,
            Field::FdRproto if has_both => self.sides(thread, &fd.ends).1.1,
            // Without both ends there is a name for neither, and it is not missing.
            Field::FdSproto if is_server => return Some(b""),
            Field::FdCproto if fd.role != Role::None => return Some(b""),
            _ => return None,
        };
        Some(self.build(|out| push_fmt(out, format_args!("{port}"))))
    }

    fn fd_number(&self, field: Field, thread: &Thread, fd: &Fd) -> Option<Value<'e>> {
        Some(match field {
            Field::FdIsServer => Value::Bool(match fd.kind {
                FdKind::Ipv4Server | FdKind::Ipv6Server => true,
                kind if kind.is_ip_socket() => self.state.is_local(thread, fd.ends.dest),
                _ => false,
            }),
            Field::FdConnected => Value::Bool(fd.connected),
            Field::FdNameChanged => Value::Bool(self.touched.name_changed),
            Field::FdDev => Value::Int(i64::from(fd.dev)),
            // new_encode_dev in linux/kdev_t.h.
            Field::FdDevMajor => Value::Int(i64::from((fd.dev & 0xfff00) >> 8)),
            Field::FdDevMinor => Value::Int(i64::from(fd.dev & 0xff | fd.dev >> 12 & 0xfff00)),
            Field::FdIno => Value::Int(fd.ino.cast_signed()),
            Field::FdIsUpperLayer => Value::Bool(fd.upper_layer),
            Field::FdIsLowerLayer => Value::Bool(fd.lower_layer),
            _ => return None,
        })
    }

    fn fd_list_text(&self, field: Field) -> Option<&'e [u8]> {
        let list =
            self.record.info.params.iter().position(|param| param.kind == ParamType::FdList)?;
        let thread = self.thread()?;
        let fds = self.state.fds_of(thread)?;
        let text = self.build(|out| {
            for (number, _) in fd_list(self.record.param(list).bytes) {
                let before = out.len();
                if before > 0 {
                    out.push(b',');
                }
                let start = out.len();
                push_list_item(field, number, fds.get(number), out);
                if out.len() == start {
                    out.truncate(before);
                }
            }
        });
        (!text.is_empty()).then_some(text)
    }
}

type End = (std::net::IpAddr, u16);

fn push_list_item(field: Field, number: i64, fd: Option<&Fd>, out: &mut Vec<u8>) {
    match field {
        Field::FdlistNums => push_fmt(out, format_args!("{number}")),
        Field::FdlistNames => match fd.map(Fd::name) {
            Some(name) if !name.is_empty() => out.extend_from_slice(name),
            _ => out.extend_from_slice(NOT_AVAILABLE),
        },
        _ => {
            let Some(fd) = fd else { return };
            let (ends, has_both) = (&fd.ends, fd.kind.is_ip_socket());
            match field {
                Field::FdlistCips if has_both => {
                    push_fmt(out, format_args!("{}", Address(ends.source)));
                }
                Field::FdlistSips if fd.kind.is_ip() => {
                    push_fmt(out, format_args!("{}", Address(ends.dest)));
                }
                Field::FdlistCports if has_both => {
                    push_fmt(out, format_args!("{}", ends.source_port));
                }
                Field::FdlistSports if has_both => {
                    push_fmt(out, format_args!("{}", ends.dest_port));
                }
                _ => {}
            }
        }
    }
}
