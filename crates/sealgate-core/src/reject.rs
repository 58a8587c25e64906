//! Why a candidate is not a signature that counts: known bad, with a stable code each.
//!
//! The border to [`crate::fault::Fault`]: a `Reject` is about bytes that we hold and have judged.

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

/// Which document a [`Reject`] speaks of.
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
    /// A log entry beside a signature.
    LogEntry,
    /// A signed timestamp beside a signature.
    Timestamp,
    /// A manifest that holds signatures.
    Manifest,
    /// A timestamp of a certificate log.
    Sct,
    /// A chain of certificates beside a signature.
    Chain,
}

/// Why one piece of evidence was rejected. The sentence is its `Display`, the stable one-word
/// code its [`Reject::code`]. Fields hold foreign text, cut to a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The authority has no keys.
    #[error("no public key to verify with")]
    NoKey,
    /// The authority insists on a hash that none of its keys can be used with.
    #[error("the required hash algorithm cannot be used with the public key")]
    UnsupportedHash,
    /// The signature does not verify with any key of the authority.
    #[error("invalid signature when validating ASN.1 encoded signature")]
    WrongSignature,
    /// There is no signature in it.
    #[error("no signature in the {0}")]
    MissingSignature(Document),
    /// There are several signatures where exactly one must be.
    #[error("the bundle's envelope has {0} signatures: want exactly one")]
    SeveralSignatures(usize),
    /// The key signs whole content, and only a digest of it was given.
    #[error("this signature can only be verified with the whole content, not with a digest of it")]
    NeedsContent,

    /// It is larger than a bound allows.
    #[error("{what}: larger than {limit} bytes")]
    TooLarge {
        /// What.
        what: Document,
        /// The bound in bytes.
        limit: usize,
    },
    /// It holds more than a bound allows.
    #[error("{what}: {field}: more than {limit} entries")]
    TooMany {
        /// Where.
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
    #[error("media type {0:?} is not a signature's")]
    MediaType(Foreign),
    /// A manifest that holds evidence has not the form that it must have.
    #[error("malformed manifest: {0}")]
    Manifest(Foreign),
    /// Not JSON.
    #[error("malformed {what}: not JSON: {detail}")]
    NotJson {
        /// What.
        what: Document,
        /// What the JSON reader says.
        detail: Foreign,
    },
    /// JSON that nests too deep.
    #[error("malformed {0}: nested too deep")]
    TooDeep(Document),
    /// A key stands twice in one object.
    #[error("malformed {what}: the key {key:?} stands twice")]
    DuplicateKey {
        /// Where.
        what: Document,
        /// The key.
        key: Foreign,
    },
    /// A key that another reader would take for a field.
    #[error("malformed {what}: the key {key:?} can be read as {known:?}")]
    AmbiguousKey {
        /// Where.
        what: Document,
        /// The key.
        key: Foreign,
        /// The field.
        known: &'static str,
    },
    /// A field is missing or has a value of the wrong kind.
    #[error("malformed {what}: {field}: want {want}")]
    Field {
        /// Where.
        what: Document,
        /// The field.
        field: &'static str,
        /// What should stand there.
        want: &'static str,
    },
    /// A field is not standard base64.
    #[error("malformed {what}: {field}: not standard base64")]
    Base64 {
        /// Where.
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
        /// The digest asked for.
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

    /// The bundle's media type is none that we read.
    #[error("unsupported bundle media type: {0:?}")]
    BundleVersion(Foreign),
    /// The bundle does not say what verifies it.
    #[error("missing verification material in the bundle")]
    NoVerificationMaterial,
    /// The bundle names several kinds of verification material.
    #[error("several kinds of verification material in the bundle")]
    SeveralVerificationMaterials,
    /// The bundle is of a certificate, and a public key was asked for.
    #[error("the bundle holds a certificate, but verification is by public key")]
    CertificateInBundle,
    /// The bundle holds neither an envelope nor a message signature.
    #[error("the bundle holds neither a DSSE envelope nor a message signature")]
    NoContent,
    /// The bundle holds both.
    #[error("the bundle holds both a DSSE envelope and a message signature")]
    SeveralContents,
    /// The bundle signs a message, which cannot be an image signature.
    #[error("the bundle holds a message signature: an image signature is a DSSE envelope")]
    NotAnEnvelope,
    /// The envelope holds something else than an in-toto statement.
    #[error("unexpected DSSE payload type: {0:?}")]
    EnvelopeType(Foreign),

    /// The statement's `_type` is none that we read.
    #[error("unsupported statement type: {0:?}")]
    StatementType(Foreign),
    /// The statement is about nothing.
    #[error("no matching subject digest found: the statement has no subject")]
    NoSubject,
    /// The statement is about something else.
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

    /// A certificate that cannot be read, or that must not be believed for its form.
    #[error("malformed certificate: {0}")]
    Certificate(Foreign),
    /// No authority of the trust root stands for the certificate.
    #[error("cert verification failed: certificate signed by unknown authority: {0}")]
    UntrustedCertificate(Foreign),
    /// A certificate is used for what it is not for.
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
    /// The authority did not count at a trusted time.
    #[error("cert verification failed: the trust root does not trust this authority at {}", time(.at))]
    AuthorityTime {
        /// The trusted time, in seconds since 1970, as the others.
        at: i64,
        /// The first second.
        from: Option<i64>,
        /// The last second.
        to: Option<i64>,
    },
    /// Nothing says when the signature was made, and the certificate needs that.
    #[error("no trusted time: neither a signed timestamp nor a log's promise with a time")]
    NoTrustedTime,
    /// A log's proof is asked for, and no log of the trust root has this signature.
    #[error("signature not found in transparency log")]
    NotLogged,
    /// A signed timestamp is asked for, and no authority of the trust root has signed one.
    #[error("no valid signed timestamp of a timestamp authority of the trust root")]
    NoTimestamp,
    /// The certificate names no signer.
    #[error("the certificate names no subject")]
    NoSubjectName,
    /// The timestamp of a certificate log that cannot be read.
    #[error("malformed certificate timestamp (SCT): {0}")]
    Sct(Foreign),
    /// A known certificate log has not signed the timestamp.
    #[error("error verifying SCT: the log's signature does not fit this certificate")]
    WrongSct,
    /// No known certificate log has promised to publish the certificate.
    #[error("certificate does not include required embedded SCT and no detached SCT was set")]
    NoSct,
    /// Nobody is wanted.
    #[error("no identity to verify with")]
    NoIdentity,
    /// The certificate is somebody else's.
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
    /// The certificate has not a wanted value of an extension.
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
    /// A document that is no JSON of ours.
    pub fn json(what: Document, error: InvalidJson) -> Self {
        match error {
            InvalidJson::TooLarge(limit) => Self::TooLarge { what, limit },
            InvalidJson::TooDeep => Self::TooDeep(what),
            InvalidJson::TooMany => {
                Self::TooMany { what, field: "values", limit: crate::json::MAX_VALUES }
            }
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

    /// What a person can do about it, in one sentence.
    pub fn remedy(&self) -> &'static str {
        self.reason().remedy
    }

    /// Every reason there is, in the order of the documentation.
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
            Self::Sct => "certificate timestamp",
            Self::Chain => "certificate chain",
        })
    }
}

/// Seconds since 1970 for people.
fn time(seconds: &i64) -> String {
    crate::time::text(*seconds)
}

#[cfg(test)]
mod tests;
