//! Registry credentials: explicit ones, Docker `config.json` files with their credential helpers,
//! and Kubernetes pull secrets.
//!
//! Credentials are looked up only after a registry has answered 401. Environment variables and home
//! directory come in as [`Environment`]; [`Keychain::from_env`] fills it from the process.

mod docker;
mod helper;
mod kubernetes;
mod login;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use sealgate_core::digest::Digest;
use sealgate_core::fault::Fault;
use sealgate_core::reference::{canonical_registry, parse_registry};
use sealgate_engine::ports::PullSecret;
use zeroize::Zeroizing;

pub use docker::DockerConfig;
pub use helper::HelperErrors;
pub use kubernetes::PullSecrets;
pub use login::{StoredIn, config_path, login};
pub use sealgate_http::Secret;

/// Registry credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// User name and password, for Basic and for GET at a token endpoint.
    Password {
        /// User name.
        username: String,
        /// Password or personal access token.
        password: Secret,
    },
    /// Refresh token (`identitytoken`), exchanged with an OAuth 2.0 POST.
    Refresh(Secret),
    /// Bearer token (`registrytoken`, `--registry-token`), sent as is.
    Bearer(Secret),
}

/// Digest that distinguishes credentials without holding them; part of the key of cached tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CredentialId(Option<Digest>);

impl CredentialId {
    /// Identity of anonymous access.
    pub(crate) const ANONYMOUS: Self = Self(None);
}

impl Credential {
    pub(crate) fn id(&self) -> CredentialId {
        let (kind, name, secret) = match self {
            Self::Password { username, password } => ("password", username.as_str(), password),
            Self::Refresh(token) => ("refresh", "", token),
            Self::Bearer(token) => ("bearer", "", token),
        };
        let text = Zeroizing::new(format!("{kind}\0{}\0{name}\0{}", name.len(), secret.reveal()));
        CredentialId(Some(Digest::of(text.as_bytes())))
    }
}

