//! Signatures over blobs: a bundle, or a signature that lies in a file of its own.

use super::material::{self, Certificates};
use super::signature::{self, SignatureProof};
use super::vouch::{Beside, Vouched, Vouchers, vouch};
use super::{Authority, Check, KeyAuthority, VerificationContext, all_digests, claim};
use crate::bundle::{Bundle, Content, LogMaterial, MessageSignature, OlderBundle};
use crate::certificate::CertifiedKey;
use crate::digest::{Algorithm, Digest};
use crate::key::{HashAlgorithm, PublicKey, SignatureAlgorithm};
use crate::log::{Form, LogProof, LoggedContent};
use crate::reject::Reject;
use crate::timestamp::TrustedTime;

/// A signature over a blob, nothing in it believed.
#[derive(Clone, Copy, Debug)]
pub enum BlobSignature<'a> {
    /// The JSON text of a Sigstore bundle, or of the older form that cosign writes with
    /// `--new-bundle-format=false`.
    Bundle(&'a [u8]),
    /// A signature alone: its bytes, or the base64 text of them (line breaks allowed).
    Detached(&'a [u8]),
    /// A signature, and in other places what lies beside it elsewhere.
    Parts(Parts<'a>),
}

/// The parts of a signature, each from a place of its own, as cosign's older flags name them;
/// nothing in them believed.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The signature: its bytes, or the base64 text of them.
    pub signature: &'a [u8],
    /// The signer's certificate, PEM; empty if there is none.
    pub certificate: &'a str,
    /// Certificates that may fill gaps up to a root, PEM; empty if there are none.
    pub chain: &'a str,
    /// Log entries and timestamps.
    pub log: &'a LogMaterial,
    /// A timestamp of a certificate log: the JSON that Fulcio once gave.
    pub sct: Option<&'a [u8]>,
}

/// The blob itself, or digests of it where it is too large to hold.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// The whole content.
    Content(&'a [u8]),
    /// Digests of the same content, at least those of [`KeyAuthority::blob_digests`].
    Digests(&'a [Digest]),
}

/// A blob signature that was verified. Made by [`verify_blob`] and [`verify_blob_with`] only.
#[derive(Clone, Debug)]
pub struct VerifiedBlob {
    key: Digest,
    signature: Vec<u8>,
    predicate_type: Option<String>,
    vouchers: Vouchers,
}

impl VerifiedBlob {
    /// The fingerprint of the key that verified it.
    pub fn key(&self) -> &Digest {
        &self.key
    }
    /// The raw signature bytes.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
    /// The algorithm that it verified by.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.vouchers.algorithm
    }
    /// The predicate type, where the evidence was an attestation about the blob.
    pub fn predicate_type(&self) -> Option<&str> {
        self.predicate_type.as_deref()
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
    /// The checks that were made.
    pub fn checks(&self) -> Vec<Check> {
        self.vouchers.checks()
    }

    fn new(signature: Vec<u8>, predicate_type: Option<String>, vouched: Vouched) -> Self {
        let (key, vouchers) = vouched.into_parts();
        Self { key: key.fingerprint(), signature, predicate_type, vouchers }
    }
}

impl KeyAuthority {
    /// The digests to compute for a blob that is read once and not kept; none if whole content
    /// is needed (Ed25519, SHA-224).
    pub fn blob_digests(&self) -> Option<Vec<Algorithm>> {
        if self.keys.iter().any(PublicKey::needs_message) {
            return None;
        }
        let hashes = self.keys.iter().flat_map(|key| key.hashes(self.hash));
        let mut wanted: Vec<_> = hashes.map(HashAlgorithm::digest).collect::<Option<_>>()?;
        wanted.push(Algorithm::Sha256);
        wanted.sort_unstable();
        wanted.dedup();
        Some(wanted)
    }
}

impl Authority {
    /// The digests to compute for a blob that is read once and not kept; none if whole content
    /// is needed. (A certificate's key may need it too: [`Reject::NeedsContent`] says so then.)
    pub fn blob_digests(&self) -> Option<Vec<Algorithm>> {
        match self {
            Self::Keys(keys) => keys.blob_digests(),
            Self::Identities(_) => {
                Some(vec![Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512])
            }
        }
    }
}

/// Is this a signature by a holder of these keys over this blob? Keys judge alone: logs and
/// timestamps are not looked at.
///
/// A bundle with an in-toto statement is accepted as cosign's `verify-blob` does: its subject
/// must be the blob. [`VerifiedBlob::predicate_type`] then says what kind of statement it was.
pub fn verify_blob(
    evidence: BlobSignature<'_>,
    authority: &KeyAuthority,
    artifact: Artifact<'_>,
) -> Result<VerifiedBlob, Reject> {
    verify_blob_with(
        evidence,
        &Authority::Keys(authority.clone()),
        artifact,
        &VerificationContext::none(),
    )
}

/// Is this a signature by this authority over this blob, with all that is asked for? The rules
/// for what lies beside it are those of [`super::verify_image_with`].
pub fn verify_blob_with(
    evidence: BlobSignature<'_>,
    authority: &Authority,
    artifact: Artifact<'_>,
    trust: &VerificationContext<'_>,
) -> Result<VerifiedBlob, Reject> {
    match evidence {
        BlobSignature::Detached(signature) => {
            let (signature, log) = (undo_base64(signature), LogMaterial::default());
            let form = Form::Legacy;
            let found = Found { signature: &signature, log: &log, form, certificates: None };
            of_message(&found, authority, artifact, trust)
        }
        BlobSignature::Parts(parts) => verify_parts(&parts, authority, artifact, trust),
        BlobSignature::Bundle(json) => match OlderBundle::recognise(json)? {
            Some(older) => verify_older(&older, authority, artifact, trust),
            None => verify_bundle(&Bundle::parse(json)?, authority, artifact, trust),
        },
    }
}

/// A signature over the blob itself, and what lies beside it.
struct Found<'a> {
    signature: &'a [u8],
    log: &'a LogMaterial,
    form: Form,
    certificates: Option<&'a Certificates>,
}

/// With keys, the certificate in it is not looked at: the key decides, as with cosign.
fn verify_older(
    older: &OlderBundle,
    authority: &Authority,
    artifact: Artifact<'_>,
    trust: &VerificationContext<'_>,
) -> Result<VerifiedBlob, Reject> {
    let certificates = match authority {
        Authority::Keys(_) => None,
        Authority::Identities(_) => Certificates::of_pem(&older.certificate, "")?,
    };
    let found = Found {
        signature: &older.signature,
        log: &older.log,
        form: Form::Legacy,
        certificates: certificates.as_ref(),
    };
    of_message(&found, authority, artifact, trust)
}

/// With keys, certificates are not looked at either.
fn verify_parts(
    parts: &Parts<'_>,
    authority: &Authority,
    artifact: Artifact<'_>,
    trust: &VerificationContext<'_>,
) -> Result<VerifiedBlob, Reject> {
    let signature = undo_base64(parts.signature);
    let certificates = match authority {
        Authority::Keys(_) => None,
        Authority::Identities(_) => Certificates::of_pem(parts.certificate, parts.chain)?,
    };
    let certificates = certificates.map(|found| found.with_sct(parts.sct));
    let found = Found {
        signature: &signature,
        log: parts.log,
        form: Form::Legacy,
        certificates: certificates.as_ref(),
    };
    of_message(&found, authority, artifact, trust)
}

fn verify_bundle(
    bundle: &Bundle,
    authority: &Authority,
    artifact: Artifact<'_>,
    trust: &VerificationContext<'_>,
) -> Result<VerifiedBlob, Reject> {
    let certificates = Certificates::of_bundle(bundle, authority, trust.requirements.chains())?;
    let certificates = certificates.as_ref();
    match &bundle.content {
        Content::Message(message) => {
            check_digest(message, artifact)?;
            let form = Form::Bundle(bundle.version);
            let signature = &message.signature;
            let found = Found { signature, log: &bundle.log, form, certificates };
            of_message(&found, authority, artifact, trust)
        }
        Content::Envelope(envelope) => {
            material::require_statement(envelope)?;
            let beside = material::beside_envelope(bundle, envelope, certificates)?;
            let (signed, vouched) =
                vouch(beside, authority, trust, |keys| signature::of_envelope(envelope, keys))?;
            let statement = claim::is_about(&signed, &artifact.digests())?;
            let (_, signature) = signed.into_parts();
            Ok(VerifiedBlob::new(signature, Some(statement.predicate_type), vouched))
        }
    }
}

fn of_message(
    found: &Found<'_>,
    authority: &Authority,
    artifact: Artifact<'_>,
    trust: &VerificationContext<'_>,
) -> Result<VerifiedBlob, Reject> {
    let digests = trust.logged_digests(found.log, || artifact.digests());
    let beside = Beside {
        signature: found.signature,
        content: LoggedContent::Message(&digests),
        log: found.log,
        form: found.form,
        certificate: found.certificates.map(Certificates::presented),
    };
    let (proof, vouched) =
        vouch(beside, authority, trust, |keys| of_artifact(found.signature, keys, artifact))?;
    Ok(VerifiedBlob::new(proof.into_signature(), None, vouched))
}

fn of_artifact(
    signature: &[u8],
    authority: &KeyAuthority,
    artifact: Artifact<'_>,
) -> Result<SignatureProof, Reject> {
    match signature::of_blob(artifact, signature, authority) {
        Err(Reject::WrongSignature) if !artifact.suffices(authority) => Err(Reject::NeedsContent),
        other => other,
    }
}

/// The digest that a bundle gives of its message signs nothing, but one that is wrong shows
/// that bundle and blob do not belong together.
fn check_digest(message: &MessageSignature, artifact: Artifact<'_>) -> Result<(), Reject> {
    let Some(named) = &message.digest else { return Ok(()) };
    let found = match artifact {
        Artifact::Content(bytes) => Some(Digest::with(named.algorithm(), bytes)),
        Artifact::Digests(digests) => {
            digests.iter().find(|digest| digest.algorithm() == named.algorithm()).cloned()
        }
    };
    match found {
        None => Err(Reject::NeedsContent),
        Some(digest) if digest == *named => Ok(()),
        Some(_) => Err(Reject::MessageDigest),
    }
}

impl Artifact<'_> {
    fn digests(&self) -> Vec<Digest> {
        match self {
            Self::Digests(digests) => digests.to_vec(),
            Self::Content(bytes) => all_digests(bytes).to_vec(),
        }
    }

    /// Whether every key could be tried.
    fn suffices(&self, authority: &KeyAuthority) -> bool {
        let Self::Digests(have) = self else { return true };
        authority.blob_digests().is_some_and(|wanted| {
            wanted.iter().all(|want| have.iter().any(|digest| digest.algorithm() == *want))
        })
    }
}

/// As cosign: what reads as base64 is base64, all else the signature itself.
fn undo_base64(signature: &[u8]) -> Vec<u8> {
    crate::base64::decode(signature).unwrap_or_else(|_| signature.to_vec())
}
