//! `attach signature`: stores a signature of another tool with an image.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sealgate_core::bundle::{Bundle, Content};
use sealgate_core::reference::Reference;
use sealgate_core::statement::Statement;
use sealgate_engine::attach::{AttachRequest, attach_signature};
use sealgate_engine::failure::Failure;
use sealgate_engine::ports::Clock as _;
use sealgate_engine::{pin, referrer};
use serde_json::{Value, json};

use crate::cli::files;
use crate::cli::registry::{self, RegistryFlags};
use crate::clock::BuildClock;
use crate::failure::{CliError, Outcome};
use crate::output::{self, Format, OutputFlag};
use crate::session::Session;

/// Attach a signature to an image
#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Attach a legacy signature or a bundle that was created elsewhere
    Signature(Box<SignatureArgs>),
}

#[derive(Args, Debug)]
struct SignatureArgs {
    /// Signature in base64: a file, the text itself, or - for standard input
    #[arg(long, value_name = "FILE|TEXT|-")]
    signature: Option<String>,

    /// Signed payload [default: the payload that `cosign generate` prints]
    #[arg(long, alias = "bundle", value_name = "FILE")]
    payload: Option<PathBuf>,

    /// Certificate of the signer (PEM)
    #[arg(long, alias = "cert", value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// Certificate chain of the signer's certificate, without the certificate itself (PEM)
    #[arg(long, alias = "cert-chain", value_name = "FILE")]
    certificate_chain: Option<PathBuf>,

    /// RFC 3161 timestamp response (DER)
    #[arg(long, value_name = "FILE")]
    tsr: Option<PathBuf>,

    /// Log entry, in the format that `sign-blob --bundle` of cosign 1 and 2 wrote
    #[arg(long, value_name = "FILE")]
    rekor_response: Option<PathBuf>,

    #[command(flatten)]
    output: OutputFlag,

    #[command(flatten)]
    registry: RegistryFlags,

    /// The image
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

/// The largest file that is attached.
const MAX_FILE: u64 = 1 << 20;

pub(crate) async fn run(args: AttachArgs, session: &mut Session) -> Outcome {
    let What::Signature(args) = args.what;
    let format = args.output.begin(session);
    let payload = match args.payload.as_deref().map(payload).transpose()? {
        Some(Payload::Bundle(json)) => return attach_bundle(&args, json, format, session).await,
        Some(Payload::Legacy(bytes)) => Some(bytes),
        None => None,
    };
    let request = AttachRequest {
        signature: signature(args.signature.as_deref())?,
        payload,
        certificate: args.certificate.as_deref().map(text).transpose()?,
        chain: args.certificate_chain.as_deref().map(text).transpose()?,
        log_entry: args.rekor_response.as_deref().map(log_entry).transpose()?,
        timestamp: args.tsr.as_deref().map(|path| files::read(path, MAX_FILE)).transpose()?,
        signature_repository: registry::signature_repository()?,
        tag_prefix: args.registry.tag_prefix(),
        media_types: super::sign::media_types()?,
    };
    let registry = args.registry.client()?;
    let attached = attach_signature(&registry, &args.image, &request).await?;
    let (digest, location) = (attached.digest, attached.location.to_string());
    let added = attached.appended.added > 0;
    let fields =
        json!({ "format": "legacy", "digest": digest, "location": location, "added": added });
    output::report_result(session, format, "attach", fields, || {
        let what = if added { "attached" } else { "was already attached" };
        format!("Signature of {digest} {what}: {location}")
    })
}

/// The content of a file of that name, else the text itself.
fn signature(given: Option<&str>) -> Result<String, CliError> {
    let given =
        given.filter(|text| !text.is_empty()).ok_or_else(|| CliError::new("empty signature"))?;
    let text = match given {
        "-" => utf8(files::read_stdin(MAX_FILE)?, "standard input")?,
        path if Path::new(path).exists() => text(Path::new(path))?,
        text => text.to_owned(),
    };
    match text.trim().is_empty() {
        true => Err(CliError::new("empty signature")),
        false => Ok(text),
    }
}

/// The content of the `--payload` file.
enum Payload {
    /// The SimpleSigning document of a legacy signature.
    Legacy(Vec<u8>),
    /// A Sigstore bundle, which contains the signature.
    Bundle(Vec<u8>),
}

fn payload(path: &Path) -> Result<Payload, CliError> {
    let bytes = files::read(path, MAX_FILE)?;
    let is_bundle = serde_json::from_slice::<Value>(&bytes)
        .is_ok_and(|value| value.get("verificationMaterial").is_some());
    Ok(if is_bundle { Payload::Bundle(bytes) } else { Payload::Legacy(bytes) })
}

/// Stores a bundle as a referrer of the image that its statement names.
async fn attach_bundle(
    args: &SignatureArgs,
    json: Vec<u8>,
    format: Format,
    session: &mut Session,
) -> Outcome {
    let registry = args.registry.client()?;
    let pinned = pin::read(&registry, &args.image).await?;
    let Content::Envelope(envelope) = Bundle::parse(&json).map_err(Failure::from)?.content else {
        return Err(CliError::new("the bundle holds no statement about an image"));
    };
    let statement = Statement::parse(&envelope.payload).map_err(Failure::from)?;
    if !statement.subjects.iter().any(|subject| subject.has(pinned.digest())) {
        return Err(CliError::new("no matching subject digest found")
            .note(format!("the bundle is not about {}", pinned.reference)));
    }
    let created = BuildClock::from_env()?.now();
    let manifest =
        referrer::manifest(&json, &statement.predicate_type, &pinned.descriptor, created);
    let place = registry::signature_repository()?;
    let place = place.as_ref().unwrap_or(args.image.repository());
    let stored = referrer::push(&registry, place, json.into(), &manifest).await?;
    let (digest, location) = (pinned.digest(), format!("{place}@{stored}"));
    let fields =
        json!({ "format": "bundle", "digest": digest, "location": location, "added": true });
    output::report_result(session, format, "attach", fields, || {
        format!("Bundle about {digest} attached: {location}")
    })
}

/// The `rekorBundle` member of cosign's local form.
fn log_entry(path: &Path) -> Result<String, CliError> {
    let local: Value = serde_json::from_slice(&files::read(path, MAX_FILE)?)
        .map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    match local.get("rekorBundle") {
        Some(entry) if entry.is_object() => Ok(entry.to_string()),
        _ => Err(CliError::new(format!("{}: it has no rekorBundle", path.display()))),
    }
}

fn text(path: &Path) -> Result<String, CliError> {
    utf8(files::read(path, MAX_FILE)?, &path.display().to_string())
}

fn utf8(bytes: Vec<u8>, name: &str) -> Result<String, CliError> {
    String::from_utf8(bytes).map_err(|_| CliError::new(format!("{name}: it is not text")))
}
