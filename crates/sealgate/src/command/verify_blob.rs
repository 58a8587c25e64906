//! `verify-blob`: verifies the signature of a file, by a key or by a certificate's identity.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use sealgate_core::base64;
use sealgate_core::bundle::{LogMaterial, OlderBundle};
use sealgate_core::certificate::pem;
use sealgate_core::digest::Digest;
use sealgate_core::verify::{Authority, BlobSignature, Check, Parts, Verified};
use sealgate_engine::verify_blob::{Blob, BlobFailure, MAX_HELD, verify_blob};
use serde_json::json;

use crate::cli::files;
use crate::cli::keys::TokenFlags;
use crate::cli::trust::{self, VerificationSettings};
use crate::cli::verifying::VerifyingServices;
use crate::failure::{CliError, Outcome};
use crate::output::settings::SignatureProofs;
use crate::output::{self, Format, settings, verification};
use crate::session::Session;
use crate::terminal;

/// Verify the signature of a file
///
/// The signature is in a bundle (--bundle) or in a separate file (--signature).
#[derive(Args, Debug)]
pub(crate) struct VerifyBlobArgs {
    /// Public key: a file, env://VAR, k8s://NAMESPACE/SECRET or a URL
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// The bundle
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// Signature: a file, or the base64 text itself
    #[arg(long, value_name = "FILE|TEXT")]
    signature: Option<String>,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,

    /// Signed timestamp (JSON, as cosign writes it) for a detached signature
    #[arg(long, value_name = "FILE", hide = true)]
    rfc3161_timestamp: Option<PathBuf>,

    /// No effect for a single file
    #[arg(long, value_name = "N", hide = true)]
    max_workers: Option<u16>,

    #[command(flatten)]
    token: TokenFlags,

    #[command(flatten)]
    services: VerifyingServices,

    /// File to verify (- is standard input), or its digest, sha256:…
    #[arg(value_name = "BLOB")]
    blob: PathBuf,
}

/// The largest bundle or signature file.
const MAX_SIGNATURE: u64 = 32 << 20;

pub(crate) async fn run(args: VerifyBlobArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    args.token.check()?;
    args.check()?;
    let settings = args.services.settings(args.key.as_deref(), "blob").await?;
    let evidence = args.evidence(&settings.authority)?;
    let verified =
        verify(&evidence, &args.blob, &settings).map_err(|error| match &args.bundle {
            Some(bundle) => error.note(format!("bundle: {}", bundle.display())),
            None => error,
        })?;
    args.report(&verified, &settings, session)
}

/// Verifies `evidence` over the file or digest that `path` names.
pub(crate) fn verify(
    evidence: &Evidence,
    path: &Path,
    settings: &VerificationSettings,
) -> Result<Verified, CliError> {
    let verify = |blob: Blob<'_>| {
        verify_blob(blob, evidence.as_core(), &settings.authority, &settings.trust())
    };
    let verified = match given_digest(path) {
        Some(digest) => verify(Blob::Digest(digest)),
        None if path.is_file() => {
            let mut file = File::open(path).map_err(|error| files::named(path, &error))?;
            verify(Blob::File(&mut file))
        }
        None => verify(Blob::Stream(&mut *files::open_or_stdin(path)?)),
    };
    verified.map_err(|failure| match failure {
        BlobFailure::Rejected(reason) => {
            let error = CliError::new(reason.to_string())
                .note(format!("{} [{}]", path.display(), reason.code()))
                .note(format!("what to do: {}", reason.remedy()));
            verification::unlogged(error, std::iter::once(&reason), settings)
        }
        BlobFailure::Read(error) => files::unread(path, &error),
        BlobFailure::TooLarge => files::too_large(path, MAX_HELD),
    })
}

/// The signature, and what comes with it.
pub(crate) enum Evidence {
    Bundle(Vec<u8>),
    Parts(DetachedParts),
}

/// The parts of a signature in separate files, or in a bundle of cosign 1 and 2.
pub(crate) struct DetachedParts {
    signature: Vec<u8>,
    certificate: String,
    log: LogMaterial,
    sct: Option<Vec<u8>>,
}

impl Evidence {
    fn as_core(&self) -> BlobSignature<'_> {
        match self {
            Self::Bundle(json) => BlobSignature::Bundle(json),
            Self::Parts(parts) => BlobSignature::Parts(Parts {
                signature: &parts.signature,
                certificate: &parts.certificate,
                chain: "",
                log: &parts.log,
                sct: parts.sct.as_deref(),
            }),
        }
    }
}

impl VerifyBlobArgs {
    /// Refuses a command line without key, certificate and bundle, in cosign's words.
    fn check(&self) -> Result<(), CliError> {
        let certificate = self.services.parts.certificate.is_some();
        if self.key.is_none() && !certificate && self.bundle.is_none() {
            return Err(CliError::new(
                "provide a key with --key or --sk, a certificate to verify against with \
                 --certificate, or a bundle with --bundle",
            ));
        }
        Ok(())
    }

    fn evidence(&self, authority: &Authority) -> Result<Evidence, CliError> {
        let bundle = self.bundle.as_deref().map(|path| files::read(path, MAX_SIGNATURE));
        let Some(bundle) = bundle.transpose()? else {
            return self.parts(None, authority).map(Evidence::Parts);
        };
        match OlderBundle::recognise(&bundle) {
            Ok(Some(older)) => self.parts(Some(older), authority).map(Evidence::Parts),
            // The verifier reports a document that is no bundle.
            Ok(None) | Err(_) => {
                self.check_parts_of_bundle()?;
                Ok(Evidence::Bundle(bundle))
            }
        }
    }

