//! Limits on everything that an outsider controls: counts, sizes, depth and concurrency.

use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};

/// Limits for one image. Evidence beyond a limit is a fault or unusable, and never ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of layers of one signature manifest (cosign's own limit is 1000).
    pub signatures: usize,
    /// The maximum number of referrers of one image.
    pub referrers: usize,
    /// The maximum number of concurrent requests for one image.
    pub concurrent: usize,
    /// The maximum size in bytes of one signature payload or bundle.
    pub blob: u64,
    /// The maximum size in bytes of all evidence of one image.
    pub evidence: u64,
    /// The maximum time that the verification of one image's evidence takes.
    pub verification: Duration,
    /// The maximum number of children of one index.
    pub children: usize,
    /// The maximum depth of nested indexes.
    pub depth: usize,
}

/// The maximum number of concurrent requests for one image on the command line, where the process
/// serves one user who waits for all signatures.
pub const CONCURRENT_READS: usize = 32;

impl Default for Limits {
    fn default() -> Self {
        Self {
            signatures: 1000,
            referrers: 1000,
            concurrent: 10,
            blob: 1 << 20,
            evidence: 16 << 20,
            verification: Duration::from_secs(5),
            children: 1000,
            depth: 4,
        }
    }
}

impl Limits {
    /// Returns a fault if `found` exceeds `limit`.
    pub(crate) fn check_count(
        found: usize,
        limit: usize,
        target: &str,
        what: &str,
    ) -> Result<(), Fault> {
        if found <= limit {
            return Ok(());
        }
        let detail = format!("{found} {what}, the limit is {limit}");
        Err(Fault::new(FaultKind::TooMany, target, detail))
    }
}
