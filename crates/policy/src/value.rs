//! Single values: sizes, processors, numbers, paths, names.
//!
//! Each function gives the value or says what the value should have been.

use crate::capability;
use crate::table::{Choice, TextRule, action};
use crate::yaml::cut;

/// Longest text of any kind, in characters.
pub(crate) const TEXT_CHARS_MAX: usize = 1024;
/// Longest name, in characters.
pub(crate) const NAME_CHARS_MAX: usize = 63;

/// Why a text is no value of its kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub message: String,
    pub help: Option<String>,
}

fn refuse(message: impl Into<String>, help: impl Into<String>) -> Refusal {
    Refusal { message: message.into(), help: Some(help.into()) }
}

/// A size in bytes: `4096`, `64Ki`, `256Mi`, `1Gi`, `2Ti`, and the decimal `k`, `M`, `G`, `T`.
pub(crate) fn size(text: &str) -> Result<u64, Refusal> {
    const HELP: &str = "write bytes, or a number with Ki, Mi, Gi, Ti (or k, M, G, T): 256Mi";
    let bad = || refuse(format!("`{}` is not a size", cut(text)), HELP);
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor: u64 = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => return Err(bad()),
    };
    let n: u64 = digits.parse().map_err(|_| bad())?;
    n.checked_mul(factor).ok_or_else(|| refuse(format!("`{}` is too large", cut(text)), HELP))
}

/// Bytes as people write them: the largest binary unit that divides them.
pub(crate) fn size_text(bytes: u64) -> String {
    for (shift, unit) in [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Processors in thousandths: `0.5`, `2`, `500m`.
pub(crate) fn cpu(text: &str) -> Result<u32, Refusal> {
    const MILLIS_MIN: u32 = 10; // the kernel's least quota is 1 ms in a period of 100 ms
    const MILLIS_MAX: u32 = 1_024_000;
    const HELP: &str = "write processors with up to three decimals, or thousandths with m: 0.5 or 500m, from 0.01 to 1024";
    let bad = || refuse(format!("`{}` is not a number of processors", cut(text)), HELP);
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let millis: u32 = if let Some(millis) = text.strip_suffix('m') {
        if !all_digits(millis) {
            return Err(bad());
        }
        millis.parse().map_err(|_| bad())?
    } else {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        if !all_digits(whole) || !all_digits(part) || part.len() > 3 {
            return Err(bad());
        }
        let whole: u32 = whole.parse().map_err(|_| bad())?;
        let part: u32 = format!("{part:0<3}").parse().map_err(|_| bad())?;
        whole.checked_mul(1000).and_then(|n| n.checked_add(part)).ok_or_else(bad)?
    };
    if (MILLIS_MIN..=MILLIS_MAX).contains(&millis) { Ok(millis) } else { Err(bad()) }
}

/// A whole number from `min` to `max`.
pub(crate) fn integer(text: &str, min: u64, max: u64) -> Result<u64, Refusal> {
    let help = format!("write a whole number from {min} to {max}");
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refuse(format!("`{}` is not a whole number", cut(text)), help));
    }
    match text.parse::<u64>() {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        _ => Err(refuse(format!("`{}` is out of range", cut(text)), help)),
    }
}

/// The choice of that name.
pub(crate) fn choice(text: &str, choices: &'static [Choice]) -> Result<&'static Choice, Refusal> {
    choices.iter().find(|choice| choice.name == text).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|choice| choice.name).collect();
        let near = palisade_base::suggest::nearest(text, names.iter().copied());
        refuse(
            format!("`{}` is not allowed here", cut(text)),
            match near {
                Some(near) => {
                    format!("did you mean `{near}`? allowed are {}", names.join(", "))
                }
                None => format!("allowed are {}", names.join(", ")),
            },
        )
    })
}

