//! Rules, the common form of every policy language: a [`Rule`] has a scope, a need, and the
//! consequence of a failure. Compilers (`compile`, later Binary Authorization) make rules;
//! `select`, `judge` and `decide` evaluate them without knowledge of the policy language.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealgate_core::digest::Digest;
use sealgate_core::reference::{Reference, Repository};
use sealgate_core::verify::{Authority, ClaimComparison, EvidenceFormat, TrustConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::glob::{Glob, TagMatching};
use crate::object_match::ObjectMatch;
use crate::scope::Scope;

pub(crate) mod fingerprint;

/// A compiled policy: the images that it applies to, and the criterion that they must meet.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The object that it was compiled from.
    pub source: RuleSource,
    /// The images and objects that it applies to.
    pub when: When,
    /// The criterion, shared by the images that it is applied to.
    pub criterion: Arc<Criterion>,
}

/// The part of a rule that a verdict depends on. A decision record holds it, without keys and
/// trust roots, so that the verdict can be reached again from the facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Criterion {
    /// The policy's name, as shown in denials.
    pub name: String,
    /// The consequence of a failure.
    pub mode: Mode,
    /// The condition.
    pub need: Need,
    /// SHA-256 of the whole rule except its source; equal fingerprints give equal verdicts.
    pub fingerprint: Digest,
}

/// The object that a rule was compiled from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSource {
    /// `policy.sigstore.dev/v1beta1`.
    pub api_version: String,
    /// `ClusterImagePolicy`.
    pub kind: String,
    /// `metadata.generation`, where a cluster gave one.
    pub generation: Option<i64>,
    /// The place that it was read from: `cluster`, or the path of a file.
    pub place: String,
}

/// The images and objects that a rule applies to.
#[derive(Clone, Debug)]
pub struct When {
    /// Image patterns; at least one must match, so an empty list matches nothing.
    pub images: Vec<Glob>,
    /// The treatment of a tag that precedes a digest.
    pub tags: TagMatching,
    /// Selectors of objects; at least one must match; empty means every object.
    pub matches: Vec<ObjectMatch>,
}

/// The condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Need {
    /// Each of these. An empty list never holds.
    All(Vec<Need>),
    /// At least one of these. An empty list never holds.
    Any(Vec<Need>),
    /// A signature by an authority: by one of its keys, or by one of its identities.
    Signed(SignedBy),
    /// Holds without any evidence: `static: {action: pass}`.
    Always {
        /// The authority's name.
        authority: String,
    },
    /// Never holds: `static: {action: fail}`.
    Never {
        /// The authority's name.
        authority: String,
        /// The author's text.
        message: String,
    },
    /// A policy without authorities in mode warn: admits images with a warning each time. In mode
    /// enforce it never holds.
    Exempt,
    /// A condition that cannot be evaluated now. Never holds; it is a fault, not a reject.
    Undecidable {
        /// The authority's name; empty when the whole policy is meant.
        authority: String,
        /// The reason, with a stable code.
        condition: UndecidableReason,
        /// Details for a person.
        detail: String,
    },
}

/// A signature by an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedBy {
    /// The authority's name.
    pub authority: String,
    /// The kind of its signers.
    pub signers: Signers,
    /// The signature formats that are accepted.
    pub formats: Formats,
    /// The requirement that a signature must satisfy.
    pub requirement: RequirementRef,
}

/// The kind of signers that an authority names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Signers {
    /// Holders of keys.
    Key,
    /// Identities in certificates.
    Keyless,
    /// An empty list of keys: no signature satisfies it.
    NoKeys,
    /// An empty list of identities: no signature satisfies it.
    NoIdentities,
}

/// The fingerprint of a [`SignatureRequirement`]: equal requirements have equal facts.
pub type RequirementId = Digest;

/// A requirement by its fingerprint. In a decision record the fingerprint stands alone: the facts
/// say what satisfied it.
#[derive(Clone, Debug)]
pub struct RequirementRef {
    id: RequirementId,
    requirement: Option<Arc<SignatureRequirement>>,
}

