//! Unfinished signatures, which a log or the registry did not accept: the file that keeps them, and
//! the instructions to resume.
//!
//! The file is the engine's document of pending signatures and the API versions of the logs. It
//! holds nothing secret.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sealgate_core::digest::Digest;
use sealgate_engine::sign::{PendingSignatures, SignFailure, Step, Unfinished};
use sealgate_sigstore::signing_config::{LogService, RekorVersion, Services};
use serde_json::{Value, json};

use super::Signing;
use crate::cli::files::{self, Mode};
use crate::failure::CliError;

/// The name of the file, and the command that resumes from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResumeFile<'a> {
    /// `--bundle`, where it was given.
    pub(crate) bundle: Option<&'a Path>,
    /// The digest of the signed artifact.
    pub(crate) digest: &'a Digest,
    /// The command, up to the file's name.
    pub(crate) command: &'a str,
}

/// Writes unfinished signatures to the file, and explains how to resume. Other failures stay as
/// they are.
pub(crate) fn keep(failure: SignFailure, signing: &Signing, file: ResumeFile<'_>) -> CliError {
    let SignFailure::Unfinished(unfinished) = failure else { return failure.into() };
    keep_with(&unfinished, &signing.services.logs, file)
}

/// Writes the signatures of a run that was resumed and interrupted again.
pub(crate) fn keep_with(
    unfinished: &Unfinished,
    logs: &[LogService],
    file: ResumeFile<'_>,
) -> CliError {
    let Unfinished { step, cause, signatures } = unfinished;
    let what = match step {
        Step::Log => "error signing bundle: uploading to the transparency log",
        Step::Store => "storing the signature, which the transparency log has",
    };
    // The service's own words; remedies for registries do not fit here.
    let error = CliError::new(format!("{what}: {cause}")).note("nothing was stored");
    let path = file.path();
    match write(&path, signatures, logs) {
        Ok(()) => error
            .note(format!("what was signed is kept in {}", path.display()))
            .note(format!("to continue: {} {}", file.command, path.display()))
            .note(until(signatures, logs)),
        Err(unwritten) => error
            .note(format!("it could not be kept either: {}", unwritten.message))
            .note("sign again"),
    }
}

impl ResumeFile<'_> {
    fn path(&self) -> PathBuf {
        if let Some(bundle) = self.bundle {
            let mut name = bundle.as_os_str().to_owned();
            name.push(".unfinished.json");
            return name.into();
        }
        let short: String = self.digest.hex().chars().take(12).collect();
        format!("sealgate-unfinished-{short}.json").into()
    }
}

fn write(path: &Path, signatures: &PendingSignatures, logs: &[LogService]) -> Result<(), CliError> {
    let mut document: Value = serde_json::from_str(&signatures.to_json()?)
        .map_err(|error| CliError::new(error.to_string()))?;
    let logs: Vec<_> = logs
        .iter()
        .map(|log| json!({ "url": log.url, "apiVersion": version(log.version) }))
        .collect();
    document["logs"] = json!(logs);
    files::write(path, format!("{document:#}\n").as_bytes(), Mode::Private)
}

fn version(version: RekorVersion) -> u64 {
    match version {
        RekorVersion::V1 => 1,
        RekorVersion::V2 => 2,
    }
}

/// The time until which signing can be resumed: a log of version 1 signs the time of its entry,
/// which must lie within the certificate's validity; else a timestamp must prove that the
/// certificate was valid.
fn until(signatures: &PendingSignatures, logs: &[LogService]) -> String {
    let Some(certificate) = signatures.verification_key.certificate() else {
        return "there is no hurry: a key does not expire".to_owned();
    };
    let end = Timestamp::from_second(certificate.not_after());
    let end = end.map_or_else(|_| "its end".to_owned(), |end| end.to_string());
    let missing = signatures.missing_logs();
    let v1 = |log: &LogService| {
        log.version == RekorVersion::V1 && missing.iter().any(|url| same(url, &log.url))
    };
    match (logs.iter().any(v1), signatures.is_timestamped()) {
        (true, _) => format!(
            "go on before {end}: a log of version 1 signs the time of its entry, which must lie \
             within the certificate; later, sign again"
        ),
        (false, true) => {
            "there is no hurry: a timestamp shows that the certificate was valid when \
                          the signature was made"
                .to_owned()
        }
        (false, false) => format!(
            "nothing shows when the signature was made, so the certificate is valid until {end} \
             only; later, sign again"
        ),
    }
}

/// Reads such a file: the signatures, and the logs to upload them to.
pub(crate) fn read(path: &Path) -> Result<(PendingSignatures, Services), CliError> {
    let bytes = files::read(path, PendingSignatures::MAX as u64)?;
    let signatures = PendingSignatures::parse(&bytes)
        .map_err(|failure| CliError::from(failure).note(format!("in {}", path.display())))?;
    let document: Value = serde_json::from_slice(&bytes)
        .map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    let logs: Vec<_> = document["logs"].as_array().into_iter().flatten().filter_map(log).collect();
    // All of them, also those that have an entry: their proofs are verified.
    match signatures.missing_logs().iter().find(|url| !logs.iter().any(|log| same(&log.url, url))) {
        None => Ok((signatures, Services { logs, ..Services::default() })),
        Some(url) => Err(CliError::new(format!(
            "{}: it does not state the API version of the log {url}",
            path.display()
        ))),
    }
}

/// True if two URLs are the same: clients append a slash to a bare host.
fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn log(log: &Value) -> Option<LogService> {
    let version = match log["apiVersion"].as_u64()? {
        1 => RekorVersion::V1,
        2 => RekorVersion::V2,
        _ => return None,
    };
    Some(LogService { url: log["url"].as_str()?.to_owned(), version })
}
