//! Server-side apply of documents, and deletion of objects.
//!
//! The documents and deletions and their order come from [`crate::install`]; nothing is decided
//! here.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};
use sealgate_core::fault::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::cluster::{RequestError, within};
use crate::install::{
    self, DEPLOYMENT, Deletion, InstallOptions, Owner, PART_OF, PART_OF_SEALGATE,
};

mod ownership;

/// Field manager of installed objects.
pub const FIELD_MANAGER: &str = "sealgate-install";

/// Number of attempts to take over fields while others write the object.
const ATTEMPTS: usize = 10;

/// Applies one document; returns `Kind namespace/name`. Fields that `kubectl apply` set and the
/// document does not set are removed, except labels and annotations.
///
/// # Errors
/// Faults of the API server; `Malformed` when the document has no kind or name.
pub async fn apply(client: &Client, document: &Value) -> Result<String, Fault> {
    let object: DynamicObject = serde_json::from_value(document.clone())
        .map_err(|error| Fault::new(FaultKind::Malformed, "document", error.to_string()))?;
    let types = object.types.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let namespace = object.metadata.namespace.clone();
    let target = target(&types.kind, namespace.as_deref(), &name);
    let kind = GroupVersionKind::try_from(types)
        .map_err(|error| Fault::new(FaultKind::Malformed, &target, error.to_string()))?;
    let fault = |failure: RequestError| failure.fault(&target);
    let (resource, capabilities) =
        within(&target, pinned_kind(client, &kind)).await.map_err(fault)?;
    let api: Api<DynamicObject> = match (&capabilities.scope, &namespace) {
        (Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    take_over_fields(&api, &name, &target).await?;
    let how = PatchParams::apply(FIELD_MANAGER).force();
    within(&target, api.patch(&name, &how, &Patch::Apply(document))).await.map_err(fault)?;
    Ok(target)
}

/// Transfers ownership of the fields owned by `kubectl apply` to us, so that an apply removes those
/// that are no longer set. Does not change any field itself.
async fn take_over_fields(api: &Api<DynamicObject>, name: &str, target: &str) -> Result<(), Fault> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let live = within(target, api.get_metadata_opt(name)).await;
        let Some(live) = live.map_err(|failure| failure.fault(target))? else { return Ok(()) };
        let entries = live.metadata.managed_fields.unwrap_or_default();
        let Some(entries) = ownership::taken_over(&entries, FIELD_MANAGER) else { return Ok(()) };
        let metadata = json!({
            "resourceVersion": live.metadata.resource_version,
            "managedFields": entries,
        });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let how =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match within(target, api.patch(name, &how, &patch)).await {
            Ok(_) => return Ok(()),
            Err(failure) if failure.is_conflict() => last = Some(failure),
            Err(failure) => return Err(failure.fault(target)),
        }
    }
    let last = last.map(|failure| failure.fault(target));
    Err(last.unwrap_or_else(|| {
        Fault::new(FaultKind::Cancelled, target, "the object is being changed by others")
    }))
}

/// Deletes what earlier versions installed and this one does not ([`install::retired`]); returns
/// the deleted objects. A PriorityClass named by the gate's Deployment is kept: without it no pod
/// could start.
///
/// # Errors
/// Faults of the API server.
pub async fn delete_retired(
    client: &Client,
    options: &InstallOptions,
) -> Result<Vec<String>, Fault> {
    let class = priority_class(client, &options.namespace).await?;
    let mut deleted = Vec::new();
    for deletion in install::retired(options) {
        let is_used = deletion.kind == "PriorityClass" && class.as_ref() == Some(&deletion.name);
        if !is_used && delete(client, &deletion).await? {
            deleted.push(describe(&deletion));
        }
    }
    Ok(deleted)
}

/// Deletes one object; returns `false` when it or its kind does not exist, or when it has another
/// owner.
///
/// # Errors
/// Faults of the API server.
pub async fn delete(client: &Client, deletion: &Deletion) -> Result<bool, Fault> {
    let Deletion { owner, api_version, kind, resource, namespace, name } = deletion;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, resource);
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let target = describe(deletion);
    if *owner == Owner::Sealgate && !is_ours(&api, name, &target).await? {
        return Ok(false);
    }
    match within(&target, api.delete(name, &DeleteParams::background())).await {
        Ok(_) => Ok(true),
        Err(RequestError::Api(kube::Error::Api(status))) if status.is_not_found() => Ok(false),
        Err(failure) => Err(failure.fault(&target)),
    }
}

/// Returns whether the object exists and has the label of objects written by `sealgate install`.
async fn is_ours(api: &Api<DynamicObject>, name: &str, target: &str) -> Result<bool, Fault> {
    let found = within(target, api.get_metadata_opt(name)).await;
    let found = found.map_err(|failure| failure.fault(target))?;
    let labels = found.and_then(|object| object.metadata.labels).unwrap_or_default();
    Ok(labels.get(PART_OF).is_some_and(|part_of| part_of == PART_OF_SEALGATE))
}

/// Number of replicas of the installed gate; `None` when it is not installed or sets none.
///
/// # Errors
/// Faults of the API server.
pub async fn replicas(client: &Client, namespace: &str) -> Result<Option<u32>, Fault> {
    let replicas = deployment(client, namespace).await?.and_then(|it| it.spec?.replicas);
    Ok(replicas.and_then(|replicas| u32::try_from(replicas).ok()).filter(|replicas| *replicas > 0))
}

/// PriorityClass of the installed gate's pods.
async fn priority_class(client: &Client, namespace: &str) -> Result<Option<String>, Fault> {
    let deployment = deployment(client, namespace).await?;
    Ok(deployment.and_then(|it| it.spec?.template.spec?.priority_class_name))
}

async fn deployment(client: &Client, namespace: &str) -> Result<Option<Deployment>, Fault> {
    let target = target("Deployment", Some(namespace), DEPLOYMENT);
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    within(&target, api.get_opt(DEPLOYMENT)).await.map_err(|failure| failure.fault(&target))
}

/// `Kind namespace/name`.
pub fn describe(deletion: &Deletion) -> String {
    target(deletion.kind, deletion.namespace.as_deref(), &deletion.name)
}

fn target(kind: &str, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}
