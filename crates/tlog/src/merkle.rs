//! Merkle trees of RFC 6962 (and RFC 9162, section 2.1): hashes, compact ranges, proofs.
//!
//! A tree of size `n` has leaves `0..n`. The node `(level, index)` is the root of the perfect
//! subtree over the leaves `index << level .. (index + 1) << level`. Proofs are made from any
//! source of such nodes and verified from bytes alone.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

/// Longest proof that is looked at: a tree of 2^64 leaves needs no more, and a consistency
/// proof one node more.
pub const PROOF_HASHES_MAX: usize = 65;

/// The hash of a leaf or of a node: SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of the empty tree: SHA-256 of nothing.
    pub fn empty_tree() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// The hash of a leaf: `SHA-256(0x00 ‖ data)`.
    pub fn of_leaf(data: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([0]);
        hasher.update(data);
        Self(hasher.finalize().into())
    }

    /// The hash of an inner node: `SHA-256(0x01 ‖ left ‖ right)`.
    pub fn of_node(left: &Self, right: &Self) -> Self {
        let mut text = [1; 65];
        text[1..33].copy_from_slice(&left.0);
        text[33..].copy_from_slice(&right.0);
        Self(Sha256::digest(text).into())
    }

    /// Reads 32 bytes; `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads standard base64 with padding, as notes write hashes.
    pub fn from_base64(text: &str) -> Option<Self> {
        Self::from_slice(&BASE64_STANDARD.decode(text).ok()?)
    }

    /// Standard base64 with padding.
    pub fn to_base64(&self) -> String {
        BASE64_STANDARD.encode(self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A proof that does not prove what it is said to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf lies outside the tree.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    IndexOutsideTree {
        /// The leaf.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The older tree is said to be larger than the newer.
    #[error("a tree of {new} leaves cannot contain one of {old}")]
    Shrunk {
        /// Size of the older tree.
        old: u64,
        /// Size of the newer tree.
        new: u64,
    },
    /// The number of hashes is not the one that the sizes ask for.
    #[error("the proof has {found} hashes where {expected} are needed")]
    WrongLength {
        /// What the sizes ask for.
        expected: usize,
        /// What the proof has.
        found: usize,
    },
    /// The proof computes another root.
    #[error("the proof leads to the root {computed} instead of {expected}")]
    RootMismatch {
        /// What the checkpoint says.
        expected: Hash,
        /// What the proof computes.
        computed: Hash,
    },
}

impl palisade_base::Explain for ProofError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::RootMismatch { .. } => Some(
                "do not trust the entry; ask the log again, and keep both answers when it repeats this"
                    .to_string(),
            ),
            _ => None,
        }
    }
}

fn matches(computed: Hash, expected: &Hash) -> Result<(), ProofError> {
    if computed == *expected {
        Ok(())
    } else {
        Err(ProofError::RootMismatch { expected: *expected, computed })
    }
}

/// The largest power of two below `n`, which must be at least 2.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// How many hashes the proof of leaf `index` in a tree of `size` has, and how many of the
/// first of them are siblings below the point where the path joins the tree's right edge.
fn inclusion_shape(index: u64, size: u64) -> (usize, usize) {
    let inner = 64 - (index ^ (size - 1)).leading_zeros() as usize;
    let border = index.checked_shr(inner as u32).unwrap_or(0).count_ones() as usize;
    (inner + border, inner)
}

/// The root that `proof` computes for `leaf` at `index` in a tree of `size` leaves.
pub fn root_from_inclusion(
    leaf: Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
) -> Result<Hash, ProofError> {
    if index >= size {
        return Err(ProofError::IndexOutsideTree { index, size });
    }
    let (expected, inner) = inclusion_shape(index, size);
    if proof.len() != expected {
        return Err(ProofError::WrongLength { expected, found: proof.len() });
    }
    let (below, border) = proof.split_at(inner);
    let hash = below.iter().enumerate().fold(leaf, |hash, (level, sibling)| {
        if index >> level & 1 == 0 {
            Hash::of_node(&hash, sibling)
        } else {
            Hash::of_node(sibling, &hash)
        }
    });
    Ok(border.iter().fold(hash, |hash, sibling| Hash::of_node(sibling, &hash)))
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with `root`
/// (RFC 9162, section 2.1.3.2).
pub fn verify_inclusion(
    leaf: Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    matches(root_from_inclusion(leaf, index, size, proof)?, root)
}

/// Checks that the tree of `old` leaves with `old_root` is the beginning of the tree of `new`
/// leaves with `new_root` (RFC 9162, section 2.1.4.2).
///
/// From the empty tree to a larger one nothing can be proved, so that is refused; whoever
/// starts from nothing asks for no proof.
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Shrunk { old, new });
    }
    if old == new {
        if !proof.is_empty() {
            return Err(ProofError::WrongLength { expected: 0, found: proof.len() });
        }
        if old == 0 {
            matches(Hash::empty_tree(), old_root)?;
        }
        return matches(*old_root, new_root);
    }
    if old == 0 {
        return Err(ProofError::IndexOutsideTree { index: 0, size: 0 });
    }
    let (old_computed, new_computed) = roots_from_consistency(old, new, proof, old_root)?;
    matches(old_computed, old_root)?;
    matches(new_computed, new_root)
}

