//! Evidence and an authority in, [`Verified`] or [`Reject`] out.
//!
//! One file for each part: `requirements` (what is asked for, decided once), `vouch` (time, log,
//! certificate and identity), `signature` (the bytes), `claim` (is it about *this* digest, and of
//! *this* predicate type?). Each returns a small private proof; [`Verified`] can only be made
//! from all of them, so a skipped check does not compile. `material` reads what lies beside a
//! signature.

mod blob;
mod claim;
mod material;
mod requirements;
mod signature;
mod trust_config;
mod vouch;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use blob::{Artifact, BlobSignature, Parts, VerifiedBlob, verify_blob, verify_blob_with};
use claim::Claimed;
use material::Certificates;
pub use requirements::{
    Chains, Override, Overrides, ProofRequirement, ProofRequirements, RootSource,
    VerificationContext,
};
pub use trust_config::TrustConfig;
use vouch::{Beside, Vouched, Vouchers, vouch};

use crate::bundle::{Bundle, Content, LogMaterial};
use crate::certificate::CertifiedKey;
use crate::digest::{Algorithm, Digest};
use crate::evidence::{BundleBytes, Evidence, LegacySignature, Origin};
use crate::identity::IdentityAuthority;
use crate::key::{HashAlgorithm, PublicKey, SignatureAlgorithm};
use crate::log::{Form, LogProof, LoggedContent};
use crate::reject::{Document, Reject};
use crate::simple_signing::COSIGN_TYPE;
use crate::timestamp::TrustedTime;

/// The predicate type of a cosign image signature.
pub const IMAGE_SIGNATURE_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Who may sign: any one of these keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAuthority {
    /// The keys; empty never verifies anything.
    pub keys: Vec<PublicKey>,
    /// The hash to insist on; `None` accepts each that cosign has used for the key's algorithm.
    pub hash: Option<HashAlgorithm>,
}

/// Who may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Holders of keys.
    Keys(KeyAuthority),
    /// Whom a certificate of the trust root's authorities names.
    Identities(IdentityAuthority),
}

/// What the evidence must be about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The digest of the image's manifest or index.
    pub subject: Digest,
    /// Annotations that the signature must carry, each with this value.
    pub annotations: BTreeMap<String, String>,
    /// Whether the claim must name [`Question::subject`].
    pub claims: Claims,
}

/// Whether claims are compared (`--check-claims`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// The payload must be about the subject.
    Checked,
    /// Only the signature counts: the user asked for it, and the output says so.
    Ignored,
}

/// Which form the evidence had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A `.sig` layer.
    Legacy,
    /// A Sigstore bundle.
    Bundle,
}

/// A check that was really made; what a tool may claim in its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// The required annotations were compared.
    Annotations,
    /// The claim names the digest.
    Claims,
    /// A log of the trust root has the signature.
    Log,
    /// An authority of the trust root has signed the time.
    Timestamp,
    /// A certificate log of the trust root has promised to publish the certificate.
    CertificateLog,
    /// The signature was verified with a certificate of the trust root's authorities, which names
    /// a wanted identity.
    Certificate,
    /// The signature was verified with a key.
    KeySignature,
}

/// An image signature that was verified. Made by [`verify_image`] only.
#[derive(Clone, Debug)]
pub struct Verified {
    format: Format,
    origin: Origin,
    key: Digest,
    payload: Vec<u8>,
    signature: Vec<u8>,
    claimed: Option<Digest>,
    docker_reference: Option<String>,
    annotations: BTreeMap<String, Value>,
    checks: Vec<Check>,
    vouchers: Vouchers,
}

