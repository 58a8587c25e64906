//! Extraction of images, service account and pull secrets from a workload of any kind with a pod
//! spec; the only such walk.
//!
//! JSON in, domain types out; no request, policy or network. Only fields that name an image are
//! decoded; everything else is skipped without being built.

use std::collections::{BTreeMap, BTreeSet};

use sealgate_engine::admit::ImageUse;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Maximum number of image fields in one object.
pub const MAX_IMAGES: usize = 1_000;

/// Maximum number of pull secrets of one pod.
pub const MAX_PULL_SECRETS: usize = 100;

/// Maximum length of an image text (a reference has at most 255 + 128 characters and a digest).
pub const MAX_IMAGE_TEXT: usize = 2_048;

/// Workload kind with a pod spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// core `Pod`.
    Pod,
    /// core `PodTemplate`.
    PodTemplate,
    /// core `ReplicationController`.
    ReplicationController,
    /// apps `ReplicaSet`.
    ReplicaSet,
    /// apps `Deployment`.
    Deployment,
    /// apps `StatefulSet`.
    StatefulSet,
    /// apps `DaemonSet`.
    DaemonSet,
    /// batch `Job`.
    Job,
    /// batch `CronJob`.
    CronJob,
}

/// Images and pull settings of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodContent {
    /// Image fields, in the order init, regular and ephemeral containers, volumes.
    pub images: Vec<ImageUse>,
    /// Service account of the pods; `default` if not set.
    pub service_account: String,
    /// Distinct `imagePullSecrets` of the pods, in order.
    pub pull_secrets: Vec<String>,
    /// Labels of the pods; for a Pod, the labels of the object itself.
    pub pod_labels: BTreeMap<String, String>,
}

/// Error of [`walk`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// The kind is not a [`Kind`].
    #[error("unhandled kind: {0}")]
    UnhandledKind(String),
    /// The JSON does not match the kind's schema.
    #[error("{0}")]
    Json(String),
    /// The object has no pod spec.
    #[error("missing field(s): {0}")]
    NoPodSpec(String),
    /// The pod spec has no image.
    #[error("{0} names no image")]
    NoImage(String),
    /// More than [`MAX_IMAGES`] image fields.
    #[error("more than {MAX_IMAGES} images")]
    TooManyImages,
    /// More than [`MAX_PULL_SECRETS`] pull secrets.
    #[error("more than {MAX_PULL_SECRETS} pull secrets")]
    TooManyPullSecrets,
    /// An image text longer than [`MAX_IMAGE_TEXT`] bytes.
    #[error("image text of more than {MAX_IMAGE_TEXT} bytes: {0}")]
    LongImage(String),
}

/// Step on the path from an object to its pod spec.
#[derive(Deserialize)]
struct Node<'a> {
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    template: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "jobTemplate")]
    job_template: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default, deserialize_with = "null_is_default")]
    init_containers: Vec<Container>,
    #[serde(default, deserialize_with = "null_is_default")]
    containers: Vec<Container>,
    #[serde(default, deserialize_with = "null_is_default")]
    ephemeral_containers: Vec<Container>,
    #[serde(default, deserialize_with = "null_is_default")]
    volumes: Vec<Volume>,
    #[serde(default)]
    service_account_name: Option<String>,
    #[serde(default)]
    service_account: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    image_pull_secrets: Vec<LocalReference>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default, deserialize_with = "null_is_default")]
    image: String,
}

#[derive(Deserialize)]
struct Volume {
    #[serde(default)]
    image: Option<ImageVolume>,
}

#[derive(Deserialize)]
struct ImageVolume {
    #[serde(default, deserialize_with = "null_is_default")]
    reference: String,
}

#[derive(Deserialize)]
struct LocalReference {
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
}

