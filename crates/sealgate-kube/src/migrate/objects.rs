//! Objects of the cluster as JSON, by kind: the few calls that a migration needs.

use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use sealgate_core::fault::{Fault, FaultKind};
use serde_json::Value;

use crate::cluster::{Failure, within};

/// How often an object is read and written again when others write it, too.
const TRIES: usize = 10;

/// What became of a patch of one version of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patched {
    Done,
    /// It has another version by now.
    Conflict,
    /// There is no such object.
    Gone,
}

/// A kind of object, in a namespace or in none.
#[derive(Clone)]
pub(super) struct Objects {
    api: Api<DynamicObject>,
    kind: String,
}

impl Objects {
    /// `namespace`: `None` for what has none.
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

    /// Writes what `change` makes of the object as it is now, `None` where there is none. Somebody
    /// else's write in between is never lost.
    pub(super) async fn update(
        &self,
        name: &str,
        change: impl Fn(Option<Value>) -> Value,
    ) -> Result<(), Fault> {
        let target = self.describe(name);
        let mut last = None;
        for _ in 0..TRIES {
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
        Err(last.unwrap_or_else(|| Fault::new(FaultKind::Cancelled, &target, "others write it")))
    }

    pub(super) async fn merge(&self, name: &str, patch: &Value) -> Result<(), Fault> {
        let target = self.describe(name);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        within(&target, self.api.patch(name, &parameters, &patch))
            .await
            .map(drop)
            .map_err(|failure| failure.fault(&target))
    }

    /// As [`Self::merge`], with the `resourceVersion` that the patch names.
    pub(super) async fn merge_unchanged(
        &self,
        name: &str,
        patch: &Value,
    ) -> Result<Patched, Fault> {
        let target = self.describe(name);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        match within(&target, self.api.patch(name, &parameters, &patch)).await {
            Ok(_) => Ok(Patched::Done),
            Err(failure) if failure.is_conflict() => Ok(Patched::Conflict),
            Err(Failure::Api(kube::Error::Api(status))) if status.is_not_found() => {
                Ok(Patched::Gone)
            }
            Err(failure) => Err(failure.fault(&target)),
        }
    }

    /// Creates it, only to see whether that would be possible.
    pub(super) async fn would_create(&self, value: Value) -> Result<(), Fault> {
        let target = self.kind.clone();
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        let object = object(value)?;
        let created = within(&target, self.api.create(&parameters, &object)).await;
        created.map(drop).map_err(|failure| failure.fault(&target))
    }

    /// Deletes it and what belongs to it; whether there was one.
    pub(super) async fn delete(&self, name: &str) -> Result<bool, Fault> {
        self.delete_with(name, &DeleteParams::background()).await
    }

    /// Deletes it and leaves what belongs to it, such as the pods that run.
    pub(super) async fn orphan(&self, name: &str) -> Result<bool, Fault> {
        self.delete_with(name, &DeleteParams::orphan()).await
    }

    async fn delete_with(&self, name: &str, how: &DeleteParams) -> Result<bool, Fault> {
        let target = self.describe(name);
        match within(&target, self.api.delete(name, how)).await {
            Ok(_) => Ok(true),
            Err(Failure::Api(kube::Error::Api(status))) if status.is_not_found() => Ok(false),
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
