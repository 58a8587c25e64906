//! The use case behind `tree`: the attachments of an image, legacy tags and referrers, the
//! attachments of those, and the same for each child of an index.

use futures::stream::{self, StreamExt, TryStreamExt};
use sealgate_core::digest::Digest;
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Reference, Repository};

use crate::attached::{Attached, Kind, Search};
use crate::failure::Failure;
use crate::index;
use crate::limits::Limits;
use crate::pin;
use crate::ports::RegistryRead;

/// An image and its attachments.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The image, with its digest.
    pub image: Reference,
    /// Media type, size and digest of its manifest.
    pub descriptor: Descriptor,
    /// Its platform, `os/architecture`, for a child of an index.
    pub platform: Option<String>,
    /// Its attachments.
    pub branches: Vec<Branch>,
    /// The manifests below an index.
    pub children: Vec<Tree>,
}

/// An attachment and its own attachments.
#[derive(Clone, Debug)]
pub struct Branch {
    /// Its kind.
    pub kind: Kind,
    /// Its reference: a legacy tag, or a referrer's digest.
    pub location: Reference,
    /// Its artifact type.
    pub artifact_type: String,
    /// The predicate type in its annotations.
    pub predicate_type: Option<String>,
    /// Its manifest.
    pub manifest: Descriptor,
    /// The layers of that manifest.
    pub layers: Vec<Descriptor>,
    /// Its own attachments.
    pub branches: Vec<Branch>,
}

impl Branch {
    /// The size in bytes of the manifest and its layers.
    pub fn size(&self) -> u64 {
        let layers = self.layers.iter().map(|layer| layer.size);
        layers.fold(self.manifest.size, u64::saturating_add)
    }
}

/// The attachments of `reference` and of the manifests below it. `elsewhere` is another repository
/// with signatures (`COSIGN_REPOSITORY`); both repositories are read.
pub async fn tree(
    registry: &dyn RegistryRead,
    reference: &Reference,
    elsewhere: Option<&Repository>,
    tag_prefix: &str,
    limits: &Limits,
) -> Result<Tree, Failure> {
    let pinned = pin::resolve(registry, reference).await?;
    let repository = reference.repository();
    let search = Search { registry, repository, elsewhere, tag_prefix, limits };
    let below = index::descendants(registry, repository, pinned.digest(), limits).await?;
    let children = stream::iter(below)
        .map(async |child: index::Child| {
            let image = repository.at(Identifier::Digest(child.descriptor.digest.clone()));
            let tree = alone(&search, image, child.descriptor).await?;
            Ok::<_, Failure>(Tree { platform: child.platform, ..tree })
        })
        .buffered(limits.concurrent.max(1))
        .try_collect();
    let root = alone(&search, pinned.reference, pinned.descriptor);
    let (root, children) = futures::try_join!(root, children)?;
    Ok(Tree { children, ..root })
}

async fn alone(
    search: &Search<'_>,
    image: Reference,
    descriptor: Descriptor,
) -> Result<Tree, Failure> {
    let found = search.deep(std::slice::from_ref(&descriptor.digest), |_| true).await?;
    // The deepest attachments come last; they are added to their parents first.
    let mut branches: Vec<(Digest, Branch)> = Vec::new();
    for attached in found.into_iter().rev() {
        let own = attached.digest().clone();
        let on_it = branches.extract_if(.., |(subject, _)| *subject == own);
        let mut on_it = on_it.map(|(_, branch)| branch).collect::<Vec<_>>();
        on_it.reverse();
        let subject = attached.subject.clone();
        branches.push((subject, branch(attached, on_it)));
    }
    let branches = branches.into_iter().rev().map(|(_, branch)| branch).collect();
    Ok(Tree { image, descriptor, platform: None, branches, children: Vec::new() })
}

fn branch(attached: Attached, branches: Vec<Branch>) -> Branch {
    Branch {
        kind: attached.kind,
        location: attached.repository.at(attached.identifier()),
        artifact_type: attached.artifact_type,
        predicate_type: attached.predicate_type,
        manifest: attached.raw.descriptor,
        layers: attached.layers,
        branches,
    }
}
