//! Reasons to reject a candidate, each with a stable code.
//!
//! A `Reject` applies to bytes that were examined; a [`crate::fault::Fault`] is a failure to find
//! out.

mod catalogue;
mod log;
mod timestamp;

use std::fmt;

pub use catalogue::Reason;
pub use log::LogReject;
pub use timestamp::TimestampReject;

use crate::digest::Digest;
pub use crate::foreign::Foreign;
use crate::json::InvalidJson;

/// The document that a [`Reject`] refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Document {
    /// A SimpleSigning payload.
    Payload,
    /// A DSSE envelope.
    Envelope,
    /// An in-toto statement.
    Statement,
    /// A Sigstore bundle.
    Bundle,
    /// A signature.
    Signature,
    /// A log entry.
    LogEntry,
    /// A signed timestamp.
    Timestamp,
    /// A manifest that holds signatures.
    Manifest,
    /// An SCT.
    Sct,
    /// A certificate chain.
    Chain,
}

/// Reason why a piece of evidence was rejected. The sentence is its `Display`, the stable one-word
/// code its [`Reject::code`]. Fields hold foreign text, cut to a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The authority has no keys.
    #[error("no public key to verify with")]
    NoKey,
    /// The authority requires a hash that none of its keys can be used with.
    #[error("the required hash algorithm cannot be used with the public key")]
    UnsupportedHash,
    /// The signature does not verify with any key of the authority.
    #[error("invalid signature when validating ASN.1 encoded signature")]
    WrongSignature,
    /// There is no signature in it.
    #[error("no signature in the {0}")]
    MissingSignature(Document),
    /// There are several signatures where exactly one must be.
    #[error("the envelope of the bundle has {0} signatures; exactly one is required")]
    SeveralSignatures(usize),
    /// The key signs whole content, and only a digest of it was given.
    #[error("this signature can only be verified with the whole content, not with a digest of it")]
    NeedsContent,

    /// It is larger than a bound allows.
    #[error("{what}: larger than {limit} bytes")]
    TooLarge {
        /// The document.
        what: Document,
        /// The bound in bytes.
        limit: usize,
    },
    /// It holds more than a bound allows.
    #[error("{what}: {field}: more than {limit} entries")]
    TooMany {
        /// The document.
        what: Document,
        /// The list.
        field: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The bytes do not have the digest that they were found by.
    #[error("the content does not have the digest {0}")]
    ContentDigest(Digest),
    /// A media type that is not evidence of an image signature.
    #[error("media type {0:?} is not that of a signature")]
    MediaType(Foreign),
    /// A manifest that holds evidence has not the form that it must have.
    #[error("malformed manifest: {0}")]
    Manifest(Foreign),
    /// Not JSON.
    #[error("malformed {what}: not JSON: {detail}")]
    NotJson {
        /// The document.
        what: Document,
        /// The error of the JSON parser.
        detail: Foreign,
    },
    /// JSON that nests too deep.
    #[error("malformed {0}: nested too deep")]
    TooDeep(Document),
    /// A duplicate key in an object.
    #[error("malformed {what}: duplicate key {key:?}")]
    DuplicateKey {
        /// The document.
        what: Document,
        /// The key.
        key: Foreign,
    },
    /// A key that another reader would take for a field.
    #[error("malformed {what}: the key {key:?} can be read as {known:?}")]
    AmbiguousKey {
        /// The document.
        what: Document,
        /// The key.
        key: Foreign,
        /// The field.
        known: &'static str,
    },
    /// A field is missing or has a value of the wrong kind.
    #[error("malformed {what}: {field}: expected {want}")]
    Field {
        /// The document.
        what: Document,
        /// The field.
        field: &'static str,
        /// The expected value.
        want: &'static str,
    },
    /// A field is not standard base64.
    #[error("malformed {what}: {field}: not standard base64")]
    Base64 {
        /// The document.
        what: Document,
        /// The field.
        field: &'static str,
    },

    /// `critical.type` of the payload is not that of a cosign signature.
    #[error("Cosign signature payload was of an unknown type: {0:?}")]
    PayloadKind(Foreign),
    /// `critical` has a member that we do not know, so that we must not pass over it.
    #[error("unknown critical member in the signature payload: {0:?}")]
    UnknownCritical(Foreign),
    /// The payload names no digest, or not a well-formed one.
    #[error("invalid or missing digest in claim: {0}")]
    ClaimDigest(Foreign),
    /// The payload names another digest.
    #[error("invalid or missing digest in claim: {found}, want {want}")]
    OtherDigest {
        /// The digest in the payload.
        found: Digest,
        /// The required digest.
        want: Digest,
    },
    /// The signature does not carry a required annotation.
    #[error("missing or incorrect annotation: {0:?} is missing")]
    MissingAnnotation(Foreign),
    /// The signature carries a required annotation with another value.
    #[error("missing or incorrect annotation: {key:?} has another value")]
    WrongAnnotation {
        /// The annotation's key.
        key: Foreign,
    },

    /// The bundle's media type is unsupported.
    #[error("unsupported bundle media type: {0:?}")]
    BundleVersion(Foreign),
    /// The bundle has no verification material.
    #[error("missing verification material in the bundle")]
    NoVerificationMaterial,
    /// The bundle names several kinds of verification material.
    #[error("several kinds of verification material in the bundle")]
    SeveralVerificationMaterials,
    /// The bundle holds a certificate, and a public key is required.
    #[error("the bundle holds a certificate, but verification is by public key")]
    CertificateInBundle,
    /// The bundle holds neither an envelope nor a message signature.
    #[error("the bundle holds neither a DSSE envelope nor a message signature")]
    NoContent,
    /// The bundle holds both.
    #[error("the bundle holds both a DSSE envelope and a message signature")]
    SeveralContents,
    /// The bundle signs a message, which cannot be an image signature.
    #[error("the bundle holds a message signature, but a DSSE envelope is required")]
    NotAnEnvelope,
    /// The envelope holds something else than an in-toto statement.
    #[error("unexpected DSSE payload type: {0:?}")]
    EnvelopeType(Foreign),

    /// The statement's `_type` is unsupported.
    #[error("unsupported statement type: {0:?}")]
    StatementType(Foreign),
    /// The statement has no subject.
    #[error("no matching subject digest found: the statement has no subject")]
    NoSubject,
    /// No subject of the statement has the digest.
    #[error("no matching subject digest found")]
    OtherSubject,
    /// The statement is an attestation, not an image signature.
    #[error("none of the attestations matched the predicate type: {want}, found: {found}")]
    NotASignature {
        /// The predicate type found.
        found: Foreign,
        /// The predicate type of image signatures.
        want: &'static str,
    },
    /// The attestation is of another predicate type than the required one.
    #[error("none of the attestations matched the predicate type: {want}, found: {found}")]
    OtherPredicateType {
        /// The predicate type found.
        found: Foreign,
        /// The required predicate type.
        want: Foreign,
    },
    /// The evidence is a legacy image signature, not an attestation or a signature over a blob.
    #[error("the evidence is an image signature, not an attestation or a signature over a blob")]
    ImageSignature,
    /// The bundle names another digest of the signed content.
    #[error("the bundle's message digest does not match the artifact")]
    MessageDigest,
    /// The bundle names a digest by an algorithm that we do not compute.
    #[error("unsupported message digest algorithm: {0:?}")]
    MessageDigestAlgorithm(Foreign),

    /// A log entry is wrong.
    #[error(transparent)]
    Log(#[from] LogReject),
    /// A signed timestamp is wrong.
    #[error(transparent)]
    TimeProof(#[from] TimestampReject),

    /// A certificate that cannot be parsed or is malformed.
    #[error("malformed certificate: {0}")]
    Certificate(Foreign),
    /// No authority of the trust root issued the certificate.
    #[error("cert verification failed: certificate signed by unknown authority: {0}")]
    UntrustedCertificate(Foreign),
    /// A certificate is not for this use.
    #[error("cert verification failed: {0}")]
    CertificateUsage(&'static str),
    /// A certificate of the chain was not valid at a trusted time.
    #[error("cert verification failed: not valid at {}, but from {} to {}", time(.at), time(.from), time(.to))]
    CertificateTime {
        /// The trusted time, in seconds since 1970, as the others.
        at: i64,
        /// The first second.
        from: i64,
        /// The last second.
        to: i64,
    },
    /// The authority was not valid at a trusted time.
    #[error("cert verification failed: the trust root does not trust this authority at {}", time(.at))]
    AuthorityTime {
        /// The trusted time, in seconds since 1970, as the others.
        at: i64,
        /// The first second.
        from: Option<i64>,
        /// The last second.
        to: Option<i64>,
    },
    /// No trusted time of the signature, which a certificate requires.
    #[error("no trusted time: neither a signed timestamp nor a signed entry timestamp of a log")]
    NoTrustedTime,
    /// A log entry is required, and no log of the trust root has one for this signature.
    #[error("signature not found in transparency log")]
    NotLogged,
    /// A signed timestamp is required, and no authority of the trust root has signed one.
    #[error("no valid signed timestamp by a timestamp authority of the trust root")]
    NoTimestamp,
    /// The certificate names no signer.
    #[error("the certificate names no subject")]
    NoSubjectName,
    /// An SCT that cannot be parsed.
    #[error("malformed signed certificate timestamp (SCT): {0}")]
    Sct(Foreign),
    /// An SCT that names a known CT log is not signed by it.
    #[error(
        "error verifying SCT: the signature of the CT log does not verify for this certificate"
    )]
    WrongSct,
    /// An SCT is required, and no CT log of the trust root has signed one.
    #[error("certificate does not include required embedded SCT and no detached SCT was set")]
    NoSct,
    /// The authority has no identity.
    #[error("no identity to verify with")]
    NoIdentity,
    /// The certificate names another identity.
    #[error(
        "none of the expected identities matched what was in the certificate, \
         got subjects [{subjects}] with issuer {issuer}"
    )]
    WrongIdentity {
        /// The names in the certificate.
        subjects: Foreign,
        /// The issuer in the certificate.
        issuer: Foreign,
    },
    /// The certificate lacks a required value of an extension.
    #[error("expected {claim} not found in certificate")]
    WrongClaim {
        /// The title of the extension.
        claim: &'static str,
    },
    /// Verification is by identity, and there is no certificate.
    #[error("no certificate found on signature")]
    NoCertificate,
    /// Verification is by identity, and there is no trust root.
    #[error("no trust root to verify the certificate with")]
    NoTrustRoot,
}

