//! Registry operation: scheme selection, authentication, retries, and one deadline.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::Repository;
use tokio::time::Instant;
use url::Url;

use crate::auth::{TokenContext, TokenScope};
use crate::challenge::{Challenge, Unanswerable};
use crate::client::Client;
use crate::credentials::{Credential, FoundCredential, GIVEN};
use crate::host::{Host, Scheme};
use crate::reply::Reply;
use crate::transport::{Body, BodyMode, Request, Target, late};

/// API request, before the scheme of the registry is known.
pub(crate) struct ApiRequest<'a> {
    pub(crate) method: Method,
    pub(crate) repository: &'a Repository,
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) scope: TokenScope,
    pub(crate) limit: u64,
    pub(crate) mode: BodyMode,
    pub(crate) retry: Retry,
    pub(crate) deadline: Instant,
}

/// Target of an API request.
pub(crate) enum Endpoint {
    /// Path below `/v2/<repository>/`.
    Path(String),
    /// URL given by the registry.
    Url(Url),
}

/// Permission to retry a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Idempotent request.
    Allowed,
    /// Request whose effect is unknown when its response is lost; the caller must check first.
    Never,
}

/// Maximum number of credentials tried for one operation.
const MAX_CREDENTIALS: usize = 8;

impl<'a> ApiRequest<'a> {
    /// Retryable request without a body, with the client's default limits.
    pub(crate) fn new(client: &Client, method: Method, repository: &'a Repository) -> Self {
        let options = &client.shared.options;
        Self {
            method,
            repository,
            endpoint: Endpoint::Path(String::new()),
            headers: HeaderMap::new(),
            body: Body::Empty,
            scope: TokenScope::Pull(repository.path().to_owned()),
            limit: options.limits.manifest_bytes,
            mode: BodyMode::Buffered,
            retry: Retry::Allowed,
            deadline: Instant::now() + options.timeouts.request,
        }
    }

    pub(crate) fn at_path(mut self, rest: impl Into<String>) -> Self {
        self.endpoint = Endpoint::Path(rest.into());
        self
    }

    fn url(&self, scheme: Scheme) -> Result<Url, Fault> {
        let rest = match &self.endpoint {
            Endpoint::Url(url) => return Ok(url.clone()),
            Endpoint::Path(rest) => rest,
        };
        let (registry, path) = (self.repository.registry(), self.repository.path());
        let text = format!("{}://{registry}/v2/{path}/{rest}", scheme.name());
        Url::parse(&text).map_err(|e| Fault::new(FaultKind::Config, registry, e.to_string()))
    }

    /// Takes the body for sending; byte bodies are kept for a retry.
    fn body(&mut self) -> Result<Body, Fault> {
        match &self.body {
            Body::Empty => Ok(Body::Empty),
            Body::Bytes(bytes) => Ok(Body::Bytes(bytes.clone())),
            Body::Once(_) | Body::Stream(_) => Ok(std::mem::replace(&mut self.body, Body::Spent)),
            Body::Spent => {
                let detail = "requested the upload again, but a stream can be sent only once";
                Err(Fault::new(FaultKind::Unreachable, self.repository.registry(), detail))
            }
        }
    }
}

impl Client {
    /// Sends the request until there is a response that neither asks for other credentials nor is
    /// transient. The caller interprets its status.
    pub(crate) async fn send(&self, mut req: ApiRequest<'_>) -> Result<Reply, Fault> {
        let deadline = req.deadline;
        match tokio::time::timeout_at(deadline, self.authenticate_and_send(&mut req)).await {
            Ok(result) => result,
            Err(_) => Err(late(req.repository.registry())),
        }
    }

    async fn authenticate_and_send(&self, req: &mut ApiRequest<'_>) -> Result<Reply, Fault> {
        let host = self.host(req.repository).await;
        let mut auth = AuthState::new(self, &host, req);
        auth.begin().await;
        loop {
            let reply = self.send_with_retries(&host, req, auth.header.clone()).await?;
            match reply.status {
                StatusCode::UNAUTHORIZED => auth.answer(&reply).await?,
                StatusCode::FORBIDDEN if auth.has_next_credential() => {
                    auth.answer_denied(&reply).await?
                }
                _ => {
                    auth.remember_accepted().await;
                    return Ok(reply);
                }
            }
        }
    }

