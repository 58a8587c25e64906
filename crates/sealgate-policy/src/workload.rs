//! The workload whose images are judged, and the request to admit it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::scope::Scope;

/// A request to admit a workload: the content of an AdmissionReview.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    /// The uid of the review.
    pub uid: String,
    /// The user who makes the request.
    pub user: String,
    /// True if the request has no effect (`dryRun`).
    pub dry_run: bool,
    /// The object.
    pub workload: Workload,
}

/// An object that runs images, or whose pods do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// The kind, the name, the namespace and the labels of the object.
    pub scope: Scope,
    /// The relation between the object and the pods that run its images.
    pub holder: Holder,
    /// The labels of the pod (template).
    pub pod_labels: BTreeMap<String, String>,
    /// `imagePullSecrets` of the pod (template).
    pub pull_secrets: Vec<String>,
    /// The images to judge; those that an UPDATE leaves unchanged are not among them.
    pub images: Vec<ImageUse>,
    /// The images that an UPDATE leaves unchanged while it changes the labels of the object.
    pub unchanged: Option<UnchangedImages>,
    /// The images that an UPDATE leaves unchanged while it makes new pods (a restart, more
    /// replicas). The object is admitted whatever they are; a warning says which of its pods will
    /// be refused.
    pub restarted: Vec<ImageUse>,
}

/// The relation between an object and the pods that run its images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Holder {
    /// The object is a Pod and runs them. Its tags are replaced by digests, and a rule that
    /// requires signatures does not admit an image without a digest.
    #[default]
    Pod,
    /// The object holds a pod template. Its tags are replaced by digests, so that all of its pods
    /// run what was judged; each pod is judged again.
    Template,
    /// The object holds a pod template and has a controlling owner, such as the ReplicaSet of a
    /// Deployment. Its tags are not replaced: its controller compares the object with a template
    /// of its own, and would answer each difference with another object. The digests that the
    /// tags resolve to now are judged; each pod is pinned and judged again. A rule that applies to
    /// the template and not to its pods therefore requires a digest.
    ControlledTemplate,
    /// The object holds a pod template, and the request names the object without its content
    /// (`scale`). The user learns nothing of it but the policies that will refuse its pods.
    NamedTemplate,
}

/// Images that stay as they were in an object whose labels change. They were admitted under the
/// rules for the old labels; the rules that only the new labels select must hold, too. Otherwise
/// an object could be created without a label and get it later, when its images are not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnchangedImages {
    /// The labels before the update.
    pub labels: BTreeMap<String, String>,
    /// The images.
    pub images: Vec<ImageUse>,
}

/// One image in one field of the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageUse {
    /// `spec.containers[0].image`, `spec.template.spec.volumes[1].image`, …
    pub path: String,
    /// The JSON pointer of the same field, for a patch.
    pub pointer: String,
    /// The text in the field.
    pub image: String,
}

impl Workload {
    /// The approximate size in bytes in memory: the author of an object chooses the number and the
    /// length of its texts.
    pub fn approximate_size(&self) -> usize {
        let Self { scope, pod_labels, pull_secrets, images, unchanged, restarted, .. } = self;
        let labels = |labels: &BTreeMap<String, String>| {
            labels.iter().map(|(name, value)| text_size(name) + text_size(value)).sum::<usize>()
        };
        let uses = |images: &[ImageUse]| {
            let sizes = images.iter().map(|ImageUse { path, pointer, image }| {
                text_size(path) + text_size(pointer) + text_size(image)
            });
            sizes.sum::<usize>()
        };
        let unchanged = unchanged.as_ref();
        size_of::<Self>()
            + labels(&scope.labels)
            + labels(pod_labels)
            + pull_secrets.iter().map(|name| text_size(name)).sum::<usize>()
            + uses(images)
            + uses(restarted)
            + unchanged.map_or(0, |it| labels(&it.labels) + uses(&it.images))
    }
}

fn text_size(text: &str) -> usize {
    size_of::<String>() + text.len()
}
