//! OIDC issuer: its discovery document, its token endpoint, and checks of its tokens.
//!
//! A token comes from the issuer over TLS, so its signature would prove nothing more; its issuer,
//! audience, nonce and expiry are checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::Login;
use crate::http::{Request, ServiceResponse, below, printable};
use crate::oidc::claims::claims;
use crate::oidc::exchange::{
    RequestPolicy, ask, ask_json, client, form, is_loopback, json, redact, secret_url,
};
use crate::oidc::token_environment::TokenEnvironment;
use sealgate_http::Secret;

const WELL_KNOWN: &str = ".well-known/openid-configuration";
/// Issuers that support PKCE without declaring it.
const UNDECLARED_PKCE: [&str; 2] =
    ["https://login.microsoftonline.com/", "https://login.microsoftonline.us/"];
const MAX_QUOTED: usize = 300;

/// Validated discovery document.
pub(super) struct Issuer {
    pub(super) name: String,
    token: Url,
    authorization: Option<Url>,
    device: Option<Url>,
    pkce: Support,
    authentication: Authentication,
    sends_iss: Support,
}

/// Support for an optional feature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    Yes,
    No,
}

/// Client authentication method at the token endpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Authentication {
    Post,
    Basic,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    token_endpoint: Option<String>,
    authorization_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// Response of a token endpoint: a token, or an error code.
#[derive(Deserialize)]
struct Tokens {
    id_token: Option<Secret>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Result of a token request.
pub(super) enum TokenResponse {
    Token(Secret),
    /// Error code, and the resulting fault.
    Refused(String, Fault),
}

impl Issuer {
    /// Fetches and validates the discovery document.
    pub(super) async fn discover(
        address: &str,
        environment: &TokenEnvironment,
    ) -> Result<Self, Fault> {
        let url = secret_url(address)?;
        let client = client(environment, RequestPolicy::Retried)?;
        let document: Document =
            ask_json(&client, Request::get(below(&url, WELL_KNOWN)), &[]).await?;
        Self::validate(address, &url, document)
    }

    fn validate(address: &str, url: &Url, document: Document) -> Result<Self, Fault> {
        let bad = |why: String| Fault::new(FaultKind::Malformed, address, why);
        if document.issuer != address {
            let found = printable(&document.issuer, MAX_QUOTED);
            return Err(bad(format!(
                "oidc: issuer did not match the issuer returned by provider, expected \
                 {address:?} got {found:?}"
            )));
        }
        let endpoint = |text: Option<String>| text.map(|text| endpoint(url, &text)).transpose();
        let token = endpoint(document.token_endpoint)?
            .ok_or_else(|| bad("has no token endpoint".to_owned()))?;
        let pkce = document.code_challenge_methods_supported.iter().any(|method| method == "S256")
            || UNDECLARED_PKCE.iter().any(|silent| address.starts_with(silent));
        let methods = document.token_endpoint_auth_methods_supported;
        let has = |name: &str| methods.iter().any(|method| method == name);
        let basic = has("client_secret_basic") && !has("client_secret_post");
        Ok(Self {
            name: address.to_owned(),
            token,
            authorization: endpoint(document.authorization_endpoint)?,
            device: endpoint(document.device_authorization_endpoint)?,
            pkce: Support::when(pkce),
            authentication: if basic { Authentication::Basic } else { Authentication::Post },
            sends_iss: Support::when(document.authorization_response_iss_parameter_supported),
        })
    }

    /// Authorization endpoint; an error unless the issuer supports PKCE.
    pub(super) fn authorization(&self) -> Result<&Url, Fault> {
        self.with_pkce()?;
        self.authorization.as_ref().ok_or_else(|| self.missing("authorization endpoint"))
    }

    /// Device authorization endpoint.
    pub(super) fn device(&self) -> Result<&Url, Fault> {
        self.with_pkce()?;
        self.device.as_ref().ok_or_else(|| self.missing("device authorization endpoint"))
    }

    /// Returns whether the issuer supports the device flow.
    pub(super) fn has_device(&self) -> bool {
        self.device.is_some()
    }

    /// Support for the `iss` parameter in authorization responses (RFC 9207).
    pub(super) fn sends_iss(&self) -> Support {
        self.sends_iss
    }

    fn with_pkce(&self) -> Result<(), Fault> {
        match self.pkce {
            Support::Yes => Ok(()),
            Support::No => Err(Fault::new(
                FaultKind::Unsupported,
                &self.name,
                "PKCE is not supported by OIDC provider (S256 is wanted)",
            )),
        }
    }

