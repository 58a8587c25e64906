//! The use case behind `verify-blob`: reads a blob and verifies a signature over it.
//!
//! A blob is a file that lies in no registry. It is hashed in pieces and not kept, unless the key
//! verifies whole content only (Ed25519); then at most [`MAX_HELD`] bytes are held in memory. Where
//! the bytes come from is the caller's business.

use std::fmt;
use std::io::{self, Read, Seek};

use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::reject::Reject;
use sealgate_core::verify::{
    Artifact, Authority, BlobSignature, Requirement, SubjectRequirement, VerificationContext,
    Verified, verify,
};

/// The largest blob that is held in memory, for keys that sign and verify whole content only.
pub const MAX_HELD: u64 = 1 << 30;
const BUFFER: usize = 256 << 10;

/// A blob to verify.
pub enum Blob<'a> {
    /// The digest of the blob, whose content is elsewhere.
    Digest(Digest),
    /// Content that can be read once, such as standard input.
    Stream(&'a mut dyn Read),
    /// Content that can be read again from its beginning, such as a regular file.
    File(&'a mut dyn ReadSeek),
}

/// A source of bytes that can return to its beginning.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// The reason why a blob was not verified.
#[derive(Debug)]
pub enum BlobFailure {
    /// The signature is not accepted.
    Rejected(Reject),
    /// The blob could not be read to its end.
    Read(io::Error),
    /// The key needs the whole content, and it is larger than [`MAX_HELD`].
    TooLarge,
}

/// Verifies a signature over `blob`.
///
/// The key of a certificate is known only once the signature is verified. Where that key needs the
/// whole content, a [`Blob::File`] is read a second time; a stream is rejected with
/// [`Reject::NeedsContent`].
pub fn verify_blob(
    blob: Blob<'_>,
    evidence: BlobSignature<'_>,
    authority: &Authority,
    context: &VerificationContext<'_>,
) -> Result<Verified, BlobFailure> {
    let verify = |artifact: Artifact<'_>| {
        let subject = SubjectRequirement::Blob(artifact);
        verify(evidence, &Requirement { authority, subject }, context)
    };
    let algorithms = authority.blob_digests();
    let verified = match (blob, algorithms) {
        (Blob::Digest(digest), _) => verify(Artifact::Digests(&[digest])),
        (Blob::Stream(content), Some(algorithms)) => {
            verify(Artifact::Digests(&digests(content, &algorithms)?))
        }
        (Blob::Stream(content), None) => verify(Artifact::Content(&whole(content)?)),
        (Blob::File(content), Some(algorithms)) => {
            match verify(Artifact::Digests(&digests(&mut *content, &algorithms)?)) {
                Err(Reject::NeedsContent) => {
                    content.rewind()?;
                    verify(Artifact::Content(&whole(content)?))
                }
                other => other,
            }
        }
        (Blob::File(content), None) => verify(Artifact::Content(&whole(content)?)),
    };
    Ok(verified?)
}

/// The digests of `content`, which is read to its end and not kept.
fn digests(mut content: impl Read, algorithms: &[Algorithm]) -> Result<Vec<Digest>, BlobFailure> {
    let mut hashers: Vec<_> = algorithms.iter().map(|name| Digest::hasher(*name)).collect();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = match content.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        hashers.iter_mut().for_each(|hasher| hasher.update(bytes));
    }
    Ok(hashers.into_iter().map(|hasher| hasher.finish()).collect())
}

/// The whole of `content`, at most [`MAX_HELD`] bytes.
fn whole(content: impl Read) -> Result<Vec<u8>, BlobFailure> {
    let mut bytes = Vec::new();
    match content.take(MAX_HELD + 1).read_to_end(&mut bytes)? {
        length if length as u64 > MAX_HELD => Err(BlobFailure::TooLarge),
        _ => Ok(bytes),
    }
}

impl fmt::Display for BlobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(reason) => write!(f, "{reason}"),
            Self::Read(error) => write!(f, "{error}"),
            Self::TooLarge => write!(f, "larger than {MAX_HELD} bytes"),
        }
    }
}

impl std::error::Error for BlobFailure {}

impl From<Reject> for BlobFailure {
    fn from(reason: Reject) -> Self {
        Self::Rejected(reason)
    }
}

impl From<io::Error> for BlobFailure {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}
