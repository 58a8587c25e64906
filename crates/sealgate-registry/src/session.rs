//! One question to one registry: credentials when they are asked for, retries, one deadline.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::Repository;
use tokio::time::Instant;
use url::Url;

use crate::auth::{Scope, Wanted};
use crate::challenge::{Challenge, Unanswerable};
use crate::client::Client;
use crate::credentials::Credential;
use crate::host::{Host, Scheme};
use crate::reply::Reply;
use crate::transport::{Body, Request, Take, late};

/// A question, before it is known how the registry is spoken to.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) repository: &'a Repository,
    pub(crate) place: Place,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) scope: Scope,
    pub(crate) limit: u64,
    pub(crate) take: Take,
    pub(crate) repeat: Repeat,
    pub(crate) deadline: Instant,
}

/// Where the question goes.
pub(crate) enum Place {
    /// Below `/v2/<repository>/`.
    Below(String),
    /// An address that the registry itself gave.
    At(Url),
}

/// Whether a question may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Asking twice does no harm.
    Freely,
    /// What a lost answer did is not known: whoever asks must look first.
    Never,
}

/// Credentials that are tried for one question.
const MAX_CREDENTIALS: usize = 8;

impl<'a> Ask<'a> {
    /// A repeatable question without a body, with the client's usual bounds.
    pub(crate) fn new(client: &Client, method: Method, repository: &'a Repository) -> Self {
        let options = &client.shared.options;
        Self {
            method,
            repository,
            place: Place::Below(String::new()),
            headers: HeaderMap::new(),
            body: Body::Empty,
            scope: Scope::Pull(repository.path().to_owned()),
            limit: options.limits.manifest_bytes,
            take: Take::Whole,
            repeat: Repeat::Freely,
            deadline: Instant::now() + options.timeouts.request,
        }
    }

    pub(crate) fn below(mut self, rest: impl Into<String>) -> Self {
        self.place = Place::Below(rest.into());
        self
    }

    fn url(&self, scheme: Scheme) -> Result<Url, Fault> {
        let rest = match &self.place {
            Place::At(url) => return Ok(url.clone()),
            Place::Below(rest) => rest,
        };
        let (registry, path) = (self.repository.registry(), self.repository.path());
        let text = format!("{}://{registry}/v2/{path}/{rest}", scheme.name());
        Url::parse(&text).map_err(|e| Fault::new(FaultKind::Config, registry, e.to_string()))
    }

    /// Takes the body out for sending; bytes stay for the next time.
    fn body(&mut self) -> Result<Body, Fault> {
        match &self.body {
            Body::Empty => Ok(Body::Empty),
            Body::Bytes(bytes) => Ok(Body::Bytes(bytes.clone())),
            Body::Once(_) | Body::Stream(_) => Ok(std::mem::replace(&mut self.body, Body::Spent)),
            Body::Spent => {
                let detail = "wanted the upload again, which can be sent once only";
                Err(Fault::new(FaultKind::Unreachable, self.repository.registry(), detail))
            }
        }
    }
}

impl Client {
    /// Asks until there is an answer that is not about credentials and will not change by asking
    /// again; its status is the caller's to judge.
    pub(crate) async fn ask(&self, mut ask: Ask<'_>) -> Result<Reply, Fault> {
        let deadline = ask.deadline;
        match tokio::time::timeout_at(deadline, self.converse(&mut ask)).await {
            Ok(result) => result,
            Err(_) => Err(late(ask.repository.registry())),
        }
    }

    async fn converse(&self, ask: &mut Ask<'_>) -> Result<Reply, Fault> {
        let host = self.host(ask.repository).await;
        let mut turn = Turn::new(self, &host, ask);
        turn.begin().await;
        loop {
            let reply = self.persist(&host, ask, turn.header.clone()).await?;
            match reply.status {
                StatusCode::UNAUTHORIZED => turn.answer(&reply).await?,
                StatusCode::FORBIDDEN if turn.can_change() => turn.change(&reply).await?,
                _ => {
                    turn.end().await;
                    return Ok(reply);
                }
            }
        }
    }

