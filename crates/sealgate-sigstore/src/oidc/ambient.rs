//! Ambient providers: environments that issue identity tokens without interaction.

mod buildkite;
mod circleci;
mod files;
mod github;
mod google;

use std::fmt;
use std::str::FromStr;

use sealgate_core::fault::{Fault, FaultKind};
use url::Url;

use super::claims::claims;
use super::token_environment::TokenEnvironment;
use super::{AUDIENCE, Ambient, TokenError, UnknownName};
use crate::http::{Request, printable};
use sealgate_http::Secret;

const ID_TOKEN: &str = "SIGSTORE_ID_TOKEN";

/// Ambient identity provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// `SIGSTORE_ID_TOKEN`: set by GitLab (`id_tokens`) or by the user.
    Envvar,
    /// GitHub Actions.
    GithubActions,
    /// Buildkite.
    BuildkiteAgent,
    /// CircleCI.
    Circleci,
    /// Token file projected by Kubernetes.
    Filesystem,
    /// Service account of a Google Cloud machine or workload.
    GoogleWorkloadIdentity,
    /// Another Google service account, impersonated by the machine's own.
    GoogleImpersonate,
    /// SPIFFE.
    Spiffe,
}

impl Provider {
    /// Providers in the order in which they are tried.
    pub const ALL: [Self; 8] = [
        Self::Envvar,
        Self::GithubActions,
        Self::BuildkiteAgent,
        Self::Circleci,
        Self::Filesystem,
        Self::GoogleWorkloadIdentity,
        Self::GoogleImpersonate,
        Self::Spiffe,
    ];

    /// Name of the provider in `--oidc-provider`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Envvar => "envvar",
            Self::GithubActions => "github-actions",
            Self::BuildkiteAgent => "buildkite-agent",
            Self::Circleci => "circleci",
            Self::Filesystem => "filesystem",
            Self::GoogleWorkloadIdentity => "google-workload-identity",
            Self::GoogleImpersonate => "google-impersonate",
            Self::Spiffe => "spiffe",
        }
    }
}

impl FromStr for Provider {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = || Self::ALL.map(Self::name).join(", ");
        match name {
            // Name in cosign's own help text.
            "google" => Ok(Self::GoogleWorkloadIdentity),
            _ => Self::ALL
                .into_iter()
                .find(|provider| provider.name() == name)
                .ok_or_else(|| UnknownName::new("not a valid provider", name, known())),
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Token of the first provider that returns one; `None` when no provider is available.
pub(super) async fn token(
    which: Ambient,
    environment: &TokenEnvironment,
) -> Result<Option<(Secret, Provider)>, TokenError> {
    match which {
        Ambient::Off => Ok(None),
        Ambient::Only(provider) => match ask(provider, environment).await {
            Ok(token) => Ok(Some((token, provider))),
            Err(last) => Err(TokenError::Ambient { last, before: Vec::new() }),
        },
        Ambient::Any => any(environment).await,
    }
}

async fn any(environment: &TokenEnvironment) -> Result<Option<(Secret, Provider)>, TokenError> {
    let mut faults = Vec::new();
    for provider in Provider::ALL {
        if !is_available(provider, environment).await {
            continue;
        }
        match ask(provider, environment).await {
            Ok(token) => return Ok(Some((token, provider))),
            Err(fault) => {
                environment.console.say(&format!("no identity token from {fault}"));
                if !is_no_provider(provider, &fault) {
                    faults.push(fault);
                }
            }
        }
    }
    match faults.pop() {
        Some(last) => Err(TokenError::Ambient { last, before: faults }),
        None => {
            hint(environment);
            Ok(None)
        }
    }
}

pub(super) async fn is_available(provider: Provider, environment: &TokenEnvironment) -> bool {
    match provider {
        Provider::Envvar => environment.variable(ID_TOKEN).is_some(),
        Provider::GithubActions => github::is_available(environment),
        Provider::BuildkiteAgent => buildkite::is_available(environment),
        Provider::Circleci => circleci::is_available(environment),
        Provider::Filesystem => files::is_projected(environment).await,
        Provider::GoogleWorkloadIdentity => google::is_available(environment).await,
        Provider::GoogleImpersonate => google::impersonates(environment),
        Provider::Spiffe => files::has_spiffe(environment).await,
    }
}

/// Returns whether the fault means that the provider is not available: a Google machine need not
/// have a service account, for instance when it is a workstation.
fn is_no_provider(provider: Provider, fault: &Fault) -> bool {
    let absent = [FaultKind::Missing, FaultKind::Unreachable, FaultKind::Timeout];
    provider == Provider::GoogleWorkloadIdentity && absent.contains(&fault.kind)
}

/// Token of this provider. A fault names the provider.
async fn ask(provider: Provider, environment: &TokenEnvironment) -> Result<Secret, Fault> {
    let token = match provider {
        Provider::Envvar => from_variable(environment),
        Provider::GithubActions => github::token(environment).await,
        Provider::BuildkiteAgent => buildkite::token(environment).await,
        Provider::Circleci => circleci::token(environment).await,
        Provider::Filesystem => files::projected(environment).await,
        Provider::GoogleWorkloadIdentity => google::token(environment).await,
        Provider::GoogleImpersonate => google::impersonated(environment).await,
        Provider::Spiffe => files::spiffe(environment).await,
    };
    token.map_err(|fault| {
        let target = format!("{provider}: {}", fault.target);
        Fault { target, ..fault }
    })
}

fn from_variable(environment: &TokenEnvironment) -> Result<Secret, Fault> {
    let unset = || Fault::new(FaultKind::Config, ID_TOKEN, "is not set");
    let value = environment.variable(ID_TOKEN).ok_or_else(unset)?;
    checked(Some(Secret::new(value.trim())), ID_TOKEN)
}

/// Prints a hint when the CI system could issue a token but is not configured to.
fn hint(environment: &TokenEnvironment) {
    if environment.variable("GITHUB_ACTIONS").is_some() {
        environment.console.say(
            "GitHub Actions issues identity tokens to jobs with `permissions: id-token: write`",
        );
    }
    if environment.variable("GITLAB_CI").is_some() {
        environment.console.say(
            "GitLab issues identity tokens to jobs with `id_tokens: SIGSTORE_ID_TOKEN: aud: \
             sigstore`",
        );
    }
}

/// Checks that the provider returned a token. The fault does not show the value.
fn checked(token: Option<Secret>, target: &str) -> Result<Secret, Fault> {
    let missing = || Fault::new(FaultKind::Malformed, printable(target, 200), "returned no token");
    let token = token.filter(|token| !token.reveal().is_empty()).ok_or_else(missing)?;
    match claims(token.reveal()) {
        Ok(_) => Ok(token),
        Err(fault) => {
            let detail = format!("returned an identity token that {}", fault.detail);
            Err(Fault::new(fault.kind, printable(target, 200), detail))
        }
    }
}

fn bearer(request: Request, secret: &Secret) -> Result<Request, Fault> {
    request.bearer(secret.reveal())
}

/// URL with additional path segments, each percent-encoded.
fn segments(mut url: Url, more: &[&str]) -> Url {
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(more);
    }
    url
}
