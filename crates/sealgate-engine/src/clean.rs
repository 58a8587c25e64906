//! The use case behind `clean`: removes the attachments of an image, legacy tags and referrers.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use sealgate_core::fault::FaultKind;
use sealgate_core::reference::{Identifier, Reference, Repository};

use crate::attached::{Attached, Kind, Search};
use crate::failure::Failure;
use crate::limits::Limits;
use crate::pin;
use crate::ports::RegistryWrite;

/// The attachments to remove.
#[derive(Clone, Debug)]
pub struct CleanRequest {
    /// The kinds to remove. Referrers of other tools are removed with [`Kind::Other`] only.
    pub kinds: BTreeSet<Kind>,
    /// Another repository with signatures (`COSIGN_REPOSITORY`). Referrers in the image's own
    /// repository are removed, too: `verify` reads them whatever the variable says.
    pub signature_repository: Option<Repository>,
    /// The prefix of legacy tags.
    pub tag_prefix: String,
    /// Bounds.
    pub limits: Limits,
}

/// The attachments of `reference` that [`clean`] would remove.
pub async fn find(
    registry: &dyn RegistryWrite,
    reference: &Reference,
    request: &CleanRequest,
) -> Result<Vec<Attached>, Failure> {
    let digest = pin::digest(registry, reference).await?;
    let CleanRequest { kinds, signature_repository, tag_prefix, limits } = request;
    let place = signature_repository.as_ref().unwrap_or(reference.repository());
    let elsewhere = Some(reference.repository());
    let search = Search { registry, repository: place, elsewhere, tag_prefix, limits };
    let found = search.find(&digest).await?;
    let ours = |item: &Attached| item.repository == *place || item.tag.is_none();
    Ok(found.into_iter().filter(|item| kinds.contains(&item.kind) && ours(item)).collect())
}

/// Removes the attachments of `reference` and returns them. A legacy manifest is removed by its
/// tag, or by its digest where the registry deletes by digest only; a referrer by its digest, and
/// the adapter removes it from the fallback index.
pub async fn clean(
    registry: &dyn RegistryWrite,
    reference: &Reference,
    request: &CleanRequest,
) -> Result<Vec<Reference>, Failure> {
    let found = find(registry, reference, request).await?;
    let removed = stream::iter(found)
        .map(async |item: Attached| {
            let removed = remove(registry, &item).await?;
            Ok(removed.then(|| item.repository.at(item.identifier())))
        })
        .buffered(request.limits.concurrent.max(1));
    removed.try_filter_map(async |removed| Ok(removed)).try_collect().await
}

async fn remove(registry: &dyn RegistryWrite, item: &Attached) -> Result<bool, Failure> {
    let place = &item.repository;
    let by_digest = Identifier::Digest(item.digest().clone());
    let Some(tag) = &item.tag else {
        return Ok(registry.delete(place, &by_digest).await?);
    };
    match registry.delete(place, &Identifier::Tag(tag.clone())).await {
        Ok(removed) => Ok(removed),
        // A protected tag is not removed by way of the digest that it names.
        Err(refused) if refused.kind == FaultKind::Denied => Err(refused.into()),
        // Several registries delete manifests by digest only, and all tags with them.
        Err(_) => Ok(registry.delete(place, &by_digest).await?),
    }
}
