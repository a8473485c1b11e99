//! The Merkle tree hash of RFC 6962, section 2.1, over SHA-256.
//!
//! Leaves and inner nodes are hashed under different prefixes, so that no list of items
//! can be passed off as another.

use palisade_base::Digest;

/// Prefix of a leaf's hash (RFC 6962, section 2.1).
const LEAF: u8 = 0;
/// Prefix of an inner node's hash.
const NODE: u8 = 1;

/// Hash of one leaf.
pub fn leaf(data: &[u8]) -> Digest {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(LEAF);
    bytes.extend_from_slice(data);
    Digest::of(&bytes)
}

fn node(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [0_u8; 65];
    bytes[0] = NODE;
    bytes[1..33].copy_from_slice(left.as_bytes());
    bytes[33..].copy_from_slice(right.as_bytes());
    Digest::of(&bytes)
}

/// Root of the tree over `leaves`, which are leaf hashes; the empty tree's is the hash of
/// nothing.
///
/// Level by level with the odd one carried up: the same tree as the RFC's split at the
/// largest power of two, without recursion.
pub fn root(leaves: &[Digest]) -> Digest {
    if leaves.is_empty() {
        return Digest::of(b"");
    }
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node(left, right),
                rest => rest[0],
            })
            .collect();
    }
    level[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The eight leaves and the roots that the reference implementations of RFC 6962
    /// publish for trees of the first 0 to 8 of them.
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];

    #[test]
    fn roots_are_the_published_ones() {
        let leaves: Vec<Digest> =
            LEAVES.iter().map(|text| leaf(&hex::decode(text).unwrap())).collect();
        for (n, expected) in [
            (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ] {
            assert_eq!(root(&leaves[..n]).hex(), expected, "{n} leaves");
        }
    }
}
