//! Entries of transparency logs: is this signature in a log of the trust root, and since when?
//!
//! In: entries as they stand in a bundle or beside a legacy signature, nothing in them believed;
//! the logs of the trust root; what was signed, by whom, and the signature. Out: [`LogProof`].
//! An entry counts only if its log vouches for it (`set`: a promise; `merkle` and `checkpoint`: a
//! proof) and if it is about this very signature, signer and content (`entry`).

mod checkpoint;
mod entry;
mod merkle;
mod set;

use std::collections::BTreeSet;

pub use checkpoint::Checkpoint;
use checkpoint::Dialect;
pub use entry::Body;

use crate::bundle::{InclusionProof, LogEntry, Version};
use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::key::{PublicKey, SignatureAlgorithm};
use crate::reject::{Foreign, LogReject, Reject};
use crate::trust::TransparencyLog;

/// What an entry must be about. The signature need not be verified before.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a> {
    /// The raw signature.
    pub signature: &'a [u8],
    /// Who signed.
    pub signer: Signer<'a>,
    /// What was signed.
    pub content: LoggedContent<'a>,
}

/// Who signed, as the verifier knows it.
#[derive(Clone, Copy, Debug)]
pub enum Signer<'a> {
    /// The key that verified the signature.
    Key(&'a PublicKey),
    /// The certificate, DER, whose key verified the signature.
    Certificate(&'a [u8]),
}

/// What was signed.
#[derive(Clone, Copy, Debug)]
pub enum LoggedContent<'a> {
    /// Bytes that have these digests: one by each algorithm that an entry may name (SHA-256,
    /// SHA-384, SHA-512), or those at hand.
    Message(&'a [Digest]),
    /// An envelope.
    Envelope {
        /// The envelope.
        envelope: &'a Envelope,
        /// Its JSON as it was found, where that is at hand: an `intoto` 0.0.1 entry is about
        /// these bytes. Without it the forms that cosign writes are tried.
        text: Option<&'a [u8]>,
    },
}

/// The form of the evidence that an entry belongs to. It decides what must be in the entry;
/// what else is in it is checked all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The annotations of a legacy signature, or cosign's older bundle of a blob: the promise of
    /// inclusion; the kind stands in the entry alone.
    Legacy,
    /// A Sigstore bundle: the promise in version 0.1, proof and checkpoint since 0.2.
    Bundle(Version),
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// A log of the trust root has it.
    Proven(LogProof),
    /// No log of the trust root has this id: the entry neither counts nor breaks the rest.
    UnknownLog {
        /// The id that it names.
        log_id: Vec<u8>,
    },
}

/// The proof that a log has taken this signature. Made by [`verify_entry`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    log: Digest,
    log_id: Vec<u8>,
    base_url: String,
    integrated_time: Option<i64>,
    log_index: i64,
    body: Vec<u8>,
    promise: Option<Vec<u8>>,
    key_details: Option<Foreign>,
}

/// What all the entries of one signature prove. Made by [`verify_entries`] only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogProofs {
    proofs: Vec<LogProof>,
    unknown: usize,
}

impl LogProof {
    /// The id of the log, as the trust root gives it.
    pub fn log_id(&self) -> &[u8] {
        &self.log_id
    }
    /// The address of the log, as the trust root gives it.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }
    /// When the log took the entry, in seconds since 1970: only if the log has signed that.
    pub fn integrated_time(&self) -> Option<i64> {
        self.integrated_time
    }
    /// The index of the entry: over all shards where a promise vouches for it, else the one that
    /// the inclusion proof is for.
    pub fn log_index(&self) -> i64 {
        self.log_index
    }
    /// The entry as the log holds it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
    /// The log's promise of inclusion (SET), where it has made one.
    pub fn promise(&self) -> Option<&[u8]> {
        self.promise.as_deref()
    }
}

impl LogProofs {
    /// One proof for each entry of a known log.
    pub fn proofs(&self) -> &[LogProof] {
        &self.proofs
    }
    /// How many entries name a log that the trust root does not have.
    pub fn unknown(&self) -> usize {
        self.unknown
    }
    /// How many different logs have the signature: what a threshold is compared with. Logs are
    /// told apart by their keys, so that two entries of one log, or of one log that stands
    /// twice in the trust root, count once.
    pub fn logs(&self) -> usize {
        self.proofs.iter().map(|proof| &proof.log).collect::<BTreeSet<_>>().len()
    }
    /// Checks that each entry that names a signature algorithm names this one, by which the
    /// signature verified. (Entries of Rekor v2 name it, those of Rekor v1 do not.)
    pub(crate) fn check_algorithm(&self, algorithm: SignatureAlgorithm) -> Result<(), LogReject> {
        let names_another = |named: &&Foreign| Some(named.as_str()) != algorithm.key_details();
        let mut named = self.proofs.iter().filter_map(|proof| proof.key_details.as_ref());
        match named.find(names_another) {
            Some(named) => Err(LogReject::OtherAlgorithm(named.clone())),
            None => Ok(()),
        }
    }
    /// The times that logs have signed.
    pub(crate) fn integrated_times(&self) -> impl Iterator<Item = i64> {
        self.proofs.iter().filter_map(LogProof::integrated_time)
    }
}

