//! Running a program of the host, with the order as JSON on its standard input.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Performed;
use crate::order::Order;

/// Bytes of a hook's output that are kept.
const OUTPUT_BYTES_MAX: u64 = 4096;
/// How often its end is looked for.
const INTERVAL: Duration = Duration::from_millis(5);

/// Runs `command`; it and what it started in its process group are ended at the deadline.
///
/// The hook learns the order's id (`PALISADE_ORDER`), which is the same when it is run again
/// after a crash: an idempotent hook looks whether it has seen it.
pub(super) fn run(command: &[String], order: &Order, deadline: Duration) -> Performed {
    let Some((program, arguments)) = command.split_first() else {
        return Performed::failed("the hook names no program");
    };
    let input = match serde_json::to_vec(order) {
        Ok(input) => input,
        Err(error) => return Performed::failed(error.to_string()),
    };
    let end = Instant::now() + deadline;
    let spawned = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("PALISADE_ORDER", &order.id)
        .env("PALISADE_INCIDENT", &order.incident)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Performed::failed(format!("start `{program}`: {error}")),
    };
    // On threads of their own: a hook that neither reads nor ends must not hold us up.
    let stdin = child.stdin.take();
    let _writer = std::thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            let _hook_reads_nothing = stdin.write_all(&input);
        }
    });
    let stdout = child.stdout.take();
    let (sender, output) = std::sync::mpsc::channel();
    let _reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stdout) = stdout {
            let _ = (&mut stdout).take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
            let _sent = sender.send(bytes);
            // The rest goes nowhere, but must go, or the hook would wait.
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        }
    });
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                let bytes = output.recv_timeout(INTERVAL * 10).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes).trim().escape_debug().to_string();
                let said = if text.is_empty() { String::new() } else { format!(": {text}") };
                return if status.success() {
                    Performed::done(format!("`{program}` ended well{said}"))
                } else {
                    Performed::failed(format!("`{program}`: {status}{said}"))
                };
            }
            Ok(None) if Instant::now() >= end => {
                if let Some(group) =
                    i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw)
                {
                    let _ =
                        rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                }
                let _ = child.wait();
                return Performed::failed(format!("`{program}` was ended at its deadline"));
            }
            Ok(None) => std::thread::sleep(INTERVAL),
            Err(error) => return Performed::failed(format!("wait for `{program}`: {error}")),
        }
    }
}