    /// Retries on transient faults.
    async fn send_with_retries(
        &self,
        host: &Host,
        req: &mut ApiRequest<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Reply, Fault> {
        let mut pauses = self.shared.options.retries.pauses(req.deadline);
        loop {
            let fault = match self.send_once(host, req, authorization.as_ref()).await {
                Ok(reply) if is_transient(reply.status) => reply.refusal(),
                Ok(reply) => {
                    host.budget.refund();
                    return Ok(reply);
                }
                Err(fault) => fault,
            };
            if req.retry == Retry::Never || matches!(req.body, Body::Spent) {
                return Err(fault);
            }
            pauses.before_next(fault, &host.budget).await?;
        }
    }

    /// One exchange over the registry's scheme; while that is unknown, over the first scheme that
    /// works.
    async fn send_once(
        &self,
        host: &Host,
        req: &mut ApiRequest<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, Fault> {
        let possible = host.schemes();
        let known = possible.len() == 1;
        // TLS is also tried when a plain HTTP response asks for it.
        let schemes = if possible == [Scheme::Http] { &HTTP_THEN_HTTPS } else { possible };
        let mut first = None;
        for (tried, scheme) in schemes.iter().enumerate() {
            if tried > 0 && matches!(req.body, Body::Spent) {
                break;
            }
            let last = tried + 1 == schemes.len();
            let request = self.request(host, req, *scheme, authorization)?;
            let target = Target::Registry(host.name.clone());
            match self.shared.transport.exchange(target, request).await {
                // Only from plain HTTP to TLS: a response never causes the opposite switch.
                Ok(reply) if *scheme == Scheme::Http && wants_tls(&reply, first.as_ref()) => {
                    host.record_unreachable(Scheme::Http);
                    first.get_or_insert(Ok(reply));
                }
                Ok(reply) => {
                    if answers_for(host, *scheme, &reply, first.as_ref()) {
                        host.record_scheme(*scheme);
                    }
                    return Ok(reply);
                }
                Err(fault) if known && other_scheme(&fault) => {
                    host.record_unreachable(*scheme);
                    return first.unwrap_or(Err(fault));
                }
                Err(fault) if !last && other_scheme(&fault) => first = Some(Err(fault)),
                // An untrusted certificate was presented over TLS, so the registry speaks TLS.
                Err(fault) if fault.kind == FaultKind::Tls && !other_scheme(&fault) => {
                    return Err(fault);
                }
                // The failure of the second scheme is less useful: the first is the registry's
                // usual one.
                Err(fault) => return first.unwrap_or(Err(fault)),
            }
        }
        first.unwrap_or_else(|| Err(late(&host.name)))
    }

    fn request(
        &self,
        host: &Host,
        req: &mut ApiRequest<'_>,
        scheme: Scheme,
        authorization: Option<&HeaderValue>,
    ) -> Result<Request, Fault> {
        let url = req.url(scheme)?;
        let mut headers = req.headers.clone();
        if let Some(value) = authorization.filter(|_| is_own(host, &url)) {
            headers.insert(AUTHORIZATION, value.clone());
        }
        Ok(Request {
            registry: host.name.clone(),
            method: req.method.clone(),
            url,
            headers,
            body: req.body()?,
            body_secret: None,
            limit: req.limit,
            mode: req.mode,
            deadline: req.deadline,
            lease: self.lease.clone(),
        })
    }
}

/// Returns whether `url` is at the registry itself, rather than at storage it redirects to.
pub(crate) fn is_own(host: &Host, url: &Url) -> bool {
    let own = |scheme: &Scheme| {
        Url::parse(&format!("{}://{}/", scheme.name(), host.name))
            .is_ok_and(|own| own.origin() == url.origin())
    };
    host.schemes().iter().any(own)
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

const HTTP_THEN_HTTPS: [Scheme; 2] = [Scheme::Http, Scheme::Https];

/// Returns whether a plain HTTP response comes from a server that expects TLS. Go's and nginx's
/// error texts are matched. A response to HEAD has no text, so any 400 is worth a try, unless TLS
/// was tried and is not supported.
fn wants_tls(reply: &Reply, first: Option<&Result<Reply, Fault>>) -> bool {
    let text = String::from_utf8_lossy(&reply.body);
    reply.status == StatusCode::BAD_REQUEST
        && (text.contains("HTTP request to an HTTPS server")
            || text.contains("plain HTTP request was sent to HTTPS port")
            || (text.is_empty() && !speaks_no_tls(first)))
}

/// Returns whether a response determines the registry's scheme. It does not if it redirected to
/// another scheme. Plain HTTP as the second choice counts only if the port answered the TLS
/// handshake with something else: a broken connection says nothing about the next one.
fn answers_for(
    host: &Host,
    scheme: Scheme,
    reply: &Reply,
    first: Option<&Result<Reply, Fault>>,
) -> bool {
    let is_same = Scheme::of(&reply.url) == scheme;
    is_same && (scheme == Scheme::Https || host.prefers(scheme) || speaks_no_tls(first))
}

/// Returns whether the TLS attempt got an answer that is not TLS.
fn speaks_no_tls(first: Option<&Result<Reply, Fault>>) -> bool {
    matches!(first, Some(Err(fault)) if fault.kind == FaultKind::Tls)
}

/// Returns whether a fault may come from using the wrong scheme. A bad certificate does not:
/// falling back to plain HTTP would let an attacker downgrade the connection.
fn other_scheme(fault: &Fault) -> bool {
    match fault.kind {
        FaultKind::Unreachable => true,
        FaultKind::Tls => fault.detail.contains("InvalidContentType"),
        _ => false,
    }
}

/// Authentication state of one operation.
struct AuthState<'a> {
    client: &'a Client,
    host: &'a Host,
    scope: TokenScope,
    scopes: Vec<String>,
    scope_extended: bool,
    /// `None` until looked up; empty for anonymous access.
    credentials: Option<Vec<FoundCredential>>,
    at: usize,
    header: Option<HeaderValue>,
    /// Challenge that `header` answers.
    answered: Option<Challenge>,
    /// Remembered challenge that could not be answered, and the reason.
    failed: Option<(Challenge, Fault)>,
    /// True once a challenge other than the answered one has arrived and been answered.
    accepted_new_challenge: bool,
    cached: bool,
    deadline: Instant,
}

impl<'a> AuthState<'a> {
    fn new(client: &'a Client, host: &'a Host, req: &ApiRequest<'_>) -> Self {
        Self {
            client,
            host,
            scopes: req.scope.to_strings(),
            scope: req.scope.clone(),
            scope_extended: false,
            credentials: None,
            at: 0,
            header: None,
            answered: None,
            failed: None,
            accepted_new_challenge: false,
            cached: false,
            deadline: req.deadline,
        }
    }

    /// Authenticates the first request when the registry's challenge is known. The remembered
    /// challenge may be outdated (another token endpoint, a repository that now needs no
    /// credentials); if it cannot be answered, the first request goes without credentials.
    async fn begin(&mut self) {
        let Some(challenge) = self.host.challenge() else { return };
        let now = Instant::now();
        // Leaves time for the request itself, however slow the token endpoint is.
        let time_limit = self.deadline.saturating_duration_since(now) / 2;
        let known = tokio::time::timeout_at(now + time_limit, self.answer_known(&challenge)).await;
        if let Err(fault) = known.unwrap_or_else(|_| Err(late(&self.host.name))) {
            self.host.forget_challenge(&challenge);
            (self.at, self.cached, self.header, self.answered) = (0, false, None, None);
            self.failed = Some((challenge, fault));
        }
    }

    async fn answer_known(&mut self, challenge: &Challenge) -> Result<(), Fault> {
        self.look_up().await?;
        let asked = self.own_url()?;
        self.authorize(challenge, &asked, None).await
    }

    /// Answers a 401.
    async fn answer(&mut self, reply: &Reply) -> Result<(), Fault> {
        if !is_own(self.host, &reply.url) {
            // The target of a redirect must not receive the registry's credentials.
            let mut refusal = reply.refusal();
            refusal.detail.push_str(" (no credentials are sent to the target of a redirect)");
            return Err(refusal);
        }
        let parsed = Challenge::parse(&reply.headers);
        match self.failed.take() {
            // The challenge is the same as before: what failed then would fail again.
            Some((challenge, fault))
                if parsed.as_ref().is_ok_and(|it| it.same_kind(&challenge)) =>
            {
                return Err(fault);
            }
            _ => self.look_up().await?,
        }
        let challenge = match parsed {
            Ok(challenge) => challenge,
            // No scheme is named. Go's clients try Basic if there is a password for this registry.
            Err(Unanswerable::Unnamed) if self.has_password() => Challenge::Basic,
            Err(why) => return Err(unanswerable(reply, &why)),
        };
        self.host.remember_challenge(Scheme::of(&reply.url), &challenge);
        let Some(refused) = self.header.take() else {
            return self.authorize(&challenge, &reply.url, None).await;
        };
        if self.cached || self.accept_new_challenge(&challenge) || self.extend_scope(&challenge) {
            self.cached = false;
            return self.authorize(&challenge, &reply.url, Some(&refused)).await;
        }
        self.next_credential(&challenge, reply).await
    }

    fn has_next_credential(&self) -> bool {
        let count = self.credentials.as_ref().map_or(0, Vec::len);
        self.header.is_some() && self.at + 1 < count
    }

    /// Answers a 403 with the next credential.
    async fn answer_denied(&mut self, reply: &Reply) -> Result<(), Fault> {
        match self.answered.clone() {
            Some(challenge) => self.next_credential(&challenge, reply).await,
            None => Err(self.explain_refusal(reply.refusal())),
        }
    }

    async fn next_credential(&mut self, challenge: &Challenge, reply: &Reply) -> Result<(), Fault> {
        self.at += 1;
        if self.credential().is_none() {
            return Err(self.explain_refusal(reply.refusal()));
        }
        self.authorize(challenge, &reply.url, None).await
    }

    /// Records that these credentials worked, so that they come first next time.
    async fn remember_accepted(&self) {
        let several = self.credentials.as_ref().is_some_and(|list| list.len() > 1);
        if let Some(credential) = self.credential().filter(|_| several && self.header.is_some()) {
            self.client.credentials.accepted.insert(self.key(), credential.id()).await;
        }
    }

    /// Creates the `Authorization` header with the current credential, or the next one that the
    /// token endpoint accepts.
    async fn authorize(
        &mut self,
        challenge: &Challenge,
        asked: &Url,
        refused: Option<&HeaderValue>,
    ) -> Result<(), Fault> {
        loop {
            match self.fetch_token(challenge, asked, refused).await {
                Err(fault) if is_refusal(&fault) => {
                    self.at += 1;
                    if self.credential().is_none() {
                        return Err(self.explain_refusal(fault));
                    }
                }
                result => return result,
            }
        }
    }

    /// Fetches one header value, with the same retries as for a registry.
    async fn fetch_token(
        &mut self,
        challenge: &Challenge,
        asked: &Url,
        refused: Option<&HeaderValue>,
    ) -> Result<(), Fault> {
        let shared = &self.client.shared;
        let mut pauses = shared.options.retries.pauses(self.deadline);
        let context = TokenContext {
            target: &self.host.name,
            asked,
            challenge,
            scopes: self.scopes.clone(),
            credential: self.credential(),
        };
        let authorization = loop {
            match shared.tokens.authorization(&shared.transport, &context, refused).await {
                Ok(authorization) => break authorization,
                Err(fault) => pauses.before_next(fault, &self.host.budget).await?,
            }
        };
        self.cached = authorization.cached;
        self.header = Some(authorization.value);
        self.answered = Some(challenge.clone());
        Ok(())
    }

    /// Accepts, once, a challenge of another kind than the answered one: the credential has not
    /// been refused then.
    fn accept_new_challenge(&mut self, challenge: &Challenge) -> bool {
        let other = self.answered.as_ref().is_some_and(|answered| !answered.same_kind(challenge));
        let first = other && !self.accepted_new_challenge;
        self.accepted_new_challenge |= other;
        first
    }

    /// Adds, once, the scope that the registry reports as missing.
    fn extend_scope(&mut self, challenge: &Challenge) -> bool {
        let Challenge::Bearer { scope: Some(scope), .. } = challenge else { return false };
        let more: Vec<String> = scope.split_whitespace().take(8).map(str::to_owned).collect();
        if self.scope_extended || more.is_empty() || more.iter().all(|s| self.scopes.contains(s)) {
            return false;
        }
        self.scope_extended = true;
        self.scopes = more;
        true
    }

    async fn look_up(&mut self) -> Result<(), Fault> {
        if self.credentials.is_some() {
            return Ok(());
        }
        let credentials = &self.client.credentials;
        let mut list = match &credentials.explicit {
            Some(explicit) => {
                vec![FoundCredential { credential: explicit.clone(), origin: GIVEN }]
            }
            None => {
                let (keychain, path) = (&credentials.keychain, self.scope.path());
                let mut list = keychain.lookup_with_origin(&self.host.name, path).await?;
                list.truncate(MAX_CREDENTIALS);
                list
            }
        };
        if let Some(accepted) = credentials.accepted.get(&self.key()).await {
            // Stable sort: the credential accepted last comes first, the others keep their order.
            list.sort_by_key(|found| found.credential.id() != accepted);
        }
        self.credentials = Some(list);
        Ok(())
    }

    fn key(&self) -> (String, String) {
        (self.host.name.clone(), self.scope.path().to_owned())
    }

    fn credential(&self) -> Option<&Credential> {
        self.credentials.as_ref()?.get(self.at).map(|found| &found.credential)
    }

    /// Returns whether a remaining credential is a password.
    fn has_password(&self) -> bool {
        let left = self.credentials.iter().flatten().skip(self.at);
        left.into_iter().any(|it| matches!(it.credential, Credential::Password { .. }))
    }

    fn is_anonymous(&self) -> bool {
        self.credentials.as_ref().is_none_or(Vec::is_empty)
    }

    fn own_url(&self) -> Result<Url, Fault> {
        let scheme = self.host.schemes().first().copied().unwrap_or(Scheme::Https);
        let text = format!("{}://{}/", scheme.name(), self.host.name);
        Url::parse(&text).map_err(|e| Fault::new(FaultKind::Config, &self.host.name, e.to_string()))
    }

    /// Origins of the credentials, all of which were refused.
    fn refused_origins(&self) -> Option<String> {
        let mut origins: Vec<&str> =
            self.credentials.iter().flatten().map(|found| found.origin).collect();
        origins.dedup();
        (!origins.is_empty()).then(|| origins.join(" and "))
    }

    /// Adds hints about the cause of a refusal.
    fn explain_refusal(&self, mut fault: Fault) -> Fault {
        if self.is_anonymous() && fault.kind == FaultKind::Unauthorized {
            fault.detail.push_str(
                " (requested without credentials: none are configured for this registry)",
            );
        }
        if let Some(origins) = self.refused_origins() {
            fault.detail.push_str(&format!(" (requested with the credentials of {origins})"));
        }
        if let Some(complaint) = self.client.credentials.keychain.unreadable() {
            fault.detail.push_str(&format!(" ({complaint})"));
        }
        fault
    }
}

/// Fault for a 401 whose challenge cannot be answered; logging in would not help.
fn unanswerable(reply: &Reply, why: &Unanswerable) -> Fault {
    let kind = match why {
        Unanswerable::Unnamed => FaultKind::Unauthorized,
        Unanswerable::Schemes(_) => FaultKind::Unsupported,
        Unanswerable::NoRealm => FaultKind::Malformed,
    };
    let refusal = reply.refusal();
    Fault { kind, detail: format!("{} ({why})", refusal.detail), ..refusal }
}

fn is_refusal(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Unauthorized | FaultKind::Denied)
}
