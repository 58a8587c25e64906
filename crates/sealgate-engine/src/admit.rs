//! Admission of workloads: the request, the answer, and the gate between them.

use std::collections::BTreeMap;

pub use sealgate_policy::workload::{Admission, Holder, ImageUse, UnchangedImages, Workload};

/// The answer to the API server.
#[derive(Clone, Debug)]
pub struct Answer {
    /// True if the object is admitted.
    pub allowed: bool,
    /// The text of the denial (empty when allowed), first line as policy-controller's.
    pub message: String,
    /// Warnings, one line each.
    pub warnings: Vec<String>,
    /// Audit annotations.
    pub audit: BTreeMap<String, String>,
    /// Images to replace: JSON pointer to new text (mutating webhook).
    pub pins: Vec<(String, String)>,
}
