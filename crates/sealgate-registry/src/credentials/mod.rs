//! Who we are at a registry: explicit credentials, docker `config.json` files with their helpers,
//! and the pull secrets of Kubernetes.
//!
//! Looking up happens only after a registry has asked (401). Environment and home folder come in
//! as [`Environment`]; [`Keychain::from_env`] fills it from the process.

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
pub use helper::HelperWords;
pub use kubernetes::PullSecrets;
pub use login::{KeptBy, config_path, login};
pub use sealgate_http::Secret;

/// One way to say who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password, for Basic and for a token endpoint's GET.
    Password {
        /// The user name.
        username: String,
        /// The password or personal token.
        password: Secret,
    },
    /// A refresh token (`identitytoken`), exchanged by OAuth2 POST.
    Refresh(Secret),
    /// A finished bearer token (`registrytoken`, `--registry-token`), sent as it is.
    Bearer(Secret),
}

/// Tells credentials apart without holding them: tokens are cached under it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CredentialId(Option<Digest>);

impl CredentialId {
    /// The identity of "no credentials".
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

/// The part of the process's environment that says where credentials lie.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `DOCKER_CONFIG`: the folder of `config.json`.
    pub docker_config: Option<PathBuf>,
    /// `REGISTRY_AUTH_FILE`: a containers `auth.json`.
    pub registry_auth_file: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`: holds `containers/auth.json`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `HOME`: holds `.docker/config.json`.
    pub home: Option<PathBuf>,
    /// `PATH`: where credential helpers are looked for.
    pub path: Option<OsString>,
}

impl Environment {
    /// What the process's own environment says.
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

/// Places to look credentials up in, in this order. Empty means anonymous. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    sources: Vec<Source>,
    helper_words: HelperWords,
}

#[derive(Clone, Debug)]
enum Source {
    Docker(Arc<DockerConfig>),
    Pull(Arc<PullSecrets>),
    /// A credential for one registry, by host and port.
    Given(String, Credential),
    /// A file that is there and cannot be read: what it says of a registry is not known.
    Unreadable(Fault),
}

impl Keychain {
    /// The files that `environment` names, those that are there: docker's `config.json`, then
    /// `REGISTRY_AUTH_FILE`, then `containers/auth.json`. One that cannot be read does not stop the
    /// others; it is a fault of a [`Self::lookup`] that they do not answer.
    pub(crate) fn from_environment(environment: &Environment) -> Self {
        let runtime = environment.xdg_runtime_dir.as_ref().map(|d| d.join("containers/auth.json"));
        let places = [config_path(environment), environment.registry_auth_file.clone(), runtime];
        let mut sources = Vec::new();
        for path in places.into_iter().flatten() {
            match DockerConfig::read(&path, environment.path.clone()) {
                Ok(Some(config)) => sources.push(Source::Docker(Arc::new(config))),
                Ok(None) => {}
                Err(fault) => {
                    tracing::warn!(%fault, "a file with credentials cannot be read");
                    sources.push(Source::Unreadable(fault));
                }
            }
        }
        Self { sources, helper_words: HelperWords::default() }
    }

    /// The docker and containers files that the process's own environment names. A file that
    /// cannot be read is a fault of the [`Self::lookup`] that no other file answers.
    pub fn from_env() -> Self {
        Self::from_environment(&Environment::from_process())
    }

    /// One docker configuration.
    pub fn from_docker_config(config: DockerConfig) -> Self {
        Self { sources: vec![Source::Docker(Arc::new(config))], ..Self::default() }
    }

    /// This keychain with another reader of what its credential helpers say.
    #[must_use]
    pub fn with_helper_words(mut self, helper_words: HelperWords) -> Self {
        self.helper_words = helper_words;
        self
    }

    /// This keychain with a credential for one registry (host and port) in front of it.
    #[must_use]
    pub fn with_credential(mut self, registry: &str, credential: Credential) -> Self {
        self.sources.insert(0, Source::Given(registry.to_owned(), credential));
        self
    }

    /// This keychain with `secrets` in front of it.
    pub(crate) fn with_pull_secrets(&self, secrets: &[PullSecret]) -> Self {
        if secrets.is_empty() {
            return self.clone();
        }
        let mut sources = vec![Source::Pull(Arc::new(PullSecrets::parse(secrets)))];
        sources.extend(self.sources.iter().cloned());
        Self { sources, ..*self }
    }

    /// The credentials for a repository, best first, each once.
    ///
    /// # Errors
    /// Only where no source has any: `Config` or `Timeout` where a credential helper is named and
    /// does not work, `Config` where the entry for this registry, or a whole file, cannot be read.
    pub async fn lookup(&self, registry: &str, path: &str) -> Result<Vec<Credential>, Fault> {
        let mut found: Vec<Credential> = Vec::new();
        let mut failed = None;
        for source in &self.sources {
            let more = match source {
                Source::Docker(config) => config.lookup(registry, path, self.helper_words).await,
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
                if !found.contains(&credential) {
                    found.push(credential);
                }
            }
        }
        match failed {
            Some(fault) if found.is_empty() => Err(fault),
            _ => Ok(found),
        }
    }

    /// What could not be read of the pull secrets, for a message.
    pub(crate) fn complaints(&self) -> Option<String> {
        let complaints: Vec<&str> = self
            .sources
            .iter()
            .filter_map(|source| match source {
                Source::Pull(secrets) => secrets.complaint(),
                Source::Docker(_) | Source::Given(..) | Source::Unreadable(_) => None,
            })
            .collect();
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }
}

/// Whether two names are of one registry: with the port of HTTPS or without.
fn same_registry(one: &str, other: &str) -> bool {
    let (one, other) = (normal_host(one), normal_host(other));
    canonical_registry(&one) == canonical_registry(&other)
}

/// The name that docker and its helpers keep a registry's credentials under: as it was written,
/// with or without a port.
fn server_key(registry: &str) -> String {
    match normal_host(registry).as_str() {
        "index.docker.io" => "https://index.docker.io/v1/".to_owned(),
        _ => parse_registry(registry).unwrap_or_else(|_| registry.to_ascii_lowercase()),
    }
}

/// The one name of a registry that credentials are looked up by: the name that image patterns are
/// compared with. What is no registry there (a pattern with wildcards) stays as it is.
pub(crate) fn normal_host(host: &str) -> String {
    match parse_registry(host) {
        Ok(registry) => canonical_registry(&registry).to_owned(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests;
