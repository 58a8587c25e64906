//! `sealgate serve`: constructs the gate from flags and runs it.
//!
//! There are two sources of policies (a folder, a cluster) and three of the serving certificate
//! (self-signed for this process, files, the cluster's Secret).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sealgate_engine::cache::CacheSettings;
use sealgate_engine::gate::{Gate as GateUseCase, GatePorts, GateSettings};
use sealgate_engine::ports::{AuditSink, SecretSource};
use sealgate_engine::roots::Roots;
use sealgate_kube::cluster::ClusterWorkloads;
use sealgate_kube::install::{DEFAULT_NAMESPACE, WORKLOAD_WEBHOOK};
use sealgate_policy::assemble::PolicyState;
use sealgate_policy::select::NoMatch;
use sealgate_server::decisions::Decisions;
use sealgate_server::listener::certificate::CertificateSlot;
use sealgate_server::listener::client_certificates::ClientCertificates;
use sealgate_server::listener::limits::Limits;
use sealgate_server::metered::Metered;
use sealgate_server::metrics::Metrics;
use sealgate_server::records::RecordFolder;
use sealgate_server::server::{Running, ServerOptions, start};
use sealgate_server::webhook::handler::WebhookHandler;
use sealgate_server::webhook::policy_objects::PolicyReviews;
use tokio::sync::watch;

use crate::cli::registry::{RegistryFlags, of_one_host};
use crate::cli::values::go_duration;
use crate::clock::SystemClock;
use crate::failure::{CliError, Outcome};
use crate::terminal;

mod allocator;
mod budget;
mod certificate;
pub(crate) mod clients;
mod descriptors;
mod log;
pub(crate) mod registry;
pub(crate) mod roots;
mod source;
mod threads;

/// Run the gate: an admission webhook that enforces ClusterImagePolicies
///
/// With --policies, the gate needs no cluster. Without it, the gate reads ClusterImagePolicies from
/// the cluster of --kubeconfig, or from the cluster that it runs in.
#[derive(Args, Clone, Debug)]
#[command(mut_args(of_one_host))]
pub(crate) struct ServeArgs {
    /// Folder with policies in YAML files, reloaded when they change
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context", "in_cluster"])]
    policies: Option<PathBuf>,

    /// Address and port for HTTPS [default: 127.0.0.1:8443 with --policies, else 0.0.0.0:8443]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// Port for HTTPS on all addresses (the flag of policy-controller)
    #[arg(long, value_name = "PORT", conflicts_with = "listen")]
    secure_port: Option<u16>,

    /// Address for /metrics over plain HTTP, instead of the HTTPS port
    #[arg(long, value_name = "ADDR:PORT")]
    metrics_listen: Option<SocketAddr>,

    #[command(flatten)]
    certificate: certificate::CertificateFlags,

    #[command(flatten)]
    clients: clients::ClientFlags,

    #[command(flatten)]
    cluster: source::ClusterFlags,

    /// Namespace of the gate, which contains its settings, its certificate and the Secrets of
    /// secretRefs
    #[arg(long, value_name = "NAMESPACE", env = "SYSTEM_NAMESPACE", default_value = DEFAULT_NAMESPACE)]
    namespace: String,

    /// Name of the webhook configurations whose caBundle the gate updates
    #[arg(long, value_name = "NAME", default_value = WORKLOAD_WEBHOOK)]
    webhook_name: String,