    /// Asks again while the fault is one that passes.
    async fn persist(
        &self,
        host: &Host,
        ask: &mut Ask<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Reply, Fault> {
        let mut pauses = self.shared.options.retries.pauses(ask.deadline);
        loop {
            let fault = match self.once(host, ask, authorization.as_ref()).await {
                Ok(reply) if passes(reply.status) => reply.refusal(),
                Ok(reply) => {
                    host.budget.give();
                    return Ok(reply);
                }
                Err(fault) => fault,
            };
            if ask.repeat == Repeat::Never || matches!(ask.body, Body::Spent) {
                return Err(fault);
            }
            pauses.before_next(fault, &host.budget).await?;
        }
    }

    /// One exchange, over the scheme that the registry speaks; where that is not known yet, over
    /// the first that works.
    async fn once(
        &self,
        host: &Host,
        ask: &mut Ask<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, Fault> {
        let possible = host.schemes();
        let known = possible.len() == 1;
        // An answer that wants TLS is reason enough to try it.
        let schemes = if possible == [Scheme::Http] { &HTTP_THEN_HTTPS } else { possible };
        let mut first = None;
        for (tried, scheme) in schemes.iter().enumerate() {
            if tried > 0 && matches!(ask.body, Body::Spent) {
                break;
            }
            let last = tried + 1 == schemes.len();
            let request = self.request(host, ask, *scheme, authorization)?;
            match self.shared.wire.exchange(&host.name, request).await {
                // From plain HTTP to TLS only: never the other way for what an answer says.
                Ok(reply) if *scheme == Scheme::Http && wants_tls(&reply, first.as_ref()) => {
                    host.missed(Scheme::Http);
                    first.get_or_insert(Ok(reply));
                }
                Ok(reply) => {
                    if answers_for(host, *scheme, &reply, first.as_ref()) {
                        host.speaks(*scheme);
                    }
                    return Ok(reply);
                }
                Err(fault) if known && other_scheme(&fault) => {
                    host.missed(*scheme);
                    return first.unwrap_or(Err(fault));
                }
                Err(fault) if !last && other_scheme(&fault) => first = Some(Err(fault)),
                // A certificate that is not believed was shown over TLS: that is what it speaks.
                Err(fault) if fault.kind == FaultKind::Tls && !other_scheme(&fault) => {
                    return Err(fault);
                }
                // The second scheme's failure says less: the first is the registry's usual one.
                Err(fault) => return first.unwrap_or(Err(fault)),
            }
        }
        first.unwrap_or_else(|| Err(late(&host.name)))
    }

    fn request(
        &self,
        host: &Host,
        ask: &mut Ask<'_>,
        scheme: Scheme,
        authorization: Option<&HeaderValue>,
    ) -> Result<Request, Fault> {
        let url = ask.url(scheme)?;
        let mut headers = ask.headers.clone();
        if let Some(value) = authorization.filter(|_| is_own(host, &url)) {
            headers.insert(AUTHORIZATION, value.clone());
        }
        Ok(Request {
            registry: host.name.clone(),
            method: ask.method.clone(),
            url,
            headers,
            body: ask.body()?,
            confided: None,
            limit: ask.limit,
            take: ask.take,
            deadline: ask.deadline,
        })
    }
}

/// Whether `url` is the registry itself, and not storage that it points to.
pub(crate) fn is_own(host: &Host, url: &Url) -> bool {
    let own = |scheme: &Scheme| {
        Url::parse(&format!("{}://{}/", scheme.name(), host.name))
            .is_ok_and(|own| own.origin() == url.origin())
    };
    host.schemes().iter().any(own)
}

fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

const HTTP_THEN_HTTPS: [Scheme; 2] = [Scheme::Http, Scheme::Https];

/// Whether an answer over plain HTTP comes from a server that is spoken to without TLS and wants
/// it (Go's and nginx's words; to HEAD they cannot say it, so there any 400 is worth a try, but
/// where TLS was tried and is not spoken).
fn wants_tls(reply: &Reply, first: Option<&Result<Reply, Fault>>) -> bool {
    let text = String::from_utf8_lossy(&reply.body);
    reply.status == StatusCode::BAD_REQUEST
        && (text.contains("HTTP request to an HTTPS server")
            || text.contains("plain HTTP request was sent to HTTPS port")
            || (text.is_empty() && !speaks_no_tls(first)))
}

/// Whether an answer says how the registry is spoken to. Not where it sent us to another scheme.
/// Plain HTTP, as the second choice, only if the port has answered TLS with something else: that
/// a connection broke says nothing about the next one.
fn answers_for(
    host: &Host,
    scheme: Scheme,
    reply: &Reply,
    first: Option<&Result<Reply, Fault>>,
) -> bool {
    let is_same = Scheme::of(&reply.url) == scheme;
    is_same && (scheme == Scheme::Https || host.prefers(scheme) || speaks_no_tls(first))
}

/// Whether the attempt by TLS was answered, and not by TLS.
fn speaks_no_tls(first: Option<&Result<Reply, Fault>>) -> bool {
    matches!(first, Some(Err(fault)) if fault.kind == FaultKind::Tls)
}

/// Whether a fault may come from speaking the wrong scheme. A bad certificate does not: falling
/// back to plain HTTP then would turn an attack into a connection.
fn other_scheme(fault: &Fault) -> bool {
    match fault.kind {
        FaultKind::Unreachable => true,
        FaultKind::Tls => fault.detail.contains("InvalidContentType"),
        _ => false,
    }
}

/// The credentials' side of one question.
struct Turn<'a> {
    client: &'a Client,
    host: &'a Host,
    scope: Scope,
    scopes: Vec<String>,
    widened: bool,
    /// `None`: not looked up yet. An empty list: anonymous.
    credentials: Option<Vec<Credential>>,
    at: usize,
    header: Option<HeaderValue>,
    /// The challenge that the header answers.
    answered: Option<Challenge>,
    /// The remembered challenge that could not be answered, and why.
    failed: Option<(Challenge, Fault)>,
    /// Another challenge than the answered one came, and has been answered, too.
    switched: bool,
    cached: bool,
    deadline: Instant,
}

impl<'a> Turn<'a> {
    fn new(client: &'a Client, host: &'a Host, ask: &Ask<'_>) -> Self {
        Self {
            client,
            host,
            scopes: ask.scope.words(),
            scope: ask.scope.clone(),
            widened: false,
            credentials: None,
            at: 0,
            header: None,
            answered: None,
            failed: None,
            switched: false,
            cached: false,
            deadline: ask.deadline,
        }
    }

