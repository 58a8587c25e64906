//! Token authentication: responses to challenges, and the token cache.
//!
//! A token is cached under everything it depends on: the registry that asked for it, realm,
//! service, scopes, and the credential it was obtained with. Two namespaces with different pull
//! secrets for one registry therefore never share a token, while concurrent requests of one
//! namespace fetch it once (single flight).

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant as StdInstant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::budget::Lease;
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::challenge::Challenge;
use crate::credentials::{Credential, CredentialId, Secret};
use crate::options::{InsecureRegistries, Options, PlainHttp};
use crate::transport::{
    Body, BodyMode, LATE, Request, Target, Transport, authority, content_type, has_user, sensitive,
};

/// Access that a request needs, as a token scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TokenScope {
    Pull(String),
    Push(String),
    Delete(String),
    /// Push to the first repository, mounting a blob of the second.
    Mount(String, String),
}

impl TokenScope {
    /// Scopes in the syntax of the token specification: `repository:PATH:pull,push`.
    pub(crate) fn to_strings(&self) -> Vec<String> {
        match self {
            Self::Pull(path) => vec![format!("repository:{path}:pull")],
            Self::Push(path) => vec![format!("repository:{path}:pull,push")],
            Self::Delete(path) => vec![format!("repository:{path}:pull,push,delete")],
            Self::Mount(to, from) => {
                vec![format!("repository:{to}:pull,push"), format!("repository:{from}:pull")]
            }
        }
    }

    /// Repository path that credentials are looked up for.
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Pull(path) | Self::Push(path) | Self::Delete(path) | Self::Mount(path, _) => path,
        }
    }
}

/// Cache key of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Registry that the token is sent to: several registries may name the same token endpoint.
    registry: String,
    realm: String,
    service: String,
    scopes: Vec<String>,
    credential: CredentialId,
}

#[derive(Clone)]
struct Token {
    value: Arc<Secret>,
    keep: Duration,
}

/// Expires each token after its own lifetime.
struct TokenLife;

impl moka::Expiry<Key, Token> for TokenLife {
    fn expire_after_create(&self, _: &Key, token: &Token, _: StdInstant) -> Option<Duration> {
        Some(token.keep)
    }
}

/// Token cache.
pub(crate) struct Tokens {
    /// Created for the first token.
    cache: LazyLock<moka::future::Cache<Key, Token>>,
    plain_http: PlainHttp,
    insecure: InsecureRegistries,
    time_limit: Duration,
    /// Pays for the responses of token endpoints: several callers may wait for one token.
    lease: Lease,
}

/// `Authorization` header, and whether its token came from the cache.
pub(crate) struct Authorization {
    pub(crate) value: HeaderValue,
    pub(crate) cached: bool,
}

/// Context of one token request.
pub(crate) struct TokenContext<'a> {
    /// Registry, for messages.
    pub(crate) target: &'a str,
    /// URL that answered 401.
    pub(crate) asked: &'a Url,
    pub(crate) challenge: &'a Challenge,
    pub(crate) scopes: Vec<String>,
    pub(crate) credential: Option<&'a Credential>,
}

impl Tokens {
    pub(crate) fn new(options: &Options) -> Self {
        let (plain_http, insecure) = (options.plain_http, options.insecure.clone());
        let time_limit = options.timeouts.request;
        let lease = Lease::standalone(MAX_TOKENS);
        Self { cache: LazyLock::new(token_cache), plain_http, insecure, time_limit, lease }
    }

    /// `Authorization` header for a request. A cached token equal to `refused`, the header that was
    /// just refused, is dropped.
    pub(crate) async fn authorization(
        &self,
        transport: &Transport,
        context: &TokenContext<'_>,
        refused: Option<&HeaderValue>,
    ) -> Result<Authorization, Fault> {
        let bad = || {
            context.fault(
                FaultKind::Config,
                "the credentials contain characters not allowed in a header",
            )
        };
        let sure = |value| Authorization { value, cached: false };
        if let Some(Credential::Bearer(token)) = context.credential {
            return bearer(token).map(sure).ok_or_else(bad);
        }
        match context.challenge {
            Challenge::Basic => match context.credential {
                Some(Credential::Password { username, password }) => {
                    basic(username, password).map(sure).ok_or_else(bad)
                }
                Some(_) => Err(context.fault(
                    FaultKind::Unauthorized,
                    "requires a user name and a password, but the credentials are a token",
                )),
                None => Err(context.fault(FaultKind::Unauthorized, "requires credentials")),
            },
            Challenge::Bearer { realm, service, .. } => {
                self.token(transport, context, realm, service, refused).await
            }
        }
    }

