//! Certificate and key files that somebody else keeps: a mounted Secret of cert-manager's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use super::Serving;

/// The largest certificate or key file.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads both files now and then again every `every`; a change of either is sent on. The kubelet
/// swaps a mounted Secret as a whole folder, so reading beats watching single files. A file that is
/// gone or empty for a moment changes nothing. The task ends when the receiver is dropped.
///
/// # Errors
/// [`FaultKind::Config`] when the files cannot be read at first.
pub async fn watch_files(
    certificate: PathBuf,
    key: PathBuf,
    every: Duration,
) -> Result<watch::Receiver<Arc<Serving>>, Fault> {
    let (sender, receiver) = watch::channel(Arc::new(read(&certificate, &key).await?));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(every) => {}
            }
            match read(&certificate, &key).await {
                Ok(serving) => {
                    sender.send_if_modified(|current| replace(current, serving));
                }
                Err(fault) => {
                    tracing::warn!(%fault, "keeping the certificate that was read before")
                }
            }
        }
    });
    Ok(receiver)
}

fn replace(current: &mut Arc<Serving>, new: Serving) -> bool {
    let changed = **current != new;
    if changed {
        *current = Arc::new(new);
    }
    changed
}

async fn read(certificate: &Path, key: &Path) -> Result<Serving, Fault> {
    Ok(Serving { chain: read_file(certificate).await?, key: read_file(key).await? })
}

async fn read_file(path: &Path) -> Result<Vec<u8>, Fault> {
    let fault = |detail: String| Fault::new(FaultKind::Config, path.display().to_string(), detail);
    let file = tokio::fs::File::open(path).await.map_err(|error| fault(error.to_string()))?;
    let mut content = Vec::new();
    let mut bounded = file.take(MAX_FILE + 1);
    bounded.read_to_end(&mut content).await.map_err(|error| fault(error.to_string()))?;
    match content.len() as u64 {
        0 => Err(fault("the file is empty".to_owned())),
        size if size > MAX_FILE => Err(fault("the file is too large".to_owned())),
        _ => Ok(content),
    }
}
