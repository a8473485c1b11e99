//! Outputs of rules: a compiled one can be rendered, and to no more than it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::Constant;
use palisade_rules::{OUTPUT_BYTES_MAX, OutputFormat};
use palisade_sensor::SyscallSchema;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    match OutputFormat::compile(&text, &SyscallSchema) {
        Ok(format) => {
            let event = Constant { schema: &SyscallSchema, text: b"value", event_type: 3 };
            let rendered = format.render(&event);
            assert!(rendered.len() <= 16 * OUTPUT_BYTES_MAX, "{} bytes", rendered.len());
            assert!(format.values(&event).len() <= text.len());
        }
        Err(error) => assert!(error.position <= text.len() && !error.message.is_empty()),
    }
});
