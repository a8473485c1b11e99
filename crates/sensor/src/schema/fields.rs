//! The fields that rules may name, with their types and meaning.
//!
//! Names and types are Falco's, so that its rules load unchanged; the list is that of
//! Falco 0.44 with its container plugin, and `evt.dir` of older rules.
//!
//! A field without brackets that has several values (`proc.aname`, `fd.ip`) holds in a
//! comparison if any value does, and is printed joined by blanks. `evt.arg`, `evt.rawarg`,
//! `evt.abspath`, `evt.type.is` and `thread.cgroup` take their argument after a dot as
//! well: `evt.arg.path`.

use std::collections::HashMap;
use std::sync::LazyLock;

use palisade_rules::fields::ArgumentKind::{Either, Index, Key};
use palisade_rules::fields::ArgumentRule::{None, Optional, Required};
use palisade_rules::fields::{
    FieldArgument, FieldDefinition, FieldId, FieldLimits, NumberFormat, Schema, ValueType,
};

use super::events::{ParamType, events, type_names};
use super::number::ASYNCEVENT_E;

macro_rules! fields {
    ($($variant:ident $name:literal $kind:ident $rule:tt $about:literal,)*) => {
        /// A field of the `syscall` source; the order is that of the schema.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Field {
            $(#[doc = $about] $variant,)*
        }

        impl Field {
            /// All fields, in the order of the schema.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }

        static DEFINITIONS: &[FieldDefinition] = &[$(FieldDefinition {
            name: $name,
            value_type: ValueType::$kind,
            is_list: matches!(Field::$variant, Field::FdTypes),
            argument: $rule,
            filterable: true,
            description: $about,
        },)*];
    };
}

impl Field {
    /// The field of that identifier.
    pub fn from_id(id: FieldId) -> Option<Self> {
        Self::ALL.get(usize::from(id.0)).copied()
    }

    /// Its identifier in the schema.
    pub const fn id(self) -> FieldId {
        FieldId(self as u16)
    }

    /// Its name in rules.
    pub fn name(self) -> &'static str {
        DEFINITIONS[self as usize].name
    }
}

/// The `syscall` source: the kernel's events, live or from a capture.
#[derive(Debug, Clone, Copy, Default)]
pub struct SyscallSchema;

static BY_NAME: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    DEFINITIONS.iter().enumerate().map(|(index, field)| (field.name, index)).collect()
});

impl Schema for SyscallSchema {
    fn source(&self) -> &'static str {
        "syscall"
    }

    fn fields(&self) -> &[FieldDefinition] {
        DEFINITIONS
    }

    fn event_types(&self) -> &[&'static str] {
        type_names()
    }

    fn field(&self, name: &str) -> Option<(FieldId, &FieldDefinition)> {
        let index = *BY_NAME.get(name)?;
        Some((FieldId(u16::try_from(index).ok()?), &DEFINITIONS[index]))
    }

    fn limits(&self, field: FieldId) -> FieldLimits {
        use Field::{
            EvtRawarg, FdCipName, FdCnet, FdIp, FdLipName, FdLnet, FdNet, FdPort, FdProto,
            FdRipName, FdRnet, FdSipName, FdSnet, FdTypes, ProcAcmdline, ProcAenv, ProcAexe,
            ProcAexepath, ProcAname, ProcApid,
        };
        let Some(field) = Field::from_id(field) else { return FieldLimits::default() };
        let filter_only = field == Field::EvtAround
            || matches!(field, FdIp | FdPort | FdProto | FdNet | FdCnet | FdSnet | FdLnet | FdRnet);
        let alone = matches!(
            field,
            EvtRawarg
                | FdCipName
                | FdSipName
                | FdLipName
                | FdRipName
                | ProcAexe
                | ProcAexepath
                | ProcAname
                | ProcAcmdline
                | ProcAenv
                | ProcApid
        );
        FieldLimits {
            filter_only,
            no_right_side: filter_only || alone || field == FdTypes,
            no_transformer: filter_only || alone,
        }
    }

    fn number_format(&self, field: FieldId) -> NumberFormat {
        match Field::from_id(field) {
            Some(Field::FdDev) => NumberFormat::Hexadecimal,
            Some(
                Field::EvtRawtimeNs
                | Field::EvtReltime
                | Field::EvtReltimeNs
                | Field::EvtDeltatimeNs
                | Field::EvtLatencyNs,
            ) => NumberFormat::Padded,
            _ => NumberFormat::Decimal,
        }
    }

    fn typed_as(&self, field: FieldId) -> Option<FieldId> {
        matches!(
            Field::from_id(field)?,
            Field::EvtTime
                | Field::EvtTimeS
                | Field::EvtTimeIso8601
                | Field::EvtDatetime
                | Field::EvtDatetimeS
                | Field::EvtOutputtime
        )
        .then_some(Field::EvtRawtime.id())
    }

    fn argument_type(&self, field: FieldId, argument: &FieldArgument) -> Option<ValueType> {
        let known = Field::from_id(field)?;
        match (known, argument) {
            (Field::EvtAbspath, FieldArgument::Key(side)) => {
                matches!(&**side, "src" | "dst").then_some(())?;
            }
            (Field::EvtAround, FieldArgument::Key(time)) => {
                time.parse::<u64>().ok()?;
            }
            (Field::EvtTypeIs, FieldArgument::Key(name)) => {
                events().iter().any(|event| *event.name == **name).then_some(())?;
            }
            _ => {}
        }
        let (Field::EvtArg | Field::EvtRawarg, FieldArgument::Key(name)) = (known, argument) else {
            return Some(DEFINITIONS[known as usize].value_type);
        };
        // Events agree on the type of a parameter name, as far as rules use it; the first
        // in the table decides.
        let mut params = events().iter().flat_map(|event| &event.params);
        let param = params.find(|param| *param.name == **name)?;
        Some(if known == Field::EvtArg { ValueType::Text } else { raw_type(param.kind) })
    }

    fn is_window(&self, field: FieldId) -> bool {
        Field::from_id(field) == Some(Field::EvtAround)
    }

    fn exists_as(&self, field: FieldId, argument: &FieldArgument) -> Option<FieldId> {
        match Field::from_id(field)? {
            // Any descriptor has them, whether it has addresses or not.
            Field::FdIp
            | Field::FdPort
            | Field::FdProto
            | Field::FdNet
            | Field::FdCipName
            | Field::FdSipName
            | Field::FdLipName
            | Field::FdRipName => Some(Field::FdType.id()),
            // Any event about descriptors has them, though there may be none.
            Field::FdTypes => (*argument == FieldArgument::None).then_some(Field::FdNum.id()),
            _ => Option::None,
        }
    }

    fn event_names_itself(&self, number: u16) -> bool {
        number == ASYNCEVENT_E
    }
}