impl Verified {
    /// Legacy layer or bundle.
    pub fn format(&self) -> Format {
        self.format
    }
    /// Where the evidence lay.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
    /// The fingerprint of the key that verified it.
    pub fn key(&self) -> &Digest {
        &self.key
    }
    /// The signed bytes: SimpleSigning JSON (legacy) or in-toto statement (bundle).
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
    /// The raw signature bytes.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
    /// The algorithm that it verified by.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.vouchers.algorithm
    }
    /// The signer's annotations, SimpleSigning `optional` or the subject's `annotations`.
    pub fn annotations(&self) -> &BTreeMap<String, Value> {
        &self.annotations
    }
    /// The checks that were made.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
    /// Whether log entries or timestamps lay in it that were not looked at, because there was
    /// no trust root.
    pub fn has_log_material(&self) -> bool {
        self.vouchers.unread
    }
    /// The certificate and its identity, if it was verified by one.
    pub fn certificate(&self) -> Option<&CertifiedKey> {
        self.vouchers.certificate.as_ref()
    }
    /// The entries in logs of the trust root.
    pub fn logs(&self) -> &[LogProof] {
        self.vouchers.logs.proofs()
    }
    /// The times that authorities of the trust root have signed.
    pub fn timestamps(&self) -> &[TrustedTime] {
        self.vouchers.times.times()
    }
    /// The digest that the signature is about: the subject of the question, unless claims were
    /// ignored.
    pub fn claimed(&self) -> Option<&Digest> {
        self.claimed.as_ref()
    }

    /// The object that cosign prints on standard output for this signature, `{critical,
    /// optional}`. `reference` is the image as the user named it; a legacy signature names its
    /// own repository.
    pub fn simple_signing_json(&self, reference: &str) -> Value {
        let kind = match self.format {
            Format::Legacy => COSIGN_TYPE,
            Format::Bundle => IMAGE_SIGNATURE_PREDICATE,
        };
        let digest = self.claimed.as_ref().map(Digest::to_string).unwrap_or_default();
        let optional = match self.annotations.is_empty() {
            true => Value::Null,
            false => serde_json::json!(self.annotations),
        };
        serde_json::json!({
            "critical": {
                "identity": {
                    "docker-reference": self.docker_reference.as_deref().unwrap_or(reference),
                },
                "image": { "docker-manifest-digest": digest },
                "type": kind,
            },
            "optional": optional,
        })
    }

    /// The only way to a `Verified`: from the proofs, the later holding the earlier.
    fn new(format: Format, origin: &Origin, claimed: Claimed, vouched: Vouched) -> Self {
        let (signed, claim) = claimed.into_parts();
        let (payload, signature) = signed.into_parts();
        let (key, vouchers) = vouched.into_parts();
        let mut checks = claim.compared;
        checks.extend(vouchers.checks());
        Self {
            format,
            origin: origin.clone(),
            key: key.fingerprint(),
            payload,
            signature,
            claimed: claim.digest,
            docker_reference: claim.docker_reference,
            annotations: claim.annotations,
            checks,
            vouchers,
        }
    }
}

/// Is this evidence an image signature by a holder of these keys, about this subject? Keys judge
/// alone: logs and timestamps are not looked at.
///
/// An attestation (a bundle of another predicate type) is not a signature:
/// it is rejected with its own code, whatever [`Question::claims`] says.
pub fn verify_image(
    evidence: &Evidence,
    authority: &KeyAuthority,
    question: &Question,
) -> Result<Verified, Reject> {
    verify_image_with(
        evidence,
        &Authority::Keys(authority.clone()),
        question,
        &VerificationContext::none(),
    )
}

/// Is this evidence an image signature by this authority, about this subject, with all that is
/// asked for?
///
/// What lies beside the signature (log entries, timestamps) is checked whether it is asked for
/// or not, as far as the trust root knows who is said to have signed it: what is there and wrong
/// is a reject.
pub fn verify_image_with(
    evidence: &Evidence,
    authority: &Authority,
    question: &Question,
    trust: &VerificationContext<'_>,
) -> Result<Verified, Reject> {
    match evidence {
        Evidence::Legacy(layer) => verify_legacy(layer, authority, question, trust),
        Evidence::Bundle(bundle) => verify_bundle(bundle, authority, question, trust),
        Evidence::Unusable { reason, .. } => Err(reason.clone()),
    }
}

