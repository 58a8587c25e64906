//! AdmissionReview (`admission.k8s.io/v1`): from the bytes of a request to the question it asks.
//!
//! Border: pure. Bytes in, [`Review`] out; what cannot be read is [`Malformed`], which
//! [`crate::answer::malformed`] turns into a refusal. Nothing here admits anything that names an
//! image: the only ways around the judge are the variants of [`SkipReason`].
//!
//! Bounds: the body ([`MAX_BODY`]), the number and length of images ([`crate::images`]). Nesting is
//! bounded by serde_json where values are built; what is only passed over is not recursed into.

use std::collections::BTreeMap;

use sealgate_engine::admit::{Admission, Holder, ImageUse, UnchangedImages, Workload};
use sealgate_policy::scope::Scope;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::images::{self, PodContent, WalkError, cut, null_is_default};

/// The largest review that is read: the API server takes objects of up to 3 MiB, and a review of an
/// UPDATE holds two of them and an envelope.
pub const MAX_BODY: usize = 7 * 1024 * 1024;

/// The longest uid (Kubernetes writes 36 characters).
const MAX_UID: usize = 128;

/// One request of the API server.
#[derive(Clone, Debug)]
pub struct Review {
    /// The request's uid, to be echoed.
    pub uid: String,
    /// The question.
    pub ask: Ask,
}

/// The question that a review asks.
#[derive(Clone, Debug)]
pub enum Ask {
    /// May these images run? There is at least one, new or unchanged.
    Judge(Box<Admission>),
    /// More replicas, by the `scale` subresource: allow. The review does not hold the workload;
    /// whoever reads it can tell what its pods will meet ([`scaled_up`]).
    ScaledUp(Box<Admission>),
    /// There is nothing to judge: allow. Who asked for what is told for the log; it names no
    /// image.
    Skip(SkipReason, Box<Admission>),
}

impl Ask {
    /// The request, whatever it asks.
    pub fn admission(&self) -> &Admission {
        match self {
            Self::Judge(admission) | Self::ScaledUp(admission) | Self::Skip(_, admission) => {
                admission
            }
        }
    }
}

/// The reason why a request starts no new image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// A DELETE or CONNECT.
    StartsNothing,
    /// A subresource that holds no pod spec: `status`, `scale`, `resize`, `binding`, …
    Subresource,
    /// An UPDATE of an object that is already being deleted.
    BeingDeleted,
    /// An UPDATE that leaves every image and every label as it was.
    Unchanged,
}

impl SkipReason {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::StartsNothing => "starts-nothing",
            Self::Subresource => "subresource",
            Self::BeingDeleted => "being-deleted",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A review that cannot be judged. It is refused, never admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decoding request failed: {reason}")]
pub struct Malformed {
    /// The request's uid where it could be read: then the refusal is a proper answer, else HTTP 400.
    pub uid: Option<String>,
    /// The reason.
    pub reason: MalformedReason,
}

/// The reason why a review is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReason {
    /// Larger than [`MAX_BODY`].
    #[error("the review is larger than {MAX_BODY} bytes")]
    TooLarge,
    /// Not the JSON of an AdmissionReview.
    #[error("{0}")]
    Json(String),
    /// Another kind or version than AdmissionReview of `admission.k8s.io/v1`.
    #[error("expected an AdmissionReview of admission.k8s.io/v1, got {0}")]
    Version(String),
    /// A field that must be there is not.
    #[error("missing field(s): {0}")]
    Missing(&'static str),
    /// The request and its object contradict each other.
    #[error("the request and its object disagree about {0}")]
    Disagree(&'static str),
    /// An operation that Kubernetes does not have.
    #[error("unknown operation {0}")]
    Operation(String),
    /// The object could not be walked.
    #[error(transparent)]
    Walk(#[from] WalkError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow, default)]
    request: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(default, deserialize_with = "null_is_default")]
    uid: String,
}

/// The fields of `AdmissionRequest` that are used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request<'a> {
    #[serde(default)]
    pub(crate) uid: String,
    pub(crate) kind: GroupVersionKind,
    pub(crate) resource: GroupVersionResource,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) sub_resource: String,
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    namespace: String,
    pub(crate) operation: String,
    #[serde(default, deserialize_with = "null_is_default")]
    user_info: UserInfo,
    #[serde(borrow, default)]
    pub(crate) object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) old_object: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) dry_run: bool,
}

