//! `--identity-token`: the token itself, or a file with it.

use std::path::Path;

use sealgate_core::fault::{Fault, FaultKind};
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::claims::claims;
use sealgate_http::Secret;

/// A token and the white space around it.
const MAX_FILE: u64 = 64 << 10;

/// What can be read as a token is one; all else is the name of a file. A message never shows the
/// value: it may be a token with a letter missing.
pub(super) async fn read(given: &Secret) -> Result<Secret, Fault> {
    let value = given.reveal().trim();
    if claims(value).is_ok() {
        return Ok(Secret::new(value));
    }
    let (target, unusable) = ("--identity-token", "neither a token nor a file that can be read");
    let text = read_file(Path::new(value)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => {
            Fault::new(FaultKind::Malformed, target, "the file is no text of at most 64 KiB")
        }
        _ => Fault::new(FaultKind::Missing, target, format!("{unusable}: {}", cause(&error))),
    })?;
    match claims(text.trim()) {
        Ok(_) => Ok(Secret::new(text.trim())),
        Err(fault) => Err(Fault::new(fault.kind, target, format!("the file {}", fault.detail))),
    }
}

/// A file's text, bounded. It may be a pipe.
pub(super) async fn read_file(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let file = tokio::fs::File::open(path).await?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(invalid());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid())?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// What the system said. An error of ours about a name could show the name.
fn cause(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.kind().to_string(),
        |code| std::io::Error::from_raw_os_error(code).to_string(),
    )
}
