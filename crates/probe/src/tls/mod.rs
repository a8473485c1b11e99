//! Weaknesses of TLS: versions, suites, compression, certificates.

pub mod certificate;
pub mod hello;

use std::io;
use std::time::Duration;

use palisade_base::Timestamp;

use self::certificate::Facts;
use self::hello::{Reply, ServerHello, Version};
use crate::finding::{
    CERTIFICATE_EARLY, CERTIFICATE_EXPIRED, CERTIFICATE_SELF_SIGNED, CERTIFICATE_WEAK_KEY,
    CERTIFICATE_WEAK_SIGNATURE, Check, Finding, TLS_10, TLS_11, TLS_ANONYMOUS, TLS_COMPRESSION,
    TLS_DES, TLS_EXPORT, TLS_NULL, TLS_RC4, TLS_SSL3, TLS_STATIC_RSA,
};
use crate::wire::{Dial, Endpoint, Wire, ask};

/// Groups of suites that nobody should agree to.
const WEAK: &[(&[u16], &Check)] = &[
    (hello::NULL, &TLS_NULL),
    (hello::ANONYMOUS, &TLS_ANONYMOUS),
    (hello::EXPORT, &TLS_EXPORT),
    (hello::RC4, &TLS_RC4),
    (hello::DES, &TLS_DES),
    (hello::STATIC_RSA, &TLS_STATIC_RSA),
];

/// What is known of a server's TLS.
#[derive(Debug, Default)]
pub struct TlsReport {
    /// The versions that it speaks.
    pub versions: Vec<&'static str>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Whether a client of today can speak with it.
    pub is_usable: bool,
}

/// Asks a server for everything that it should refuse. `None`: it speaks no TLS.
///
/// # Errors
///
/// It can no longer be connected to.
pub fn examine(
    dial: &dyn Dial,
    endpoint: Endpoint,
    deadline: Duration,
    now: Timestamp,
) -> io::Result<Option<TlsReport>> {
    let plain = Endpoint { is_tls: false, ..endpoint };
    let question = |version, suites: &[u16], compression| -> io::Result<Option<ServerHello>> {
        let hello = hello::client_hello(version, suites, compression);
        // A server that closes or resets the connection refuses as well as one with an alert.
        let answer = match ask(dial, plain, deadline, &hello, hello::is_whole) {
            Ok(answer) => answer,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(error),
            Err(_) => return Ok(None),
        };
        Ok(match hello::parse(&answer.bytes) {
            Reply::Hello(found) if found.version == version => Some(found),
            _ => None,
        })
    };
    let mut report = TlsReport::default();
    let mut chain = Vec::new();
    let mut spoken = Vec::new();
    for version in Version::ALL {
        if let Some(found) = question(version, hello::SUITES, false)? {
            report.versions.push(version.as_str());
            spoken.push(version);
            if chain.is_empty() {
                chain = found.certificates;
            }
        }
    }
    let old = [(Version::SSL3, &TLS_SSL3), (Version::TLS10, &TLS_10), (Version::TLS11, &TLS_11)];
    for (version, check) in old {
        if spoken.contains(&version) {
            let detail = format!("it agrees to {}", version.as_str());
            report.findings.push(Finding::new(check, detail));
        }
    }
    // Where only weak suites are on offer, no version was agreed to above; ask with each.
    let classic: Vec<Version> = spoken.iter().copied().filter(|v| *v != Version::TLS13).collect();
    let versions = if spoken.is_empty() {
        vec![Version::TLS12, Version::TLS10, Version::SSL3]
    } else {
        classic
    };
    for (suites, check) in WEAK {
        for version in versions.iter().rev() {
            if let Some(found) = question(*version, suites, false)? {
                // Only what was offered counts: some servers answer with what they like.
                if suites.contains(&found.suite) {
                    let name = hello::suite_name(found.suite);
                    let detail = format!("it agrees to {name} in {}", version.as_str());
                    report.findings.push(Finding::new(check, detail));
                    if !report.versions.contains(&version.as_str()) {
                        report.versions.push(version.as_str());
                    }
                    if chain.is_empty() {
                        chain = found.certificates;
                    }
                    break;
                }
            }
        }
    }
    if let Some(version) = spoken.iter().rev().find(|version| **version != Version::TLS13)
        && question(*version, hello::SUITES, true)?.is_some_and(|found| found.compresses)
    {
        report.findings.push(Finding::new(&TLS_COMPRESSION, "it agrees to DEFLATE"));
    }
    if let Ok(wire) = Wire::open(dial, Endpoint { is_tls: true, ..endpoint }, deadline) {
        report.is_usable = true;
        if chain.is_empty() {
            chain = wire.certificates();
        }
    }
    if report.versions.is_empty() && !report.is_usable {
        return Ok(None);
    }
    report.findings.extend(of_chain(&chain, now));
    Ok(Some(report))
}

/// What is wrong with a chain of certificates, the server's own first.
pub fn of_chain(chain: &[Vec<u8>], now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let seconds = i64::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(i64::MAX);
    for (index, der) in chain.iter().take(hello::CERTIFICATES_MAX).enumerate() {
        let Some(facts) = Facts::read(der) else { continue };
        let whose = format!("certificate {} of {} (`{}`)", index + 1, chain.len(), facts.subject);
        let mut found =
            |check, text: String| findings.push(Finding::new(check, format!("{whose} {text}")));
        if facts.not_after < seconds {
            found(&CERTIFICATE_EXPIRED, format!("was valid until {}", facts.until()));
        }
        if facts.not_before > seconds {
            found(&CERTIFICATE_EARLY, "is not valid yet".into());
        }
        if facts.is_weak_key() {
            let bits = facts.key_bits.unwrap_or(0);
            found(&CERTIFICATE_WEAK_KEY, format!("has a key of {bits} bits ({})", facts.key_kind));
        }
        // How a root signs itself proves nothing and harms nothing.
        if let (Some(hash), false) = (facts.weak_signature, facts.is_self_issued && index > 0) {
            found(&CERTIFICATE_WEAK_SIGNATURE, format!("is signed with {hash}"));
        }
        if index == 0 && facts.is_self_issued {
            found(&CERTIFICATE_SELF_SIGNED, "names itself as its issuer".into());
        }
    }
    findings
}
