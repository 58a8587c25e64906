//! Sigstore bundles, versions 0.1 to 0.3 (protobuf-specs, JSON form): parsing and writing.
//!
//! Nothing is verified; log entries and timestamps are kept as found. Stricter than protobuf's JSON
//! parser: base64 must be standard and padded (line breaks are ignored), a number must be a plain
//! integer, and duplicate keys are refused. More lenient: unknown fields are ignored. Both
//! spellings (`logIndex`, `log_index`) are read, as in protobuf.

mod log;
mod older;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

pub use log::{InclusionProof, LogEntry, LogMaterial, MAX_LOG_ENTRIES, MAX_TIMESTAMPS};
pub use older::OlderBundle;

use crate::digest::{Algorithm, Digest};
use crate::dsse::{Envelope, IN_TOTO};
use crate::json::{self, InvalidJson, MAX_SHORT_VALUES, Object};
use crate::key::PublicKey;
use crate::manifest::media_type;
use crate::reject::{Document, Foreign, Reject};

/// The maximum size of a bundle in bytes. Callers that fetch bundles may set a lower bound.
pub const MAX_BUNDLE: usize = 32 << 20;
const MAX_CERTIFICATES: usize = 16;

/// A bundle, parsed but unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The version in its media type.
    pub version: Version,
    /// The verification material.
    pub material: VerificationMaterial,
    /// Log entries and timestamps.
    pub log: LogMaterial,
    /// The signed content.
    pub content: Content,
}

/// The version of the bundle format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.1: log entries have a signed entry timestamp.
    V01,
    /// 0.2: log entries have an inclusion proof.
    V02,
    /// 0.3: a single certificate.
    V03,
}

/// Verification material of a bundle, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerificationMaterial {
    /// A public key that the verifier has; the hint may help to find it.
    PublicKey {
        /// For cosign, base64 of the SHA-256 of the SubjectPublicKeyInfo.
        hint: String,
    },
    /// A certificate, DER.
    Certificate(Vec<u8>),
    /// A chain of certificates, DER, leaf first.
    CertificateChain(Vec<Vec<u8>>),
}

/// Content of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A signature over bytes that are not in the bundle.
    Message(MessageSignature),
    /// A signed envelope. It has exactly one signature.
    Envelope(Envelope),
}

/// A signature over bytes that are not in the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSignature {
    /// The digest of those bytes, if the bundle has it.
    pub digest: Option<Digest>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Bundle {
    /// Reads a bundle.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reject> {
        let value = json::parse_values(bytes, MAX_BUNDLE, MAX_SHORT_VALUES).map_err(malformed)?;
        let object = Object::new(
            &value,
            "bundle",
            &[
                "mediaType",
                "media_type",
                "verificationMaterial",
                "verification_material",
                "messageSignature",
                "message_signature",
                "dsseEnvelope",
                "dsse_envelope",
            ],
        )
        .map_err(malformed)?;
        let version = version(&object)?;
        let material = object.either("verificationMaterial", "verification_material");
        let material = material.map_err(malformed)?.ok_or(Reject::NoVerificationMaterial)?;
        let material = material_object(material).map_err(malformed)?;
        Ok(Self {
            version,
            log: LogMaterial::read(&material)?,
            material: verification_material(&material)?,
            content: content(&object)?,
        })
    }

    /// A bundle of version 0.3 for an in-toto statement that `key` signed; `signature` is over
    /// [`crate::dsse::pae`] of it.
    pub fn of_statement(statement: Vec<u8>, signature: Vec<u8>, key: &PublicKey) -> Self {
        Self::with_key(
            key,
            Content::Envelope(Envelope {
                payload_type: IN_TOTO.to_owned(),
                payload: statement,
                signatures: vec![signature],
            }),
        )
    }

    /// A bundle of version 0.3 for a blob that `key` signed.
    pub fn of_message(digest: Digest, signature: Vec<u8>, key: &PublicKey) -> Self {
        let digest = Some(digest);
        Self::with_key(key, Content::Message(MessageSignature { digest, signature }))
    }

    fn with_key(key: &PublicKey, content: Content) -> Self {
        let hint = key_hint(key);
        Self {
            version: Version::V03,
            material: VerificationMaterial::PublicKey { hint },
            log: LogMaterial::default(),
            content,
        }
    }

    /// The bundle as JSON, with everything that is in it.
    pub fn to_json(&self) -> String {
        let mut material = self.log.to_value();
        let (name, value) = match &self.material {
            VerificationMaterial::PublicKey { hint } => {
                ("publicKey", serde_json::json!({ "hint": hint }))
            }
            VerificationMaterial::Certificate(der) => ("certificate", raw_bytes(der)),
            VerificationMaterial::CertificateChain(chain) => {
                let chain: Vec<_> = chain.iter().map(|der| raw_bytes(der)).collect();
                ("x509CertificateChain", serde_json::json!({ "certificates": chain }))
            }
        };
        material.insert(name.to_owned(), value);
        let (name, content) = match &self.content {
            Content::Message(message) => ("messageSignature", message.to_value()),
            Content::Envelope(envelope) => ("dsseEnvelope", envelope.to_value()),
        };
        serde_json::json!({
            "mediaType": self.version.media_type(),
            "verificationMaterial": material,
            name: content,
        })
        .to_string()
    }
}

