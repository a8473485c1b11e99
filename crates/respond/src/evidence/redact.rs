//! Secrets taken out of environments and command lines before they are stored.
//!
//! By the name of the variable or option, and by the look of the value. What is hidden
//! keeps its length, so that an investigator sees that something was there. The rule errs
//! on the side of hiding; `EvidenceOptions::environment_raw` keeps everything.

/// Parts of names whose values are secrets, in lower case.
const SECRET_NAMES: [&str; 16] = [
    "pass",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "access-key",
    "private",
    "credential",
    "auth",
    "cookie",
    "session",
    "signature",
    "dsn",
];

/// Beginnings of values that are secrets whatever their name is.
const SECRET_VALUES: [&str; 14] = [
    "-----begin",
    "eyj",
    "akia",
    "asia",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "sk-",
    "sk_live_",
    "hvs.",
];

/// Variables that hold a secret-looking name and no secret.
const HARMLESS: [&str; 6] =
    ["pwd", "oldpwd", "ssh_auth_sock", "xdg_session_id", "xdg_session_type", "session_manager"];

/// Names of variables in an environment (`NAME=VALUE`, each ended by a NUL) that hold secrets,
/// by their name or their value.
pub fn secret_names(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.split(|byte| *byte == 0).filter_map(|entry| {
        let entry = String::from_utf8_lossy(entry);
        let (name, value) = entry.split_once('=')?;
        let holds = !value.is_empty() && (is_secret_name(name) || is_secret_value(value));
        holds.then(|| name.to_string())
    })
}

fn is_secret_name(name: &str) -> bool {
    let name = name.trim_start_matches('-').to_ascii_lowercase();
    !HARMLESS.contains(&name.as_str())
        && (SECRET_NAMES.iter().any(|part| name.contains(part))
            || name == "key"
            || name.ends_with("_key")
            || name.ends_with("-key"))
}

fn is_secret_value(value: &str) -> bool {
    let start: String = value.chars().take(16).collect::<String>().to_ascii_lowercase();
    value.len() >= 12 && SECRET_VALUES.iter().any(|prefix| start.starts_with(prefix))
}

fn hidden(value: &str) -> String {
    format!("<redacted, {} bytes>", value.len())
}

/// Hides the password of `scheme://user:password@host`.
fn redact_url(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once("://")?;
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let at = rest[..authority_end].rfind('@')?;
    let (user, password) = rest[..at].split_once(':')?;
    Some(format!("{scheme}://{user}:{}{}", hidden(password), &rest[at..]))
}

fn redact_value(value: &str) -> String {
    if is_secret_value(value) {
        return hidden(value);
    }
    redact_url(value).unwrap_or_else(|| value.to_string())
}

/// Splits kernel text at its NUL bytes; bytes that are not UTF-8 are replaced.
fn split(bytes: &[u8]) -> Vec<String> {
    let mut parts: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect();
    if parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    parts
}

/// The environment `KEY=value`, separated by NUL, with secrets hidden; one variable a line.
pub fn environment(bytes: &[u8]) -> String {
    let mut out = String::new();
    for variable in split(bytes) {
        match variable.split_once('=') {
            Some((name, value)) if is_secret_name(name) && !value.is_empty() => {
                out.push_str(name);
                out.push('=');
                out.push_str(&hidden(value));
            }
            Some((name, value)) => {
                out.push_str(name);
                out.push('=');
                out.push_str(&redact_value(value));
            }
            None => out.push_str(&redact_value(&variable)),
        }
        out.push('\n');
    }
    out
}

/// The arguments, separated by NUL, with secrets hidden.
pub fn command_line(bytes: &[u8]) -> Vec<String> {
    let mut hide_next = false;
    split(bytes)
        .into_iter()
        .map(|argument| {
            let is_option = argument.starts_with('-');
            if std::mem::take(&mut hide_next) && !is_option {
                return hidden(&argument);
            }
            match argument.split_once('=') {
                Some((name, value)) if is_secret_name(name) && !value.is_empty() => {
                    format!("{name}={}", hidden(value))
                }
                Some((name, value)) => format!("{name}={}", redact_value(value)),
                None => {
                    hide_next = argument.starts_with("--") && is_secret_name(&argument);
                    redact_value(&argument)
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_lose_their_secrets_and_nothing_else() {
        let check = |given: &str, expected: &str| {
            assert_eq!(environment(given.as_bytes()), expected, "{given:?}");
        };
        check("PATH=/bin\0HOME=/root\0", "PATH=/bin\nHOME=/root\n");
        check("PWD=/srv\0", "PWD=/srv\n");
        check("DB_PASSWORD=hunter2\0", "DB_PASSWORD=<redacted, 7 bytes>\n");
        check("DB_PASSWORD=\0", "DB_PASSWORD=\n");
        check("AWS_SECRET_ACCESS_KEY=abc", "AWS_SECRET_ACCESS_KEY=<redacted, 3 bytes>\n");
        check("X=AKIAIOSFODNN7EXAMPLE", "X=<redacted, 20 bytes>\n");
        check(
            "URL=postgres://app:s3cret@db/x?a=b",
            "URL=postgres://app:<redacted, 6 bytes>@db/x?a=b\n",
        );
        check("KEYBOARD=de", "KEYBOARD=de\n");
        check("no equals sign", "no equals sign\n");
        check("", "");
    }

    #[test]
    fn arguments_lose_their_secrets() {
        let check = |given: &str, expected: &[&str]| {
            assert_eq!(command_line(given.as_bytes()), expected, "{given:?}");
        };
        check("mysql\0--password=x\0", &["mysql", "--password=<redacted, 1 bytes>"]);
        check("curl\0--token\0abcdef\0-v\0", &["curl", "--token", "<redacted, 6 bytes>", "-v"]);
        check("sh\0-c\0id", &["sh", "-c", "id"]);
    }
}
