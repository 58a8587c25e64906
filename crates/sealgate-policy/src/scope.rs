//! Attributes of the object that contains an image, by which rules are selected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The object that contains the images: its kind, namespace and labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scope {
    /// API group, empty for core.
    pub group: String,
    /// API version, `v1`.
    pub version: String,
    /// Plural resource, `pods`, `deployments`.
    pub resource: String,
    /// Kind, `Pod`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name (or generateName).
    pub name: String,
    /// The object's own labels.
    pub labels: BTreeMap<String, String>,
    /// The service account of the pod (template).
    pub service_account: String,
    /// `CREATE`, `UPDATE`, or empty outside admission.
    pub operation: String,
}

impl Scope {
    /// Returns the scope of a pod with these labels that an object of this scope creates.
    pub fn of_pod(&self, labels: BTreeMap<String, String>) -> Self {
        Self {
            group: String::new(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            kind: "Pod".to_owned(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            labels,
            service_account: self.service_account.clone(),
            operation: "CREATE".to_owned(),
        }
    }

    /// Returns group and version in the form of `apiVersion`: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}
