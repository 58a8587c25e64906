//! Pure policy: `ClusterImagePolicy` objects to one algebra of rules; select, judge, decide.

pub mod scope;
