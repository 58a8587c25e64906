//! Reasons to reject a signed timestamp (RFC 3161).

use super::catalogue::{Reason, reasons};
use super::{Foreign, time};

/// Reason to reject a signed timestamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampReject {
    /// Not a DER TimeStampResp, or bytes after its end.
    #[error("malformed timestamp: {0}")]
    Malformed(Foreign),
    /// More of something than any real token has.
    #[error("malformed timestamp: too many {0}")]
    TooMany(&'static str),
    /// The authority did not grant it.
    #[error("the timestamp was not granted: status {0}")]
    Status(u64),
    /// The token is not signed data around a TSTInfo.
    #[error("the timestamp's content is not a TSTInfo: {0:?}")]
    Content(Foreign),
    /// None or several signers.
    #[error("the timestamp has {0} signers; exactly one is required")]
    Signers(usize),
    /// A hash that we do not accept.
    #[error("unsupported hash in the timestamp: {0:?}")]
    Hash(Foreign),
    /// The signed attributes are not those of a timestamp.
    #[error("the timestamp's signed attributes: {0}")]
    Attributes(&'static str),
    /// The signed digest is not that of the content.
    #[error("the timestamp's signed digest is not that of its content")]
    MessageDigest,
    /// The signed name of the certificate is another one's.
    #[error("the timestamp names another signing certificate: {0}")]
    SigningCertificate(&'static str),
    /// A signature algorithm that we do not accept, or that does not fit the key or hash.
    #[error("unsupported signature algorithm in the timestamp: {0:?}")]
    Algorithm(Foreign),
    /// The signature is not the signer's.
    #[error("the timestamp's signature does not verify")]
    Signature,
    /// The timestamp is over something else.
    #[error("the timestamp is not over this signature")]
    Imprint,
    /// A version of TSTInfo other than 1.
    #[error("unsupported version of TSTInfo")]
    Version,
    /// Its time cannot be read.
    #[error("malformed time in the timestamp: {0:?}")]
    Time(Foreign),
    /// An extension that must not be passed over.
    #[error("unknown critical extension in the timestamp: {0}")]
    CriticalExtension(Foreign),
    /// The signing certificate is not one for timestamps only.
    #[error("the timestamp's signing certificate: {0}")]
    Usage(&'static str),
    /// The signing certificate does not lead to the authority's root.
    #[error("the timestamp's certificate chain: {0}")]
    Chain(Foreign),
    /// A certificate of the chain was not valid then.
    #[error("a certificate of the timestamp's chain is not valid at {}", time(.0))]
    Expired(i64),
    /// The authority is not valid at that time.
    #[error("the timestamp authority is not valid at {}", time(.0))]
    Window(i64),
}

reasons! {
    MALFORMED: "timestamp-malformed", "The timestamp is not a DER TimeStampResp, or is followed by additional bytes.",
        "Sign again; the timestamp is damaged.";
    TOO_MANY: "timestamp-too-many", "The timestamp contains more certificates, attributes or extensions than any genuine timestamp.",
        "Check its source; this may be an attack.";
    STATUS: "timestamp-status", "The timestamp authority did not grant the timestamp.",
        "Sign again, and check the logs of the timestamp authority.";
    CONTENT: "timestamp-content", "The timestamp is not CMS signed data with a TSTInfo.",
        "Sign again with an RFC 3161 timestamp authority.";
    SIGNERS: "timestamp-signers", "The timestamp has no signer or several; exactly one is required.",
        "Sign again with another timestamp authority.";
    HASH: "timestamp-hash", "The timestamp uses a hash other than SHA-256, SHA-384 and SHA-512.",
        "Configure the timestamp authority with SHA-256 or better, and sign again.";
    ATTRIBUTES: "timestamp-attributes",
        "The signed attributes of the timestamp are missing, duplicated, not canonical, or for other content.",
        "Sign again with an RFC 3161 timestamp authority.";
    MESSAGE_DIGEST: "timestamp-message-digest", "The content of the timestamp was modified after signing.",
        "Sign again; the timestamp is damaged or forged.";
    SIGNING_CERTIFICATE: "timestamp-signing-certificate",
        "The signed reference to the signing certificate is missing from the timestamp, or refers to another certificate.",
        "Sign again; the certificate in the timestamp was replaced.";
    ALGORITHM: "timestamp-algorithm",
        "The timestamp is signed with an algorithm that is not accepted, or that does not match its key or hash.",
        "Use a timestamp authority that signs with ECDSA, Ed25519 or RSA PKCS #1 and SHA-2.";
    SIGNATURE: "timestamp-signature", "The signature of the timestamp does not verify with its certificate.",
        "Sign again; the timestamp is damaged or forged.";
    IMPRINT: "timestamp-imprint", "The timestamp is valid, but for another signature.",
        "Sign again; a timestamp cannot be moved from one signature to another.";
    VERSION: "timestamp-version", "The version of the TSTInfo is not 1.",
        "Sign again with an RFC 3161 timestamp authority.";
    TIME: "timestamp-time", "The time in the timestamp is not a UTC time as specified by RFC 3161.",
        "Sign again with an RFC 3161 timestamp authority.";
    CRITICAL_EXTENSION: "timestamp-critical-extension",
        "The timestamp has an unknown critical extension, which must not be ignored.",
        "Configure the timestamp authority to omit this extension.";
    USAGE: "timestamp-usage",
        "The signing certificate of the timestamp is not restricted to timestamping (critical extended key usage).",
        "Use a timestamp authority whose certificate is restricted to timestamping.";
    CHAIN: "timestamp-chain", "The certificates in the timestamp do not chain to the root of the timestamp authority.",
        "Check the certificate chain of the timestamp authority in the trust root.";
    EXPIRED: "timestamp-expired", "A certificate in the chain of the timestamp was not valid at the time of the timestamp.",
        "Renew the certificate of the timestamp authority, and sign again.";
    WINDOW: "timestamp-window", "In the trust root, the timestamp authority was not valid at that time.",
        "Check the validity period of the timestamp authority in the trust root.";
}

impl TimestampReject {
    pub(super) fn reason(&self) -> &'static Reason {
        match self {
            Self::Malformed(_) => &MALFORMED,
            Self::TooMany(_) => &TOO_MANY,
            Self::Status(_) => &STATUS,
            Self::Content(_) => &CONTENT,
            Self::Signers(_) => &SIGNERS,
            Self::Hash(_) => &HASH,
            Self::Attributes(_) => &ATTRIBUTES,
            Self::MessageDigest => &MESSAGE_DIGEST,
            Self::SigningCertificate(_) => &SIGNING_CERTIFICATE,
            Self::Algorithm(_) => &ALGORITHM,
            Self::Signature => &SIGNATURE,
            Self::Imprint => &IMPRINT,
            Self::Version => &VERSION,
            Self::Time(_) => &TIME,
            Self::CriticalExtension(_) => &CRITICAL_EXTENSION,
            Self::Usage(_) => &USAGE,
            Self::Chain(_) => &CHAIN,
            Self::Expired(_) => &EXPIRED,
            Self::Window(_) => &WINDOW,
        }
    }
}
