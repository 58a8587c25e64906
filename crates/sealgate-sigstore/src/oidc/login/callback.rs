//! Callback listener of the authorization code flow: listens on loopback only, accepts exactly one
//! callback of this login, and rejects all other requests.
//!
//! The redirect URL says `localhost`, which every issuer accepts for a public client, and the
//! listener is bound to 127.0.0.1. Other local processes may connect to it or listen there, but
//! know neither the state nor the PKCE verifier.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sealgate_core::fault::{Fault, FaultKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::{Host, Url, form_urlencoded};
use zeroize::Zeroizing;

use super::issuer::{Issuer, Support};
use crate::http::printable;
use sealgate_http::Secret;

const DEFAULT_REDIRECT: &str = "http://localhost:0/auth/callback";
/// Maximum number of concurrent connections: browsers open some without using them.
const MAX_CONNECTIONS: usize = 32;
/// Time limit for one connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_HEAD: usize = 16 << 10;
const MAX_QUOTED: usize = 300;

/// Listener for the callback.
pub(super) struct Callback {
    listener: TcpListener,
    redirect: Url,
}

/// Expected parameters of the callback.
pub(super) struct Expected<'a> {
    pub(super) state: &'a Secret,
    pub(super) issuer: &'a Issuer,
}

/// Classification of a request.
enum CallbackRequest {
    /// Unrelated to this login.
    Unrelated(ErrorPage),
    /// Callback of this login: a code, or the reason why there is none.
    Callback(Result<Secret, Fault>),
}

/// Response to an unrelated request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorPage {
    NotFound,
    NotAllowed,
    BadRequest,
    OtherLogin,
}

/// Parameters of a callback.
#[derive(Default)]
struct Parameters {
    state: Option<Secret>,
    code: Option<Secret>,
    issuer: Option<String>,
    error: Option<String>,
    description: Option<String>,
}

impl Callback {
    /// Listens at `redirect`, or at a free port.
    pub(super) async fn bind(redirect: Option<&str>) -> Result<Self, Fault> {
        let text = redirect.unwrap_or(DEFAULT_REDIRECT);
        let bad = |why: &str| Fault::new(FaultKind::Config, "--oidc-redirect-url", why);
        let mut redirect = Url::parse(text).map_err(|e| bad(&format!("not a URL: {e}")))?;
        let address = match redirect.host() {
            Some(Host::Domain("localhost")) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            _ => return Err(bad("want http://localhost:PORT/PATH: a person comes back to us")),
        };
        if redirect.scheme() != "http" || !address.is_loopback() || redirect.fragment().is_some() {
            return Err(bad("want http:// at an address of this machine only (localhost)"));
        }
        let port = redirect.port().unwrap_or(80);
        let failed = |e: std::io::Error| bad(&format!("starting redirect listener: {e}"));
        let listener = TcpListener::bind((address, port)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        redirect.set_port(Some(port)).map_err(|()| bad("has no place for a port"))?;
        Ok(Self { listener, redirect })
    }

    /// Redirect URL.
    pub(super) fn redirect(&self) -> &Url {
        &self.redirect
    }

    /// Code from the first callback of this login.
    pub(super) async fn code(
        &self,
        expected: &Expected<'_>,
        within: Duration,
    ) -> Result<Secret, Fault> {
        let late = |_| {
            let detail = format!("no login within {} s", within.as_secs());
            Fault::new(FaultKind::Timeout, &expected.issuer.name, detail)
        };
        tokio::time::timeout(within, self.receive(expected)).await.map_err(late)?
    }

    async fn receive(&self, expected: &Expected<'_>) -> Result<Secret, Fault> {
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => connections.push(handle_connection(stream, self.redirect.path(), expected)),
                    // Out of file descriptors, or the peer has disconnected: neither ends the
                    // login.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                handled = connections.next(), if !connections.is_empty() => {
                    if let Some(Some(outcome)) = handled {
                        return outcome;
                    }
                }
            }
        }
    }
}

/// Reads one request and responds to it.
async fn handle_connection(
    mut stream: TcpStream,
    path: &str,
    expected: &Expected<'_>,
) -> Option<Result<Secret, Fault>> {
    let head = tokio::time::timeout(CONNECTION_TIMEOUT, read_head(&mut stream)).await.ok()??;
    let request = classify(&head, path, expected);
    let reply = page(&request);
    let said = async {
        stream.write_all(reply.as_bytes()).await?;
        stream.shutdown().await
    };
    // The browser may close the connection before reading the page; its code is valid all the same.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, said).await;
    match request {
        CallbackRequest::Callback(outcome) => Some(outcome),
        CallbackRequest::Unrelated(_) => None,
    }
}

