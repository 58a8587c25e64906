//! The use case behind `load`: copies an image with its attachments from a folder (an OCI layout
//! behind the [`Registry`] port) to a registry.

use sealgate_core::reference::Reference;

use crate::copy::{Copied, CopyRequest, copy_image};
use crate::failure::Failure;
use crate::ports::{RegistryRead, RegistryWrite};

/// Copies `from` of `layout` to `to`. A tag that names another image is moved only with
/// [`CopyRequest::force`].
pub async fn load_image(
    layout: &dyn RegistryRead,
    from: &Reference,
    target: &dyn RegistryWrite,
    to: &Reference,
    request: &CopyRequest,
) -> Result<Copied, Failure> {
    copy_image(layout, from, target, to, request).await
}
