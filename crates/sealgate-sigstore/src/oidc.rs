//! Identity tokens for signing without keys: who signs, in the words of an OIDC issuer.
//!
//! [`identity_token`] looks in cosign's order: the token that was given (`--identity-token`), the
//! surroundings that issue one without asking anybody ([`Provider`]), and at last a person who
//! logs in ([`Flow`]). A token is not verified here, only read: whoever certifies it verifies it.
//! Nothing of a token, a code or a client's secret is ever in a message or in `Debug`.

mod ambient;

mod claims;
mod exchange;
mod given;
mod login;
mod surroundings;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sealgate_core::fault::Fault;
use sealgate_engine::ports::IdentityToken;

pub use ambient::Provider;
pub use claims::{Checked, Claims, Email, Warning, claims};
pub use sealgate_http::Secret;
pub use surroundings::{
    Browser, Console, Pace, Places, Surroundings, SystemBrowser, Terminal, VARIABLES,
};

/// The public-good issuer.
pub const PUBLIC_ISSUER: &str = "https://oauth2.sigstore.dev/auth";

/// The audience that Sigstore's certificate authorities want, and the public-good client's name.
pub(crate) const AUDIENCE: &str = "sigstore";

/// Where a token may come from.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// `--identity-token`: a token, or the path of a file with one.
    pub identity_token: Option<Secret>,
    /// `--oidc-provider`, `--oidc-disable-ambient-providers`.
    pub ambient: Ambient,
    /// `--fulcio-auth-flow`; unless given, what fits the terminal.
    pub flow: Option<Flow>,
    /// The issuer where a person logs in: of the signing configuration, or `--oidc-issuer`.
    pub issuer: String,
    /// `--oidc-client-id`.
    pub client_id: String,
    /// `--oidc-client-secret-file`.
    pub client_secret_file: Option<PathBuf>,
    /// `--oidc-redirect-url`.
    pub redirect_url: Option<String>,
}

/// Which surroundings may give a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ambient {
    /// Each that is there, until one gives a token.
    #[default]
    Any,
    /// This one, which must be there.
    Only(Provider),
    /// None.
    Off,
}

/// How a person, or a client with a secret, logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// In a browser on this machine.
    Normal,
    /// In a browser anywhere, with a code to type.
    Device,
    /// Not at all: only a token that was given counts.
    Token,
    /// By the client's own secret.
    ClientCredentials,
}

/// A token, and what is known of it.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// The token.
    pub token: IdentityToken,
    /// What it says, unverified.
    pub claims: Claims,
    /// Where it comes from.
    pub origin: Origin,
    /// What may keep a certificate authority from taking it. To be shown, not to stop at: a
    /// private authority may want another audience, and this clock may be wrong.
    pub warnings: Vec<Warning>,
}

/// Where a token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--identity-token`.
    Given,
    /// The surroundings.
    Ambient(Provider),
    /// A login.
    Login(Flow),
}

/// Why there is no token. The first words are cosign's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token that was given cannot be used.
    #[error("reading ID token: getting id token: {0}")]
    Given(Fault),
    /// The surroundings should have given one.
    #[error("reading ID token: fetching ambient OIDC credentials: {last}")]
    Ambient {
        /// What the last one said.
        last: Fault,
        /// What those before it said.
        before: Vec<Fault>,
    },
    /// The login failed.
    #[error("authenticating caller: {0}")]
    Login(Fault),
}

/// A name that is none of those there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {name} (there are: {known})")]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: String,
}

impl Default for TokenRequest {
    fn default() -> Self {
        Self {
            identity_token: None,
            ambient: Ambient::Any,
            flow: None,
            issuer: PUBLIC_ISSUER.to_owned(),
            client_id: AUDIENCE.to_owned(),
            client_secret_file: None,
            redirect_url: None,
        }
    }
}

impl Flow {
    const ALL: [Self; 4] = [Self::Normal, Self::Device, Self::Token, Self::ClientCredentials];

    /// Its name in `--fulcio-auth-flow`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Device => "device",
            Self::Token => "token",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

impl FromStr for Flow {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|flow| flow.name() == name)
            .ok_or_else(|| UnknownName::new("unsupported oauth flow", name, known()))
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Obtained {
    fn new(token: Secret, origin: Origin, now: jiff::Timestamp) -> Result<Self, Fault> {
        let claims = claims(token.reveal())?;
        let warnings = match origin {
            // Its audience is the client, and has been checked.
            Origin::Login(_) => claims.warnings(now, None),
            Origin::Given | Origin::Ambient(_) => claims.warnings(now, Some(AUDIENCE)),
        };
        Ok(Self { token: IdentityToken::new(token.reveal()), claims, origin, warnings })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("--identity-token"),
            Self::Ambient(provider) => write!(f, "{provider}"),
            Self::Login(flow) => write!(f, "a login ({flow})"),
        }
    }
}

impl TokenError {
    /// What went wrong, without cosign's words around it.
    pub fn fault(&self) -> &Fault {
        match self {
            Self::Given(fault) | Self::Login(fault) | Self::Ambient { last: fault, .. } => fault,
        }
    }
}

impl UnknownName {
    fn new(what: &'static str, name: &str, known: String) -> Self {
        Self { what, name: name.chars().take(80).collect(), known }
    }
}

/// A token for signing, from the first place that has one.
///
/// # Errors
/// The place that should have had one, or the login, failed.
pub async fn identity_token(
    request: &TokenRequest,
    surroundings: &Surroundings,
) -> Result<Obtained, TokenError> {
    let now = || surroundings.clock.now();
    // `--identity-token ""` gives none: scripts write it so.
    let given = request.identity_token.as_ref();
    if let Some(given) = given.filter(|given| !given.reveal().trim().is_empty()) {
        let token = given::read(given).await.map_err(TokenError::Given)?;
        return Obtained::new(token, Origin::Given, now()).map_err(TokenError::Given);
    }
    if let Some((token, provider)) = ambient::token(request.ambient, surroundings).await? {
        let origin = Origin::Ambient(provider);
        return Obtained::new(token, origin, now())
            .map_err(|last| TokenError::Ambient { last, before: Vec::new() });
    }
    let (token, flow) = login::login(request, surroundings).await.map_err(TokenError::Login)?;
    Obtained::new(token, Origin::Login(flow), now()).map_err(TokenError::Login)
}

#[cfg(test)]
mod tests;
