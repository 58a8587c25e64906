//! Ports: the interfaces that the use cases need, implemented by the adapter crates.

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

use crate::budget::Lease;
use crate::record::Decided;

/// A blob's bytes as they arrive. The last item is an error if the bytes do not have the digest.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

/// A manifest as returned by a registry: digest verified, size bounded, content untrusted.
#[derive(Clone, Debug)]
pub struct RawManifest {
    /// Media type (of the response, and equal to that in the document if it has one), size and
    /// digest of the bytes.
    pub descriptor: Descriptor,
    /// The bytes.
    pub bytes: Bytes,
}

/// Read access to a registry or an OCI layout folder, with the credentials to use. The gate has no
/// other access.
///
/// `Ok(None)` means that the content does not exist (404 with a registry's error body, or an empty
/// list); any other failure is a [`Fault`].
#[async_trait]
pub trait RegistryRead: Send + Sync {
    /// Returns media type, size and digest of a manifest, without its bytes (HEAD, else GET).
    async fn resolve(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<Descriptor>, Fault>;

    /// Returns a manifest, at most 4 MiB unless configured.
    async fn manifest(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<RawManifest>, Fault>;

    /// Returns a blob of at most `limit` bytes, digest verified.
    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, Fault>;

    /// Returns a blob as a stream, digest verified at its end.
    async fn blob_stream(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<BlobStream>, Fault>;

    /// Returns the manifests that refer to `subject`: from the referrers API (all pages, bounded),
    /// or from the fallback tag if there is no API or its list is empty. Descriptors are hints:
    /// never filter by their `artifactType`, and expect entries that do not exist.
    ///
    /// Calls the two methods below in order. Implementations do not override it: one that wraps
    /// another registry forwards the two methods.
    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Fault> {
        match self.referrers_by_api(repository, subject).await? {
            Some(list) => Ok(list),
            None => self.referrers_by_tag(repository, subject).await,
        }
    }

    /// Queries the referrers API. `None` if its list is empty and [`Self::referrers_by_tag`] was
    /// not queried.
    async fn referrers_by_api(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Fault>;

    /// Returns the manifests that the fallback tag lists.
    async fn referrers_by_tag(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Fault>;

    /// Returns all tags (bounded).
    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Fault>;
}

/// Read and write access to a registry or an OCI layout folder.
#[async_trait]
pub trait RegistryWrite: RegistryRead {
    /// Stores a blob unless it exists. `content` is exactly `descriptor.size` bytes.
    async fn push_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        content: BlobStream,
    ) -> Result<(), Fault>;

    /// Mounts a blob of `from` in `repository` without transferring bytes; `false` if the registry
    /// refuses.
    async fn mount_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<bool, Fault>;

    /// Stores a manifest under a tag or its digest. If it has a `subject` and the registry has no
    /// referrers API, the fallback tag is updated too, without losing entries of concurrent
    /// writers.
    async fn push_manifest(
        &self,
        repository: &Repository,
        at: &Identifier,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, Fault>;

    /// Replaces the manifest under `tag` if it still is `expected` (`None`: if there is none), as
    /// safely as the registry allows (If-Match where supported; read back in any case). `Ok(false)`
    /// means a concurrent writer was faster: read again, merge, retry.
    async fn replace_manifest(
        &self,
        repository: &Repository,
        tag: &str,
        expected: Option<&Digest>,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<bool, Fault>;

    /// Deletes a tag or manifest; `false` if it did not exist.
    async fn delete(&self, repository: &Repository, what: &Identifier) -> Result<bool, Fault>;
}

/// Credentials from an image pull Secret, for one or several registries. `Debug` shows none of
/// them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PullSecret {
    /// The content of a `.dockerconfigjson` (`{"auths":…}`) or legacy `.dockercfg` Secret.
    pub docker_config_json: Vec<u8>,
}

impl std::fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PullSecret(…)")
    }
}

/// Opens a [`RegistryRead`] with the pull Secrets of one workload, which are tried before the
/// process's own credentials. Connections are shared, credentials and tokens never.
pub trait RegistryAccess: Send + Sync {
    /// Returns a registry handle that tries `secrets` first, and whose responses draw the bytes that
    /// they hold from `lease`.
    fn open(&self, secrets: &[PullSecret], lease: &Lease) -> Arc<dyn RegistryRead>;
}

/// Signer with a private key: a key file, a Secret, later a KMS.
#[async_trait]
pub trait Signer: Send + Sync {
    /// Returns the public key.
    fn public_key(&self) -> &PublicKey;
    /// Signs `message` (the signer hashes), in the encoding that cosign uses: ASN.1 for ECDSA,
    /// PKCS#1 v1.5 for RSA, raw for Ed25519; with the key's default hash.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault>;
}

/// An OIDC identity token. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityToken(String);

impl IdentityToken {
    /// Wraps a token without parsing it; the certificate authority validates it.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// Returns the token, to be sent to the certificate authority only.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentityToken(…)")
    }
}

/// Certificate authority that issues a certificate for an ephemeral key and the identity in a token
/// (Fulcio v2).
#[async_trait]
pub trait CertificateIssuer: Send + Sync {
    /// Returns the certificate of the signer's key and its chain, DER, leaf first. `signer` proves
    /// possession of the key.
    async fn certify(
        &self,
        signer: &dyn Signer,
        token: &IdentityToken,
    ) -> Result<Vec<Vec<u8>>, Fault>;
}

/// A submission to a transparency log.
#[derive(Clone, Debug)]
pub struct LogSubmission {
    /// The raw signature.
    pub signature: Vec<u8>,
    /// The signed content.
    pub content: SubmittedContent,
    /// The verification material.
    pub verifier: SubmittedVerifier,
}

/// The signed content in the form that logs accept.
#[derive(Clone, Debug)]
pub enum SubmittedContent {
    /// The digest of the signed bytes, with the hash that the signature was made over.
    Message(Digest),
    /// A DSSE envelope with exactly this signature.
    Envelope(Envelope),
}

/// The key or certificate that verifies a submission's signature.
#[derive(Clone, Debug)]
pub enum SubmittedVerifier {
    /// A public key.
    Key(PublicKey),
    /// A certificate, DER.
    Certificate(Vec<u8>),
}

/// Transparency log that accepts signatures (Rekor v1 or v2).
#[async_trait]
pub trait SignatureLog: Send + Sync {
    /// Returns its URL, which identifies the log.
    fn url(&self) -> &str;
    /// Uploads a submission and returns the entry with its proofs. An entry that already exists is
    /// fetched and returned.
    async fn upload(&self, submission: &LogSubmission) -> Result<LogEntry, Fault>;
}

/// Timestamp authority (RFC 3161).
#[async_trait]
pub trait TimestampAuthority: Send + Sync {
    /// Returns its URL, for messages.
    fn url(&self) -> &str;
    /// Returns a TimeStampResp, DER, whose message imprint is the SHA-256 of `signature`.
    async fn timestamp(&self, signature: &[u8]) -> Result<Vec<u8>, Fault>;
}

/// Opens the TUF repositories of TrustRoot objects.
pub trait RootRepositories: Send + Sync {
    /// Opens the repository of `spec` (`remote` or `repository`) without sending a request.
    fn open(&self, spec: &trust_root::Spec) -> Result<Box<dyn RootRepository>, Fault>;
}

/// A TUF repository that contains a trust root. Keeps the latest metadata versions, so that the
/// repository cannot be rolled back.
#[async_trait]
pub trait RootRepository: Send {
    /// Fetches the trust root that is valid at `now`.
    async fn read(&mut self, now: jiff::Timestamp) -> Result<ReadRoot, Fault>;
}

/// A trust root fetched from a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRoot {
    /// The root.
    pub root: TrustRoot,
    /// The time at which TUF metadata of it expired, if that is no reason to reject it: a
    /// repository within the object has no source of newer metadata.
    pub expired: Option<jiff::Timestamp>,
}

/// Access to Secrets and service accounts of a cluster.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// Returns the data of a Secret; `None` if it does not exist.
    async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, Fault>;

    /// Returns the pull Secrets of a pod: those that it names and those of its service account.
    async fn pull_secrets(
        &self,
        namespace: &str,
        service_account: &str,
        names: &[String],
    ) -> Result<Vec<PullSecret>, Fault>;
}

/// Access to workloads of a cluster, for requests that name an object without containing it.
#[async_trait]
pub trait WorkloadSource: Send + Sync {
    /// Returns the JSON of the object that `scope` names; `None` if it does not exist.
    async fn workload(&self, scope: &Scope) -> Result<Option<Bytes>, Fault>;
}

/// Source of the current time.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> jiff::Timestamp;
}

/// Sink for decisions: a log, metrics, decision records. Called in every admission, so it must not
/// block; work that takes time is queued.
pub trait AuditSink: Send + Sync {
    /// Records one decision.
    fn record(&self, decided: &Decided<'_>);
}

/// Forwards each decision to all sinks.
impl AuditSink for Vec<Arc<dyn AuditSink>> {
    fn record(&self, decided: &Decided<'_>) {
        self.iter().for_each(|sink| sink.record(decided));
    }
}
