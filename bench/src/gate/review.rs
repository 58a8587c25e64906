//! AdmissionReviews of a pod of signed images.

use sealgate_tests::hostile::reviews;
use sealgate_tests::image::Image;

const NAMESPACE: &str = "default";

/// A pod with a container of each image, by digest.
pub(super) fn of(images: &[&Image]) -> String {
    reviews::pod(NAMESPACE, images.iter().map(|image| image.by_digest()))
}

/// A pod with one container, whose environment makes the review about `bytes` long.
pub(super) fn of_size(image: &Image, bytes: usize) -> String {
    reviews::pod_of_size(NAMESPACE, &image.by_digest(), bytes)
}
