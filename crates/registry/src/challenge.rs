//! `WWW-Authenticate` (RFC 9110, section 11.6.1): what a server wants to be shown.

/// Challenges of one answer that are read; more are passed over.
const CHALLENGES_MAX: usize = 16;
/// Parameters of one challenge that are read; more are passed over.
const PARAMETERS_MAX: usize = 32;

/// One way to authenticate that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme, in lower case: `bearer`, `basic`.
    pub scheme: String,
    /// Names, in lower case, and values, in the order given.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of the first parameter `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the value of one header. Total: what is no challenge is passed over.
pub fn parse_challenges(text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = take_token(rest);
        if word.is_empty() {
            // A comma, a blank, or something that belongs nowhere.
            rest = skip_character(rest);
            continue;
        }
        let word = word.to_ascii_lowercase();
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            if challenges.len() >= CHALLENGES_MAX {
                return challenges;
            }
            challenges.push(Challenge { scheme: word, parameters: Vec::new() });
            rest = after;
            continue;
        };
        let (value, after) = take_value(value.trim_start_matches([' ', '\t']));
        if let Some(challenge) = challenges.last_mut()
            && challenge.parameters.len() < PARAMETERS_MAX
        {
            challenge.parameters.push((word, value));
        }
        rest = after;
    }
    challenges
}

fn skip_character(text: &str) -> &str {
    let mut characters = text.chars();
    characters.next();
    characters.as_str()
}

/// `token` of RFC 9110, section 5.6.2.
fn take_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

/// A token or a quoted string; a string that does not end goes to the end.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = take_token(text);
        return (token.to_string(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => break,
            '\\' => value.extend(characters.next()),
            c => value.push(c),
        }
    }
    (value, characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scheme(name=value,…)`, one a challenge, with blanks between.
    fn shown(text: &str) -> String {
        let one = |challenge: &Challenge| {
            let parameters: Vec<String> = challenge
                .parameters
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{}({})", challenge.scheme, parameters.join(","))
        };
        parse_challenges(text).iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn reads_what_registries_send() {
        let check = |text: &str, expected: &str| assert_eq!(shown(text), expected, "{text}");
        check(
            r#"Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull,push""#,
            "bearer(realm=https://auth.example/token,service=r,scope=repository:a/b:pull,push)",
        );
        check(r#"Basic realm="Registry Realm""#, "basic(realm=Registry Realm)");
        check(r#"BASIC realm="a", Bearer realm = "b" , X=y"#, "basic(realm=a) bearer(realm=b,x=y)");
        check(r#"Basic realm="a \"b\" c""#, r#"basic(realm=a "b" c)"#);
        check("Negotiate, Basic realm=a", "negotiate() basic(realm=a)");
        check("Negotiate YII=, Basic", "negotiate(yii=) basic()");
    }

    #[test]
    fn is_total() {
        for text in
            ["", ",", "=", "\"", "a=b", "Bearer realm=\"", "Bearer realm=\"\\", "é=ü", "a ==\"b"]
        {
            let _ = shown(text);
        }
        let many = "a b=c,".repeat(1000);
        let challenges = parse_challenges(&many);
        assert_eq!(challenges.len(), CHALLENGES_MAX);
        let wide = format!("a {}", "b=c,".repeat(1000));
        assert_eq!(parse_challenges(&wide)[0].parameters.len(), PARAMETERS_MAX);
    }
}
