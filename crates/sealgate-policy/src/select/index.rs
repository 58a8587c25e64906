//! An index of rules by the literal prefix of their patterns: registry, then path.
//!
//! Returns candidates only. No rule can be missed: a pattern is entered under
//! [`Glob::literal_prefix`], which is a part of the compiled form that [`Glob::matches`] compares,
//! and every name that it matches begins with that prefix. A pattern without a literal registry is
//! entered under the empty prefix, which every name begins with.
//!
//! Prefixes are kept in one sorted list, so that building takes no longer than sorting, and a
//! look-up is a binary search and a walk over the prefixes that share a beginning, of which there
//! are at most as many as a pattern has characters. There is no hash table in which patterns could
//! be made to collide.
//!
//! [`Glob::literal_prefix`]: crate::glob::Glob::literal_prefix
//! [`Glob::matches`]: crate::glob::Glob::matches

use sealgate_core::reference::Repository;

use crate::glob::canonical_name;
use crate::rule::Rule;

/// The positions of rules by the literal prefixes of their patterns.
#[derive(Debug)]
pub(super) struct PrefixIndex {
    /// Ordered by prefix, each prefix once.
    entries: Vec<Entry>,
}

/// One prefix, with the rules that have a pattern with exactly this prefix.
#[derive(Debug)]
struct Entry {
    prefix: Box<str>,
    /// The entry of the longest shorter prefix that this one begins with.
    parent: Option<usize>,
    rules: Box<[usize]>,
}

impl PrefixIndex {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut patterns = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            patterns.extend(rule.when.images.iter().map(|glob| (glob.literal_prefix(), at)));
        }
        patterns.sort_unstable();
        patterns.dedup();
        let mut entries: Vec<Entry> = Vec::new();
        // The entries that the next prefix may begin with, shortest first.
        let mut ancestors: Vec<usize> = Vec::new();
        for alike in patterns.chunk_by(|(one, _), (other, _)| one == other) {
            let prefix = alike[0].0;
            let is_other = |at: &mut usize| !prefix.starts_with(&*entries[*at].prefix);
            while ancestors.pop_if(is_other).is_some() {}
            let (parent, rules) = (ancestors.last().copied(), alike.iter().map(|(_, at)| *at));
            ancestors.push(entries.len());
            entries.push(Entry { prefix: prefix.into(), parent, rules: rules.collect() });
        }
        Self { entries }
    }

    /// Returns the positions of all rules that may apply to an image of `repository`, in ascending
    /// order.
    pub(super) fn candidates(&self, repository: &Repository) -> Vec<usize> {
        let name = canonical_name(repository);
        // In lexicographic order, every entry between a prefix of the name and the name begins with
        // that prefix. So each prefix of the name is the last entry up to it or a parent of that.
        let up_to_name = self.entries.partition_point(|entry| *entry.prefix <= *name);
        let mut next = up_to_name.checked_sub(1);
        let mut found = Vec::new();
        while let Some(entry) = next.map(|at| &self.entries[at]) {
            if name.starts_with(&*entry.prefix) {
                found.extend_from_slice(&entry.rules);
            }
            next = entry.parent;
        }
        // A rule with several patterns may be found by more than one.
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests;
