//! The definitions of a file: the names of the objects in it. Two files must not define the same
//! object, and a file that becomes something else keeps its last good version.

use std::collections::BTreeSet;

/// The objects that a file defines, by kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Definitions {
    /// ClusterImagePolicies.
    pub(super) policies: BTreeSet<String>,
    /// TrustRoots.
    pub(super) roots: BTreeSet<String>,
    /// Secrets, and the ConfigMap of the gate.
    pub(super) others: BTreeSet<String>,
    /// Objects that the gate does not read.
    pub(super) unread: BTreeSet<String>,
}

impl Definitions {
    /// The objects that the gate reads.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.policies.iter().chain(&self.roots).chain(&self.others)
    }

    /// Checks that this may be the next version of a file that defined `before`: policies may be
    /// renamed or removed, and must not have become another kind of object.
    pub(super) fn check_follows(&self, before: &Self) -> Result<(), String> {
        let advice = "to remove its objects, delete the file";
        if before.names().next().is_some() && self.names().next().is_none() {
            return Err(format!("it no longer contains an object that this gate reads ({advice})"));
        }
        if !before.policies.is_empty() && self.policies.is_empty() {
            return Err(format!("it no longer contains a ClusterImagePolicy ({advice})"));
        }
        let rules = |it: &Self| !it.policies.is_empty() || !it.roots.is_empty();
        if rules(before) && !rules(self) {
            return Err(format!("it no longer contains a TrustRoot ({advice})"));
        }
        let lost = before.policies.difference(&self.policies);
        let lost = lost.chain(before.roots.difference(&self.roots)).next();
        let gained = self.unread.difference(&before.unread).next();
        if let (Some(lost), Some(gained)) = (lost, gained) {
            return Err(format!("{lost} was replaced by {gained}, which this gate does not read"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_roots_that_became_something_else_stay() {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let file =
            |policies: &[&str], roots: &[&str], others: &[&str], unread: &[&str]| Definitions {
                policies: set(policies),
                roots: set(roots),
                others: set(others),
                unread: set(unread),
            };
        for (before, after, wanted) in [
            (file(&[], &["r"], &[], &[]), file(&[], &[], &["s"], &[]), false),
            (file(&[], &["r"], &[], &[]), file(&[], &[], &[], &["pod"]), false),
            (file(&[], &["r", "q"], &[], &[]), file(&[], &["r"], &[], &["pod"]), false),
            (file(&["p"], &["r"], &[], &[]), file(&["p"], &[], &[], &["pod"]), false),
            (file(&["p"], &["r"], &[], &[]), file(&[], &["r"], &[], &[]), false),
            (file(&["p"], &["r"], &[], &[]), file(&["p"], &[], &[], &[]), true),
            (file(&[], &["r", "q"], &[], &[]), file(&[], &["r"], &[], &[]), true),
            (file(&[], &["r"], &[], &[]), file(&["p"], &[], &[], &[]), true),
        ] {
            assert_eq!(after.check_follows(&before).is_ok(), wanted, "{before:?} to {after:?}");
        }
    }
}
