//! Hashes and inclusion proofs of Merkle trees (RFC 6962, section 2.1; RFC 9162, section 2.1.3.2).

use aws_lc_rs::digest::{Context, SHA256};

use crate::reject::LogReject;

/// A hash of a leaf or of a node.
pub(super) type Hash = [u8; 32];

/// The longest path: a tree has fewer than 2^64 leaves.
const MAX_PATH: usize = 64;

/// The hash of an entry.
pub(super) fn leaf_hash(entry: &[u8]) -> Hash {
    hash(&[&[0], entry])
}

/// The hash of a node over its two children.
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    hash(&[&[1], left, right])
}

/// The root that `path` leads to from the entry with hash `leaf`, the `index`-th (from 0) of a
/// tree with `size` entries.
///
/// # Errors
/// The index lies outside of the tree, or the path is not exactly as long as it must be.
pub(super) fn root(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Result<Hash, LogReject> {
    if index >= size {
        return Err(LogReject::ProofShape("the index lies outside of the tree"));
    }
    if path.len() > MAX_PATH {
        return Err(LogReject::ProofShape("more than 64 hashes"));
    }
    let wrong_length = LogReject::ProofShape("not as many hashes as index and tree size ask for");
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // A node without a right sibling moves up unchanged.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 { Ok(hash) } else { Err(wrong_length) }
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::tree::Tree;
    use super::*;

    #[test]
    fn hashes_are_those_of_rfc_6962() {
        // The empty leaf, from the test vectors of Certificate Transparency.
        let empty = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(hex::encode(leaf_hash(b"")), empty);
        let root = node_hash(&leaf_hash(b""), &leaf_hash(&[0]));
        let two = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
        assert_eq!(hex::encode(root), two);
    }

    #[test]
    fn every_entry_of_every_small_tree_is_proven_in_its_place_only() {
        for size in 1..=33_u64 {
            let tree = Tree::new((0..size).map(|n| n.to_be_bytes().to_vec()));
            for index in 0..size {
                let leaf = leaf_hash(&index.to_be_bytes());
                let path = tree.path(index);
                assert_eq!(root(leaf, index, size, &path), Ok(tree.root()), "{index} of {size}");
                for other in (0..size).filter(|other| *other != index) {
                    assert_ne!(root(leaf, other, size, &path), Ok(tree.root()));
                }
                let longer = [path.clone(), vec![[7; 32]]].concat();
                assert!(root(leaf, index, size, &longer).is_err());
                if let Some((_, shorter)) = path.split_last() {
                    assert!(root(leaf, index, size, shorter).is_err());
                }
            }
        }
    }

    #[test]
    fn refuses_paths_that_cannot_be() {
        let leaf = [0; 32];
        assert!(root(leaf, 0, 0, &[]).is_err());
        assert!(root(leaf, 1, 1, &[]).is_err());
        assert_eq!(root(leaf, 0, 1, &[]), Ok(leaf));
        assert!(root(leaf, 0, u64::MAX, &[leaf; 64]).is_ok());
        assert!(root(leaf, 0, u64::MAX, &[leaf; 65]).is_err());
        assert!(root(leaf, u64::MAX - 1, u64::MAX, &[leaf; 63]).is_ok());
    }

    proptest! {
        #[test]
        fn no_numbers_panic(index: u64, size: u64, length in 0_usize..70) {
            let _ = root([1; 32], index, size, &vec![[2; 32]; length]);
        }
    }
}
