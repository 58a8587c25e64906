//! Connection to the cluster of `k8s://` keys and `install`: `$KUBECONFIG`, `~/.kube/config`, or
//! the pod's own service account.

use std::sync::Arc;

use sealgate_engine::ports::SecretSource;
use sealgate_kube::cluster::{ClusterSecrets, Connect, connect};
use sealgate_kube::install::PullSecretRights;

use crate::clock::SystemClock;
use crate::failure::CliError;

/// Opens the Secrets of the cluster.
pub(crate) async fn secrets() -> Result<Box<dyn SecretSource>, CliError> {
    let client = client(&Connect::default()).await?;
    let clock = Arc::new(SystemClock);
    Ok(Box::new(ClusterSecrets::new(client, PullSecretRights::Nowhere, clock)))
}

/// Opens a client for the cluster's API server.
pub(crate) async fn client(options: &Connect) -> Result<sealgate_kube::Client, CliError> {
    // An error means that a provider is already installed, which is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(connect(options).await?)
}