/// The hint by which a bundle names a key: base64 of the SHA-256 of its SubjectPublicKeyInfo.
pub fn key_hint(key: &PublicKey) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.spki_der());
    STANDARD.encode(hash)
}

impl Version {
    /// The media type that a bundle of this version is written with.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::V01 => "application/vnd.dev.sigstore.bundle+json;version=0.1",
            Self::V02 => "application/vnd.dev.sigstore.bundle+json;version=0.2",
            Self::V03 => media_type::BUNDLE_V03,
        }
    }
}

impl MessageSignature {
    fn to_value(&self) -> Value {
        let signature = STANDARD.encode(&self.signature);
        let Some(digest) = &self.digest else {
            return serde_json::json!({ "signature": signature });
        };
        let algorithm = match digest.algorithm() {
            Algorithm::Sha256 => "SHA2_256",
            Algorithm::Sha384 => "SHA2_384",
            Algorithm::Sha512 => "SHA2_512",
        };
        let bytes = hex::decode(digest.hex()).unwrap_or_default();
        serde_json::json!({
            "messageDigest": { "algorithm": algorithm, "digest": STANDARD.encode(bytes) },
            "signature": signature,
        })
    }
}

fn malformed(error: InvalidJson) -> Reject {
    Reject::json(Document::Bundle, error)
}

fn raw_bytes(der: &[u8]) -> Value {
    serde_json::json!({ "rawBytes": STANDARD.encode(der) })
}

fn version(bundle: &Object<'_>) -> Result<Version, Reject> {
    let media_type = bundle.either("mediaType", "media_type").map_err(malformed)?;
    match json::text(media_type, "mediaType").map_err(malformed)? {
        "application/vnd.dev.sigstore.bundle+json;version=0.1" => Ok(Version::V01),
        "application/vnd.dev.sigstore.bundle+json;version=0.2" => Ok(Version::V02),
        "application/vnd.dev.sigstore.bundle+json;version=0.3" | media_type::BUNDLE_V03 => {
            Ok(Version::V03)
        }
        other => Err(Reject::BundleVersion(Foreign::new(other))),
    }
}

fn material_object(value: &Value) -> Result<Object<'_>, InvalidJson> {
    Object::new(
        value,
        "verificationMaterial",
        &[
            "publicKey",
            "public_key",
            "certificate",
            "x509CertificateChain",
            "x509_certificate_chain",
            "tlogEntries",
            "tlog_entries",
            "timestampVerificationData",
            "timestamp_verification_data",
        ],
    )
}

