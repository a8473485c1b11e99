//! Captures written: the state as it is, then records as they come.
//!
//! What is written is the scap format of today (version 1.2, process list 9, exit events
//! with all parameters), so that other tools read it. A live record's trailer has no
//! place there; the process list and the clone and exec events carry what it says.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr};

use super::kind;
use crate::identity::Facts;
use crate::record::{Record, RecordBuilder};
use crate::schema::Traits;
use crate::schema::number::{CONTAINER_JSON_2_E, USER_ADDED_E};
use crate::state::thread::Thread;
use crate::state::{Fd, FdKind, State};

/// Bytes of one text in a process list.
const TEXT_BYTES_MAX: usize = 4096;

/// Writes a capture.
#[derive(Debug)]
pub struct CaptureWriter<W: Write> {
    out: W,
    block: Vec<u8>,
    n_bytes: u64,
}

impl<W: Write> CaptureWriter<W> {
    /// Begins a capture with the state as it is.
    pub fn new(out: W, state: &State) -> io::Result<Self> {
        let mut writer = Self { out, block: Vec::new(), n_bytes: 0 };
        writer.write_section()?;
        writer.write_machine(state)?;
        writer.write_processes(state)?;
        writer.write_fds(state)?;
        writer.write_interfaces(state)?;
        writer.write_users(state)?;
        writer.write_containers(state)?;
        Ok(writer)
    }

