//! Sources of policies and Secrets: a folder, or a cluster.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use sealgate_engine::roots::Roots;
use sealgate_kube::cluster::{ClusterSecrets, Connect};
use sealgate_kube::install::PullSecretRights;
use sealgate_kube::watch::PolicyWatch;
use sealgate_policy::select::NoMatch;
use sealgate_server::cluster::follow_policies;
use sealgate_server::folder::{FolderOptions, follow};
use sealgate_server::metrics::Metrics;

use super::{ServeArgs, Sources, roots};
use crate::cli::cluster;
use crate::clock::SystemClock;
use crate::failure::CliError;

/// The cluster, and the Secrets that may be read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster options")]
pub(super) struct ClusterFlags {
    /// Kubeconfig of the cluster to read policies from [default: $KUBECONFIG, ~/.kube/config, or
    /// the service account of the pod]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context in the kubeconfig file
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// Use only the service account of the pod that the gate runs in
    #[arg(long, conflicts_with_all = ["kubeconfig", "context"])]
    in_cluster: bool,

    /// Namespaces whose pull secrets the gate may read: all, none, or a list
    #[arg(long, value_name = "all|none|NAMESPACES", default_value = "all", value_parser = rights)]
    pull_secrets: PullSecretRights,
}

/// Starts watching the source that the flags name.
pub(super) async fn open(args: &ServeArgs, metrics: &Arc<Metrics>) -> Result<Sources, CliError> {
    let no_match = args.no_match_policy.map(NoMatch::from);
    let roots = roots::open(args.trusted_root.as_deref()).await?;
    match &args.policies {
        Some(path) => {
            if !path.is_dir() {
                return Err(CliError::new(format!(
                    "--policies: {} is not a directory",
                    path.display()
                )));
            }
            let namespace = args.namespace.clone();
            let options =
                FolderOptions { system_namespace: namespace, no_match, ..FolderOptions::new(path) };
            let (policies, secrets) = follow(options, Arc::clone(&roots), Arc::clone(metrics));
            Ok(Sources { policies, roots, secrets, client: None })
        }
        None => of_cluster(args, no_match, roots, metrics).await,
    }
}

async fn of_cluster(
    args: &ServeArgs,
    no_match: Option<NoMatch>,
    roots: Arc<Roots>,
    metrics: &Arc<Metrics>,
) -> Result<Sources, CliError> {
    let ClusterFlags { kubeconfig, context, in_cluster, pull_secrets } = args.cluster.clone();
    let connect = Connect { kubeconfig, context, in_cluster };
    let client = cluster::client(&connect)
        .await
        .map_err(|error| error.note("to run the gate without a cluster, use --policies DIR"))?;
    let watch = PolicyWatch {
        client: client.clone(),
        namespace: args.namespace.clone(),
        instance: instance(),
        clock: Arc::new(SystemClock),
        roots: Arc::clone(&roots),
        no_match,
    };
    let secrets = ClusterSecrets::new(client.clone(), pull_secrets, Arc::new(SystemClock));
    Ok(Sources {
        policies: follow_policies(watch.start(), Arc::clone(metrics)),
        roots,
        secrets: Arc::new(secrets),
        client: Some(client),
    })
}

/// Returns the pod's name, for events.
fn instance() -> String {
    let name = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    name.ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "sealgate".to_owned())
}

fn rights(text: &str) -> Result<PullSecretRights, String> {
    match text {
        // `cluster` is the word of earlier versions, as in Deployments that they installed.
        "all" | "cluster" => Ok(PullSecretRights::Cluster),
        "none" => Ok(PullSecretRights::Nowhere),
        "" => Err("expected all, none, or a list of namespaces".to_owned()),
        names => Ok(PullSecretRights::Namespaces(
            names
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_pull_secret_rights() {
        assert_eq!(rights("all"), Ok(PullSecretRights::Cluster));
        assert_eq!(rights("cluster"), Ok(PullSecretRights::Cluster));
        assert_eq!(rights("none"), Ok(PullSecretRights::Nowhere));
        let names = PullSecretRights::Namespaces(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(rights("a, b"), Ok(names));
        assert!(rights("").is_err());
    }
}
