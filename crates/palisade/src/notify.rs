//! Word to the service manager: ready, still alive, stopping.
//!
//! The protocol is that of sd_notify(3): datagrams to the socket that `$NOTIFY_SOCKET` names.
//! Without it nothing is said. The sign of life comes from the loop that reads events, so that a
//! loop that hangs is noticed and not hidden by a thread that still runs.

use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_agent::control::protocol::{Activity, Sample};
use palisade_agent::detector::RuleChange;
use palisade_agent::losses::Loss;
use palisade_agent::reload::ReloadReport;
use palisade_agent::status::SourceDetails;
use palisade_agent::{Changed, Detection, Source, SourceError, SourceHealth};
use palisade_model::Container;

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager {
    peer: Option<(UnixDatagram, SocketAddr)>,
    /// It wants a sign of life this often.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment says.
    #[expect(
        clippy::disallowed_methods,
        reason = "a protocol between processes and no setting of people"
    )]
    pub(crate) fn of_environment() -> Self {
        let text = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::new(
            text("NOTIFY_SOCKET").as_deref(),
            text("WATCHDOG_USEC"),
            text("WATCHDOG_PID"),
            std::process::id(),
        )
    }

    fn new(
        socket: Option<&OsStr>,
        watchdog_us: Option<OsString>,
        watchdog_pid: Option<OsString>,
        own: u32,
    ) -> Self {
        let number = |value: OsString| value.to_str()?.parse::<u64>().ok();
        let is_for_us = watchdog_pid.is_none_or(|pid| number(pid) == Some(own.into()));
        let watchdog = watchdog_us.and_then(number).filter(|us| *us > 0 && is_for_us);
        let peer = socket.and_then(|name| {
            let address = match name.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(name),
            };
            let socket = UnixDatagram::unbound().ok()?;
            // A manager that does not read must not stop the sensor.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address.ok()?))
        });
        Self { peer, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// Everything is attached.
    pub(crate) fn ready(&self, status: &str) {
        let line: String = status.chars().filter(|c| !c.is_control()).collect();
        self.say(&format!("READY=1\nSTATUS={line}"));
    }

    /// What was read again is in force, or not.
    pub(crate) fn reloaded(&self, report: &ReloadReport) {
        let text = if report.ok {
            format!("watching with {} rules", report.n_rules)
        } else {
            format!("watching; the last reload failed with {} problem(s)", report.problems.len())
        };
        self.say(&format!("STATUS={text}"));
    }

    /// The end has begun.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    fn say(&self, message: &str) {
        if let Some((socket, address)) = &self.peer {
            // Nobody is told of a failure: the manager is whom one would tell.
            let _unheard = socket.send_to_addr(message.as_bytes(), address);
        }
    }

    /// `source`, giving signs of life as it is read.
    pub(crate) fn watching<S: Source>(&self, source: S) -> Watched<'_, S> {
        Watched { source, manager: self, told: None }
    }
}

/// A source whose reader is watched.
pub(crate) struct Watched<'a, S> {
    source: S,
    manager: &'a ServiceManager,
    told: Option<Instant>,
}

impl<S: Source> Source for Watched<'_, S> {
    fn poll(
        &mut self,
        timeout: Duration,
        sink: &mut dyn FnMut(Detection),
    ) -> Result<usize, SourceError> {
        if let Some(watchdog) = self.manager.watchdog
            && self.told.is_none_or(|told| told.elapsed() >= watchdog / 4)
        {
            self.manager.say("WATCHDOG=1");
            self.told = Some(Instant::now());
        }
        self.source.poll(timeout, sink)
    }

    fn change_rules(&mut self, change: RuleChange) -> Result<Changed, String> {
        self.source.change_rules(change)
    }

    fn losses(&self) -> Vec<Loss> {
        self.source.losses()
    }

    fn heed_losses(&mut self, fresh: &[Loss]) {
        self.source.heed_losses(fresh);
    }

    fn details(&self) -> SourceDetails {
        self.source.details()
    }

    fn watch_activity(&mut self, on: bool) {
        self.source.watch_activity(on);
    }

    fn activity(&self, container: Option<&str>) -> Activity {
        self.source.activity(container)
    }

    fn containers(&self) -> Vec<Arc<Container>> {
        self.source.containers()
    }

    fn take_samples(&mut self, sink: &mut dyn FnMut(Sample)) {
        self.source.take_samples(sink);
    }

    fn problems(&mut self, sink: &mut dyn FnMut(String)) {
        self.source.problems(sink);
    }

    fn finish(&mut self, sink: &mut dyn FnMut(String)) {
        self.source.finish(sink);
    }

    fn health(&self) -> SourceHealth {
        self.source.health()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;
    impl Source for Silent {
        fn poll(
            &mut self,
            _: Duration,
            _: &mut dyn FnMut(Detection),
        ) -> Result<usize, SourceError> {
            Ok(0)
        }
        fn health(&self) -> SourceHealth {
            SourceHealth::default()
        }
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 256];
        let n = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..n]).into_owned())
    }

    #[test]
    fn the_manager_hears_of_beginning_life_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let manager = |watchdog: &str, pid: &str| {
            ServiceManager::new(Some(path.as_os_str()), Some(watchdog.into()), Some(pid.into()), 7)
        };
        let ours = manager("40000000", "7");
        ours.ready("watching\nREADY=0");
        assert_eq!(heard(&socket).as_deref(), Some("READY=1\nSTATUS=watchingREADY=0"));
        let mut source = ours.watching(Silent);
        for _ in 0..3 {
            source.poll(Duration::ZERO, &mut |_| ()).unwrap();
        }
        assert_eq!(heard(&socket).as_deref(), Some("WATCHDOG=1"), "once");
        assert_eq!(heard(&socket), None);
        let other = manager("40000", "7");
        let mut often = other.watching(Silent);
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(40));
            often.poll(Duration::ZERO, &mut |_| ()).unwrap();
            assert_eq!(heard(&socket).as_deref(), Some("WATCHDOG=1"), "and again in time");
        }
        ours.stopping();
        assert_eq!(heard(&socket).as_deref(), Some("STOPPING=1"));

        // For another process, or not a number: no signs of life.
        for (watchdog, pid) in [("40000", "8"), ("soon", "7"), ("0", "7")] {
            let manager = manager(watchdog, pid);
            manager.watching(Silent).poll(Duration::ZERO, &mut |_| ()).unwrap();
            assert_eq!(heard(&socket), None, "{watchdog} {pid}");
        }
    }

    #[test]
    fn without_a_manager_nothing_is_said_and_nothing_fails() {
        for socket in [None, Some("/nonexistent/notify"), Some("@palisade-test-nobody")] {
            let manager = ServiceManager::new(socket.map(OsStr::new), None, None, 7);
            manager.ready("x");
            manager.watching(Silent).poll(Duration::ZERO, &mut |_| ()).unwrap();
        }
    }
}
