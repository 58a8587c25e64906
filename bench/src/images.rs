//! Signed images in the registry with the referrers API.

use sealgate_tests::hostile::honest::signed_images;
use sealgate_tests::image::Image;
use sealgate_tests::programs::Sandbox;
use sealgate_tests::registries;

/// An image with a signature of `cosign.key`, in this format.
pub(crate) fn signed(sandbox: &Sandbox, format: &str, name: &str) -> Image {
    let image = registries::referrers().image(name);
    let digest = image.by_digest();
    sandbox.sealgate(&["sign", "--key", "cosign.key", "-y", "--format", format, &digest]).ok();
    image
}

/// Several images with one bundle each, `NAME-0` and so on.
pub(crate) fn several(sandbox: &Sandbox, name: &str, count: usize) -> Vec<Image> {
    signed_images(sandbox, registries::referrers(), name, count)
}

/// An image with so many bundles, of which the last is of `cosign.key` and the others of another.
pub(crate) fn with_signatures(sandbox: &Sandbox, name: &str, count: usize) -> Image {
    sandbox.sealgate(&["generate-key-pair", "--output-key-prefix", "other"]).ok();
    let image = registries::referrers().image(name);
    let mut keys = vec!["other.key"; count - 1];
    keys.push("cosign.key");
    for key in keys {
        sandbox.sealgate(&["sign", "--key", key, "-y", &image.by_digest()]).ok();
    }
    image
}

/// A copy of an image with its signatures.
pub(crate) fn copied(sandbox: &Sandbox, image: &Image, to: Image) -> Image {
    sandbox.sealgate(&["copy", &image.by_tag(), &to.by_tag()]).ok();
    to
}
