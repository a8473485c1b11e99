//! The YAML of policies: the bounds of the shared reader, and its problems as codes.

use palisade_base::yaml::{Dialect, ProblemKind};
pub(crate) use palisade_base::yaml::{Key, Node, Place, Value, cut};

use crate::code::Code;

/// Mappings and lists within each other.
pub(crate) const DEPTH_MAX: usize = 16;
/// Nodes of the tree, those that aliases repeat included.
pub(crate) const NODES_MAX: usize = 20_000;

/// What the shared reader is told of policies.
pub(crate) const POLICY: Dialect =
    Dialect { name: "a policy", document: "policy", depth_max: DEPTH_MAX, n_nodes_max: NODES_MAX };

impl From<ProblemKind> for Code {
    fn from(kind: ProblemKind) -> Self {
        match kind {
            ProblemKind::Syntax => Self::Syntax,
            ProblemKind::Unsupported => Self::UnsupportedYaml,
            ProblemKind::DuplicateKey => Self::DuplicateKey,
            ProblemKind::TooLarge => Self::TooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readers_codes_are_those_of_policies() {
        for kind in [
            ProblemKind::Syntax,
            ProblemKind::Unsupported,
            ProblemKind::DuplicateKey,
            ProblemKind::TooLarge,
        ] {
            assert_eq!(Code::from(kind).as_str(), kind.code());
        }
    }
}
