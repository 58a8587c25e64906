//! What the use cases need of the world. Small traits, implemented by the adapter crates.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use sealgate_core::bundle::LogEntry;
use sealgate_core::digest::Digest;
use sealgate_core::dsse::Envelope;
use sealgate_core::fault::Fault;
use sealgate_core::key::PublicKey;
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Repository};
use sealgate_core::trust::TrustRoot;
use sealgate_policy::cip::trust_root;
use sealgate_policy::scope::Scope;

use crate::record::Decided;

/// A blob as it arrives. The last item is an error if the bytes do not have the digest.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

/// A manifest as a registry gave it: digest checked, size bounded, nothing else believed.
#[derive(Clone, Debug)]
pub struct RawManifest {
    /// Media type (of the answer, and equal to the document's own where it has one), size, digest
    /// of the bytes.
    pub descriptor: Descriptor,
    /// The bytes.
    pub bytes: Bytes,
}

/// The reading half of a registry, or of a layout folder, with the credentials to use there. The
/// gate has this half only.
///
/// `Ok(None)` is a definitive "there is no such thing" (404 with a registry's error body, or an
/// empty list); anything else that is not the thing itself is a [`Fault`].
#[async_trait]
pub trait RegistryRead: Send + Sync {
    /// Media type, size and digest of a manifest, without its bytes (HEAD, else GET).
    async fn resolve(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<Descriptor>, Fault>;

    /// A manifest, at most 4 MiB unless configured.
    async fn manifest(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<RawManifest>, Fault>;

    /// A whole blob of at most `limit` bytes, digest checked.
    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, Fault>;

    /// A blob as a stream, digest checked at its end.
    async fn blob_stream(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<BlobStream>, Fault>;

    /// The manifests that refer to `subject`: by the referrers API (all pages, bounded); by the
    /// fallback tag where there is no API, or where it lists nobody. Descriptors are hints: never
    /// filter by their `artifactType`, and the list may name what does not exist.
    ///
    /// Both halves in their order. No implementation replaces it: one that wraps another registry
    /// passes on the halves.
    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Fault> {
        match self.referrers_first(repository, subject).await? {
            Some(list) => Ok(list),
            None => self.referrers_by_tag(repository, subject).await,
        }
    }

    /// The first half of [`Self::referrers`], for callers that may need no second: `None` where
    /// the API lists nobody and [`Self::referrers_by_tag`] was not asked.
    async fn referrers_first(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Fault>;

    /// The second half: the manifests that the fallback tag lists.
    async fn referrers_by_tag(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Fault>;

    /// All tags (bounded).
    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Fault>;
}

/// A registry, or a layout folder, that can also be written to.
#[async_trait]
pub trait RegistryWrite: RegistryRead {
    /// Stores a blob unless it is there. `content` is exactly `descriptor.size` bytes.
    async fn push_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        content: BlobStream,
    ) -> Result<(), Fault>;

    /// Makes a blob of `from` known in `repository` without moving bytes; `false` where the
    /// registry will not.
    async fn mount_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<bool, Fault>;

    /// Stores a manifest under a tag or its digest. Where it has a `subject` and the registry has
    /// no referrers API, the fallback tag is updated too, without losing another writer's entry.
    async fn push_manifest(
        &self,
        repository: &Repository,
        at: &Identifier,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, Fault>;

    /// Replaces the manifest under `tag` if it still is `expected` (`None`: if there is none),
    /// as safely as the registry allows (If-Match where it is honoured; read-back in any case).
    /// `Ok(false)`: somebody else was faster; read again, merge, retry.
    async fn replace_manifest(
        &self,
        repository: &Repository,
        tag: &str,
        expected: Option<&Digest>,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<bool, Fault>;

    /// Removes a tag or manifest; `false` where there was none.
    async fn delete(&self, repository: &Repository, what: &Identifier) -> Result<bool, Fault>;
}

/// A user name and password, or tokens, for one registry (or a path below it). `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PullSecret {
    /// The content of a `.dockerconfigjson` (`{"auths":…}`) or legacy `.dockercfg` secret.
    pub docker_config_json: Vec<u8>,
}

impl std::fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PullSecret(…)")
    }
}

/// Opens a [`RegistryRead`] with the pull secrets of one workload before the process's own
/// credentials. Connections are shared, credentials and tokens never.
pub trait RegistryAccess: Send + Sync {
    /// A registry handle that uses `secrets` first.
    fn open(&self, secrets: &[PullSecret]) -> Arc<dyn RegistryRead>;
}

/// Makes signatures. A key file, a secret, later a KMS.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;
    /// A signature over `message` (the signer hashes), in the encoding that cosign uses: ASN.1
    /// for ECDSA, PKCS#1 v1.5 for RSA, raw for Ed25519; with the key's default hash.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault>;
}

/// An OIDC identity token. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityToken(String);

impl IdentityToken {
    /// Takes the token as it was given. Not believed, not even read: the authority judges it.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token itself, to be sent to the certificate authority and nowhere else.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentityToken(…)")
    }
}

/// Certifies a fresh key for whoever an identity token names (Fulcio v2).
#[async_trait]
pub trait CertificateIssuer: Send + Sync {
    /// The certificate of the signer's key and those above it, DER, leaf first. `signer` proves
    /// possession of the key.
    async fn certify(
        &self,
        signer: &dyn Signer,
        token: &IdentityToken,
    ) -> Result<Vec<Vec<u8>>, Fault>;
}

/// What is handed to a transparency log.
#[derive(Clone, Debug)]
pub struct LogSubmission {
    /// The raw signature.
    pub signature: Vec<u8>,
    /// What was signed.
    pub content: SubmittedContent,
    /// Who signed.
    pub verifier: SubmittedVerifier,
}

/// What was signed, as a log wants to know it.
#[derive(Clone, Debug)]
pub enum SubmittedContent {
    /// Bytes of this digest, by the hash that the signature was made over.
    Message(Digest),
    /// An envelope with this one signature.
    Envelope(Envelope),
}

/// Who signed, as a log wants to know it.
#[derive(Clone, Debug)]
pub enum SubmittedVerifier {
    /// The holder of a key.
    Key(PublicKey),
    /// The holder of the key in this certificate, DER.
    Certificate(Vec<u8>),
}

/// Takes signatures into a transparency log (Rekor v1 or v2).
#[async_trait]
pub trait SignatureLog: Send + Sync {
    /// Its address, for people and to tell logs apart.
    fn url(&self) -> &str;
    /// The entry, with its proofs. An entry that stands there already is fetched and returned.
    async fn upload(&self, submission: &LogSubmission) -> Result<LogEntry, Fault>;
}

/// Signs the time (RFC 3161).
#[async_trait]
pub trait TimestampAuthority: Send + Sync {
    /// Its address, for people.
    fn url(&self) -> &str;
    /// A whole TimeStampResp, DER, whose imprint is the SHA-256 of `signature`.
    async fn timestamp(&self, signature: &[u8]) -> Result<Vec<u8>, Fault>;
}

/// Opens the TUF repositories of TrustRoot objects.
pub trait RootRepositories: Send + Sync {
    /// The repository that `spec` means (`remote` or `repository`). Nothing is asked yet.
    fn open(&self, spec: &trust_root::Spec) -> Result<Box<dyn RootRepository>, Fault>;
}

/// A TUF repository with a trust root in it. Remembers what it has seen, so that nobody can bring
/// it back to an older state.
#[async_trait]
pub trait RootRepository: Send {
    /// The trust root that it holds at `now`.
    async fn read(&mut self, now: jiff::Timestamp) -> Result<ReadRoot, Fault>;
}

/// A trust root as a repository holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRoot {
    /// The root.
    pub root: TrustRoot,
    /// Since when something that vouches for it has expired, where that is no reason to refuse it:
    /// nobody can be asked for a newer one.
    pub expired: Option<jiff::Timestamp>,
}

/// Secrets and service accounts of a cluster.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// The data of a secret; `None` where there is none.
    async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, Fault>;

    /// The pull secrets of a pod: those it names and those of its service account.
    async fn pull_secrets(
        &self,
        namespace: &str,
        service_account: &str,
        names: &[String],
    ) -> Result<Vec<PullSecret>, Fault>;
}

/// Workloads of a cluster, for requests that name one and do not hold it.
#[async_trait]
pub trait WorkloadSource: Send + Sync {
    /// The JSON of the object that `scope` names; `None` where there is none.
    async fn workload(&self, scope: &Scope) -> Result<Option<Bytes>, Fault>;
}

/// The time, by this port only.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> jiff::Timestamp;
}

/// Takes decisions: a log, metrics, records. Called in every admission, so it must not block; work
/// that takes time goes into a queue.
pub trait AuditSink: Send + Sync {
    /// Takes one decision.
    fn record(&self, decided: &Decided<'_>);
}

/// Every sink takes every decision.
impl AuditSink for Vec<Arc<dyn AuditSink>> {
    fn record(&self, decided: &Decided<'_>) {
        self.iter().for_each(|sink| sink.record(decided));
    }
}
