//! Captures made by the tests: a container, a host, and calls of their processes.

use std::path::Path;

use palisade_sensor::Record;
use palisade_sensor::capture::CaptureWriter;
use palisade_sensor::record::RecordBuilder;
use palisade_sensor::schema::{EventInfo, ParamInfo, ParamType, Traits, event, events};
use palisade_sensor::state::{Fd, FdKind, State, Thread};

/// The container's id.
pub(crate) const CONTAINER: &str =
    "0123456789ab0123456789ab0123456789ab0123456789ab0123456789abcdef";
/// A web server in the container; its parent is the engine's shim, on the host.
pub(crate) const SERVER: i64 = 100;
/// A child of the server.
pub(crate) const CHILD: i64 = 101;
/// A program in the container that no server started.
pub(crate) const WORKER: i64 = 110;
/// A process of the host.
pub(crate) const HOST: i64 = 50;
/// A descriptor of every process that is a connection.
pub(crate) const SOCKET: i64 = 3;

/// A parameter of a call.
#[derive(Debug, Clone)]
pub(crate) enum Arg<'a> {
    Number(i64),
    Text(&'a str),
    Bytes(Vec<u8>),
    /// Names of flags, or of one value.
    Names(&'a [&'a str]),
}

/// The event type that probes send today for the return of `name`.
fn current(name: &str) -> &'static EventInfo {
    let is_it = |info: &&EventInfo| {
        info.name == name && !info.is_enter() && !info.traits.any(Traits::OLD.with(Traits::UNUSED))
    };
    events().iter().rfind(is_it).unwrap_or_else(|| panic!("no event {name}"))
}

/// An IPv4 address and port as in a record.
fn ipv4(address: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = address.to_vec();
    bytes.extend(port.to_le_bytes());
    bytes
}

/// Both ends of a connection to `address`, as in a record.
pub(crate) fn connection(address: [u8; 4], port: u16) -> Arg<'static> {
    let mut bytes = vec![2];
    bytes.extend(ipv4([10, 0, 0, 2], 40_000));
    bytes.extend(ipv4(address, port));
    Arg::Bytes(bytes)
}

/// An address, as in a record.
pub(crate) fn address(address: [u8; 4], port: u16) -> Arg<'static> {
    let mut bytes = vec![2];
    bytes.extend(ipv4(address, port));
    Arg::Bytes(bytes)
}

/// The address of a Unix socket, as in a record.
pub(crate) fn unix_address(path: &str) -> Arg<'static> {
    let mut bytes = vec![1];
    bytes.extend(path.as_bytes());
    bytes.push(0);
    Arg::Bytes(bytes)
}

/// A capture on its way.
pub(crate) struct Recording {
    writer: CaptureWriter<Vec<u8>>,
    time_ns: u64,
}

fn thread(tid: i64, parent: i64, name: &str, cgroup: &str) -> Thread {
    let mut thread = Thread::default();
    (thread.tid, thread.pid, thread.ptid, thread.vtid, thread.vpid) = (tid, tid, parent, tid, tid);
    (thread.uid, thread.gid) = (0, 0);
    thread.comm = name.as_bytes().into();
    thread.exe = name.as_bytes().into();
    thread.exe_path = format!("/usr/bin/{name}").into_bytes()[..].into();
    thread.cwd = b"/"[..].into();
    thread.cgroups = format!("cpuset={cgroup}\0").into_bytes()[..].into();
    thread
}

impl Recording {
    /// A machine with a host, a shim, and a container with a web server.
    pub(crate) fn new() -> Self {
        let mut state = State::new();
        state.machine.hostname = "recorded-host".into();
        let inside = format!("/docker/{CONTAINER}");
        for (tid, parent, name, cgroup) in [
            (1, 0, "systemd", "/"),
            (HOST, 1, "bash", "/"),
            (90, 1, "containerd-shim", "/"),
            (SERVER, 90, "nginx", &inside),
            (CHILD, SERVER, "sh", &inside),
            (WORKER, 90, "worker", &inside),
        ] {
            state.add_initial_thread(thread(tid, parent, name, cgroup));
            let mut socket = Fd::of(FdKind::Ipv4Socket);
            socket.ends.source = [10, 0, 0, 2].into();
            socket.ends.dest = [203, 0, 113, 9].into();
            (socket.ends.source_port, socket.ends.dest_port) = (40_000, 9_001);
            state.add_initial_fd(tid, SOCKET, socket);
        }
        state.accounts.add_user(b"", 0, b"root", b"/root", b"/bin/sh");
        state.finish_initial();
        let writer = CaptureWriter::new(Vec::new(), &state).unwrap();
        let mut recording = Self { writer, time_ns: 1_700_000_000_000_000_000 };
        let json = serde_json::json!({"container": {
            "type": 0, "id": &CONTAINER[..12], "full_id": CONTAINER, "name": "shop",
            "image": "registry.example/shop:1.2", "imagerepo": "registry.example/shop",
            "imagetag": "1.2", "imageid": "", "imagedigest": "", "privileged": false,
            "Mounts": [], "labels": {}, "ip": "0.0.0.0", "env": [], "port_mappings": [],
        }})
        .to_string();
        recording.write("container", -1, &[("json", Arg::Text(&json))]);
        recording
    }

