//! Reasons to reject a log entry.

use super::catalogue::{Reason, reasons};
use super::{Foreign, time};

/// Reason to reject a log entry that names a log of the trust root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogReject {
    /// The form of the evidence requires a signed entry timestamp (SET), and there is none.
    #[error("the log entry has no signed entry timestamp")]
    NoSignedEntryTimestamp,
    /// The form of the evidence requires an inclusion proof, and there is none.
    #[error("the log entry has no inclusion proof")]
    NoProof,
    /// The form of the evidence requires a checkpoint, and there is none.
    #[error("the inclusion proof has no checkpoint")]
    NoCheckpoint,
    /// A number is negative or too large.
    #[error("{0} is out of range")]
    Number(&'static str),
    /// The signed entry timestamp is not signed by the log.
    #[error("the signed entry timestamp does not verify with the log's key")]
    SignedEntryTimestamp,
    /// The proof has not the form that its index and tree size ask for.
    #[error("malformed inclusion proof: {0}")]
    ProofShape(&'static str),
    /// The proof does not lead to its root.
    #[error("the inclusion proof does not match its root hash")]
    ProofRoot,
    /// Entry and proof have different indices, in a log that has only one.
    #[error("the entry and its inclusion proof have different indices")]
    OtherIndex,
    /// The checkpoint is no signed note.
    #[error("malformed checkpoint: {0}")]
    CheckpointFormat(&'static str),
    /// The checkpoint is another log's.
    #[error("the checkpoint names another log: {0:?}")]
    CheckpointOrigin(Foreign),
    /// The checkpoint is not signed by the log.
    #[error("the checkpoint has no valid signature by the log")]
    CheckpointSignature,
    /// The checkpoint has another root than the proof.
    #[error("the checkpoint has another root hash than the inclusion proof")]
    CheckpointRoot,
    /// The checkpoint has another size than the proof.
    #[error("the checkpoint has another tree size than the inclusion proof")]
    CheckpointSize,
    /// The log's key was not valid at that time.
    #[error("the log's key is not valid at {}", time(.0))]
    Window(i64),
    /// The log's key has an end, and nothing shows that the entry was made before.
    #[error("the log's key is no longer valid, and no trusted time shows that the entry is older")]
    NoTime,
    /// The bundle names another kind of entry than the entry itself.
    #[error("the bundle and its log entry name different kinds: {0:?}")]
    OtherKind(Foreign),
    /// An unsupported kind of entry.
    #[error("unsupported kind of log entry: {0:?}")]
    Kind(Foreign),
    /// A kind of entry that cannot name content of this form.
    #[error("a log entry of this kind cannot be for this signature: {0:?}")]
    KindOfContent(Foreign),
    /// The entry holds no signature, or several.
    #[error("the log entry has {0} signatures; exactly one is required")]
    Signatures(usize),
    /// The entry names another signature.
    #[error("the log entry names another signature")]
    OtherSignature,
    /// The entry's signer is neither a public key nor a certificate.
    #[error("malformed log entry: neither a public key nor a certificate: {0}")]
    Signer(Foreign),
    /// The entry names another key or certificate.
    #[error("the log entry names another key or certificate")]
    OtherSigner,
    /// The entry names another signature algorithm than the one that the signature verified by.
    #[error("the log entry names another signature algorithm: {0:?}")]
    OtherAlgorithm(Foreign),
    /// The entry names a digest that is none, or by an algorithm that we do not know.
    #[error("malformed log entry: {0}: unsupported digest")]
    Digest(&'static str),
    /// The entry names other content.
    #[error("the log entry names another digest")]
    OtherDigest,
    /// The entry names another payload type.
    #[error("the log entry names another payload type: {0:?}")]
    OtherPayloadType(Foreign),
}

reasons! {
    NO_SIGNED_ENTRY_TIMESTAMP: "log-no-promise",
        "The log entry has no signed entry timestamp (SET), which is required in this format.",
        "Sign again, or upgrade the bundle to version 0.3 with its inclusion proof.";
    NO_PROOF: "log-no-proof", "The log entry has no inclusion proof, which is required in bundles since version 0.2.",
        "Sign again, or upgrade the bundle from the log.";
    NO_CHECKPOINT: "log-no-checkpoint",
        "The inclusion proof has no checkpoint, so its root hash is not signed by a log.",
        "Sign again, or upgrade the bundle from the log.";
    NUMBER: "log-number", "An index, size or time of the log entry is negative or too large to be real.",
        "Sign again; the log entry is damaged or forged.";
    SIGNED_ENTRY_TIMESTAMP: "log-promise",
        "The signed entry timestamp (SET) does not verify: the entry, time, index or log was modified, or it was signed with another key.",
        "Check that the trust root contains this log; sign again if the entry was modified.";
    PROOF_SHAPE: "log-proof-shape",
        "The inclusion proof does not have the length or structure that its index and tree size require.",
        "Sign again; the proof is damaged or forged.";
    PROOF_ROOT: "log-proof-root",
        "The inclusion proof does not yield its root hash for this entry: the entry is not in that tree.",
        "Sign again; the entry or its proof was modified.";
    OTHER_INDEX: "log-index", "The entry and its inclusion proof have different indices in a Rekor v2 log.",
        "Sign again; the log entry is damaged or forged.";
    CHECKPOINT_FORMAT: "log-checkpoint-format", "The checkpoint is not a signed note with a tree size and a root hash.",
        "Sign again; the checkpoint is damaged.";
    CHECKPOINT_ORIGIN: "log-checkpoint-origin", "The checkpoint names a log other than that of the entry.",
        "Check the address (origin) of the log in the trust root; if it is correct, the checkpoint was replaced.";
    CHECKPOINT_SIGNATURE: "log-checkpoint-signature",
        "No signature line of the checkpoint verifies with the log's key: the checkpoint was modified, or signed with another key.",
        "Check that the trust root contains this log; sign again if the checkpoint was modified.";
    CHECKPOINT_ROOT: "log-checkpoint-root", "The checkpoint is valid, but its root hash is not that of the inclusion proof.",
        "Sign again; the inclusion proof and the checkpoint do not belong together.";
    CHECKPOINT_SIZE: "log-checkpoint-size", "The checkpoint is valid, but its tree size is not that of the inclusion proof.",
        "Sign again; the inclusion proof and the checkpoint do not belong together.";
    WINDOW: "log-window", "In the trust root, the log's key was not valid at the time of the entry.",
        "Check the validity period of the log in the trust root.";
    NO_TIME: "log-no-time",
        "The validity period of the log's key has ended, and no trusted time shows that the entry was made before that.",
        "Sign with a timestamp authority, or with a log that is currently valid.";
    OTHER_KIND: "log-other-kind", "The kind or version of the entry in the bundle is not that of the entry itself.",
        "Sign again; the bundle and the log entry do not belong together.";
    KIND: "log-kind", "The kind or version of the log entry is not supported.",
        "Sign with cosign or sealgate (hashedrekord, dsse or intoto entries), or update sealgate.";
    KIND_OF_CONTENT: "log-kind-of-content",
        "The log entry is for an envelope, but the signature is over plain content.",
        "Sign again; the entry was taken from another signature.";
    SIGNATURES: "log-signatures", "The log entry contains no signature or several; exactly one is required.",
        "Sign again, with one signature in the entry.";
    OTHER_SIGNATURE: "log-other-signature",
        "The log entry is valid, but for another signature.",
        "Sign again; a log entry cannot be moved from one signature to another.";
    SIGNER: "log-signer", "The signer in the log entry is neither a valid public key nor a valid certificate.",
        "Sign again; the log entry is damaged.";
    OTHER_SIGNER: "log-other-signer",
        "The log entry is valid, but for a key or certificate other than the one that verified the signature.",
        "Sign again; a log entry cannot be moved from one signer to another.";
    OTHER_ALGORITHM: "log-other-algorithm",
        "The log entry names a signature algorithm other than the one with which the signature was verified.",
        "Sign again; the log entry is damaged or forged.";
    DIGEST: "log-digest", "The digest in the log entry is malformed, or is not SHA-256, SHA-384 or SHA-512.",
        "Sign again with SHA-256.";
    OTHER_DIGEST: "log-other-digest", "The log entry is valid, but for other content.",
        "Sign again; a log entry cannot be moved from one artifact to another.";
    OTHER_PAYLOAD_TYPE: "log-payload-type", "The log entry is for an envelope with another payload type.",
        "Sign again; the entry was taken from another signature.";
}

impl LogReject {
    pub(super) fn reason(&self) -> &'static Reason {
        match self {
            Self::NoSignedEntryTimestamp => &NO_SIGNED_ENTRY_TIMESTAMP,
            Self::NoProof => &NO_PROOF,
            Self::NoCheckpoint => &NO_CHECKPOINT,
            Self::Number(_) => &NUMBER,
            Self::SignedEntryTimestamp => &SIGNED_ENTRY_TIMESTAMP,
            Self::ProofShape(_) => &PROOF_SHAPE,
            Self::ProofRoot => &PROOF_ROOT,
            Self::OtherIndex => &OTHER_INDEX,
            Self::CheckpointFormat(_) => &CHECKPOINT_FORMAT,
            Self::CheckpointOrigin(_) => &CHECKPOINT_ORIGIN,
            Self::CheckpointSignature => &CHECKPOINT_SIGNATURE,
            Self::CheckpointRoot => &CHECKPOINT_ROOT,
            Self::CheckpointSize => &CHECKPOINT_SIZE,
            Self::Window(_) => &WINDOW,
            Self::NoTime => &NO_TIME,
            Self::OtherKind(_) => &OTHER_KIND,
            Self::Kind(_) => &KIND,
            Self::KindOfContent(_) => &KIND_OF_CONTENT,
            Self::Signatures(_) => &SIGNATURES,
            Self::OtherSignature => &OTHER_SIGNATURE,
            Self::Signer(_) => &SIGNER,
            Self::OtherSigner => &OTHER_SIGNER,
            Self::OtherAlgorithm(_) => &OTHER_ALGORITHM,
            Self::Digest(_) => &DIGEST,
            Self::OtherDigest => &OTHER_DIGEST,
            Self::OtherPayloadType(_) => &OTHER_PAYLOAD_TYPE,
        }
    }
}
