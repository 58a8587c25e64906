//! Reference to digest: from a movable name to content that cannot move.

use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Reference};

use crate::content::Content;

use crate::failure::Failure;
use crate::ports::Registry;

/// A reference with its digest, and what the registry says lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// `repo[:tag]@sha256:…`
    pub reference: Reference,
    /// Media type, size and digest of the manifest.
    pub descriptor: Descriptor,
}

impl Pinned {
    /// The digest of the manifest.
    pub fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }
}

/// Asks the registry what `reference` is. A missing image is [`Failure::NotFound`].
pub async fn resolve(registry: &dyn Registry, reference: &Reference) -> Result<Pinned, Failure> {
    let found = registry.resolve(reference.repository(), &reference.identifier()).await?;
    let descriptor = found.ok_or_else(|| Failure::not_found(reference.clone()))?;
    if let Some(asked) = reference.digest()
        && *asked != descriptor.digest
    {
        let detail = format!("asked for {asked}, got {}", descriptor.digest);
        let host = reference.repository().registry();
        return Err(Fault::new(FaultKind::DigestMismatch, host, detail).into());
    }
    Ok(Pinned { reference: reference.pinned(descriptor.digest.clone()), descriptor })
}

/// As [`resolve`], and what lies there is read, for callers that say something about it (`sign`,
/// `attach`). The reader is that of `tree`, `copy` and `save`: what they cannot read is not signed.
pub async fn read(registry: &dyn Registry, reference: &Reference) -> Result<Pinned, Failure> {
    let digest = digest(registry, reference).await?;
    let at = Identifier::Digest(digest.clone());
    let found = registry.manifest(reference.repository(), &at).await?;
    let raw = found.ok_or_else(|| Failure::not_found(reference.clone()))?;
    Content::read(&raw, reference.repository())?;
    Ok(Pinned { reference: reference.pinned(digest), descriptor: raw.descriptor })
}

/// The digest of `reference`: its own without asking anybody, else the one its tag points to now.
pub async fn digest(registry: &dyn Registry, reference: &Reference) -> Result<Digest, Failure> {
    match reference.digest() {
        Some(digest) => Ok(digest.clone()),
        None => Ok(resolve(registry, reference).await?.descriptor.digest),
    }
}
