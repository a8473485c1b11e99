//! Versions of the rule language and of plugins.

use std::fmt;

/// `major.minor.patch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// The version of Falco's rule engine whose language this is: Falco 0.44.
pub const ENGINE_VERSION: Version = Version::new(0, 62, 0);

impl Version {
    /// The version of these parts.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `x.y.z`; what follows a `-` or `+` is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(['-', '+']).next()?.split('.');
        let mut part = || parts.next()?.parse().ok();
        let version = Self::new(part()?, part()?, part()?);
        parts.next().is_none().then_some(version)
    }

    /// Whether what needs `required` can run on this version.
    pub fn is_compatible_with(self, required: Self) -> bool {
        self.major == required.major && self >= required
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_major_and_not_newer() {
        let ok = |text: &str| Version::parse(text).map(|v| ENGINE_VERSION.is_compatible_with(v));
        assert_eq!(ok("0.57.0"), Some(true));
        assert_eq!(ok("0.62.0-rc1"), Some(true));
        assert_eq!(ok("0.63.0"), Some(false));
        assert_eq!(ok("1.0.0"), Some(false));
        assert_eq!(ok("0.62"), None);
    }
}
