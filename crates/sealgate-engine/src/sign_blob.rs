//! Signatures over blobs: files that lie in no registry. A bundle (version 0.3, message
//! signature) or a detached signature in base64.

use sealgate_core::bundle::{Content, LogMaterial, MessageSignature};
use sealgate_core::digest::Digest;
use sealgate_core::dsse::{Envelope, IN_TOTO};
use sealgate_core::verify::{Artifact, BlobSignature, Override, verify_blob_with};

use crate::annotation;
use crate::failure::Failure;
use crate::ports::Signer;
use crate::transparency::{self, Draft, DraftVerifier, Signatory, TransparencyServices};
use crate::unfinished::{Drafts, Step, Unfinished, Work};

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
    verify_blob_with(
        BlobSignature::Bundle(json.as_bytes()),
        by.authority(),
        artifact,
        &by.trust(),
    )?;
    Ok(())
}

/// SHA-256, or what is at hand.
fn artifact_digest(artifact: Artifact<'_>) -> Digest {
    match artifact {
        Artifact::Content(bytes) => Digest::of(bytes),
        Artifact::Digests(digests) => digests.first().cloned().unwrap_or_else(|| Digest::of(b"")),
    }
}
