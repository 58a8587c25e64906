//! The door that a browser comes back to: listens on this machine only, takes exactly one callback
//! of this login, and turns all else away.
//!
//! The address says `localhost`, which every issuer knows as a public client's address; the door
//! is at 127.0.0.1. Whoever else may listen or knock there has neither the state nor the verifier.

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

const USUAL: &str = "http://localhost:0/auth/callback";
/// Connections at a time: browsers open some that they do not use.
const MAX_VISITS: usize = 32;
/// How long one visitor may take.
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_HEAD: usize = 16 << 10;
const MAX_WORDS: usize = 300;

/// The door.
pub(super) struct Callback {
    listener: TcpListener,
    redirect: Url,
}

/// What a callback of this login looks like.
pub(super) struct Expected<'a> {
    pub(super) state: &'a Secret,
    pub(super) issuer: &'a Issuer,
}

/// What a visitor is.
enum Visitor {
    /// Nothing that concerns this login.
    Stranger(Reply),
    /// The callback: a code, or why there is none.
    Awaited(Result<Secret, Fault>),
}

/// What a stranger is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    NotFound,
    NotAllowed,
    BadRequest,
    OtherLogin,
}

/// The parameters of a callback.
#[derive(Default)]
struct Parameters {
    state: Option<Secret>,
    code: Option<Secret>,
    issuer: Option<String>,
    error: Option<String>,
    description: Option<String>,
}

impl Callback {
    /// Listens at `redirect`, or at a port that is free.
    pub(super) async fn bind(redirect: Option<&str>) -> Result<Self, Fault> {
        let text = redirect.unwrap_or(USUAL);
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

    /// Where a browser is to come back to.
    pub(super) fn redirect(&self) -> &Url {
        &self.redirect
    }

    /// The code of the first callback of this login.
    pub(super) async fn code(
        &self,
        expected: &Expected<'_>,
        within: Duration,
    ) -> Result<Secret, Fault> {
        let late = |_| {
            let detail = format!("nobody has logged in within {} s", within.as_secs());
            Fault::new(FaultKind::Timeout, &expected.issuer.name, detail)
        };
        tokio::time::timeout(within, self.receive(expected)).await.map_err(late)?
    }

    async fn receive(&self, expected: &Expected<'_>) -> Result<Secret, Fault> {
        let mut visits = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if visits.len() < MAX_VISITS => match accepted {
                    Ok((stream, _)) => visits.push(visit(stream, self.redirect.path(), expected)),
                    // Out of descriptors, or the visitor has gone: neither ends the login.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                visited = visits.next(), if !visits.is_empty() => {
                    if let Some(Some(outcome)) = visited {
                        return outcome;
                    }
                }
            }
        }
    }
}

/// Hears one visitor out, and answers.
async fn visit(
    mut stream: TcpStream,
    path: &str,
    expected: &Expected<'_>,
) -> Option<Result<Secret, Fault>> {
    let head = tokio::time::timeout(PATIENCE, read_head(&mut stream)).await.ok()??;
    let visitor = judge(&head, path, expected);
    let reply = page(&visitor);
    let said = async {
        stream.write_all(reply.as_bytes()).await?;
        stream.shutdown().await
    };
    // A browser that does not wait for our page has brought its code all the same.
    let _ = tokio::time::timeout(PATIENCE, said).await;
    match visitor {
        Visitor::Awaited(outcome) => Some(outcome),
        Visitor::Stranger(_) => None,
    }
}

/// The request up to the empty line; nothing behind it is read.
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

fn judge(head: &str, path: &str, expected: &Expected<'_>) -> Visitor {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    let (found, query) = target.split_once('?').unwrap_or((target, ""));
    match method {
        _ if !http || words.next().is_some() => Visitor::Stranger(Reply::BadRequest),
        _ if found != path => Visitor::Stranger(Reply::NotFound),
        "GET" => match Parameters::read(query) {
            Some(parameters) => parameters.judge(expected),
            None => Visitor::Stranger(Reply::BadRequest),
        },
        _ => Visitor::Stranger(Reply::NotAllowed),
    }
}

impl Parameters {
    /// None of them twice.
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

    /// Without this login's state nothing is believed, not even that the login has failed.
    fn judge(self, expected: &Expected<'_>) -> Visitor {
        let wanted = expected.state.reveal().as_bytes();
        let found = self.state.as_ref().map_or(&b""[..], |state| state.reveal().as_bytes());
        if verify_slices_are_equal(found, wanted).is_err() {
            return Visitor::Stranger(Reply::OtherLogin);
        }
        Visitor::Awaited(self.outcome(expected.issuer))
    }

    fn outcome(self, issuer: &Issuer) -> Result<Secret, Fault> {
        let fault = |kind, why: String| Fault::new(kind, &issuer.name, why);
        if let Some(error) = self.error {
            let said = self.description.map(|said| format!(": {}", printable(&said, MAX_WORDS)));
            let error = printable(&error, MAX_WORDS);
            let detail = format!("the login was refused: {error}{}", said.unwrap_or_default());
            return Err(fault(FaultKind::Denied, detail));
        }
        let named = match (&self.issuer, issuer.names_itself()) {
            (Some(name), _) => *name == issuer.name,
            (None, names_itself) => names_itself == Support::No,
        };
        if !named {
            let detail = "another issuer than ours has answered the browser".to_owned();
            return Err(fault(FaultKind::Malformed, detail));
        }
        let code = self.code.filter(|code| !code.reveal().is_empty());
        code.ok_or_else(|| fault(FaultKind::Malformed, "sent the browser without a code".into()))
    }
}

impl Reply {
    fn status(self) -> &'static str {
        match self {
            Self::NotFound => "404 Not Found",
            Self::NotAllowed => "405 Method Not Allowed",
            Self::BadRequest | Self::OtherLogin => "400 Bad Request",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "There is nothing here.",
            Self::NotAllowed => "Only GET is taken here.",
            Self::BadRequest => "This request cannot be read.",
            Self::OtherLogin => "This is no answer to the login that is under way.",
        }
    }
}

/// The whole answer. Nothing that the visitor sent stands in it.
fn page(visitor: &Visitor) -> String {
    let (status, words) = match visitor {
        Visitor::Stranger(reply) => (reply.status(), reply.words()),
        Visitor::Awaited(Ok(_)) => {
            ("200 OK", "You have logged in. Close this window and go back to the terminal.")
        }
        Visitor::Awaited(Err(_)) => {
            ("400 Bad Request", "The login has failed. The terminal says why.")
        }
    };
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>sealgate</title>\
         </head><body><p>{words}</p></body></html>\n"
    );
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Content-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