    /// Where the registry is known to ask, the answer goes with the first request. What is known
    /// may be out of date (another token endpoint, a repository that needs none): where it leads to
    /// nothing, the registry is asked without.
    async fn begin(&mut self) {
        let Some(challenge) = self.host.challenge() else { return };
        let now = Instant::now();
        // Time for the question itself is left, however slow a token endpoint is.
        let patience = self.deadline.saturating_duration_since(now) / 2;
        let known = tokio::time::timeout_at(now + patience, self.answer_known(&challenge)).await;
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
            // Whoever is behind a redirect must not learn who we are.
            let mut refusal = reply.refusal();
            refusal.detail.push_str(" (no credentials are sent where a redirect leads)");
            return Err(refusal);
        }
        let parsed = Challenge::parse(&reply.headers);
        match self.failed.take() {
            // It asks as before: what failed at the beginning would fail again.
            Some((challenge, fault))
                if parsed.as_ref().is_ok_and(|it| it.asks_like(&challenge)) =>
            {
                return Err(fault);
            }
            _ => self.look_up().await?,
        }
        let challenge = match parsed {
            Ok(challenge) => challenge,
            // No scheme is named: where there is a password for this registry, Basic is what Go's
            // clients try.
            Err(Unanswerable::Unnamed) if self.has_password() => Challenge::Basic,
            Err(why) => return Err(unanswerable(reply, &why)),
        };
        self.host.remember_challenge(Scheme::of(&reply.url), &challenge);
        let Some(refused) = self.header.take() else {
            return self.authorize(&challenge, &reply.url, None).await;
        };
        if self.cached || self.switch(&challenge) || self.widen(&challenge) {
            self.cached = false;
            return self.authorize(&challenge, &reply.url, Some(&refused)).await;
        }
        self.next_credential(&challenge, reply).await
    }

    fn can_change(&self) -> bool {
        let count = self.credentials.as_ref().map_or(0, Vec::len);
        self.header.is_some() && self.at + 1 < count
    }

    /// Answers a 403 with the next credential.
    async fn change(&mut self, reply: &Reply) -> Result<(), Fault> {
        match self.answered.clone() {
            Some(challenge) => self.next_credential(&challenge, reply).await,
            None => Err(self.complain(reply.refusal())),
        }
    }

    async fn next_credential(&mut self, challenge: &Challenge, reply: &Reply) -> Result<(), Fault> {
        self.at += 1;
        if self.credential().is_none() {
            return Err(self.complain(reply.refusal()));
        }
        self.authorize(challenge, &reply.url, None).await
    }

    /// The question was answered: these credentials come first next time.
    async fn end(&self) {
        let several = self.credentials.as_ref().is_some_and(|list| list.len() > 1);
        if let Some(credential) = self.credential().filter(|_| several && self.header.is_some()) {
            self.client.who.taken.insert(self.key(), credential.id()).await;
        }
    }

