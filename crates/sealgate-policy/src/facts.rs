//! Facts: the results of verification as data. The currency between verification, which needs a
//! registry and a trust root, and judgement, which needs neither.
//!
//! A fact states that one candidate satisfies one requirement ([`VerifiedFact`]), or why it does
//! not ([`RejectedFact`]). [`Facts`] are those about one image. They are serialisable, so that a decision record holds what
//! [`crate::judge`] needs to reach the same verdict again, and they hold nothing of a workload, so
//! that they can be cached and shared between workloads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sealgate_core::digest::Digest;
use sealgate_core::evidence::Origin;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::identity::Identity;
use sealgate_core::reject::Reject;
use sealgate_core::verify::{EvidenceFormat, Verified};
use serde::{Deserialize, Serialize};

use crate::rule::RequirementId;

/// The largest number of verified candidates that are kept for one requirement and format.
const MAX_VERIFIED: usize = 32;
/// The largest number of rejected candidates that are kept for one requirement; others are
/// counted.
const MAX_REJECTED: usize = 20;
/// The largest number of distinct reasons in the summary of the rejected candidates.
const MAX_REASONS: usize = 3;
/// The largest number of faults that are kept for one requirement.
const MAX_FAULTS: usize = 20;

/// The facts about one image, by requirement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    requirements: BTreeMap<RequirementId, Arc<Candidates>>,
    /// The fault of every requirement that is not listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unavailable: Option<Fault>,
}

/// The candidates for one requirement, and the sources that could not be read.
///
/// Bounded, however many candidates a registry lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidates {
    /// Verified candidates, ordered by origin.
    verified: Vec<Arc<VerifiedFact>>,
    /// The first rejected candidates by origin.
    rejected: Vec<RejectedFact>,
    /// The number of rejected candidates, including those that are not kept.
    rejected_count: usize,
    /// The first distinct texts of the rejected candidates that are signatures.
    reasons: BTreeSet<String>,
    /// One for each source that could not be read.
    faults: Vec<Fault>,
    /// True if not all sources were read, because the criteria held before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

/// A candidate that satisfies a requirement: a summary of what was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedFact {
    /// The location of the candidate.
    pub origin: Origin,
    /// Legacy layer or bundle.
    pub format: EvidenceFormat,
    /// The fingerprint of the key that made the signature.
    pub key: Digest,
    /// The identity in the signer's certificate; `None` for a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<SignerIdentity>,
    /// The digest that the signed payload names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// SHA-256 of the signed payload: SimpleSigning JSON or an in-toto statement.
    pub payload: Digest,
    /// The transparency log entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LoggedEntry>,
    /// The signed timestamps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timestamps: Vec<SignedTime>,
}

/// The identity in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignerIdentity {
    /// The subject alternative names, joined by commas.
    pub subject: String,
    /// The OIDC issuer that authenticated the signer; empty where the certificate has none.
    pub issuer: String,
}

/// An entry of a transparency log that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedEntry {
    /// The URL of the log, from the trust root.
    pub log: String,
    /// The index of the entry.
    pub index: i64,
    /// The integrated time, in seconds since 1970, where the log signed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrated_time: Option<i64>,
}

/// A signed timestamp that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedTime {
    /// The URL of the timestamp authority, from the trust root.
    pub authority: String,
    /// Seconds since 1970.
    pub time: i64,
}

/// A candidate that does not satisfy a requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedFact {
    /// The location of the candidate.
    pub origin: Origin,
    /// The stable one-word code of the reason.
    pub code: String,
    /// The reason.
    pub text: String,
    /// The action that corrects it.
    pub remedy: String,
}

impl Facts {
    /// Facts where nothing could be verified: `fault` stands for every requirement.
    pub fn unavailable(fault: Fault) -> Self {
        Self { requirements: BTreeMap::new(), unavailable: Some(fault) }
    }

