//! `bundle create|inspect|upgrade`: creates bundles from their parts, prints them, and upgrades
//! older ones. Nothing is verified here; `verify` does that.

mod inspect;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sealgate_core::base64;
use sealgate_core::bundle::{
    Bundle, Content, LogEntry, LogMaterial, MAX_BUNDLE, MessageSignature, OlderBundle,
    VerificationMaterial, Version, key_hint,
};
use sealgate_core::certificate::Unverified;
use sealgate_core::digest::Digest;
use sealgate_core::dsse::Envelope;
use sealgate_sigstore::http::{Client, Options};
use sealgate_sigstore::rekor::RekorV1;

use crate::cli::files::{self, Mode};
use crate::cli::keys::{self, TokenFlags};
use crate::cli::root::offline_root;
use crate::cli::trust::pem;
use crate::cli::values::{BOOL, go_bool};
use crate::failure::{CliError, Outcome};
use crate::session::Session;
use crate::terminal;

const MAX_FILE: u64 = MAX_BUNDLE as u64;
/// The largest artifact, which is read to compute its digest.
const MAX_ARTIFACT: u64 = 1 << 30;

/// Create, upgrade and inspect bundles
#[derive(Args, Debug)]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Create(Box<CreateArgs>),
    Inspect(inspect::InspectArgs),
    Upgrade(UpgradeArgs),
}

/// Create a bundle of version 0.3 from its parts
///
/// The signature is read from --signature, from a DSSE envelope (--attestation), or from a bundle
/// of cosign 1 or 2 (--bundle). A log entry in such a bundle has no inclusion proof, which version
/// 0.3 requires, so the proof is requested from the log.
#[derive(Args, Debug)]
struct CreateArgs {
    /// Signed file; its digest is stored in the bundle
    #[arg(long, value_name = "FILE")]
    artifact: PathBuf,

    /// Signature (base64)
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// DSSE envelope with an in-toto statement (JSON)
    #[arg(long, value_name = "FILE")]
    attestation: Option<PathBuf>,

    /// Bundle of cosign 1 or 2
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// Certificate of the signer (PEM, or base64-encoded PEM)
    #[arg(long, alias = "cert", value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// Public key of the signer
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Timestamp in the format of cosign 1 and 2 (JSON)
    #[arg(long, value_name = "FILE")]
    rfc3161_timestamp: Option<PathBuf>,

    /// Do not include a log entry in the bundle
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    ignore_tlog: Option<bool>,

    /// Transparency log (Rekor v1) that provides the inclusion proof [default: the log in the trust
    /// root that the entry names]
    #[arg(long, value_name = "URL")]
    rekor_url: Option<String>,

    /// Write to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    token: TokenFlags,
}

/// Convert a bundle of version 0.1 or 0.2 to version 0.3
///
/// Certificates other than the leaf certificate are removed, because verifiers take them from the
/// trust root. If a log entry has no inclusion proof, it is requested from the log.
#[derive(Args, Debug)]
struct UpgradeArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// Transparency log (Rekor v1) that provides the inclusion proof [default: the log in the trust
    /// root that the entry names]
    #[arg(long, value_name = "URL")]
    rekor_url: Option<String>,

    /// Write to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(args: BundleArgs, session: &mut Session) -> Outcome {
    match args.what {
        What::Create(args) => {
            let bundle = args.bundle().await?;
            give(&bundle.to_json(), args.out.as_deref(), session)
        }
        What::Inspect(args) => inspect::run(args, session).await,
        What::Upgrade(args) => args.run(session).await,
    }
}

fn give(text: &str, out: Option<&Path>, session: &mut Session) -> Outcome {
    match out {
        Some(path) => {
            files::write(path, text.as_bytes(), Mode::Private)?;
            terminal::say(format!("Wrote bundle to file {}", path.display()));
            Ok(())
        }
        None => session.line(text),
    }
}

impl CreateArgs {
    async fn bundle(&self) -> Result<Bundle, CliError> {
        self.token.check()?;
        let older = self.older()?;
        let content = self.content(older.as_ref())?;
        let material = self.material(older.as_ref()).await?;
        let mut log = older.map(|older| older.log).unwrap_or_default();
        if self.ignore_tlog == Some(true) && !log.entries.is_empty() {
            return Err(CliError::new(
                "cannot ignore transparency log when the provided bundle contains a Signed Entry \
                 Timestamp",
            ));
        }
        prove(&mut log.entries, self.rekor_url.as_deref()).await?;
        if let Some(path) = &self.rfc3161_timestamp {
            let text = text(path)?;
            let read = LogMaterial::of_annotations("", text.trim())
                .map_err(|reason| named(path, reason))?;
            log.timestamps = read.timestamps;
        }
        if log.entries.is_empty() && self.ignore_tlog != Some(true) {
            terminal::warn("there is no log entry in this bundle");
        }
        Ok(Bundle { version: Version::V03, material, log, content })
    }

    fn older(&self) -> Result<Option<OlderBundle>, CliError> {
        let Some(path) = &self.bundle else { return Ok(None) };
        let bytes = files::read(path, MAX_FILE)?;
        match OlderBundle::recognise(&bytes).map_err(|reason| named(path, reason))? {
            Some(older) => Ok(Some(older)),
            None => Err(CliError::new(format!("{}: no bundle of cosign 1 or 2", path.display()))
                .note("a Sigstore bundle of version 0.1 or 0.2 is for `bundle upgrade`")),
        }
    }

