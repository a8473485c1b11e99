//! What servers say to a probe: never a panic, and never more memory than the answer is worth.
//! The first byte chooses what the rest is an answer to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_base::Timestamp;
use palisade_probe::fuzz::{Baseline, cases, judge};
use palisade_probe::http::Response;
use palisade_probe::listen::{Transport, listeners};
use palisade_probe::protocol::{QUESTIONS, recognise, recognise_answer};
use palisade_probe::tls::{certificate, hello, of_chain};
use palisade_probe::wire::{ANSWER_BYTES_MAX, Answer, End};

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 6 {
        0 => {
            let _protocol = recognise(rest);
            for question in QUESTIONS {
                let _protocol = recognise_answer(question.of, rest);
            }
        }
        1 => {
            if let hello::Reply::Hello(found) = hello::parse(rest) {
                let n: usize = found.certificates.iter().map(Vec::len).sum();
                assert!(found.certificates.len() <= hello::CERTIFICATES_MAX && n <= rest.len());
                let _findings = of_chain(&found.certificates, Timestamp::from_nanos(0));
            }
            let _whole = hello::is_whole(rest);
        }
        2 => {
            let _facts = certificate::Facts::read(rest);
            let _findings = of_chain(&[rest.to_vec()], Timestamp::from_nanos(0));
        }
        3 => {
            if let Some(response) = Response::parse(rest) {
                assert!(response.body.len() <= rest.len().max(ANSWER_BYTES_MAX));
            }
            let answer = Answer { bytes: rest.to_vec(), end: End::Closed };
            for case in cases(1, 90, &[]) {
                for finding in judge(&case, &answer, Baseline { status: 200 }) {
                    assert!(!finding.detail.chars().any(char::is_control));
                }
            }
        }
        4 => {
            let text = String::from_utf8_lossy(rest);
            let found = listeners(&[(Transport::Tcp, &text), (Transport::Udp, &text)]);
            assert!(found.iter().all(|listener| listener.port != 0));
        }
        _ => palisade_probe::parse_everything(rest),
    }
});
