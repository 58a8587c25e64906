//! What hangs on an image: legacy tags, referrers, and the same for each child of an index.

use futures::stream::{self, StreamExt, TryStreamExt};
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Reference};

use crate::attached::{self, Kind};
use crate::failure::Failure;
use crate::index;
use crate::limits::Limits;
use crate::pin;
use crate::ports::Registry;

/// An image and what is attached to it.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The image, with its digest.
    pub image: Reference,
    /// Media type, size and digest of its manifest.
    pub descriptor: Descriptor,
    /// `os/architecture`, for a child of an index.
    pub platform: Option<String>,
    /// What hangs on it.
    pub branches: Vec<Branch>,
    /// Everything below an index.
    pub children: Vec<Tree>,
}

/// One thing that hangs on an image.
#[derive(Clone, Debug)]
pub struct Branch {
    /// What it is.
    pub kind: Kind,
    /// Where it lies: a legacy tag, or a referrer's digest.
    pub location: Reference,
    /// Its artifact type.
    pub artifact_type: String,
    /// The predicate type that it names.
    pub predicate_type: Option<String>,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its layers.
    pub layers: Vec<Descriptor>,
}

impl Branch {
    /// Bytes of the manifest and its layers.
    pub fn size(&self) -> u64 {
        let layers = self.layers.iter().map(|layer| layer.size);
        layers.fold(self.manifest.size, u64::saturating_add)
    }
}

/// Everything attached to `reference` and to what lies below it.
pub async fn tree(
    registry: &dyn Registry,
    reference: &Reference,
    tag_prefix: &str,
    limits: &Limits,
) -> Result<Tree, Failure> {
    let pinned = pin::resolve(registry, reference).await?;
    let repository = reference.repository();
    let below = index::descendants(registry, repository, pinned.digest(), limits).await?;
    let children = stream::iter(below)
        .map(async |child: index::Child| {
            let image = repository.at(Identifier::Digest(child.descriptor.digest.clone()));
            let tree = alone(registry, image, child.descriptor, tag_prefix, limits).await?;
            Ok::<_, Failure>(Tree { platform: child.platform, ..tree })
        })
        .buffered(limits.concurrent.max(1))
        .try_collect();
    let root = alone(registry, pinned.reference, pinned.descriptor, tag_prefix, limits);
    let (root, children) = futures::try_join!(root, children)?;
    Ok(Tree { children, ..root })
}

async fn alone(
    registry: &dyn Registry,
    image: Reference,
    descriptor: Descriptor,
    tag_prefix: &str,
    limits: &Limits,
) -> Result<Tree, Failure> {
    let repository = image.repository();
    let digest = &descriptor.digest;
    let found = attached::find(registry, repository, digest, tag_prefix, limits).await?;
    let branches = found.into_iter().map(|attached| Branch {
        kind: attached.kind,
        location: repository.at(attached.identifier()),
        artifact_type: attached.artifact_type,
        predicate_type: attached.predicate_type,
        manifest: attached.raw.descriptor,
        layers: attached.layers,
    });
    let branches = branches.collect();
    Ok(Tree { image, descriptor, platform: None, branches, children: Vec::new() })
}
