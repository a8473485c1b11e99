//! The initial state in a capture: machine, processes, descriptors, users, interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::kind;
use super::reader::CaptureError;
use crate::record::{Cursor, until_nul};
use crate::state::thread::{Thread, flag};
use crate::state::users::INTERFACES_MAX;
use crate::state::{Ends, Fd, FdKind, Machine, State, Transport};
use crate::text::join_path;

/// Puts what a block says into the state.
pub(super) fn apply(
    state: &mut State,
    kind: u32,
    body: &[u8],
    offset: u64,
) -> Result<(), CaptureError> {
    let overrun = |what| CaptureError::ListOverrun { offset, what };
    match kind {
        kind::MACHINE | 0x8002_ABCD => {
            if let Some(machine) = read_machine(body) {
                state.machine = machine;
            }
            Ok(())
        }
        0x202 | 0x8000_ABCD => read_processes(state, 1, body).ok_or(overrun("process list")),
        0x207 | 0x8013_ABCD => read_processes(state, 2, body).ok_or(overrun("process list")),
        0x209 | 0x8014_ABCD => read_processes(state, 3, body).ok_or(overrun("process list")),
        0x210..=kind::PROCESSES_V9 => {
            read_processes(state, kind - 0x20c, body).ok_or(overrun("process list"))
        }
        0x203 | 0x8001_ABCD => read_fds(state, false, body).ok_or(overrun("descriptor list")),
        kind::FDS_V2 => read_fds(state, true, body).ok_or(overrun("descriptor list")),
        0x205 | 0x8011_ABCD => read_interfaces(state, false, body).ok_or(overrun("interface list")),
        kind::INTERFACES_V2 => read_interfaces(state, true, body).ok_or(overrun("interface list")),
        0x206 | 0x8012_ABCD => read_users(state, false, body).ok_or(overrun("user list")),
        kind::USERS_V2 => read_users(state, true, body).ok_or(overrun("user list")),
        _ => Ok(()),
    }
}

fn read_machine(body: &[u8]) -> Option<Machine> {
    let mut cursor = Cursor(body);
    cursor.take(4 + 8 + 8)?; // processors, memory, largest process id
    let hostname = until_nul(cursor.take(128)?);
    let hostname = String::from_utf8_lossy(hostname).into_owned();
    Some(Machine { hostname, boot_ns: cursor.u64()? })
}

/// Fewer bytes than this at the end of a list are padding.
const PADDING_BYTES: usize = 4;

/// Takes the entry at the front of a list that gives each entry its length, which counts
/// itself.
fn sized<'b>(cursor: &mut Cursor<'b>) -> Option<Cursor<'b>> {
    let length = cursor.u32()? as usize;
    cursor.take(length.checked_sub(4)?).map(Cursor)
}

fn read_processes(state: &mut State, version: u32, body: &[u8]) -> Option<()> {
    let mut cursor = Cursor(body);
    while cursor.0.len() >= PADDING_BYTES {
        let thread = if version >= 9 {
            let mut entry = sized(&mut cursor)?;
            read_process(&mut entry, version)?
        } else {
            read_process(&mut cursor, version)?
        };
        state.add_initial_thread(thread);
    }
    Some(())
}

