//! Surroundings that issue a token without asking anybody.

use std::fmt;
use std::str::FromStr;

use sealgate_core::fault::{Fault, FaultKind};

use super::secret::Secret;
use super::surroundings::Surroundings;
use super::{Ambient, TokenError, UnknownName};

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
    let _ = surroundings;
    match which {
        Ambient::Off => Ok(None),
        Ambient::Any | Ambient::Only(_) => Err(TokenError::Ambient {
            last: Fault::new(FaultKind::Unsupported, "surroundings", "cannot be asked yet"),
            before: Vec::new(),
        }),
    }
}
