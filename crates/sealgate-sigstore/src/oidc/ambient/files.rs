//! Tokens in files kept up to date by Kubernetes or by SPIFFE helpers.

use std::path::{Path, PathBuf};

use sealgate_core::fault::{Fault, FaultKind};

use super::checked;
use crate::oidc::given::read_file;
use crate::oidc::token_environment::TokenEnvironment;
use sealgate_http::Secret;

const SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";

pub(super) async fn is_projected(environment: &TokenEnvironment) -> bool {
    tokio::fs::metadata(&environment.paths.filesystem_token).await.is_ok()
}

pub(super) async fn projected(environment: &TokenEnvironment) -> Result<Secret, Fault> {
    read(&environment.paths.filesystem_token).await
}

pub(super) async fn has_spiffe(environment: &TokenEnvironment) -> bool {
    tokio::fs::metadata(spiffe_path(environment)).await.is_ok()
}

/// Token from the file named by the variable. SPIFFE's default path is below /tmp, where any user
/// could place a token. Sockets of the Workload API are not supported in this version.
pub(super) async fn spiffe(environment: &TokenEnvironment) -> Result<Secret, Fault> {
    let path = spiffe_path(environment);
    if environment.variable(SOCKET).is_some() && path.is_file() {
        return read(&path).await;
    }
    let detail = "SPIFFE's Workload API is not supported by this version: fetch a token with \
                  `spire-agent api fetch jwt -audience sigstore` and pass it with \
                  --identity-token, or exclude SPIFFE with --oidc-disable-ambient-providers";
    Err(Fault::new(FaultKind::Unsupported, path.display().to_string(), detail))
}

fn spiffe_path(environment: &TokenEnvironment) -> PathBuf {
    match environment.variable(SOCKET) {
        Some(address) => {
            let path = address.strip_prefix("unix:").unwrap_or(address);
            path.strip_prefix("//").unwrap_or(path).into()
        }
        None => environment.paths.spiffe_socket.clone(),
    }
}

async fn read(path: &Path) -> Result<Secret, Fault> {
    let target = path.display().to_string();
    let text = read_file(path).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => {
            Fault::new(FaultKind::Malformed, &target, "is not a text file of at most 64 KiB")
        }
        _ => Fault::new(FaultKind::Config, &target, format!("cannot be read: {error}")),
    })?;
    checked(Some(Secret::new(text.trim())), &target)
}
