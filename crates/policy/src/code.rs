//! The codes of a policy's problems, each once.

/// What is wrong with a policy. The text of a code never changes once released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The text is no YAML.
    Syntax,
    /// YAML that a policy does not use.
    UnsupportedYaml,
    /// A key that no policy has.
    UnknownKey,
    /// The same key twice.
    DuplicateKey,
    /// A key that must be there.
    MissingKey,
    /// A value of another type.
    WrongType,
    /// A value of the right type that is not allowed.
    BadValue,
    /// A version of the format that this release does not read.
    UnsupportedVersion,
    /// Larger, longer, deeper or more than the limit.
    TooLarge,
    /// Settings that contradict each other.
    Conflict,
    /// A setting without effect.
    NoEffect,
    /// A signature is demanded, and no key is named.
    NoKeys,
    /// A container is killed before it is frozen.
    KillWithoutFreeze,
    /// A capability that amounts to root on the host.
    DangerousCapability,
    /// Problems beyond the limit are not listed.
    TooManyProblems,
}

impl Code {
    /// All codes, in the order of the reference page.
    pub const ALL: [Self; 15] = [
        Self::Syntax,
        Self::UnsupportedYaml,
        Self::UnknownKey,
        Self::DuplicateKey,
        Self::MissingKey,
        Self::WrongType,
        Self::BadValue,
        Self::UnsupportedVersion,
        Self::TooLarge,
        Self::Conflict,
        Self::NoEffect,
        Self::NoKeys,
        Self::KillWithoutFreeze,
        Self::DangerousCapability,
        Self::TooManyProblems,
    ];

    /// The code as diagnostics show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::UnsupportedYaml => "unsupported-yaml",
            Self::UnknownKey => "unknown-key",
            Self::DuplicateKey => "duplicate-key",
            Self::MissingKey => "missing-key",
            Self::WrongType => "wrong-type",
            Self::BadValue => "bad-value",
            Self::UnsupportedVersion => "unsupported-version",
            Self::TooLarge => "too-large",
            Self::Conflict => "conflict",
            Self::NoEffect => "no-effect",
            Self::NoKeys => "no-keys",
            Self::KillWithoutFreeze => "kill-without-freeze",
            Self::DangerousCapability => "dangerous-capability",
            Self::TooManyProblems => "too-many-problems",
        }
    }

    /// One sentence for the reference page.
    pub const fn doc(self) -> &'static str {
        match self {
            Self::Syntax => "The text is not YAML.",
            Self::UnsupportedYaml => {
                "YAML that a policy does not use: several documents, tags, keys that are not text."
            }
            Self::UnknownKey => "A key that no policy has; the nearest known one is suggested.",
            Self::DuplicateKey => "The same key twice in one mapping.",
            Self::MissingKey => "A key that must be there is not.",
            Self::WrongType => "A value of another type than the key takes.",
            Self::BadValue => "A value of the right type that the key does not allow.",
            Self::UnsupportedVersion => "A `version` that this release does not read.",
            Self::TooLarge => "A file, list, text or nesting beyond its limit.",
            Self::Conflict => "Settings that contradict each other.",
            Self::NoEffect => "Warning: a setting that can have no effect.",
            Self::NoKeys => {
                "Warning: signatures are demanded and `images.keys` is empty, so a key has to be given with each command."
            }
            Self::KillWithoutFreeze => {
                "Warning: a response kills a container without freezing it first, so that processes can still act, fork and erase traces."
            }
            Self::DangerousCapability => {
                "Warning: a capability with which a container can take over the host."
            }
            Self::TooManyProblems => "More problems than are listed.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn codes_are_unique_kebab_case_and_documented() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code:?} repeats a code");
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!(code.doc().ends_with('.'), "{code:?}");
        }
    }
}
