//! Test files of rules: problems have places, and reading is repeatable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_agent::rule_test::read;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    match read(&text, "t.yaml") {
        Ok(suite) => {
            assert!(!suite.cases.is_empty());
            for case in &suite.cases {
                assert!(!case.rules.is_empty() && !case.captures.is_empty(), "{}", case.name);
                for expectation in &case.expect {
                    let (min, max) = (expectation.count.min, expectation.count.max);
                    assert!(min <= max && !expectation.count.to_string().is_empty());
                    for (_, test) in &expectation.fields {
                        let _ = (test.to_string(), test.holds(Some("x")), test.holds(None));
                    }
                }
            }
            assert_eq!(format!("{:?}", read(&text, "t.yaml").ok()), format!("{:?}", Some(suite)));
        }
        Err(problems) => {
            assert!(problems.has_errors());
            palisade_fuzz::check_diagnostics(&problems, &text, 1_200);
        }
    }
});
