//! The report for people at a terminal.

use std::fmt::Write as _;

use super::{Gate, Report};
use crate::escape::Verdict;

/// Events of a crash that are shown.
const EVENTS_SHOWN: usize = 8;

pub(super) fn render(report: &Report<'_>) -> String {
    let probe = report.probe;
    let mut out = String::new();
    let _infallible = writeln!(out, "{}\n", report.target);
    for port in &probe.ports {
        let place = format!("{} {}", port.port, port.transport.as_str());
        let tls = if port.tls.is_empty() {
            String::new()
        } else {
            format!(" within {}", port.tls.join(", "))
        };
        let reach = if port.is_loopback { ", loopback alone" } else { "" };
        let banner =
            if port.banner.is_empty() { String::new() } else { format!("  {}", port.banner) };
        let sent = if port.n_requests > 0 {
            format!("  ({} malformed requests)", port.n_requests)
        } else {
            String::new()
        };
        let _infallible =
            writeln!(out, "{place:<10} {}{tls}{reach}{banner}{sent}", port.protocol.as_str());
    }
    if !probe.attempts.is_empty() {
        let n = |verdict| probe.attempts.iter().filter(|tried| tried.verdict == verdict).count();
        let _infallible = writeln!(
            out,
            "\nfrom inside: {} attempts, {} refused, {} came through, {} skipped for want of a tool",
            probe.attempts.len(),
            n(Verdict::Refused),
            n(Verdict::Through),
            n(Verdict::Skipped)
        );
    }
    for finding in &probe.findings {
        let place = finding
            .place
            .as_ref()
            .map(|place| format!(" {}/{} {}", place.port, place.transport, place.protocol));
        let _infallible = writeln!(
            out,
            "\n{} {}{}\n  {}\n  {}",
            finding.severity.as_str().to_uppercase(),
            finding.check.id,
            place.unwrap_or_default(),
            finding.check.title,
            finding.detail
        );
        for line in &finding.evidence {
            let _infallible = writeln!(out, "    {line}");
        }
        let _infallible =
            writeln!(out, "  fix: {} ({})", finding.check.remedy, finding.check.reference);
    }
    for crash in &probe.crashes {
        let again = match crash.is_reproduced {
            Some(true) => "the same request did it again",
            Some(false) => "the same request did not do it again",
            None => "not tried again",
        };
        let _infallible = writeln!(
            out,
            "\nWHAT LED TO {} at port {}: {} ({again})\n  request ({}, {} bytes): {}",
            crash.kind,
            crash.place.port,
            crash.detail,
            crash.request.class,
            crash.request.n_bytes,
            crash.request.shown
        );
        for event in crash.events.iter().skip(crash.events.len().saturating_sub(EVENTS_SHOWN)) {
            let _infallible = writeln!(out, "    {}", event.line());
        }
    }
    if !probe.gaps.is_empty() {
        out.push_str("\nnot looked at:\n");
        for gap in &probe.gaps {
            let _infallible = writeln!(out, "  - {gap}");
        }
    }
    let _infallible = writeln!(
        out,
        "\n{}; {} crashes, {} restarts, {} events; seed {}",
        report.summary(),
        probe.crashes.len(),
        probe.n_restarts,
        probe.n_events,
        report.seed
    );
    match report.gate() {
        None => {}
        Some(Gate::Passed) => out.push_str("gate: passed\n"),
        Some(Gate::Refused) => out.push_str("gate: refused\n"),
        Some(Gate::NotEvaluated) => out.push_str("gate: could not be evaluated\n"),
    }
    out
}
