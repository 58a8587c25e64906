//! The identity in a certificate ([`Identity`]) and its comparison with expected ones
//! ([`IdentityMatcher`]): exact strings or regular expressions, as cosign compares them.

mod cost;
mod go_syntax;
mod pattern;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use der::asn1::ObjectIdentifier;

pub use pattern::{Expression, InvalidPattern, MAX_PATTERN, MAX_PATTERN_COST, Pattern};

use crate::reject::{Foreign, Reject};

/// The identity of a signer, as an authority certified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its names; never empty when it comes from a certificate.
    pub subjects: Vec<Subject>,
    /// The URL of the OIDC issuer that authenticated the signer. Certificates of private
    /// authorities may have none.
    pub issuer: Option<String>,
    /// Further claims about a build.
    pub claims: BTreeMap<Claim, String>,
}

/// A name of a signer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A mail address.
    Email(String),
    /// An address of a workflow, a SPIFFE id, or the like.
    Uri(String),
    /// A host name.
    Dns(String),
    /// An address of a host.
    Ip(IpAddr),
    /// A user name, as Fulcio writes it (1.3.6.1.4.1.57264.1.7).
    Other(String),
}

/// The extensions of Fulcio other than the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Claim {
    GithubWorkflowTrigger,
    GithubWorkflowSha,
    GithubWorkflowName,
    GithubWorkflowRepository,
    GithubWorkflowRef,
    BuildSignerUri,
    BuildSignerDigest,
    RunnerEnvironment,
    SourceRepositoryUri,
    SourceRepositoryDigest,
    SourceRepositoryRef,
    SourceRepositoryIdentifier,
    SourceRepositoryOwnerUri,
    SourceRepositoryOwnerIdentifier,
    BuildConfigUri,
    BuildConfigDigest,
    BuildTrigger,
    RunInvocationUri,
    SourceRepositoryVisibilityAtSigning,
}

/// An expected string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly this.
    Exactly(String),
    /// A string that the expression matches anywhere (as Go's `MatchString`).
    Matching(Pattern),
}

/// An expected signer. `None` matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityMatcher {
    /// The OIDC issuer that authenticated the signer.
    pub issuer: Option<Wanted>,
    /// The name; one of several names is enough.
    pub subject: Option<Wanted>,
    /// Values that the certificate must have exactly.
    pub claims: BTreeMap<Claim, String>,
}

/// Authority that accepts any one of several identities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityAuthority {
    /// The accepted identities; an empty list verifies nothing.
    pub identities: Vec<IdentityMatcher>,
}

/// Proof that an identity matches one of an authority's matchers. Made by [`Identity::check`] only.
#[derive(Clone, Debug)]
pub struct IdentityProof {
    matched: IdentityMatcher,
}

impl IdentityProof {
    /// The matcher that the identity fits.
    pub fn matched(&self) -> &IdentityMatcher {
        &self.matched
    }
}

impl Identity {
    /// Compares the identity with those of the authority. The proof names the matcher that fits.
    pub fn check(&self, authority: &IdentityAuthority) -> Result<IdentityProof, Reject> {
        if authority.identities.is_empty() {
            return Err(Reject::NoIdentity);
        }
        let mut outcome = None;
        for wanted in &authority.identities {
            match self.compare(wanted) {
                Ok(proof) => return Ok(proof),
                // Who signed was right: the better explanation.
                Err(claim @ Reject::WrongClaim { .. }) => outcome = Some(claim),
                Err(_) => {}
            }
        }
        Err(outcome.unwrap_or_else(|| self.wrong()))
    }

    fn compare(&self, wanted: &IdentityMatcher) -> Result<IdentityProof, Reject> {
        let issuer = self.issuer.as_deref().unwrap_or_default();
        let fits = |wanted: &Option<Wanted>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.matches(text))
        };
        let subject = self.subjects.iter().any(|name| fits(&wanted.subject, &name.to_string()));
        if !subject || !fits(&wanted.issuer, issuer) {
            return Err(self.wrong());
        }
        let differs = |(claim, value): &(&Claim, &String)| self.claims.get(claim) != Some(value);
        match wanted.claims.iter().find(differs) {
            Some((claim, _)) => Err(Reject::WrongClaim { claim: claim.title() }),
            None => Ok(IdentityProof { matched: wanted.clone() }),
        }
    }

    fn wrong(&self) -> Reject {
        let subjects: Vec<_> = self.subjects.iter().map(Subject::to_string).collect();
        Reject::WrongIdentity {
            subjects: Foreign::new(subjects.join(", ")),
            issuer: Foreign::new(self.issuer.as_deref().unwrap_or_default()),
        }
    }
}