fn read_process(cursor: &mut Cursor<'_>, version: u32) -> Option<Thread> {
    let mut thread =
        Thread { tid: cursor.i64()?, pid: cursor.i64()?, ptid: cursor.i64()?, ..Thread::default() };
    thread.origin = thread.ptid;
    if version >= 6 {
        thread.sid = cursor.i64()?;
    }
    if version >= 8 {
        thread.vpgid = cursor.i64()?;
    }
    thread.comm = until_nul(cursor.text16()?).into();
    thread.exe = until_nul(cursor.text16()?).into();
    if version >= 7 {
        thread.set_exe_path(until_nul(cursor.text16()?));
    }
    let args = cursor.text16()?;
    thread.set_args(args.strip_suffix(b"\0").unwrap_or(args));
    let cwd = until_nul(cursor.text16()?);
    if thread.is_main() {
        let mut path = join_path(b"", cwd);
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        thread.cwd = path.into();
    }
    thread.fd_limit = cursor.i64()?;
    thread.flags |= cursor.u32()?;
    thread.uid = cursor.u32()?;
    thread.gid = cursor.u32()?;
    if version >= 2 {
        thread.memory_kib = [cursor.u32()?, cursor.u32()?, cursor.u32()?];
        thread.faults = [cursor.u64()?, cursor.u64()?];
    }
    if version >= 3 {
        let env = cursor.text16()?;
        if thread.is_main() {
            thread.env = env.strip_suffix(b"\0").unwrap_or(env).into();
        }
    }
    if version >= 4 {
        thread.vtid = cursor.i64()?;
        thread.vpid = cursor.i64()?;
        let cgroups = cursor.text16()?;
        thread.cgroups = cgroups.strip_suffix(b"\0").unwrap_or(cgroups).into();
    }
    if version >= 5 {
        thread.root = until_nul(cursor.text16()?).into();
    }
    if version >= 9 {
        read_process_tail(cursor, &mut thread);
    }
    thread.flags |= flag::ACTIVE;
    Some(thread)
}

/// What later versions appended; an entry may end anywhere here.
fn read_process_tail(cursor: &mut Cursor<'_>, thread: &mut Thread) -> Option<()> {
    /// Entries with at most this many bytes left come from writers that did not yet have
    /// the namespace's start and the terminal.
    const OLD_TAIL_BYTES: usize = 29;
    if cursor.0.len() > OLD_TAIL_BYTES {
        thread.pidns_start_ns = cursor.u64()?;
        thread.tty = cursor.u32()?;
    }
    thread.loginuid = cursor.u32()?;
    thread.exe_writable = cursor.u8()? != 0;
    thread.cap_inheritable = cursor.u64()?;
    thread.cap_permitted = cursor.u64()?;
    thread.cap_effective = cursor.u64()?;
    thread.exe_upper_layer = cursor.u8()? != 0;
    thread.exe_ino = cursor.u64()?;
    thread.exe_ctime_ns = cursor.u64()?;
    thread.exe_mtime_ns = cursor.u64()?;
    thread.exe_from_memfd = cursor.u8()? != 0;
    thread.exe_lower_layer = cursor.u8()? != 0;
    thread.pgid = cursor.i64()?;
    Some(())
}

fn read_fds(state: &mut State, is_sized: bool, body: &[u8]) -> Option<()> {
    let mut cursor = Cursor(body);
    let tid = cursor.i64()?;
    while cursor.0.len() >= PADDING_BYTES {
        let (number, fd) = if is_sized {
            read_fd(&mut sized(&mut cursor)?, true)?
        } else {
            read_fd(&mut cursor, false)?
        };
        state.add_initial_fd(tid, number, fd);
    }
    Some(())
}

fn ipv4(cursor: &mut Cursor<'_>) -> Option<IpAddr> {
    cursor.array::<4>().map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)))
}

fn ipv6(cursor: &mut Cursor<'_>) -> Option<Ipv6Addr> {
    cursor.array::<16>().map(Ipv6Addr::from)
}

