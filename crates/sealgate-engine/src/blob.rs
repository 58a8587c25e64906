//! Signatures over blobs: files that lie in no registry. A bundle (version 0.3, message
//! signature) or a detached signature in base64.

use sealgate_core::bundle::Bundle;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::verify::{
    Artifact, Authority, BlobSignature, KeyAuthority, Trust, VerifiedBlob,
    verify_blob_with as judge,
};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::annotation;
use crate::failure::Failure;
use crate::ports::Signer;

/// The largest blob that is held in memory, for keys that can only verify whole content.
pub const MAX_HELD: u64 = 1 << 30;
const PIECE: usize = 256 << 10;

/// What was made for a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBlob {
    /// SHA-256 of the blob.
    pub digest: Digest,
    /// The signature, base64.
    pub signature: String,
    /// The bundle, JSON.
    pub bundle: String,
}

/// Signs `content`. What is returned was verified with the signer's public key.
pub async fn sign_blob(content: &[u8], signer: &dyn Signer) -> Result<SignedBlob, Failure> {
    let digest = Digest::of(content);
    let signature = signer.sign(content).await?;
    let key = signer.public_key();
    let bundle = Bundle::of_message(digest.clone(), signature.clone(), key).to_json();
    let authority = KeyAuthority { keys: vec![key.clone()], hash: None }.into();
    let artifact = Artifact::Content(content);
    judge(BlobSignature::Bundle(bundle.as_bytes()), &authority, artifact, &Trust::none())?;
    Ok(SignedBlob { digest, signature: annotation::base64(&signature), bundle })
}

/// Verifies a signature over what `content` reads. Read once and not kept, unless a key of the
/// authority needs the whole of it; then at most [`MAX_HELD`] bytes. `name` is for messages.
pub async fn verify_blob(
    content: &mut (dyn AsyncRead + Send + Unpin),
    name: &str,
    evidence: BlobSignature<'_>,
    authority: &Authority,
    trust: &Trust<'_>,
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
