//! An OIDC issuer: its discovery document, its token endpoint, and whether a token that it gave is
//! for us.
//!
//! The token comes from the issuer itself over TLS, so its signature says nothing that the
//! connection does not; what it says about whom it is for, by whom and until when is checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::Login;
use crate::http::{Answer, Request, below, printable};
use crate::oidc::claims::claims;
use crate::oidc::exchange::{
    Manner, ask, ask_json, client, form, guarded_url, is_loopback, json, scrub,
};
use crate::oidc::surroundings::Surroundings;
use sealgate_http::Secret;

const WELL_KNOWN: &str = ".well-known/openid-configuration";
/// They support PKCE and do not say so.
const SILENT: [&str; 2] =
    ["https://login.microsoftonline.com/", "https://login.microsoftonline.us/"];
const MAX_WORDS: usize = 300;

/// What an issuer says of itself, as far as it has been judged.
pub(super) struct Issuer {
    pub(super) name: String,
    token: Url,
    authorization: Option<Url>,
    device: Option<Url>,
    pkce: Support,
    authentication: Authentication,
    names_itself: Support,
}

/// Whether an issuer can do something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    Yes,
    No,
}

/// How a client's secret goes to the token endpoint.
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

/// What a token endpoint answers: a token, or a code that says why there is none.
#[derive(Deserialize)]
struct Tokens {
    id_token: Option<Secret>,
    error: Option<String>,
    error_description: Option<String>,
}

/// What the token endpoint said.
pub(super) enum Redeemed {
    Token(Secret),
    /// The error's code, and the fault that it is.
    Refused(String, Fault),
}

impl Issuer {
    /// Fetches and judges the discovery document.
    pub(super) async fn discover(
        address: &str,
        surroundings: &Surroundings,
    ) -> Result<Self, Fault> {
        let url = guarded_url(address)?;
        let client = client(surroundings, Manner::Patient)?;
        let document: Document =
            ask_json(&client, Request::get(below(&url, WELL_KNOWN)), &[]).await?;
        Self::judge(address, &url, document)
    }

    fn judge(address: &str, url: &Url, document: Document) -> Result<Self, Fault> {
        let bad = |why: String| Fault::new(FaultKind::Malformed, address, why);
        if document.issuer != address {
            let found = printable(&document.issuer, MAX_WORDS);
            return Err(bad(format!(
                "oidc: issuer did not match the issuer returned by provider, expected \
                 {address:?} got {found:?}"
            )));
        }
        let endpoint = |text: Option<String>| text.map(|text| endpoint(url, &text)).transpose();
        let token = endpoint(document.token_endpoint)?
            .ok_or_else(|| bad("has no token endpoint".to_owned()))?;
        let pkce = document.code_challenge_methods_supported.iter().any(|method| method == "S256")
            || SILENT.iter().any(|silent| address.starts_with(silent));
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
            names_itself: Support::when(document.authorization_response_iss_parameter_supported),
        })
    }

    /// Where a person logs in, if codes are bound to who asked for them.
    pub(super) fn authorization(&self) -> Result<&Url, Fault> {
        self.with_pkce()?;
        self.authorization.as_ref().ok_or_else(|| self.lacks("authorization endpoint"))
    }

    /// Where a code to type is had.
    pub(super) fn device(&self) -> Result<&Url, Fault> {
        self.with_pkce()?;
        self.device.as_ref().ok_or_else(|| self.lacks("device authorization endpoint"))
    }

    /// Whether there is a device flow.
    pub(super) fn has_device(&self) -> bool {
        self.device.is_some()
    }

    /// Whether it puts its name into what it sends by the browser (RFC 9207).
    pub(super) fn names_itself(&self) -> Support {
        self.names_itself
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

    fn lacks(&self, what: &str) -> Fault {
        Fault::new(FaultKind::Unsupported, &self.name, format!("has no {what}"))
    }
}

impl Support {
    fn when(condition: bool) -> Self {
        if condition { Self::Yes } else { Self::No }
    }
}

/// An endpoint of the issuer at `issuer`: nobody but an issuer on this machine sends us to
/// unencrypted addresses on it.
fn endpoint(issuer: &Url, text: &str) -> Result<Url, Fault> {
    let bad = |why: &str| Fault::new(FaultKind::Malformed, issuer.as_str(), why);
    let url = guarded_url(text).map_err(|_| bad("names an endpoint that is no https:// URL"))?;
    if url.scheme() == "http" && !is_loopback(issuer) {
        return Err(bad("names an endpoint on this machine"));
    }
    Ok(url)
}

impl Login<'_> {
    /// Asks the token endpoint. `secrets` are those among the fields.
    pub(super) async fn redeem(
        &self,
        fields: &[(&str, &str)],
        secrets: &[&Secret],
    ) -> Result<Redeemed, Fault> {
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

    /// The token, if it is this issuer's, for this client, and still good.
    pub(super) fn accept(&self, token: Secret, nonce: Option<&Secret>) -> Result<Secret, Fault> {
        let bad = |why: String| Fault::new(FaultKind::Malformed, &self.issuer.name, why);
        let claims = claims(token.reveal())
            .map_err(|fault| bad(format!("gave an identity token that {}", fault.detail)))?;
        if claims.issuer != self.issuer.name {
            return Err(bad(format!("gave a token of another issuer: {:?}", claims.issuer)));
        }
        if !claims.is_for(&self.request.client_id) {
            let found = claims.audience.join(", ");
            return Err(bad(format!("gave a token for another client: {found:?}")));
        }
        if claims.expires.is_none_or(|at| at <= self.surroundings.clock.now()) {
            return Err(
                bad("gave a token that has expired; is this machine's clock right?".into()),
            );
        }
        if nonce.is_some_and(|nonce| claims.nonce.as_deref() != Some(nonce.reveal())) {
            return Err(bad("nonce does not match value sent: a token of another login".into()));
        }
        Ok(token)
    }
}

/// What the token endpoint said. A code for "not yet" comes with whatever status.
fn read(answer: &Answer, secrets: &[&Secret]) -> Result<Redeemed, Fault> {
    let fault = || scrub(answer.fault(), secrets);
    let tokens: Tokens = match json(answer) {
        Ok(tokens) => tokens,
        Err(malformed) if answer.status.is_success() => return Err(malformed),
        Err(_) => return Err(fault()),
    };
    if let Some(code) = tokens.error.filter(|code| !code.is_empty()) {
        let code = printable(&code, MAX_WORDS);
        let said = tokens.error_description.filter(|said| !said.is_empty());
        let said = said.map(|said| format!(": {}", printable(&said, MAX_WORDS)));
        let detail = format!("error obtaining token: {code}{}", said.unwrap_or_default());
        let kind = if answer.status.is_success() { FaultKind::Denied } else { fault().kind };
        let refused = scrub(Fault::new(kind, &answer.target, detail), secrets);
        return Ok(Redeemed::Refused(code, refused));
    }
    match tokens.id_token.filter(|token| !token.reveal().is_empty()) {
        _ if !answer.status.is_success() => Err(fault()),
        Some(token) => Ok(Redeemed::Token(token)),
        None => Err(answer.malformed("id_token not present")),
    }
}

/// `Basic` with both parts encoded as in a form, as OAuth wants it.
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, Fault> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Secret::new(format!("{}:{}", encode(client_id), encode(secret.reveal())));
    let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair.reveal())));
    let unusable = |_| Fault::new(FaultKind::Config, "client secret", "cannot be sent");
    let mut value = value.map_err(unusable)?;
    value.set_sensitive(true);
    Ok(value)
}