fn read_fd(cursor: &mut Cursor<'_>, is_sized: bool) -> Option<(i64, Fd)> {
    const FILE_V2: u8 = 16;
    let number = cursor.i64()?;
    let ino = cursor.u64()?;
    let kind_number = cursor.u8()?;
    let kind = FdKind::from_number(kind_number).unwrap_or(FdKind::Unsupported);
    let mut fd = Fd::of(kind);
    fd.ino = ino;
    match kind {
        FdKind::Ipv4Socket => {
            let (source, dest) = (ipv4(cursor)?, ipv4(cursor)?);
            let (source_port, dest_port) = (cursor.u16()?, cursor.u16()?);
            fd.ends = Ends { source, source_port, dest, dest_port };
            fd.transport = Transport::from_number(cursor.u8()?);
        }
        FdKind::Ipv4Server => {
            fd.ends.dest = ipv4(cursor)?;
            fd.ends.dest_port = cursor.u16()?;
            fd.transport = Transport::from_number(cursor.u8()?);
        }
        FdKind::Ipv6Socket => {
            let (source, dest) = (ipv6(cursor)?, ipv6(cursor)?);
            let (source_port, dest_port) = (cursor.u16()?, cursor.u16()?);
            let mapped = crate::state::fd::mapped(source).zip(crate::state::fd::mapped(dest));
            if mapped.is_some() {
                fd.kind = FdKind::Ipv4Socket;
            }
            let (source, dest) = mapped.unwrap_or((IpAddr::V6(source), IpAddr::V6(dest)));
            fd.ends = Ends { source, source_port, dest, dest_port };
            fd.transport = Transport::from_number(cursor.u8()?);
        }
        FdKind::Ipv6Server => {
            fd.ends.dest = IpAddr::V6(ipv6(cursor)?);
            fd.ends.dest_port = cursor.u16()?;
            fd.transport = Transport::from_number(cursor.u8()?);
        }
        FdKind::UnixSocket => {
            fd.unix_ends = (cursor.u64()?, cursor.u64()?);
            fd.set_name(until_nul(cursor.text16()?));
        }
        FdKind::File if kind_number == FILE_V2 => {
            fd.open_flags = cursor.u32()?;
            fd.set_name(until_nul(cursor.text16()?));
            if is_sized {
                fd.dev = cursor.u32().unwrap_or(0);
            }
        }
        FdKind::Unknown => {}
        _ if FdKind::from_number(kind_number).is_none() => {
            fd.set_name(format!("unknown-type:[{kind_number}]").as_bytes());
        }
        _ => fd.set_name(until_nul(cursor.text16()?)),
    }
    Some((number, fd))
}

fn read_interfaces(state: &mut State, is_sized: bool, body: &[u8]) -> Option<()> {
    let mut cursor = Cursor(body);
    while cursor.0.len() >= PADDING_BYTES {
        if is_sized {
            // Here, unlike elsewhere, the length does not count itself.
            let length = cursor.u32()? as usize;
            read_interface(state, &mut Cursor(cursor.take(length)?))?;
        } else {
            read_interface(state, &mut cursor)?;
        }
    }
    Some(())
}

fn read_interface(state: &mut State, cursor: &mut Cursor<'_>) -> Option<()> {
    const IPV4: u16 = 1;
    const IPV6: u16 = 2;
    const IPV4_NO_SPEED: u16 = 3;
    const IPV6_NO_SPEED: u16 = 4;
    let kind = cursor.u16()?;
    let n_name = usize::from(cursor.u16()?);
    match kind {
        IPV4 | IPV4_NO_SPEED => {
            let address = cursor.array::<4>().map(Ipv4Addr::from)?;
            let mask = cursor.array::<4>().map(Ipv4Addr::from)?;
            cursor.take(4)?; // broadcast
            if state.interfaces.ipv4.len() < INTERFACES_MAX {
                state.interfaces.ipv4.push((address, mask));
            }
        }
        IPV6 | IPV6_NO_SPEED => {
            let address = ipv6(cursor)?;
            cursor.take(32)?; // mask and broadcast
            if state.interfaces.ipv6.len() < INTERFACES_MAX {
                state.interfaces.ipv6.push(address);
            }
        }
        _ => return None,
    }
    if matches!(kind, IPV4 | IPV6) {
        cursor.take(8)?; // speed
    }
    cursor.take(n_name)?;
    Some(())
}

fn read_users(state: &mut State, is_sized: bool, body: &[u8]) -> Option<()> {
    let mut cursor = Cursor(body);
    while cursor.0.len() >= PADDING_BYTES {
        if is_sized {
            read_account(state, &mut sized(&mut cursor)?)?;
        } else {
            read_account(state, &mut cursor)?;
        }
    }
    Some(())
}

fn read_account(state: &mut State, cursor: &mut Cursor<'_>) -> Option<()> {
    const USER: u8 = 0;
    if cursor.u8()? == USER {
        let uid = cursor.u32()?;
        cursor.u32()?; // its group
        let (name, home, shell) = (cursor.text16()?, cursor.text16()?, cursor.text16()?);
        state.accounts.add_user(b"", uid, until_nul(name), until_nul(home), until_nul(shell));
    } else {
        let gid = cursor.u32()?;
        state.accounts.add_group(b"", gid, until_nul(cursor.text16()?));
    }
    Some(())
}
