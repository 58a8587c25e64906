//! The registry flags (cosign's, every one) and what they mean: a client to use.

use std::path::{Path, PathBuf};

use clap::{Arg, Args};
use sealgate_core::reference::Repository;
use sealgate_registry::credentials::{Credential, HelperErrors, Keychain, Secret};
use sealgate_registry::{Client, ClientCertScope, ClientIdentity, Options, PlainHttp, TlsRoots};

use super::files;
use super::values::{BOOL, go_bool};
use crate::failure::CliError;

/// The registry flags as typed.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Registry options")]
pub(crate) struct RegistryFlags {
    /// Use plain HTTP for registries without TLS. For tests only
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    allow_http_registry: Option<bool>,

    /// Accept any server certificate, including expired and self-signed ones. For tests only
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    allow_insecure_registry: Option<bool>,

    /// Use the credentials of the Kubernetes workload instead of the Docker configuration
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

    /// CA certificates (PEM) that the registry's certificate must chain to, instead of those of the
    /// system
    #[arg(long, value_name = "FILE")]
    registry_cacert: Option<PathBuf>,

    /// Client certificate (PEM) to present to the registry
    #[arg(long, value_name = "FILE")]
    registry_client_cert: Option<PathBuf>,

    /// Private key (PEM) of the client certificate
    #[arg(long, value_name = "FILE")]
    registry_client_key: Option<PathBuf>,

    /// Name that the registry's certificate must contain
    #[arg(long, value_name = "NAME")]
    registry_server_name: Option<String>,

