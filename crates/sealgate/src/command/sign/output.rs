//! The results of `sign`: messages, files, and entries of the JSON document.

use std::path::{Path, PathBuf};

use sealgate_core::bundle::{LogEntry, LogMaterial};
use sealgate_core::certificate::pem;
use sealgate_engine::sign::{SignedImage, VerificationKey};
use serde_json::{Value, json};

use super::{Output, SignArgs};
use crate::cli::files::{self, Mode};
use crate::cli::signing::report;
use crate::failure::{CliError, Outcome};
use crate::terminal;

impl SignArgs {
    /// Reports signed images, and writes the files that the flags name.
    pub(super) fn report(&self, signed: &[SignedImage], key: &VerificationKey) -> Outcome {
        // A file for each image: neither the images of a call nor those of an index share one.
        let many = signed.len() > 1 || self.images.len() > 1;
        for image in signed {
            self.print(image);
            self.write_files(image, key, many)?;
        }
        Ok(())
    }

    /// Prints the digest that was signed, and where the signature is stored.
    fn print(&self, signed: &SignedImage) {
        if self.output == Output::Json {
            return;
        }
        let bundle = signed.bundle.as_ref().and_then(|bundle| bundle.stored.as_ref());
        let legacy = signed.legacy.as_ref().and_then(|legacy| legacy.stored.as_ref());
        let existed = signed.legacy.as_ref().is_some_and(|legacy| legacy.existed);
        logs(signed).for_each(report::log_entries);
        if let Some(place) = bundle.or(legacy) {
            terminal::say(format!("Pushing signature to: {}", place.repository()));
        }
        terminal::say(format!("Signed {}@{}", signed.reference.repository(), signed.digest));
        for place in bundle.into_iter().chain(legacy) {
            terminal::say(format!("  stored as {place}"));
        }
        if self.writes_nothing() {
            // cosign says nothing here, and ends well.
            terminal::warn("nothing was stored or written: give --output-signature FILE");
        }
        if existed {
            terminal::say("  the registry already had an equal legacy signature by this key");
        }
    }

    /// Prints a message, unless the output is a document.
    fn say(&self, text: String) {
        if self.output == Output::Text {
            terminal::say(text);
        }
    }

    fn write_files(&self, signed: &SignedImage, key: &VerificationKey, many: bool) -> Outcome {
        let named = |path: &Path| match many {
            true => suffixed(path, &signed.digest.to_string().replace(':', "-")),
            false => path.to_owned(),
        };
        let (payload, signature) = match (&signed.bundle, &signed.legacy) {
            (Some(bundle), _) => (&bundle.payload, &bundle.signature),
            (None, Some(legacy)) => (&legacy.payload, &legacy.signature),
            (None, None) => return Ok(()),
        };
        if let Some(path) = &self.output_signature {
            files::write(&named(path), signature.as_bytes(), Mode::Private)?;
        }
        if let Some(path) = &self.output_payload {
            files::write(&named(path), payload, Mode::Private)?;
        }
        if let Some(path) = &self.output_certificate {
            let leaf = key.certificates().first();
            let text = leaf.map_or_else(|| key.key().to_pem(), |leaf| pem::write(leaf));
            files::write(path, text.as_bytes(), Mode::Private)?;
            self.say(format!("Certificate wrote in the file {}", path.display()));
        }
        if let Some(path) = &self.bundle {
            let path = named(path);
            let text = match (&signed.bundle, &signed.legacy) {
                (Some(bundle), _) => bundle.json.clone(),
                (None, Some(legacy)) => {
                    report::older_bundle(signature, &legacy.log, key).into_bytes()
                }
                (None, None) => return Ok(()),
            };
            files::write(&path, &text, Mode::Private)?;
            self.say(format!("Wrote bundle to file {}", path.display()));
        }
        Ok(())
    }
}

/// Adds the images of the same call that were signed before one failed.
pub(super) fn with_signed(error: CliError, signed: &[SignedImage]) -> CliError {
    if signed.is_empty() {
        return error;
    }
    let name = |image: &SignedImage| format!("{}@{}", image.reference.repository(), image.digest);
    let names: Vec<_> = signed.iter().map(name).collect();
    error.note(format!("signed before that, and so it stays: {}", names.join(", ")))
}

/// The log entries and timestamps of both formats.
fn logs(signed: &SignedImage) -> impl Iterator<Item = &LogMaterial> {
    let bundle = signed.bundle.iter().map(|bundle| &bundle.log);
    bundle.chain(signed.legacy.iter().map(|legacy| &legacy.log))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-");
    name.push(suffix);
    name.into()
}

/// An image's entry in the document.
pub(super) fn entry(signed: &SignedImage) -> serde_json::Value {
    json!({
        "reference": signed.reference.to_string(),
        "digest": signed.digest,
        "bundle": signed.bundle.as_ref().map(|bundle| json!({
            "stored": bundle.stored.as_ref().map(ToString::to_string),
            "logEntries": log_entries(&bundle.log),
            "timestamps": bundle.log.timestamps.len(),
        })),
        "legacy": signed.legacy.as_ref().map(|legacy| json!({
            "stored": legacy.stored.as_ref().map(ToString::to_string),
            "manifest": legacy.manifest,
            "existed": legacy.existed,
            "logEntries": log_entries(&legacy.log),
            "timestamps": legacy.log.timestamps.len(),
        })),
    })
}

fn log_entries(log: &LogMaterial) -> Vec<Value> {
    let entry =
        |entry: &LogEntry| json!({ "logId": hex(&entry.log_id), "logIndex": entry.log_index });
    log.entries.iter().map(entry).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
