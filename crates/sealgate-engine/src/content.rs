//! The content of a manifest: an image or an index. The one reader for signing, listing and
//! copying.

use sealgate_core::digest::Digest;
use sealgate_core::manifest::{Index, Manifest, is_index, parse_index};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_core::reject::Foreign;

use crate::failure::Failure;
use crate::ports::{RawManifest, RegistryRead};

/// A manifest that was read.
pub(crate) enum Content {
    /// An image manifest. It is read by serde alone and not by the strict reader of verification:
    /// copying and signing keep the bytes under their digest, and an image that a verifier rejects
    /// can be copied all the same.
    Image(Box<Manifest>),
    /// An index or a manifest list.
    Index(Index),
}

impl Content {
    /// Requests the manifest and reads it. A missing one is [`Failure::NotFound`].
    pub(crate) async fn of(
        registry: &dyn RegistryRead,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Self, Failure> {
        let at = Identifier::Digest(digest.clone());
        let raw = registry.manifest(repository, &at).await?;
        let raw = raw.ok_or_else(|| Failure::not_found(repository.at(at)))?;
        Self::read(&raw, repository)
    }

    /// Reads `raw` by its media type.
    ///
    /// # Errors
    /// `Malformed`, at the registry of `place`: the document is neither.
    pub(crate) fn read(raw: &RawManifest, place: &Repository) -> Result<Self, Failure> {
        if let Some(index) = Self::index(raw, place)? {
            return Ok(Self::Index(index));
        }
        let manifest = serde_json::from_slice(&raw.bytes).map(Box::new);
        manifest.map(Self::Image).map_err(|error| malformed(place, "manifest", &error))
    }

    /// Reads `raw` if its media type is that of an index.
    ///
    /// # Errors
    /// `Malformed`, at the registry of `place`: the document is no index.
    pub(crate) fn index(raw: &RawManifest, place: &Repository) -> Result<Option<Index>, Failure> {
        let media_type = raw.descriptor.media_type.as_str();
        if !is_index(media_type) {
            return Ok(None);
        }
        let index = parse_index(&raw.bytes, Some(media_type));
        index.map(Some).map_err(|error| malformed(place, "index", &error))
    }
}

fn malformed(place: &Repository, what: &str, error: &dyn std::fmt::Display) -> Failure {
    let error = Foreign::new(error.to_string());
    Failure::malformed(place.registry(), format!("not an image {what}: {error}"))
}