fn verification_material(material: &Object<'_>) -> Result<VerificationMaterial, Reject> {
    let key = material.either("publicKey", "public_key").map_err(malformed)?;
    let chain = material.either("x509CertificateChain", "x509_certificate_chain");
    let chain = chain.map_err(malformed)?;
    match (key, material.get("certificate"), chain) {
        (Some(key), None, None) => public_key(key).map_err(malformed),
        (None, Some(certificate), None) => {
            certificate_der(certificate).map(VerificationMaterial::Certificate).map_err(malformed)
        }
        (None, None, Some(chain)) => certificates(chain).map_err(malformed),
        (None, None, None) => Err(Reject::NoVerificationMaterial),
        _ => Err(Reject::SeveralVerificationMaterials),
    }
}

fn public_key(value: &Value) -> Result<VerificationMaterial, InvalidJson> {
    let hint = Object::new(value, "publicKey", &["hint"])?.get("hint");
    let hint = json::text(hint, "hint")?.to_owned();
    Ok(VerificationMaterial::PublicKey { hint })
}

fn certificate_der(value: &Value) -> Result<Vec<u8>, InvalidJson> {
    let object = Object::new(value, "certificate", &["rawBytes", "raw_bytes"])?;
    json::bytes(object.either("rawBytes", "raw_bytes")?, "rawBytes")
}

fn certificates(value: &Value) -> Result<VerificationMaterial, InvalidJson> {
    let object = Object::new(value, "x509CertificateChain", &["certificates"])?;
    let chain = json::list(object.get("certificates"), "certificates", MAX_CERTIFICATES)?;
    let chain = chain.iter().map(certificate_der).collect::<Result<Vec<_>, _>>()?;
    Ok(VerificationMaterial::CertificateChain(chain))
}

fn content(bundle: &Object<'_>) -> Result<Content, Reject> {
    let message = bundle.either("messageSignature", "message_signature").map_err(malformed)?;
    let envelope = bundle.either("dsseEnvelope", "dsse_envelope").map_err(malformed)?;
    match (message, envelope) {
        (Some(message), None) => message_signature(message).map(Content::Message),
        (None, Some(envelope)) => {
            let envelope = Envelope::from_value(envelope)
                .map_err(|error| Reject::json(Document::Envelope, error))?;
            match envelope.signatures.len() {
                0 => Err(Reject::MissingSignature(Document::Bundle)),
                1 => Ok(Content::Envelope(envelope)),
                several => Err(Reject::SeveralSignatures(several)),
            }
        }
        (None, None) => Err(Reject::NoContent),
        (Some(_), Some(_)) => Err(Reject::SeveralContents),
    }
}

fn message_signature(value: &Value) -> Result<MessageSignature, Reject> {
    let known = &["messageDigest", "message_digest", "signature"];
    let object = Object::new(value, "messageSignature", known).map_err(malformed)?;
    let digest = object.either("messageDigest", "message_digest").map_err(malformed)?;
    let signature = json::bytes(object.get("signature"), "signature").map_err(malformed)?;
    let digest = digest.map(message_digest).transpose()?.flatten();
    Ok(MessageSignature { digest, signature })
}

/// The digest; none for an empty object, which cosign writes for a pure Ed25519 signature.
fn message_digest(value: &Value) -> Result<Option<Digest>, Reject> {
    let object =
        Object::new(value, "messageDigest", &["algorithm", "digest"]).map_err(malformed)?;
    if object.get("algorithm").is_none() && object.get("digest").is_none() {
        return Ok(None);
    }
    let algorithm = object.get("algorithm").cloned().unwrap_or_default();
    let name = match (algorithm.as_str(), algorithm.as_u64()) {
        (Some("SHA2_256"), _) | (_, Some(1)) => "sha256",
        (Some("SHA2_384"), _) | (_, Some(2)) => "sha384",
        (Some("SHA2_512"), _) | (_, Some(3)) => "sha512",
        _ => return Err(Reject::MessageDigestAlgorithm(Foreign::new(algorithm.to_string()))),
    };
    let bytes = json::bytes(object.get("digest"), "digest").map_err(malformed)?;
    let wrong = InvalidJson::Field { field: "digest", want: "a digest of its algorithm's length" };
    let digest = format!("{name}:{}", hex::encode(bytes)).parse();
    digest.map(Some).map_err(|_| malformed(wrong))
}

#[cfg(test)]
mod tests;
