//! Serving certificate of the gate, and its renewal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sealgate_core::fault::Fault;
use sealgate_engine::ports::Clock;
use sealgate_kube::certificates::{
    CertificateRotator, LEAF_LIFETIME, LEAF_RENEWAL, SelfSigned, WebhookConfiguration,
    own_webhooks, self_signed, watch_files,
};
use sealgate_kube::install::WORKLOAD_WEBHOOK;
use sealgate_server::cluster::{certificate, follow_certificate};
use sealgate_server::listener::certificate::CertificateSlot;
use sealgate_server::metrics::Metrics;
use tracing::{error, warn};

use super::ServeArgs;
use crate::clock::SystemClock;
use crate::failure::CliError;

/// The interval at which certificate files are checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The wait after a failed renewal.
const RETRY_DELAY: Duration = Duration::from_secs(3600);

/// The certificate flags. Without any, a gate in a cluster keeps its own certificate in a Secret.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Certificate options")]
pub(super) struct CertificateFlags {
    /// Generate a CA and a certificate for this process
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    self_signed: bool,

    /// Additional name or address in a certificate that the gate generates; must be the same for
    /// all replicas
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tls_cert", "tls_key"])]
    tls_name: Vec<String>,

    /// Write the CA certificate of --self-signed to this file (PEM)
    #[arg(long, value_name = "FILE", requires = "self_signed")]
    write_ca: Option<PathBuf>,

    /// Certificate chain (PEM), reloaded when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// Fills `slot`, now or (from a cluster) as soon as a certificate exists, and keeps it current.
pub(super) async fn open(
    args: &ServeArgs,
    client: Option<sealgate_kube::Client>,
    listen: SocketAddr,
    slot: &Arc<CertificateSlot>,
    metrics: &Arc<Metrics>,
) -> Result<(), CliError> {
    let flags = &args.certificate;
    match (&flags.tls_cert, &flags.tls_key, client) {
        (Some(chain), Some(key), _) => {
            let feed = watch_files(chain.clone(), key.clone(), CHECK_INTERVAL).await?;
            let first = feed.borrow().clone();
            let unusable = |error: &dyn std::fmt::Display| {
                let (chain, key) = (chain.display(), key.display());
                CliError::new(format!("--tls-cert {chain}, --tls-key {key}: {error}"))
            };
            slot.set(certificate(&first).map_err(|error| unusable(&error))?);
            follow_certificate(
                feed,
                |now| Some(Arc::clone(now)),
                Arc::clone(slot),
                Arc::clone(metrics),
            );
        }
        _ if flags.self_signed => {
            let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
            let names = with_own_names(local, flags, listen);
            let own = SelfSignedCertificate { names, write_ca: flags.write_ca.clone() };
            own.renew(slot)?;
            let slot = Arc::clone(slot);
            tokio::spawn(async move { own.renew_forever(&slot).await });
        }
        (_, _, Some(client)) => {
            let mut rotator =
                CertificateRotator::new(client, &args.namespace, Arc::new(SystemClock));
            rotator.webhooks = webhooks(&args.webhook_name);
            // Clients inside the cluster use the Service's names; a gate outside it is called by
            // address.
            rotator.names = with_own_names(rotator.names, flags, listen);
            follow_certificate(
                rotator.start(),
                Clone::clone,
                Arc::clone(slot),
                Arc::clone(metrics),
            );
        }
        (_, _, None) => {
            return Err(CliError::new("the gate needs a certificate")
                .note("use --self-signed, or --tls-cert FILE and --tls-key FILE"));
        }
    }
    Ok(())
}

/// The webhook configurations whose caBundle is updated, that for workloads under the given name.
fn webhooks(name: &str) -> Vec<WebhookConfiguration> {
    let renamed = |old: String| if old == WORKLOAD_WEBHOOK { name.to_owned() } else { old };
    let rename = |webhook| match webhook {
        WebhookConfiguration::Validating(old) => WebhookConfiguration::Validating(renamed(old)),
        WebhookConfiguration::Mutating(old) => WebhookConfiguration::Mutating(renamed(old)),
    };
    own_webhooks().into_iter().map(rename).collect()
}

/// Adds to `names` the address that is listened on, unless unspecified, and every `--tls-name`.
fn with_own_names(
    mut names: Vec<String>,
    flags: &CertificateFlags,
    listen: SocketAddr,
) -> Vec<String> {
    let listen = (!listen.ip().is_unspecified()).then(|| listen.ip().to_string());
    for name in listen.into_iter().chain(flags.tls_name.iter().cloned()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A self-signed CA of this process and its certificate.
struct SelfSignedCertificate {
    names: Vec<String>,
    write_ca: Option<PathBuf>,
}

impl SelfSignedCertificate {
    /// Generates both, writes the CA certificate, and puts the serving certificate into `slot`.
    fn renew(&self, slot: &CertificateSlot) -> Result<(), CliError> {
        let SelfSigned { serving, ca } = self_signed(&self.names, SystemClock.now())
            .map_err(|fault: Fault| CliError::from(fault))?;
        let new = certificate(&serving).map_err(|error| CliError::new(error.to_string()))?;
        if let Some(path) = &self.write_ca {
            std::fs::write(path, ca)
                .map_err(|e| CliError::new(format!("--write-ca: {}: {e}", path.display())))?;
        }
        slot.set(new);
        Ok(())
    }

    async fn renew_forever(&self, slot: &CertificateSlot) {
        let renewal_interval = (LEAF_LIFETIME - LEAF_RENEWAL).unsigned_abs();
        let mut wait = renewal_interval;
        loop {
            tokio::time::sleep(wait).await;
            wait = match self.renew(slot) {
                Ok(()) => {
                    warn!(
                        "renewed the self-signed CA and certificate: clients must be configured with the new CA"
                    );
                    renewal_interval
                }
                Err(error) => {
                    error!(error = error.message, "self-signed certificate could not be renewed");
                    RETRY_DELAY
                }
            };
        }
    }
}