/// Environment variables that locate credential files.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `DOCKER_CONFIG`: directory of `config.json`.
    pub docker_config: Option<PathBuf>,
    /// `REGISTRY_AUTH_FILE`: path of a containers `auth.json`.
    pub registry_auth_file: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`: holds `containers/auth.json`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `HOME`: holds `.docker/config.json`.
    pub home: Option<PathBuf>,
    /// `PATH`: search path for credential helpers.
    pub path: Option<OsString>,
}

impl Environment {
    /// Environment of this process.
    pub fn from_process() -> Self {
        let path = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        Self {
            docker_config: path("DOCKER_CONFIG"),
            registry_auth_file: path("REGISTRY_AUTH_FILE"),
            xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
            home: path("HOME"),
            path: std::env::var_os("PATH"),
        }
    }
}

/// Credential sources in lookup order. Empty means anonymous. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    sources: Vec<Source>,
    helper_errors: HelperErrors,
}

#[derive(Clone, Debug)]
enum Source {
    Docker(Arc<DockerConfig>),
    Pull(Arc<PullSecrets>),
    /// Credential for one registry, by host and port.
    Given(String, Credential),
    /// Existing file that cannot be read; its entries are unknown.
    Unreadable(Fault),
}

/// Credential with its origin, for messages.
#[derive(Clone, Debug)]
pub(crate) struct FoundCredential {
    pub(crate) credential: Credential,
    pub(crate) origin: &'static str,
}

impl Source {
    fn origin(&self) -> &'static str {
        match self {
            Self::Docker(_) | Self::Unreadable(_) => "the Docker configuration",
            Self::Pull(_) => "an image pull secret",
            Self::Given(..) => GIVEN,
        }
    }
}

/// Origin of a credential in a flag or its environment variable.
pub(crate) const GIVEN: &str = "the --registry flags";

impl Keychain {
    /// Existing files named by `environment`: Docker's `config.json`, then `REGISTRY_AUTH_FILE`,
    /// then `containers/auth.json`. An unreadable file does not stop the others; it is reported by
    /// a [`Self::lookup`] that no other source answers.
    pub(crate) fn from_environment(environment: &Environment) -> Self {
        let runtime = environment.xdg_runtime_dir.as_ref().map(|d| d.join("containers/auth.json"));
        let places = [config_path(environment), environment.registry_auth_file.clone(), runtime];
        let mut sources = Vec::new();
        for path in places.into_iter().flatten() {
            match DockerConfig::read(&path, environment.path.clone()) {
                Ok(Some(config)) => sources.push(Source::Docker(Arc::new(config))),
                Ok(None) => {}
                Err(fault) => {
                    tracing::warn!(%fault, "a credentials file cannot be read");
                    sources.push(Source::Unreadable(fault));
                }
            }
        }
        Self { sources, helper_errors: HelperErrors::default() }
    }

    /// Docker and containers files named by the environment of this process. An unreadable file is
    /// reported by a [`Self::lookup`] that no other source answers.
    pub fn from_env() -> Self {
        Self::from_environment(&Environment::from_process())
    }

    /// Keychain with one Docker configuration.
    pub fn from_docker_config(config: DockerConfig) -> Self {
        Self { sources: vec![Source::Docker(Arc::new(config))], ..Self::default() }
    }

    /// Same keychain with another destination for error messages of credential helpers.
    #[must_use]
    pub fn with_helper_errors(mut self, helper_errors: HelperErrors) -> Self {
        self.helper_errors = helper_errors;
        self
    }

    /// Same keychain with a credential for one registry (host and port) in front.
    #[must_use]
    pub fn with_credential(mut self, registry: &str, credential: Credential) -> Self {
        self.sources.insert(0, Source::Given(registry.to_owned(), credential));
        self
    }

    /// Same keychain with `secrets` in front.
    pub(crate) fn with_pull_secrets(&self, secrets: &[PullSecret]) -> Self {
        if secrets.is_empty() {
            return self.clone();
        }
        let mut sources = vec![Source::Pull(Arc::new(PullSecrets::parse(secrets)))];
        sources.extend(self.sources.iter().cloned());
        Self { sources, ..*self }
    }

    /// Distinct credentials for a repository, in order of preference.
    ///
    /// # Errors
    /// Only when no source has a credential: `Config` or `Timeout` when a configured credential
    /// helper does not work, `Config` when the entry for this registry or a whole file is
    /// unreadable.
    pub async fn lookup(&self, registry: &str, path: &str) -> Result<Vec<Credential>, Fault> {
        let found = self.lookup_with_origin(registry, path).await?;
        Ok(found.into_iter().map(|found| found.credential).collect())
    }

    /// As [`Self::lookup`], with the origin of each credential.
    pub(crate) async fn lookup_with_origin(
        &self,
        registry: &str,
        path: &str,
    ) -> Result<Vec<FoundCredential>, Fault> {
        let mut found: Vec<FoundCredential> = Vec::new();
        let mut failed = None;
        for source in &self.sources {
            let more = match source {
                Source::Docker(config) => config.lookup(registry, path, self.helper_errors).await,
                Source::Pull(secrets) => secrets.lookup(registry, path),
                Source::Given(host, credential) => {
                    let is_for = same_registry(host, registry);
                    Ok(is_for.then(|| credential.clone()).into_iter().collect())
                }
                Source::Unreadable(fault) => Err(fault.clone()),
            };
            let more = more.unwrap_or_else(|fault| {
                failed.get_or_insert(fault);
                Vec::new()
            });
            for credential in more {
                if !found.iter().any(|known| known.credential == credential) {
                    found.push(FoundCredential { credential, origin: source.origin() });
                }
            }
        }
        match failed {
            Some(fault) if found.is_empty() => Err(fault),
            _ => Ok(found),
        }
    }

    /// Description of unreadable pull secrets, for a message.
    pub(crate) fn unreadable(&self) -> Option<String> {
        let unreadable: Vec<&str> = self
            .sources
            .iter()
            .filter_map(|source| match source {
                Source::Pull(secrets) => secrets.unreadable(),
                Source::Docker(_) | Source::Given(..) | Source::Unreadable(_) => None,
            })
            .collect();
        (!unreadable.is_empty()).then(|| unreadable.join("; "))
    }
}

/// Returns whether two names denote one registry, with or without port 443.
fn same_registry(one: &str, other: &str) -> bool {
    let (one, other) = (normal_host(one), normal_host(other));
    canonical_registry(&one) == canonical_registry(&other)
}

/// Key of a registry's credentials in Docker's files and helpers: the name as written, with or
/// without a port.
fn server_key(registry: &str) -> String {
    match normal_host(registry).as_str() {
        "index.docker.io" => "https://index.docker.io/v1/".to_owned(),
        _ => parse_registry(registry).unwrap_or_else(|_| registry.to_ascii_lowercase()),
    }
}

/// Canonical registry name for credential lookup: the name that image patterns are compared with. A
/// name that is not a registry (a pattern with wildcards) is returned unchanged.
pub(crate) fn normal_host(host: &str) -> String {
    match parse_registry(host) {
        Ok(registry) => canonical_registry(&registry).to_owned(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests;
