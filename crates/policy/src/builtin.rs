//! The policies that come with the product.

/// Their names, from the loosest to the strictest.
pub const NAMES: [&str; 3] = ["audit", "baseline", "restricted"];

/// The text of a built-in policy, comments included: a start for one's own.
pub fn text(name: &str) -> Option<&'static str> {
    match name {
        "audit" => Some(include_str!("../policies/audit.yaml")),
        "baseline" => Some(include_str!("../policies/baseline.yaml")),
        "restricted" => Some(include_str!("../policies/restricted.yaml")),
        _ => None,
    }
}
