//! The bounds on what a stranger controls: counts, sizes, depth, work at a time.

use sealgate_core::fault::{Fault, FaultKind};

/// Bounds for one image. What lies beyond a bound is a fault or unusable evidence, never nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Layers of one signature manifest (cosign's own bound is 1000).
    pub signatures: usize,
    /// Referrers of one image.
    pub referrers: usize,
    /// Requests under way for one image.
    pub concurrent: usize,
    /// Bytes of one signature payload or bundle.
    pub blob: u64,
    /// Bytes of all evidence of one image together.
    pub evidence: u64,
    /// Children of one index.
    pub children: usize,
    /// How deep indexes may lie in each other.
    pub depth: usize,
}

/// Requests under way for one image where a person waits for all of its signatures, and nobody
/// else shares the process.
pub const CONCURRENT_READS: usize = 32;

impl Default for Limits {
    fn default() -> Self {
        Self {
            signatures: 1000,
            referrers: 1000,
            concurrent: 10,
            blob: 1 << 20,
            evidence: 16 << 20,
            children: 1000,
            depth: 4,
        }
    }
}

impl Limits {
    /// A fault unless `found` is within `bound`.
    pub(crate) fn check_count(
        found: usize,
        bound: usize,
        target: &str,
        what: &str,
    ) -> Result<(), Fault> {
        if found <= bound {
            return Ok(());
        }
        let detail = format!("{found} {what}, the bound is {bound}");
        Err(Fault::new(FaultKind::TooMany, target, detail))
    }
}