    async fn token(
        &self,
        transport: &Transport,
        context: &TokenContext<'_>,
        realm: &str,
        service: &str,
        refused: Option<&HeaderValue>,
    ) -> Result<Authorization, Fault> {
        let url = self.realm(context, realm)?;
        let key = Key {
            registry: context.target.to_owned(),
            realm: realm.to_owned(),
            service: service.to_owned(),
            scopes: context.scopes.clone(),
            credential: context.credential.map_or(CredentialId::ANONYMOUS, Credential::id),
        };
        if let Some(value) = self.cache.get(&key).await.and_then(|t| bearer(&t.value)) {
            if refused != Some(&value) {
                return Ok(Authorization { value, cached: true });
            }
            self.cache.invalidate(&key).await;
        }
        let fetch_token = self.fetch_token(transport, context, url, service);
        let token = self.cache.try_get_with(key, fetch_token).await;
        let token = token.map_err(|fault: Arc<Fault>| Fault::clone(&fault))?;
        let value = bearer(&token.value).ok_or_else(|| {
            context.fault(
                FaultKind::Malformed,
                "the token contains characters not allowed in a header",
            )
        })?;
        Ok(Authorization { value, cached: false })
    }

    /// Token endpoint; an error unless it is at least as secure as the registry that named it.
    fn realm(&self, context: &TokenContext<'_>, realm: &str) -> Result<Url, Fault> {
        let refuse = |why: &str| Err(context.fault(FaultKind::Malformed, why));
        let Ok(url) = Url::parse(realm) else {
            return refuse("the realm of its challenge is not a URL");
        };
        if has_user(&url) {
            return refuse("the realm of its challenge contains a user name; refused");
        }
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" if !host.is_empty() => Ok(url),
            "http" if context.asked.scheme() != "http" => {
                refuse("requests credentials for a token endpoint over plain HTTP; refused")
            }
            "http"
                if sealgate_http::is_loopback(host) || self.plain_http == PlainHttp::Anywhere =>
            {
                Ok(url)
            }
            "http" if self.insecure.contains(&authority(&url)) => Ok(url),
            "http" => refuse("requests credentials for another host over plain HTTP; refused"),
            _ => refuse("the realm of its challenge is not an HTTP URL"),
        }
    }

    async fn fetch_token(
        &self,
        transport: &Transport,
        context: &TokenContext<'_>,
        url: Url,
        service: &str,
    ) -> Result<Token, Fault> {
        // Not the caller's deadline: other callers may be waiting for the same token.
        let deadline = Instant::now() + self.time_limit;
        let is_exchange = matches!(context.credential, Some(Credential::Refresh(_)));
        let request = match context.credential {
            Some(Credential::Refresh(token)) => {
                exchange_form(context, url, service, token, deadline, &self.lease)
            }
            other => get_request(context, url, service, other, deadline, &self.lease),
        };
        let request =
            request.ok_or_else(|| context.fault(FaultKind::Config, "unusable credentials"))?;
        let target = Target::token_endpoint(context.target, &request.url);
        let whole = transport.exchange(target.clone(), request);
        let reply = tokio::time::timeout_at(deadline, whole)
            .await
            .map_err(|_| target.fault(FaultKind::Timeout, LATE))??;
        if !reply.status.is_success() {
            let mut refusal = reply.refusal();
            match reply.status.as_u16() {
                // OAuth 2.0 reports `invalid_grant` with status 400 (RFC 6749 section 5.2).
                400 => refusal.kind = FaultKind::Unauthorized,
                // The token specification says that not every token server supports POST. The next
                // credential, such as a password for GET, may work.
                404 | 405 if is_exchange => {
                    refusal.kind = FaultKind::Unauthorized;
                    refusal.detail.push_str(" (refresh tokens are not supported)");
                }
                _ => {}
            }
            return Err(refusal);
        }
        Token::parse(&reply.body)
            .ok_or_else(|| reply.fault(FaultKind::Malformed, "the response contains no token"))
    }
}

