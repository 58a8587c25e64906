//! Access control: open, Basic, or tokens from `/token`.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::route::{error, json};
use super::{State, locked};

/// Access control of the registry.
#[derive(Clone, Debug)]
pub enum Access {
    /// Anonymous access to everything.
    Open,
    /// Basic authentication with one of these accounts.
    Basic(Vec<Account>),
    /// Bearer tokens from `/token`, for one of these accounts.
    Bearer {
        /// Accounts.
        accounts: Vec<Account>,
        /// Repositories (path prefixes) that may be pulled anonymously.
        public: Vec<String>,
        /// Value of `expires_in`, in seconds.
        life: u64,
    },
}

/// User account.
#[derive(Clone)]
pub struct Account {
    /// User name.
    pub username: String,
    /// Password, also accepted as a refresh token.
    pub password: String,
    /// Repositories (path prefixes) that the account may use; an empty prefix matches all.
    pub repositories: Vec<String>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Account({})", self.username)
    }
}

impl Account {
    /// Account for all repositories.
    pub fn new(username: &str, password: &str) -> Self {
        let repositories = vec![String::new()];
        Self { username: username.to_owned(), password: password.to_owned(), repositories }
    }

    /// Same account for one prefix only.
    pub fn only(self, prefix: &str) -> Self {
        Self { repositories: vec![prefix.to_owned()], ..self }
    }

    fn may_use(&self, repository: &str) -> bool {
        self.repositories.iter().any(|prefix| repository.starts_with(prefix.as_str()))
    }
}

/// Issued tokens and their grants.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    given: HashMap<String, Vec<String>>,
    next: u64,
}

impl Tokens {
    pub(super) fn revoke(&mut self) {
        self.given.clear();
    }
}

impl State {
    /// Response to an unauthorized request; `None` when it is authorized.
    pub(super) fn refusal(
        &self,
        method: &Method,
        repository: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<Response<Body>> {
        let action = match *method {
            Method::GET | Method::HEAD => "pull",
            Method::DELETE => "delete",
            _ => "push",
        };
        match &self.options.access {
            Access::Open => None,
            Access::Basic(accounts) => self.refuse_basic(accounts, repository, headers),
            Access::Bearer { .. } => self.refuse_bearer(repository, action, headers),
        }
    }

    fn refuse_basic(
        &self,
        accounts: &[Account],
        repository: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<Response<Body>> {
        let Some(account) = account_of(accounts, headers) else {
            return Some(challenge("Basic realm=\"sealgate\"".to_owned()));
        };
        match repository {
            Some(repository) if !account.may_use(repository) => {
                Some(error(StatusCode::FORBIDDEN, "DENIED", "not your repository"))
            }
            _ => None,
        }
    }

    fn refuse_bearer(
        &self,
        repository: Option<&str>,
        action: &str,
        headers: &HeaderMap,
    ) -> Option<Response<Body>> {
        let token = value(headers).and_then(|v| v.strip_prefix("Bearer ").map(str::to_owned));
        let scope = repository.map(|name| format!("repository:{name}:{action}"));
        let granted = token.and_then(|token| locked(&self.tokens).given.get(&token).cloned());
        let enough = granted.is_some_and(|granted| match &scope {
            Some(scope) => granted.contains(scope),
            None => true,
        });
        if enough {
            return None;
        }
        let realm = format!("http://{}/token", self.addr);
        let mut text = format!("Bearer realm=\"{realm}\",service=\"sealgate\"");
        if let Some(scope) = scope {
            text.push_str(&format!(",scope=\"{scope}\""));
        }
        Some(challenge(text))
    }

    /// `GET /token` (Basic or anonymous) and `POST /token` (refresh token).
    pub(super) fn give_token(
        &self,
        method: &Method,
        query: &[(String, String)],
        headers: &HeaderMap,
        body: &[u8],
    ) -> Response<Body> {
        let Access::Bearer { accounts, public, life } = &self.options.access else {
            return error(StatusCode::NOT_FOUND, "UNSUPPORTED", "no tokens here");
        };
        let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
        let account = match *method {
            Method::POST => form
                .iter()
                .find(|(key, _)| key == "refresh_token")
                .and_then(|(_, token)| accounts.iter().find(|a| a.password == *token)),
            _ => account_of(accounts, headers),
        };
        let claims = *method == Method::POST || headers.contains_key(header::AUTHORIZATION);
        if account.is_none() && claims {
            return error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "wrong credentials");
        }
        let pairs = if *method == Method::POST { &form } else { query };
        let granted = granted(pairs, account, public);
        let mut tokens = locked(&self.tokens);
        tokens.next += 1;
        let name = account.map_or("nobody", |a| a.username.as_str());
        let token = format!("token-{}-{name}", tokens.next);
        tokens.given.insert(token.clone(), granted);
        json(StatusCode::OK, &serde_json::json!({ "token": token, "expires_in": life }))
    }
}

/// Granted actions of the requested scopes.
fn granted(
    pairs: &[(String, String)],
    account: Option<&Account>,
    public: &[String],
) -> Vec<String> {
    let scopes = pairs.iter().filter(|(key, _)| key == "scope").flat_map(|(_, v)| v.split(' '));
    let mut granted = Vec::new();
    for scope in scopes {
        let Some(rest) = scope.strip_prefix("repository:") else { continue };
        let Some((name, actions)) = rest.rsplit_once(':') else { continue };
        let open = public.iter().any(|prefix| name.starts_with(prefix.as_str()));
        for action in actions.split(',') {
            if account.is_some_and(|a| a.may_use(name)) || (open && action == "pull") {
                granted.push(format!("repository:{name}:{action}"));
            }
        }
    }
    granted
}

fn account_of<'a>(accounts: &'a [Account], headers: &HeaderMap) -> Option<&'a Account> {
    let value = value(headers)?;
    let plain = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let plain = String::from_utf8(plain).ok()?;
    let (name, password) = plain.split_once(':')?;
    accounts.iter().find(|a| a.username == name && a.password == password)
}

fn value(headers: &HeaderMap) -> Option<String> {
    headers.get(header::AUTHORIZATION)?.to_str().ok().map(str::to_owned)
}

fn challenge(text: String) -> Response<Body> {
    let mut answer = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who are you?");
    if let Ok(value) = HeaderValue::from_str(&text) {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    answer
}
