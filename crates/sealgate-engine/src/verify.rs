//! Verification of images, the use case of `verify`: an outcome for each reference.
//!
//! The request becomes one criterion: a signature by its authority. Each image is evaluated and
//! judged by it, as the admission webhooks do with the criteria of policies. A missing image, an
//! unsigned image, signatures that do not match, and a fault are four different outcomes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt};
use moka::future::Cache;
use sealgate_core::digest::Digest;
use sealgate_core::evidence::Origin;
use sealgate_core::fault::Fault;
use sealgate_core::reference::{Identifier, Reference, Repository};
use sealgate_core::reject::Reject;
use sealgate_core::verify::{Authority, ClaimComparison, TrustConfig, Verified};
use sealgate_policy::facts::Facts;
use sealgate_policy::image_state::PinnedImage;
use sealgate_policy::judge::{Verdict, judge};
use sealgate_policy::rule::{
    Criterion, Formats, Mode, Need, SignatureRequirement, SignedBy, Source,
};

use crate::evaluate::{CheckedCandidate, ImageEvaluation};
use crate::failure::Failure;
use crate::index;
use crate::limits::Limits;
use crate::pin;
use crate::ports::RegistryRead;

/// The requirements for each image.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// The accepted signers.
    pub authority: Authority,
    /// The trust root, and the overrides of the user.
    pub trust_config: TrustConfig,
    /// The time of verification, in seconds since 1970: now, or a past time to investigate
    /// (`--at`). See [`VerificationContext::now`].
    pub now: i64,
    /// Annotations that a signature must have (`-a`).
    pub annotations: BTreeMap<String, String>,
    /// The check that the signed payload names the image (`--check-claims`).
    pub claims: ClaimComparison,
    /// The repository of the signatures, if not the image's (`COSIGN_REPOSITORY`). Referrers in the
    /// image's repository are read too, because cosign writes bundles there regardless of the
    /// variable.
    pub signature_repository: Option<Repository>,
    /// The prefix of legacy tags, usually empty.
    pub tag_prefix: String,
    /// Limits.
    pub limits: Limits,
    /// Requires every child of an index to be signed, too (`--recursive`).
    pub recursive: bool,
    /// The number of images of one call, and of children of one index, verified concurrently
    /// (`--max-workers`).
    pub max_workers: usize,
}

impl VerifyRequest {
    /// Creates a request without a trust root: claims checked, no annotations, default limits, ten
    /// images at a time.
    pub fn new(authority: impl Into<Authority>) -> Self {
        Self {
            authority: authority.into(),
            trust_config: TrustConfig::default(),
            now: 0,
            annotations: BTreeMap::new(),
            claims: ClaimComparison::Checked,
            signature_repository: None,
            tag_prefix: String::new(),
            limits: Limits::default(),
            recursive: false,
            max_workers: 10,
        }
    }
}

/// A rejected candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The location.
    pub origin: Origin,
    /// The reason.
    pub reason: Reject,
}

/// The outcome for one digest.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// At least one candidate is a valid signature by the authority over this digest.
    Verified {
        /// The verified signatures.
        signatures: Vec<Verified>,
        /// The rejected candidates.
        rejected: Vec<Rejected>,
        /// Faults of sources that could not be read; there may be more signatures.
        faults: Vec<Fault>,
    },
    /// All sources were read, and no candidate is a signature.
    NoSignatures {
        /// Candidates of other kinds (attestations).
        rejected: Vec<Rejected>,
    },
    /// All sources were read, and every candidate was rejected.
    NoMatch {
        /// The candidates, each with its reason.
        rejected: Vec<Rejected>,
    },
    /// The image does not exist.
    NotFound,
    /// A source could not be read, and no candidate of the others is valid.
    Fault {
        /// The first fault.
        fault: Fault,
        /// The candidates that could be verified, all rejected.
        rejected: Vec<Rejected>,
    },
}

