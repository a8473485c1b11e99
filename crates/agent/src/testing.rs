//! Alerts, containers and processes for unit tests.

use std::collections::BTreeMap;

use palisade_base::Timestamp;
use palisade_model::alert::Outcome;
use palisade_model::{Alert, Container, Engine, Priority, Process};

pub(crate) fn container(id: &str) -> Container {
    Container {
        id: id.into(),
        name: format!("name-{id}"),
        engine: Engine::Palisade,
        image: None,
        policy: None,
        pod: None,
        cgroup: Some(format!("/palisade/{id}")),
        init_pid: None,
    }
}

pub(crate) fn process(pid: u32, ppid: u32) -> Process {
    Process {
        pid,
        vpid: None,
        ppid,
        start: Timestamp::from_nanos(u64::from(pid) * 1000),
        name: format!("p{pid}"),
        exe: format!("/bin/p{pid}"),
        cmdline: format!("p{pid} -x"),
        cwd: "/".into(),
        uid: 0,
    }
}

pub(crate) fn alert(rule: &str, container: Option<Container>) -> Alert {
    Alert {
        id: format!("{rule}-{}", container.as_ref().map_or("host", |c| c.id.as_str())),
        time: Timestamp::from_nanos(1_795_326_835_000_000_001),
        raised: Timestamp::from_nanos(1_795_326_835_000_400_001),
        rule: rule.into(),
        priority: Priority::Critical,
        source: "syscall".into(),
        output: "a | b=c".into(),
        output_fields: BTreeMap::from([("proc.name".into(), "sh".into())]),
        tags: vec!["container".into(), "T1059.004".into()],
        hostname: "host".into(),
        event_type: "execve".into(),
        outcome: Outcome::Succeeded,
        process: Some(process(42, 41)),
        ancestors: vec![process(41, 40)],
        container,
        recording: None,
        enforcement: None,
    }
}
