//! What lies below an index: its children, bounded.

use std::collections::HashSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, is_index, parse_index};
use sealgate_core::reference::{Identifier, Repository};

use crate::failure::Failure;
use crate::limits::Limits;
use crate::ports::{RawManifest, Registry};

/// A child of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// What the index says of it.
    pub descriptor: Descriptor,
    /// `os/architecture[/variant]`, where the index says so.
    pub platform: Option<String>,
}

/// Everything below `digest`, each digest once, level by level; nothing if it is no index.
/// An index that lists itself, or one above it, is not entered again. A child that is not there
/// (a mirror of some platforms only) is listed all the same, with nothing below it.
pub async fn descendants(
    registry: &dyn Registry,
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
            .map(async |below: Digest| match children(registry, repository, &below, limits).await {
                Err(Failure::NotFound(_)) if below != *digest => Ok(Vec::new()),
                listed => listed,
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
    let detail = format!("indexes lie in each other more than {} deep", limits.depth);
    Err(Fault::new(FaultKind::TooMany, host, detail).into())
}

/// The children of `digest`, each once; none if it is no index.
pub(crate) async fn children(
    registry: &dyn Registry,
    repository: &Repository,
    digest: &Digest,
    limits: &Limits,
) -> Result<Vec<Child>, Failure> {
    let at = Identifier::Digest(digest.clone());
    let raw = registry.manifest(repository, &at).await?;
    let raw = raw.ok_or_else(|| Failure::not_found(repository.at(at)))?;
    if !is_index(&raw.descriptor.media_type) {
        return Ok(Vec::new());
    }
    parse(&raw, repository, limits)
}

/// The children that an index names.
pub(crate) fn parse(
    raw: &RawManifest,
    repository: &Repository,
    limits: &Limits,
) -> Result<Vec<Child>, Failure> {
    let host = repository.registry();
    let index = parse_index(&raw.bytes, Some(&raw.descriptor.media_type))
        .map_err(|error| Failure::malformed(host, format!("not an image index: {error}")))?;
    Limits::check_count(index.manifests.len(), limits.children, host, "children of an index")?;
    let mut seen = HashSet::new();
    Ok(index
        .manifests
        .into_iter()
        .filter(|descriptor| seen.insert(descriptor.digest.clone()))
        .map(|descriptor| Child { platform: platform(&descriptor), descriptor })
        .collect())
}

/// `os/architecture[/variant]`.
fn platform(descriptor: &Descriptor) -> Option<String> {
    let platform = descriptor.platform.as_ref()?;
    let part = |name| platform.get(name).and_then(serde_json::Value::as_str);
    let mut text = format!("{}/{}", part("os")?, part("architecture")?);
    if let Some(variant) = part("variant").filter(|v| !v.is_empty()) {
        text = format!("{text}/{variant}");
    }
    Some(text.chars().take(100).collect())
}