    /// Refuses flags for what is in a Sigstore bundle, in cosign's words.
    fn check_parts_of_bundle(&self) -> Result<(), CliError> {
        let parts = &self.services.parts;
        let elsewhere = [
            (
                "certificate must be in bundle and may not be provided using --certificate",
                parts.certificate.is_some(),
            ),
            (
                "RFC3161 timestamp may not be provided using --rfc3161-timestamp",
                self.rfc3161_timestamp.is_some(),
            ),
            ("signature may not be provided using --signature", self.signature.is_some()),
            ("SCT may not be provided using --sct", parts.sct.is_some()),
        ];
        match elsewhere.iter().find(|(_, given)| *given) {
            Some((why, _)) => {
                Err(CliError::new(format!("unsupported: {why} when using --new-bundle-format")))
            }
            None => Ok(()),
        }
    }

    /// The parts of the flags, which replace those in a bundle of cosign 1 and 2.
    fn parts(
        &self,
        older: Option<OlderBundle>,
        authority: &Authority,
    ) -> Result<DetachedParts, CliError> {
        let (in_bundle, certificate, mut log) = match older {
            Some(older) => (Some(older.signature), older.certificate, older.log),
            None => (None, String::new(), LogMaterial::default()),
        };
        let signature = match (&self.signature, in_bundle) {
            (Some(given), _) => detached(given)?,
            (None, Some(signature)) => signature,
            (None, None) => {
                return Err(CliError::new("missing flag '--signature'")
                    .note("give --bundle FILE, or --signature with a file or the base64 text"));
            }
        };
        log.timestamps = self.timestamp()?;
        Ok(DetachedParts {
            signature,
            certificate: self.certificate(certificate, authority)?,
            log,
            sct: self
                .services
                .parts
                .sct
                .as_deref()
                .map(|path| files::read(path, MAX_SIGNATURE))
                .transpose()?,
        })
    }

    /// The certificate of the flag, else that of the bundle; two different ones are refused.
    fn certificate(&self, in_bundle: String, authority: &Authority) -> Result<String, CliError> {
        let Some(path) = &self.services.parts.certificate else {
            return match (in_bundle.is_empty(), authority) {
                (true, Authority::Identities(_)) => Err(CliError::new(
                    "bundle does not contain cert for verification, please provide public key",
                )
                .note("there is no certificate beside the signature: give --certificate FILE, or --key")),
                _ => Ok(in_bundle),
            };
        };
        let given = trust::certificates(path)?.into_iter().next().unwrap_or_default();
        let same = || pem::read(&in_bundle, 1).is_ok_and(|there| there == [given.as_slice()]);
        match in_bundle.is_empty() || same() {
            true => Ok(pem::write(&given)),
            false => Err(CliError::new(
                "the cert passed in does not match the cert in the provided bundle",
            )),
        }
    }

    /// The timestamp of the flag. As in cosign, it must be given if and only if timestamps are
    /// required.
    fn timestamp(&self) -> Result<Vec<Vec<u8>>, CliError> {
        let wanted = self.services.trust.wants_timestamps();
        let Some(path) = &self.rfc3161_timestamp else {
            return match wanted {
                true => Err(CliError::new(
                    "when specifying --use-signed-timestamps or --timestamp-certificate-chain, \
                     you must also specify --rfc3161-timestamp-path",
                )
                .note("the flag is called --rfc3161-timestamp")),
                false => Ok(Vec::new()),
            };
        };
        if !wanted {
            return Err(CliError::new(
                "when specifying --rfc3161-timestamp-path, you must also specify \
                 --use-signed-timestamps or --timestamp-certificate-chain",
            ));
        }
        let bytes = files::read(path, MAX_SIGNATURE)?;
        let material = LogMaterial::of_annotations("", &String::from_utf8_lossy(&bytes));
        let material = material.map_err(|reason| {
            CliError::new(format!("{}: {reason} [{}]", path.display(), reason.code()))
        })?;
        Ok(material.timestamps)
    }

    fn report(
        &self,
        verified: &Verified,
        settings: &VerificationSettings,
        session: &mut Session,
    ) -> Outcome {
        let checks = verified.checks();
        if self.output == Format::Json {
            let mut fields = settings::document(settings);
            fields.extend(settings::proof_fields(verified.into()));
            let checks: Vec<_> = checks.iter().map(|check| settings::check(*check)).collect();
            fields.insert("verified".to_owned(), true.into());
            fields.insert("key".to_owned(), verified.key().to_string().into());
            fields.insert("predicateType".to_owned(), json!(verified.predicate_type()));
            fields.insert("checks".to_owned(), checks.into());
            return output::document(session, "verify-blob", fields.into());
        }
        terminal::say("Verified OK");
        // There is nothing more to print about a plain key.
        let found = SignatureProofs::from(verified);
        let plain = checks == [Check::KeySignature] && !verified.has_log_material();
        if !plain || settings.past || found.is_prehashed_ed25519() {
            terminal::show(settings::lines(settings, &[found], &checks.iter().copied().collect()));
        }
        Ok(())
    }
}

/// The signature in a file of that name, else the text decoded.
fn detached(text: &str) -> Result<Vec<u8>, CliError> {
    match files::read(Path::new(text), MAX_SIGNATURE) {
        Err(_) if !Path::new(text).exists() => base64::decode(text.trim()).map_err(|_| {
            CliError::new(format!(
                "{text}: there is no such file, and it is not a base64 signature"
            ))
        }),
        other => other,
    }
}

/// A digest instead of a path, unless a file has that name.
fn given_digest(path: &Path) -> Option<Digest> {
    if path.exists() { None } else { path.to_str()?.parse().ok() }
}
