//! From a certificate up to one that is trusted.

use super::certificate::Certificate;

/// Longest path, the leaf and the trust anchor included.
pub(crate) const PATH_MAX: usize = 8;

/// A chain of authorities, from the one that issues leaves up to the trust anchor, whose
/// signatures over one another were checked when it was made. Their validity is checked
/// when it is used, at the time in question.
#[derive(Debug, Clone)]
pub(crate) struct Chain(Vec<Certificate>);

impl Chain {
    /// Checks that each certificate was issued by the next. The last is trusted as it is.
    pub(crate) fn new(certificates: Vec<Certificate>) -> Result<Self, &'static str> {
        if certificates.is_empty() || certificates.len() >= PATH_MAX {
            return Err("a chain has 1 to 7 certificates");
        }
        for (depth, pair) in certificates.windows(2).enumerate() {
            let [child, parent] = pair else { continue };
            if !parent.may_issue() {
                return Err("a certificate of the chain may not issue certificates");
            }
            // `depth + 1` authorities stand between this parent and a leaf.
            if parent.path_length.is_some_and(|limit| limit <= depth as u64) {
                return Err("the chain is longer than an authority in it allows");
            }
            if child.issuer != parent.subject || !child.is_signed_by(&parent.key) {
                return Err("a certificate of the chain was not issued by the next");
            }
        }
        Ok(Self(certificates))
    }

    pub(crate) fn certificates(&self) -> &[Certificate] {
        &self.0
    }

    /// Whether the chain's first certificate issued `leaf`, for code signing and the like.
    pub(crate) fn issued(&self, leaf: &Certificate) -> bool {
        self.0.first().is_some_and(|issuer| {
            issuer.may_issue() && leaf.issuer == issuer.subject && leaf.is_signed_by(&issuer.key)
        })
    }

    /// Whether every certificate is valid at `time`, and none that limits its usage
    /// excludes `usage`.
    pub(crate) fn holds_at(&self, time: i64, usage: &[u8]) -> bool {
        self.0.iter().all(|it| it.is_valid_at(time) && it.has_usage(usage) != Some(false))
    }
}

/// Chains from the issuer of a time stamp's certificate to a root, over certificates that
/// the time stamp brings.
pub(crate) fn time_chains(embedded: &[Certificate], root: &Certificate) -> Vec<Chain> {
    let mut out: Vec<Chain> = Chain::new(vec![root.clone()]).into_iter().collect();
    let mut path = vec![root.clone()];
    // From the root down, as long as one authority follows another.
    while let Some(child) = embedded.iter().find(|it| {
        it.may_issue()
            && !path.contains(it)
            && path.first().is_some_and(|top| it.issuer == top.subject && it.is_signed_by(&top.key))
    }) {
        path.insert(0, child.clone());
        match Chain::new(path.clone()) {
            Ok(chain) => out.push(chain),
            Err(_) => break,
        }
    }
    out
}
