//! Client certificates that the gate requires of callers of its webhooks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sealgate_server::listener::client_certificates::ClientCertificates;
use tracing::{error, info, warn};

use crate::cli::files;
use crate::failure::CliError;

/// The interval at which the CA file is checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The maximum size of the CA file, in bytes: a ConfigMap holds 1 MiB.
const MAX_CA: u64 = 512 << 10;

/// The flags for client certificates.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Client certificate options")]
pub(super) struct ClientFlags {
    /// CA certificates (PEM), reloaded when they change: only clients with a certificate that one of
    /// them issued may call the webhooks
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,

    /// Common name or DNS name that the client certificate must have, for instance the API server's
    /// [default: any certificate of --client-ca]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', requires = "client_ca",
          value_parser = client_name)]
    client_name: Vec<String>,
}

/// Parses a name in a flag.
pub(crate) fn client_name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected the common name or a DNS name of a certificate".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// Reads CA certificates, which must be usable.
pub(crate) fn read_ca(
    path: &Path,
    names: &[String],
) -> Result<(Vec<u8>, ClientCertificates), CliError> {
    let ca = files::read(path, MAX_CA)?;
    let accepted = ClientCertificates::new(&ca, names.to_vec())
        .map_err(|error| CliError::new(format!("--client-ca: {}: {error}", path.display())))?;
    Ok((ca, accepted))
}

impl ClientFlags {
    /// The accepted certificates, whose CA follows its file; `None` without `--client-ca`.
    pub(super) fn open(&self) -> Result<Option<Arc<ClientCertificates>>, CliError> {
        let Some(path) = &self.client_ca else { return Ok(None) };
        let (ca, accepted) = read_ca(path, &self.client_name)?;
        if self.client_name.is_empty() {
            warn!(
                "any client with a certificate of --client-ca may call the webhooks; with the CA of a \
                 cluster, these are all of its kubelets: use --client-name"
            );
        }
        let accepted = Arc::new(accepted);
        tokio::spawn(follow(path.clone(), ca, Arc::clone(&accepted)));
        Ok(Some(accepted))
    }
}

/// Replaces the CA when its file changes. A file that cannot be used changes nothing.
async fn follow(path: PathBuf, mut current: Vec<u8>, accepted: Arc<ClientCertificates>) {
    let mut refused = None;
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || files::read(&file, MAX_CA)).await;
        let ca = match read {
            Ok(Ok(ca)) => ca,
            Ok(Err(error)) => {
                warn!(error = error.message, "--client-ca: keeping the previous CA");
                continue;
            }
            Err(_) => continue,
        };
        if ca == current || refused.as_ref() == Some(&ca) {
            continue;
        }
        match accepted.set_ca(&ca) {
            Ok(()) => {
                info!("client CA replaced");
                current = ca;
            }
            Err(error) => {
                error!(%error, "--client-ca: the new CA cannot be used; keeping the previous one");
                refused = Some(ca);
            }
        }
    }
}
