//! The TUF repositories of TrustRoot objects, by Sigstore's client.
//!
//! The engine decides when a repository is read, and what is kept when reading fails.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::trust::TrustRoot;
use sealgate_engine::ports::{ReadRoot, RootRepositories, RootRepository};
use sealgate_policy::cip::trust_root::{Remote, Repository, Spec};
use sealgate_sigstore::tuf::{
    Expiry, KnownMetadata, Mirror, VerifiedTargets, check_anchor, of_archive, remote,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// The time limit for all responses of a mirror.
const DEADLINE: Duration = Duration::from_secs(45);
/// The folder of targets of mirrors on the network.
const TARGETS: &str = "targets";

/// Unpacking an archive takes up to 32 MiB, and whoever creates TrustRoots decides how many there
/// are: one at a time.
static UNPACKING: Semaphore = Semaphore::const_new(1);

/// Opens repositories. No request is sent before a `remote` is read.
pub struct TufRoots;

impl RootRepositories for TufRoots {
    fn open(&self, spec: &Spec) -> Result<Box<dyn RootRepository>, Fault> {
        match (&spec.remote, &spec.repository) {
            (Some(remote), None) => Ok(Box::new(OnNetwork::open(remote)?)),
            (None, Some(repository)) => Ok(Box::new(InObject::open(repository)?)),
            _ => Err(config("exactly one of remote and repository must be set")),
        }
    }
}

/// `spec.remote`.
struct OnNetwork {
    mirror: Mirror,
    root: Vec<u8>,
    target: String,
    /// The metadata read last, against rollback.
    known: KnownMetadata,
}

/// `spec.repository`.
struct InObject {
    repository: Arc<Repository>,
}

impl OnNetwork {
    fn open(remote: &Remote) -> Result<Self, Fault> {
        let Remote { root, mirror, targets, trusted_root_target } = remote;
        // A mirror may also be a folder; an object in a cluster must not read one of the gate's.
        if !["https://", "http://"].iter().any(|scheme| mirror.starts_with(scheme)) {
            return Err(config("remote.mirror must be an https:// or http:// URL"));
        }
        if targets != TARGETS {
            return Err(config("remote.targets must be `targets`, or left out"));
        }
        check_anchor(&root.0).map_err(|error| error.into_fault("remote.root"))?;
        let mirror = Mirror::parse(mirror)?;
        let (root, target) = (root.0.clone(), trusted_root_target.clone());
        Ok(Self { mirror, root, target, known: KnownMetadata::default() })
    }
}

impl InObject {
    fn open(repository: &Repository) -> Result<Self, Fault> {
        check_anchor(&repository.root.0).map_err(|error| error.into_fault("repository.root"))?;
        Ok(Self { repository: Arc::new(repository.clone()) })
    }
}

#[async_trait]
impl RootRepository for OnNetwork {
    async fn read(&mut self, now: Timestamp) -> Result<ReadRoot, Fault> {
        let Self { mirror, root, target, known } = self;
        let (verified, memory) = remote(mirror, root, target, known, now, DEADLINE)
            .await
            .map_err(|error| error.into_fault(&mirror.to_string()))?;
        let root = parse(&verified, target)?;
        *known = memory;
        Ok(ReadRoot { root, expired: None })
    }
}

#[async_trait]
impl RootRepository for InObject {
    /// Reads the archive. It was fresh when it was made, and there is no newer one to ask for: an
    /// expiry is reported, not an error.
    async fn read(&mut self, now: Timestamp) -> Result<ReadRoot, Fault> {
        let failed =
            || Fault::new(FaultKind::Config, "mirrorFS", "the archive could not be unpacked");
        let turn = UNPACKING.acquire().await.map_err(|_| failed())?;
        let repository = Arc::clone(&self.repository);
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            // Everything is in memory: nothing is waited for.
            Handle::current().block_on(read_archive(&repository, now))
        });
        read.await.unwrap_or_else(|_| Err(failed()))
    }
}

async fn read_archive(repository: &Repository, now: Timestamp) -> Result<ReadRoot, Fault> {
    let Repository { root, mirror_fs, targets, trusted_root_target: target } = repository;
    let verified = of_archive(&mirror_fs.0, &root.0, targets, target, now, Expiry::Reported)
        .await
        .map_err(|error| error.into_fault("mirrorFS"))?;
    let expired = verified.expired(now).map(|role| role.expires);
    Ok(ReadRoot { root: parse(&verified, target)?, expired })
}

fn parse(verified: &VerifiedTargets, target: &str) -> Result<TrustRoot, Fault> {
    let json = verified.target(target).map_err(|error| error.into_fault(target))?;
    TrustRoot::parse(json)
        .map_err(|error| Fault::new(FaultKind::Malformed, target, error.to_string()))
}

fn config(detail: &str) -> Fault {
    Fault::new(FaultKind::Config, "TrustRoot", detail)
}

#[cfg(test)]
mod tests;