impl Request<'_> {
    /// The object as far as the request itself names it.
    pub(crate) fn scope(&self) -> Scope {
        scope(self, Metadata::default(), String::new())
    }
}

#[derive(Deserialize)]
pub(crate) struct GroupVersionKind {
    #[serde(default)]
    pub(crate) group: String,
    pub(crate) kind: String,
}

#[derive(Deserialize)]
pub(crate) struct GroupVersionResource {
    #[serde(default)]
    pub(crate) group: String,
    #[serde(default)]
    pub(crate) version: String,
    pub(crate) resource: String,
}

#[derive(Default, Deserialize)]
struct UserInfo {
    #[serde(default, deserialize_with = "null_is_default")]
    username: String,
}

/// The fields of an object that are read besides its pod spec.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    generate_name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    namespace: String,
    #[serde(default, deserialize_with = "null_is_default")]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    deletion_timestamp: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    owner_references: Vec<OwnerReference>,
}

#[derive(Deserialize)]
struct OwnerReference {
    #[serde(default, deserialize_with = "null_is_default")]
    controller: bool,
}

/// The operations of an admission request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// Reads a review of a workload.
///
/// # Errors
/// [`Malformed`] for whatever is not a review of a workload kind that this crate can walk.
pub fn parse(body: &[u8]) -> Result<Review, Malformed> {
    let (uid, ask) = with_request(body, |request| ask(&request))?;
    Ok(Review { uid, ask })
}

/// The uid of a review, for a denial without judgement; `None` where it cannot be read.
pub fn uid(body: &[u8]) -> Option<String> {
    open(body).and_then(uid_of).ok()
}

/// Opens the envelope and hands the request to `read`, keeping the uid for a refusal.
pub(crate) fn with_request<'a, T>(
    body: &'a [u8],
    read: impl FnOnce(Request<'a>) -> Result<T, MalformedReason>,
) -> Result<(String, T), Malformed> {
    let anonymous = |reason| Malformed { uid: None, reason };
    let raw = open(body).map_err(anonymous)?;
    let uid = uid_of(raw).map_err(anonymous)?;
    let named = |reason| Malformed { uid: Some(uid.clone()), reason };
    let request: Request<'a> = serde_json::from_str(raw.get()).map_err(json).map_err(named)?;
    let result = read(request).map_err(named)?;
    Ok((uid, result))
}