/// The type by which conditions may compare a parameter.
fn raw_type(kind: ParamType) -> ValueType {
    match kind {
        ParamType::Int(_) | ParamType::Errno | ParamType::Fd | ParamType::Pid => ValueType::Int,
        ParamType::Text => ValueType::Text,
        ParamType::Path | ParamType::RelativePath(_) => ValueType::Path,
        ParamType::Bool => ValueType::Bool,
        ParamType::RelativeTime => ValueType::RelativeTime,
        ParamType::AbsoluteTime => ValueType::AbsoluteTime,
        ParamType::Uint(_)
        | ParamType::Syscall
        | ParamType::Signal
        | ParamType::Flags(_)
        | ParamType::Enumeration(_)
        | ParamType::Mode => ValueType::Uint,
        ParamType::Uid
        | ParamType::Gid
        | ParamType::SignalSet
        | ParamType::Bytes
        | ParamType::SockAddr
        | ParamType::SockTuple
        | ParamType::FdList
        | ParamType::Dynamic(_)
        | ParamType::Other => ValueType::Opaque,
    }
}

fields! {
    EvtNum "evt.num" Uint (None) "Number of the event in this session or capture, from 1.",
    EvtTime "evt.time" Text (None) "Local time of day with nanoseconds.",
    EvtTimeS "evt.time.s" Text (None) "Local time of day in whole seconds.",
    EvtTimeIso8601 "evt.time.iso8601" Text (None) "Time in UTC as ISO 8601 with nanoseconds.",
    EvtDatetime "evt.datetime" Text (None) "Local date and time with nanoseconds.",
    EvtDatetimeS "evt.datetime.s" Text (None) "Local date and time in whole seconds.",
    EvtRawtime "evt.rawtime" AbsoluteTime (None) "Nanoseconds since the epoch.",
    EvtRawtimeS "evt.rawtime.s" AbsoluteTime (None) "Whole seconds since the epoch.",
    EvtRawtimeNs "evt.rawtime.ns" AbsoluteTime (None) "Nanoseconds within the second.",
    EvtReltime "evt.reltime" RelativeTime (None) "Nanoseconds since the first event.",
    EvtReltimeS "evt.reltime.s" RelativeTime (None) "Whole seconds since the first event.",
    EvtReltimeNs "evt.reltime.ns" RelativeTime (None) "Nanoseconds within the second since the first event.",
    EvtPluginname "evt.pluginname" Text (None) "Name of the plugin that made the event; system events have none.",
    EvtPlugininfo "evt.plugininfo" Text (None) "The plugin's summary of its event; system events have none.",
    EvtSource "evt.source" Text (None) "Source of the event: syscall.",
    EvtIsAsync "evt.is_async" Bool (None) "Whether the sensor itself made the event, beside the kernel's stream.",
    EvtAsynctype "evt.asynctype" Text (None) "Kind of an event that the sensor itself made.",
    EvtHostname "evt.hostname" Text (None) "Name of the host on which it happened.",
    EvtDeltatime "evt.deltatime" RelativeTime (None) "Nanoseconds since the previous event.",
    EvtDeltatimeS "evt.deltatime.s" RelativeTime (None) "Whole seconds since the previous event.",
    EvtDeltatimeNs "evt.deltatime.ns" RelativeTime (None) "Nanoseconds within the second since the previous event.",
    EvtType "evt.type" Text (None) "Name of the event type or system call: openat.",
    EvtTypeIs "evt.type.is" Uint (Required(Either)) "1 when the event has the type given as argument, else 0.",
    EvtDir "evt.dir" Text (None) "Direction, > on entry and < on return; only returns are delivered today.",
    SyscallType "syscall.type" Text (None) "Name of the system call, absent for other events.",
    EvtCategory "evt.category" Text (None) "What the event is about: file, net, process, memory, user and so on.",
    EvtCpu "evt.cpu" Int (None) "Processor on which it happened.",
    EvtLatency "evt.latency" RelativeTime (None) "Always 0: there are no enter events; deprecated.",
    EvtLatencyS "evt.latency.s" RelativeTime (None) "Always 0, as evt.latency; deprecated.",
    EvtLatencyNs "evt.latency.ns" RelativeTime (None) "Always 0, as evt.latency; deprecated.",
    EvtLatencyQuantized "evt.latency.quantized" Uint (None) "Always 0, as evt.latency; deprecated.",
    EvtLatencyHuman "evt.latency.human" Text (None) "Always 0ns, as evt.latency; deprecated.",
    EvtWaitLatency "evt.wait_latency" RelativeTime (None) "Always 0, as evt.latency; deprecated.",
    EvtOutputtime "evt.outputtime" Text (None) "Time as outputs begin with it: same as evt.time.",
    EvtArgs "evt.args" Text (None) "All parameters as name=value, separated by blanks.",
    EvtArg "evt.arg" Text (Required(Either)) "One parameter by index or name, resolved for people.",
    EvtRawarg "evt.rawarg" Int (Required(Key)) "One parameter by name with its own type, unresolved.",
    EvtInfo "evt.info" Text (None) "Same as evt.args.",
    EvtBuffer "evt.buffer" Bytes (None) "Data read or written, as far as it was captured.",
    EvtBuflen "evt.buflen" Uint (None) "Bytes read or written.",
    EvtBuflenIn "evt.buflen.in" Uint (None) "evt.buflen of calls that read.",
    EvtBuflenOut "evt.buflen.out" Uint (None) "evt.buflen of calls that write.",
    EvtBuflenFile "evt.buflen.file" Uint (None) "evt.buflen of calls on files.",
    EvtBuflenFileIn "evt.buflen.file.in" Uint (None) "evt.buflen of calls that read files.",
    EvtBuflenFileOut "evt.buflen.file.out" Uint (None) "evt.buflen of calls that write files.",
    EvtBuflenNet "evt.buflen.net" Uint (None) "evt.buflen of calls on network sockets.",
    EvtBuflenNetIn "evt.buflen.net.in" Uint (None) "evt.buflen of calls that read from network sockets.",
    EvtBuflenNetOut "evt.buflen.net.out" Uint (None) "evt.buflen of calls that write to network sockets.",
    EvtRes "evt.res" Text (None) "Result: SUCCESS or the name of the error.",
    EvtRawres "evt.rawres" Int (None) "Result as the kernel returned it; failures are negative error numbers.",
    EvtFailed "evt.failed" Bool (None) "Whether the call failed.",
    EvtIsIo "evt.is_io" Bool (None) "Whether it reads from or writes to a descriptor.",
    EvtIsIoRead "evt.is_io_read" Bool (None) "Whether it reads from a descriptor.",
    EvtIsIoWrite "evt.is_io_write" Bool (None) "Whether it writes to a descriptor.",
    EvtIoDir "evt.io_dir" Text (None) "read or write, for calls that do either.",
    EvtIsWait "evt.is_wait" Bool (None) "Whether the call waits: poll, select, sleep.",
    EvtIsSyslog "evt.is_syslog" Bool (None) "Whether it writes to the system log.",
    EvtCount "evt.count" Uint (None) "Always 1, to be summed up.",
    EvtCountError "evt.count.error" Uint (None) "1 for a failed call, else 0.",
    EvtCountErrorFile "evt.count.error.file" Uint (None) "1 for a failed call on files, else 0; absent for other calls.",
    EvtCountErrorNet "evt.count.error.net" Uint (None) "1 for a failed call on sockets, else 0; absent for other calls.",
    EvtCountErrorMemory "evt.count.error.memory" Uint (None) "1 for a failed memory call, else 0; absent for other calls.",
    EvtCountErrorOther "evt.count.error.other" Uint (None) "1 for any other failed call, else 0; absent for those above.",
    EvtCountExit "evt.count.exit" Uint (None) "1 for returns.",
    EvtCountProcinfo "evt.count.procinfo" Uint (None) "1 for process statistics of a main thread, else 0.",
    EvtCountThreadinfo "evt.count.threadinfo" Uint (None) "1 for process statistics, else 0.",
    EvtInfraDockerName "evt.infra.docker.name" Text (None) "Name of an engine's event in captures of old agents.",
    EvtInfraDockerContainerId "evt.infra.docker.container.id" Text (None) "Container of an engine's event in captures of old agents.",
    EvtInfraDockerContainerName "evt.infra.docker.container.name" Text (None) "Container's name in an engine's event in captures of old agents.",
    EvtInfraDockerContainerImage "evt.infra.docker.container.image" Text (None) "Container's image in an engine's event in captures of old agents.",
    UtilCnt "util.cnt" Uint (None) "Counts up each time it is asked for; never the same twice.",
    EvtAround "evt.around" Uint (Required(Either)) "Nanoseconds between the event and the time in brackets; = asks for at most so many milliseconds.",
    EvtAbspath "evt.abspath" Text (Optional(Key)) "Absolute path that a call with a directory descriptor means; src and dst choose one of two.",
    EvtIsOpenRead "evt.is_open_read" Bool (None) "Whether an open asks to read.",
    EvtIsOpenWrite "evt.is_open_write" Bool (None) "Whether an open asks to write.",
    EvtIsOpenExec "evt.is_open_exec" Bool (None) "Whether an open creates a file with an execute bit.",
    EvtIsOpenCreate "evt.is_open_create" Bool (None) "Whether an open created the file.",
    EvtAddrIp "evt.addr.ip" Ip (None) "IP address that a connect or bind names, whether it succeeds or not; a field of Palisade's own.",
    EvtAddrPort "evt.addr.port" Uint (None) "Port that a connect or bind names, whether it succeeds or not; a field of Palisade's own.",
    ProcExe "proc.exe" Text (None) "First command line argument, often the path of the program.",
    ProcPexe "proc.pexe" Text (None) "proc.exe of the parent.",
    ProcAexe "proc.aexe" Text (Optional(Index)) "proc.exe of the ancestor at that distance, or of any ancestor.",
    ProcExepath "proc.exepath" Text (None) "Path of the program's file.",
    ProcPexepath "proc.pexepath" Text (None) "proc.exepath of the parent.",
    ProcAexepath "proc.aexepath" Text (Optional(Index)) "proc.exepath of the ancestor at that distance, or of any ancestor.",
    ProcName "proc.name" Text (None) "Name of the process (comm), without folders.",
    ProcPname "proc.pname" Text (None) "proc.name of the parent.",
    ProcAname "proc.aname" Text (Optional(Index)) "proc.name of the ancestor at that distance, or of any ancestor.",
    ProcContainerAname "proc.container_aname" Text (None) "proc.name of any ancestor in the same container; a field of Palisade's own.",
    ProcArgs "proc.args" Text (Optional(Index)) "Arguments after the first, joined by blanks, or the one at that index.",
    ProcAargs "proc.aargs" Text (Optional(Index)) "proc.args of the ancestor at that distance, or of any ancestor.",
    ProcCmdline "proc.cmdline" Text (None) "proc.name and proc.args.",
    ProcPcmdline "proc.pcmdline" Text (None) "proc.cmdline of the parent.",
    ProcAcmdline "proc.acmdline" Text (Optional(Index)) "proc.cmdline of the ancestor at that distance, or of any ancestor.",
    ProcCmdnargs "proc.cmdnargs" Uint (None) "Number of arguments after the first.",
    ProcCmdlenargs "proc.cmdlenargs" Uint (None) "Length of all arguments after the first, in bytes.",
    ProcExeline "proc.exeline" Text (None) "proc.exe and proc.args.",
    ProcEnv "proc.env" Text (Optional(Either)) "Environment, joined by blanks, or one variable of it.",
    ProcAenv "proc.aenv" Text (Optional(Either)) "Environment of an ancestor, or a variable of the nearest ancestor that has it.",
    ProcCwd "proc.cwd" Text (None) "Working folder.",
    ProcLoginshellid "proc.loginshellid" Int (None) "Process id of the oldest shell among the ancestors.",
    ProcTty "proc.tty" Uint (None) "Number of the controlling terminal, 0 without one.",
    ProcPid "proc.pid" Int (None) "Process id on the host.",
    ProcPpid "proc.ppid" Int (None) "Process id of the parent on the host.",
    ProcApid "proc.apid" Int (Optional(Index)) "Process id of the ancestor at that distance, or of any ancestor.",
    ProcVpid "proc.vpid" Int (None) "Process id in the process's own namespace.",
    ProcPvpid "proc.pvpid" Int (None) "Process id of the parent in its own namespace.",
    ProcSid "proc.sid" Int (None) "Session id.",
    ProcSname "proc.sname" Text (None) "Name of the session's leader or of the oldest ancestor in the session.",
    ProcSidExe "proc.sid.exe" Text (None) "First argument of the session's leader.",
    ProcSidExepath "proc.sid.exepath" Text (None) "Program of the session's leader.",
    ProcVpgid "proc.vpgid" Int (None) "Process group in the process's own namespace.",
    ProcVpgidName "proc.vpgid.name" Text (None) "Name of that group's leader.",
    ProcVpgidExe "proc.vpgid.exe" Text (None) "First argument of that group's leader.",
    ProcVpgidExepath "proc.vpgid.exepath" Text (None) "Program of that group's leader.",
    ProcPgid "proc.pgid" Int (None) "Process group on the host.",
    ProcPgidName "proc.pgid.name" Text (None) "Name of that group's leader.",
    ProcPgidExe "proc.pgid.exe" Text (None) "First argument of that group's leader.",
    ProcPgidExepath "proc.pgid.exepath" Text (None) "Program of that group's leader.",
    ProcDuration "proc.duration" RelativeTime (None) "Nanoseconds since the process was cloned.",
    ProcPpidDuration "proc.ppid.duration" RelativeTime (None) "Nanoseconds since the parent was cloned.",
    ProcPidTs "proc.pid.ts" RelativeTime (None) "When the process was cloned, nanoseconds since the epoch.",
    ProcPpidTs "proc.ppid.ts" RelativeTime (None) "When the parent was cloned, nanoseconds since the epoch.",
    ProcIsExeWritable "proc.is_exe_writable" Bool (None) "Whether the user who runs the program may write its file.",
    ProcIsExeUpperLayer "proc.is_exe_upper_layer" Bool (None) "Whether the program's file lies in the upper layer of an overlay: it is not from the image.",
    ProcIsExeLowerLayer "proc.is_exe_lower_layer" Bool (None) "Whether the program's file lies in a lower layer of an overlay.",
    ProcIsExeFromMemfd "proc.is_exe_from_memfd" Bool (None) "Whether the program is an anonymous file in memory.",
    ProcIsSidLeader "proc.is_sid_leader" Bool (None) "Whether the process leads its session.",
    ProcIsVpgidLeader "proc.is_vpgid_leader" Bool (None) "Whether the process leads its group, in its own namespace.",
    ProcIsPgidLeader "proc.is_pgid_leader" Bool (None) "Whether the process leads its group on the host.",
    ProcExeIno "proc.exe_ino" Int (None) "Inode of the program's file.",
    ProcExeInoCtime "proc.exe_ino.ctime" AbsoluteTime (None) "Last change of that inode.",
    ProcExeInoMtime "proc.exe_ino.mtime" AbsoluteTime (None) "Last change of the file's contents.",
    ProcExeInoCtimeDurationProcStart "proc.exe_ino.ctime_duration_proc_start" AbsoluteTime (None) "Nanoseconds from the inode's change to the clone of the process.",
    ProcExeInoCtimeDurationPidnsStart "proc.exe_ino.ctime_duration_pidns_start" AbsoluteTime (None) "Nanoseconds from the start of the process namespace to the inode's change.",
    ProcPidnsInitStartTs "proc.pidns_init_start_ts" Uint (None) "Start of the process namespace, nanoseconds since the epoch.",
    ThreadCapPermitted "thread.cap_permitted" Text (None) "Permitted capabilities, separated by blanks.",
    ThreadCapInheritable "thread.cap_inheritable" Text (None) "Inheritable capabilities, separated by blanks.",
    ThreadCapEffective "thread.cap_effective" Text (None) "Effective capabilities, separated by blanks.",
    ProcFdopencount "proc.fdopencount" Uint (None) "Open descriptors of the process.",
    ProcFdlimit "proc.fdlimit" Int (None) "Largest number of descriptors that it may open.",
    ProcFdusage "proc.fdusage" Double (None) "Open descriptors in per cent of the limit.",
    ProcVmsize "proc.vmsize" Uint (None) "Virtual memory in KiB.",
    ProcVmrss "proc.vmrss" Uint (None) "Resident memory in KiB.",
    ProcVmswap "proc.vmswap" Uint (None) "Swapped memory in KiB.",
    ThreadPfmajor "thread.pfmajor" Uint (None) "Major page faults.",
    ThreadPfminor "thread.pfminor" Uint (None) "Minor page faults.",
    ThreadTid "thread.tid" Int (None) "Thread id on the host.",
    ThreadIsmain "thread.ismain" Bool (None) "Whether it is the main thread of its process.",
    ThreadVtid "thread.vtid" Int (None) "Thread id in its own namespace.",
    ThreadExectime "thread.exectime" RelativeTime (None) "Processor time since the last switch; known for switch events only.",
    ThreadTotexectime "thread.totexectime" RelativeTime (None) "Processor time in all; known for switch events only.",
    ThreadCgroups "thread.cgroups" Text (None) "Control groups as subsystem=path, separated by blanks.",
    ThreadCgroup "thread.cgroup" Text (Required(Key)) "Path of the control group of one subsystem.",
    ProcNthreads "proc.nthreads" Uint (None) "Living threads of the process.",
    ProcNchilds "proc.nchilds" Uint (None) "Living threads of the process beside the main one.",
    ThreadCpu "thread.cpu" Double (None) "Processor time in the last second; from process statistics only.",
    ThreadCpuUser "thread.cpu.user" Double (None) "Processor time in user mode in the last second; from process statistics only.",
    ThreadCpuSystem "thread.cpu.system" Double (None) "Processor time in the kernel in the last second; from process statistics only.",
    ThreadVmsize "thread.vmsize" Uint (None) "proc.vmsize for the main thread, 0 for others.",
    ThreadVmrss "thread.vmrss" Uint (None) "proc.vmrss for the main thread, 0 for others.",
    ThreadVmsizeB "thread.vmsize.b" Uint (None) "thread.vmsize in bytes.",
    ThreadVmrssB "thread.vmrss.b" Uint (None) "thread.vmrss in bytes.",
    ThreadNametid "thread.nametid" Text (None) "Name of the thread and its id, without a gap.",
    ProcStdinType "proc.stdin.type" Text (None) "Type of descriptor 0.",
    ProcStdoutType "proc.stdout.type" Text (None) "Type of descriptor 1.",
    ProcStderrType "proc.stderr.type" Text (None) "Type of descriptor 2.",
    ProcStdinName "proc.stdin.name" Text (None) "Name of descriptor 0.",
    ProcStdoutName "proc.stdout.name" Text (None) "Name of descriptor 1.",
    ProcStderrName "proc.stderr.name" Text (None) "Name of descriptor 2.",
    UserUid "user.uid" Uint (None) "User id.",
    UserName "user.name" Text (None) "User name.",
    UserHomedir "user.homedir" Text (None) "Home folder of the user.",
    UserShell "user.shell" Text (None) "Login shell of the user.",
    UserLoginuid "user.loginuid" Int (None) "User id at login (audit uid), -1 without one.",
    UserLoginname "user.loginname" Text (None) "User name at login.",
    GroupGid "group.gid" Uint (None) "Group id.",
    GroupName "group.name" Text (None) "Group name.",
    FdNum "fd.num" Int (None) "Number of the descriptor.",
    FdType "fd.type" Text (None) "Type of the descriptor: file, directory, ipv4, ipv6, unix, pipe, event, memfd and so on.",
    FdTypechar "fd.typechar" Text (None) "Type of the descriptor as one letter: f, d, 4, 6, u, p, e, m and so on.",
    FdName "fd.name" Text (None) "Path of a file, or both ends of a connection.",
    FdDirectory "fd.directory" Text (None) "Folder of a file.",
    FdFilename "fd.filename" Text (None) "Name of a file without its folder.",
    FdIp "fd.ip" Ip (None) "Either address of a connection.",
    FdCip "fd.cip" Ip (None) "Address of the client.",
    FdSip "fd.sip" Ip (None) "Address of the server.",
    FdLip "fd.lip" Ip (None) "Address of this machine.",
    FdRip "fd.rip" Ip (None) "Address of the other machine.",
    FdPort "fd.port" Port (None) "Either port of a connection.",
    FdCport "fd.cport" Port (None) "Port of the client.",
    FdSport "fd.sport" Port (None) "Port of the server.",
    FdLport "fd.lport" Port (None) "Port of this machine.",
    FdRport "fd.rport" Port (None) "Port of the other machine.",
    FdL4proto "fd.l4proto" Text (None) "Transport protocol: tcp, udp, icmp or raw.",
    FdSockfamily "fd.sockfamily" Text (None) "Family of a socket: ip or unix.",
    FdIsServer "fd.is_server" Bool (None) "Whether the process is the server of the connection.",
    FdUid "fd.uid" Text (None) "Thread id and descriptor number in one.",
    FdContainername "fd.containername" Text (None) "Container id and descriptor name joined by a colon.",
    FdContainerdirectory "fd.containerdirectory" Text (None) "Container id and folder joined by a colon.",
    FdProto "fd.proto" Port (None) "Either port of a connection, for names of protocols.",
    FdCproto "fd.cproto" Text (None) "Port of the client, for names of protocols.",
    FdSproto "fd.sproto" Text (None) "Port of the server, for names of protocols.",
    FdLproto "fd.lproto" Text (None) "Port of this machine, for names of protocols.",
    FdRproto "fd.rproto" Text (None) "Port of the other machine, for names of protocols.",
    FdNet "fd.net" Net (None) "Either address of a connection, compared with networks.",
    FdCnet "fd.cnet" Net (None) "Address of the client, compared with networks.",
    FdSnet "fd.snet" Net (None) "Address of the server, compared with networks.",
    FdLnet "fd.lnet" Net (None) "Address of this machine, compared with networks.",
    FdRnet "fd.rnet" Net (None) "Address of the other machine, compared with networks.",
    FdConnected "fd.connected" Bool (None) "Whether the socket is connected.",
    FdNameChanged "fd.name_changed" Bool (None) "Whether the event gave the descriptor another name.",
    FdCipName "fd.cip.name" Text (None) "Domain name of the client; names are not looked up.",
    FdSipName "fd.sip.name" Text (None) "Domain name of the server; names are not looked up.",
    FdLipName "fd.lip.name" Text (None) "Domain name of this machine; names are not looked up.",
    FdRipName "fd.rip.name" Text (None) "Domain name of the other machine; names are not looked up.",
    FdDev "fd.dev" Int (None) "Device number of the file.",
    FdDevMajor "fd.dev.major" Int (None) "Major device number of the file.",
    FdDevMinor "fd.dev.minor" Int (None) "Minor device number of the file.",
    FdIno "fd.ino" Int (None) "Inode of the file.",
    FdNameraw "fd.nameraw" Text (None) "Path as the program gave it, not made absolute.",
    FdTypes "fd.types" Text (Optional(Index)) "Types of all descriptors of the process, or of one.",
    FdIsUpperLayer "fd.is_upper_layer" Bool (None) "Whether the file lies in the upper layer of an overlay.",
    FdIsLowerLayer "fd.is_lower_layer" Bool (None) "Whether the file lies in a lower layer of an overlay.",
    FsPathName "fs.path.name" Text (None) "Absolute path that the call works on.",
    FsPathNameraw "fs.path.nameraw" Text (None) "Path that the call works on, as given.",
    FsPathSource "fs.path.source" Text (None) "Absolute source path of a rename, link or mount.",
    FsPathSourceraw "fs.path.sourceraw" Text (None) "Source path of a rename, link or mount, as given.",
    FsPathTarget "fs.path.target" Text (None) "Absolute target path of a rename, link or mount.",
    FsPathTargetraw "fs.path.targetraw" Text (None) "Target path of a rename, link or mount, as given.",
    FdlistNums "fdlist.nums" Text (None) "Numbers of the descriptors in a poll, separated by commas.",
    FdlistNames "fdlist.names" Text (None) "Names of the descriptors in a poll, separated by commas.",
    FdlistCips "fdlist.cips" Text (None) "Client addresses in a poll, separated by commas.",
    FdlistSips "fdlist.sips" Text (None) "Server addresses in a poll, separated by commas.",
    FdlistCports "fdlist.cports" Text (None) "Client ports in a poll, separated by commas.",
    FdlistSports "fdlist.sports" Text (None) "Server ports in a poll, separated by commas.",
    ContainerId "container.id" Text (None) "First twelve characters of the container's id, or host.",
    ContainerFullId "container.full_id" Text (None) "Whole id of the container.",
    ContainerName "container.name" Text (None) "Name of the container.",
    ContainerImage "container.image" Text (None) "Image by which the container was started.",
    ContainerImageId "container.image.id" Text (None) "Id of the image.",
    ContainerType "container.type" Text (None) "Engine that runs the container: docker, podman, cri and so on.",
    ContainerPrivileged "container.privileged" Bool (None) "Whether the container is privileged.",
    ContainerMounts "container.mounts" Text (None) "Mounts as source:target:mode:writable:propagation, separated by commas.",
    ContainerMount "container.mount" Text (Required(Either)) "One mount by index or source.",
    ContainerMountSource "container.mount.source" Text (Required(Either)) "Source of the mount at that index or target.",
    ContainerMountDest "container.mount.dest" Text (Required(Either)) "Target of the mount at that index or source.",
    ContainerMountMode "container.mount.mode" Text (Required(Either)) "Mode of the mount at that index or source.",
    ContainerMountRdwr "container.mount.rdwr" Text (Required(Either)) "Whether the mount at that index or source is writable.",
    ContainerMountPropagation "container.mount.propagation" Text (Required(Either)) "Propagation of the mount at that index or source.",
    ContainerImageRepository "container.image.repository" Text (None) "Image reference without tag and digest.",
    ContainerImageTag "container.image.tag" Text (None) "Tag of the image reference.",
    ContainerImageDigest "container.image.digest" Text (None) "Digest of the image.",
    ContainerHealthcheck "container.healthcheck" Text (None) "No longer extracted.",
    ContainerLivenessProbe "container.liveness_probe" Text (None) "No longer extracted.",
    ContainerReadinessProbe "container.readiness_probe" Text (None) "No longer extracted.",
    ContainerStartTs "container.start_ts" AbsoluteTime (None) "Start of the container, nanoseconds since the epoch.",
    ContainerDuration "container.duration" RelativeTime (None) "Nanoseconds since the start of the container.",
    ContainerIp "container.ip" Text (None) "Address of the container.",
    ContainerCniJson "container.cni.json" Text (None) "Result of the pod's network plugin.",
    ContainerHostPid "container.host_pid" Bool (None) "Whether the container shares the host's process namespace.",
    ContainerHostNetwork "container.host_network" Bool (None) "Whether the container shares the host's network.",
    ContainerHostIpc "container.host_ipc" Bool (None) "Whether the container shares the host's IPC namespace.",
    ContainerLabel "container.label" Text (Required(Key)) "One label of the container.",
    ContainerLabels "container.labels" Text (None) "Labels as key:value, separated by commas.",
    ProcIsContainerHealthcheck "proc.is_container_healthcheck" Bool (None) "No longer extracted.",
    ProcIsContainerLivenessProbe "proc.is_container_liveness_probe" Bool (None) "No longer extracted.",
    ProcIsContainerReadinessProbe "proc.is_container_readiness_probe" Bool (None) "No longer extracted.",
    K8sPodName "k8s.pod.name" Text (None) "Name of the Kubernetes pod.",
    K8sNsName "k8s.ns.name" Text (None) "Namespace of the Kubernetes pod.",
    K8sPodId "k8s.pod.id" Text (None) "Same as k8s.pod.uid.",
    K8sPodUid "k8s.pod.uid" Text (None) "Unique id of the Kubernetes pod.",
    K8sPodSandboxId "k8s.pod.sandbox_id" Text (None) "First twelve characters of the pod sandbox's id.",
    K8sPodFullSandboxId "k8s.pod.full_sandbox_id" Text (None) "Whole id of the pod sandbox.",
    K8sPodLabel "k8s.pod.label" Text (Required(Key)) "One label of the pod.",
    K8sPodLabels "k8s.pod.labels" Text (None) "Labels of the pod as key:value, separated by commas.",
    K8sPodIp "k8s.pod.ip" Text (None) "Address of the pod.",
    K8sPodCniJson "k8s.pod.cni.json" Text (None) "Result of the pod's network plugin.",
    K8sRcName "k8s.rc.name" Text (None) "No longer extracted.",
    K8sRcId "k8s.rc.id" Text (None) "No longer extracted.",
    K8sRcLabel "k8s.rc.label" Text (Required(Key)) "No longer extracted.",
    K8sRcLabels "k8s.rc.labels" Text (None) "No longer extracted.",
    K8sSvcName "k8s.svc.name" Text (None) "No longer extracted.",
    K8sSvcId "k8s.svc.id" Text (None) "No longer extracted.",
    K8sSvcLabel "k8s.svc.label" Text (Required(Key)) "No longer extracted.",
    K8sSvcLabels "k8s.svc.labels" Text (None) "No longer extracted.",
    K8sNsId "k8s.ns.id" Text (None) "No longer extracted.",
    K8sNsLabel "k8s.ns.label" Text (Required(Key)) "No longer extracted.",
    K8sNsLabels "k8s.ns.labels" Text (None) "No longer extracted.",
    K8sRsName "k8s.rs.name" Text (None) "No longer extracted.",
    K8sRsId "k8s.rs.id" Text (None) "No longer extracted.",
    K8sRsLabel "k8s.rs.label" Text (Required(Key)) "No longer extracted.",
    K8sRsLabels "k8s.rs.labels" Text (None) "No longer extracted.",
    K8sDeploymentName "k8s.deployment.name" Text (None) "No longer extracted.",
    K8sDeploymentId "k8s.deployment.id" Text (None) "No longer extracted.",
    K8sDeploymentLabel "k8s.deployment.label" Text (Required(Key)) "No longer extracted.",
    K8sDeploymentLabels "k8s.deployment.labels" Text (None) "No longer extracted.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_name_once() {
        assert_eq!(BY_NAME.len(), Field::ALL.len());
        for field in Field::ALL {
            let (id, definition) = SyscallSchema.field(field.name()).unwrap();
            assert_eq!((id, definition.name), (field.id(), field.name()));
            assert_eq!(Field::from_id(id), Some(*field));
        }
        assert!(SyscallSchema.field("proc.nam").is_none());
    }
}
