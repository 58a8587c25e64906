//! Images with everything attached, from a folder (an OCI layout behind the [`Registry`] port)
//! to a registry.

use sealgate_core::reference::Reference;

use crate::copy::{Copied, CopyRequest, copy_image};
use crate::failure::Failure;
use crate::ports::Registry;

/// Copies `from` of `layout` to `to`. A tag that names another image there is moved only with
/// [`CopyRequest::force`].
pub async fn load_image(
    layout: &dyn Registry,
    from: &Reference,
    target: &dyn Registry,
    to: &Reference,
    request: &CopyRequest,
) -> Result<Copied, Failure> {
    copy_image(layout, from, target, to, request).await
}
