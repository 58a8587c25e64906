//! `install`: everything that a cluster needs to have the gate, printed or applied.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sealgate_kube::apply;
use sealgate_kube::cluster::Connect;
use sealgate_kube::install::{
    self, Certificates, DEFAULT_NAMESPACE, DeploymentOptions, Gate, InstallOptions,
    PullSecretRights,
};

use crate::cli::values::{BOOL, go_bool};
use crate::cli::{cluster, files};
use crate::failure::{CliError, Outcome};
use crate::session::Session;
use crate::terminal;

/// Install the gate in a cluster, or print what would be installed
///
/// `sealgate install --dry-run -o yaml | kubectl apply -f -` installs by hand. The gate judges
/// pods in namespaces with the label policy.sigstore.dev/include=true.
#[derive(Args, Debug)]
pub(crate) struct InstallArgs {
    /// Print, and change nothing
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    dry_run: Option<bool>,

    /// How to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "yaml")]
    output: Format,

    #[command(flatten)]
    cluster: ClusterFlags,

    /// The container image of the gate, in a registry that the cluster can pull from; without it
    /// sealgate:VERSION, which must lie on the nodes
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,

    /// How many pods
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=100))]
    replicas: u32,

    /// The gate runs elsewhere, at this address: install CRDs, rights and webhooks only
    #[arg(long, value_name = "https://HOST:PORT", conflicts_with_all = ["image", "certificate_secret"])]
    gate_url: Option<String>,

    /// CA certificates (PEM) that the API server trusts for the gate
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,

    /// The gate serves with this kubernetes.io/tls secret instead of certificates of its own
    #[arg(long, value_name = "NAME")]
    certificate_secret: Option<String>,

    /// cert-manager's Certificate whose CA is injected into the webhooks
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "certificate_secret")]
    inject_ca_from: Option<String>,

    /// Seconds until the API server gives up waiting for the gate
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u8).range(1..=30))]
    webhook_timeout: u8,

    /// Whose pull secrets the gate may read: all, none, or these namespaces
    #[arg(long, value_name = "all|none|NAMESPACES", default_value = "all", value_delimiter = ',')]
    pull_secrets: Vec<String>,
}

/// Which cluster, and where in it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterFlags {
    /// The gate's namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = DEFAULT_NAMESPACE)]
    pub(crate) namespace: String,

    /// The kubeconfig file
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The context in it
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A YAML stream
    Yaml,
    /// A JSON list
    Json,
}

impl ClusterFlags {
    pub(crate) async fn client(&self) -> Result<sealgate_kube::Client, CliError> {
        let Self { kubeconfig, context, .. } = self.clone();
        cluster::client(&Connect { kubeconfig, context, in_cluster: false }).await
    }
}

/// The image that nodes must have where none is named. Nobody publishes it.
const IMAGE: &str = concat!("sealgate:", env!("CARGO_PKG_VERSION"));

pub(crate) async fn run(args: InstallArgs, session: &mut Session) -> Outcome {
    if args.image.is_none() && args.gate_url.is_none() {
        terminal::warn(format!(
            "the gate's pods will ask for the image {IMAGE}, which no public registry has; name \
             one that your cluster can pull with --image"
        ));
    }
    let documents = install::documents(&args.options()?);
    if args.dry_run == Some(true) {
        return session.print(match args.output {
            Format::Yaml => install::to_yaml(&documents)
                .map_err(|error| CliError::new(format!("writing YAML: {error}")))?,
            Format::Json => {
                let list =
                    serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": documents });
                format!("{list:#}\n")
            }
        });
    }
    let client = args.cluster.client().await?;
    for document in &documents {
        let applied = apply::apply(&client, document).await?;
        terminal::say(format!("applied {applied}"));
    }
    Ok(())
}

impl InstallArgs {
    fn options(&self) -> Result<InstallOptions, CliError> {
        let ca_bundle =
            self.ca_bundle.as_deref().map(|path| files::read(path, 1 << 20)).transpose()?;
        if self.gate_url.is_some() && ca_bundle.is_none() {
            return Err(CliError::new("--gate-url needs --ca-bundle")
                .note("the API server must know whose certificate to trust"));
        }
        Ok(InstallOptions {
            namespace: self.cluster.namespace.clone(),
            gate: match &self.gate_url {
                Some(url) => Gate::At(url.trim_end_matches('/').to_owned()),
                None => Gate::Deployment(self.deployment()),
            },
            ca_bundle,
            timeout_seconds: self.webhook_timeout,
            pull_secrets: self.rights(),
        })
    }

    fn deployment(&self) -> DeploymentOptions {
        DeploymentOptions {
            image: self.image.clone().unwrap_or_else(|| IMAGE.to_owned()),
            replicas: self.replicas,
            certificates: match &self.certificate_secret {
                None => Certificates::Own,
                Some(name) => Certificates::Secret {
                    name: name.clone(),
                    inject_ca_from: self.inject_ca_from.clone(),
                },
            },
        }
    }

    fn rights(&self) -> PullSecretRights {
        match self.pull_secrets.as_slice() {
            [one] if one == "all" => PullSecretRights::Cluster,
            [one] if one == "none" => PullSecretRights::Nowhere,
            names => PullSecretRights::Namespaces(names.to_vec()),
        }
    }
}