fn open(body: &[u8]) -> Result<&RawValue, MalformedReason> {
    if body.len() > MAX_BODY {
        return Err(MalformedReason::TooLarge);
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(json)?;
    if envelope.api_version != "admission.k8s.io/v1" || envelope.kind != "AdmissionReview" {
        let got = format!("{} {}", envelope.api_version, envelope.kind);
        return Err(MalformedReason::Version(cut(&got)));
    }
    envelope.request.ok_or(MalformedReason::Missing("request"))
}

fn uid_of(request: &RawValue) -> Result<String, MalformedReason> {
    let identity: Identity = serde_json::from_str(request.get()).map_err(json)?;
    if identity.uid.is_empty() || identity.uid.len() > MAX_UID {
        return Err(MalformedReason::Missing("request.uid"));
    }
    Ok(identity.uid)
}

fn ask(request: &Request<'_>) -> Result<Ask, MalformedReason> {
    let operation = Operation::parse(&request.operation)?;
    if matches!(operation, Operation::Delete | Operation::Connect) {
        return Ok(skip(SkipReason::StartsNothing, request, Metadata::default()));
    }
    match request.sub_resource.as_str() {
        "" | "ephemeralcontainers" => {}
        "scale" if asks_for_more(request) => {
            let admission =
                admission(request, Metadata::default(), PodContent::default(), Change::default());
            return Ok(Ask::ScaledUp(Box::new(admission)));
        }
        _ => return Ok(skip(SkipReason::Subresource, request, Metadata::default())),
    }
    let object = request.object.ok_or(MalformedReason::Missing("request.object"))?;
    let head = read_head(object, request)?;
    let pods = images::walk(&request.kind.group, &request.kind.kind, object)?;
    let old = match operation {
        Operation::Update => Some(read_old(request)?),
        _ => None,
    };
    Ok(question(request, head, pods, old))
}

/// True if a `Scale` has more replicas than it had. One that cannot be read has not: this
/// decides about warnings only.
fn asks_for_more(request: &Request<'_>) -> bool {
    #[derive(Default, Deserialize)]
    struct Scale {
        #[serde(default, deserialize_with = "null_is_default")]
        spec: ScaleSpec,
    }
    #[derive(Default, Deserialize)]
    struct ScaleSpec {
        #[serde(default, deserialize_with = "null_is_default")]
        replicas: i64,
    }
    let replicas = |object: Option<&RawValue>| {
        serde_json::from_str::<Scale>(object?.get()).ok().map(|scale| scale.spec.replicas)
    };
    match (replicas(request.old_object), replicas(request.object)) {
        (Some(before), Some(now)) => now > before,
        _ => false,
    }
}

/// The question that a `scale` asks about the workload that it scales: the JSON of the object, as
/// the API server has it. `None` where nobody who could read a warning asks (a controller scales
/// what it made), or where the object holds no pod template.
pub fn scaled_up(scale: &Admission, object: &[u8]) -> Option<Admission> {
    let object: &RawValue = serde_json::from_slice(object).ok()?;
    let Head { kind, metadata } = serde_json::from_str(object.get()).ok()?;
    let kind = kind?;
    if metadata.has_controller() {
        return None;
    }
    let mut admission = scale.clone();
    let workload = &mut admission.workload;
    let pods = images::walk(&workload.scope.group, &kind, object).ok()?;
    workload.scope.kind = kind;
    workload.scope.labels = metadata.labels;
    workload.scope.service_account = pods.service_account;
    workload.holder = Holder::NamedTemplate;
    workload.pull_secrets = pods.pull_secrets;
    workload.pod_labels = pods.pod_labels;
    workload.restarted = pods.images;
    Some(admission)
}

/// The object before an UPDATE.
struct Old {
    metadata: Metadata,
    pods: PodContent,
    /// True if the update makes new pods of images that it leaves as they are.
    restarts: bool,
}

/// The images of an object, as an UPDATE changes them.
#[derive(Default)]
struct Change {
    new: Vec<ImageUse>,
    unchanged: Option<UnchangedImages>,
    restarted: Vec<ImageUse>,
}

/// True if the stored object is already being deleted. Only the stored one counts: a deletionTimestamp in
/// the new one may be the user's.
pub(crate) fn being_deleted(old: &RawValue) -> Result<bool, MalformedReason> {
    let head: Head = serde_json::from_str(old.get()).map_err(json)?;
    Ok(head.metadata.deletion_timestamp.is_some())
}

fn read_old(request: &Request<'_>) -> Result<Old, MalformedReason> {
    let object = request.old_object.ok_or(MalformedReason::Missing("request.oldObject"))?;
    let walked = images::walk(&request.kind.group, &request.kind.kind, object);
    let head: Head = serde_json::from_str(object.get()).map_err(json)?;
    Ok(Old {
        metadata: head.metadata,
        // An old object that cannot be walked has no images to compare with: all are judged.
        pods: walked.unwrap_or_default(),
        restarts: request.object.is_some_and(|new| {
            images::makes_new_pods(&request.kind.group, &request.kind.kind, object, new)
        }),
    })
}

fn question(request: &Request<'_>, head: Head, mut pods: PodContent, old: Option<Old>) -> Ask {
    let images = std::mem::take(&mut pods.images);
    let change = match old {
        Some(old) if old.metadata.deletion_timestamp.is_some() => {
            return skip(SkipReason::BeingDeleted, request, head.metadata);
        }
        Some(old) => Change::between(old, images, &head.metadata),
        None => Change { new: images, ..Change::default() },
    };
    if change.is_empty() {
        return skip(SkipReason::Unchanged, request, head.metadata);
    }
    Ask::Judge(Box::new(admission(request, head.metadata, pods, change)))
}

impl Change {
    fn between(old: Old, images: Vec<ImageUse>, metadata: &Metadata) -> Self {
        let (new, unchanged) = images::changed(images, &old.pods.images);
        // Whoever changes an object with a controlling owner is a controller: it reads no warning.
        let restarts = old.restarts && !metadata.has_controller();
        let restarted = if restarts { unchanged.clone() } else { Vec::new() };
        let labels = old.metadata.labels;
        let relabelled = !unchanged.is_empty() && labels != metadata.labels;
        let unchanged = relabelled.then_some(UnchangedImages { labels, images: unchanged });
        Self { new, unchanged, restarted }
    }

    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.unchanged.is_none() && self.restarted.is_empty()
    }
}

