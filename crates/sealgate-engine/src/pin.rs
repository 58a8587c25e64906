//! Resolution of a reference to a digest.

use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Reference};

use crate::content::Content;

use crate::failure::Failure;
use crate::ports::RegistryRead;

/// A reference with its digest, and the descriptor that the registry returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The reference, `repo[:tag]@sha256:…`.
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

/// Resolves `reference` to a descriptor. A missing image is [`Failure::NotFound`].
pub async fn resolve(
    registry: &dyn RegistryRead,
    reference: &Reference,
) -> Result<Pinned, Failure> {
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

/// Resolves `reference` and parses the manifest, for callers that sign it (`sign`, `attach`). The
/// parser is that of `tree`, `copy` and `save`: a manifest that they cannot parse is not signed.
pub async fn read(registry: &dyn RegistryRead, reference: &Reference) -> Result<Pinned, Failure> {
    let digest = digest(registry, reference).await?;
    let at = Identifier::Digest(digest.clone());
    let found = registry.manifest(reference.repository(), &at).await?;
    let raw = found.ok_or_else(|| Failure::not_found(reference.clone()))?;
    Content::read(&raw, reference.repository())?;
    Ok(Pinned { reference: reference.pinned(digest), descriptor: raw.descriptor })
}

/// Returns the digest of `reference`: its own without a request, or the one that its tag currently
/// resolves to.
pub async fn digest(registry: &dyn RegistryRead, reference: &Reference) -> Result<Digest, Failure> {
    match reference.digest() {
        Some(digest) => Ok(digest.clone()),
        None => Ok(resolve(registry, reference).await?.descriptor.digest),
    }
}