/// A requirement that a signature is verified against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureRequirement {
    /// The signers: keys, or identities in certificates.
    pub by: Authority,
    /// The trust root, and the proofs that the policy requires.
    pub trust_config: TrustConfig,
    /// The location of the signatures, if not the image's repository.
    pub source: Option<Source>,
    /// Annotations that the signature must carry, each with this value.
    pub annotations: BTreeMap<String, String>,
    /// The check that the signed payload names the image's digest. Always enabled for policies.
    pub claims: ClaimComparison,
}

/// The location of an authority's signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The repository to search; the image's own where there is none.
    pub repository: Option<Repository>,
    /// Search the referrers in the image's own repository, too.
    pub include_image_repository: bool,
    /// The prefix of the signature's tag, before `sha256-….sig`.
    pub tag_prefix: Option<String>,
    /// Names of pull secrets in the workload's namespace.
    pub pull_secrets: Vec<String>,
}

/// The signature formats that are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Formats {
    /// Legacy signatures and bundles.
    #[default]
    Both,
    /// `signatureFormat: legacy`.
    Legacy,
    /// `signatureFormat: bundle`.
    Bundle,
}

/// The consequence of a failure of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The object is denied.
    #[default]
    Enforce,
    /// The object is admitted with a warning.
    Warn,
}

/// The reason why a rule is undecidable. Its code is stable and is shown in conditions and denials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UndecidableReason {
    /// Attestations, which are not supported yet.
    Attestations,
    /// CUE and Rego, which are not supported yet.
    Policy,
    /// Keys in a KMS, which are not supported yet.
    Kms,
    /// The key of an authority is unavailable.
    Key,
    /// The trust root of an authority is unavailable, or has no part that the authority requires.
    TrustRoot,
    /// The policy object is invalid.
    Invalid,
}

impl Rule {
    /// Creates a rule and computes its fingerprint.
    pub fn new(name: String, source: RuleSource, when: When, need: Need, mode: Mode) -> Self {
        let fingerprint = fingerprint::of_rule(&name, &when, &need, mode);
        Self { source, when, criterion: Arc::new(Criterion { name, mode, need, fingerprint }) }
    }

    /// The policy's name.
    pub fn name(&self) -> &str {
        &self.criterion.name
    }

    /// The consequence of a failure.
    pub fn mode(&self) -> Mode {
        self.criterion.mode
    }

    /// The condition.
    pub fn need(&self) -> &Need {
        &self.criterion.need
    }

    /// SHA-256 of the whole rule except its source.
    pub fn fingerprint(&self) -> &Digest {
        &self.criterion.fingerprint
    }
}

impl Criterion {
    /// Creates a criterion outside of any policy.
    pub fn new(name: String, mode: Mode, need: Need) -> Arc<Self> {
        let fingerprint = fingerprint::of_criterion(&name, &need, mode);
        Arc::new(Self { name, mode, need, fingerprint })
    }

    /// Returns whether it requires signatures, and so facts.
    pub fn needs_facts(&self) -> bool {
        self.need.needs_facts()
    }
}

impl SignatureRequirement {
    /// Creates a requirement for a signature over the image's digest, stored in the image's
    /// repository.
    pub fn new(by: Authority, trust_config: TrustConfig) -> Self {
        let (annotations, claims) = (BTreeMap::new(), ClaimComparison::Checked);
        Self { by, trust_config, source: None, annotations, claims }
    }
}

impl SignedBy {
    /// Creates a need for a signature that satisfies `requirement`, in one of `formats`.
    pub fn new(authority: String, requirement: SignatureRequirement, formats: Formats) -> Self {
        let signers = match &requirement.by {
            Authority::Keys(_) if requirement.by.is_empty() => Signers::NoKeys,
            Authority::Keys(_) => Signers::Key,
            Authority::Identities(_) if requirement.by.is_empty() => Signers::NoIdentities,
            Authority::Identities(_) => Signers::Keyless,
        };
        Self { authority, signers, formats, requirement: RequirementRef::new(requirement) }
    }
}

impl RequirementRef {
    fn new(requirement: SignatureRequirement) -> Self {
        let id = fingerprint::of_requirement(&requirement);
        Self { id, requirement: Some(Arc::new(requirement)) }
    }

    /// The fingerprint.
    pub fn id(&self) -> &RequirementId {
        &self.id
    }

    /// The requirement; `None` in a rule that was read from a record.
    pub fn requirement(&self) -> Option<&Arc<SignatureRequirement>> {
        self.requirement.as_ref()
    }
}

