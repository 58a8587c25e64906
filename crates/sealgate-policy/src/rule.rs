//! One algebra for every policy world: a [`Rule`] says when it applies, what it needs, and what
//! a failure does. The compilers (`compile`, later Binary Authorization) make rules; `select`,
//! `judge` and `decide` use them and know no policy language.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::{Reference, Repository};
use sealgate_core::verify::{Authority, Claims, Format, TrustConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::glob::{Glob, TagTrust};
use crate::object_match::ObjectMatch;
use crate::scope::Scope;

pub(crate) mod fingerprint;

/// A compiled policy: the images that it applies to, and the criterion that they must meet.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The object it was compiled from.
    pub origin: Origin,
    /// The images of which objects it applies to.
    pub when: When,
    /// The criterion, shared with the images that it is applied to.
    pub criterion: Arc<Criterion>,
}

/// The part of a rule that a verdict depends on. A decision record holds it, without keys and
/// trust roots, so that the verdict can be reached again from the facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Criterion {
    /// The policy's name, as denials say it.
    pub name: String,
    /// The consequence of a failure.
    pub mode: Mode,
    /// The condition.
    pub need: Need,
    /// SHA-256 of the whole rule except its origin: equal fingerprints judge alike.
    pub fingerprint: Digest,
}

/// The object that a rule was compiled from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// `policy.sigstore.dev/v1beta1`.
    pub api_version: String,
    /// `ClusterImagePolicy`.
    pub kind: String,
    /// `metadata.generation`, where a cluster gave one.
    pub generation: Option<i64>,
    /// Where it was read: `cluster`, or the path of a file.
    pub place: String,
}

/// Which images of which objects a rule is about.
#[derive(Clone, Debug)]
pub struct When {
    /// Any of these patterns; none matches nothing.
    pub images: Vec<Glob>,
    /// What a tag that stands beside a digest is worth to these patterns.
    pub tags: TagTrust,
    /// Any of these; empty means every object.
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
    /// The location of the signatures, when not beside the image.
    pub source: Option<Source>,
    /// Annotations that the signature must carry, each with this value.
    pub annotations: BTreeMap<String, String>,
    /// Whether the signed payload must name the image's digest. Policies always require it.
    pub claims: Claims,
}

/// The location of an authority's signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The repository to search; the image's own where there is none.
    pub repository: Option<Repository>,
    /// Whether referrers of the image in its own repository are searched, too.
    pub also_beside: bool,
    /// What stands before `sha256-….sig` in the signature's tag.
    pub tag_prefix: Option<String>,
    /// Names of pull secrets in the workload's namespace.
    pub pull_secrets: Vec<String>,
}

/// The signature formats that are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Formats {
    /// Legacy layers and bundles: the union.
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
    /// The object is refused.
    #[default]
    Enforce,
    /// The object is let in with a warning.
    Warn,
}

/// What a rule lacks to be decided. The code is stable and stands in conditions and denials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UndecidableReason {
    /// Attestations come with a later issue.
    Attestations,
    /// CUE and Rego come with a later issue.
    Policy,
    /// Keys in a KMS come with a later issue.
    Kms,
    /// The key of an authority could not be had.
    Key,
    /// The trust root of an authority, or a part of it that the authority needs, could not be had.
    TrustRoot,
    /// The policy object is not valid.
    Invalid,
}

impl Rule {
    /// A rule of these parts, with its fingerprint.
    pub fn new(name: String, origin: Origin, when: When, need: Need, mode: Mode) -> Self {
        let fingerprint = fingerprint::of_rule(&name, &when, &need, mode);
        Self { origin, when, criterion: Arc::new(Criterion { name, mode, need, fingerprint }) }
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

    /// SHA-256 of the whole rule except its origin.
    pub fn fingerprint(&self) -> &Digest {
        &self.criterion.fingerprint
    }
}

impl Criterion {
    /// A criterion outside of any policy.
    pub fn new(name: String, mode: Mode, need: Need) -> Arc<Self> {
        let fingerprint = fingerprint::of_criterion(&name, &need, mode);
        Arc::new(Self { name, mode, need, fingerprint })
    }

