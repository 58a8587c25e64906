//! Why a signed timestamp (RFC 3161) beside a signature is wrong.

use super::catalogue::{Reason, reasons};
use super::{Foreign, time};

/// What is wrong with a timestamp that a known authority is said to have signed.
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
    #[error("the timestamp has {0} signers: want exactly one")]
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
    #[error("the timestamp is over something else than this signature")]
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
    /// The authority does not count at that time.
    #[error("the timestamp authority is not valid at {}", time(.0))]
    Window(i64),
}

reasons! {
    MALFORMED: "timestamp-malformed", "The timestamp is not a DER TimeStampResp, or has bytes after its end.",
        "Sign again; the timestamp is damaged.";
    TOO_MANY: "timestamp-too-many", "The timestamp holds more certificates, attributes or extensions than any real one.",
        "Check where it comes from; it looks like an attack.";
    STATUS: "timestamp-status", "The timestamp authority did not grant the timestamp.",
        "Sign again, and look at the log of the timestamp authority.";
    CONTENT: "timestamp-content", "The timestamp is not CMS signed data around a TSTInfo.",
        "Sign again with an RFC 3161 timestamp authority.";
    SIGNERS: "timestamp-signers", "The timestamp has none or several signers where exactly one must be.",
        "Sign again with another timestamp authority.";
    HASH: "timestamp-hash", "The timestamp uses a hash other than SHA-256, SHA-384 and SHA-512.",
        "Configure the timestamp authority with SHA-256 or better, and sign again.";
    ATTRIBUTES: "timestamp-attributes",
        "The timestamp's signed attributes are missing, doubled, not canonical, or of other content.",
        "Sign again with an RFC 3161 timestamp authority.";
    MESSAGE_DIGEST: "timestamp-message-digest", "The timestamp's content was changed after it was signed.",
        "Sign again; the timestamp is damaged or forged.";
    SIGNING_CERTIFICATE: "timestamp-signing-certificate",
        "The timestamp's signed name of its certificate is missing or is that of another certificate.",
        "Sign again; the certificate in the timestamp was swapped.";
    ALGORITHM: "timestamp-algorithm",
        "The timestamp is signed with an algorithm that is not accepted, or that does not fit its key or hash.",
        "Use a timestamp authority that signs with ECDSA, Ed25519 or RSA PKCS #1 and SHA-2.";
    SIGNATURE: "timestamp-signature", "The timestamp's signature does not verify with its certificate.",
        "Sign again; the timestamp is damaged or forged.";
    IMPRINT: "timestamp-imprint", "The timestamp is genuine, but over something else than this signature.",
        "Sign again; a timestamp cannot be moved from one signature to another.";
    VERSION: "timestamp-version", "The TSTInfo is of another version than 1.",
        "Sign again with an RFC 3161 timestamp authority.";
    TIME: "timestamp-time", "The time in the timestamp is not a UTC time of RFC 3161.",
        "Sign again with an RFC 3161 timestamp authority.";
    CRITICAL_EXTENSION: "timestamp-critical-extension",
        "The timestamp has a critical extension that is not known, and must therefore not be passed over.",
        "Configure the timestamp authority without it.";
    USAGE: "timestamp-usage",
        "The timestamp's signing certificate is not for timestamps alone (critical extended key usage).",
        "Use a timestamp authority whose certificate is for timestamps only.";
    CHAIN: "timestamp-chain", "The timestamp's certificates do not lead to the root of its authority.",
        "Check the timestamp authority's chain in the trust root.";
    EXPIRED: "timestamp-expired", "A certificate of the timestamp's chain was not valid when it was signed.",
        "Renew the certificate of the timestamp authority, and sign again.";
    WINDOW: "timestamp-window", "The trust root does not let the timestamp authority count at that time.",
        "Check the validity window of the timestamp authority in the trust root.";
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