    /// The candidates for a requirement.
    ///
    /// # Errors
    /// The requirement was not verified: a fault, never an empty list.
    pub fn candidates(&self, requirement: &RequirementId) -> Result<&Candidates, Fault> {
        let known = self.requirements.get(requirement).map(|candidates| &**candidates);
        known.ok_or_else(|| match &self.unavailable {
            Some(fault) => fault.clone(),
            None => {
                let detail = "the requirement was not verified";
                Fault::new(FaultKind::Missing, format!("requirement {requirement}"), detail)
            }
        })
    }

    /// Sets the candidates for a requirement.
    pub fn insert(&mut self, requirement: RequirementId, candidates: Arc<Candidates>) {
        self.requirements.insert(requirement, candidates);
    }

    /// The candidates for a requirement, to add to; none at first.
    pub fn candidates_mut(&mut self, requirement: &RequirementId) -> &mut Candidates {
        Arc::make_mut(self.requirements.entry(requirement.clone()).or_default())
    }

    /// Every requirement with its candidates.
    pub fn iter(&self) -> impl Iterator<Item = (&RequirementId, &Arc<Candidates>)> {
        self.requirements.iter()
    }

    /// Adds the facts about requirements that are not known yet, or that no verified candidate is
    /// known for.
    pub fn extend(&mut self, other: &Self) {
        if self.unavailable.is_none() {
            self.unavailable.clone_from(&other.unavailable);
        }
        for (requirement, candidates) in &other.requirements {
            let known = self.requirements.entry(requirement.clone());
            let known = known.or_insert_with(|| candidates.clone());
            if known.verified.is_empty() && !candidates.verified.is_empty() {
                *known = candidates.clone();
            }
        }
    }

    /// Keeps of a requirement whose sources were not all read only its verified candidates: that
    /// there are no others is not known.
    pub fn set_incomplete(&mut self, requirement: &RequirementId) {
        let verified = self.requirements.get(requirement).map(|it| it.verified_only());
        match verified.filter(|candidates| !candidates.verified.is_empty()) {
            Some(verified) => self.insert(requirement.clone(), Arc::new(verified)),
            None => drop(self.requirements.remove(requirement)),
        }
    }

    /// Every fault, of whichever requirement.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        let listed = self.requirements.values().flat_map(|candidates| candidates.faults());
        listed.chain(&self.unavailable)
    }
}

impl Candidates {
    /// Adds a candidate that satisfies the requirement.
    pub fn push_verified(&mut self, fact: VerifiedFact) {
        let alike = self.verified.iter().filter(|known| known.format == fact.format);
        if alike.count() < MAX_VERIFIED {
            let at = self.verified.partition_point(|known| known.origin <= fact.origin);
            self.verified.insert(at, Arc::new(fact));
        }
    }

    /// Adds a candidate that was rejected for `reason`.
    pub fn push_rejected(&mut self, origin: Origin, reason: &Reject) {
        let fact = RejectedFact {
            origin,
            code: reason.code().to_owned(),
            text: reason.to_string(),
            remedy: reason.remedy().to_owned(),
        };
        if !matches!(reason, Reject::NotASignature { .. }) {
            self.push_reason(fact.text.clone());
        }
        self.push_rejected_fact(fact);
    }

    pub(crate) fn push_rejected_fact(&mut self, fact: RejectedFact) {
        self.rejected_count += 1;
        let at = self.rejected.partition_point(|known| known.origin <= fact.origin);
        if at < MAX_REJECTED {
            self.rejected.insert(at, fact);
            self.rejected.truncate(MAX_REJECTED);
        }
    }

    /// Adds a reason to the summary.
    pub(crate) fn push_reason(&mut self, text: String) {
        self.reasons.insert(text);
        if self.reasons.len() > MAX_REASONS {
            self.reasons.pop_last();
        }
    }

