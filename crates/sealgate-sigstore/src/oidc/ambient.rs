//! Surroundings that issue a token without asking anybody.

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
use super::surroundings::Surroundings;
use super::{AUDIENCE, Ambient, TokenError, UnknownName};
use crate::http::{Request, printable};
use sealgate_http::Secret;

const ID_TOKEN: &str = "SIGSTORE_ID_TOKEN";

/// A kind of surroundings that issues tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// `SIGSTORE_ID_TOKEN`: GitLab (`id_tokens`), and whoever else sets it.
    Envvar,
    /// GitHub Actions.
    GithubActions,
    /// Buildkite.
    BuildkiteAgent,
    /// CircleCI.
    Circleci,
    /// A file that Kubernetes projects.
    Filesystem,
    /// The account of a machine or workload at Google.
    GoogleWorkloadIdentity,
    /// Another account at Google, by the machine's own.
    GoogleImpersonate,
    /// SPIFFE.
    Spiffe,
}

impl Provider {
    /// In the order in which they are asked.
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

    /// Its name in `--oidc-provider`.
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
            // What cosign's own help calls it.
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

/// A token of the first that gives one; `None` where no surroundings are there.
pub(super) async fn token(
    which: Ambient,
    surroundings: &Surroundings,
) -> Result<Option<(Secret, Provider)>, TokenError> {
    match which {
        Ambient::Off => Ok(None),
        Ambient::Only(provider) => match ask(provider, surroundings).await {
            Ok(token) => Ok(Some((token, provider))),
            Err(last) => Err(TokenError::Ambient { last, before: Vec::new() }),
        },
        Ambient::Any => any(surroundings).await,
    }
}

async fn any(surroundings: &Surroundings) -> Result<Option<(Secret, Provider)>, TokenError> {
    let mut faults = Vec::new();
    for provider in Provider::ALL {
        if !is_there(provider, surroundings).await {
            continue;
        }
        match ask(provider, surroundings).await {
            Ok(token) => return Ok(Some((token, provider))),
            Err(fault) => {
                surroundings.console.say(&format!("no identity token from {fault}"));
                if !is_no_provider(provider, &fault) {
                    faults.push(fault);
                }
            }
        }
    }
    match faults.pop() {
        Some(last) => Err(TokenError::Ambient { last, before: faults }),
        None => {
            hint(surroundings);
            Ok(None)
        }
    }
}

pub(super) async fn is_there(provider: Provider, surroundings: &Surroundings) -> bool {
    match provider {
        Provider::Envvar => surroundings.variable(ID_TOKEN).is_some(),
        Provider::GithubActions => github::is_there(surroundings),
        Provider::BuildkiteAgent => buildkite::is_there(surroundings),
        Provider::Circleci => circleci::is_there(surroundings),
        Provider::Filesystem => files::is_projected(surroundings).await,
        Provider::GoogleWorkloadIdentity => google::is_there(surroundings).await,
        Provider::GoogleImpersonate => google::impersonates(surroundings),
        Provider::Spiffe => files::has_spiffe(surroundings).await,
    }
}

/// A machine of Google's need not have an account: a person may work there.
fn is_no_provider(provider: Provider, fault: &Fault) -> bool {
    let absent = [FaultKind::Missing, FaultKind::Unreachable, FaultKind::Timeout];
    provider == Provider::GoogleWorkloadIdentity && absent.contains(&fault.kind)
}

/// A token of this one. The fault names it.
async fn ask(provider: Provider, surroundings: &Surroundings) -> Result<Secret, Fault> {
    let token = match provider {
        Provider::Envvar => from_variable(surroundings),
        Provider::GithubActions => github::token(surroundings).await,
        Provider::BuildkiteAgent => buildkite::token(surroundings).await,
        Provider::Circleci => circleci::token(surroundings).await,
        Provider::Filesystem => files::projected(surroundings).await,
        Provider::GoogleWorkloadIdentity => google::token(surroundings).await,
        Provider::GoogleImpersonate => google::impersonated(surroundings).await,
        Provider::Spiffe => files::spiffe(surroundings).await,
    };
    token.map_err(|fault| {
        let target = format!("{provider}: {}", fault.target);
        Fault { target, ..fault }
    })
}

fn from_variable(surroundings: &Surroundings) -> Result<Secret, Fault> {
    let unset = || Fault::new(FaultKind::Config, ID_TOKEN, "is not set");
    let value = surroundings.variable(ID_TOKEN).ok_or_else(unset)?;
    checked(Some(Secret::new(value.trim())), ID_TOKEN)
}

/// Pipelines that could give a token but were not told to.
fn hint(surroundings: &Surroundings) {
    if surroundings.variable("GITHUB_ACTIONS").is_some() {
        surroundings.console.say(
            "GitHub Actions gives an identity token to jobs with `permissions: id-token: write`",
        );
    }
    if surroundings.variable("GITLAB_CI").is_some() {
        surroundings.console.say(
            "GitLab gives an identity token to jobs with `id_tokens: SIGSTORE_ID_TOKEN: aud: \
             sigstore`",
        );
    }
}

/// What a provider gave, if it is a token. The fault does not show it.
fn checked(token: Option<Secret>, target: &str) -> Result<Secret, Fault> {
    let missing = || Fault::new(FaultKind::Malformed, printable(target, 200), "gave no token");
    let token = token.filter(|token| !token.reveal().is_empty()).ok_or_else(missing)?;
    match claims(token.reveal()) {
        Ok(_) => Ok(token),
        Err(fault) => {
            let detail = format!("gave an identity token that {}", fault.detail);
            Err(Fault::new(fault.kind, printable(target, 200), detail))
        }
    }
}

fn bearer(request: Request, secret: &Secret) -> Result<Request, Fault> {
    request.bearer(secret.reveal())
}

/// `url` with these segments after its own, each encoded.
fn segments(mut url: Url, more: &[&str]) -> Url {
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(more);
    }
    url
}
