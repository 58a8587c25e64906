//! Requirement of one proof beside a signature (log entry, timestamp or SCT), and the reason for it.

use std::fmt;

/// What a user or a policy says about one proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Override {
    /// Nothing: the usual rule decides.
    #[default]
    Unset,
    /// It must be there.
    Required,
    /// It is not asked for (`--insecure-ignore-tlog` and its like).
    Ignored,
}

/// Whether a proof is asked for, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProofRequirement {
    /// The user or the policy requires it.
    ByOverride,
    /// A certificate cannot be judged without.
    ByCertificate,
    /// The configured trust root names a log.
    ByTrustRoot,
    /// Nobody asks for it.
    NotRequired,
    /// The user or the policy has said not to ask for it.
    Ignored,
}

impl ProofRequirement {
    /// Whether it must be there.
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

/// Why, for a person.
impl fmt::Display for ProofRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByOverride => "required",
            Self::ByCertificate => "required, as always with certificates",
            Self::ByTrustRoot => "required, because the trust root names a log",
            Self::NotRequired => "not asked for",
            Self::Ignored => "not asked for, as requested",
        })
    }
}
