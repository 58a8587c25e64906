//! The folders that `save` writes and `load` and `verify --local-image` read: one image each, with
//! its attachments, annotated as `cosign save` annotates them.

use std::path::Path;

use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, is_index};
use sealgate_core::reference::{Identifier, Reference, Repository};
use sealgate_engine::ports::RegistryRead as _;
use sealgate_engine::triangulate::{self, Attachment};
use sealgate_registry::layout::{Layout, kind};

use crate::failure::CliError;

/// The repository name within a folder, which holds one repository only; no registry has this name.
const INSIDE: &str = "layout.invalid/image";

/// A folder and the image in it.
pub(crate) struct Folder {
    pub(crate) layout: Layout,
    pub(crate) image: Reference,
}

/// An existing folder.
pub(crate) async fn open(path: &Path) -> Result<Folder, Fault> {
    let layout = Layout::open(path)?;
    let digest = layout.image().await?.digest;
    Ok(Folder { layout, image: inside()?.at(Identifier::Digest(digest)) })
}

/// A folder to write to, created if it does not exist.
pub(crate) fn create(path: &Path) -> Result<Layout, CliError> {
    Ok(Layout::create(path)?)
}

/// A folder for one image: new, or one that holds the same image. Two images in one folder could
/// have the same tag, and `load` could not tell them apart.
pub(crate) async fn make_room(layout: &Layout, image: &Digest) -> Result<(), CliError> {
    let entries = layout.index().await?.manifests;
    if entries.is_empty() || entries.iter().any(|entry| entry.digest == *image) {
        return Ok(());
    }
    let root = layout.root().display();
    let held = match layout.image().await {
        Ok(found) => found.digest.to_string(),
        Err(_) => "several images".to_owned(),
    };
    Err(CliError::new(format!("{root} already holds another image"))
        .note(format!("it holds {held}, the image to save is {image}"))
        .note("save each image in a folder of its own, or remove the folder first"))
}

/// Annotates the saved manifests, so that `cosign load` finds the image and its signatures.
pub(crate) async fn mark(layout: &Layout, image: &Reference) -> Result<(), CliError> {
    let found = layout.resolve(image.repository(), &image.identifier()).await?;
    let root = found.ok_or_else(|| CliError::new(format!("{image} was not saved")))?;
    let what = if is_index(&root.media_type) { kind::IMAGE_INDEX } else { kind::IMAGE };
    let digest = root.digest.clone();
    layout.add_entry(marked(root, what)).await?;
    let attached = [
        (Attachment::Signatures, kind::SIGNATURES),
        (Attachment::Attestations, kind::ATTESTATIONS),
    ];
    for (attachment, what) in attached {
        let tag = Identifier::Tag(triangulate::tag("", &digest, attachment));
        if let Some(entry) = layout.resolve(image.repository(), &tag).await? {
            layout.add_entry(marked(entry, what)).await?;
        }
    }
    Ok(())
}

fn marked(entry: Descriptor, what: &str) -> Descriptor {
    let annotations = [(kind::ANNOTATION.to_owned(), what.to_owned())].into();
    Descriptor { annotations, ..entry }
}

fn inside() -> Result<Repository, Fault> {
    let named = Repository::parse(INSIDE);
    named.map_err(|error| Fault::new(FaultKind::Config, INSIDE, error.to_string()))
}