    /// Prefix of the tags of legacy signatures
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
    /// A client as the flags and the docker configuration say. Its credentials go to every registry
    /// that the command line names.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        let (credential, identity) = (self.credential()?, self.identity()?);
        self.connect(Options { credential, identity, ..self.options()? })
    }

    /// A client, or why not with the files that were given for it.
    pub(crate) fn connect(&self, options: Options) -> Result<Client, CliError> {
        Client::new(options).map_err(|fault| {
            let files = [
                ("--registry-cacert", &self.registry_cacert),
                ("--registry-client-cert", &self.registry_client_cert),
                ("--registry-client-key", &self.registry_client_key),
            ];
            files::given(fault.into(), &files)
        })
    }

    /// Options for `serve`, where whoever may create a pod names the registries: each credential
    /// says which registry it is for, `HOST=...`, and goes to no other.
    pub(crate) fn webhook_options(&self) -> Result<Options, CliError> {
        let (registry, flags) = self.of_one_registry()?;
        let (credential, identity) = (flags.credential()?, flags.identity()?);
        let mut options = self.options()?;
        // Denials are read by whoever creates a pod, and a helper's output may hold secrets.
        options.keychain = options.keychain.with_helper_errors(HelperErrors::InLog);
        if let Some(registry) = registry {
            if let Some(credential) = credential {
                options.keychain = options.keychain.with_credential(&registry, credential);
            }
            options.identity = identity;
            options.identity_scope = ClientCertScope::Registry(registry);
        }
        Ok(options)
    }

    /// The one registry that the credentials name, and the credentials without it.
    fn of_one_registry(&self) -> Result<(Option<String>, Self), CliError> {
        let mut flags = self.clone();
        let certificate = self.registry_client_cert.as_ref();
        let certificate = certificate.map(|path| path.to_string_lossy().into_owned());
        let given = [
            ("--registry-username", self.registry_username.as_deref()),
            ("--registry-password", self.registry_password.as_ref().map(|it| it.0.reveal())),
            ("--registry-token", self.registry_token.as_ref().map(|it| it.0.reveal())),
            ("--registry-client-cert", certificate.as_deref()),
        ];
        let mut registry: Option<String> = None;
        for (flag, value) in given {
            let Some(value) = value else { continue };
            let (host, value) = host_and_value(value).ok_or_else(|| without_host(flag))?;
            if registry.as_ref().is_some_and(|named| *named != host) {
                return Err(CliError::new("the --registry-* flags name different registries")
                    .note(SEVERAL_REGISTRIES));
            }
            registry = Some(host);
            match flag {
                "--registry-username" => flags.registry_username = Some(value.to_owned()),
                "--registry-password" => flags.registry_password = Some(Hidden(Secret::new(value))),
                "--registry-token" => flags.registry_token = Some(Hidden(Secret::new(value))),
                _ => flags.registry_client_cert = Some(PathBuf::from(value)),
            }
        }
        Ok((registry, flags))
    }

    /// The prefix of legacy tags.
    pub(crate) fn tag_prefix(&self) -> String {
        self.attachment_tag_prefix.clone().unwrap_or_default()
    }

    /// The settings of the flags and of the docker configuration.
    pub(crate) fn options(&self) -> Result<Options, CliError> {
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
            tls_roots: self.trust()?,
            server_name: self.registry_server_name.clone(),
            keychain: Keychain::from_env(),
            ..Options::default()
        })
    }

    fn trust(&self) -> Result<TlsRoots, CliError> {
        match &self.registry_cacert {
            _ if self.allow_insecure_registry == Some(true) => {
                Ok(TlsRoots::DangerousAnyCertificate)
            }
            Some(path) => Ok(TlsRoots::Only(read_pem(path)?)),
            None => Ok(TlsRoots::System),
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

const SEVERAL_REGISTRIES: &str = "credentials for several registries belong into docker's \
                                  config.json (DOCKER_CONFIG) or into imagePullSecrets";

/// `HOST=VALUE`, where HOST is a registry's name.
fn host_and_value(text: &str) -> Option<(String, &str)> {
    let (host, value) = text.split_once('=')?;
    let repository = Repository::parse(&format!("{host}/x")).ok()?;
    // Else it is a path, at Docker Hub or at the registry before the slash.
    let is_host = host.contains(['.', ':']) || host == repository.registry();
    // Of a token without a host, `=`s may be the end: base64.
    let is_whole = !host.contains('/') && value.bytes().any(|byte| byte != b'=');
    (is_host && is_whole).then(|| (repository.registry().to_owned(), value))
}

/// The help of a flag that `serve` takes for one registry only.
pub(crate) fn of_one_host(arg: Arg) -> Arg {
    let (name, help) = match arg.get_id().as_str() {
        "registry_username" => ("HOST=USER", "User name for the registry HOST"),
        "registry_password" => ("HOST=PASSWORD", "Password for the registry HOST"),
        "registry_token" => ("HOST=TOKEN", "Bearer token for the registry HOST"),
        "registry_client_cert" => {
            ("HOST=FILE", "Client certificate (PEM) to present to the registry HOST")
        }
        _ => return arg,
    };
    arg.value_name(name).help(help)
}

/// A credential that would go to any registry that a pod names.
fn without_host(flag: &str) -> CliError {
    let wanted = "HOST is a registry's host name, with a port or without; VALUE is neither empty \
                  nor made of `=` alone";
    CliError::new(format!("{flag} must name the registry that it is for: {flag}=HOST=VALUE"))
        .note(wanted)
        .note("without a host it would be sent to every registry that somebody names in a pod")
        .note(SEVERAL_REGISTRIES)
}

/// The repository of signatures, if it is not the image's own: `COSIGN_REPOSITORY`.
pub(crate) fn signature_repository() -> Result<Option<Repository>, CliError> {
    match std::env::var("COSIGN_REPOSITORY") {
        Ok(text) if !text.is_empty() => Repository::parse(&text)
            .map(Some)
            .map_err(|error| CliError::new(format!("parsing $COSIGN_REPOSITORY: {error}"))),
        _ => Ok(None),
    }
}

fn read_pem(path: &Path) -> Result<Vec<u8>, CliError> {
    files::read(path, MAX_PEM)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: RegistryFlags,
    }

    fn flags(words: &[&str]) -> RegistryFlags {
        Line::parse_from(std::iter::once("serve").chain(words.iter().copied())).flags
    }

    #[test]
    fn a_webhook_has_no_credential_without_a_host() {
        for words in [
            &["--registry-username=ada", "--registry-password=hunter2"][..],
            &["--registry-username=reg.io=ada", "--registry-password=hunter2"],
            &["--registry-username=ada", "--registry-password=reg.io=hunter2"],
            &["--registry-username==ada", "--registry-password==hunter2"],
            &["--registry-username=reg.io=", "--registry-password=reg.io=hunter2"],
            &["--registry-username=team=ada", "--registry-password=team=hunter2"],
            &["--registry-username=reg.io/acme=ada", "--registry-password=reg.io/acme=hunter2"],
            &["--registry-username=*.io=ada", "--registry-password=*.io=hunter2"],
            &["--registry-token=hunter2"],
            &["--registry-token=aHVudGVyMg=="],
            &["--registry-token=hunter2.cd="],
            &["--registry-token=hunter2.cd=="],
            &["--registry-token=hunter2.cd==="],
            &["--registry-username=reg.io==", "--registry-password=reg.io=hunter2"],
            &["--registry-client-cert=client.crt", "--registry-client-key=client.key"],
            &["--registry-client-cert=./a=b.crt", "--registry-client-key=client.key"],
        ] {
            let refused = flags(words).webhook_options();
            let refused = refused.map(|_| words).unwrap_err().render();
            assert!(refused.contains("must name the registry"), "{words:?}: {refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        let several = ["--registry-username=reg.io=ada", "--registry-password=other.io=hunter2"];
        let refused = flags(&several).webhook_options().unwrap_err().render();
        assert!(refused.contains("different registries"), "{refused}");
        let half = flags(&["--registry-username=reg.io=ada"]).webhook_options().unwrap_err();
        assert!(half.render().contains("must be given together"));
        let half = flags(&["--registry-client-key=client.key"]).webhook_options().unwrap_err();
        assert!(half.render().contains("must be given together"));
    }

    #[test]
    fn a_webhooks_credential_is_for_its_host() {
        for (words, registry, value) in [
            (["--registry-username=reg.io=ada", "--registry-password=reg.io=a=b"], "reg.io", "a=b"),
            (
                ["--registry-username=localhost=ada", "--registry-password=localhost=x"],
                "localhost",
                "x",
            ),
            (
                ["--registry-username=REG.io:5000=a", "--registry-password=reg.io:5000=x"],
                "reg.io:5000",
                "x",
            ),
            (
                ["--registry-username=docker.io=a", "--registry-password=index.docker.io=x"],
                "index.docker.io",
                "x",
            ),
        ] {
            let (named, flags) = flags(&words).of_one_registry().unwrap();
            assert_eq!(named.as_deref(), Some(registry), "{words:?}");
            assert_eq!(flags.registry_password.unwrap().0.reveal(), value);
        }
        assert!(flags(&[]).of_one_registry().unwrap().0.is_none());
        flags(&["--registry-token=reg.io=abc"]).webhook_options().unwrap();
    }
}