/// Reads the images of `object`, which is of `kind` in API group `group`.
pub fn walk(group: &str, kind: &str, object: &RawValue) -> Result<PodContent, WalkError> {
    let kind = Kind::of(group, kind)?;
    let steps = kind.steps();
    let (template, spec) = descend(object, steps)?;
    let spec = decode_pod_spec(spec)?;
    let pods = PodContent {
        pod_labels: labels(template)?,
        images: collect(&spec, kind, steps)?,
        service_account: service_account(&spec),
        pull_secrets: pull_secrets(&spec)?,
    };
    if pods.images.is_empty() {
        return Err(WalkError::NoImage(steps.join(".")));
    }
    Ok(pods)
}

/// Splits `new` into images that `old` lacks and those it has. An image with a digest is known if
/// any field of the same type in `old` has it: a container's in any container, a volume's in any
/// volume. A tag is known in the same field only: in another one (a new container) it is pulled
/// again, and may resolve to another image by now.
pub fn changed(new: Vec<ImageUse>, old: &[ImageUse]) -> (Vec<ImageUse>, Vec<ImageUse>) {
    let known: BTreeSet<(bool, &str)> = old.iter().map(sort_and_text).collect();
    let fields: BTreeSet<(&str, &str)> = old.iter().map(field_and_text).collect();
    new.into_iter().partition(|image| match image.image.contains('@') {
        true => !known.contains(&sort_and_text(image)),
        false => !fields.contains(&field_and_text(image)),
    })
}

/// Returns whether an UPDATE from `old` to `new` creates pods: a changed pod template (such as a
/// restart or another variable), or more replicas. Unreadable objects count as unchanged: only
/// warnings depend on the result.
pub(crate) fn makes_new_pods(group: &str, kind: &str, old: &RawValue, new: &RawValue) -> bool {
    let Ok(
        kind @ (Kind::Deployment
        | Kind::StatefulSet
        | Kind::DaemonSet
        | Kind::ReplicaSet
        | Kind::ReplicationController),
    ) = Kind::of(group, kind)
    else {
        return false;
    };
    let (Ok(before), Ok(after)) = (template_and_replicas(old), template_and_replicas(new)) else {
        return false;
    };
    let restarts = match kind {
        // Their template applies to future pods only.
        Kind::ReplicaSet | Kind::ReplicationController => false,
        _ => before.0 != after.0,
    };
    restarts || after.1 > before.1
}

/// Pod template as the API server writes it, and number of replicas (one if not set).
fn template_and_replicas(object: &RawValue) -> Result<(Option<&str>, i64), serde_json::Error> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        spec: Spec<'a>,
    }
    #[derive(Deserialize)]
    struct Spec<'a> {
        #[serde(borrow, default)]
        template: Option<&'a RawValue>,
        #[serde(default)]
        replicas: Option<i64>,
    }
    let Object { spec } = serde_json::from_str::<Object<'_>>(object.get())?;
    Ok((spec.template.map(RawValue::get), spec.replicas.unwrap_or(1)))
}

fn field_and_text(image: &ImageUse) -> (&str, &str) {
    (&image.pointer, &image.image)
}

fn sort_and_text(image: &ImageUse) -> (bool, &str) {
    (image.pointer.ends_with("/reference"), &image.image)
}

impl Kind {
    /// Kind for an API group and name, of any version.
    pub fn of(group: &str, kind: &str) -> Result<Self, WalkError> {
        Ok(match (group, kind) {
            ("", "Pod") => Self::Pod,
            ("", "PodTemplate") => Self::PodTemplate,
            ("", "ReplicationController") => Self::ReplicationController,
            ("apps", "ReplicaSet") => Self::ReplicaSet,
            ("apps", "Deployment") => Self::Deployment,
            ("apps", "StatefulSet") => Self::StatefulSet,
            ("apps", "DaemonSet") => Self::DaemonSet,
            ("batch", "Job") => Self::Job,
            ("batch", "CronJob") => Self::CronJob,
            _ if group.is_empty() => return Err(WalkError::UnhandledKind(cut(kind))),
            _ => return Err(WalkError::UnhandledKind(cut(&format!("{group}/{kind}")))),
        })
    }

    /// Path from the object to its pod spec.
    fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Pod => &["spec"],
            Self::PodTemplate => &["template", "spec"],
            Self::CronJob => &["spec", "jobTemplate", "spec", "template", "spec"],
            Self::ReplicationController
            | Self::ReplicaSet
            | Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::Job => &["spec", "template", "spec"],
        }
    }
}

