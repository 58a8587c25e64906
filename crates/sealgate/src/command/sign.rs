//! `sign`: signs images, in either format or both: with a key, which needs no network but the
//! registry, or as whoever an identity token names.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sealgate_core::bundle::LogMaterial;
use sealgate_core::certificate::pem;
use sealgate_core::digest::Digest;
use sealgate_core::reference::Reference;
use sealgate_engine::legacy::MediaTypes;
use sealgate_engine::pin;
use sealgate_engine::ports::Registry;
use sealgate_engine::sign::{
    Formats, PendingArtifacts, SignFailure, SignRequest, SignedImage, Upload, VerificationKey,
    sign_image_with,
};
use serde_json::{Value, json};

use crate::cli::files::{self, Mode};
use crate::cli::keys::TokenFlags;
use crate::cli::registry::{self, RegistryFlags};
use crate::cli::signing::resume::{self, Place};
use crate::cli::signing::{Asked, Signing, SigningServices, Steps, made};
use crate::cli::values::{self, BOOL, go_bool, refuse_given};
use crate::clock::BuildClock;
use crate::failure::{CliError, Outcome};
use crate::output::{self, Format as Output};
use crate::session::Session;
use crate::terminal;

/// Sign images
///
/// With --key only the registry is contacted, unless flags or a signing configuration name a log or
/// a timestamp authority. `cosign verify --key` then needs --insecure-ignore-tlog, and so does
/// `sealgate verify --key` where a trust root is configured; with --tlog-upload or --signing-config
/// FILE the signature is logged, and neither does. Without --key an identity token says who signs
/// (keyless): of --identity-token, of the machine, or of a login.
///
/// Writes a Sigstore bundle as a referrer of the image (what cosign 3 writes); --format legacy
/// writes the .sig tag of cosign 1 and 2, --format both writes both. What is written was accepted by
/// sealgate's own verifier before.
#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    /// The private key: a file, env://VAR or k8s://NAMESPACE/SECRET
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Annotations to sign along
    #[arg(short, long, value_name = "KEY=VALUE", value_delimiter = ',')]
    annotations: Vec<String>,

    /// Sign everything below an index, too
    #[arg(short, long, value_name = BOOL, value_parser = go_bool)]
    recursive: Option<bool>,

    /// Which form to write
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,

    /// Store the signature beside the image
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    upload: Option<bool>,

    /// Write the bundle (the legacy signature as JSON with --format legacy) to FILE
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// Write the signature, base64, to FILE
    #[arg(long, value_name = "FILE")]
    output_signature: Option<PathBuf>,

    /// Write what was signed to FILE
    #[arg(long, value_name = "FILE")]
    output_payload: Option<PathBuf>,

    /// Write the certificate, or the public key where there is none, PEM, to FILE
    #[arg(long, alias = "output-cert", value_name = "FILE", hide = true)]
    output_certificate: Option<PathBuf>,

    /// Do not ask
    #[arg(short, long, value_name = BOOL, value_parser = go_bool)]
    yes: Option<bool>,

    /// How to print what was done
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Output,

    /// What the signed image is called in a legacy payload
    #[arg(long, value_name = "NAME", value_delimiter = ',', hide = true)]
    sign_container_identity: Vec<String>,

    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    record_creation_timestamp: Option<bool>,

    /// false is --format legacy
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    new_bundle_format: Option<bool>,

    #[arg(long, value_name = "legacy|oci-1-1", hide = true)]
    registry_referrers_mode: Option<String>,

    #[arg(long, hide = true)]
    attachment: Option<String>,

    #[arg(long, hide = true)]
    payload: Option<String>,

    #[command(flatten)]
    token: TokenFlags,

    #[command(flatten)]
    services: SigningServices,

    #[command(flatten)]
    registry: RegistryFlags,

    /// The images
    #[arg(value_name = "IMAGE", required_unless_present = "resume")]
    images: Vec<String>,
}

/// How to go on with what stayed unfinished.
const RESUME: &str = "sealgate sign --resume";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A Sigstore bundle as a referrer
    Bundle,
    /// A layer of the .sig tag
    Legacy,
    /// Both
    Both,
}

pub(crate) async fn run(args: SignArgs, session: &mut Session) -> Outcome {
    let step = match &args.services.resume {
        Some(path) => format!("finishing {}", path.display()),
        None => format!("signing [{}]", args.images.join(" ")),
    };
    sign_all(args, session).await.map_err(|error| error.during(&step))
}

async fn sign_all(args: SignArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    args.check()?;
    let request = args.request()?;
    let registry = args.registry.client()?;
    let clock = BuildClock::from_env()?;
    let done = match &args.services.resume {
        Some(path) => args.go_on(path, &registry, &clock, &request).await?,
        None => args.sign(&registry, &clock, &request).await?,
    };
    match args.output {
        Output::Text => Ok(()),
        Output::Json => output::document(
            session,
            "sign",
            json!({ "signed": done.iter().map(entry).collect::<Vec<_>>() }),
        ),
    }
}

