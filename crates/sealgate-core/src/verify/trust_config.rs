//! What a verification rests on, in a form that can be kept and shared: a trust root, where it
//! comes from, and what was wished. [`VerificationContext`] is made of it for one authority and one moment.

use std::sync::Arc;

use super::{Authority, Overrides, ProofRequirements, RootSource, VerificationContext};
use crate::trust::TrustRoot;

/// What verifications by an authority rest on. The default is nothing: no trust root, no setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustConfig {
    /// Whom to believe.
    pub root: Option<Arc<TrustRoot>>,
    /// Where the root comes from.
    pub source: RootSource,
    /// What the user or the policy says about proofs.
    pub overrides: Overrides,
}

impl TrustConfig {
    /// What is asked for with this authority.
    pub fn requirements(&self, authority: &Authority) -> ProofRequirements {
        ProofRequirements::decide(self.overrides, authority, self.root.as_deref(), self.source)
    }

    /// For one authority, at one moment (seconds since 1970).
    pub fn context(&self, authority: &Authority, now: i64) -> VerificationContext<'_> {
        VerificationContext {
            root: self.root.as_deref(),
            requirements: self.requirements(authority),
            now,
        }
    }
}
