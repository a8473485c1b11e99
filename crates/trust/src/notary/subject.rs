//! Names of certificates' subjects, and the identities of a policy that are compared with
//! them (RFC 4514, as far as the Notary Project has it).

use std::collections::BTreeMap;

use crate::pki::Certificate;
use crate::pki::der::{self, Der, DerError};

/// Most parts of a name.
const PARTS_MAX: usize = 64;

/// Attributes of a name by their type: `C`, `ST`, `O`, `CN`, …
pub(super) type Name = BTreeMap<String, String>;

/// Short names of attribute types (RFC 4514, section 3, and RFC 4519).
fn short_name(oid: &[u8]) -> String {
    match oid {
        [0x55, 0x04, 3] => "CN",
        [0x55, 0x04, 4] => "SN",
        [0x55, 0x04, 5] => "SERIALNUMBER",
        [0x55, 0x04, 6] => "C",
        [0x55, 0x04, 7] => "L",
        [0x55, 0x04, 8] => "ST",
        [0x55, 0x04, 9] => "STREET",
        [0x55, 0x04, 10] => "O",
        [0x55, 0x04, 11] => "OU",
        [0x55, 0x04, 17] => "POSTALCODE",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
        _ => return hex::encode(oid),
    }
    .to_string()
}

/// The parts of a subject, in their order.
fn parts(certificate: &Certificate) -> Result<Vec<(String, String)>, DerError> {
    let mut outer = Der::new(&certificate.subject);
    let mut list = outer.sequence()?;
    outer.end()?;
    let mut out = Vec::new();
    while !list.is_empty() {
        let mut set = list.enter(der::SET)?;
        while !set.is_empty() {
            if out.len() == PARTS_MAX {
                return Err(DerError("a name has more than 64 parts"));
            }
            let mut pair = set.sequence()?;
            let oid = pair.value(der::OID)?;
            let value = pair.any()?;
            pair.end()?;
            let text = String::from_utf8(value.value.to_vec())
                .map_err(|_| DerError("a part of a name is not UTF-8"))?;
            out.push((short_name(oid), text));
        }
    }
    Ok(out)
}

/// The subject as people read it.
pub(super) fn show(certificate: &Certificate) -> String {
    let parts = parts(certificate).unwrap_or_default();
    let text: Vec<String> = parts.iter().map(|(kind, value)| format!("{kind}={value}")).collect();
    text.join(",").chars().filter(|c| !c.is_control()).take(300).collect()
}

/// The subject for comparison. `None`: a type stands twice, so that nobody could say which
/// of its values is meant.
pub(super) fn of(certificate: &Certificate) -> Option<Name> {
    let mut out = Name::new();
    for (kind, value) in parts(certificate).ok()? {
        if out.insert(kind, value).is_some() {
            return None;
        }
    }
    Some(out)
}

/// Whether everything that `wanted` names is so in `subject`.
pub(super) fn contains(subject: &Name, wanted: &Name) -> bool {
    wanted.iter().all(|(kind, value)| subject.get(kind) == Some(value))
}

/// Reads `C=US, ST=WA, O=shop.example`. The error says what is wrong.
pub(super) fn parse(text: &str) -> Result<Name, String> {
    if text.contains("=#") {
        return Err("values in hexadecimal (=#) are not supported".into());
    }
    let mut out = Name::new();
    let (mut kind, mut value, mut in_value) = (String::new(), String::new(), false);
    let mut end = |kind: &mut String, value: &mut String, keep: usize| {
        // Spaces around a value mean nothing, unless they were escaped.
        let n_trailing = value.len() - value.trim_end_matches(' ').len();
        let cut = value.len() - n_trailing.min(value.len().saturating_sub(keep));
        value.truncate(cut);
        let name = match kind.trim() {
            "S" => "ST".to_string(),
            name => name.to_ascii_uppercase(),
        };
        if name.is_empty() || value.is_empty() {
            return Err("a part has no type or no value".to_string());
        }
        if out.len() == PARTS_MAX {
            return Err("it has more than 64 parts".to_string());
        }
        if out.insert(name.clone(), std::mem::take(value)).is_some() {
            return Err(format!("`{name}` stands twice"));
        }
        kind.clear();
        Ok(())
    };
    let mut keep = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, in_value) {
            ('=', false) => in_value = true,
            (',' | ';' | '+', false) => return Err("a part has no `=`".into()),
            ('+', true) => return Err("parts with several values (+) are not supported".into()),
            (c, false) => kind.push(c),
            (',' | ';', true) => {
                end(&mut kind, &mut value, keep)?;
                (in_value, keep) = (false, 0);
            }
            ('\\', true) => {
                let escaped = chars.next().ok_or("it ends within an escape")?;
                if escaped.is_ascii_hexdigit() {
                    return Err("escapes in hexadecimal are not supported".into());
                }
                value.push(escaped);
                keep = value.len();
            }
            (' ', true) if value.is_empty() => {}
            (c, true) => value.push(c),
        }
    }
    if !in_value {
        return Err("a part has no `=`".into());
    }
    end(&mut kind, &mut value, keep)?;
    for needed in ["C", "ST", "O"] {
        if !out.contains_key(needed) {
            return Err(format!("`{needed}` is missing; C, ST (or S) and O must be there"));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_their_escapes() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let expected: Name =
                expected.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        };
        check("C=US, ST=WA, O=shop", &[("C", "US"), ("ST", "WA"), ("O", "shop")]);
        check("C=US,S=WA , O= shop  ", &[("C", "US"), ("ST", "WA"), ("O", "shop")]);
        check(r"C=US, ST=WA, O=a\, b\; c\\", &[("C", "US"), ("ST", "WA"), ("O", r"a, b; c\")]);
        check(r"C=US, ST=WA, O=\ a\ ", &[("C", "US"), ("ST", "WA"), ("O", " a ")]);
        check("C=US, ST=WA, O=a=b", &[("C", "US"), ("ST", "WA"), ("O", "a=b")]);
        for bad in [
            "",
            "C=US",
            "C=US, ST=WA",
            "C=US, ST=WA, O=",
            "C=US, ST=WA, O=a, O=b",
            "C=US, ST=WA, S=WA, O=a",
            "C=US, ST=WA, O=a+CN=b",
            "C=US, ST=WA, O=#04",
            r"C=US, ST=WA, O=a\",
            "US, ST=WA, O=a",
            "C=US, ST=WA, O=a,",
            r"C=US, ST=WA, O=\41",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
