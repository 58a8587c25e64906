//! What is asked for, decided once and shown: a log's proof, a signed timestamp, a certificate
//! log's promise. Everything here is a decision about requirements; what is there and wrong is refused
//! whatever was decided, as soon as the trust root knows who is said to have signed it.

use std::fmt;

use super::Authority;
use crate::certificate::SctRequirement;
use crate::requirement::{Override, ProofRequirement};
use crate::trust::TrustRoot;

/// What a verification rests on, beside the authority.
#[derive(Clone, Copy, Debug)]
pub struct VerificationContext<'a> {
    /// Whom to believe. Without one, keys judge alone and certificates cannot be judged.
    pub root: Option<&'a TrustRoot>,
    /// What is asked for.
    pub requirements: ProofRequirements,
    /// The time, in seconds since 1970. Counts as the time of a signature only where neither a
    /// log nor a timestamp is asked for and there is none; and a log entry without any time
    /// must be of a log that counts now.
    pub now: i64,
}

/// Where a trust root comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RootSource {
    /// The user has chosen it: a flag, `initialize`, a TrustRoot object.
    Configured,
    /// It came with the program: nobody has said that signatures by key are in its logs.
    #[default]
    Embedded,
}

/// What a user or a policy says about all proofs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Overrides {
    /// A transparency log's proof.
    pub log: Override,
    /// An RFC 3161 timestamp.
    pub timestamp: Override,
    /// A certificate log's promise.
    pub sct: Override,
    /// Chains of certificates in bundles.
    pub chains: Chains,
}

/// Whether a bundle of version 0.3 may hold a chain of certificates. What lies in it is never
/// trusted, it only may lead to a root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Chains {
    /// No: that version has a single certificate.
    #[default]
    ByVersion,
    /// Yes, as in older versions (`--allow-certificate-chain`).
    Allowed,
}

/// What is asked for. Made by [`ProofRequirements::decide`] only.
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
    ///   log. Unless wished otherwise.
    /// - Timestamp: only if wished. (A certificate needs *some* trusted time in any case.)
    /// - Promise of a certificate log: a certificate needs one, unless wished otherwise. A key
    ///   has none.
    pub fn decide(
        overrides: Overrides,
        authority: &Authority,
        root: Option<&TrustRoot>,
        source: RootSource,
    ) -> Self {
        let names_log = root.is_some_and(TrustRoot::names_transparency_log);
        let (log, sct) = match authority {
            Authority::Identities(_) => {
                (ProofRequirement::ByCertificate, ProofRequirement::ByCertificate)
            }
            Authority::Keys(_) if names_log && source == RootSource::Configured => {
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

    /// Whether a transparency log's proof is asked for.
    pub fn log(&self) -> ProofRequirement {
        self.log
    }
    /// Whether an RFC 3161 timestamp is asked for.
    pub fn timestamp(&self) -> ProofRequirement {
        self.timestamp
    }
    /// Whether a certificate log's promise is asked for.
    pub fn sct(&self) -> ProofRequirement {
        self.sct
    }

    pub(super) fn chains(&self) -> Chains {
        self.chains
    }

    pub(super) fn sct_requirement(&self) -> SctRequirement {
        if self.sct.is_required() { SctRequirement::Required } else { SctRequirement::NotRequired }
    }

    /// Whether the time of verification may stand for the time of the signature: the user has
    /// said that no log is needed, and asks for no timestamp.
    pub(super) fn trusts_now(&self) -> bool {
        !self.log.is_required() && !self.timestamp.is_required()
    }
}

/// One sentence, for a person.
impl fmt::Display for ProofRequirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "transparency log: {}; signed timestamp: {}; certificate log: {}",
            self.log, self.timestamp, self.sct
        )
    }
}
