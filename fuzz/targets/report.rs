//! Scan reports that are read back: every form of what was read is written without a panic, and
//! the forms that are JSON are JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::NOW;
use palisade_policy::Gate;
use palisade_scan::gate::{Known, judge};
use palisade_scan::report::table::TableOptions;
use palisade_scan::report::{Format, RenderOptions, json, markdown, render};

fuzz_target!(|data: &[u8]| {
    let Ok(mut report) = json::read(data) else { return };
    let known = Known::of(&report);
    let gate = Gate { secrets: true, known_exploited: true, end_of_life: true, ..Gate::default() };
    report.gate = Some(judge(&report, &gate, Some(&known), NOW));
    let options =
        RenderOptions { version: "0.0.0", table: TableOptions::default(), template: None };
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Template) {
        let text = render(&report, format, &options).expect("it can be written");
        match format {
            Format::Markdown => assert!(text.len() <= markdown::BYTES_MAX),
            Format::Html => assert_eq!(text.matches("<script").count(), 1),
            Format::Table | Format::Junit => {}
            _ => {
                serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
            }
        }
    }
});
