//! What a verification rests on, in a form that can be kept and shared: a trust root, where it
//! comes from, and what was wished. [`Trust`] is made of it for one authority and one moment.

use std::sync::Arc;

use super::{Authority, Demands, RootSource, Trust, Wishes};
use crate::trust::TrustRoot;

/// What verifications by an authority rest on. The default is nothing: no trust root, no wish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grounds {
    /// Whom to believe.
    pub root: Option<Arc<TrustRoot>>,
    /// Where the root comes from.
    pub source: RootSource,
    /// What the user or the policy says about proofs.
    pub wishes: Wishes,
}

impl Grounds {
    /// What is asked for with this authority.
    pub fn demands(&self, authority: &Authority) -> Demands {
        Demands::decide(self.wishes, authority, self.root.as_deref(), self.source)
    }

    /// For one authority, at one moment (seconds since 1970).
    pub fn trust(&self, authority: &Authority, now: i64) -> Trust<'_> {
        Trust { root: self.root.as_deref(), demands: self.demands(authority), now }
    }
}
