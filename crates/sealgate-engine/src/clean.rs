//! Removes what is attached to an image: legacy tags and referrers.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use sealgate_core::fault::FaultKind;
use sealgate_core::reference::{Identifier, Reference, Repository};

use crate::attached::{Attached, Kind, Search};
use crate::failure::Failure;
use crate::limits::Limits;
use crate::pin;
use crate::ports::Registry;

/// What to remove, and where.
#[derive(Clone, Debug)]
pub struct CleanRequest {
    /// The kinds to remove. Referrers of other makers are removed with [`Kind::Other`] only.
    pub kinds: BTreeSet<Kind>,
    /// Where signatures lie, if not beside the image (`COSIGN_REPOSITORY`). Referrers beside the
    /// image are removed, too: `verify` looks at them whatever the variable says.
    pub signature_repository: Option<Repository>,
    /// What legacy tags begin with.
    pub tag_prefix: String,
    /// Bounds.
    pub limits: Limits,
}

/// What `reference` has of the wanted kinds: what [`clean`] would remove.
pub async fn find(
    registry: &dyn Registry,
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

/// Removes what is attached to `reference`; returns what was removed. A legacy manifest is
/// removed by its tag, where the registry can only delete by digest by that; a referrer by its
/// digest, and the adapter takes it out of the fallback index.
pub async fn clean(
    registry: &dyn Registry,
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

async fn remove(registry: &dyn Registry, item: &Attached) -> Result<bool, Failure> {
    let place = &item.repository;
    let by_digest = Identifier::Digest(item.digest().clone());
    let Some(tag) = &item.tag else {
        return Ok(registry.delete(place, &by_digest).await?);
    };
    match registry.delete(place, &Identifier::Tag(tag.clone())).await {
        Ok(removed) => Ok(removed),
        // A tag that is protected is not taken away by the digest that it names.
        Err(refused) if refused.kind == FaultKind::Denied => Err(refused.into()),
        // Several registries delete manifests by digest only, and all tags with them.
        Err(_) => Ok(registry.delete(place, &by_digest).await?),
    }
}
