//! `verify-blob`: is this file signed by this key?

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::verify::{Artifact, BlobSignature, KeyAuthority, verify_blob};
use serde_json::{Value, json};

use crate::cli::files;
use crate::cli::keys::{self, TokenFlags};
use crate::cli::values::refuse_given;
use crate::cli::verifying::VerifyingServices;
use crate::failure::{CliError, Outcome};
use crate::output::{self, Format};
use crate::session::Session;
use crate::terminal;

/// Verify the signature of a file
///
/// The signature is a bundle (--bundle), or lies in a file of its own (--signature).
#[derive(Args, Debug)]
pub(crate) struct VerifyBlobArgs {
    /// The public key: a file, env://VAR, k8s://NAMESPACE/SECRET or a URL
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// The bundle
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// The signature: a file, or the base64 text itself
    #[arg(long, value_name = "FILE|TEXT")]
    signature: Option<String>,

    /// How to print the outcome
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,

    #[arg(long, hide = true)]
    rfc3161_timestamp: Option<String>,

    /// Without meaning for one file
    #[arg(long, value_name = "N", hide = true)]
    max_workers: Option<u16>,

    #[command(flatten)]
    token: TokenFlags,

    #[command(flatten)]
    services: VerifyingServices,

    /// The file (- is standard input), or its digest, sha256:…
    #[arg(value_name = "BLOB")]
    blob: PathBuf,
}

/// The largest bundle or signature file.
const MAX_SIGNATURE: u64 = 32 << 20;
/// The largest blob that is held in memory, for keys that sign whole content (Ed25519).
const MAX_WHOLE: u64 = 1 << 30;

pub(crate) async fn run(args: VerifyBlobArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    args.token.check()?;
    let timestamp = [("--rfc3161-timestamp", args.rfc3161_timestamp.is_some())];
    refuse_given(&timestamp, "timestamp authorities come with a later version")?;
    let key = keys::verifier(args.services.for_key(args.key.as_deref())?).await?;
    let authority = KeyAuthority { keys: vec![key], hash: args.services.hash() };
    let evidence = args.evidence()?;
    let blob = Blob::read(&args.blob, &authority)?;
    let verified =
        verify_blob(evidence.as_core(), &authority, blob.as_core()).map_err(|reason| {
            CliError::new(reason.to_string())
                .note(format!("{} [{}]", args.blob.display(), reason.code()))
                .note(format!("what to do: {}", reason.remedy()))
        })?;
    if args.output == Format::Json {
        return output::document(
            session,
            "verify-blob",
            json!({
                "verified": true,
                "key": verified.key(),
                "predicateType": verified.predicate_type(),
                "transparencyLog": "not-asked",
                "hasLogMaterial": verified.has_log_material(),
            }),
        );
    }
    terminal::say("Verified OK");
    if verified.has_log_material() {
        terminal::say(
            "The transparency log was not asked for (its entries in the bundle were not looked at).",
        );
    }
    Ok(())
}

/// A signature as it was given.
enum Evidence {
    Bundle(Vec<u8>),
    Detached(Vec<u8>),
}

impl Evidence {
    fn as_core(&self) -> BlobSignature<'_> {
        match self {
            Self::Bundle(json) => BlobSignature::Bundle(json),
            Self::Detached(bytes) => BlobSignature::Detached(bytes),
        }
    }
}

impl VerifyBlobArgs {
    fn evidence(&self) -> Result<Evidence, CliError> {
        match (&self.bundle, &self.signature) {
            (_, Some(signature)) => detached(signature),
            (Some(path), None) => {
                let bytes = files::read(path, MAX_SIGNATURE)?;
                legacy_bundle(&bytes).unwrap_or(Ok(Evidence::Bundle(bytes)))
            }
            (None, None) => Err(CliError::new("missing flag '--signature'")
                .note("give --bundle FILE, or --signature with a file or the base64 text")),
        }
    }
}

/// A file with the signature, else the text is the signature.
fn detached(text: &str) -> Result<Evidence, CliError> {
    match files::read(Path::new(text), MAX_SIGNATURE) {
        Ok(bytes) => Ok(Evidence::Detached(bytes)),
        Err(_) if !Path::new(text).exists() => match STANDARD.decode(text.trim()) {
            Ok(bytes) => Ok(Evidence::Detached(bytes)),
            Err(_) => Err(CliError::new(format!(
                "{text}: there is no such file, and it is not a base64 signature"
            ))),
        },
        Err(error) => Err(error),
    }
}

/// The bundle of cosign 1 and 2: `{"base64Signature":…}`. With a certificate in it, it says that
/// somebody else signed than the holder of the key.
fn legacy_bundle(bytes: &[u8]) -> Option<Result<Evidence, CliError>> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let signature = value.get("base64Signature")?.as_str()?;
    if value.get("cert").and_then(Value::as_str).is_some_and(|cert| !cert.is_empty()) {
        let why = "the bundle holds a certificate; that comes with keyless verification";
        return Some(Err(CliError::unsupported("a legacy bundle with a certificate", why)));
    }
    Some(match STANDARD.decode(signature) {
        Ok(bytes) => Ok(Evidence::Detached(bytes)),
        Err(_) => Err(CliError::new("the signature in the bundle is not base64")),
    })
}

/// The blob, or what was computed of it while it was read.
enum Blob {
    Content(Vec<u8>),
    Digests(Vec<Digest>),
}

impl Blob {
    fn as_core(&self) -> Artifact<'_> {
        match self {
            Self::Content(bytes) => Artifact::Content(bytes),
            Self::Digests(digests) => Artifact::Digests(digests),
        }
    }

    /// Reads the blob once; keeps it only for keys that need all of it.
    fn read(path: &Path, authority: &KeyAuthority) -> Result<Self, CliError> {
        if let Some(digest) = given_digest(path) {
            return Ok(Self::Digests(vec![digest]));
        }
        let Some(algorithms) = authority.blob_digests() else {
            return files::read_or_stdin(path, MAX_WHOLE).map(Self::Content);
        };
        hash(path, &algorithms).map(Self::Digests)
    }
}

/// A digest in the place of a file, unless there is a file of that name.
fn given_digest(path: &Path) -> Option<Digest> {
    if path.exists() { None } else { path.to_str()?.parse().ok() }
}

fn hash(path: &Path, algorithms: &[Algorithm]) -> Result<Vec<Digest>, CliError> {
    let mut source = files::open_or_stdin(path)?;
    let mut hashers: Vec<_> =
        algorithms.iter().map(|algorithm| Digest::hasher(*algorithm)).collect();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = source.read(&mut buffer)?;
        let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else {
            return Ok(hashers.into_iter().map(|hasher| hasher.finish()).collect());
        };
        hashers.iter_mut().for_each(|hasher| hasher.update(piece));
    }
}