impl SignArgs {
    async fn sign(
        &self,
        registry: &dyn Registry,
        clock: &BuildClock,
        request: &SignRequest,
    ) -> Result<Vec<SignedImage>, CliError> {
        self.services.judge(self.key.as_deref())?;
        let images = self.pinned(registry).await?;
        let below = if request.recursive { ", and of every image below it" } else { "" };
        let what: Vec<_> = images.iter().map(|image| format!("{image}{below}")).collect();
        let steps = if self.output == Output::Json { Steps::Silent } else { Steps::Told };
        let asked = Asked {
            key: self.key.as_deref(),
            yes: self.yes == Some(true),
            what: &what,
            algorithm: None,
            legacy: request.formats != Formats::Bundle,
            steps,
        };
        let signing = self.services.open(asked).await?;
        let mut done = Vec::new();
        for image in &images {
            let spinner = terminal::spinner("Signing artifact...");
            let signed = sign_image_with(registry, image, signing.parties(), clock, request).await;
            spinner.finish_and_clear();
            let signed = signed.map_err(|failure| {
                tell_what_is_signed(self.keep(failure, &signing, image), &done)
            })?;
            self.tell_all(&signed, &signing.key)?;
            done.extend(signed);
        }
        signing.tell_unlogged(steps);
        Ok(done)
    }

    /// The images with their digests: what is asked about is what is signed, wherever a tag moves
    /// meanwhile.
    async fn pinned(&self, registry: &dyn Registry) -> Result<Vec<Reference>, CliError> {
        let images: Vec<Reference> = self
            .images
            .iter()
            .map(|image| image.parse().map_err(|why| CliError::no_reference(image, &why)))
            .collect::<Result<_, _>>()?;
        let mut pinned = Vec::new();
        for image in images {
            if image.digest().is_none() {
                warn_of_tag(self, &image);
                pinned.push(pin::resolve(registry, &image).await?.reference);
            } else {
                pinned.push(image);
            }
        }
        Ok(pinned)
    }

    fn keep(&self, failure: SignFailure, signing: &Signing, image: &Reference) -> CliError {
        let nothing = Digest::of(b"");
        let (bundle, digest) = (self.bundle.as_deref(), image.digest().unwrap_or(&nothing));
        resume::keep(failure, signing, Place { bundle, digest, command: RESUME })
    }

    /// `--resume`: tells the logs that are missing, and stores.
    async fn go_on(
        &self,
        path: &Path,
        registry: &dyn Registry,
        clock: &BuildClock,
        request: &SignRequest,
    ) -> Result<Vec<SignedImage>, CliError> {
        if !self.images.is_empty() || self.key.is_some() {
            return Err(CliError::new("--resume goes on with what is in its file")
                .note("give neither images nor --key"));
        }
        let (pending, services) = resume::read(path)?;
        let key = pending.verification_key.clone();
        let digest = match &pending.artifacts {
            PendingArtifacts::Images(images) => {
                images.first().map(|image| image.subject.digest.clone())
            }
            PendingArtifacts::Blob(_) => None,
        };
        let transparency = self.services.reopen(&key, &services).await?;
        let finished =
            sealgate_engine::sign::resume(registry, pending, &transparency, clock, request).await;
        let signed = finished.map_err(|failure| match failure {
            SignFailure::Unfinished(unfinished) => {
                let digest = &digest.unwrap_or_else(|| Digest::of(b""));
                let place = Place { bundle: self.bundle.as_deref(), digest, command: RESUME };
                resume::keep_with(&unfinished, &services.logs, place)
            }
            other => other.into(),
        })?;
        self.tell_all(&signed, &key)?;
        Ok(signed)
    }

    fn tell_all(&self, signed: &[SignedImage], key: &VerificationKey) -> Outcome {
        // A file for each image: neither the images of a call nor those of an index share one.
        let many = signed.len() > 1 || self.images.len() > 1;
        for one in signed {
            self.tell(one);
            self.write_files(one, key, many)?;
        }
        Ok(())
    }

    fn check(&self) -> Outcome {
        self.token.check()?;
        let kinds = [
            ("--attachment", self.attachment.as_ref().is_some_and(|kind| !kind.is_empty())),
            ("--payload", self.payload.is_some()),
        ];
        refuse_given(&kinds, "what is signed is always made from the image")?;
        if self.writes_nothing() && self.formats()? != Formats::Legacy {
            return Err(CliError::new(
                "must enable upload to the OCI registry or specify a local --bundle path with \
                 --new-bundle-format",
            )
            .note("with --upload=false the signature would be nowhere: give --bundle FILE"));
        }
        match self.registry_referrers_mode.as_deref() {
            None | Some("legacy") => Ok(()),
            Some("oci-1-1") if self.formats()? == Formats::Legacy => Err(CliError::unsupported(
                "--registry-referrers-mode=oci-1-1 with the legacy format",
                "bundles are stored as referrers: leave the flag away and use --format bundle",
            )),
            Some("oci-1-1") => Ok(()),
            Some(other) => Err(CliError::new(format!(
                "invalid argument {other:?} for \"--registry-referrers-mode\" flag: must be one of \
                 \"legacy\", \"oci-1-1\""
            ))),
        }
    }

