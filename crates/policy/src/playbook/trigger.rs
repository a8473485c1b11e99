//! Which incidents a playbook is for. Pure.

use palisade_model::{Alert, Priority};

/// What an alert and its incident must be; what is empty or absent is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Lowest priority of the alert.
    pub priority: Priority,
    /// Names of rules of which one raised it.
    pub rules: Vec<String>,
    /// Tags of which the alert carries one.
    pub tags: Vec<String>,
    /// Patterns (`*`, `?`) of which one fits the image's reference or digest.
    pub images: Vec<String>,
    /// Patterns of which one fits the container's name.
    pub containers: Vec<String>,
    /// Labels that the container carries, all of them.
    pub labels: Vec<(String, String)>,
    /// Lowest score of the incident, 0 to 100.
    pub score: u8,
}

/// What is known when an alert has joined its incident.
#[derive(Debug, Clone, Copy)]
pub struct TriggerFacts<'a> {
    /// The alert.
    pub alert: &'a Alert,
    /// The incident's score.
    pub score: u8,
    /// Labels of the container.
    pub labels: &'a [(String, String)],
}

impl Trigger {
    /// Whether it fits; else the first thing that does not, for people.
    pub fn matches(&self, facts: &TriggerFacts<'_>) -> Result<(), String> {
        let alert = facts.alert;
        if alert.priority < self.priority {
            return Err(format!("priority {} is below {}", alert.priority, self.priority));
        }
        if !self.rules.is_empty() && !self.rules.contains(&alert.rule) {
            return Err(format!("rule `{}` is not one of its rules", alert.rule));
        }
        if !self.tags.is_empty() && !self.tags.iter().any(|tag| alert.tags.contains(tag)) {
            return Err("the alert carries none of its tags".into());
        }
        let container = alert.container.as_ref();
        if !self.containers.is_empty() {
            let name = container.map_or("", |container| container.name.as_str());
            if !self.containers.iter().any(|pattern| glob(pattern, name)) {
                return Err(format!("container `{name}` is not one of its containers"));
            }
        }
        if !self.images.is_empty() {
            let image = container.and_then(|container| container.image.as_ref());
            let fits = image.is_some_and(|image| {
                let digest = image.digest.as_ref().map(ToString::to_string).unwrap_or_default();
                self.images.iter().any(|p| glob(p, &image.reference) || glob(p, &digest))
            });
            if !fits {
                return Err("the image is not one of its images".into());
            }
        }
        if let Some((key, value)) = self.labels.iter().find(|label| !facts.labels.contains(label)) {
            return Err(format!("the container has no label {key}={value}"));
        }
        if facts.score < self.score {
            return Err(format!("the incident's score {} is below {}", facts.score, self.score));
        }
        Ok(())
    }
}

/// Whether `text` is what `pattern` says, where `*` is any text and `?` any one character.
/// Takes time in proportion to the product of both lengths at most.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while let Some(c) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == c => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, at)) = back else { return false };
                back = Some((star, at + 1));
                (p, t) = (star + 1, at + 1);
            }
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns_fit_whole_texts() {
        for (pattern, text, expected) in [
            ("registry.example/*:1.?", "registry.example/shop/web:1.2", true),
            ("registry.example/*:1.?", "registry.example/shop/web:1.22", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("sha256:12*", "sha256:1234", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
        let many = "*a".repeat(200);
        assert!(!glob(&many, &"b".repeat(5000)), "no more than the product of both lengths");
    }
}
