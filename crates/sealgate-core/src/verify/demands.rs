//! What is asked for, decided once and shown: a log's proof, a signed timestamp, a certificate
//! log's promise. Everything here is a decision about demands; what is there and wrong is refused
//! whatever was decided, as soon as the trust root knows who is said to have signed it.

use std::fmt;

use super::Authority;
use crate::bundle::LogMaterial;
use crate::certificate::SctDemand;
use crate::digest::Digest;
use crate::trust::TrustRoot;

/// What a verification rests on, beside the authority.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// Whom to believe. Without one, keys judge alone and certificates cannot be judged.
    pub root: Option<&'a TrustRoot>,
    /// What is asked for.
    pub demands: Demands,
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

/// What a user or a policy says about one proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wish {
    /// Nothing: the usual rule decides.
    #[default]
    Unsaid,
    /// It must be there.
    Required,
    /// It is not asked for (`--insecure-ignore-tlog` and its like).
    Ignored,
}

/// What a user or a policy says about all proofs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wishes {
    /// A transparency log's proof.
    pub log: Wish,
    /// An RFC 3161 timestamp.
    pub timestamp: Wish,
    /// A certificate log's promise.
    pub sct: Wish,
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

/// What is asked for. Made by [`Demands::decide`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Demands {
    log: Demand,
    timestamp: Demand,
    sct: Demand,
    chains: Chains,
}

/// Whether a proof is asked for, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Demand {
    /// The user or the policy requires it.
    Wished,
    /// A certificate cannot be judged without.
    ByCertificate,
    /// The configured trust root names a log.
    ByTrustRoot,
    /// Nobody asks for it.
    NotAsked,
    /// The user or the policy has said not to ask for it.
    Ignored,
}

impl Demand {
    /// Whether it must be there.
    pub fn is_required(self) -> bool {
        matches!(self, Self::Wished | Self::ByCertificate | Self::ByTrustRoot)
    }

    fn of(wish: Wish, otherwise: Self) -> Self {
        match wish {
            Wish::Required => Self::Wished,
            Wish::Ignored => Self::Ignored,
            Wish::Unsaid => otherwise,
        }
    }
}

impl Demands {
    /// The rules:
    ///
    /// - Log: a certificate always needs one; a key if the trust root is configured and names a
    ///   log. Unless wished otherwise.
    /// - Timestamp: only if wished. (A certificate needs *some* trusted time in any case.)
    /// - Promise of a certificate log: a certificate needs one, unless wished otherwise. A key
    ///   has none.
    pub fn decide(
        wishes: Wishes,
        authority: &Authority,
        root: Option<&TrustRoot>,
        source: RootSource,
    ) -> Self {
        let names_log = root.is_some_and(TrustRoot::names_transparency_log);
        let (log, sct) = match authority {
            Authority::Identities(_) => (Demand::ByCertificate, Demand::ByCertificate),
            Authority::Keys(_) if names_log && source == RootSource::Configured => {
                (Demand::ByTrustRoot, Demand::NotAsked)
            }
            Authority::Keys(_) => (Demand::NotAsked, Demand::NotAsked),
        };
        let sct = match authority {
            Authority::Identities(_) => Demand::of(wishes.sct, sct),
            Authority::Keys(_) => sct,
        };
        Self {
            log: Demand::of(wishes.log, log),
            timestamp: Demand::of(wishes.timestamp, Demand::NotAsked),
            sct,
            chains: wishes.chains,
        }
    }

    /// Whether a transparency log's proof is asked for.
    pub fn log(&self) -> Demand {
        self.log
    }
    /// Whether an RFC 3161 timestamp is asked for.
    pub fn timestamp(&self) -> Demand {
        self.timestamp
    }
    /// Whether a certificate log's promise is asked for.
    pub fn sct(&self) -> Demand {
        self.sct
    }

    pub(super) fn chains(&self) -> Chains {
        self.chains
    }

    pub(super) fn sct_demand(&self) -> SctDemand {
        if self.sct.is_required() { SctDemand::Required } else { SctDemand::NotRequired }
    }

    /// Whether the time of verification may stand for the time of the signature: the user has
    /// said that no log is needed, and asks for no timestamp.
    pub(super) fn trusts_now(&self) -> bool {
        !self.log.is_required() && !self.timestamp.is_required()
    }
}

impl Trust<'_> {
    /// The digests that log entries are compared with, made only where there are entries that
    /// can be judged.
    pub(super) fn logged_digests(
        &self,
        log: &LogMaterial,
        digests: impl FnOnce() -> Vec<Digest>,
    ) -> Vec<Digest> {
        if self.root.is_some() && !log.entries.is_empty() { digests() } else { Vec::new() }
    }
}

impl Trust<'static> {
    /// No trust root: keys judge alone.
    pub fn none() -> Self {
        let demand = Demand::NotAsked;
        let chains = Chains::ByVersion;
        let demands = Demands { log: demand, timestamp: demand, sct: demand, chains };
        Self { root: None, demands, now: 0 }
    }
}

/// Why, for a person.
impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wished => "required",
            Self::ByCertificate => "required, as always with certificates",
            Self::ByTrustRoot => "required, because the trust root names a log",
            Self::NotAsked => "not asked for",
            Self::Ignored => "not asked for, as requested",
        })
    }
}

/// One sentence, for a person.
impl fmt::Display for Demands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "transparency log: {}; signed timestamp: {}; certificate log: {}",
            self.log, self.timestamp, self.sct
        )
    }
}