    /// Bytes written so far.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Appends a record.
    pub fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let large = record.info.traits.any(Traits::LARGE);
        self.block.clear();
        self.block.extend(record.cpu.to_le_bytes());
        self.block.extend_from_slice(record.bytes());
        self.finish(if large { kind::EVENT_V2_LARGE } else { kind::EVENT_V2 })
    }

    /// Ends the capture and gives the output back.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn finish(&mut self, kind: u32) -> io::Result<()> {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
        let length = u32::try_from(self.block.len() + 12)
            .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "block is too large"))?;
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&self.block)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.n_bytes += u64::from(length);
        Ok(())
    }

    fn write_section(&mut self) -> io::Result<()> {
        self.block.clear();
        self.block.extend(kind::MAGIC.to_le_bytes());
        self.block.extend(1_u16.to_le_bytes());
        self.block.extend(2_u16.to_le_bytes());
        self.block.extend(u64::MAX.to_le_bytes());
        self.finish(kind::SECTION)
    }

    fn write_machine(&mut self, state: &State) -> io::Result<()> {
        let block = &mut self.block;
        block.clear();
        block.extend([0; 4 + 8 + 8]);
        let mut name = [0; 128];
        let hostname = state.machine.hostname.as_bytes();
        let n = hostname.len().min(name.len() - 1);
        name[..n].copy_from_slice(&hostname[..n]);
        block.extend(name);
        block.extend(state.machine.boot_ns.to_le_bytes());
        block.extend([0; 8 + 8 + 8]);
        self.finish(kind::MACHINE)
    }

    fn write_processes(&mut self, state: &State) -> io::Result<()> {
        self.block.clear();
        for thread in state.threads.values().filter(|thread| !thread.is_invalid()) {
            sized(&mut self.block, |out| push_process(out, thread, state));
        }
        self.finish(kind::PROCESSES_V9)
    }

    fn write_fds(&mut self, state: &State) -> io::Result<()> {
        for thread in state.threads.values().filter(|thread| thread.is_main()) {
            if thread.fds.is_empty() {
                continue;
            }
            self.block.clear();
            self.block.extend(thread.tid.to_le_bytes());
            for (number, fd) in thread.fds.iter() {
                sized(&mut self.block, |out| push_fd(out, number, fd));
            }
            self.finish(kind::FDS_V2)?;
        }
        Ok(())
    }

    fn write_interfaces(&mut self, state: &State) -> io::Result<()> {
        self.block.clear();
        for (address, mask) in &state.interfaces.ipv4 {
            // The lengths of this list do not count themselves.
            self.block.extend(24_u32.to_le_bytes());
            self.block.extend([1, 0, 0, 0]);
            self.block.extend(address.octets());
            self.block.extend(mask.octets());
            self.block.extend([0; 4 + 8]);
        }
        for address in &state.interfaces.ipv6 {
            self.block.extend(60_u32.to_le_bytes());
            self.block.extend([2, 0, 0, 0]);
            self.block.extend(address.octets());
            self.block.extend([0; 32 + 8]);
        }
        self.finish(kind::INTERFACES_V2)
    }

    fn write_users(&mut self, state: &State) -> io::Result<()> {
        self.block.clear();
        for (uid, user) in state.accounts.users_of(b"") {
            sized(&mut self.block, |out| {
                out.push(0);
                out.extend(uid.to_le_bytes());
                out.extend(u32::MAX.to_le_bytes());
                for text in [&user.name, &user.home, &user.shell] {
                    push_text(out, text);
                }
            });
        }
        for (gid, name) in state.accounts.groups_of(b"") {
            sized(&mut self.block, |out| {
                out.push(1);
                out.extend(gid.to_le_bytes());
                push_text(out, name);
            });
        }
        self.finish(kind::USERS_V2)
    }

    /// Containers and their users, as the events by which readers learn of them.
    fn write_containers(&mut self, state: &State) -> io::Result<()> {
        let mut record = Vec::new();
        let mut builder = RecordBuilder::new();
        for facts in state.known_containers() {
            self.write_container(&facts, 0)?;
        }
        for container in state.accounts.containers() {
            for (uid, user) in state.accounts.users_of(&container) {
                builder.clear().push_u32(uid).push_u32(u32::MAX);
                builder.push_text(&user.name).push_text(&user.home).push_text(&user.shell);
                builder.push_text(&container);
                self.write_own(&builder, USER_ADDED_E, 0, &mut record)?;
            }
        }
        Ok(())
    }

    /// Appends the event by which readers learn of a container.
    pub(crate) fn write_container(&mut self, facts: &Facts, time_ns: u64) -> io::Result<()> {
        let mut builder = RecordBuilder::new();
        builder.push_text(facts.to_capture_json().to_string().as_bytes());
        self.write_own(&builder, CONTAINER_JSON_2_E, time_ns, &mut Vec::new())
    }

    fn write_own(
        &mut self,
        builder: &RecordBuilder,
        number: u16,
        time_ns: u64,
        bytes: &mut Vec<u8>,
    ) -> io::Result<()> {
        let built = builder.build(bytes, number, time_ns, -1).map_err(io::Error::other);
        built?;
        match Record::decode(bytes) {
            Ok(record) => self.write(&record),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// Writes an entry with its length, which counts itself, before it.
fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    write(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    let text = &text[..text.len().min(TEXT_BYTES_MAX)];
    out.extend((text.len() as u16).to_le_bytes());
    out.extend_from_slice(text);
}

fn push_process(out: &mut Vec<u8>, thread: &Thread, state: &State) {
    for id in [thread.tid, thread.pid, thread.ptid, thread.sid, thread.vpgid] {
        out.extend(id.to_le_bytes());
    }
    for text in [&thread.comm, &thread.exe, &thread.exe_path, &thread.args] {
        push_text(out, text);
    }
    push_text(out, state.cwd_of(thread));
    out.extend(thread.fd_limit.to_le_bytes());
    for number in [thread.flags, thread.uid, thread.gid] {
        out.extend(number.to_le_bytes());
    }
    for number in thread.memory_kib {
        out.extend(number.to_le_bytes());
    }
    for number in thread.faults {
        out.extend(number.to_le_bytes());
    }
    push_text(out, &thread.env);
    out.extend(thread.vtid.to_le_bytes());
    out.extend(thread.vpid.to_le_bytes());
    push_text(out, &thread.cgroups);
    push_text(out, &thread.root);
    out.extend(thread.pidns_start_ns.to_le_bytes());
    out.extend(thread.tty.to_le_bytes());
    out.extend(thread.loginuid.to_le_bytes());
    out.push(u8::from(thread.exe_writable));
    for set in [thread.cap_inheritable, thread.cap_permitted, thread.cap_effective] {
        out.extend(set.to_le_bytes());
    }
    out.push(u8::from(thread.exe_upper_layer));
    for number in [thread.exe_ino, thread.exe_ctime_ns, thread.exe_mtime_ns] {
        out.extend(number.to_le_bytes());
    }
    out.push(u8::from(thread.exe_from_memfd));
    out.push(u8::from(thread.exe_lower_layer));
    out.extend(thread.pgid.to_le_bytes());
}

fn push_ip(out: &mut Vec<u8>, address: IpAddr, wide: bool) {
    match (address, wide) {
        (IpAddr::V4(address), false) => out.extend(address.octets()),
        (IpAddr::V4(address), true) => out.extend(address.to_ipv6_mapped().octets()),
        (IpAddr::V6(address), true) => out.extend(address.octets()),
        (IpAddr::V6(_), false) => out.extend(&Ipv6Addr::UNSPECIFIED.octets()[..4]),
    }
}

fn push_fd(out: &mut Vec<u8>, number: i64, fd: &Fd) {
    out.extend(number.to_le_bytes());
    out.extend(fd.ino.to_le_bytes());
    out.push(fd.kind.number());
    match fd.kind {
        FdKind::Ipv4Socket | FdKind::Ipv6Socket => {
            let wide = fd.kind == FdKind::Ipv6Socket;
            // The process's own end comes first; readers turn servers' around again.
            let ends =
                if fd.role == crate::state::Role::Server { fd.ends.swapped() } else { fd.ends };
            push_ip(out, ends.source, wide);
            push_ip(out, ends.dest, wide);
            out.extend(ends.source_port.to_le_bytes());
            out.extend(ends.dest_port.to_le_bytes());
            out.push(fd.transport.number());
        }
        FdKind::Ipv4Server | FdKind::Ipv6Server => {
            push_ip(out, fd.ends.dest, fd.kind == FdKind::Ipv6Server);
            out.extend(fd.ends.dest_port.to_le_bytes());
            out.push(fd.transport.number());
        }
        FdKind::UnixSocket => {
            out.extend(fd.unix_ends.0.to_le_bytes());
            out.extend(fd.unix_ends.1.to_le_bytes());
            push_text(out, &fd.name()[..fd.name().len().min(1023)]);
        }
        FdKind::File => {
            out.extend(fd.open_flags.to_le_bytes());
            push_text(out, &fd.name()[..fd.name().len().min(1023)]);
            out.extend(fd.dev.to_le_bytes());
        }
        FdKind::Unknown => {}
        _ => push_text(out, &fd.name()[..fd.name().len().min(1023)]),
    }
}