/// The roots that a consistency proof from `old` to `new` leaves computes, `0 < old < new`.
/// When `old` is a power of two the older root is itself the proof's first hash.
pub fn roots_from_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: &Hash,
) -> Result<(Hash, Hash), ProofError> {
    if old == 0 || old >= new {
        return Err(ProofError::Shrunk { old, new });
    }
    // The proof starts at the root of the last perfect subtree of the older tree, `shift`
    // levels up, and is the inclusion proof of the older tree's last leaf from there.
    let shift = old.trailing_zeros() as usize;
    let (full, inner) = inclusion_shape(old - 1, new);
    let inner = inner.saturating_sub(shift);
    let start = usize::from(!old.is_power_of_two());
    let expected = full - shift + start;
    if proof.len() != expected {
        return Err(ProofError::WrongLength { expected, found: proof.len() });
    }
    let (seed, rest) = match proof.split_first() {
        Some((first, rest)) if start == 1 => (*first, rest),
        _ => (*old_root, proof),
    };
    let (below, border) = rest.split_at(inner);
    let path = (old - 1) >> shift;
    let (mut old_hash, mut new_hash) = (seed, seed);
    for (level, sibling) in below.iter().enumerate() {
        if path >> level & 1 == 0 {
            new_hash = Hash::of_node(&new_hash, sibling);
        } else {
            old_hash = Hash::of_node(sibling, &old_hash);
            new_hash = Hash::of_node(sibling, &new_hash);
        }
    }
    for sibling in border {
        old_hash = Hash::of_node(sibling, &old_hash);
        new_hash = Hash::of_node(sibling, &new_hash);
    }
    Ok((old_hash, new_hash))
}

/// The roots of perfect subtrees that cover the leaves `0..size`, largest first: all that is
/// needed to append to a tree and to know its root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompactRange {
    size: u64,
    nodes: Vec<Hash>,
}

impl CompactRange {
    /// The range of `size` leaves with `nodes`, largest subtree first; `None` when the number
    /// of nodes is not the number of ones in `size`.
    pub fn new(size: u64, nodes: Vec<Hash>) -> Option<Self> {
        (nodes.len() == size.count_ones() as usize).then_some(Self { size, nodes })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The subtrees' roots, largest first.
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// Appends the hash of a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.nodes.pop() {
                hash = Hash::of_node(&left, &hash);
            }
        }
        self.nodes.push(hash);
        self.size += 1;
    }

    /// The tree's root.
    pub fn root(&self) -> Hash {
        let mut nodes = self.nodes.iter().rev();
        let Some(last) = nodes.next() else { return Hash::empty_tree() };
        nodes.fold(*last, |hash, left| Hash::of_node(left, &hash))
    }
}

/// Where proofs take their nodes from.
pub trait NodeSource {
    /// What can go wrong.
    type Error;

