//! Tokens that somebody keeps fresh in a file: Kubernetes, and SPIFFE's programs that write files.

use std::path::{Path, PathBuf};

use sealgate_core::fault::{Fault, FaultKind};

use super::checked;
use crate::oidc::given::read_file;
use crate::oidc::surroundings::Surroundings;
use sealgate_http::Secret;

const SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";

pub(super) async fn is_projected(surroundings: &Surroundings) -> bool {
    tokio::fs::metadata(&surroundings.places.filesystem_token).await.is_ok()
}

pub(super) async fn projected(surroundings: &Surroundings) -> Result<Secret, Fault> {
    read(&surroundings.places.filesystem_token).await
}

pub(super) async fn has_spiffe(surroundings: &Surroundings) -> bool {
    tokio::fs::metadata(spiffe_path(surroundings)).await.is_ok()
}

/// The file, where the variable names one: at SPIFFE's usual place, below /tmp, anybody could lay
/// down a token of their own. A socket speaks the workload API, which this version does not.
pub(super) async fn spiffe(surroundings: &Surroundings) -> Result<Secret, Fault> {
    let path = spiffe_path(surroundings);
    if surroundings.variable(SOCKET).is_some() && path.is_file() {
        return read(&path).await;
    }
    let detail = "SPIFFE's workload API is not spoken by this version: fetch a token with \
                  `spire-agent api fetch jwt -audience sigstore` and give it by --identity-token, \
                  or leave SPIFFE out by --oidc-disable-ambient-providers";
    Err(Fault::new(FaultKind::Unsupported, path.display().to_string(), detail))
}

fn spiffe_path(surroundings: &Surroundings) -> PathBuf {
    match surroundings.variable(SOCKET) {
        Some(address) => {
            let path = address.strip_prefix("unix:").unwrap_or(address);
            path.strip_prefix("//").unwrap_or(path).into()
        }
        None => surroundings.places.spiffe_socket.clone(),
    }
}

async fn read(path: &Path) -> Result<Secret, Fault> {
    let target = path.display().to_string();
    let text = read_file(path).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => {
            Fault::new(FaultKind::Malformed, &target, "is no text of at most 64 KiB")
        }
        _ => Fault::new(FaultKind::Config, &target, format!("cannot be read: {error}")),
    })?;
    checked(Some(Secret::new(text.trim())), &target)
}
