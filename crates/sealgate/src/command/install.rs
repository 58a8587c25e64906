//! `install`: prints or applies the objects that the admission webhook needs in a cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sealgate_kube::apply;
use sealgate_kube::cluster::Connect;
use sealgate_kube::install::{
    self, Certificates, ClientOptions, DEFAULT_NAMESPACE, DeploymentOptions, Gate, InstallOptions,
    PullSecretRights, RegistryOptions,
};
use sealgate_kube::migrate::{self, Found};
use sealgate_registry::{Client, Options, TlsRoots};
use serde_json::{Value, json};

use crate::cli::values::{BOOL, go_bool};
use crate::cli::{cluster, files};
use crate::clock::SystemClock;
use crate::failure::{CliError, Outcome};
use crate::serve::clients::{client_name, read_ca};
use crate::serve::registry::insecure_host;
use crate::session::Session;
use crate::terminal;

/// Install the gate (admission webhook) in a cluster, or print its manifests
///
/// To install with kubectl, use `sealgate install --dry-run -o yaml | kubectl apply -f -`. The gate
/// checks workloads in namespaces with the label policy.sigstore.dev/include=true. To upgrade,
/// install again with the same flags. If policy-controller is installed, --replace migrates from
/// it.
#[derive(Args, Debug)]
pub(crate) struct InstallArgs {
    /// Print the objects without changing anything
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    dry_run: Option<bool>,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "yaml")]
    output: Format,

    /// Replace policy-controller; one webhook enforces policies at every moment. With --dry-run,
    /// print the steps
    #[arg(long, value_name = BOOL, value_parser = go_bool, conflicts_with_all = ["gate_url", "certificate_secret"])]
    replace: Option<bool>,

    #[command(flatten)]
    cluster: ClusterFlags,

    /// Container image of the gate, in a registry that the cluster can pull from [default:
    /// sealgate:VERSION, which must be present on the nodes]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,

    /// Number of replicas [default: the current number if installed, else 2; 2 with --dry-run]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    replicas: Option<u32>,

    /// Image pull secret for the gate's own image, in the gate's namespace
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    image_pull_secret: Vec<String>,

    /// Existing PriorityClass for the gate's pods
    #[arg(long, value_name = "NAME")]
    priority_class: Option<String>,

    /// CA certificates (PEM): only clients with a certificate that one of them issued may call the
    /// gate's webhooks. The API server must be configured to present one
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,

    /// Common name or DNS name that the client certificate must have, for instance the API server's
    /// [default: any certificate of --client-ca]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', requires = "client_ca",
          value_parser = client_name)]
    client_name: Vec<String>,

    /// CA certificates (PEM) that the gate trusts for registries, in addition to those of the
    /// system
    #[arg(long, value_name = "FILE")]
    registry_ca_bundle: Option<PathBuf>,

    /// Registries that the gate may contact over plain HTTP, in addition to the entry
    /// insecure-registries of the ConfigMap config-policy-controller, which takes effect without a
    /// restart
    #[arg(long, value_name = "HOST[:PORT],...", value_delimiter = ',', value_parser = insecure_host)]
    insecure_registry: Vec<String>,

    /// Address of a gate that runs elsewhere; installs only CRDs, RBAC and webhooks
    #[arg(long, value_name = "https://HOST:PORT", conflicts_with_all = ["image", "certificate_secret", "replicas", "image_pull_secret", "priority_class", "client_ca", "registry_ca_bundle", "insecure_registry"])]
    gate_url: Option<String>,

    /// CA certificates (PEM) that the API server trusts for the gate
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,

    /// Secret of type kubernetes.io/tls with the gate's certificate, instead of one that the gate
    /// generates
    #[arg(long, value_name = "NAME")]
    certificate_secret: Option<String>,

    /// cert-manager Certificate whose CA is injected into the webhook configurations
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "certificate_secret")]
    inject_ca_from: Option<String>,

    /// Timeout of the webhooks, after which the API server stops waiting for the gate
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u8).range(1..=30))]
    webhook_timeout: u8,

    /// Namespaces whose pull secrets the gate may read: all, none, or a list
    #[arg(long, value_name = "all|none|NAMESPACES", default_value = "all", value_delimiter = ',')]
    pull_secrets: Vec<String>,
}

/// The cluster, and the namespace in it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterFlags {
    /// The gate's namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = DEFAULT_NAMESPACE)]
    pub(crate) namespace: String,

    /// Kubeconfig file
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Context in the kubeconfig file
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

/// The default image, which is not published and must be on the nodes.
const IMAGE: &str = concat!("sealgate:", env!("CARGO_PKG_VERSION"));

pub(crate) async fn run(args: InstallArgs, session: &mut Session) -> Outcome {
    if args.image.is_none() && args.gate_url.is_none() {
        terminal::warn(format!(
            "the gate's pods will ask for the image {IMAGE}, which no public registry has; name \
             one that your cluster can pull with --image"
        ));
    }
    let mut options = args.options()?;
    let (dry_run, replace) = (args.dry_run == Some(true), args.replace == Some(true));
    if dry_run && !replace {
        return session.print(printed(&install::documents(&options), args.output)?);
    }
    let client = args.cluster.client().await?;
    let found = migrate::find(&client, &options.namespace).await?;
    if !found.is_empty() && !replace {
        return Err(in_the_way(&found));
    }
    if replace && (dry_run || !found.is_empty()) {
        return take_over(&client, &options, &found, dry_run, session.cluster_timeout()).await;
    }
    if let (Gate::Deployment(gate), None) = (&mut options.gate, args.replicas) {
        let installed = apply::replicas(&client, &options.namespace).await?;
        gate.replicas = installed.unwrap_or(gate.replicas);
    }
    migrate::keep_definitions(&client).await?;
    for document in &install::documents(&options) {
        let applied = apply::apply(&client, document).await?;
        terminal::say(format!("applied {applied}"));
    }
    for deleted in apply::delete_retired(&client, &options).await? {
        terminal::say(format!("deleted {deleted}"));
    }
    if replace {
        // Left by migrations of earlier versions.
        for object in migrate::remove_finalizers(&client).await? {
            terminal::warn(format!("the finalizer of policy-controller stays: {object}"));
        }
    }
    Ok(())
}