    /// Whether neither the registry nor a file gets the signature.
    fn writes_nothing(&self) -> bool {
        self.upload == Some(false) && self.bundle.is_none() && self.output_signature.is_none()
    }

    fn formats(&self) -> Result<Formats, CliError> {
        Ok(match (self.format, self.new_bundle_format) {
            (None, Some(false)) | (Some(Format::Legacy), None | Some(false)) => Formats::Legacy,
            (None, _) | (Some(Format::Bundle), None | Some(true)) => Formats::Bundle,
            (Some(Format::Both), None) => Formats::Both,
            (Some(_), Some(_)) => {
                return Err(CliError::new(
                    "--format and --new-bundle-format contradict each other",
                ));
            }
        })
    }

    fn request(&self) -> Result<SignRequest, CliError> {
        let container_identity = match self.sign_container_identity.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            _ => {
                let why = "give one, and sign again for each further name";
                return Err(CliError::unsupported("several --sign-container-identity", why));
            }
        };
        Ok(SignRequest {
            annotations: values::annotations(&self.annotations).map_err(CliError::new)?,
            formats: self.formats()?,
            upload: match self.upload {
                Some(false) => Upload::Nowhere,
                _ => Upload::Registry,
            },
            recursive: self.recursive == Some(true),
            media_types: media_types()?,
            record_creation_timestamp: self.record_creation_timestamp == Some(true),
            container_identity,
            signature_repository: registry::signature_repository()?,
            tag_prefix: self.registry.tag_prefix(),
            limits: super::limits()?,
        })
    }

    /// Where the signature went, and what exactly was signed.
    fn tell(&self, signed: &SignedImage) {
        if self.output == Output::Json {
            return;
        }
        let bundle = signed.bundle.as_ref().and_then(|bundle| bundle.stored.as_ref());
        let legacy = signed.legacy.as_ref().and_then(|legacy| legacy.stored.as_ref());
        let existed = signed.legacy.as_ref().is_some_and(|legacy| legacy.existed);
        logs(signed).for_each(made::tell_log_entries);
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
            terminal::say("  an equal legacy signature by this key stood there before");
        }
    }

    /// For people only: beside a document there is nothing.
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
                    made::older_bundle(signature, &legacy.log, key).into_bytes()
                }
                (None, None) => return Ok(()),
            };
            files::write(&path, &text, Mode::Private)?;
            self.say(format!("Wrote bundle to file {}", path.display()));
        }
        Ok(())
    }
}

/// Images of the same call that were signed before one failed stay signed.
fn tell_what_is_signed(error: CliError, done: &[SignedImage]) -> CliError {
    let name =
        |signed: &SignedImage| format!("{}@{}", signed.reference.repository(), signed.digest);
    match done {
        [] => error,
        done => {
            let names: Vec<_> = done.iter().map(name).collect();
            error.note(format!("signed before that, and so it stays: {}", names.join(", ")))
        }
    }
}

/// cosign's warning: a tag may name another image a moment later.
fn warn_of_tag(args: &SignArgs, image: &Reference) {
    if args.output == Output::Json {
        return;
    }
    terminal::warn(format!(
        "Image reference {} uses a tag, not a digest, to identify the image to sign.\n    \
         This can lead you to sign a different image than the intended one. Please use a\n    \
         digest (example.com/ubuntu@sha256:abc123...) rather than tag\n    \
         (example.com/ubuntu:latest) for the input to cosign. The ability to refer to\n    \
         images by tag will be removed in a future release.\n",
        image.original()
    ));
}

/// Log entries and timestamps of both forms.
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

/// `COSIGN_DOCKER_MEDIA_TYPES`.
pub(crate) fn media_types() -> Result<MediaTypes, CliError> {
    match std::env::var("COSIGN_DOCKER_MEDIA_TYPES") {
        Ok(text) if !text.is_empty() => match go_bool(&text) {
            Ok(true) => Ok(MediaTypes::Docker),
            Ok(false) => Ok(MediaTypes::Oci),
            Err(error) => Err(CliError::new(format!("invalid COSIGN_DOCKER_MEDIA_TYPES: {error}"))),
        },
        _ => Ok(MediaTypes::Oci),
    }
}

fn entry(signed: &SignedImage) -> serde_json::Value {
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
    let entry = |entry: &sealgate_core::bundle::LogEntry| json!({ "logId": hex(&entry.log_id), "logIndex": entry.log_index });
    log.entries.iter().map(entry).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
