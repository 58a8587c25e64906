//! An image with everything attached, from a registry to a folder (an OCI layout behind the
//! [`Registry`] port). A folder holds one image: its tags have no repository, so a second image
//! could take the first one's. Whoever opens the folder sees to that.

use sealgate_core::reference::Reference;

use crate::copy::{Copied, CopyRequest, copy_image};
use crate::failure::Failure;
use crate::ports::Registry;

/// Copies `image` into `layout` under its own tag.
pub async fn save_image(
    source: &dyn Registry,
    image: &Reference,
    layout: &dyn Registry,
    request: &CopyRequest,
) -> Result<Copied, Failure> {
    let request = CopyRequest { force: true, ..request.clone() };
    copy_image(source, image, layout, image, &request).await
}