    /// Adds a source that could not be read.
    pub fn push_fault(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS && !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// The verified candidates.
    pub fn verified(&self) -> &[Arc<VerifiedFact>] {
        &self.verified
    }

    /// The rejected candidates that are kept.
    pub fn rejected(&self) -> &[RejectedFact] {
        &self.rejected
    }

    /// The number of rejected candidates.
    pub fn rejected_count(&self) -> usize {
        self.rejected_count
    }

    /// The first distinct reasons of the rejected candidates that are signatures, sorted.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        self.reasons.iter().map(String::as_str)
    }

    /// The sources that could not be read.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// True if not all sources were read: that there are no other candidates is not known.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// The verified candidates alone: what holds whoever asks, and may be shared by a cache.
    pub fn verified_only(&self) -> Self {
        Self { verified: self.verified.clone(), incomplete: true, ..Self::default() }
    }
}

impl VerifiedFact {
    /// The summary of verified evidence, found at `origin`.
    pub fn new(origin: Origin, verified: &Verified) -> Self {
        let identity = verified.certificate().map(|found| SignerIdentity::of(found.identity()));
        let logs = verified.logs().iter().map(|proof| LoggedEntry {
            log: proof.base_url().to_owned(),
            index: proof.log_index(),
            integrated_time: proof.integrated_time(),
        });
        let timestamps = verified.timestamps().iter().map(|time| SignedTime {
            authority: time.authority().to_owned(),
            time: time.seconds(),
        });
        Self {
            origin,
            format: verified.format(),
            key: verified.key().clone(),
            identity,
            digest: verified.claimed().cloned(),
            payload: Digest::of(verified.payload()),
            logs: logs.collect(),
            timestamps: timestamps.collect(),
        }
    }

    /// The signer, as one bounded line for records: `subject (issuer)`, or the key's fingerprint.
    pub fn signer(&self) -> String {
        const MAX_SIGNER: usize = 512;
        let text = match &self.identity {
            Some(SignerIdentity { subject, issuer }) => format!("{subject} ({issuer})"),
            None => format!("key {}", self.key),
        };
        let line = |c: char| if c.is_control() { ' ' } else { c };
        text.chars().take(MAX_SIGNER).map(line).collect()
    }
}

impl SignerIdentity {
    /// The identity that a certificate names.
    pub fn of(identity: &Identity) -> Self {
        let subjects: Vec<String> = identity.subjects.iter().map(ToString::to_string).collect();
        let issuer = identity.issuer.clone().unwrap_or_default();
        Self { subject: subjects.join(", "), issuer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::verified_fact;

    fn origin(name: usize) -> Origin {
        Origin { repository: format!("r/{name:05}"), manifest: None, layer: None }
    }

    #[test]
    fn ten_thousand_rejected_candidates_are_bounded_and_counted() {
        let mut candidates = Candidates::default();
        for number in (0..10_000).rev() {
            candidates.push_rejected(origin(number), &Reject::WrongSignature);
        }
        assert_eq!(candidates.rejected().len(), MAX_REJECTED);
        assert_eq!(candidates.rejected()[0].origin, origin(0), "the first by origin");
        assert_eq!(candidates.rejected_count(), 10_000);
        assert_eq!(candidates.reasons().count(), 1);
    }

    #[test]
    fn verified_candidates_of_one_format_do_not_displace_the_other() {
        let mut candidates = Candidates::default();
        let fact = |number, format| verified_fact(origin(number), format);
        (0..1000).for_each(|number| candidates.push_verified(fact(number, EvidenceFormat::Legacy)));
        candidates.push_verified(fact(1000, EvidenceFormat::Bundle));
        assert_eq!(candidates.verified().len(), MAX_VERIFIED + 1);
        assert!(candidates.verified().iter().any(|fact| fact.format == EvidenceFormat::Bundle));
    }

    #[test]
    fn what_was_not_verified_is_a_fault() {
        let requirement = Digest::of(b"requirement");
        let fault = Facts::default().candidates(&requirement).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Missing);
        let slow = Fault::new(FaultKind::Timeout, "r", "no answer");
        let facts = Facts::unavailable(slow.clone());
        assert_eq!(facts.candidates(&requirement).unwrap_err(), slow);
    }
}
