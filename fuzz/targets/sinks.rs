//! Sinks: endpoints are read and written alike, header files hold no second line, and any
//! alert makes documents of one line that their readers can take apart.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use palisade_model::Alert;
use palisade_policy::Endpoint;
use palisade_sinks::{About, Item, Message, cef, ocsf, parse_headers, syslog};

fuzz_target!(|data: &[u8]| {
    if let Some(endpoint) =
        std::str::from_utf8(data).ok().and_then(|text| text.parse::<Endpoint>().ok())
    {
        let canonical = endpoint.to_string();
        assert_eq!(canonical.parse::<Endpoint>().ok().as_ref(), Some(&endpoint), "{canonical}");
    }
    if let Ok(headers) = parse_headers(data, Path::new("headers")) {
        for (name, value) in headers {
            assert!(!name.is_empty() && !name.contains([' ', ':', '\r', '\n']));
            assert!(!value.contains(['\r', '\n']));
        }
    }
    let Ok(alert) = serde_json::from_slice::<Alert>(data) else { return };
    let about = About { version: "0", techniques: |_| None };
    let document = ocsf::document(Item::Alert(&alert), about);
    assert_eq!(document["class_uid"], 2004);
    assert_eq!(document["finding_info"]["uid"], alert.id.as_str());
    let line = cef::document(Item::Alert(&alert), about);
    assert!(line.starts_with("CEF:0|") && !line.contains(['\r', '\n']));
    let message = Message::new(Item::Alert(&alert), line);
    assert!(!message.body.contains(char::is_control));
    let text = syslog::message(&message, 23, 1);
    assert!(text.starts_with('<') && text.ends_with(&message.body));
    let mut frames = Vec::new();
    syslog::frame(&text, &mut frames);
    let blank = frames.iter().position(|byte| *byte == b' ').unwrap();
    let length: usize = std::str::from_utf8(&frames[..blank]).unwrap().parse().unwrap();
    assert_eq!(length, frames.len() - blank - 1);
});
