//! Download of small documents: public keys and certificates, bounded in size and time.

use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_keys::reference::without_secrets;

use crate::failure::CliError;

/// Downloads the text at `url`, at most `limit` bytes.
pub(crate) async fn text(url: &str, limit: u64) -> Result<String, CliError> {
    let bytes = bytes(url, limit).await?;
    String::from_utf8(bytes)
        .map_err(|_| CliError::new(format!("{}: not UTF-8 text", without_secrets(url))))
}

/// Downloads the bytes at `url`, at most `limit`.
pub(crate) async fn bytes(url: &str, limit: u64) -> Result<Vec<u8>, CliError> {
    let shown = without_secrets(url);
    let fault = |kind, detail: String| CliError::from(Fault::new(kind, &shown, detail));
    let failed = |error: reqwest::Error| match &error {
        _ if error.is_redirect() => fault(FaultKind::Malformed, REDIRECT.to_owned()),
        _ if error.is_timeout() => fault(FaultKind::Timeout, error.without_url().to_string()),
        _ => fault(FaultKind::Unreachable, error.without_url().to_string()),
    };
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::custom(follow))
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(failed)?;
    let mut answer = client.get(url).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(fault(
            FaultKind::ServerError,
            format!("the server returned {}", answer.status()),
        ));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(fault(FaultKind::TooLarge, format!("larger than {limit} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

const MAX_REDIRECTS: usize = 5;
const REDIRECT: &str = "too many redirects, or a redirect from HTTPS to plain HTTP";

fn follow(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    match is_forbidden(attempt.previous(), attempt.url()) {
        true => attempt.error(REDIRECT),
        false => attempt.follow(),
    }
}

/// Returns whether a redirect must be rejected. The content decides which signers are trusted, so a
/// redirect from HTTPS to plain HTTP is not followed.
fn is_forbidden(previous: &[reqwest::Url], next: &reqwest::Url) -> bool {
    let was_https = previous.iter().any(|url| url.scheme() == "https");
    previous.len() > MAX_REDIRECTS || was_https && next.scheme() != "https"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_do_not_leave_https() {
        let forbidden = |previous: &[&str], next: &str| {
            let url = |text: &str| reqwest::Url::parse(text).unwrap();
            let previous: Vec<_> = previous.iter().map(|text| url(text)).collect();
            is_forbidden(&previous, &url(next))
        };
        assert!(!forbidden(&["https://a.example/k"], "https://b.example/k"));
        assert!(!forbidden(&["http://a.example/k"], "http://b.example/k"));
        assert!(!forbidden(&["http://a.example/k"], "https://b.example/k"));
        assert!(forbidden(&["https://a.example/k"], "http://a.example/k"));
        assert!(forbidden(&["http://a.example/k", "https://a.example/k"], "http://a.example/k"));
        assert!(forbidden(&["https://a.example/k"; 6], "https://a.example/k"));
    }
}
