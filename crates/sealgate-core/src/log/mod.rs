//! Verification of transparency log entries.
//!
//! Input: unverified entries of a bundle or a legacy signature; the logs of the trust root;
//! signature, signer and content. Output: [`LogProof`]. The log must have signed the entry (`set`:
//! signed entry timestamp) or a tree that contains it (`merkle`: inclusion proof; `checkpoint`),
//! and the entry must name the signature, the signer and the content (`entry`).

mod checkpoint;
mod entry;
mod merkle;
mod set;

use std::collections::BTreeSet;

pub use checkpoint::Checkpoint;
use checkpoint::{CheckpointProof, Dialect};
pub use entry::{Body, EntryProof};

use set::SignedEntryTimestamp;

use crate::bundle::{InclusionProof, LogEntry, Version};
use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::key::{PublicKey, SignatureAlgorithm};
use crate::reject::{Foreign, LogReject, Reject};
use crate::requirement::ProofRequirement;
use crate::trust::{SharedRoot, TransparencyLog};

/// Signature, signer and content that an entry must name. The signature need not be verified
/// before.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a> {
    /// The raw signature.
    pub signature: &'a [u8],
    /// The signer.
    pub signer: Signer<'a>,
    /// The signed content.
    pub content: LoggedContent<'a>,
}

/// The signer, as the verifier knows it.
#[derive(Clone, Copy, Debug)]
pub enum Signer<'a> {
    /// The key that verified the signature.
    Key(&'a PublicKey),
    /// The certificate, DER, whose key verified the signature.
    Certificate(&'a [u8]),
}

/// The signed content.
#[derive(Clone, Copy, Debug)]
pub enum LoggedContent<'a> {
    /// Bytes that have these digests: one by each algorithm that an entry may name (SHA-256,
    /// SHA-384, SHA-512), or those at hand.
    Message(&'a [Digest]),
    /// An envelope.
    Envelope {
        /// The envelope.
        envelope: &'a Envelope,
        /// Its JSON as found, where available: an `intoto` 0.0.1 entry names the digest of these
        /// bytes. Without it the forms that cosign writes are tried.
        text: Option<&'a [u8]>,
    },
}

/// The format of the evidence that an entry belongs to. It decides which parts an entry must have;
/// other parts are verified too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryFormat {
    /// The annotations of a legacy signature, or cosign's older bundle of a blob: requires a signed
    /// entry timestamp; only the entry itself names its kind.
    Legacy,
    /// A Sigstore bundle: requires a signed entry timestamp in version 0.1, inclusion proof and
    /// checkpoint since 0.2.
    Bundle(Version),
}

/// Outcome of the verification of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryOutcome {
    /// A log of the trust root has the entry.
    Proven(LogProof),
    /// No log of the trust root has this id: the entry is ignored.
    UnknownLog {
        /// The id that it names.
        log_id: Vec<u8>,
    },
}

/// Proof that a log of the trust root has an entry for a signature. Made by [`verify_entry`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    log: Digest,
    log_id: Vec<u8>,
    base_url: String,
    log_index: i64,
    body: Vec<u8>,
    key_details: Option<Foreign>,
    inclusion: Inclusion,
    _kind: KindProof,
    _validity: ValidityProof,
    entry: EntryProof,
}

/// Verified entries of one signature. Made by [`verify_entries`] only.
#[derive(Clone, Debug)]
pub struct LogProofs {
    proofs: Vec<LogProof>,
    unknown: usize,
}

/// Verified entries that satisfy a [`ProofRequirement`]. Made by [`LogProofs::require`] only.
#[derive(Clone, Debug)]
pub struct RequiredLog {
    proofs: LogProofs,
}

/// Proof that no log entry names another signature algorithm. Made by
/// [`RequiredLog::check_algorithm`] only.
#[derive(Clone, Debug)]
pub struct AlgorithmProof {
    algorithm: SignatureAlgorithm,
}

/// Unverified parts of an entry, of which the format of the evidence requires at least one.
#[derive(Clone, Copy)]
enum InclusionEvidence<'a> {
    Set(&'a [u8]),
    Proof(&'a InclusionProof),
    Both(&'a [u8], &'a InclusionProof),
}

/// Verified form of [`InclusionEvidence`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum Inclusion {
    Set(SignedEntryTimestamp),
    Proof(ProvenIndex),
    Both(SignedEntryTimestamp, ProvenIndex),
}