impl PartialEq for RequirementRef {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for RequirementRef {}

impl Serialize for RequirementRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RequirementRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { id: RequirementId::deserialize(deserializer)?, requirement: None })
    }
}

impl Mode {
    /// `enforce` or `warn`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
        }
    }
}

impl Formats {
    /// Returns whether signatures of `format` are accepted.
    pub fn allows(self, format: EvidenceFormat) -> bool {
        match self {
            Self::Both => true,
            Self::Legacy => format == EvidenceFormat::Legacy,
            Self::Bundle => format == EvidenceFormat::Bundle,
        }
    }

    /// The value of `signatureFormat`; empty for both.
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "",
            Self::Legacy => "legacy",
            Self::Bundle => "bundle",
        }
    }
}

impl UndecidableReason {
    /// All variants.
    pub const ALL: [Self; 6] =
        [Self::Attestations, Self::Policy, Self::Kms, Self::Key, Self::TrustRoot, Self::Invalid];

    /// The stable one-word code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Attestations => "AttestationsUnsupported",
            Self::Policy => "PolicyUnsupported",
            Self::Kms => "KmsUnsupported",
            Self::Key => "InliningKeysFailed",
            Self::TrustRoot => "TrustRootUnavailable",
            Self::Invalid => "Invalid",
        }
    }

    /// The remedy, in one sentence.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Kms => {
                "set `key.data` or `key.secretRef` to the public key of the same key pair, or use a version of sealgate that supports keys in a KMS"
            }
            Self::Attestations | Self::Policy => {
                "use a version of sealgate that supports these fields; this version denies the images"
            }
            Self::Key => {
                "make the key that the policy names available to the gate; see the status of the policy"
            }
            Self::TrustRoot => {
                "make the trust root that the policy names available, with every part that the policy requires; see the status of the policy and of the TrustRoot"
            }
            Self::Invalid => "correct the policy; see the status of the policy",
        }
    }
}

impl When {
    /// Returns whether the rule applies to `image` in an object of `scope`.
    pub(crate) fn applies(&self, image: &Reference, scope: &Scope) -> bool {
        self.applies_to_object(scope)
            && self.images.iter().any(|glob| glob.matches(image, self.tags))
    }

    /// Returns whether the rule may apply to `image`, whose tag has not been resolved to a digest.
    pub(crate) fn may_apply(&self, image: &Reference, scope: &Scope) -> bool {
        self.applies_to_object(scope)
            && self.images.iter().any(|glob| glob.may_match(image, self.tags))
    }

    fn applies_to_object(&self, scope: &Scope) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|m| m.matches(scope))
    }
}

impl Need {
    /// Returns whether this can hold for content without a signature. Such a rule must be selected
    /// by properties of the content, never by text that the author of the object can choose.
    pub(crate) fn can_hold_unsigned(&self) -> bool {
        match self {
            Self::All(needs) => !needs.is_empty() && needs.iter().all(Self::can_hold_unsigned),
            Self::Any(needs) => needs.iter().any(Self::can_hold_unsigned),
            Self::Always { .. } | Self::Exempt => true,
            Self::Signed(_) | Self::Never { .. } | Self::Undecidable { .. } => false,
        }
    }

    /// Returns the required signatures, in order: each needs facts.
    pub fn signed(&self) -> Vec<&SignedBy> {
        match self {
            Self::All(needs) | Self::Any(needs) => needs.iter().flat_map(Self::signed).collect(),
            Self::Signed(signed) => vec![signed],
            _ => Vec::new(),
        }
    }

    fn needs_facts(&self) -> bool {
        match self {
            Self::All(needs) | Self::Any(needs) => needs.iter().any(Self::needs_facts),
            Self::Signed(_) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use sealgate_core::reject::Reject;
    use sealgate_testkit::remedy::weakens;

    use super::*;

    /// No remedy tells the user to require less.
    #[test]
    fn no_remedy_weakens_a_requirement() {
        let reasons = UndecidableReason::ALL.iter().map(|reason| (reason.code(), reason.remedy()));
        let rejects = Reject::catalogue().iter().map(|reason| (reason.code, reason.remedy));
        for (code, remedy) in reasons.chain(rejects) {
            assert_eq!(weakens(remedy), None, "{code}: {remedy}");
        }
    }
}
