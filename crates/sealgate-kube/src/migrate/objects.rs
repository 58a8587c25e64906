//! Objects of the cluster as JSON, by kind: the API calls of a migration.

use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use sealgate_core::fault::{Fault, FaultKind};
use serde_json::Value;

use crate::cluster::{RequestError, within};

/// Number of attempts to change an object while others write it.
const ATTEMPTS: usize = 10;

/// Result of patching one version of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatchResult {
    Done,
    /// The object has changed since.
    Conflict,
    /// The object does not exist.
    Gone,
}

/// Objects of one kind, in a namespace or cluster-scoped.
#[derive(Clone)]
pub(super) struct Objects {
    api: Api<DynamicObject>,
    kind: String,
}

impl Objects {
    /// `namespace` is `None` for cluster-scoped objects.
    pub(super) fn of(
        client: &Client,
        api_version: &str,
        kind: &str,
        plural: &str,
        namespace: Option<&str>,
    ) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        Self { api, kind: kind.kind }
    }

    pub(super) fn describe(&self, name: &str) -> String {
        format!("{} {name}", self.kind)
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Value>, Fault> {
        let target = self.describe(name);
        let found = within(&target, self.api.get_opt(name)).await;
        found.map_err(|failure| failure.fault(&target))?.map(|object| json(&object)).transpose()
    }

    pub(super) async fn list(&self) -> Result<Vec<Value>, Fault> {
        let found = within(&self.kind, self.api.list(&ListParams::default())).await;
        let found = found.map_err(|failure| failure.fault(&self.kind))?;
        found.items.iter().map(json).collect()
    }

    /// Replaces the object with the result of `change`, which gets the current object, or `None` if
    /// it does not exist. A concurrent write is never lost.
    pub(super) async fn update(
        &self,
        name: &str,
        change: impl Fn(Option<Value>) -> Value,
    ) -> Result<(), Fault> {
        let target = self.describe(name);
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let live = self.get(name).await?;
            let exists = live.is_some();
            let object = object(change(live))?;
            let parameters = PostParams::default();
            let written = match exists {
                true => within(&target, self.api.replace(name, &parameters, &object)).await,
                false => within(&target, self.api.create(&parameters, &object)).await,
            };
            match written {
                Ok(_) => return Ok(()),
                Err(failure) if failure.is_conflict() => last = Some(failure),
                Err(failure) => return Err(failure.fault(&target)),
            }
        }
        let last = last.map(|failure| failure.fault(&target));
        Err(last.unwrap_or_else(|| {
            Fault::new(FaultKind::Cancelled, &target, "the object is being changed by others")
        }))
    }

    pub(super) async fn merge(&self, name: &str, patch: &Value) -> Result<(), Fault> {
        let target = self.describe(name);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        within(&target, self.api.patch(name, &parameters, &patch))
            .await
            .map(drop)
            .map_err(|failure| failure.fault(&target))
    }

    /// Variant of [`Self::merge`] that requires the `resourceVersion` in the patch.
    pub(super) async fn merge_unchanged(
        &self,
        name: &str,
        patch: &Value,
    ) -> Result<PatchResult, Fault> {
        let target = self.describe(name);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        match within(&target, self.api.patch(name, &parameters, &patch)).await {
            Ok(_) => Ok(PatchResult::Done),
            Err(failure) if failure.is_conflict() => Ok(PatchResult::Conflict),
            Err(RequestError::Api(kube::Error::Api(status))) if status.is_not_found() => {
                Ok(PatchResult::Gone)
            }
            Err(failure) => Err(failure.fault(&target)),
        }
    }

    /// Creates the object as a dry run.
    pub(super) async fn would_create(&self, value: Value) -> Result<(), Fault> {
        let target = self.kind.clone();
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        let object = object(value)?;
        let created = within(&target, self.api.create(&parameters, &object)).await;
        created.map(drop).map_err(|failure| failure.fault(&target))
    }

    /// Deletes the object and its dependents; returns whether it existed.
    pub(super) async fn delete(&self, name: &str) -> Result<bool, Fault> {
        self.delete_with(name, &DeleteParams::background()).await
    }

    /// Deletes the object and orphans its dependents, such as running pods.
    pub(super) async fn orphan(&self, name: &str) -> Result<bool, Fault> {
        self.delete_with(name, &DeleteParams::orphan()).await
    }

    async fn delete_with(&self, name: &str, how: &DeleteParams) -> Result<bool, Fault> {
        let target = self.describe(name);
        match within(&target, self.api.delete(name, how)).await {
            Ok(_) => Ok(true),
            Err(RequestError::Api(kube::Error::Api(status))) if status.is_not_found() => Ok(false),
            Err(failure) => Err(failure.fault(&target)),
        }
    }
}

fn json(object: &DynamicObject) -> Result<Value, Fault> {
    serde_json::to_value(object)
        .map_err(|error| Fault::new(FaultKind::Malformed, "object", error.to_string()))
}

fn object(value: Value) -> Result<DynamicObject, Fault> {
    serde_json::from_value(value)
        .map_err(|error| Fault::new(FaultKind::Malformed, "object", error.to_string()))
}