impl Wanted {
    /// True if `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exactly(wanted) => wanted == text,
            Self::Matching(pattern) => pattern.is_found_in(text),
        }
    }
}

impl IdentityMatcher {
    /// Warnings about unanchored expressions, which match more than their author may expect.
    pub fn warnings(&self) -> Vec<String> {
        let fields = [("issuer", &self.issuer), ("subject", &self.subject)];
        let unanchored = fields.into_iter().filter_map(|(name, wanted)| match wanted {
            Some(Wanted::Matching(pattern)) if !pattern.is_anchored() => Some((name, pattern)),
            _ => None,
        });
        unanchored
            .map(|(name, pattern)| {
                format!(
                    "the {name} expression {:?} is not anchored: it also matches longer texts \
                     that only contain a match; write ^…$",
                    Foreign::new(pattern.as_str())
                )
            })
            .collect()
    }
}

impl Claim {
    /// Every claim.
    pub const ALL: &[Self] = &[
        Self::GithubWorkflowTrigger,
        Self::GithubWorkflowSha,
        Self::GithubWorkflowName,
        Self::GithubWorkflowRepository,
        Self::GithubWorkflowRef,
        Self::BuildSignerUri,
        Self::BuildSignerDigest,
        Self::RunnerEnvironment,
        Self::SourceRepositoryUri,
        Self::SourceRepositoryDigest,
        Self::SourceRepositoryRef,
        Self::SourceRepositoryIdentifier,
        Self::SourceRepositoryOwnerUri,
        Self::SourceRepositoryOwnerIdentifier,
        Self::BuildConfigUri,
        Self::BuildConfigDigest,
        Self::BuildTrigger,
        Self::RunInvocationUri,
        Self::SourceRepositoryVisibilityAtSigning,
    ];

    /// The last arc of its object identifier, its name in cosign's output, and its title.
    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::GithubWorkflowTrigger => {
                ("2", "githubWorkflowTrigger", "GitHub Workflow Trigger")
            }
            Self::GithubWorkflowSha => ("3", "githubWorkflowSha", "GitHub Workflow SHA"),
            Self::GithubWorkflowName => ("4", "githubWorkflowName", "GitHub Workflow Name"),
            Self::GithubWorkflowRepository => {
                ("5", "githubWorkflowRepository", "GitHub Workflow Repository")
            }
            Self::GithubWorkflowRef => ("6", "githubWorkflowRef", "GitHub Workflow Ref"),
            Self::BuildSignerUri => ("9", "buildSignerURI", "Build Signer URI"),
            Self::BuildSignerDigest => ("10", "buildSignerDigest", "Build Signer Digest"),
            Self::RunnerEnvironment => ("11", "runnerEnvironment", "Runner Environment"),
            Self::SourceRepositoryUri => ("12", "sourceRepositoryURI", "Source Repository URI"),
            Self::SourceRepositoryDigest => {
                ("13", "sourceRepositoryDigest", "Source Repository Digest")
            }
            Self::SourceRepositoryRef => ("14", "sourceRepositoryRef", "Source Repository Ref"),
            Self::SourceRepositoryIdentifier => {
                ("15", "sourceRepositoryIdentifier", "Source Repository Identifier")
            }
            Self::SourceRepositoryOwnerUri => {
                ("16", "sourceRepositoryOwnerURI", "Source Repository Owner URI")
            }
            Self::SourceRepositoryOwnerIdentifier => {
                ("17", "sourceRepositoryOwnerIdentifier", "Source Repository Owner Identifier")
            }
            Self::BuildConfigUri => ("18", "buildConfigURI", "Build Config URI"),
            Self::BuildConfigDigest => ("19", "buildConfigDigest", "Build Config Digest"),
            Self::BuildTrigger => ("20", "buildTrigger", "Build Trigger"),
            Self::RunInvocationUri => ("21", "runInvocationURI", "Run Invocation URI"),
            Self::SourceRepositoryVisibilityAtSigning => (
                "22",
                "sourceRepositoryVisibilityAtSigning",
                "Source Repository Visibility At Signing",
            ),
        }
    }

    /// The name by which cosign prints it, lower camel case.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The title in cosign's messages.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// The object identifier of its extension.
    pub fn oid(self) -> ObjectIdentifier {
        const FULCIO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1");
        let last = self.row().0.parse().unwrap_or_default();
        FULCIO.push_arc(last).unwrap_or(FULCIO)
    }

    /// True if its value is the raw string rather than DER, as in the oldest extensions.
    pub(crate) fn is_raw(self) -> bool {
        self <= Self::GithubWorkflowRef
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(text) | Self::Uri(text) | Self::Dns(text) | Self::Other(text) => {
                f.write_str(text)
            }
            Self::Ip(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
