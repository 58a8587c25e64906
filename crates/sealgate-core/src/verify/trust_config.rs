//! Trust configuration: a trust root, its source, and the overrides of a user or a policy. A
//! [`VerificationContext`] is derived from it for one authority and one time.

use super::{Authority, Overrides, ProofRequirements, RootSource, VerificationContext};
use crate::trust::SharedRoot;

/// Trust root and overrides for verification. The default has no trust root and no override.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustConfig {
    /// The trust root.
    pub root: Option<SharedRoot>,
    /// The source of the root.
    pub source: RootSource,
    /// The settings of the user or the policy for proofs.
    pub overrides: Overrides,
}

impl TrustConfig {
    /// The proofs that are required with this authority.
    pub fn requirements(&self, authority: &Authority) -> ProofRequirements {
        ProofRequirements::decide(self.overrides, authority, self.root.as_ref(), self.source)
    }

    /// The context for one authority at one time (seconds since 1970).
    pub fn context(&self, authority: &Authority, now: i64) -> VerificationContext<'_> {
        VerificationContext {
            root: self.root.as_ref(),
            requirements: self.requirements(authority),
            now,
        }
    }
}
