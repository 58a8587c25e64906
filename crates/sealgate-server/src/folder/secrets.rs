//! The Secrets of a folder, for the keys of policies and the pull secrets of workloads.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use sealgate_core::fault::Fault;
use sealgate_engine::ports::{PullSecret, SecretSource};

/// Namespace and name.
pub(super) type SecretName = (String, String);
/// The decoded entries of a secret.
pub(super) type SecretData = BTreeMap<String, Vec<u8>>;

/// The Secrets in a folder now. Empty until the folder was read. Service accounts are not known
/// here, so they add no pull secrets.
#[derive(Default)]
pub struct FolderSecrets {
    current: ArcSwap<BTreeMap<SecretName, SecretData>>,
}

impl FolderSecrets {
    pub(super) fn set(&self, secrets: BTreeMap<SecretName, SecretData>) {
        self.current.store(Arc::new(secrets));
    }

    fn get(&self, namespace: &str, name: &str) -> Option<SecretData> {
        self.current.load().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }
}

#[async_trait]
impl SecretSource for FolderSecrets {
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<SecretData>, Fault> {
        Ok(self.get(namespace, name))
    }

    async fn pull_secrets(
        &self,
        namespace: &str,
        _service_account: &str,
        names: &[String],
    ) -> Result<Vec<PullSecret>, Fault> {
        let config = |mut data: SecretData| {
            data.remove(".dockerconfigjson").or_else(|| data.remove(".dockercfg"))
        };
        let found = names.iter().filter_map(|name| self.get(namespace, name).and_then(config));
        Ok(found.map(|docker_config_json| PullSecret { docker_config_json }).collect())
    }
}