    /// Maximum timeout of a request, and the timeout of a request that does not state one
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = go_duration)]
    webhook_timeout: Duration,

    /// Action for images that no policy applies to; overrides config-policy-controller
    #[arg(long, value_name = "ACTION", value_enum)]
    no_match_policy: Option<NoMatchValue>,

    /// Trust root for policies without a trustRootRef [default: the one from `sealgate initialize`,
    /// else the embedded public-good root]
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,

    /// Maximum number of cached verification results
    #[arg(long, value_name = "N", default_value = "20000")]
    cache_entries: u64,

    /// Lifetime of a cached verified signature (0 disables the cache)
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = go_duration)]
    cache_ttl: Duration,

    /// Lifetime of the facts that led to a denial. With 0s, an image that was denied can be signed and retried at
    /// once. Identical requests that are in flight at the same time are always evaluated once
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = go_duration)]
    refusal_ttl: Duration,

    #[command(flatten)]
    records: RecordFlags,

    /// Format of log lines on standard error
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    log_format: log::Format,

    /// Time for which requests are served on shutdown while /readyz fails, before the port is
    /// closed [default: 0s with --policies, else 5s]
    #[arg(long, value_name = "DURATION", value_parser = go_duration)]
    lame_duck: Option<Duration>,

    /// Time after --lame-duck in which requests in progress can finish
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = go_duration)]
    grace_period: Duration,

    #[command(flatten)]
    budget: budget::BudgetFlags,

    #[command(flatten)]
    registry: RegistryFlags,

    #[command(flatten)]
    insecure: registry::InsecureFlags,
}

/// Decision records.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Decision records")]
struct RecordFlags {
    /// Write a record of each admission whose images were evaluated to this folder, for `sealgate
    /// replay`
    #[arg(long, value_name = "DIR")]
    record_dir: Option<PathBuf>,

    /// Maximum total size of the records, in MiB; the oldest are deleted first
    #[arg(long, value_name = "MIB", default_value = "256", requires = "record_dir",
          value_parser = clap::value_parser!(u32).range(1..))]
    record_limit: u32,
}

impl RecordFlags {
    /// The sink that writes the records, if they were requested.
    fn open(
        &self,
        policies: Option<&Path>,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<RecordFolder>, CliError> {
        let Some(path) = &self.record_dir else { return Ok(None) };
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if policies.is_some_and(|policies| real(policies) == real(path)) {
            return Err(CliError::new("--record-dir must not be the folder of --policies"));
        }
        let limit = u64::from(self.record_limit) << 20;
        let folder = RecordFolder::open(path, limit, Arc::clone(metrics));
        folder
            .map(Some)
            .map_err(|error| CliError::new(format!("--record-dir: {}: {error}", path.display())))
    }
}

/// `--no-match-policy`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum NoMatchValue {
    Deny,
    Warn,
    Allow,
}

/// A running gate.
pub(crate) struct Gate {
    running: Running,
    policies: watch::Receiver<PolicyState>,
}

/// The policies, trust roots and Secrets from the policy source.
struct Sources {
    policies: watch::Receiver<PolicyState>,
    roots: Arc<Roots>,
    secrets: Arc<dyn SecretSource>,
    client: Option<sealgate_kube::Client>,
}

/// Serves until SIGTERM or SIGINT. Blocks: the gate has its own runtime, with one thread per core,
/// and no time limit. `verbose`: debug messages are logged too.
pub(crate) fn run(args: ServeArgs, verbose: bool) -> Outcome {
    allocator::configure();
    let _log = log::start(args.log_format, if verbose { log::VERBOSE } else { log::DEFAULT });
    descriptors::raise_limit();
    let runtime = threads::runtime()?;
    let outcome = runtime.block_on(serve(args));
    runtime.shutdown_background();
    outcome
}

async fn serve(args: ServeArgs) -> Outcome {
    let signals = Signals::listen()?;
    let gate = open(args).await?;
    terminal::say(format!("Listening on https://{}", gate.address()));
    if let Some(address) = gate.running.metrics_address() {
        terminal::say(format!("Metrics on http://{address}/metrics"));
    }
    signals.wait().await;
    gate.stop().await;
    Ok(())
}