fn token_cache() -> moka::future::Cache<Key, Token> {
    moka::future::Cache::builder()
        .weigher(|key: &Key, token: &Token| key.weight().saturating_add(token.weight()))
        .max_capacity(MAX_TOKENS)
        .expire_after(TokenLife)
        .build()
}

impl TokenContext<'_> {
    fn fault(&self, kind: FaultKind, detail: impl Into<String>) -> Fault {
        Fault::new(kind, self.target, detail)
    }
}

/// Maximum size of a token endpoint's response, in bytes.
const MAX_TOKEN: u64 = 256 << 10;
/// Maximum size of all cached tokens together, in bytes: a registry chooses the size of its tokens.
const MAX_TOKENS: u64 = 4 << 20;

fn get_request(
    context: &TokenContext<'_>,
    mut url: Url,
    service: &str,
    credential: Option<&Credential>,
    deadline: Instant,
    lease: &Lease,
) -> Option<Request> {
    if !service.is_empty() {
        url.query_pairs_mut().append_pair("service", service);
    }
    for scope in &context.scopes {
        url.query_pairs_mut().append_pair("scope", scope);
    }
    let mut headers = HeaderMap::new();
    if let Some(Credential::Password { username, password }) = credential {
        url.query_pairs_mut().append_pair("account", username);
        headers.insert(AUTHORIZATION, basic(username, password)?);
    }
    let (method, body, body_secret) = (Method::GET, Body::Empty, None);
    let (limit, mode) = (MAX_TOKEN, BodyMode::Buffered);
    let registry = context.target.to_owned();
    let lease = lease.clone();
    Some(Request {
        registry,
        method,
        url,
        headers,
        body,
        body_secret,
        limit,
        mode,
        deadline,
        lease,
    })
}

/// Form that exchanges a refresh token for an access token (OAuth 2.0).
fn exchange_form(
    context: &TokenContext<'_>,
    url: Url,
    service: &str,
    token: &Secret,
    deadline: Instant,
    lease: &Lease,
) -> Option<Request> {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", service)
        .append_pair("client_id", "sealgate")
        .append_pair("scope", &context.scopes.join(" "))
        .append_pair("refresh_token", token.reveal())
        .finish();
    let headers = content_type("application/x-www-form-urlencoded")?;
    // Never resent, so that a redirect cannot carry the token to another host.
    let body = Body::Once(form.into());
    let (method, body_secret) = (Method::POST, Some(token.clone()));
    let (limit, mode) = (MAX_TOKEN, BodyMode::Buffered);
    let registry = context.target.to_owned();
    let lease = lease.clone();
    Some(Request {
        registry,
        method,
        url,
        headers,
        body,
        body_secret,
        limit,
        mode,
        deadline,
        lease,
    })
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<f64>,
}