    /// Adds the return of a call; parameters that are not named are 0 or empty.
    pub(crate) fn call(&mut self, name: &str, tid: i64, args: &[(&str, Arg<'_>)]) -> &mut Self {
        self.write(name, tid, args);
        self
    }

    /// Adds an open of `path` that gives descriptor 5, or fails with `-errno`.
    pub(crate) fn open(&mut self, tid: i64, path: &str, flags: &[&str], fd: i64) -> &mut Self {
        let args = [
            ("fd", Arg::Number(fd)),
            ("dirfd", Arg::Number(-100)),
            ("name", Arg::Text(path)),
            ("flags", Arg::Names(flags)),
        ];
        self.call("openat", tid, &args)
    }

    /// Adds a start of a program, with further parameters.
    pub(crate) fn exec(
        &mut self,
        (tid, parent): (i64, i64),
        path: &str,
        arguments: &[&str],
        more: &[(&str, Arg<'_>)],
    ) -> &mut Self {
        let name = path.rsplit('/').next().unwrap_or_default();
        let list: String = arguments.iter().flat_map(|argument| [argument, "\0"]).collect();
        let cgroup =
            if tid == HOST { "cpuset=/\0".into() } else { format!("cpuset=/docker/{CONTAINER}\0") };
        let mut args = vec![
            ("exe", Arg::Text(path)),
            ("args", Arg::Bytes(list.into_bytes())),
            ("tid", Arg::Number(tid)),
            ("pid", Arg::Number(tid)),
            ("ptid", Arg::Number(parent)),
            ("cwd", Arg::Text("/")),
            ("comm", Arg::Text(name)),
            ("cgroups", Arg::Bytes(cgroup.into_bytes())),
            ("trusted_exepath", Arg::Text(path)),
            ("filename", Arg::Text(path)),
        ];
        args.retain(|(name, _)| !more.iter().any(|(given, _)| given == name));
        args.extend(more.iter().cloned());
        self.call("execve", tid, &args)
    }

    fn write(&mut self, name: &str, tid: i64, args: &[(&str, Arg<'_>)]) {
        let info = match name {
            // Newer captures hold an asynchronous event instead; readers take both.
            "container" => {
                let is_json = |info: &&EventInfo| {
                    info.name == "container" && info.param_index("json").is_some()
                };
                events().iter().rfind(is_json).unwrap()
            }
            name => current(name),
        };
        assert_eq!(event(info.number).unwrap().name, info.name);
        for (given, _) in args {
            assert!(info.param_index(given).is_some(), "{name} has no parameter {given}");
        }
        let mut builder = RecordBuilder::new();
        for param in &info.params {
            let value = args.iter().find(|(given, _)| *given == param.name).map(|(_, arg)| arg);
            push(&mut builder, param, value);
        }
        self.time_ns += 1_000_000;
        let mut bytes = Vec::new();
        builder.build(&mut bytes, info.number, self.time_ns, tid).unwrap();
        self.writer.write(&Record::decode(&bytes).unwrap()).unwrap();
    }

    /// The capture's bytes.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.writer.into_inner().unwrap()
    }

    /// Writes the capture into a file.
    pub(crate) fn save(self, path: &Path) {
        std::fs::write(path, self.bytes()).unwrap();
    }
}

fn push(builder: &mut RecordBuilder, param: &ParamInfo, value: Option<&Arg<'_>>) {
    let n_bytes = match param.kind {
        ParamType::Int(n)
        | ParamType::Uint(n)
        | ParamType::Flags(n)
        | ParamType::Enumeration(n) => usize::from(n),
        ParamType::Signal => 1,
        ParamType::Syscall => 2,
        ParamType::Errno
        | ParamType::Fd
        | ParamType::Pid
        | ParamType::RelativeTime
        | ParamType::AbsoluteTime => 8,
        ParamType::Bool
        | ParamType::Uid
        | ParamType::Gid
        | ParamType::Mode
        | ParamType::SignalSet => 4,
        _ => 0,
    };
    match value {
        Some(Arg::Number(number)) => builder.push(&number.to_le_bytes()[..n_bytes]),
        Some(Arg::Names(names)) => {
            let number = |name: &&str| {
                let known = param.names.iter().find(|(known, _)| known == name);
                known.unwrap_or_else(|| panic!("{} has no {name}", param.name)).1
            };
            let sum: u32 = names.iter().map(number).sum();
            builder.push(&u64::from(sum).to_le_bytes()[..n_bytes])
        }
        Some(Arg::Text(text)) => builder.push_text(text.as_bytes()),
        Some(Arg::Bytes(bytes)) => builder.push(bytes),
        None if n_bytes > 0 => builder.push(&0_u64.to_le_bytes()[..n_bytes]),
        None => builder.push_empty(),
    };
}
