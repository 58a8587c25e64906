//! Images with everything attached, from registries to a folder (an OCI layout behind the
//! [`Registry`] port). Every image keeps its own attachments, in both formats.

use sealgate_core::reference::Reference;

use crate::copy::{Copied, CopyRequest, copy_image};
use crate::failure::Failure;
use crate::ports::Registry;

/// Copies each image into `layout`, under its own repository and tag. What stands under the tag
/// there is replaced: the folder becomes what the registry has now.
pub async fn save_images(
    source: &dyn Registry,
    images: &[Reference],
    layout: &dyn Registry,
    request: &CopyRequest,
) -> Result<Vec<Copied>, Failure> {
    let request = CopyRequest { force: true, ..request.clone() };
    let mut saved = Vec::with_capacity(images.len());
    // One after the other: all write the one index.json.
    for image in images {
        saved.push(copy_image(source, image, layout, image, &request).await?);
    }
    Ok(saved)
}