/// Index of an entry whose inclusion proof was verified up to the checkpoint's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProvenIndex {
    index: i64,
    _tree: TreeProof,
}

/// Proof that the log has signed the root hash of an inclusion proof, or (Rekor v1 without a
/// checkpoint) the entry itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TreeProof {
    Checkpoint(CheckpointProof),
    SignedEntry(SignedEntryTimestamp),
}

/// Proof that the evidence names the kind that the entry has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KindProof;

/// Proof that the log's key was valid at the trusted times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ValidityProof;

impl LogProof {
    /// The id of the log, as the trust root gives it.
    pub fn log_id(&self) -> &[u8] {
        &self.log_id
    }
    /// The address of the log, as the trust root gives it.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }
    /// The time at which the log integrated the entry, in seconds since 1970; only if the log has
    /// signed it.
    pub fn integrated_time(&self) -> Option<i64> {
        self.inclusion.set().map(SignedEntryTimestamp::integrated_time)
    }
    /// The index of the entry: over all shards where there is a signed entry timestamp, else the
    /// index of the inclusion proof.
    pub fn log_index(&self) -> i64 {
        self.log_index
    }
    /// The entry as the log holds it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
    /// The signed entry timestamp (SET), if there is one.
    pub fn signed_entry_timestamp(&self) -> Option<&[u8]> {
        self.inclusion.set().map(SignedEntryTimestamp::signature)
    }
}

impl LogProofs {
    /// One proof for each entry of a known log.
    pub fn proofs(&self) -> &[LogProof] {
        &self.proofs
    }
    /// The number of entries that name a log unknown to the trust root.
    pub fn unknown(&self) -> usize {
        self.unknown
    }
    /// The number of different logs that have the signature, for comparison with a threshold. Logs
    /// are identified by their keys, so that two entries of one log, or of one log that the trust
    /// root names twice, count once.
    pub fn logs(&self) -> usize {
        self.proofs.iter().map(|proof| &proof.log).collect::<BTreeSet<_>>().len()
    }
    /// Compares the number of logs with the requirement.
    ///
    /// # Errors
    /// An entry is required, and no log of the trust root has one.
    pub(crate) fn require(self, requirement: ProofRequirement) -> Result<RequiredLog, Reject> {
        match requirement.is_required() && self.logs() == 0 {
            true => Err(Reject::NotLogged),
            false => Ok(RequiredLog { proofs: self }),
        }
    }
}

impl RequiredLog {
    /// The verified entries.
    pub fn proofs(&self) -> &LogProofs {
        &self.proofs
    }
    /// Checks that each entry that names a signature algorithm names this one, by which the
    /// signature verified. (Entries of Rekor v2 name it, those of Rekor v1 do not.)
    pub(crate) fn check_algorithm(
        &self,
        algorithm: SignatureAlgorithm,
    ) -> Result<AlgorithmProof, LogReject> {
        let names_another = |named: &&Foreign| Some(named.as_str()) != algorithm.key_details();
        let mut named = self.proofs.proofs.iter().filter_map(|proof| proof.key_details.as_ref());
        match named.find(names_another) {
            Some(named) => Err(LogReject::OtherAlgorithm(named.clone())),
            None => Ok(AlgorithmProof { algorithm }),
        }
    }
    /// The times that logs have signed.
    pub(crate) fn integrated_times(&self) -> Vec<i64> {
        self.proofs.proofs.iter().filter_map(LogProof::integrated_time).collect()
    }
}

impl AlgorithmProof {
    /// The algorithm by which the signature verified.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
}

impl Inclusion {
    fn set(&self) -> Option<&SignedEntryTimestamp> {
        match self {
            Self::Set(set) | Self::Both(set, _) => Some(set),
            Self::Proof(_) => None,
        }
    }
}

