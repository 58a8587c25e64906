//! Signatures over blobs: files that lie in no registry. A bundle (version 0.3, message
//! signature) or a detached signature in base64.

use sealgate_core::bundle::{Content, LogMaterial, MessageSignature};
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::dsse::{Envelope, IN_TOTO};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::verify::{
    Artifact, Authority, BlobSignature, Override, VerificationContext, VerifiedBlob,
    verify_blob_with as judge,
};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::annotation;
use crate::failure::Failure;
use crate::ports::Signer;
use crate::transparency::{self, Draft, DraftVerifier, Signatory, TransparencyServices};
use crate::unfinished::{Drafts, Step, Unfinished, Work};

/// The largest blob that is held in memory, for keys that can only verify whole content.
pub const MAX_HELD: u64 = 1 << 30;
const PIECE: usize = 256 << 10;

/// What was made for a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBlob {
    /// The digest of the blob, by the hash that was signed.
    pub digest: Digest,
    /// The signature, base64.
    pub signature: String,
    /// The bundle, JSON.
    pub bundle: String,
    /// Its log entries and timestamps.
    pub log: LogMaterial,
}

/// Signs `content` with a key and nothing else. What is returned was verified with the key.
pub async fn sign_blob(content: &[u8], signer: &dyn Signer) -> Result<SignedBlob, Failure> {
    let signature = signer.sign(content).await?;
    let signatory = Signatory::of_key(signer.public_key().clone());
    let digest = signatory.signed_digest(content, &signature);
    let artifact = Artifact::Content(content);
    publish_blob(signature, digest, artifact, &signatory, &TransparencyServices::none()).await
}

/// Timestamps a signature over a blob and publishes it to the transparency logs. `digest` is the blob's, by the hash that was
/// signed. The order is that of [`crate::sign::sign_image_with`].
///
/// # Errors
/// [`Failure::Unfinished`] holds what was made when a log failed; [`finish_blob`] goes on.
pub async fn publish_blob(
    signature: Vec<u8>,
    digest: Digest,
    artifact: Artifact<'_>,
    signatory: &Signatory,
    transparency: &TransparencyServices,
) -> Result<SignedBlob, Failure> {
    let content = Content::Message(MessageSignature { digest: Some(digest), signature });
    publish_content(content, artifact, signatory, transparency).await
}

/// Timestamps and publishes a signed in-toto statement about a blob; `signature` is over its envelope's
/// encoding.
///
/// # Errors
/// As for [`publish_blob`].
pub async fn publish_statement(
    signature: Vec<u8>,
    statement: Vec<u8>,
    artifact: Artifact<'_>,
    signatory: &Signatory,
    transparency: &TransparencyServices,
) -> Result<SignedBlob, Failure> {
    let (payload_type, signatures) = (IN_TOTO.to_owned(), vec![signature]);
    let content = Content::Envelope(Envelope { payload_type, payload: statement, signatures });
    publish_content(content, artifact, signatory, transparency).await
}

async fn publish_content(
    content: Content,
    artifact: Artifact<'_>,
    signatory: &Signatory,
    transparency: &TransparencyServices,
) -> Result<SignedBlob, Failure> {
    let mut draft = Draft::new(content, signatory, transparency);
    draft.stamp(transparency).await?;
    finish_blob(draft, artifact, signatory, transparency).await
}

/// Goes on with a draft: tells the logs that are missing.
///
/// # Errors
/// As for [`publish_blob`].
pub async fn finish_blob(
    mut draft: Draft,
    artifact: Artifact<'_>,
    signatory: &Signatory,
    transparency: &TransparencyServices,
) -> Result<SignedBlob, Failure> {
    transparency.check()?;
    approve(&draft, artifact, &DraftVerifier::new(signatory, transparency, Override::Ignored)?)?;
    if let Err(fault) = draft.log(signatory, transparency).await {
        let drafts = Drafts::Blob(Box::new(draft));
        let work = Work { signatory: signatory.clone(), drafts };
        return Err(Unfinished::failure(Step::Log, fault.into(), work));
    }
    approve(
        &draft,
        artifact,
        &DraftVerifier::new(signatory, transparency, transparency.log_override())?,
    )?;
    let digest = match &draft.bundle.content {
        Content::Message(message) => message.digest.clone(),
        Content::Envelope(_) => None,
    };
    Ok(SignedBlob {
        digest: digest.unwrap_or_else(|| artifact_digest(artifact)),
        signature: annotation::base64(transparency::signature(&draft.bundle.content)?),
        bundle: draft.bundle.to_json(),
        log: draft.bundle.log,
    })
}

fn approve(draft: &Draft, artifact: Artifact<'_>, by: &DraftVerifier<'_>) -> Result<(), Failure> {
    let json = by.readable(&draft.bundle).to_json();
    judge(BlobSignature::Bundle(json.as_bytes()), by.authority(), artifact, &by.trust())?;
    Ok(())
}

/// SHA-256, or what is at hand.
fn artifact_digest(artifact: Artifact<'_>) -> Digest {
    match artifact {
        Artifact::Content(bytes) => Digest::of(bytes),
        Artifact::Digests(digests) => digests.first().cloned().unwrap_or_else(|| Digest::of(b"")),
    }
}

/// Verifies a signature over what `content` reads. Read once and not kept, unless a key of the
/// authority needs the whole of it; then at most [`MAX_HELD`] bytes. `name` is for messages.
pub async fn verify_blob(
    content: &mut (dyn AsyncRead + Send + Unpin),
    name: &str,
    evidence: BlobSignature<'_>,
    authority: &Authority,
    trust: &VerificationContext<'_>,
) -> Result<VerifiedBlob, Failure> {
    match authority.blob_digests() {
        Some(algorithms) => {
            let digests = digests(content, name, &algorithms).await?;
            Ok(judge(evidence, authority, Artifact::Digests(&digests), trust)?)
        }
        None => {
            let bytes = whole(content, name).await?;
            Ok(judge(evidence, authority, Artifact::Content(&bytes), trust)?)
        }
    }
}

async fn digests(
    content: &mut (dyn AsyncRead + Send + Unpin),
    name: &str,
    algorithms: &[Algorithm],
) -> Result<Vec<Digest>, Failure> {
    let mut hashers = algorithms.iter().map(|a| Digest::hasher(*a)).collect::<Vec<_>>();
    let mut piece = vec![0; PIECE];
    loop {
        let length = content.read(&mut piece).await.map_err(|error| unreadable(name, error))?;
        let Some(bytes) = piece.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        hashers.iter_mut().for_each(|hasher| hasher.update(bytes));
    }
    Ok(hashers.into_iter().map(|hasher| hasher.finish()).collect())
}

async fn whole(
    content: &mut (dyn AsyncRead + Send + Unpin),
    name: &str,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = content.take(MAX_HELD + 1).read_to_end(&mut bytes).await;
    match read.map_err(|error| unreadable(name, error))? {
        length if length as u64 > MAX_HELD => {
            let detail = format!("this key needs the whole content, at most {MAX_HELD} bytes");
            Err(Fault::new(FaultKind::TooLarge, name, detail).into())
        }
        _ => Ok(bytes),
    }
}

fn unreadable(name: &str, error: std::io::Error) -> Failure {
    Fault::new(FaultKind::Unreachable, name, error.to_string()).into()
}
