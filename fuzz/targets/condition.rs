//! Conditions: what is parsed prints as text that parses to the same; errors have a place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_rules::ast::{Expr, FieldUse, Operand, Right, TransformUse};
use palisade_rules::{EventTypes, parse_condition};
use palisade_sensor::SyscallSchema;

/// Whether the text does not survive printing, as in Falco: empty text prints as nothing, what
/// holds brackets or commas prints without quotes, and quotes hold neither a NUL nor a
/// backslash at their end.
fn is_unwritable(text: &str) -> bool {
    text.is_empty() || text.contains(['\0', '(', ')', ',', '[', ']']) || text.ends_with('\\')
}

fn has_unwritable_text(expr: &Expr) -> bool {
    fn operand(used: &Operand) -> bool {
        match used {
            Operand::Field(FieldUse { argument, .. }) => {
                argument.as_deref().is_some_and(is_unwritable)
            }
            // Printed without the quotes that the grammar demands.
            Operand::Literal(..) => true,
            Operand::List(all, _) => all.iter().any(operand),
            Operand::Transform(TransformUse { arguments, selector, .. }) => {
                arguments.iter().any(operand) || selector.as_deref().is_some_and(is_unwritable)
            }
        }
    }
    let mut found = false;
    expr.visit_leaves(&mut |leaf| match leaf {
        // A backspace is a blank, but not behind `not`, which then is a macro's name.
        Expr::Macro(name, _) => found |= name == "not",
        Expr::Exists(used, _) => found |= operand(used),
        Expr::Compare(comparison, _) => {
            found |= operand(&comparison.left);
            found |= match &comparison.right {
                Right::Value(text, _) => is_unwritable(text),
                Right::List(texts, _) => texts.iter().any(|text| is_unwritable(text)),
                Right::Operand(used) => operand(used),
            };
        }
        _ => {}
    });
    found
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    match parse_condition(&text) {
        Ok(expr) => {
            EventTypes::of_condition(&expr, &SyscallSchema);
            if has_unwritable_text(&expr) {
                return;
            }
            let printed = expr.to_string();
            match parse_condition(&printed) {
                // As in Falco, `not not` is printed, and read as nothing.
                Ok(again) if printed.contains("not not ") => {
                    let settled = again.to_string();
                    let once_more = parse_condition(&settled).map(|expr| expr.to_string());
                    assert_eq!(once_more.as_ref(), Ok(&settled), "from {text:?}");
                }
                Ok(again) => assert_eq!(again.to_string(), printed, "from {text:?}"),
                Err(error) => panic!("{text:?} prints as {printed:?}: {error}"),
            }
        }
        Err(error) => assert!(error.position <= text.len() && !error.message.is_empty()),
    }
});