/// Opens the gate: registry client, policy source, certificate, port.
pub(crate) async fn open(args: ServeArgs) -> Result<Gate, CliError> {
    let metrics = Arc::new(Metrics::new());
    let (registries, insecure) = args.insecure.client(&args.registry, listen(&args).ip())?;
    let registries = Arc::new(registries);
    let sources = source::open(&args, &metrics).await?;
    args.insecure.follow(sources.policies.clone(), insecure);
    let decisions = Arc::new(Decisions::new(Arc::clone(&metrics)));
    let mut audit: Vec<Arc<dyn AuditSink>> = vec![Arc::clone(&decisions) as _];
    if let Some(records) = args.records.open(args.policies.as_deref(), &metrics)? {
        audit.push(Arc::new(records));
    }
    let slot = CertificateSlot::empty();
    let options = options(&args, Arc::clone(&slot), args.clients.open()?);
    let ports = GatePorts {
        registries: Arc::new(Metered::new(registries, Arc::clone(&metrics))),
        secrets: Arc::clone(&sources.secrets),
        clock: Arc::new(SystemClock),
        audit: Arc::new(audit),
    };
    let gate = GateUseCase::new(ports, settings(&args));
    let workloads = sources.client.clone().map(|client| Arc::new(ClusterWorkloads(client)) as _);
    certificate::open(&args, sources.client, options.listen, &slot, &metrics).await?;
    let handler = WebhookHandler {
        gate: Arc::new(gate),
        policies: sources.policies.clone(),
        workloads,
        roots: sources.roots,
        system_namespace: args.namespace,
        certificate: slot,
        policy_reviews: PolicyReviews::default(),
        decisions,
        metrics,
    };
    let running = start(Arc::new(handler), &options).map_err(|e| CliError::new(e.to_string()))?;
    Ok(Gate { running, policies: sources.policies })
}

fn options(
    args: &ServeArgs,
    certificate: Arc<CertificateSlot>,
    clients: Option<Arc<ClientCertificates>>,
) -> ServerOptions {
    let lame_duck = if args.policies.is_some() { Duration::ZERO } else { Duration::from_secs(5) };
    let limits = Limits {
        webhook_timeout: args.webhook_timeout,
        lame_duck: args.lame_duck.unwrap_or(lame_duck),
        grace: args.grace_period,
        ..Limits::default()
    };
    let (listen, metrics_listen) = (listen(args), args.metrics_listen);
    ServerOptions { listen, metrics_listen, certificate, clients, limits }
}

fn listen(args: &ServeArgs) -> SocketAddr {
    let all_addresses = |port| SocketAddr::from(([0, 0, 0, 0], port));
    match (args.listen, args.secure_port, &args.policies) {
        (Some(address), _, _) => address,
        (None, Some(port), _) => all_addresses(port),
        (None, None, Some(_)) => SocketAddr::from(([127, 0, 0, 1], 8443)),
        (None, None, None) => all_addresses(8443),
    }
}

fn settings(args: &ServeArgs) -> GateSettings {
    let ServeArgs { cache_ttl, refusal_ttl, cache_entries, .. } = *args;
    let cache = CacheSettings { pass: cache_ttl, refusal: refusal_ttl, entries: cache_entries };
    GateSettings { cache, budget: args.budget.limits(), ..GateSettings::default() }
}

impl Gate {
    /// The address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Waits until policies are loaded; after `limit`, returns the reason why they are not.
    pub(crate) async fn when_ready(&self, limit: Duration) -> Result<(), String> {
        let mut policies = self.policies.clone();
        let ready = policies.wait_for(|state| state.set.is_some());
        if matches!(tokio::time::timeout(limit, ready).await, Ok(Ok(_))) {
            return Ok(());
        }
        Err(self.policies.borrow().problems.join("; "))
    }

    /// Shuts down gracefully.
    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }
}

impl From<NoMatchValue> for NoMatch {
    fn from(word: NoMatchValue) -> Self {
        match word {
            NoMatchValue::Deny => Self::Deny,
            NoMatchValue::Warn => Self::Warn,
            NoMatchValue::Allow => Self::Allow,
        }
    }
}