    /// Whether it requires signatures, and so facts.
    pub fn needs_facts(&self) -> bool {
        self.need.needs_facts()
    }
}

impl SignatureRequirement {
    /// A requirement of a signature over the image's digest, found beside the image.
    pub fn new(by: Authority, trust_config: TrustConfig) -> Self {
        let (annotations, claims) = (BTreeMap::new(), Claims::Checked);
        Self { by, trust_config, source: None, annotations, claims }
    }
}

impl SignedBy {
    /// A signature that satisfies `requirement`, in one of `formats`.
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

    /// The requirement itself; `None` in a rule that was read from a record.
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
    /// Whether signatures of `format` count.
    pub fn allows(self, format: Format) -> bool {
        match self {
            Self::Both => true,
            Self::Legacy => format == Format::Legacy,
            Self::Bundle => format == Format::Bundle,
        }
    }

    /// The one word of the policy field; empty for both.
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "",
            Self::Legacy => "legacy",
            Self::Bundle => "bundle",
        }
    }
}

impl UndecidableReason {
    /// Every lack.
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

    /// What a person can do about it, in one sentence.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Kms => {
                "write the public part of the same key as `key.data` or `key.secretRef`, or use a version of sealgate that reads keys of a KMS"
            }
            Self::Attestations | Self::Policy => {
                "use a version of sealgate that can judge what the policy asks for; until then it refuses"
            }
            Self::Key => "make the key that the policy names available; see the policy's status",
            Self::TrustRoot => {
                "make the trust root that the policy names available, with all that the policy asks of it; see the status of policy and TrustRoot"
            }
            Self::Invalid => "correct the policy; see the policy's status",
        }
    }

    /// The kind of fault that a verdict reports.
    pub(crate) fn fault_kind(self) -> FaultKind {
        match self {
            Self::Key | Self::TrustRoot => FaultKind::Missing,
            Self::Invalid => FaultKind::Config,
            _ => FaultKind::Unsupported,
        }
    }

    /// The fault that a verdict reports: `target` says which policy or authority.
    pub fn fault(self, target: &str, detail: &str) -> Fault {
        Fault::new(self.fault_kind(), target, detail)
    }
}

impl When {
    /// Whether the rule is about `image` in an object of `scope`.
    pub(crate) fn applies(&self, image: &Reference, scope: &Scope) -> bool {
        self.applies_to_object(scope)
            && self.images.iter().any(|glob| glob.matches(image, self.tags))
    }

    /// Whether the rule may be about `image`, which has a tag and some digest that is not known.
    pub(crate) fn may_apply(&self, image: &Reference, scope: &Scope) -> bool {
        self.applies_to_object(scope)
            && self.images.iter().any(|glob| glob.may_match(image, self.tags))
    }

    fn applies_to_object(&self, scope: &Scope) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|m| m.matches(scope))
    }
}

impl Need {
    /// Whether this can hold for content that nobody signed. What can must be selected by what
    /// is true of the content, never by words that whoever writes the object may choose.
    pub(crate) fn can_hold_unsigned(&self) -> bool {
        match self {
            Self::All(needs) => !needs.is_empty() && needs.iter().all(Self::can_hold_unsigned),
            Self::Any(needs) => needs.iter().any(Self::can_hold_unsigned),
            Self::Always { .. } | Self::Exempt => true,
            Self::Signed(_) | Self::Never { .. } | Self::Undecidable { .. } => false,
        }
    }

    /// Every signature that is required, in order: each needs facts.
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

    /// Neither what is lacking nor what is bad is mended by asking for less.
    #[test]
    fn no_remedy_weakens_what_is_asked_for() {
        let lacks = UndecidableReason::ALL.iter().map(|lack| (lack.code(), lack.remedy()));
        let rejects = Reject::catalogue().iter().map(|reason| (reason.code, reason.remedy));
        for (code, remedy) in lacks.chain(rejects) {
            assert_eq!(weakens(remedy), None, "{code}: {remedy}");
        }
    }
}
