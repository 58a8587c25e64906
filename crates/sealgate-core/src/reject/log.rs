//! Why a log entry beside a signature is wrong.

use super::catalogue::{Reason, reasons};
use super::{Foreign, time};

/// What is wrong with a log entry that a known log is said to hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogReject {
    /// The form of the evidence needs a promise of inclusion (SET), and there is none.
    #[error("the log entry has no signed entry timestamp")]
    NoPromise,
    /// The form of the evidence needs a proof of inclusion, and there is none.
    #[error("the log entry has no inclusion proof")]
    NoProof,
    /// The form of the evidence needs a checkpoint, and there is none.
    #[error("the inclusion proof has no checkpoint")]
    NoCheckpoint,
    /// A number is negative or larger than any real one.
    #[error("{0} is out of range")]
    Number(&'static str),
    /// The promise of inclusion is not the log's.
    #[error("the signed entry timestamp is not the log's over this entry")]
    Promise,
    /// The proof has not the form that its index and tree size ask for.
    #[error("malformed inclusion proof: {0}")]
    ProofShape(&'static str),
    /// The proof does not lead to its root.
    #[error("the inclusion proof does not lead to its root hash")]
    ProofRoot,
    /// Entry and proof have different indices, in a log that has only one.
    #[error("the index of the entry and that of its proof differ")]
    OtherIndex,
    /// The checkpoint is no signed note.
    #[error("malformed checkpoint: {0}")]
    CheckpointFormat(&'static str),
    /// The checkpoint is another log's.
    #[error("the checkpoint is of another log: {0:?}")]
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
    /// The log's key did not count at that time.
    #[error("the log's key is not valid at {}", time(.0))]
    Window(i64),
    /// The log's key has an end, and nothing shows that the entry was made before.
    #[error("the log's key is no longer valid, and no trusted time shows that the entry is older")]
    NoTime,
    /// The bundle names another kind of entry than the entry itself.
    #[error("the bundle and its log entry name different kinds: {0:?}")]
    OtherKind(Foreign),
    /// A kind of entry that we do not read.
    #[error("unsupported kind of log entry: {0:?}")]
    Kind(Foreign),
    /// A kind of entry that cannot be about content of this form.
    #[error("a log entry of this kind cannot be about this signature: {0:?}")]
    KindOfContent(Foreign),
    /// The entry holds no signature, or several.
    #[error("the log entry has {0} signatures: want exactly one")]
    Signatures(usize),
    /// The entry is about another signature.
    #[error("the log entry is about another signature")]
    OtherSignature,
    /// The entry's signer is neither a public key nor a certificate.
    #[error("malformed log entry: neither a public key nor a certificate: {0}")]
    Signer(Foreign),
    /// The entry is about another key or certificate.
    #[error("the log entry is about another key or certificate")]
    OtherSigner,
    /// The entry names another signature algorithm than the one that the signature verified by.
    #[error("the log entry names another signature algorithm: {0:?}")]
    OtherAlgorithm(Foreign),
    /// The entry names a digest that is none, or by an algorithm that we do not know.
    #[error("malformed log entry: {0}: not a digest that we know")]
    Digest(&'static str),
    /// The entry is about other content.
    #[error("the log entry is about another digest")]
    OtherDigest,
    /// The entry is about an envelope of another payload type.
    #[error("the log entry is about another payload type: {0:?}")]
    OtherPayloadType(Foreign),
}

reasons! {
    NO_PROMISE: "log-no-promise",
        "The log entry has no signed entry timestamp, which evidence of this form must have.",
        "Sign again, or upgrade the bundle to version 0.3 with its inclusion proof.";
    NO_PROOF: "log-no-proof", "The log entry has no inclusion proof, which bundles since 0.2 must have.",
        "Sign again, or upgrade the bundle from the log.";
    NO_CHECKPOINT: "log-no-checkpoint",
        "The inclusion proof has no checkpoint, so that nothing shows whose root it leads to.",
        "Sign again, or upgrade the bundle from the log.";
    NUMBER: "log-number", "An index, size or time of the log entry is negative or too large to be real.",
        "Sign again; the log entry is damaged or forged.";
    PROMISE: "log-promise",
        "The signed entry timestamp does not verify: entry, time, index or log were changed, or it is of another key.",
        "Check that the trust root is the one of this log, and sign again if the entry was changed.";
    PROOF_SHAPE: "log-proof-shape",
        "The inclusion proof has not the length or form that its index and tree size ask for.",
        "Sign again; the proof is damaged or forged.";
    PROOF_ROOT: "log-proof-root",
        "The inclusion proof does not lead from this entry to its root hash: the entry is not in that tree.",
        "Sign again; the entry or its proof was changed.";
    OTHER_INDEX: "log-index", "The entry and its inclusion proof name different indices in a Rekor v2 log.",
        "Sign again; the log entry is damaged or forged.";
    CHECKPOINT_FORMAT: "log-checkpoint-format", "The checkpoint is not a signed note of a tree.",
        "Sign again; the checkpoint is damaged.";
    CHECKPOINT_ORIGIN: "log-checkpoint-origin", "The checkpoint names another log than the one of the entry.",
        "Check the log's address (origin) in the trust root; otherwise the checkpoint was swapped.";
    CHECKPOINT_SIGNATURE: "log-checkpoint-signature",
        "No signature line of the checkpoint verifies with the log's key: changed, or of another key.",
        "Check that the trust root is the one of this log, and sign again if the checkpoint was changed.";
    CHECKPOINT_ROOT: "log-checkpoint-root", "The checkpoint is genuine, but for another root than the proof's.",
        "Sign again; proof and checkpoint do not belong together.";
    CHECKPOINT_SIZE: "log-checkpoint-size", "The checkpoint is genuine, but for another tree size than the proof's.",
        "Sign again; proof and checkpoint do not belong together.";
    WINDOW: "log-window", "The log's key did not count at the time of the entry.",
        "Check the validity window of the log in the trust root.";
    NO_TIME: "log-no-time",
        "The log's key has ended, and no trusted time shows that the entry was made before that.",
        "Sign with a timestamp authority, or with a current log.";
    OTHER_KIND: "log-other-kind", "The bundle names another kind or version of entry than the entry itself.",
        "Sign again; bundle and log entry do not belong together.";
    KIND: "log-kind", "The log entry is of a kind or version that is not read.",
        "Sign with cosign or sealgate (hashedrekord, dsse or intoto entries), or update sealgate.";
    KIND_OF_CONTENT: "log-kind-of-content",
        "An entry about an envelope stands beside a signature over plain content.",
        "Sign again; the entry was taken from another signature.";
    SIGNATURES: "log-signatures", "The log entry has none or several signatures where exactly one must be.",
        "Sign again, with one signature in the entry.";
    OTHER_SIGNATURE: "log-other-signature",
        "The log entry is genuine, but about another signature: it was taken from there.",
        "Sign again; a log entry cannot be moved from one signature to another.";
    SIGNER: "log-signer", "The signer in the log entry is neither a public key nor a certificate that can be read.",
        "Sign again; the log entry is damaged.";
    OTHER_SIGNER: "log-other-signer",
        "The log entry is genuine, but about another key or certificate than the one that verified the signature.",
        "Sign again; a log entry cannot be moved from one signer to another.";
    OTHER_ALGORITHM: "log-other-algorithm",
        "The log entry names another signature algorithm than the one that the signature verified by.",
        "Sign again; the log entry is damaged or forged.";
    DIGEST: "log-digest", "The log entry names a digest that is malformed or not SHA-256, SHA-384 or SHA-512.",
        "Sign again with SHA-256.";
    OTHER_DIGEST: "log-other-digest", "The log entry is genuine, but about other content.",
        "Sign again; a log entry cannot be moved from one artifact to another.";
    OTHER_PAYLOAD_TYPE: "log-payload-type", "The log entry is about an envelope of another payload type.",
        "Sign again; the entry was taken from another signature.";
}

impl LogReject {
    pub(super) fn reason(&self) -> &'static Reason {
        match self {
            Self::NoPromise => &NO_PROMISE,
            Self::NoProof => &NO_PROOF,
            Self::NoCheckpoint => &NO_CHECKPOINT,
            Self::Number(_) => &NUMBER,
            Self::Promise => &PROMISE,
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