    fn content(&self, older: Option<&OlderBundle>) -> Result<Content, CliError> {
        if let Some(path) = &self.attestation {
            let bytes = files::read(path, MAX_FILE)?;
            return Ok(Content::Envelope(
                Envelope::parse(&bytes).map_err(|reason| named(path, reason))?,
            ));
        }
        let signature = match (&self.signature, older) {
            (Some(path), _) => {
                let text = text(path)?;
                let decoded = base64::decode(text.trim());
                decoded.map_err(|_| CliError::new(format!("{}: not base64", path.display())))?
            }
            (None, Some(older)) => older.signature.clone(),
            (None, None) => {
                return Err(CliError::new(
                    "must at least supply signature via --bundle or --signature",
                ));
            }
        };
        // For an envelope, cosign 1 and 2 write the whole envelope into the signature field.
        if let Ok(envelope) = Envelope::parse(&signature) {
            return Ok(Content::Envelope(envelope));
        }
        let digest = Some(Digest::of(&files::read(&self.artifact, MAX_ARTIFACT)?));
        Ok(Content::Message(MessageSignature { digest, signature }))
    }

    async fn material(
        &self,
        older: Option<&OlderBundle>,
    ) -> Result<VerificationMaterial, CliError> {
        if let Some(key) = &self.key {
            let key = keys::verifier(key).await?;
            return Ok(VerificationMaterial::PublicKey { hint: key_hint(&key) });
        }
        let text = match (&self.certificate, older) {
            (Some(path), _) => pem(path)?,
            (None, Some(older)) if older.certificate.contains("BEGIN CERTIFICATE") => {
                older.certificate.clone()
            }
            _ => {
                return Err(
                    CliError::new("nothing says who signed").note("give --certificate or --key")
                );
            }
        };
        let chain =
            Unverified::of_pem(&text, 16).map_err(|reason| CliError::new(reason.to_string()))?;
        let leaf =
            chain.first().ok_or_else(|| CliError::new("unable to decode provided certificate"))?;
        Ok(VerificationMaterial::Certificate(leaf.der().to_vec()))
    }
}

impl UpgradeArgs {
    async fn run(&self, session: &mut Session) -> Outcome {
        let bytes = files::read(&self.bundle, MAX_FILE)?;
        let mut bundle = Bundle::parse(&bytes).map_err(|reason| {
            CliError::new(format!("upgrading bundle: {reason}")).note(reason.remedy())
        })?;
        if bundle.version == Version::V03 {
            terminal::say("Bundle is already at v0.3, no upgrade needed.");
            return give(&String::from_utf8_lossy(&bytes), self.out.as_deref(), session);
        }
        let from = if bundle.version == Version::V01 { "v0.1" } else { "v0.2" };
        terminal::say(format!("Upgrading from {from} to v0.3..."));
        if let VerificationMaterial::CertificateChain(chain) = &bundle.material {
            let leaf =
                chain.first().ok_or_else(|| CliError::new("a chain without certificates"))?;
            terminal::say("Truncating certificate chain to only the leaf certificate...");
            bundle.material = VerificationMaterial::Certificate(leaf.clone());
        }
        prove(&mut bundle.log.entries, self.rekor_url.as_deref()).await?;
        bundle.version = Version::V03;
        give(&bundle.to_json(), self.out.as_deref(), session)
    }
}

/// Requests an inclusion proof for each entry that has none.
async fn prove(entries: &mut [LogEntry], rekor: Option<&str>) -> Outcome {
    for entry in entries.iter_mut().filter(|entry| entry.proof.is_none()) {
        let url = match rekor {
            Some(url) => url.to_owned(),
            None => address(&entry.log_id).await?,
        };
        let index = entry.log_index;
        terminal::say(format!(
            "Fetching missing inclusion proof from {url} for log index {index}..."
        ));
        let log = RekorV1::new(&url, Client::new(&Options::default())?)?;
        let found = log.entry_at(index).await?;
        if found.body != entry.body || found.log_id != entry.log_id {
            return Err(CliError::new(format!("{url}: the entry at index {index} is another one"))
                .note("the bundle and this log do not belong together"));
        }
        *entry = found;
    }
    Ok(())
}

/// The URL of an entry's log in the trust root.
async fn address(log_id: &[u8]) -> Result<String, CliError> {
    let root = offline_root(None).await?.root;
    let known = root.transparency_logs.iter().find(|log| log.is_named(log_id));
    known.map(|log| log.base_url.clone()).ok_or_else(|| {
        CliError::new("a log entry has no proof of inclusion, and its log is not in the trust root")
            .note("give its address with --rekor-url")
    })
}

fn text(path: &Path) -> Result<String, CliError> {
    let bytes = files::read(path, MAX_FILE)?;
    String::from_utf8(bytes).map_err(|_| CliError::new(format!("{}: not a text", path.display())))
}

fn named(path: &Path, reason: impl std::fmt::Display) -> CliError {
    CliError::new(format!("{}: {reason}", path.display()))
}