/// The result for one image (or child of an index).
#[derive(Clone, Debug)]
pub struct Report {
    /// The image as requested; a child as `repository@digest`.
    pub reference: Reference,
    /// Its digest, if it was found.
    pub digest: Option<Digest>,
    /// The platform that the index names for a child (`linux/arm64/v8`).
    pub platform: Option<String>,
    /// The outcome.
    pub outcome: Outcome,
    /// The reports on all descendants of an index, with `recursive`.
    pub children: Vec<Report>,
}

impl Outcome {
    /// The stable one-word code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Verified { .. } => "verified",
            Self::NoSignatures { .. } => "no-signatures",
            Self::NoMatch { .. } => "no-match",
            Self::NotFound => "not-found",
            Self::Fault { fault, .. } => fault.kind.code(),
        }
    }

    /// Returns the rejected candidates.
    pub fn rejected(&self) -> &[Rejected] {
        match self {
            Self::Verified { rejected, .. }
            | Self::NoSignatures { rejected }
            | Self::NoMatch { rejected }
            | Self::Fault { rejected, .. } => rejected,
            Self::NotFound => &[],
        }
    }

    fn fault(fault: Fault) -> Self {
        Self::Fault { fault, rejected: Vec::new() }
    }
}

impl Report {
    /// Returns whether this image and all its children were verified.
    pub fn is_verified(&self) -> bool {
        matches!(self.outcome, Outcome::Verified { .. })
            && self.children.iter().all(Self::is_verified)
    }

    /// Returns the first report, of this image or its descendants, that is not verified.
    pub fn first_failure(&self) -> Option<&Self> {
        match self.outcome {
            Outcome::Verified { .. } => self.children.iter().find_map(Self::first_failure),
            _ => Some(self),
        }
    }

    fn without_digest(reference: &Reference, outcome: Outcome) -> Self {
        let reference = reference.clone();
        Self { reference, digest: None, platform: None, outcome, children: Vec::new() }
    }
}

/// Verifier of images that verifies each digest once.
pub struct Verifier<'a> {
    registry: &'a dyn RegistryRead,
    request: &'a VerifyRequest,
    criterion: Arc<Criterion>,
    outcomes: Cache<(Repository, Digest), Arc<Outcome>>,
}

/// Verifies one image.
pub async fn verify_image(
    registry: &dyn RegistryRead,
    reference: &Reference,
    request: &VerifyRequest,
) -> Report {
    Verifier::new(registry, request).verify(reference).await
}

/// Verifies many images, `max_workers` at a time; reports are in the order of the input.
pub fn verify_images<'a>(
    registry: &'a dyn RegistryRead,
    images: impl Stream<Item = Reference> + Send + 'a,
    request: &'a VerifyRequest,
) -> impl Stream<Item = Report> + Send + 'a {
    let verifier = Arc::new(Verifier::new(registry, request));
    images
        .map(move |reference| {
            let verifier = verifier.clone();
            async move { verifier.verify(&reference).await }
        })
        .buffered(request.max_workers.max(1))
}

impl<'a> Verifier<'a> {
    /// Creates a verifier that caches the outcomes of the last few thousand digests.
    pub fn new(registry: &'a dyn RegistryRead, request: &'a VerifyRequest) -> Self {
        Self { registry, request, criterion: request.criterion(), outcomes: Cache::new(4096) }
    }

    /// Verifies one image, with its children if requested.
    pub async fn verify(&self, reference: &Reference) -> Report {
        let digest = match pin::digest(self.registry, reference).await {
            Ok(digest) => digest,
            Err(Failure::NotFound(_)) => {
                return Report::without_digest(reference, Outcome::NotFound);
            }
            Err(other) => {
                let outcome = Outcome::fault(other.into_fault());
                return Report::without_digest(reference, outcome);
            }
        };
        let repository = reference.repository();
        let (outcome, children) =
            futures::join!(self.outcome(repository, &digest), self.children(repository, &digest));
        let (outcome, children) = match children {
            Ok(children) => (outcome, children),
            Err(Failure::NotFound(_)) => (Outcome::NotFound, Vec::new()),
            Err(other) => (Outcome::fault(other.into_fault()), Vec::new()),
        };
        let reference = reference.clone();
        Report { reference, digest: Some(digest), platform: None, outcome, children }
    }