    /// The root of the perfect subtree over the leaves `index << level .. (index + 1) << level`.
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The hash of the tree over the leaves `low..high`, where `low` is aligned as RFC 6962's
/// recursion aligns it.
fn range_hash<S: NodeSource>(source: &mut S, low: u64, high: u64) -> Result<Hash, S::Error> {
    let n = high - low;
    if n.is_power_of_two() {
        let level = n.trailing_zeros();
        return source.node(level, low >> level);
    }
    let middle = low + split(n);
    let left = range_hash(source, low, middle)?;
    let right = range_hash(source, middle, high)?;
    Ok(Hash::of_node(&left, &right))
}

/// The root of the tree of the first `size` leaves.
pub fn root_at<S: NodeSource>(source: &mut S, size: u64) -> Result<Hash, S::Error> {
    if size == 0 { Ok(Hash::empty_tree()) } else { range_hash(source, 0, size) }
}

/// The compact range of the first `size` leaves.
pub fn range_at<S: NodeSource>(source: &mut S, size: u64) -> Result<CompactRange, S::Error> {
    let mut nodes = Vec::new();
    for level in (0..64).rev().filter(|level| size >> level & 1 == 1) {
        nodes.push(source.node(level, (size >> level) - 1)?);
    }
    Ok(CompactRange { size, nodes })
}

/// The proof that leaf `index` is in the tree of the first `size` leaves; `None` when it is not.
pub fn prove_inclusion<S: NodeSource>(
    source: &mut S,
    index: u64,
    size: u64,
) -> Result<Option<Vec<Hash>>, S::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut low, mut high) = (0, size);
    let mut proof = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            proof.push(range_hash(source, middle, high)?);
            high = middle;
        } else {
            proof.push(range_hash(source, low, middle)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(Some(proof))
}

/// The proof that the tree of the first `old` leaves begins the one of the first `new`;
/// `None` when `old` is the larger. From 0, and between equal sizes, the proof is empty.
pub fn prove_consistency<S: NodeSource>(
    source: &mut S,
    old: u64,
    new: u64,
) -> Result<Option<Vec<Hash>>, S::Error> {
    if old > new {
        return Ok(None);
    }
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(Some(proof));
    }
    let (mut low, mut high) = (0, new);
    while high != old {
        let middle = low + split(high - low);
        if old <= middle {
            proof.push(range_hash(source, middle, high)?);
            high = middle;
        } else {
            proof.push(range_hash(source, low, middle)?);
            low = middle;
        }
    }
    // The whole older tree is known to whoever asks.
    if low > 0 {
        proof.push(range_hash(source, low, high)?);
    }
    proof.reverse();
    Ok(Some(proof))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6962's definition, word for word, as the independent expectation.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::empty_tree(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                Hash::of_node(&mth(left), &mth(right))
            }
        }
    }

    struct Leaves(Vec<Hash>);

    impl NodeSource for Leaves {
        type Error = std::convert::Infallible;

        fn node(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error> {
            let (low, high) = (index << level, (index + 1) << level);
            Ok(mth(&self.0[low as usize..high as usize]))
        }
    }

    fn leaves(n: u64) -> Leaves {
        Leaves((0..n).map(|i| Hash::of_leaf(&i.to_be_bytes())).collect())
    }

    #[test]
    fn the_empty_tree_and_the_empty_leaf_have_the_hashes_of_rfc_6962() {
        assert_eq!(
            Hash::empty_tree().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            Hash::of_leaf(b"").to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }

    #[test]
    fn every_proof_of_every_small_tree_holds_and_no_other() {
        let mut source = leaves(70);
        let mut range = CompactRange::default();
        for new in 1..=70_u64 {
            range.push(source.0[new as usize - 1]);
            let root = mth(&source.0[..new as usize]);
            assert_eq!(range.root(), root);
            assert_eq!(range_at(&mut source, new), Ok(range.clone()));
            assert_eq!(root_at(&mut source, new), Ok(root));
            for index in 0..new {
                let leaf = source.0[index as usize];
                let proof = prove_inclusion(&mut source, index, new).unwrap().unwrap();
                assert_eq!(verify_inclusion(leaf, index, new, &proof, &root), Ok(()));
                assert!(verify_inclusion(leaf, index ^ 1, new, &proof, &root).is_err() || new == 1);
            }
            for old in 1..=new {
                let old_root = mth(&source.0[..old as usize]);
                let proof = prove_consistency(&mut source, old, new).unwrap().unwrap();
                assert_eq!(verify_consistency(old, new, &proof, &old_root, &root), Ok(()));
                let other = Hash::of_leaf(b"other");
                assert!(verify_consistency(old, new, &proof, &other, &root).is_err());
                assert!(verify_consistency(old, new, &proof, &old_root, &other).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn verification_is_total(
            old: u64, new: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70),
        ) {
            let proof: Vec<Hash> = hashes.into_iter().map(Hash).collect();
            let root = Hash::empty_tree();
            let _ = verify_inclusion(root, old, new, &proof, &root);
            let _ = verify_consistency(old, new, &proof, &root, &root);
        }

        #[test]
        fn a_changed_hash_breaks_a_proof(size in 2_u64..300, pick: u64, at: usize, bit in 0_usize..256) {
            let mut source = leaves(size);
            let index = pick % size;
            let root = mth(&source.0);
            let mut proof = prove_inclusion(&mut source, index, size).unwrap().unwrap();
            prop_assert!(proof.len() <= PROOF_HASHES_MAX);
            let at = at % proof.len();
            proof[at].0[bit / 8] ^= 1 << (bit % 8);
            let leaf = source.0[index as usize];
            prop_assert!(verify_inclusion(leaf, index, size, &proof, &root).is_err());
        }
    }
}