/// Checks all entries of a signature, as [`verify_entry`] does.
///
/// # Errors
/// An entry of a known log is wrong in any way, even if another one would do.
pub(crate) fn verify_entries(
    entries: &[LogEntry],
    form: Form,
    logs: &[TransparencyLog],
    logged: &Logged<'_>,
    times: &[i64],
) -> Result<LogProofs, Reject> {
    let mut proofs = LogProofs::default();
    for entry in entries {
        match verify_entry(entry, form, logs, logged, times)? {
            Judged::Proven(proof) => proofs.proofs.push(proof),
            Judged::UnknownLog { .. } => proofs.unknown += 1,
        }
    }
    Ok(proofs)
}

/// Checks one entry: that its log vouches for it, when, and that it is about `logged`.
///
/// `times`: the trusted times (seconds since 1970) that signed timestamps have given. The log's
/// key must count at each of them, or at the integrated time where the log has signed one. If
/// there is neither, a log whose key has no end is accepted.
///
/// # Errors
/// Anything in an entry of a known log that is wrong; the code says what.
pub fn verify_entry(
    entry: &LogEntry,
    form: Form,
    logs: &[TransparencyLog],
    logged: &Logged<'_>,
    times: &[i64],
) -> Result<Judged, Reject> {
    let mut outcome = None;
    for log in logs.iter().filter(|log| log.is_named(&entry.log_id)) {
        match by_log(entry, form, log, logged, times) {
            Ok(proof) => return Ok(Judged::Proven(proof)),
            Err(reject) => outcome = outcome.or(Some(reject)),
        }
    }
    match outcome {
        Some(reject) => Err(reject),
        None => Ok(Judged::UnknownLog { log_id: entry.log_id.clone() }),
    }
}

fn by_log(
    entry: &LogEntry,
    form: Form,
    log: &TransparencyLog,
    logged: &Logged<'_>,
    times: &[i64],
) -> Result<LogProof, Reject> {
    require(entry, form)?;
    let body = Body::parse(&entry.body)?;
    check_kind(entry, form, &body)?;
    let integrated_time = match &entry.promise {
        Some(set) => {
            set::verify(set, entry, log)?;
            Some(entry.integrated_time)
        }
        None => None,
    };
    let proven_index = match &entry.proof {
        Some(proof) => Some(verify_inclusion(proof, entry, log, &body)?),
        None => None,
    };
    check_window(log, integrated_time, times)?;
    body.is_about(logged)?;
    Ok(LogProof {
        log: log.key.key.fingerprint(),
        log_id: log.log_id().to_vec(),
        base_url: log.base_url.clone(),
        integrated_time,
        log_index: match (integrated_time, proven_index) {
            (None, Some(index)) => index,
            _ => entry.log_index,
        },
        body: entry.body.clone(),
        promise: entry.promise.clone(),
        key_details: body.key_details().map(Foreign::new),
    })
}

/// What the form asks for must be there.
fn require(entry: &LogEntry, form: Form) -> Result<(), LogReject> {
    match (form, &entry.promise, &entry.proof) {
        (Form::Legacy | Form::Bundle(Version::V01), None, _) => Err(LogReject::NoPromise),
        (Form::Bundle(Version::V02 | Version::V03), _, None) => Err(LogReject::NoProof),
        (Form::Bundle(Version::V02 | Version::V03), _, Some(proof))
            if proof.checkpoint.is_empty() =>
        {
            Err(LogReject::NoCheckpoint)
        }
        _ => Ok(()),
    }
}

/// The bundle must name the kind that the entry has. Legacy annotations name none.
fn check_kind(entry: &LogEntry, form: Form, body: &Body) -> Result<(), LogReject> {
    let unnamed = entry.kind.is_empty() && entry.version.is_empty() && form == Form::Legacy;
    if unnamed || (entry.kind == body.kind() && entry.version == body.version()) {
        return Ok(());
    }
    let named = format!("{} {}", entry.kind, entry.version);
    Err(LogReject::OtherKind(Foreign::new(named)))
}

/// From the entry to the root, and from the root to the log's signature. Gives the index.
fn verify_inclusion(
    proof: &InclusionProof,
    entry: &LogEntry,
    log: &TransparencyLog,
    body: &Body,
) -> Result<i64, LogReject> {
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
    // Without a checkpoint the promise alone vouches for the entry (`require` has seen to that).
    if !proof.checkpoint.is_empty() {
        let checkpoint = Checkpoint::parse(&proof.checkpoint)?;
        checkpoint.verify(log, dialect)?;
        if checkpoint.size != size {
            return Err(LogReject::CheckpointSize);
        }
        if checkpoint.root != root {
            return Err(LogReject::CheckpointRoot);
        }
    }
    Ok(proof.log_index)
}

fn check_window(
    log: &TransparencyLog,
    integrated_time: Option<i64>,
    times: &[i64],
) -> Result<(), LogReject> {
    let times: Vec<i64> = match integrated_time {
        Some(time) => vec![time],
        None => times.to_vec(),
    };
    if times.is_empty() && log.validity.end.is_some() {
        return Err(LogReject::NoTime);
    }
    match times.iter().find(|time| !log.validity.contains(**time)) {
        Some(time) => Err(LogReject::Window(*time)),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