/// Verifies all entries of a signature, as [`verify_entry`] does. Without a trust root there is
/// no log to verify them with, so that none counts.
///
/// # Errors
/// An entry of a known log is wrong in any way, even if another one would do.
pub(crate) fn verify_entries(
    entries: &[LogEntry],
    format: EntryFormat,
    root: Option<&SharedRoot>,
    logged: &Logged<'_>,
    times: &[i64],
) -> Result<LogProofs, Reject> {
    let mut found = LogProofs { proofs: Vec::new(), unknown: 0 };
    let Some(root) = root else { return Ok(found) };
    for entry in entries {
        match by_logs(entry, format, &root.transparency_logs, logged, times, &found.proofs)? {
            EntryOutcome::Proven(proof) => found.proofs.push(proof),
            EntryOutcome::UnknownLog { .. } => found.unknown += 1,
        }
    }
    Ok(found)
}

/// Verifies one entry: its log's signature, its time, and that it names `logged`.
///
/// `times`: the times of verified timestamps (seconds since 1970). The log's key must be valid at
/// each of them, or at the integrated time where the log has signed one. If there is neither, a log
/// whose key has no end of validity is accepted.
///
/// # Errors
/// Anything in an entry of a known log that is wrong; the code says what.
pub fn verify_entry(
    entry: &LogEntry,
    format: EntryFormat,
    logs: &[TransparencyLog],
    logged: &Logged<'_>,
    times: &[i64],
) -> Result<EntryOutcome, Reject> {
    by_logs(entry, format, logs, logged, times, &[])
}

/// Verifies as [`verify_entry`] does. `proven`: entries of the same signature that were verified
/// before.
fn by_logs(
    entry: &LogEntry,
    format: EntryFormat,
    logs: &[TransparencyLog],
    logged: &Logged<'_>,
    times: &[i64],
    proven: &[LogProof],
) -> Result<EntryOutcome, Reject> {
    let mut outcome = None;
    for log in logs.iter().filter(|log| log.is_named(&entry.log_id)) {
        match by_log(entry, format, log, logged, times, proven) {
            Ok(proof) => return Ok(EntryOutcome::Proven(proof)),
            Err(reject) => outcome = outcome.or(Some(reject)),
        }
    }
    match outcome {
        Some(reject) => Err(reject),
        None => Ok(EntryOutcome::UnknownLog { log_id: entry.log_id.clone() }),
    }
}

fn by_log(
    entry: &LogEntry,
    format: EntryFormat,
    log: &TransparencyLog,
    logged: &Logged<'_>,
    times: &[i64],
    proven: &[LogProof],
) -> Result<LogProof, Reject> {
    let evidence = InclusionEvidence::of(entry, format)?;
    let body = Body::parse(&entry.body)?;
    let kind = check_kind(entry, format, &body)?;
    let inclusion = evidence.verify(entry, log, &body)?;
    let set = inclusion.set();
    let validity = check_validity(log, set.map(SignedEntryTimestamp::integrated_time), times)?;
    Ok(LogProof {
        log: log.key.key.fingerprint(),
        log_id: log.log_id().to_vec(),
        base_url: log.base_url.clone(),
        log_index: match &inclusion {
            Inclusion::Proof(proven) => proven.index,
            Inclusion::Set(_) | Inclusion::Both(..) => entry.log_index,
        },
        body: entry.body.clone(),
        key_details: body.key_details().map(Foreign::new),
        inclusion,
        _kind: kind,
        _validity: validity,
        entry: names(&body, &entry.body, logged, proven)?,
    })
}

/// Compares signature, signer and content with those of the entry. To name a large envelope is
/// costly, and a bundle may hold one entry many times: the same body is compared once.
fn names(
    body: &Body,
    bytes: &[u8],
    logged: &Logged<'_>,
    proven: &[LogProof],
) -> Result<EntryProof, Reject> {
    match proven.iter().find(|proof| proof.body == bytes) {
        Some(same) => Ok(same.entry.clone()),
        None => body.names(logged),
    }
}

