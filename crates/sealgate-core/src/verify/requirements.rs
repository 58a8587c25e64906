//! Requirements of log entry, signed timestamp and SCT, decided once and shown in the output. A
//! proof of a known log or authority that is present and wrong is rejected whether it is required
//! or not.

use std::fmt;

use super::Authority;
use crate::certificate::SctRequirement;
use crate::requirement::{Override, ProofRequirement};
use crate::trust::SharedRoot;

/// Trust root, requirements and time of a verification.
#[derive(Clone, Copy, Debug)]
pub struct VerificationContext<'a> {
    /// The trust root. Without one, signatures are verified by key only and certificates are
    /// rejected.
    pub root: Option<&'a SharedRoot>,
    /// The required proofs.
    pub requirements: ProofRequirements,
    /// The time of verification, in seconds since 1970. It is taken as the time of a signature only
    /// where neither a log entry nor a timestamp is required and there is none. The key of a log
    /// whose entry has no time must be valid at this time.
    pub now: i64,
}

/// Source of a trust root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RootSource {
    /// Chosen by the user: a flag, `initialize`, or a TrustRoot object.
    Configured,
    /// Embedded in the program: signatures by key need not be in its logs.
    #[default]
    Embedded,
}

/// Settings of a user or a policy for all proofs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Overrides {
    /// A transparency log entry.
    pub log: Override,
    /// An RFC 3161 timestamp.
    pub timestamp: Override,
    /// An SCT.
    pub sct: Override,
    /// Certificate chains in bundles.
    pub chains: Chains,
}

/// Certificate chains in bundles of version 0.3. Certificates in a chain are untrusted; they only
/// fill gaps up to a root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Chains {
    /// Refused: that version has a single certificate.
    #[default]
    ByVersion,
    /// Allowed, as in older versions (`--allow-certificate-chain`).
    Allowed,
}

/// The required proofs. Made by [`ProofRequirements::decide`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProofRequirements {
    log: ProofRequirement,
    timestamp: ProofRequirement,
    sct: ProofRequirement,
    chains: Chains,
}

impl ProofRequirements {
    /// The rules:
    ///
    /// - Log: a certificate always needs one; a key if the trust root is configured and names a
    ///   log. Overrides take precedence.
    /// - Timestamp: only by override. (A certificate needs *some* trusted time in any case.)
    /// - SCT: a certificate needs one, unless overridden. A key has none.
    pub fn decide(
        overrides: Overrides,
        authority: &Authority,
        root: Option<&SharedRoot>,
        source: RootSource,
    ) -> Self {
        // Asked last, because it parses an embedded root.
        let names_log = || root.is_some_and(|root| root.names_transparency_log());
        let (log, sct) = match authority {
            Authority::Identities(_) => {
                (ProofRequirement::ByCertificate, ProofRequirement::ByCertificate)
            }
            Authority::Keys(_) if source == RootSource::Configured && names_log() => {
                (ProofRequirement::ByTrustRoot, ProofRequirement::NotRequired)
            }
            Authority::Keys(_) => (ProofRequirement::NotRequired, ProofRequirement::NotRequired),
        };
        let sct = match authority {
            Authority::Identities(_) => ProofRequirement::of(overrides.sct, sct),
            Authority::Keys(_) => sct,
        };
        Self {
            log: ProofRequirement::of(overrides.log, log),
            timestamp: ProofRequirement::of(overrides.timestamp, ProofRequirement::NotRequired),
            sct,
            chains: overrides.chains,
        }
    }

    /// The requirement of a transparency log entry.
    pub fn log(&self) -> ProofRequirement {
        self.log
    }
    /// The requirement of an RFC 3161 timestamp.
    pub fn timestamp(&self) -> ProofRequirement {
        self.timestamp
    }
    /// The requirement of an SCT.
    pub fn sct(&self) -> ProofRequirement {
        self.sct
    }

    pub(super) fn chains(&self) -> Chains {
        self.chains
    }

    pub(super) fn sct_requirement(&self) -> SctRequirement {
        if self.sct.is_required() { SctRequirement::Required } else { SctRequirement::NotRequired }
    }

    /// True if the time of verification may be taken as the time of the signature: neither a log
    /// entry nor a timestamp is required.
    pub(super) fn trusts_now(&self) -> bool {
        !self.log.is_required() && !self.timestamp.is_required()
    }
}

/// One line, for display.
impl fmt::Display for ProofRequirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "transparency log entry: {}; signed timestamp: {}; SCT: {}",
            self.log, self.timestamp, self.sct
        )
    }
}