/// Refuses to install over policy-controller: some object names are the same, and applying would
/// fail half-way.
fn in_the_way(found: &Found) -> CliError {
    let error = match found.is_unfinished() {
        true => CliError::new("a migration from or to policy-controller is not finished"),
        false => CliError::new("policy-controller is installed here"),
    };
    let error = found.describe().into_iter().fold(error, CliError::note);
    error.note("sealgate install --replace takes its place (with --dry-run it says how)")
}

async fn take_over(
    client: &sealgate_kube::Client,
    options: &InstallOptions,
    found: &Found,
    dry_run: bool,
    patience: Duration,
) -> Outcome {
    for what in found.describe() {
        terminal::say(format!("found {what}"));
    }
    let selected = migrate::selected(client, options).await?;
    selected.notes().iter().for_each(terminal::warn);
    let problems = migrate::undecidable(client, &options.namespace, Arc::new(SystemClock)).await?;
    let other_roots = migrate::policies_using_its_root(client, &options.namespace).await?;
    if dry_run {
        let commands = selected.commands();
        commands
            .iter()
            .for_each(|it| terminal::warn(format!("namespace without the gate's label: {it}")));
        other_roots.iter().for_each(|it| terminal::warn(format!("another trust root: {it}")));
        problems
            .iter()
            .for_each(|problem| terminal::warn(format!("cannot be evaluated: {problem}")));
        let steps = migrate::STEPS.iter().enumerate();
        steps.for_each(|(number, step)| terminal::say(format!("{}. {step}", number + 1)));
        return Ok(());
    }
    refuse(
        "namespaces that policy-controller checks and the gate would not, because they do not have \
         the label that the gate's webhooks select",
        selected.commands(),
    )?;
    refuse("policies that use policy-controller's own trust root", other_roots)?;
    refuse(
        "enforcing policies that the gate cannot evaluate: it would refuse their images",
        problems,
    )?;
    migrate::take_over(client, options, patience, &mut |step| terminal::say(step)).await?;
    Ok(())
}

/// Refuses before anything is changed.
fn refuse(why: &str, reasons: Vec<String>) -> Outcome {
    if reasons.is_empty() {
        return Ok(());
    }
    let error = CliError::new(why);
    Err(reasons.into_iter().fold(error, CliError::note).note("nothing was changed"))
}

fn printed(documents: &[Value], format: Format) -> Result<String, CliError> {
    match format {
        Format::Yaml => install::to_yaml(documents)
            .map_err(|error| CliError::new(format!("writing YAML: {error}"))),
        Format::Json => {
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": documents });
            Ok(format!("{list:#}\n"))
        }
    }
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
                None => Gate::Deployment(self.deployment()?),
            },
            ca_bundle,
            timeout_seconds: self.webhook_timeout,
            pull_secrets: self.rights(),
        })
    }

    fn deployment(&self) -> Result<DeploymentOptions, CliError> {
        let default = DeploymentOptions::default();
        Ok(DeploymentOptions {
            image: self.image.clone().unwrap_or_else(|| IMAGE.to_owned()),
            replicas: self.replicas.unwrap_or(default.replicas),
            certificates: match &self.certificate_secret {
                None => Certificates::Own,
                Some(name) => Certificates::Secret {
                    name: name.clone(),
                    inject_ca_from: self.inject_ca_from.clone(),
                },
            },
            clients: self.clients()?,
            registries: RegistryOptions {
                ca_bundle: self.registry_ca_bundle.as_deref().map(read_bundle).transpose()?,
                insecure: self.insecure_registry.clone(),
            },
            image_pull_secrets: self.image_pull_secret.clone(),
            priority_class: self.priority_class.clone(),
        })
    }

    fn clients(&self) -> Result<Option<ClientOptions>, CliError> {
        let Some(path) = &self.client_ca else { return Ok(None) };
        let (ca, _) = read_ca(path, &self.client_name)?;
        let not_text = |_| CliError::new(format!("--client-ca: {}: no text", path.display()));
        let ca = String::from_utf8(ca).map_err(not_text)?;
        Ok(Some(ClientOptions { ca, names: self.client_name.clone() }))
    }

    fn rights(&self) -> PullSecretRights {
        match self.pull_secrets.as_slice() {
            [one] if one == "all" => PullSecretRights::Cluster,
            [one] if one == "none" => PullSecretRights::Nowhere,
            names => PullSecretRights::Namespaces(names.to_vec()),
        }
    }
}

/// The largest bundle: a ConfigMap holds 1 MiB.
const MAX_BUNDLE: u64 = 512 << 10;

/// The CA bundle, which must be readable, or the webhook would not start.
fn read_bundle(path: &Path) -> Result<String, CliError> {
    let bytes = files::read(path, MAX_BUNDLE)?;
    Client::new(Options { tls_roots: TlsRoots::SystemAnd(bytes.clone()), ..Options::default() })
        .map_err(|fault| {
            let (path, why) = (path.display(), fault.detail);
            CliError::new(format!("--registry-ca-bundle: {path}: {why}"))
        })?;
    let not_text = |_| CliError::new(format!("--registry-ca-bundle: {}: no text", path.display()));
    String::from_utf8(bytes).map_err(not_text)
}
