//! The transparency services of a signing run: timestamp authorities, transparency logs, and the
//! trust root that their answers are verified with.

use std::sync::Arc;

use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::Override;

use crate::failure::Failure;
use crate::ports::{SignatureLog, TimestampAuthority};

/// The services that timestamp and publish a signature, and the trust root that the result is
/// verified with before it is stored.
#[derive(Clone, Default)]
pub struct TransparencyServices {
    /// Timestamp authorities; each one signs a timestamp over the signature.
    pub timestamps: Vec<Arc<dyn TimestampAuthority>>,
    /// Transparency logs; the signature is uploaded to each one.
    pub logs: Vec<Arc<dyn SignatureLog>>,
    /// The trust root. Without one only the signature itself is verified before it is stored.
    pub root: Option<Arc<TrustRoot>>,
    /// The SCT requirement. Unset: an SCT is required if the trust root contains a CT log.
    pub sct: Override,
    /// The time of the run, in seconds since 1970.
    pub now: i64,
}

impl TransparencyServices {
    /// No service: a signature without timestamps and log entries.
    pub fn none() -> Self {
        Self::default()
    }

    /// Refuses to upload what could not be verified afterwards: a log entry is permanent.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let knows_none = |root: &Arc<TrustRoot>| root.transparency_logs.is_empty();
        if !self.logs.is_empty() && self.root.as_ref().is_some_and(knows_none) {
            let text = "the trust root contains no transparency log, so the inclusion proof could \
                        not be verified: give a trust root that contains the log, or sign without \
                        a log";
            return Err(Failure::Invalid(text.to_owned()));
        }
        Ok(())
    }
}
