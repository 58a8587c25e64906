//! Request to an OAuth 2.0 or token service: bounded, and without secrets of request or response in
//! any message.

use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use serde::de::DeserializeOwned;
use url::{Url, form_urlencoded};

use super::token_environment::TokenEnvironment;
use crate::http::{
    Client, Options, Proxies, Request, Retries, ServiceResponse, Timeouts, service_url,
};
use sealgate_http::Secret;

/// Maximum size of an issuer's response (a discovery document or tokens), in bytes.
pub(super) const MAX_ANSWER: usize = 256 << 10;

/// Retry and connection policy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestPolicy {
    /// Retried on transient faults.
    Retried,
    /// Sent once: an authorization code is valid for one use, and some issuers treat a second one
    /// as theft.
    Once,
    /// Local server (on the machine or its link): no proxy, short timeouts.
    Local,
}

/// Client for a policy.
pub(super) fn client(
    environment: &TokenEnvironment,
    policy: RequestPolicy,
) -> Result<Client, Fault> {
    let mut options: Options = environment.http.clone();
    match policy {
        RequestPolicy::Retried => {}
        RequestPolicy::Once => options.retries = Retries { max: 0, ..options.retries },
        RequestPolicy::Local => {
            let Timeouts { connect, attempt, total } = options.timeouts;
            options.proxies = Proxies::Off;
            options.retries = Retries { max: options.retries.max.min(2), ..options.retries };
            options.timeouts = Timeouts {
                connect: connect.min(Duration::from_secs(3)),
                attempt: attempt.min(Duration::from_secs(10)),
                total: total.min(Duration::from_secs(20)),
            };
        }
    }
    Client::new(&options)
}

/// Sends the request. `secrets` are the secrets in it, redacted from all messages.
pub(super) async fn ask(
    client: &Client,
    request: Request,
    secrets: &[&Secret],
) -> Result<ServiceResponse, Fault> {
    client.send(request.limit(MAX_ANSWER)).await.map_err(|fault| redact(fault, secrets))
}

/// Decoded JSON document of a successful response.
pub(super) async fn ask_json<T: DeserializeOwned>(
    client: &Client,
    request: Request,
    secrets: &[&Secret],
) -> Result<T, Fault> {
    let answer = ask(client, request.accept("application/json"), secrets).await?;
    json(&answer.success().map_err(|fault| redact(fault, secrets))?)
}

/// Decoded JSON document. The parser's message would show parts of it, possibly of a token.
pub(super) fn json<T: DeserializeOwned>(answer: &ServiceResponse) -> Result<T, Fault> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        answer.malformed(format!("not the expected JSON ({place})"))
    })
}

/// POST request with form fields.
pub(super) fn form(url: Url, fields: &[(&str, &str)]) -> Request {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(fields);
    Request::post(url, "application/x-www-form-urlencoded", body.finish())
}

/// Redacts these secrets from a fault.
pub(super) fn redact(mut fault: Fault, secrets: &[&Secret]) -> Fault {
    for secret in secrets.iter().map(|secret| secret.reveal()).filter(|text| !text.is_empty()) {
        fault.detail = fault.detail.replace(secret, "…");
        fault.target = fault.target.replace(secret, "…");
    }
    fault
}

/// Parses the URL of a service that receives a secret: HTTPS, or HTTP on loopback.
pub(super) fn secret_url(text: &str) -> Result<Url, Fault> {
    let url = service_url(text)?;
    if url.scheme() == "https" || is_loopback(&url) {
        return Ok(url);
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    Err(Fault::new(FaultKind::Config, host, "secrets go by https:// only, http:// is for loopback"))
}

/// Returns whether a URL names a loopback host.
pub(super) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(sealgate_http::is_loopback)
}
