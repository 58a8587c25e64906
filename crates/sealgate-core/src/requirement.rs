//! Requirement of one proof beside a signature (log entry, timestamp or SCT), and the reason for it.

use std::fmt;

/// Setting of a user or a policy for one proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Override {
    /// No setting: the default rule applies.
    #[default]
    Unset,
    /// The proof is required.
    Required,
    /// The proof is not required (`--insecure-ignore-tlog` and similar).
    Ignored,
}

/// Requirement of a proof, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProofRequirement {
    /// The user or the policy requires it.
    ByOverride,
    /// Required for every certificate.
    ByCertificate,
    /// The configured trust root names a log.
    ByTrustRoot,
    /// Not required.
    NotRequired,
    /// Not required, because the user or the policy says so.
    Ignored,
}

impl ProofRequirement {
    /// True if the proof is required.
    pub fn is_required(self) -> bool {
        matches!(self, Self::ByOverride | Self::ByCertificate | Self::ByTrustRoot)
    }

    pub(crate) fn of(setting: Override, otherwise: Self) -> Self {
        match setting {
            Override::Required => Self::ByOverride,
            Override::Ignored => Self::Ignored,
            Override::Unset => otherwise,
        }
    }
}

/// The reason, for display.
impl fmt::Display for ProofRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByOverride => "required",
            Self::ByCertificate => "required for certificates",
            Self::ByTrustRoot => "required, because the trust root names a log",
            Self::NotRequired => "not required",
            Self::Ignored => "not required, as requested",
        })
    }
}