impl<'a> InclusionEvidence<'a> {
    /// The signed entry timestamp and inclusion proof of `entry`, as far as it has them.
    ///
    /// # Errors
    /// One that the format requires is missing.
    fn of(entry: &'a LogEntry, format: EntryFormat) -> Result<Self, LogReject> {
        match (format, &entry.signed_entry_timestamp, &entry.proof) {
            (EntryFormat::Legacy | EntryFormat::Bundle(Version::V01), None, _) => {
                Err(LogReject::NoSignedEntryTimestamp)
            }
            (EntryFormat::Bundle(Version::V02 | Version::V03), _, None) => Err(LogReject::NoProof),
            (EntryFormat::Bundle(Version::V02 | Version::V03), _, Some(proof))
                if proof.checkpoint.is_empty() =>
            {
                Err(LogReject::NoCheckpoint)
            }
            (_, Some(set), Some(proof)) => Ok(Self::Both(set, proof)),
            (_, Some(set), None) => Ok(Self::Set(set)),
            (_, None, Some(proof)) => Ok(Self::Proof(proof)),
        }
    }

    fn verify(
        self,
        entry: &LogEntry,
        log: &TransparencyLog,
        body: &Body,
    ) -> Result<Inclusion, LogReject> {
        match self {
            Self::Set(set) => Ok(Inclusion::Set(set::verify(set, entry, log)?)),
            Self::Proof(proof) => {
                Ok(Inclusion::Proof(verify_inclusion(proof, entry, log, body, None)?))
            }
            Self::Both(set, proof) => {
                let set = set::verify(set, entry, log)?;
                let proven = verify_inclusion(proof, entry, log, body, Some(&set))?;
                Ok(Inclusion::Both(set, proven))
            }
        }
    }
}

/// The bundle must name the kind that the entry has. Legacy annotations name none.
fn check_kind(entry: &LogEntry, format: EntryFormat, body: &Body) -> Result<KindProof, LogReject> {
    let unnamed =
        entry.kind.is_empty() && entry.version.is_empty() && format == EntryFormat::Legacy;
    if unnamed || (entry.kind == body.kind() && entry.version == body.version()) {
        return Ok(KindProof);
    }
    let named = format!("{} {}", entry.kind, entry.version);
    Err(LogReject::OtherKind(Foreign::new(named)))
}

/// Verifies the inclusion proof (RFC 9162, section 2.1.3.2) and the checkpoint that commits to its
/// root hash.
fn verify_inclusion(
    proof: &InclusionProof,
    entry: &LogEntry,
    log: &TransparencyLog,
    body: &Body,
    set: Option<&SignedEntryTimestamp>,
) -> Result<ProvenIndex, LogReject> {
    let dialect = body.dialect();
    if dialect == Dialect::Rekor2 && proof.log_index != entry.log_index {
        return Err(LogReject::OtherIndex);
    }
    let number = |value, name| u64::try_from(value).map_err(|_| LogReject::Number(name));
    let index = number(proof.log_index, "logIndex")?;
    let size = number(proof.tree_size, "treeSize")?;
    let wrong_hash = |_| LogReject::ProofShape("a hash that is not 32 bytes long");
    let path: Vec<merkle::Hash> = proof
        .hashes
        .iter()
        .map(|hash| hash.as_slice().try_into().map_err(wrong_hash))
        .collect::<Result<_, _>>()?;
    let root = merkle::root(merkle::leaf_hash(&entry.body), index, size, &path)?;
    if proof.root_hash != root {
        return Err(LogReject::ProofRoot);
    }
    let tree = match (proof.checkpoint.as_str(), set) {
        ("", None) => return Err(LogReject::NoCheckpoint),
        ("", Some(set)) => TreeProof::SignedEntry(set.clone()),
        (note, _) => {
            let checkpoint = Checkpoint::parse(note)?.verify(log, dialect)?;
            TreeProof::Checkpoint(checkpoint.of_tree(size, root)?)
        }
    };
    Ok(ProvenIndex { index: proof.log_index, _tree: tree })
}

fn check_validity(
    log: &TransparencyLog,
    integrated_time: Option<i64>,
    times: &[i64],
) -> Result<ValidityProof, LogReject> {
    let times: Vec<i64> = match integrated_time {
        Some(time) => vec![time],
        None => times.to_vec(),
    };
    if times.is_empty() && log.validity.end.is_some() {
        return Err(LogReject::NoTime);
    }
    match times.iter().find(|time| !log.validity.contains(**time)) {
        Some(time) => Err(LogReject::Window(*time)),
        None => Ok(ValidityProof),
    }
}

#[cfg(test)]
pub(crate) mod tests;
