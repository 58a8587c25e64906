//! Signed images in the registry with the referrers API.

use sealgate_tests::image::Image;
use sealgate_tests::programs::Sandbox;
use sealgate_tests::registries;

/// Images that one call of `sign` takes.
const A_CALL: usize = 50;

/// An image with a signature of `cosign.key`, in this format.
pub(crate) fn signed(sandbox: &Sandbox, format: &str, name: &str) -> Image {
    let image = registries::referrers().image(name);
    let digest = image.by_digest();
    sandbox.sealgate(&["sign", "--key", "cosign.key", "-y", "--format", format, &digest]).ok();
    image
}

/// Several images with one bundle each, `NAME-0` and so on.
pub(crate) fn several(sandbox: &Sandbox, name: &str, count: usize) -> Vec<Image> {
    let registry = registries::referrers();
    let images: Vec<Image> = (0..count).map(|i| registry.image(&format!("{name}-{i}"))).collect();
    for some in images.chunks(A_CALL) {
        let mut words = vec!["sign".to_owned(), "--key".into(), "cosign.key".into(), "-y".into()];
        words.extend(some.iter().map(Image::by_digest));
        sandbox.sealgate(&words).ok();
    }
    images
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
