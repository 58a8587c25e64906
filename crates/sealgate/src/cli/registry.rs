//! The registry flags (cosign's, every one) and what they mean: a client to use.

use std::path::{Path, PathBuf};

use clap::Args;
use sealgate_core::reference::Repository;
use sealgate_registry::credentials::{Credential, Keychain, Secret};
use sealgate_registry::{Client, ClientIdentity, Options, PlainHttp, Trust};

use super::values::{BOOL, go_bool};
use crate::failure::CliError;

/// The registry flags as typed.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Registry options")]
pub(crate) struct RegistryFlags {
    /// Speak plain HTTP with registries that have no TLS. For tests only
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    allow_http_registry: Option<bool>,

    /// Accept any server certificate (expired, self-signed). For tests only
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    allow_insecure_registry: Option<bool>,

    /// Use the credentials of the Kubernetes workload instead of the docker configuration
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    k8s_keychain: Option<bool>,

    /// User name for the registry
    #[arg(long, value_name = "USER")]
    registry_username: Option<String>,

    /// Password for the registry
    #[arg(long, value_name = "PASSWORD")]
    registry_password: Option<Hidden>,

    /// Bearer token for the registry
    #[arg(long, value_name = "TOKEN")]
    registry_token: Option<Hidden>,

    /// CA certificates (PEM) that the registry's certificate must chain to
    #[arg(long, value_name = "FILE")]
    registry_cacert: Option<PathBuf>,

    /// Client certificate (PEM) to show to the registry
    #[arg(long, value_name = "FILE")]
    registry_client_cert: Option<PathBuf>,

    /// Private key (PEM) of the client certificate
    #[arg(long, value_name = "FILE")]
    registry_client_key: Option<PathBuf>,

    /// Name that the registry's certificate must carry
    #[arg(long, value_name = "NAME")]
    registry_server_name: Option<String>,

    /// What the tags of legacy signatures begin with
    #[arg(long, value_name = "PREFIX", hide = true)]
    attachment_tag_prefix: Option<String>,
}

/// A secret on the command line: `Debug` does not show it.
#[derive(Clone)]
struct Hidden(Secret);

impl std::str::FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Secret::new(text)))
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// The largest certificate or key file for a registry connection.
const MAX_PEM: u64 = 1 << 20;

impl RegistryFlags {
    /// A client as the flags and the docker configuration say.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        Ok(Client::new(self.options()?)?)
    }

    /// What legacy tags begin with.
    pub(crate) fn tag_prefix(&self) -> String {
        self.attachment_tag_prefix.clone().unwrap_or_default()
    }

    fn options(&self) -> Result<Options, CliError> {
        if self.k8s_keychain == Some(true) {
            return Err(CliError::unsupported(
                "--k8s-keychain",
                "mount the pull secret and point DOCKER_CONFIG at it, or give --registry-username \
                 and --registry-password",
            ));
        }
        let any =
            self.allow_http_registry == Some(true) || self.allow_insecure_registry == Some(true);
        Ok(Options {
            plain_http: if any { PlainHttp::Anywhere } else { PlainHttp::Loopback },
            trust: self.trust()?,
            identity: self.identity()?,
            server_name: self.registry_server_name.clone(),
            credential: self.credential()?,
            keychain: Keychain::from_env(),
            ..Options::default()
        })
    }

    fn trust(&self) -> Result<Trust, CliError> {
        match &self.registry_cacert {
            _ if self.allow_insecure_registry == Some(true) => Ok(Trust::DangerousAnyCertificate),
            Some(path) => Ok(Trust::Only(read_pem(path)?)),
            None => Ok(Trust::System),
        }
    }

    fn identity(&self) -> Result<Option<ClientIdentity>, CliError> {
        match (&self.registry_client_cert, &self.registry_client_key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(ClientIdentity {
                certificates: read_pem(certificate)?,
                key: read_pem(key)?.into(),
            })),
            _ => Err(CliError::new(
                "--registry-client-cert and --registry-client-key must be given together",
            )),
        }
    }

    fn credential(&self) -> Result<Option<Credential>, CliError> {
        let Self { registry_username, registry_password, registry_token, .. } = self;
        match (registry_username, registry_password, registry_token) {
            (_, _, Some(token)) => Ok(Some(Credential::Bearer(token.0.clone()))),
            (None, None, None) => Ok(None),
            (Some(username), Some(password), None) => Ok(Some(Credential::Password {
                username: username.clone(),
                password: password.0.clone(),
            })),
            _ => Err(CliError::new(
                "--registry-username and --registry-password must be given together",
            )),
        }
    }
}

/// Where signatures lie, if not beside the image: `COSIGN_REPOSITORY`.
pub(crate) fn signature_repository() -> Result<Option<Repository>, CliError> {
    match std::env::var("COSIGN_REPOSITORY") {
        Ok(text) if !text.is_empty() => Repository::parse(&text)
            .map(Some)
            .map_err(|error| CliError::new(format!("parsing $COSIGN_REPOSITORY: {error}"))),
        _ => Ok(None),
    }
}

fn read_pem(path: &Path) -> Result<Vec<u8>, CliError> {
    super::files::read(path, MAX_PEM)
}