impl Key {
    fn weight(&self) -> u32 {
        let texts = [&self.registry, &self.realm, &self.service].into_iter().chain(&self.scopes);
        weight(256 + texts.map(String::len).sum::<usize>())
    }
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Token {
    fn weight(&self) -> u32 {
        weight(self.value.reveal().len())
    }

    /// Parses a token response. A token is kept for nine tenths of its lifetime (one minute if not
    /// given), at most one hour. `issued_at` is ignored: clocks differ, and counting from now is
    /// the safe choice.
    fn parse(body: &[u8]) -> Option<Self> {
        let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
        let full = |t: &Secret| !t.reveal().is_empty();
        let value = answer.token.filter(full).or(answer.access_token.filter(full))?;
        let life = answer.expires_in.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(60.0);
        let keep = Duration::from_secs_f64((life * 0.9).min(3600.0));
        Some(Self { value: Arc::new(value), keep })
    }
}

fn basic(username: &str, password: &Secret) -> Option<HeaderValue> {
    let plain = Zeroizing::new(format!("{username}:{}", password.reveal()));
    sensitive(&Zeroizing::new(format!("Basic {}", STANDARD.encode(plain.as_bytes()))))
}

fn bearer(token: &Secret) -> Option<HeaderValue> {
    sensitive(&Zeroizing::new(format!("Bearer {}", token.reveal())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Registry names come from untrusted workloads, so the number and size of tokens are bounded.
    #[tokio::test]
    async fn tokens_together_are_bounded() {
        let tokens = Tokens::new(&Options::default());
        for number in 0..200 {
            let key = Key {
                registry: "reg.io".into(),
                realm: "https://auth.io/token".into(),
                service: "reg".into(),
                scopes: vec![format!("repository:a/{number}:pull")],
                credential: CredentialId::ANONYMOUS,
            };
            let value = Arc::new(Secret::new("x".repeat(250 << 10)));
            tokens.cache.insert(key, Token { value, keep: Duration::from_secs(3600) }).await;
        }
        tokens.cache.run_pending_tasks().await;
        assert!(tokens.cache.weighted_size() <= MAX_TOKENS);
        assert!((1..=17).contains(&tokens.cache.entry_count()));
    }

    #[test]
    fn a_token_endpoint_is_as_secure_as_the_registry_and_has_no_user_name() {
        let tokens = Tokens::new(&Options::default());
        let good = |asked: &str, realm: &str| {
            let asked = Url::parse(asked).unwrap();
            let (challenge, scopes) = (&Challenge::Basic, Vec::new());
            let target = "reg.io";
            let context =
                TokenContext { target, asked: &asked, challenge, scopes, credential: None };
            tokens.realm(&context, realm).is_ok()
        };
        let (https, local) = ("https://reg.io/", "http://localhost:5000/");
        assert!(good(https, "https://auth.io/token"));
        assert!(good(local, "http://127.0.0.1:5001/token"));
        for realm in [
            "http://auth.io/token",
            "http://localhost/token",
            "https://eve:pw@auth.io/token",
            "https://eve@auth.io/token",
            "https://:pw@auth.io/token",
            "ftp://auth.io/token",
            "file:///etc/passwd",
            "/token",
            "",
        ] {
            assert!(!good(https, realm), "{realm}");
        }
        assert!(!good(local, "http://auth.io/token"));
    }

    #[test]
    fn reads_tokens_and_how_long_they_live() {
        let keep = |text: &str| Token::parse(text.as_bytes()).map(|t| t.keep.as_secs());
        assert_eq!(keep(r#"{"token":"t"}"#), Some(54));
        assert_eq!(keep(r#"{"access_token":"t","expires_in":300}"#), Some(270));
        assert_eq!(keep(r#"{"token":"","access_token":"t","expires_in":1e300}"#), Some(3600));
        assert_eq!(keep(r#"{"token":"t","expires_in":-5}"#), Some(54));
        assert_eq!(keep(r#"{"token":""}"#), None);
        assert_eq!(keep("<html>"), None);
    }

    #[test]
    fn a_realm_must_be_as_safe_as_the_registry() {
        let tokens = Tokens::new(&Options::default());
        let realm = |asked: &str, realm: &str| {
            let asked = Url::parse(asked).unwrap();
            let challenge = Challenge::Basic;
            let context = TokenContext {
                target: "reg",
                asked: &asked,
                challenge: &challenge,
                scopes: vec![],
                credential: None,
            };
            tokens.realm(&context, realm).is_ok()
        };
        assert!(realm("https://reg.io/v2/", "https://auth.io/token"));
        assert!(!realm("https://reg.io/v2/", "http://auth.io/token"));
        assert!(!realm("https://reg.io/v2/", "http://127.0.0.1/token"));
        assert!(realm("http://127.0.0.1:5/v2/", "http://127.0.0.1:6/token"));
        assert!(!realm("http://127.0.0.1:5/v2/", "http://auth.io/token"));
        assert!(!realm("https://reg.io/v2/", "file:///etc/passwd"));
        assert!(!realm("https://reg.io/v2/", "token"));
    }
}
