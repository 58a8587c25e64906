//! The use case behind `save`: copies an image with its attachments from a registry to a folder (an
//! OCI layout behind the [`Registry`] port). A folder holds one image: its tags have no repository,
//! so that a second image could replace the tags of the first. The caller that opens the folder
//! ensures it.

use sealgate_core::reference::Reference;

use crate::copy::{Copied, CopyRequest, copy_image};
use crate::failure::Failure;
use crate::ports::{RegistryRead, RegistryWrite};

/// Copies `image` into `layout` under its own tag.
pub async fn save_image(
    source: &dyn RegistryRead,
    image: &Reference,
    layout: &dyn RegistryWrite,
    request: &CopyRequest,
) -> Result<Copied, Failure> {
    let request = CopyRequest { force: true, ..request.clone() };
    copy_image(source, image, layout, image, &request).await
}
