//! The request for an admission and its answer. `gate` makes the one of the other.

use std::collections::BTreeMap;

use sealgate_policy::scope::Scope;

pub use crate::gate::{Gate, GatePorts};

/// A request to run images: the pure form of an AdmissionReview.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The review's uid.
    pub uid: String,
    /// What object, in which namespace, with which labels.
    pub scope: Scope,
    /// Who asks.
    pub user: String,
    /// Whether the API server only pretends (`dryRun`).
    pub dry_run: bool,
    /// The service account of the pod (template).
    pub service_account: String,
    /// `imagePullSecrets` of the pod (template).
    pub pull_secrets: Vec<String>,
    /// The labels of the pod (template).
    pub pod_labels: BTreeMap<String, String>,
    /// The relation between the object and the pods that run its images.
    pub holder: Holder,
    /// The images to judge; those that an UPDATE leaves unchanged are not in here.
    pub images: Vec<ImageUse>,
    /// Those that it leaves unchanged while it changes the object's labels.
    pub unchanged: Option<UnchangedImages>,
    /// Those that it leaves unchanged while it makes new pods (a restart, more replicas). The
    /// object is let in whatever they are; a warning tells what its pods will meet.
    pub restarted: Vec<ImageUse>,
}

/// The relation between an object and the pods that run its images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// The object is a Pod and runs them. Its tags are replaced by digests, and an image without
    /// a digest is not let in by a rule that asks for signatures.
    #[default]
    Pod,
    /// The object holds a pod template. Its tags are replaced by digests, so that all of its pods
    /// run what was judged; each pod is judged again.
    Template,
    /// The object holds a pod template and has a controlling owner, such as the ReplicaSet of a
    /// Deployment. Its tags stay as they are: its controller compares the object with a template
    /// of its own, and would answer each difference with another object. What the tags point to
    /// now is judged; each pod is pinned and judged again, so that a rule that is about the
    /// template and not about its pods asks for a digest.
    ControlledTemplate,
    /// The object holds a pod template, and the request names the object and does not hold it
    /// (`scale`). Who asks is told nothing of it but which policies its pods will meet.
    NamedTemplate,
}

/// Images that stay as they were in an object that gets other labels. Whoever let them in asked
/// the rules for the old labels; the rules that only the new ones bring must hold, too. Else an
/// object could be made without a label and take it on when nobody looks at its images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnchangedImages {
    /// The labels before.
    pub labels: BTreeMap<String, String>,
    /// The images.
    pub images: Vec<ImageUse>,
}

/// One image in one field of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// `spec.containers[0].image`, `spec.template.spec.volumes[1].image`, …
    pub path: String,
    /// The JSON pointer of the same field, for a patch.
    pub pointer: String,
    /// The text in the field.
    pub image: String,
}

/// What is said to the API server.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Let in or not.
    pub allowed: bool,
    /// The text of the denial (empty when allowed), first line as policy-controller's.
    pub message: String,
    /// Warnings, one line each.
    pub warnings: Vec<String>,
    /// Audit annotations.
    pub audit: BTreeMap<String, String>,
    /// Images to replace: JSON pointer to new text. (mutating webhook)
    pub pins: Vec<(String, String)>,
}