impl From<KeyAuthority> for Authority {
    fn from(keys: KeyAuthority) -> Self {
        Self::Keys(keys)
    }
}

impl From<IdentityAuthority> for Authority {
    fn from(identities: IdentityAuthority) -> Self {
        Self::Identities(identities)
    }
}

impl Authority {
    /// Whether it names nobody: then it never verifies anything.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Keys(keys) => keys.keys.is_empty(),
            Self::Identities(wanted) => wanted.identities.is_empty(),
        }
    }
}

/// The annotations of a legacy layer, by cosign's names.
pub mod annotation {
    /// The signature, base64.
    pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
    /// The signer's certificate, PEM.
    pub const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
    /// The certificate's chain, PEM.
    pub const CHAIN: &str = "dev.sigstore.cosign/chain";
    /// The log entry.
    pub const BUNDLE: &str = "dev.sigstore.cosign/bundle";
    /// The RFC 3161 timestamp.
    pub const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
}

/// With keys, a certificate beside the signature is not looked at: the key decides, as with
/// cosign.
fn verify_legacy(
    layer: &LegacySignature,
    authority: &Authority,
    question: &Question,
    trust: &VerificationContext<'_>,
) -> Result<Verified, Reject> {
    let note = |key: &str| layer.annotations.get(key).map(String::as_str).unwrap_or_default();
    let signature = note(annotation::SIGNATURE);
    if signature.is_empty() {
        return Err(Reject::MissingSignature(Document::Payload));
    }
    let signature = crate::base64::decode(signature)
        .map_err(|_| Reject::Base64 { what: Document::Signature, field: annotation::SIGNATURE })?;
    let log = LogMaterial::of_annotations(note(annotation::BUNDLE), note(annotation::TIMESTAMP))?;
    let certificates = match authority {
        Authority::Keys(_) => None,
        Authority::Identities(_) => {
            Certificates::of_pem(note(annotation::CERTIFICATE), note(annotation::CHAIN))?
        }
    };
    let digests = trust.logged_digests(&log, || all_digests(&layer.payload).to_vec());
    let beside = Beside {
        signature: &signature,
        content: LoggedContent::Message(&digests),
        log: &log,
        form: Form::Legacy,
        certificate: certificates.as_ref().map(Certificates::presented),
    };
    let (signed, vouched) = vouch(beside, authority, trust, |keys| {
        signature::of_payload(&layer.payload, &signature, keys)
    })?;
    let claimed = claim::of_simple_signing(signed, question)?;
    Ok(Verified::new(Format::Legacy, &layer.origin, claimed, vouched))
}

/// The hint in the bundle does not matter: each key of the authority is tried.
fn verify_bundle(
    evidence: &BundleBytes,
    authority: &Authority,
    question: &Question,
    trust: &VerificationContext<'_>,
) -> Result<Verified, Reject> {
    let bundle = Bundle::parse(&evidence.json)?;
    let certificates = Certificates::of_bundle(&bundle, authority, trust.requirements.chains())?;
    let Content::Envelope(envelope) = &bundle.content else {
        return Err(Reject::NotAnEnvelope);
    };
    material::require_statement(envelope)?;
    let beside = material::beside_envelope(&bundle, envelope, certificates.as_ref())?;
    let (signed, vouched) =
        vouch(beside, authority, trust, |keys| signature::of_envelope(envelope, keys))?;
    let claimed = claim::of_statement(signed, question)?;
    Ok(Verified::new(Format::Bundle, &evidence.origin, claimed, vouched))
}

/// By every algorithm that a log entry may name.
fn all_digests(content: &[u8]) -> [Digest; 3] {
    [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512]
        .map(|algorithm| Digest::with(algorithm, content))
}

#[cfg(test)]
mod tests;