/// The signals that shut down the gate gracefully. A second one terminates it at once.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(mut self) {
        self.next().await;
        terminal::say(
            "Shutting down: waiting for requests in progress (repeat the signal to stop immediately)",
        );
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(130);
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use sealgate_kube::install::{
        Certificates, ClientOptions, DeploymentOptions, Gate, InstallOptions, PullSecretRights,
        RegistryOptions, documents,
    };

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn parse(words: &[&str]) -> Result<ServeArgs, clap::Error> {
        let words = std::iter::once("serve").chain(words.iter().copied());
        Line::try_parse_from(words).map(|line| line.args)
    }

    /// The arguments in the Deployment that `sealgate install` writes.
    fn installed(certificates: Certificates, pull_secrets: PullSecretRights) -> Vec<String> {
        let registries = RegistryOptions {
            ca_bundle: Some("PEM".to_owned()),
            insecure: vec!["a.corp:5000".to_owned(), "b.corp".to_owned()],
        };
        let clients =
            ClientOptions { ca: "PEM".to_owned(), names: vec!["a".to_owned(), "b".to_owned()] };
        let gate = DeploymentOptions {
            certificates,
            clients: Some(clients),
            registries,
            ..DeploymentOptions::default()
        };
        let options = InstallOptions {
            namespace: DEFAULT_NAMESPACE.to_owned(),
            gate: Gate::Deployment(gate),
            ca_bundle: None,
            timeout_seconds: 15,
            pull_secrets,
        };
        let documents = documents(&options);
        let deployment = documents.iter().find(|document| document["kind"] == "Deployment");
        let container = &deployment.unwrap()["spec"]["template"]["spec"]["containers"][0];
        let words = container["args"].as_array().unwrap().iter();
        words.map(|word| word.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn accepts_the_arguments_that_install_writes() {
        let secret = Certificates::Secret { name: "tls".to_owned(), inject_ca_from: None };
        let some = PullSecretRights::Namespaces(vec!["a".to_owned(), "b".to_owned()]);
        for (certificates, rights) in [
            (Certificates::Own, PullSecretRights::Cluster),
            (Certificates::Own, PullSecretRights::Nowhere),
            (secret, some),
        ] {
            let words = installed(certificates, rights);
            assert_eq!(words[0], "serve");
            let args = parse(&words[1..].iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
            assert_eq!(args.webhook_timeout, Duration::from_secs(15));
            assert_eq!(listen(&args), "0.0.0.0:8443".parse().unwrap());
            assert!(format!("{:?}", args.insecure).contains("[\"a.corp:5000\", \"b.corp\"]"));
            assert!(format!("{:?}", args.clients).contains("[\"a\", \"b\"]"));
            assert_eq!(
                options(&args, CertificateSlot::empty(), None).limits.lame_duck.as_secs(),
                5
            );
        }
    }

    #[test]
    fn a_network_of_a_registry_is_a_cidr() {
        assert!(parse(&["--registry-allow-network", "127.0.0.0/8, fe80::/64"]).is_ok());
        assert!(parse(&["--registry-allow-network", "127.0.0.1"]).is_err());
    }

    #[test]
    fn with_a_policy_folder_the_default_address_is_loopback() {
        let args = parse(&["--policies", "p", "--self-signed"]).unwrap();
        assert_eq!(listen(&args), "127.0.0.1:8443".parse().unwrap());
        let args = parse(&["--policies", "p", "--secure-port", "9443"]).unwrap();
        assert_eq!(listen(&args), "0.0.0.0:9443".parse().unwrap());
        assert!(parse(&["--policies", "p", "--kubeconfig", "k"]).is_err());
        assert!(parse(&["--tls-cert", "c"]).is_err());
        assert!(parse(&["--self-signed", "--tls-cert", "c", "--tls-key", "k"]).is_err());
    }
}
