//! Budget of all evaluations under way: evaluations, requests to registries, bytes from outsiders
//! and processor time, limited in total, per namespace and per registry host.
//!
//! An admission that cannot be answered from memory takes a [`Lease`] for its namespace and draws
//! from the budget through it. The namespace that uses least goes first. While one with a smaller
//! share waits, the longest-running lease of the one with the largest share is revoked: its
//! evaluation ends with a fault of the kind [`FaultKind::Busy`], as does one that waits too long.
//!
//! [`FaultKind::Busy`]: sealgate_core::fault::FaultKind::Busy

mod lease;
mod pool;

pub use lease::{ByteShare, Lease, RequestPermit};
pub use pool::{PoolLimits, PoolStats, Resource, Share};

use std::sync::Arc;

use sealgate_core::fault::Fault;
use tokio::time::Instant;

use lease::Pools;

/// Limits of the budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Evaluations that need more than memory.
    pub evaluations: PoolLimits,
    /// Requests to registries; one is a call of the port, with its retries and redirects.
    pub requests: PoolLimits,
    /// Bytes of registry responses, from the first byte until the evidence in them is verified,
    /// and of the reviews that are evaluated.
    pub bytes: PoolLimits,
    /// Verifications of evidence at a time.
    pub verifications: PoolLimits,
}

impl Default for BudgetLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        // One core stays free for answers from memory.
        let verifications = cores.saturating_sub(1).max(1);
        Self {
            evaluations: PoolLimits { total: 64, namespace: 32, host: u64::MAX },
            requests: PoolLimits { total: 64, namespace: 32, host: 32 },
            bytes: PoolLimits { total: 24 << 20, namespace: 16 << 20, host: u64::MAX },
            verifications: PoolLimits {
                total: verifications,
                namespace: verifications,
                host: u64::MAX,
            },
        }
    }
}

/// The budget. Clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Pools>);

impl Budget {
    /// A budget of which nothing is used.
    pub fn new(limits: &BudgetLimits) -> Self {
        Self(Arc::new(Pools::new(limits)))
    }

    /// Begins an evaluation for `namespace` that holds a review of `bytes`, when its turn comes.
    ///
    /// # Errors
    /// `Busy` if that is not before `deadline`, or if too many evaluations wait.
    pub async fn begin(
        &self,
        namespace: &str,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Lease, Fault> {
        Lease::begin(&self.0, namespace, bytes, deadline).await
    }

    /// The use of each resource.
    pub fn stats(&self) -> Vec<PoolStats> {
        self.0.each().iter().map(|pool| pool.stats()).collect()
    }
}

#[cfg(test)]
mod tests;