    /// Verifies all descendants of an index, if requested.
    async fn children(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Vec<Report>, Failure> {
        if !self.request.recursive {
            return Ok(Vec::new());
        }
        let below = index::descendants(self.registry, repository, digest, &self.request.limits);
        Ok(stream::iter(below.await?)
            .map(async |child: index::Child| {
                let digest = child.descriptor.digest;
                Report {
                    reference: repository.at(Identifier::Digest(digest.clone())),
                    outcome: self.outcome(repository, &digest).await,
                    digest: Some(digest),
                    platform: child.platform,
                    children: Vec::new(),
                }
            })
            .buffered(self.request.max_workers.max(1))
            .collect()
            .await)
    }

    /// Returns the outcome for one digest: computed once; a fault is never cached.
    async fn outcome(&self, repository: &Repository, digest: &Digest) -> Outcome {
        let key = (repository.clone(), digest.clone());
        let made = self.outcomes.try_get_with(key, async {
            match self.evaluate(repository, digest).await {
                outcome @ Outcome::Fault { .. } => Err(outcome),
                outcome => Ok(Arc::new(outcome)),
            }
        });
        match made.await {
            Ok(outcome) => Outcome::clone(&outcome),
            Err(fault) => Outcome::clone(&fault),
        }
    }

    async fn evaluate(&self, repository: &Repository, digest: &Digest) -> Outcome {
        let evaluation = ImageEvaluation {
            image: &PinnedImage { repository: repository.clone(), digest: digest.clone() },
            criteria: std::slice::from_ref(&self.criterion),
            limits: &self.request.limits,
            now: self.request.now,
        };
        let (facts, candidates) = evaluation.evaluate_all(self.registry).await;
        Outcome::of(&judge(&self.criterion, &facts), &facts, candidates)
    }
}

impl VerifyRequest {
    /// The criterion that every image must meet.
    fn criterion(&self) -> Arc<Criterion> {
        let source = Source {
            repository: self.signature_repository.clone(),
            include_image_repository: true,
            tag_prefix: Some(self.tag_prefix.clone()),
            pull_secrets: Vec::new(),
        };
        let requirement = SignatureRequirement {
            by: self.authority.clone(),
            trust_config: self.trust_config.clone(),
            source: Some(source),
            annotations: self.annotations.clone(),
            claims: self.claims,
        };
        let signed = SignedBy::new(String::new(), requirement, Formats::Both);
        Criterion::new("verify".to_owned(), Mode::Enforce, Need::Signed(signed))
    }
}

impl Outcome {
    /// Makes an outcome of a verdict: adds the candidates, and distinguishes no match from no
    /// signatures.
    fn of(verdict: &Verdict, facts: &Facts, candidates: Vec<CheckedCandidate>) -> Self {
        let (mut signatures, mut rejected) = (Vec::new(), Vec::new());
        for CheckedCandidate { origin, result } in candidates {
            match result {
                Ok(verified) => signatures.push(verified),
                Err(reason) => rejected.push(Rejected { origin, reason }),
            }
        }
        let mut faults: Vec<Fault> = facts.faults().cloned().collect();
        match verdict {
            Verdict::Pass { .. } => Self::Verified { signatures, rejected, faults },
            Verdict::Fail { .. } | Verdict::Fault { .. } if !faults.is_empty() => {
                Self::Fault { fault: faults.swap_remove(0), rejected }
            }
            _ if rejected.iter().all(|it| is_no_signature(&it.reason)) => {
                Self::NoSignatures { rejected }
            }
            _ => Self::NoMatch { rejected },
        }
    }
}

/// Returns whether the candidate is not a signature, but an attestation.
fn is_no_signature(reason: &Reject) -> bool {
    matches!(reason, Reject::NotASignature { .. })
}
