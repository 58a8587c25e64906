//! Registry client, and the state shared by all its handles.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sealgate_core::digest::Digest;
use sealgate_core::fault::Fault;
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::budget::Lease;
use sealgate_engine::ports::{
    BlobStream, PullSecret, RawManifest, RegistryAccess, RegistryRead, RegistryWrite,
};

use crate::auth::Tokens;
use crate::capability::Capabilities;
use crate::credentials::{Credential, CredentialId, Keychain};
use crate::host::{Host, HttpsRegistries};
use crate::options::Options;
use crate::transport::Transport;

/// Client of all registries. Cheap to clone: clones share connections, tokens (cached per
/// credential), the state remembered for each registry, and the credentials.
///
/// # Example
/// ```no_run
/// # use sealgate_registry::{Client, Options, credentials::Keychain};
/// # fn main() -> Result<(), sealgate_core::fault::Fault> {
/// let client = Client::new(Options { keychain: Keychain::from_env(), ..Options::default() })?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) credentials: Arc<ClientCredentials>,
    /// The lease that the bytes of responses are drawn from.
    pub(crate) lease: Lease,
}

/// State that does not depend on credentials.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) transport: Transport,
    pub(crate) tokens: Tokens,
    pub(crate) capabilities: Capabilities,
    https: HttpsRegistries,
    hosts: moka::future::Cache<String, Arc<Host>>,
    tag_locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// Credentials of one client handle.
pub(crate) struct ClientCredentials {
    pub(crate) explicit: Option<Credential>,
    pub(crate) keychain: Keychain,
    /// Credential that each repository accepted last; created for the first one.
    pub(crate) accepted: LazyLock<moka::future::Cache<(String, String), CredentialId>>,
}

/// Maximum size of the state of all registries, in bytes.
const MAX_HOSTS: u64 = 4 << 20;
/// Time after which the state of a registry that is not used is forgotten.
const HOST_IDLE: Duration = Duration::from_secs(600);
/// Maximum size of the credentials remembered for repositories, in bytes.
const MAX_ACCEPTED: u64 = 512 << 10;

impl Client {
    /// Creates a client. No request is made and no certificate store is read yet.
    ///
    /// # Errors
    /// `Config` when certificates, keys or names in `options` cannot be used.
    pub fn new(options: Options) -> Result<Self, Fault> {
        let credentials =
            ClientCredentials::new(options.credential.clone(), options.keychain.clone());
        let lease = Lease::standalone(options.limits.buffered_bytes as u64);
        let shared = Shared {
            transport: Transport::new(&options)?,
            tokens: Tokens::new(&options),
            capabilities: Capabilities::new(options.timeouts.capability),
            https: HttpsRegistries::default(),
            hosts: moka::future::Cache::builder()
                .weigher(|_, host: &Arc<Host>| host.weight())
                .max_capacity(MAX_HOSTS)
                .time_to_idle(HOST_IDLE)
                .build(),
            tag_locks: Mutex::default(),
            options,
        };
        Ok(Self { shared: Arc::new(shared), credentials: Arc::new(credentials), lease })
    }

    /// Same client with `secrets` before its own credentials. Connections are shared, credentials
    /// and tokens are not.
    pub(crate) fn with_pull_secrets(&self, secrets: &[PullSecret]) -> Self {
        if secrets.is_empty() {
            return self.clone();
        }
        let keychain = self.credentials.keychain.with_pull_secrets(secrets);
        let credentials = ClientCredentials::new(self.credentials.explicit.clone(), keychain);
        Self { credentials: Arc::new(credentials), ..self.clone() }
    }

    pub(crate) async fn host(&self, repository: &Repository) -> Arc<Host> {
        let name = repository.registry().to_owned();
        let shared = &self.shared;
        let new = async { Arc::new(Host::new(&name, &shared.options, &shared.https)) };
        self.shared.hosts.get_with(name.clone(), new).await
    }
}

impl Shared {
    /// Lock that serializes this process's updates of one tag.
    pub(crate) fn tag_lock(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Arc<tokio::sync::Mutex<()>> {
        let key = format!("{repository}:{tag}");
        let mut locks = self.tag_locks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(key, Arc::downgrade(&lock));
        lock
    }
}

impl ClientCredentials {
    fn new(explicit: Option<Credential>, keychain: Keychain) -> Self {
        Self { explicit, keychain, accepted: LazyLock::new(accepted) }
    }
}

fn accepted() -> moka::future::Cache<(String, String), CredentialId> {
    moka::future::Cache::builder()
        .weigher(|(registry, path): &(String, String), _| {
            u32::try_from(256 + registry.len() + path.len()).unwrap_or(u32::MAX)
        })
        .max_capacity(MAX_ACCEPTED)
        .build()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client(…)")
    }
}

impl RegistryAccess for Client {
    fn open(&self, secrets: &[PullSecret], lease: &Lease) -> Arc<dyn RegistryRead> {
        Arc::new(Self { lease: lease.clone(), ..self.with_pull_secrets(secrets) })
    }
}

#[async_trait]
impl RegistryRead for Client {
    async fn resolve(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<Descriptor>, Fault> {
        self.read_descriptor(repository, what).await
    }

    async fn manifest(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<RawManifest>, Fault> {
        let found = self.read_manifest(repository, what).await?;
        Ok(found.map(|tagged| tagged.manifest))
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, Fault> {
        self.read_blob(repository, digest, limit).await
    }

    async fn blob_stream(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<BlobStream>, Fault> {
        self.open_blob(repository, digest).await
    }

    async fn referrers_by_api(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        self.list_first(repository, subject).await
    }

    async fn referrers_by_tag(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Fault> {
        self.fallback_list(repository, subject).await
    }

    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Fault> {
        self.list_tags(repository).await
    }
}

#[async_trait]
impl RegistryWrite for Client {
    async fn push_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        content: BlobStream,
    ) -> Result<(), Fault> {
        self.write_blob(repository, descriptor, content).await
    }

    async fn mount_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<bool, Fault> {
        self.mount(repository, digest, from).await
    }

    async fn push_manifest(
        &self,
        repository: &Repository,
        at: &Identifier,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, Fault> {
        self.write_manifest(repository, at, media_type, bytes).await
    }

    async fn replace_manifest(
        &self,
        repository: &Repository,
        tag: &str,
        expected: Option<&Digest>,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<bool, Fault> {
        self.replace(repository, tag, expected, media_type, bytes).await
    }

    async fn delete(&self, repository: &Repository, what: &Identifier) -> Result<bool, Fault> {
        self.remove(repository, what).await
    }
}
