//! `--identity-token`: a token, or a file that contains one.

use std::path::Path;

use sealgate_core::fault::{Fault, FaultKind};
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::claims::claims;
use sealgate_http::Secret;

/// Maximum size of the file: a token and surrounding white space.
const MAX_FILE: u64 = 64 << 10;

/// Reads the value: text that parses as a token is one, anything else is a file name. A message
/// never shows the value, which may be a mistyped token.
pub(super) async fn read(given: &Secret) -> Result<Secret, Fault> {
    let value = given.reveal().trim();
    if claims(value).is_ok() {
        return Ok(Secret::new(value));
    }
    let (target, unusable) = ("--identity-token", "neither a token nor a readable file");
    let text = read_file(Path::new(value)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Fault::new(
            FaultKind::Malformed,
            target,
            "the file is not a text file of at most 64 KiB",
        ),
        _ => Fault::new(FaultKind::Missing, target, format!("{unusable}: {}", cause(&error))),
    })?;
    match claims(text.trim()) {
        Ok(_) => Ok(Secret::new(text.trim())),
        Err(fault) => Err(Fault::new(fault.kind, target, format!("the file {}", fault.detail))),
    }
}

/// Text of a file, bounded. The file may be a pipe.
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

/// Error text of the operating system only: other errors could quote the file name.
fn cause(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.kind().to_string(),
        |code| std::io::Error::from_raw_os_error(code).to_string(),
    )
}