impl Metadata {
    fn has_controller(&self) -> bool {
        self.owner_references.iter().any(|owner| owner.controller)
    }
}

fn skip(why: SkipReason, request: &Request<'_>, metadata: Metadata) -> Ask {
    let admission = admission(request, metadata, PodContent::default(), Change::default());
    Ask::Skip(why, Box::new(admission))
}

fn admission(
    request: &Request<'_>,
    metadata: Metadata,
    pods: PodContent,
    change: Change,
) -> Admission {
    Admission {
        uid: request.uid.clone(),
        user: request.user_info.username.clone(),
        dry_run: request.dry_run,
        workload: Workload {
            holder: holder(&request.kind.kind, &metadata),
            scope: scope(request, metadata, pods.service_account),
            pull_secrets: pods.pull_secrets,
            pod_labels: pods.pod_labels,
            images: change.new,
            unchanged: change.unchanged,
            restarted: change.restarted,
        },
    }
}

/// A Pod is one whoever claims to own it: its tags are pinned, and its images judged.
fn holder(kind: &str, metadata: &Metadata) -> Holder {
    match kind {
        "Pod" => Holder::Pod,
        _ if metadata.has_controller() => Holder::ControlledTemplate,
        _ => Holder::Template,
    }
}

fn read_head(object: &RawValue, request: &Request<'_>) -> Result<Head, MalformedReason> {
    let head: Head = serde_json::from_str(object.get()).map_err(json)?;
    if head.kind.as_ref().is_some_and(|kind| *kind != request.kind.kind) {
        return Err(MalformedReason::Disagree("kind"));
    }
    let namespace = &head.metadata.namespace;
    if !namespace.is_empty() && !request.namespace.is_empty() && *namespace != request.namespace {
        return Err(MalformedReason::Disagree("metadata.namespace"));
    }
    // Every kind that is judged lives in a namespace; nowhere, rules for some would be silent.
    if namespace.is_empty() && request.namespace.is_empty() {
        return Err(MalformedReason::Missing("request.namespace"));
    }
    Ok(head)
}

fn scope(request: &Request<'_>, metadata: Metadata, service_account: String) -> Scope {
    let first = |texts: [&String; 3]| {
        texts.into_iter().find(|text| !text.is_empty()).cloned().unwrap_or_default()
    };
    Scope {
        group: request.resource.group.clone(),
        version: request.resource.version.clone(),
        resource: request.resource.resource.clone(),
        kind: request.kind.kind.clone(),
        namespace: first([&metadata.namespace, &request.namespace, &String::new()]),
        name: first([&metadata.name, &request.name, &metadata.generate_name]),
        labels: metadata.labels,
        service_account,
        operation: request.operation.clone(),
    }
}

impl Operation {
    pub(crate) fn parse(text: &str) -> Result<Self, MalformedReason> {
        Ok(match text {
            "CREATE" => Self::Create,
            "UPDATE" => Self::Update,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            other => return Err(MalformedReason::Operation(cut(other))),
        })
    }
}

pub(crate) fn json(error: serde_json::Error) -> MalformedReason {
    MalformedReason::Json(cut(&error.to_string()))
}

#[cfg(test)]
mod tests;