impl Reject {
    /// The reject of a JSON document.
    pub fn json(what: Document, error: InvalidJson) -> Self {
        match error {
            InvalidJson::TooLarge(limit) => Self::TooLarge { what, limit },
            InvalidJson::TooDeep => Self::TooDeep(what),
            InvalidJson::TooMany(limit) => Self::TooMany { what, field: "values", limit },
            InvalidJson::TooManyEntries { field, limit } => Self::TooMany { what, field, limit },
            InvalidJson::DuplicateKey(key) => Self::DuplicateKey { what, key },
            InvalidJson::AmbiguousKey { found, known } => {
                Self::AmbiguousKey { what, key: found, known }
            }
            InvalidJson::Field { field, want } => Self::Field { what, field, want },
            InvalidJson::Base64(field) => Self::Base64 { what, field },
            InvalidJson::Syntax(detail) => Self::NotJson { what, detail },
        }
    }

    /// The stable one-word code, listed in `docs/reference/reject-codes.md`.
    pub fn code(&self) -> &'static str {
        self.reason().code
    }

    /// The remedy, in one sentence.
    pub fn remedy(&self) -> &'static str {
        self.reason().remedy
    }

    /// Every reason, in the order of the documentation.
    pub fn catalogue() -> &'static [&'static Reason] {
        &catalogue::CATALOGUE
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Payload => "signature payload",
            Self::Envelope => "DSSE envelope",
            Self::Statement => "in-toto statement",
            Self::Bundle => "bundle",
            Self::Signature => "signature",
            Self::LogEntry => "log entry",
            Self::Timestamp => "timestamp",
            Self::Manifest => "manifest",
            Self::Sct => "SCT",
            Self::Chain => "certificate chain",
        })
    }
}

/// Formats seconds since 1970.
fn time(seconds: &i64) -> String {
    crate::time::text(*seconds)
}

#[cfg(test)]
mod tests;
