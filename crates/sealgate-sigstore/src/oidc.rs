//! Identity tokens for keyless signing.
//!
//! [`identity_token`] tries the sources in cosign's order: the given token (`--identity-token`), an
//! ambient provider such as a CI system ([`Provider`]), and an interactive login ([`Flow`]). Tokens
//! are parsed but not verified: the certificate authority verifies them. No message or `Debug`
//! output contains a token, an authorization code or a client secret.

mod ambient;

mod claims;
mod exchange;
mod given;
mod login;
mod token_environment;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sealgate_core::fault::Fault;
use sealgate_engine::ports::IdentityToken;

pub use ambient::Provider;
pub use claims::{Checked, Claims, Email, Warning, claims};
pub use sealgate_http::Secret;
pub use token_environment::{
    Browser, Console, Paths, Sleep, SystemBrowser, Terminal, TokenEnvironment, VARIABLES,
};

/// Issuer of the public-good instance.
pub const PUBLIC_ISSUER: &str = "https://oauth2.sigstore.dev/auth";

/// Audience required by Sigstore's certificate authorities, and client ID at the public-good
/// issuer.
pub(crate) const AUDIENCE: &str = "sigstore";

/// Options of a token request.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// `--identity-token`: a token, or the path of a file that contains one.
    pub identity_token: Option<Secret>,
    /// `--oidc-provider`, `--oidc-disable-ambient-providers`.
    pub ambient: Ambient,
    /// `--fulcio-auth-flow`; by default chosen by the terminal.
    pub flow: Option<Flow>,
    /// Issuer for interactive logins: from the signing configuration, or `--oidc-issuer`.
    pub issuer: String,
    /// `--oidc-client-id`.
    pub client_id: String,
    /// `--oidc-client-secret-file`.
    pub client_secret_file: Option<PathBuf>,
    /// `--oidc-redirect-url`.
    pub redirect_url: Option<String>,
}

/// Ambient providers to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ambient {
    /// Every available provider, until one returns a token.
    #[default]
    Any,
    /// This provider only; an error if it is not available.
    Only(Provider),
    /// None.
    Off,
}

/// OAuth 2.0 flow of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Authorization code flow, in a browser on this machine.
    Normal,
    /// Device flow: a code entered in any browser.
    Device,
    /// No login: only a given token is used.
    Token,
    /// Client credentials flow, with a client secret.
    ClientCredentials,
}

/// Token, its claims and its source.
#[derive(Clone, Debug)]
pub struct ObtainedToken {
    /// Token.
    pub token: IdentityToken,
    /// Claims, not verified.
    pub claims: Claims,
    /// Source.
    pub source: TokenSource,
    /// Problems because of which a certificate authority may refuse the token. Shown, but not
    /// fatal: a private authority may expect another audience, and the local clock may be wrong.
    pub warnings: Vec<Warning>,
}

/// Source of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `--identity-token`.
    Given,
    /// Ambient provider.
    Ambient(Provider),
    /// Login.
    Login(Flow),
}

/// Error of a token request. The first words match cosign's messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The given token cannot be used.
    #[error("reading ID token: getting id token: {0}")]
    Given(Fault),
    /// An ambient provider failed.
    #[error("reading ID token: fetching ambient OIDC credentials: {last}")]
    Ambient {
        /// Fault of the last provider.
        last: Fault,
        /// Faults of the providers before it.
        before: Vec<Fault>,
    },
    /// The login failed.
    #[error("authenticating caller: {0}")]
    Login(Fault),
}

/// Unknown name of a flow or provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {name} (known: {known})")]
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

    /// Name of the flow in `--fulcio-auth-flow`.
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

impl ObtainedToken {
    fn new(token: Secret, source: TokenSource, now: jiff::Timestamp) -> Result<Self, Fault> {
        let claims = claims(token.reveal())?;
        let warnings = match source {
            // The audience of a login's token is the client ID, which has been checked.
            TokenSource::Login(_) => claims.warnings(now, None),
            TokenSource::Given | TokenSource::Ambient(_) => claims.warnings(now, Some(AUDIENCE)),
        };
        Ok(Self { token: IdentityToken::new(token.reveal()), claims, source, warnings })
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("--identity-token"),
            Self::Ambient(provider) => write!(f, "{provider}"),
            Self::Login(flow) => write!(f, "a login ({flow})"),
        }
    }
}

impl TokenError {
    /// The underlying fault, without cosign's prefix.
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

/// Token for signing, from the first source that has one.
///
/// # Errors
/// An error if a source that should have a token, or the login, fails.
pub async fn identity_token(
    request: &TokenRequest,
    environment: &TokenEnvironment,
) -> Result<ObtainedToken, TokenError> {
    let now = || environment.clock.now();
    // `--identity-token ""` means no token: scripts pass it like this.
    let given = request.identity_token.as_ref();
    if let Some(given) = given.filter(|given| !given.reveal().trim().is_empty()) {
        let token = given::read(given).await.map_err(TokenError::Given)?;
        return ObtainedToken::new(token, TokenSource::Given, now()).map_err(TokenError::Given);
    }
    if let Some((token, provider)) = ambient::token(request.ambient, environment).await? {
        let origin = TokenSource::Ambient(provider);
        return ObtainedToken::new(token, origin, now())
            .map_err(|last| TokenError::Ambient { last, before: Vec::new() });
    }
    let (token, flow) = login::login(request, environment).await.map_err(TokenError::Login)?;
    ObtainedToken::new(token, TokenSource::Login(flow), now()).map_err(TokenError::Login)
}

#[cfg(test)]
mod tests;
