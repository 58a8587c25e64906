//! A Merkle tree built as RFC 6962 defines it, by recursion: another way than the verifier's.

use super::super::merkle::{Hash, leaf_hash, node_hash};

pub(crate) struct Tree(Vec<Hash>);

impl Tree {
    pub(crate) fn new(entries: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self(entries.into_iter().map(|entry| leaf_hash(&entry)).collect())
    }

    pub(crate) fn root(&self) -> Hash {
        root(&self.0)
    }

    pub(crate) fn path(&self, index: u64) -> Vec<Hash> {
        path(usize::try_from(index).unwrap(), &self.0)
    }
}

/// The largest power of two below `count`.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut hashes, sibling) = match index < at {
        true => (path(index, left), root(right)),
        false => (path(index - at, right), root(left)),
    };
    hashes.push(sibling);
    hashes
}