    fn missing(&self, what: &str) -> Fault {
        Fault::new(FaultKind::Unsupported, &self.name, format!("has no {what}"))
    }
}

impl Support {
    fn when(condition: bool) -> Self {
        if condition { Self::Yes } else { Self::No }
    }
}

/// Endpoint named by the issuer at `issuer`. Plain HTTP is accepted only on loopback, from an
/// issuer on loopback.
fn endpoint(issuer: &Url, text: &str) -> Result<Url, Fault> {
    let bad = |why: &str| Fault::new(FaultKind::Malformed, issuer.as_str(), why);
    let url = secret_url(text).map_err(|_| bad("names an endpoint that is not an https:// URL"))?;
    if url.scheme() == "http" && !is_loopback(issuer) {
        return Err(bad("names an endpoint on loopback"));
    }
    Ok(url)
}

impl Login<'_> {
    /// Sends a request to the token endpoint. `secrets` are the secrets among the fields.
    pub(super) async fn redeem(
        &self,
        fields: &[(&str, &str)],
        secrets: &[&Secret],
    ) -> Result<TokenResponse, Fault> {
        let mut fields = fields.to_vec();
        fields.push(("client_id", &self.request.client_id));
        let mut authorization = None;
        match (&self.secret, self.issuer.authentication) {
            (Some(secret), Authentication::Post) => {
                fields.push(("client_secret", secret.reveal()));
            }
            (Some(secret), Authentication::Basic) => {
                authorization = Some(basic(&self.request.client_id, secret)?);
            }
            (None, _) => {}
        }
        let request = form(self.issuer.token.clone(), &fields).accept("application/json");
        let request = match authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        let all: Vec<&Secret> = secrets.iter().copied().chain(&self.secret).collect();
        read(&ask(&self.client, request, &all).await?, &all)
    }

    /// Returns the token if it is from this issuer, for this client, and not expired.
    pub(super) fn accept(&self, token: Secret, nonce: Option<&Secret>) -> Result<Secret, Fault> {
        let bad = |why: String| Fault::new(FaultKind::Malformed, &self.issuer.name, why);
        let claims = claims(token.reveal())
            .map_err(|fault| bad(format!("returned an identity token that {}", fault.detail)))?;
        if claims.issuer != self.issuer.name {
            return Err(bad(format!("returned a token of another issuer: {:?}", claims.issuer)));
        }
        if !claims.is_for(&self.request.client_id) {
            let found = claims.audience.join(", ");
            return Err(bad(format!("returned a token for another client: {found:?}")));
        }
        if claims.expires.is_none_or(|at| at <= self.environment.clock.now()) {
            return Err(bad("returned an expired token; check this machine's clock".into()));
        }
        if nonce.is_some_and(|nonce| claims.nonce.as_deref() != Some(nonce.reveal())) {
            return Err(bad("nonce does not match value sent: a token of another login".into()));
        }
        Ok(token)
    }
}

/// Parses a token endpoint response. "Pending" codes may come with any status.
fn read(answer: &ServiceResponse, secrets: &[&Secret]) -> Result<TokenResponse, Fault> {
    let fault = || redact(answer.fault(), secrets);
    let tokens: Tokens = match json(answer) {
        Ok(tokens) => tokens,
        Err(malformed) if answer.status.is_success() => return Err(malformed),
        Err(_) => return Err(fault()),
    };
    if let Some(code) = tokens.error.filter(|code| !code.is_empty()) {
        let code = printable(&code, MAX_QUOTED);
        let said = tokens.error_description.filter(|said| !said.is_empty());
        let said = said.map(|said| format!(": {}", printable(&said, MAX_QUOTED)));
        let detail = format!("error obtaining token: {code}{}", said.unwrap_or_default());
        let kind = if answer.status.is_success() { FaultKind::Denied } else { fault().kind };
        let refused = redact(Fault::new(kind, &answer.target, detail), secrets);
        return Ok(TokenResponse::Refused(code, refused));
    }
    match tokens.id_token.filter(|token| !token.reveal().is_empty()) {
        _ if !answer.status.is_success() => Err(fault()),
        Some(token) => Ok(TokenResponse::Token(token)),
        None => Err(answer.malformed("id_token not present")),
    }
}

/// `Basic` header with both parts form-encoded (RFC 6749 section 2.3.1).
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, Fault> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Secret::new(format!("{}:{}", encode(client_id), encode(secret.reveal())));
    let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair.reveal())));
    let unusable = |_| Fault::new(FaultKind::Config, "client secret", "cannot be sent");
    let mut value = value.map_err(unusable)?;
    value.set_sensitive(true);
    Ok(value)
}
