//! The children of an index, and the manifests below them, bounded.

use std::collections::HashSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, Index};
use sealgate_core::reference::{Identifier, Repository};

use crate::content::Content;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::ports::RegistryRead;

/// A child of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its descriptor in the index.
    pub descriptor: Descriptor,
    /// Its platform, `os/architecture[/variant]`, where the index has it.
    pub platform: Option<String>,
}

/// The manifests below `digest`, each digest once, level by level; none if it is not an index. An
/// index that lists itself, or one above it, is not read again. A missing child (in a mirror of
/// some platforms only) is listed, with nothing below it.
pub async fn descendants(
    registry: &dyn RegistryRead,
    repository: &Repository,
    digest: &Digest,
    limits: &Limits,
) -> Result<Vec<Child>, Failure> {
    let host = repository.registry();
    let mut seen = HashSet::from([digest.clone()]);
    let mut found: Vec<Child> = Vec::new();
    let mut level = vec![digest.clone()];
    for _ in 0..limits.depth {
        let mut lists = stream::iter(level)
            .map(async |below: Digest| match below == *digest {
                true => children(registry, repository, digest, limits).await,
                false => grandchildren(registry, repository, below, limits).await,
            })
            .buffered(limits.concurrent.max(1));
        let known = found.len();
        while let Some(listed) = lists.try_next().await? {
            found.extend(listed.into_iter().filter(|c| seen.insert(c.descriptor.digest.clone())));
            Limits::check_count(found.len(), limits.children, host, "images below one index")?;
        }
        level = found.iter().skip(known).map(|child| child.descriptor.digest.clone()).collect();
        if level.is_empty() {
            return Ok(found);
        }
    }
    let detail = format!("indexes are nested more than {} levels deep", limits.depth);
    Err(Fault::new(FaultKind::TooMany, host, detail).into())
}

/// The children of `digest`, each once; none if it is an image.
pub(crate) async fn children(
    registry: &dyn RegistryRead,
    repository: &Repository,
    digest: &Digest,
    limits: &Limits,
) -> Result<Vec<Child>, Failure> {
    match Content::of(registry, repository, digest).await? {
        Content::Index(index) => named(index, repository, limits),
        Content::Image(_) => Ok(Vec::new()),
    }
}

/// The children of a child; none if it is missing, or not an index.
async fn grandchildren(
    registry: &dyn RegistryRead,
    repository: &Repository,
    child: Digest,
    limits: &Limits,
) -> Result<Vec<Child>, Failure> {
    let raw = registry.manifest(repository, &Identifier::Digest(child)).await?;
    match raw.map(|raw| Content::index(&raw, repository)).transpose()?.flatten() {
        Some(index) => named(index, repository, limits),
        None => Ok(Vec::new()),
    }
}

/// The children that an index names.
fn named(index: Index, repository: &Repository, limits: &Limits) -> Result<Vec<Child>, Failure> {
    let host = repository.registry();
    Limits::check_count(index.manifests.len(), limits.children, host, "children of an index")?;
    let mut seen = HashSet::new();
    Ok(index
        .manifests
        .into_iter()
        .filter(|descriptor| seen.insert(descriptor.digest.clone()))
        .map(|descriptor| Child { platform: platform(&descriptor), descriptor })
        .collect())
}

/// A platform as `os/architecture[/variant]`.
fn platform(descriptor: &Descriptor) -> Option<String> {
    let platform = descriptor.platform.as_ref()?;
    let part = |name| platform.get(name).and_then(serde_json::Value::as_str);
    let mut text = format!("{}/{}", part("os")?, part("architecture")?);
    if let Some(variant) = part("variant").filter(|v| !v.is_empty()) {
        text = format!("{text}/{variant}");
    }
    Some(text.chars().take(100).collect())
}