    /// Makes the header with this credential, or the next one that the token endpoint takes.
    async fn authorize(
        &mut self,
        challenge: &Challenge,
        asked: &Url,
        refused: Option<&HeaderValue>,
    ) -> Result<(), Fault> {
        loop {
            match self.buy(challenge, asked, refused).await {
                Err(fault) if refuses(&fault) => {
                    self.at += 1;
                    if self.credential().is_none() {
                        return Err(self.complain(fault));
                    }
                }
                result => return result,
            }
        }
    }

    /// One header; a token endpoint in trouble is asked again as a registry is.
    async fn buy(
        &mut self,
        challenge: &Challenge,
        asked: &Url,
        refused: Option<&HeaderValue>,
    ) -> Result<(), Fault> {
        let shared = &self.client.shared;
        let mut pauses = shared.options.retries.pauses(self.deadline);
        let wanted = Wanted {
            target: &self.host.name,
            asked,
            challenge,
            scopes: self.scopes.clone(),
            credential: self.credential(),
        };
        let authorization = loop {
            match shared.tokens.authorization(&shared.wire, &wanted, refused).await {
                Ok(authorization) => break authorization,
                Err(fault) => pauses.before_next(fault, &self.host.budget).await?,
            }
        };
        self.cached = authorization.cached;
        self.header = Some(authorization.value);
        self.answered = Some(challenge.clone());
        Ok(())
    }

    /// Whether the registry asks in another way than the one that was answered: the credential was
    /// not refused then. Once.
    fn switch(&mut self, challenge: &Challenge) -> bool {
        let other = self.answered.as_ref().is_some_and(|answered| !answered.asks_like(challenge));
        let first = other && !self.switched;
        self.switched |= other;
        first
    }

    /// Takes over the scope that the registry says is missing, once.
    fn widen(&mut self, challenge: &Challenge) -> bool {
        let Challenge::Bearer { scope: Some(scope), .. } = challenge else { return false };
        let more: Vec<String> = scope.split_whitespace().take(8).map(str::to_owned).collect();
        if self.widened || more.is_empty() || more.iter().all(|s| self.scopes.contains(s)) {
            return false;
        }
        self.widened = true;
        self.scopes = more;
        true
    }

    async fn look_up(&mut self) -> Result<(), Fault> {
        if self.credentials.is_some() {
            return Ok(());
        }
        let who = &self.client.who;
        let mut list = match &who.explicit {
            Some(explicit) => vec![explicit.clone()],
            None => {
                let mut list = who.keychain.lookup(&self.host.name, self.scope.path()).await?;
                list.truncate(MAX_CREDENTIALS);
                list
            }
        };
        if let Some(taken) = who.taken.get(&self.key()).await {
            // A stable sort: the one that was taken last comes first, the others keep their order.
            list.sort_by_key(|credential| credential.id() != taken);
        }
        self.credentials = Some(list);
        Ok(())
    }

    fn key(&self) -> (String, String) {
        (self.host.name.clone(), self.scope.path().to_owned())
    }

    fn credential(&self) -> Option<&Credential> {
        self.credentials.as_ref()?.get(self.at)
    }

    /// Whether one of the credentials that are left is a password.
    fn has_password(&self) -> bool {
        let left = self.credentials.iter().flatten().skip(self.at);
        left.into_iter().any(|it| matches!(it, Credential::Password { .. }))
    }

    fn is_anonymous(&self) -> bool {
        self.credentials.as_ref().is_none_or(Vec::is_empty)
    }

    fn own_url(&self) -> Result<Url, Fault> {
        let scheme = self.host.schemes().first().copied().unwrap_or(Scheme::Https);
        let text = format!("{}://{}/", scheme.name(), self.host.name);
        Url::parse(&text).map_err(|e| Fault::new(FaultKind::Config, &self.host.name, e.to_string()))
    }

    /// A refusal, with what helps to find its cause.
    fn complain(&self, mut fault: Fault) -> Fault {
        if self.is_anonymous() && fault.kind == FaultKind::Unauthorized {
            fault.detail.push_str(" (asked without credentials: none are known for it)");
        }
        if let Some(complaint) = self.client.who.keychain.complaints() {
            fault.detail.push_str(&format!(" ({complaint})"));
        }
        fault
    }
}

/// A 401 whose challenge cannot be answered: to log in would change nothing.
fn unanswerable(reply: &Reply, why: &Unanswerable) -> Fault {
    let kind = match why {
        Unanswerable::Unnamed => FaultKind::Unauthorized,
        Unanswerable::Schemes(_) => FaultKind::Unsupported,
        Unanswerable::NoRealm => FaultKind::Malformed,
    };
    let refusal = reply.refusal();
    Fault { kind, detail: format!("{} ({why})", refusal.detail), ..refusal }
}

fn refuses(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Unauthorized | FaultKind::Denied)
}