/// Request head, up to the empty line; nothing after it is read.
async fn read_head(stream: &mut TcpStream) -> Option<Zeroizing<String>> {
    let mut head = Zeroizing::new(Vec::with_capacity(MAX_HEAD));
    let mut piece = Zeroizing::new([0; 2048]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut *piece).await.ok()?;
        if read == 0 || head.len() + read > MAX_HEAD {
            return None;
        }
        head.extend_from_slice(piece.get(..read)?);
    }
    Some(Zeroizing::new(std::str::from_utf8(&head).ok()?.to_owned()))
}

fn classify(head: &str, path: &str, expected: &Expected<'_>) -> CallbackRequest {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    let (found, query) = target.split_once('?').unwrap_or((target, ""));
    match method {
        _ if !http || words.next().is_some() => CallbackRequest::Unrelated(ErrorPage::BadRequest),
        _ if found != path => CallbackRequest::Unrelated(ErrorPage::NotFound),
        "GET" => match Parameters::read(query) {
            Some(parameters) => parameters.classify(expected),
            None => CallbackRequest::Unrelated(ErrorPage::BadRequest),
        },
        _ => CallbackRequest::Unrelated(ErrorPage::NotAllowed),
    }
}

impl Parameters {
    /// Parses the parameters; a repeated one is an error.
    fn read(query: &str) -> Option<Self> {
        let mut found = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let again = match name.as_ref() {
                "state" => found.state.replace(Secret::new(value)).is_some(),
                "code" => found.code.replace(Secret::new(value)).is_some(),
                "iss" => found.issuer.replace(value.into_owned()).is_some(),
                "error" => found.error.replace(value.into_owned()).is_some(),
                "error_description" => found.description.replace(value.into_owned()).is_some(),
                _ => false,
            };
            if again {
                return None;
            }
        }
        Some(found)
    }

    /// Classifies the callback. Without this login's state nothing is accepted, not even an error
    /// report.
    fn classify(self, expected: &Expected<'_>) -> CallbackRequest {
        let wanted = expected.state.reveal().as_bytes();
        let found = self.state.as_ref().map_or(&b""[..], |state| state.reveal().as_bytes());
        if verify_slices_are_equal(found, wanted).is_err() {
            return CallbackRequest::Unrelated(ErrorPage::OtherLogin);
        }
        CallbackRequest::Callback(self.outcome(expected.issuer))
    }

    fn outcome(self, issuer: &Issuer) -> Result<Secret, Fault> {
        let fault = |kind, why: String| Fault::new(kind, &issuer.name, why);
        if let Some(error) = self.error {
            let said = self.description.map(|said| format!(": {}", printable(&said, MAX_QUOTED)));
            let error = printable(&error, MAX_QUOTED);
            let detail = format!("the login was refused: {error}{}", said.unwrap_or_default());
            return Err(fault(FaultKind::Denied, detail));
        }
        let named = match (&self.issuer, issuer.sends_iss()) {
            (Some(name), _) => *name == issuer.name,
            (None, sends_iss) => sends_iss == Support::No,
        };
        if !named {
            let detail = "the response in the browser came from another issuer".to_owned();
            return Err(fault(FaultKind::Malformed, detail));
        }
        let code = self.code.filter(|code| !code.reveal().is_empty());
        code.ok_or_else(|| fault(FaultKind::Malformed, "the redirect contains no code".into()))
    }
}

impl ErrorPage {
    fn status(self) -> &'static str {
        match self {
            Self::NotFound => "404 Not Found",
            Self::NotAllowed => "405 Method Not Allowed",
            Self::BadRequest | Self::OtherLogin => "400 Bad Request",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found.",
            Self::NotAllowed => "Only GET is supported.",
            Self::BadRequest => "Malformed request.",
            Self::OtherLogin => "This response does not belong to the current login.",
        }
    }
}

/// Complete HTTP response. It contains nothing from the request.
fn page(request: &CallbackRequest) -> String {
    let (status, text) = match request {
        CallbackRequest::Unrelated(reply) => (reply.status(), reply.text()),
        CallbackRequest::Callback(Ok(_)) => {
            ("200 OK", "You are logged in. You can close this window and return to the terminal.")
        }
        CallbackRequest::Callback(Err(_)) => {
            ("400 Bad Request", "The login failed. See the terminal for the reason.")
        }
    };
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>sealgate</title>\
         </head><body><p>{text}</p></body></html>\n"
    );
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Content-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
