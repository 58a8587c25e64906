//! A small text behind a URL: public keys and certificates, bounded in size and time.

use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};

use crate::failure::CliError;

/// The text behind `url`, at most `limit` bytes.
pub(crate) async fn text(url: &str, limit: u64) -> Result<String, CliError> {
    let bytes = bytes(url, limit).await?;
    String::from_utf8(bytes).map_err(|_| CliError::new(format!("{url}: it is not text")))
}

/// The bytes behind `url`, at most `limit`.
pub(crate) async fn bytes(url: &str, limit: u64) -> Result<Vec<u8>, CliError> {
    let failed = |error: reqwest::Error| {
        let kind = if error.is_timeout() { FaultKind::Timeout } else { FaultKind::Unreachable };
        CliError::from(Fault::new(kind, url, error.without_url().to_string()))
    };
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(failed)?;
    let mut answer = client.get(url).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        let detail = format!("it answers {}", answer.status());
        return Err(Fault::new(FaultKind::ServerError, url, detail).into());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            let detail = format!("larger than {limit} bytes");
            return Err(Fault::new(FaultKind::TooLarge, url, detail).into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