/// A text of the kind that `rule` says, in its canonical form.
pub(crate) fn text(text: &str, rule: &TextRule) -> Result<String, Refusal> {
    if text.chars().count() > TEXT_CHARS_MAX {
        let message = format!("text is longer than {TEXT_CHARS_MAX} characters");
        return Err(Refusal { message, help: None });
    }
    if text.contains(|c: char| c.is_control()) {
        let message =
            format!("`{}` holds a control character", cut(&text.escape_debug().to_string()));
        return Err(Refusal { message, help: Some("keep it to one line of plain text".into()) });
    }
    match rule {
        TextRule::Name => name(text),
        TextRule::MountPoint => mount_point(text),
        TextRule::File if text.is_empty() => {
            Err(refuse("the path is empty", "name a file, relative to the policy file"))
        }
        TextRule::File | TextRule::Sentence => Ok(text.to_string()),
        TextRule::Pattern => match regex::bytes::Regex::new(text) {
            Ok(_) => Ok(text.to_string()),
            Err(error) => {
                let what = error.to_string().lines().last().unwrap_or_default().to_string();
                Err(refuse(
                    format!("`{}` is not a regular expression: {what}", cut(text)),
                    "use the syntax of Rust's regex crate: no look-around, no back-references",
                ))
            }
        },
        TextRule::Endpoint => match text.parse::<crate::endpoint::Endpoint>() {
            Ok(endpoint) => Ok(endpoint.to_string()),
            Err(error) => Err(refuse(error.message, error.help)),
        },
        TextRule::Recipient => match palisade_base::bech32::decode("age", text) {
            Some(_) => Ok(text.to_ascii_lowercase()),
            None => Err(refuse(
                format!("`{}` is no recipient of age", cut(text)),
                "write `age1…` as `age-keygen -y FILE` prints it; keys of SSH and plug-ins are not \
                 supported",
            )),
        },
        TextRule::Url | TextRule::LastDay if text.is_empty() => Ok(String::new()),
        TextRule::Url => match text.parse::<crate::endpoint::Endpoint>() {
            Ok(crate::endpoint::Endpoint::Webhook { url, .. }) => Ok(url),
            _ => Err(refuse(
                format!("`{}` is no address of the web", cut(text)),
                "write https://HOST/PATH, or http://… for one that answers in the clear",
            )),
        },
        TextRule::Selinux => match text.parse::<crate::document::Selinux>() {
            Ok(_) => Ok(text.to_string()),
            Err(error) => {
                Err(refuse(error.to_string(), "write auto, none or USER:ROLE:TYPE:LEVEL"))
            }
        },
        TextRule::EnforcementAction => match text.parse::<palisade_model::EnforcementAction>() {
            Ok(action) => Ok(action.to_string()),
            Err(error) => Err(refuse(error.to_string(), "allowed are deny, kill")),
        },
        TextRule::Allowance => match text.parse::<crate::engines::Allowance>() {
            Ok(allowance) => Ok(allowance.to_string()),
            Err(error) => {
                let allowed = crate::engines::allowed_words();
                let help = match crate::engines::nearest_word(text) {
                    Some(near) => format!("did you mean `{near}`? allowed are {allowed}"),
                    None => format!("allowed are {allowed}"),
                };
                Err(refuse(cut(&error), help))
            }
        },
        TextRule::Date | TextRule::LastDay => {
            let is_day = text.len() == 10
                && format!("{text}T00:00:00Z").parse::<palisade_base::Timestamp>().is_ok();
            if is_day {
                return Ok(text.to_string());
            }
            let help = "write year, month and day, in quotes: \"2027-06-30\"";
            Err(refuse(format!("`{}` is not a day", cut(text)), help))
        }
        TextRule::Capability => capability::canonical(text).map(str::to_string).ok_or_else(|| {
            let upper = text.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            let near = palisade_base::suggest::nearest(bare, capability::ALL.iter().copied());
            let help = near.map_or_else(
                || "see capabilities(7) for the names".to_string(),
                |near| format!("did you mean `{near}`?"),
            );
            refuse(format!("`{}` is not a capability", cut(text)), help)
        }),
        TextRule::Action => action(text).map(|found| found.as_str().to_string()).ok_or_else(|| {
            let names = crate::document::Action::ALL.map(crate::document::Action::as_str);
            let near = palisade_base::suggest::nearest(text, names);
            let allowed = names.join(", ");
            let help = near.map_or_else(
                || format!("allowed are {allowed}"),
                |near| format!("did you mean `{near}`? allowed are {allowed}"),
            );
            refuse(format!("`{}` is not an action", cut(text)), help)
        }),
    }
}

fn name(text: &str) -> Result<String, Refusal> {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ok = text.len() <= NAME_CHARS_MAX
        && text.bytes().next().is_some_and(lower)
        && text.bytes().all(|b| lower(b) || matches!(b, b'.' | b'_' | b'-'));
    if ok {
        return Ok(text.to_string());
    }
    Err(refuse(
        format!("`{}` is not a name", cut(text)),
        format!(
            "use at most {NAME_CHARS_MAX} lower-case letters, digits, `.`, `_` and `-`, a letter or digit first"
        ),
    ))
}

