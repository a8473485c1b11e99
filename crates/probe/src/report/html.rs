//! One page of HTML without scripts, which prints well.

use std::fmt::Write as _;

use super::{Report, escape};
use crate::breakage::Crash;
use crate::escape::Verdict;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}\
    table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.35rem .6rem;text-align:left;\
    vertical-align:top}pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f5f5f5;padding:.5rem;font-size:13px}\
    .critical,.high{background:#fde8e8}.medium{background:#fff4dd}.through{background:#fde8e8}.skipped{color:#666}\
    @media print{body{margin:0;max-width:none}tr,section{break-inside:avoid}}";

pub(super) fn render(report: &Report<'_>) -> String {
    let probe = report.probe;
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Probe of {target}</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>Probe</h1>\n<p>{target}; {policy}; {started} to {ended}; seed {seed}.</p>\n\
         <p>{summary}; {n_crashes} crashes, {n_restarts} restarts, {n_events} events of the sensor.</p>\n",
        target = escape(report.target),
        policy = report.policy.map_or_else(
            || "a running container".into(),
            |policy| format!("policy {}", escape(policy))
        ),
        started = report.started,
        ended = report.ended,
        seed = report.seed,
        summary = report.summary(),
        n_crashes = probe.crashes.len(),
        n_restarts = probe.n_restarts,
        n_events = probe.n_events,
    );
    out.push_str("<h2>Who listens</h2>\n<table><thead><tr><th>Port<th>Protocol<th>TLS<th>Reached<th>Says<th>Malformed requests</tr></thead><tbody>\n");
    for port in &probe.ports {
        let _infallible = writeln!(
            out,
            "<tr><td>{} {}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            port.port,
            port.transport.as_str(),
            port.protocol.as_str(),
            escape(&port.tls.join(", ")),
            if port.is_loopback { "within the container" } else { "from outside" },
            escape(&port.banner),
            port.n_requests
        );
    }
    out.push_str("</tbody></table>\n<h2>Findings</h2>\n<table><thead><tr><th>Severity<th>Check<th>Where<th>What<th>Remedy</tr></thead><tbody>\n");
    for finding in &probe.findings {
        let place = finding
            .place
            .as_ref()
            .map(|p| format!("{}/{} {}", p.port, p.transport, escape(&p.protocol)));
        let evidence: Vec<String> = finding.evidence.iter().map(|line| escape(line)).collect();
        let evidence = if evidence.is_empty() {
            String::new()
        } else {
            format!("<pre>{}</pre>", evidence.join("\n"))
        };
        let _infallible = writeln!(
            out,
            "<tr class=\"{severity}\"><td>{severity}<td>{}<br>{}<td>{}<td>{}{evidence}<td>{} ({})</tr>",
            finding.check.id,
            escape(finding.check.title),
            place.unwrap_or_default(),
            escape(&finding.detail),
            escape(finding.check.remedy),
            escape(finding.check.reference),
            severity = finding.severity.as_str()
        );
    }
    out.push_str("</tbody></table>\n");
    for crash in &probe.crashes {
        out.push_str(&of_crash(crash));
    }
    if !probe.attempts.is_empty() {
        out.push_str("<h2>From inside</h2>\n<table><tbody>\n");
        for tried in &probe.attempts {
            let (class, word) = match tried.verdict {
                Verdict::Refused => ("", "refused"),
                Verdict::Through => ("through", "came through"),
                Verdict::Skipped => ("skipped", "skipped"),
            };
            let (title, technique) = (escape(tried.title), escape(tried.technique));
            let _infallible = writeln!(
                out,
                "<tr class=\"{class}\"><td>{}<td>{title}<td>{technique}<td>{word}</tr>",
                tried.attempt
            );
        }
        out.push_str("</tbody></table>\n");
    }
    if !probe.gaps.is_empty() {
        out.push_str("<h2>Not looked at</h2>\n<ul>\n");
        for gap in &probe.gaps {
            let _infallible = writeln!(out, "<li>{}", escape(gap));
        }
        out.push_str("</ul>\n");
    }
    out + "</body></html>\n"
}

fn of_crash(crash: &Crash) -> String {
    let again = match crash.is_reproduced {
        Some(true) => "The same request did it again.",
        Some(false) => "The same request did not do it again.",
        None => "It was not tried again.",
    };
    let events: Vec<String> = crash.events.iter().map(|event| escape(&event.line())).collect();
    let before: Vec<String> = crash.before.iter().map(|name| escape(name)).collect();
    format!(
        "<section><h2>{} at port {}</h2>\n<p>{} {again}</p>\n<h3>The request ({}, {} bytes)</h3>\n<pre>{}</pre>\n\
         <h3>Requests before it</h3>\n<pre>{}</pre>\n<h3>What the sensor saw</h3>\n<pre>{}</pre>\n<h3>What it printed</h3>\n<pre>{}</pre></section>\n",
        escape(crash.kind),
        crash.place.port,
        escape(&crash.detail),
        escape(crash.request.class),
        crash.request.n_bytes,
        escape(&crash.request.shown),
        before.join("\n"),
        events.join("\n"),
        escape(&crash.log)
    )
}
