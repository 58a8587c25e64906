//! One question to a service that deals in secrets: bounded, and without an echo of what was sent
//! or answered in any message.

use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use serde::de::DeserializeOwned;
use url::{Url, form_urlencoded};

use super::surroundings::Surroundings;
use crate::http::{Answer, Client, Options, Proxies, Request, Retries, Timeouts, service_url};
use sealgate_http::Secret;

/// The largest answer of an issuer: a discovery document, a few tokens.
pub(super) const MAX_ANSWER: usize = 256 << 10;

/// How a service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Again after faults that may pass.
    Patient,
    /// Once: a code is good for one use, and some issuers take a second as theft.
    Once,
    /// A server on the machine or its link: no proxy, and soon given up.
    Near,
}

/// Connections of this manner.
pub(super) fn client(surroundings: &Surroundings, manner: Manner) -> Result<Client, Fault> {
    let mut options: Options = surroundings.http.clone();
    match manner {
        Manner::Patient => {}
        Manner::Once => options.retries = Retries { max: 0, ..options.retries },
        Manner::Near => {
            let Timeouts { connect, attempt, question } = options.timeouts;
            options.proxies = Proxies::Off;
            options.retries = Retries { max: options.retries.max.min(2), ..options.retries };
            options.timeouts = Timeouts {
                connect: connect.min(Duration::from_secs(3)),
                attempt: attempt.min(Duration::from_secs(10)),
                question: question.min(Duration::from_secs(20)),
            };
        }
    }
    Client::new(&options)
}

/// Asks. `secrets` is what was sent: no message repeats it.
pub(super) async fn ask(
    client: &Client,
    request: Request,
    secrets: &[&Secret],
) -> Result<Answer, Fault> {
    client.send(request.limit(MAX_ANSWER)).await.map_err(|fault| scrub(fault, secrets))
}

/// The answer's document if it is a success.
pub(super) async fn ask_json<T: DeserializeOwned>(
    client: &Client,
    request: Request,
    secrets: &[&Secret],
) -> Result<T, Fault> {
    let answer = ask(client, request.accept("application/json"), secrets).await?;
    json(&answer.success().map_err(|fault| scrub(fault, secrets))?)
}

/// The answer's document. What the JSON reader says would show parts of it: a token.
pub(super) fn json<T: DeserializeOwned>(answer: &Answer) -> Result<T, Fault> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        answer.malformed(format!("not the JSON that was asked for ({place})"))
    })
}

/// A POST of a form's fields.
pub(super) fn form(url: Url, fields: &[(&str, &str)]) -> Request {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(fields);
    Request::post(url, "application/x-www-form-urlencoded", body.finish())
}

/// A fault that repeats none of these.
pub(super) fn scrub(mut fault: Fault, secrets: &[&Secret]) -> Fault {
    for secret in secrets.iter().map(|secret| secret.reveal()).filter(|text| !text.is_empty()) {
        fault.detail = fault.detail.replace(secret, "…");
        fault.target = fault.target.replace(secret, "…");
    }
    fault
}

/// The address of a service that a secret is sent to: HTTPS, or HTTP on this very machine.
pub(super) fn guarded_url(text: &str) -> Result<Url, Fault> {
    let url = service_url(text)?;
    if url.scheme() == "https" || is_loopback(&url) {
        return Ok(url);
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    Err(Fault::new(FaultKind::Config, host, "secrets go by https:// only, http:// is for loopback"))
}

/// Whether an address is on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(sealgate_http::is_loopback)
}
