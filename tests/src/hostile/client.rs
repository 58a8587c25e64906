//! Client of a gate that connects like the API server: persistent connections and `?timeout=10s`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::certificates::ServerFiles;

/// Timeout that the API server states and keeps, unless the webhook configuration has another one.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Connections to one gate.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    origin: String,
    timeout: Duration,
}

/// Certificate of the API server, and its key.
#[derive(Clone)]
pub struct ClientCertificate(pub ServerFiles);

/// HTTP version of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One request at a time on each connection.
    Http1,
    /// All requests on one connection.
    Http2,
}

/// Response to a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `allowed: true`.
    Admitted,
    /// `allowed: false`, with the message.
    Denied(String),
    /// Another status than 200.
    Status(u16),
    /// No response within the timeout.
    TimedOut,
    /// The connection failed.
    Lost(String),
}

/// Number of answers by their code, see [`Answer::code`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub BTreeMap<String, u64>);

impl ClientCertificate {
    fn identity(&self) -> anyhow::Result<reqwest::Identity> {
        let files = [&self.0.certificate, &self.0.key];
        let pem: Vec<Vec<u8>> = files.iter().map(fs::read).collect::<Result<_, _>>()?;
        Ok(reqwest::Identity::from_pem(&pem.concat())?)
    }
}

impl Client {
    /// Client of the gate on this loopback port.
    pub fn new(port: u16, version: Version) -> anyhow::Result<Self> {
        Self::presenting(None, port, version)
    }

    /// Client that presents a certificate, for a gate with `--client-ca`.
    pub fn presenting(
        certificate: Option<&ClientCertificate>,
        port: u16,
        version: Version,
    ) -> anyhow::Result<Self> {
        // The gate's certificate is its own; these clients measure it and send no secret.
        let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy();
        let http = match version {
            Version::Http1 => http.http1_only(),
            Version::Http2 => http.http2_prior_knowledge(),
        };
        let http = match certificate {
            Some(certificate) => http.identity(certificate.identity()?),
            None => http,
        };
        let origin = format!("https://127.0.0.1:{port}");
        Ok(Self { http: http.build()?, origin, timeout: TIMEOUT })
    }

    /// Variant with another timeout, in whole seconds.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends a review of a workload to the validating webhook.
    pub async fn validate(&self, review: impl Into<reqwest::Body>) -> Answer {
        self.post("/validate", review).await
    }

    /// Sends a review to the webhook at `path`.
    pub async fn post(&self, path: &str, review: impl Into<reqwest::Body>) -> Answer {
        let url = format!("{}{path}?timeout={}s", self.origin, self.timeout.as_secs());
        let request = self.http.post(url).header("Content-Type", "application/json").body(review);
        let request = request.timeout(self.timeout);
        match answer(request).await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => Answer::TimedOut,
            Err(error) => Answer::Lost(error.to_string()),
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.bytes().await?;
    if status != 200 {
        return Ok(Answer::Status(status));
    }
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let response = &review["response"];
    Ok(match (&response["allowed"], response["status"]["message"].as_str()) {
        (Value::Bool(true), _) => Answer::Admitted,
        (_, message) => Answer::Denied(message.unwrap_or_default().to_owned()),
    })
}

impl Answer {
    /// `admitted`; the first code in the message of a denial, such as `timeout` or `busy`, or
    /// `denied`; the status; `no response`; `connection lost`.
    pub fn code(&self) -> String {
        match self {
            Self::Admitted => "admitted".to_owned(),
            Self::Denied(message) => {
                let codes = message.split('(').skip(1).filter_map(|rest| rest.split_once(')'));
                let is_code = |word: &str| {
                    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
                };
                let code = codes.map(|(code, _)| code).find(|code| is_code(code));
                code.unwrap_or("denied").to_owned()
            }
            Self::Status(status) => status.to_string(),
            Self::TimedOut => "no response".to_owned(),
            Self::Lost(_) => "connection lost".to_owned(),
        }
    }
}

impl Tally {
    /// Counts an answer.
    pub fn count(&mut self, answer: &Answer) {
        *self.0.entry(answer.code()).or_default() += 1;
    }

    /// Sum of all codes.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes = self.0.iter().map(|(code, count)| format!("{count} {code}"));
        f.write_str(&codes.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_denial_is_in_parentheses() {
        let denied = |message: &str| Answer::Denied(message.to_owned()).code();
        assert_eq!(denied("a.example: it did not answer in time (timeout)"), "timeout");
        assert_eq!(denied("x (redirected from y) z (server-error)"), "server-error");
        assert_eq!(denied("no signatures found"), "denied");
    }
}