/// Pod template (or Pod) and its spec.
fn descend<'a>(
    object: &'a RawValue,
    steps: &[&str],
) -> Result<(&'a RawValue, &'a RawValue), WalkError> {
    let (mut template, mut here) = (object, object);
    for (depth, step) in steps.iter().enumerate() {
        let node: Node<'a> = serde_json::from_str(here.get()).map_err(json_error)?;
        let next = match *step {
            "spec" => node.spec,
            "template" => node.template,
            _ => node.job_template,
        };
        let missing = || {
            WalkError::NoPodSpec(
                steps.iter().take(depth + 1).copied().collect::<Vec<_>>().join("."),
            )
        };
        template = here;
        here = next.ok_or_else(missing)?;
    }
    Ok((template, here))
}

fn labels(template: &RawValue) -> Result<BTreeMap<String, String>, WalkError> {
    #[derive(Deserialize)]
    struct Template {
        #[serde(default, deserialize_with = "null_is_default")]
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    struct Metadata {
        #[serde(default, deserialize_with = "null_is_default")]
        labels: BTreeMap<String, String>,
    }
    let template: Template = serde_json::from_str(template.get()).map_err(json_error)?;
    Ok(template.metadata.labels)
}

fn decode_pod_spec(raw: &RawValue) -> Result<PodSpec, WalkError> {
    serde_json::from_str(raw.get()).map_err(json_error)
}

fn collect(spec: &PodSpec, kind: Kind, steps: &[&str]) -> Result<Vec<ImageUse>, WalkError> {
    let (path, pointer) = (steps.join("."), format!("/{}", steps.join("/")));
    let mut images = Vec::new();
    let groups = [
        ("initContainers", &spec.init_containers),
        ("containers", &spec.containers),
        ("ephemeralContainers", &spec.ephemeral_containers),
    ];
    for (field, containers) in groups {
        for (index, container) in containers.iter().enumerate() {
            let path = format!("{path}.{field}[{index}].image");
            let pointer = format!("{pointer}/{field}/{index}/image");
            push(&mut images, path, pointer, &container.image)?;
        }
    }
    for (index, volume) in spec.volumes.iter().enumerate() {
        let Some(image) = &volume.image else { continue };
        // A template may leave the reference empty, to be filled in later; a pod may not.
        if image.reference.is_empty() && kind != Kind::Pod {
            continue;
        }
        let path = format!("{path}.volumes[{index}].image");
        let pointer = format!("{pointer}/volumes/{index}/image/reference");
        push(&mut images, path, pointer, &image.reference)?;
    }
    Ok(images)
}

fn push(
    images: &mut Vec<ImageUse>,
    path: String,
    pointer: String,
    image: &str,
) -> Result<(), WalkError> {
    if images.len() >= MAX_IMAGES {
        return Err(WalkError::TooManyImages);
    }
    if image.len() > MAX_IMAGE_TEXT {
        return Err(WalkError::LongImage(path));
    }
    images.push(ImageUse { path, pointer, image: image.to_owned() });
    Ok(())
}

fn service_account(spec: &PodSpec) -> String {
    [&spec.service_account_name, &spec.service_account]
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty())
        .map_or_else(|| "default".to_owned(), Clone::clone)
}

fn pull_secrets(spec: &PodSpec) -> Result<Vec<String>, WalkError> {
    if spec.image_pull_secrets.len() > MAX_PULL_SECRETS {
        return Err(WalkError::TooManyPullSecrets);
    }
    let mut names: Vec<String> = Vec::new();
    for LocalReference { name } in &spec.image_pull_secrets {
        if !name.is_empty() && !names.contains(name) {
            names.push(name.clone());
        }
    }
    Ok(names)
}

/// Kubernetes writes and reads `null` as the empty value.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn json_error(error: serde_json::Error) -> WalkError {
    WalkError::Json(cut(&error.to_string()))
}

/// Untrusted text for a message: one line, bounded.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(256).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