/// An absolute, plain path that may be mounted over without undoing the confinement.
fn mount_point(text: &str) -> Result<String, Refusal> {
    let message = |what: &str| format!("`{}` {what}", cut(text));
    let Some(relative) = text.strip_prefix('/') else {
        return Err(refuse(message("is not an absolute path"), "begin it with `/`"));
    };
    let plain = relative.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !plain || text.contains([':', ',']) {
        return Err(refuse(
            message("is not a plain path"),
            "leave out `.`, `..`, empty parts, `:`, `,` and the final `/`",
        ));
    }
    let first = relative.split('/').next().unwrap_or("");
    if matches!(first, "proc" | "sys" | "dev") {
        return Err(refuse(
            message("belongs to the runtime"),
            "mount a temporary file system elsewhere, for example on /tmp",
        ));
    }
    Ok(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(size(text).ok(), expected, "{text}");
        };
        check("0", Some(0));
        check("64Ki", Some(65_536));
        check("256Mi", Some(268_435_456));
        check("1Gi", Some(1 << 30));
        check("5k", Some(5_000));
        for bad in ["", "Mi", "1.5Gi", "-1", "1 Mi", "1mb", "99999999999999999999", "99999999Ti"] {
            check(bad, None);
        }
        for text in ["0", "1023", "64Ki", "256Mi", "3Gi", "1Ti"] {
            assert_eq!(size_text(size(text).unwrap()), text);
        }
    }

    #[test]
    fn processors() {
        let check = |text: &str, expected: Option<u32>| {
            assert_eq!(cpu(text).ok(), expected, "{text}");
        };
        check("0.5", Some(500));
        check("2", Some(2_000));
        check("1.25", Some(1_250));
        check("250m", Some(250));
        for bad in ["", "0", "-1", ".5", "1.", "0.0001", "1e3", "m", "0.5m", "99999999999", "inf"] {
            check(bad, None);
        }
    }

    #[test]
    fn mount_points_are_absolute_and_plain() {
        for good in ["/tmp", "/var/cache/nginx", "/device", "/sysroot"] {
            assert!(text(good, &TextRule::MountPoint).is_ok(), "{good}");
        }
        for bad in
            ["", "/", "tmp", "/tmp/", "/a//b", "/a/../b", "/proc/x", "/sys", "/dev/shm", "/a:b"]
        {
            assert!(text(bad, &TextRule::MountPoint).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_and_days_are_what_they_say() {
        let good = ["auto", "none", "a_u:b_r:c.process", "u:r:t:s0", "u:r:t:s0-s0:c0.c1023,c5"];
        for good in good {
            assert!(text(good, &TextRule::Selinux).is_ok(), "{good}");
        }
        let long = format!("u:r:{}", "t".repeat(300));
        for bad in ["", "off", "u:r", "u:r:", "u::t", "u:r:t:", "u:r:t:s0\",x=1", "u:r:t t", &long]
        {
            assert!(text(bad, &TextRule::Selinux).is_err(), "{bad}");
        }
        assert!(text("^a{2}(?P<secret>b)", &TextRule::Pattern).is_ok());
        for bad in ["(", "(?=x)", "a{9999999}"] {
            assert!(text(bad, &TextRule::Pattern).is_err(), "{bad}");
        }
        assert!(text("2027-06-30", &TextRule::Date).is_ok());
        for bad in ["2027-13-01", "2027-6-30", "soon", "2027-06-30T00:00:00Z"] {
            assert!(text(bad, &TextRule::Date).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_text_are_bounded() {
        assert!(text("web-1.frontend", &TextRule::Name).is_ok());
        for bad in ["", "Web", "-web", "a b", "a/b", &"a".repeat(NAME_CHARS_MAX + 1)] {
            assert!(text(bad, &TextRule::Name).is_err(), "{bad}");
        }
        assert!(text(&"ü".repeat(TEXT_CHARS_MAX), &TextRule::Sentence).is_ok());
        assert!(text(&"ü".repeat(TEXT_CHARS_MAX + 1), &TextRule::Sentence).is_err());
        assert!(text("two\nlines", &TextRule::Sentence).is_err());
    }
}
