//! The use case behind `sign-blob`: signs, timestamps and publishes a signature over a blob, a file
//! that lies in no registry. The result is a bundle (version 0.3) or a detached signature in
//! base64.

use sealgate_core::bundle::{Content, LogMaterial, MessageSignature};
use sealgate_core::digest::Digest;
use sealgate_core::dsse::{Envelope, IN_TOTO};
use sealgate_core::verify::Artifact;

use crate::annotation;
use crate::ports::Signer;
use crate::sign::{
    PendingArtifacts, PendingBundle, PendingSignatures, PendingVerifier, SignFailure, Stage, Step,
    VerificationKey, signature,
};
use crate::transparency::TransparencyServices;

/// A signed blob.
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

/// Signs `content` with a plain key and without services. The result was verified with the key.
pub async fn sign_blob(content: &[u8], signer: &dyn Signer) -> Result<SignedBlob, SignFailure> {
    let signature = signer.sign(content).await?;
    let key = VerificationKey::plain(signer.public_key().clone());
    let digest = key.signed_digest(content, &signature);
    let artifact = Artifact::Content(content);
    publish_blob(signature, digest, artifact, &key, &TransparencyServices::none()).await
}

/// Timestamps a signature over a blob and uploads it to the transparency logs. `digest` is the
/// blob's, by the hash that was signed. The order is that of [`crate::sign::sign_image_with`].
///
/// # Errors
/// [`SignFailure::Unfinished`] holds the signature when a log failed; [`resume_blob`] continues.
pub async fn publish_blob(
    signature: Vec<u8>,
    digest: Digest,
    artifact: Artifact<'_>,
    key: &VerificationKey,
    transparency: &TransparencyServices,
) -> Result<SignedBlob, SignFailure> {
    let content = Content::Message(MessageSignature { digest: Some(digest), signature });
    publish_content(content, artifact, key, transparency).await
}

/// Timestamps and uploads a signed in-toto statement about a blob; `signature` is over the
/// pre-authentication encoding of its envelope.
///
/// # Errors
/// As for [`publish_blob`].
pub async fn publish_statement(
    signature: Vec<u8>,
    statement: Vec<u8>,
    artifact: Artifact<'_>,
    key: &VerificationKey,
    transparency: &TransparencyServices,
) -> Result<SignedBlob, SignFailure> {
    let (payload_type, signatures) = (IN_TOTO.to_owned(), vec![signature]);
    let content = Content::Envelope(Envelope { payload_type, payload: statement, signatures });
    publish_content(content, artifact, key, transparency).await
}

async fn publish_content(
    content: Content,
    artifact: Artifact<'_>,
    key: &VerificationKey,
    transparency: &TransparencyServices,
) -> Result<SignedBlob, SignFailure> {
    let mut pending = PendingBundle::new(content, key, transparency);
    pending.timestamp(transparency).await?;
    resume_blob(pending, artifact, key, transparency).await
}

/// Resumes signing with a pending bundle: uploads to the logs that lack an entry of it.
///
/// # Errors
/// As for [`publish_blob`].
pub async fn resume_blob(
    mut pending: PendingBundle,
    artifact: Artifact<'_>,
    key: &VerificationKey,
    transparency: &TransparencyServices,
) -> Result<SignedBlob, SignFailure> {
    let verifier = |stage| PendingVerifier::new(key, transparency, stage);
    transparency.check()?;
    verifier(Stage::BeforeUpload)?.verify_blob(&pending, artifact)?;
    if let Err(fault) = pending.upload(key, transparency).await {
        let artifacts = PendingArtifacts::Blob(Box::new(pending));
        let signatures = PendingSignatures { verification_key: key.clone(), artifacts };
        return Err(SignFailure::unfinished(Step::Log, fault.into(), signatures));
    }
    verifier(Stage::AfterUpload)?.verify_blob(&pending, artifact)?;
    let bundle = pending.bundle;
    let digest = match &bundle.content {
        Content::Message(message) => message.digest.clone(),
        Content::Envelope(_) => None,
    };
    Ok(SignedBlob {
        digest: digest.unwrap_or_else(|| artifact_digest(artifact)),
        signature: annotation::base64(signature(&bundle.content)?),
        bundle: bundle.to_json(),
        log: bundle.log,
    })
}

/// The SHA-256 digest, or the first one that is known.
fn artifact_digest(artifact: Artifact<'_>) -> Digest {
    match artifact {
        Artifact::Content(bytes) => Digest::of(bytes),
        Artifact::Digests(digests) => digests.first().cloned().unwrap_or_else(|| Digest::of(b"")),
    }
}
