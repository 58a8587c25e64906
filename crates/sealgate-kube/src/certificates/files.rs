//! Certificate and key files maintained by others, such as a mounted Secret of cert-manager.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use super::Serving;

/// Maximum size of a certificate or key file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads both files now and then every `every`, and sends each change. The kubelet replaces a
/// mounted Secret as a whole directory, so polling is more reliable than watching single files. A
/// file that is temporarily missing or empty changes nothing. The task ends when the receiver is
/// dropped.
///
/// # Errors
/// [`FaultKind::Config`] when the files cannot be read initially.
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
                    tracing::warn!(%fault, "keeping the previous certificate")
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_millis(10);
    const LIMIT: Duration = Duration::from_secs(10);

    /// Temporary directory of one test, removed on drop.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sealgate-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn write(&self, name: &str, content: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, content).expect("a file");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_change_is_sent_on_and_an_empty_file_is_not() {
        let folder = Folder::new("watched");
        let (chain, key) = (folder.write("tls.crt", "one"), folder.write("tls.key", "k"));
        let mut feed = watch_files(chain, key.clone(), SOON).await.expect("reads");
        assert_eq!(feed.borrow_and_update().chain, b"one");
        folder.write("tls.crt", "");
        std::fs::remove_file(&key).expect("removes");
        tokio::time::sleep(SOON * 5).await;
        assert!(!feed.has_changed().expect("the task lives"));
        folder.write("tls.key", "k2");
        folder.write("tls.crt", "two");
        tokio::time::timeout(LIMIT, feed.wait_for(|now| now.chain == b"two" && now.key == b"k2"))
            .await
            .expect("in time")
            .expect("the task lives");
    }

    #[tokio::test]
    async fn files_that_are_not_there_or_too_large_are_a_fault() {
        let folder = Folder::new("unreadable");
        let chain = folder.write("tls.crt", "one");
        let gone = folder.0.join("gone");
        let fault = watch_files(chain.clone(), gone, SOON).await.expect_err("cannot be read");
        assert_eq!(fault.kind, FaultKind::Config);
        let large = folder.write("large", &"x".repeat(1024 * 1024 + 1));
        let fault = watch_files(chain, large, SOON).await.expect_err("too large");
        assert_eq!(fault.detail, "the file is too large");
    }
}
