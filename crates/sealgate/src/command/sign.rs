//! `sign`: signs images, in either format or both, with a key or keyless.

mod output;
mod plan;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sealgate_core::digest::Digest;
use sealgate_core::reference::Reference;
use sealgate_engine::legacy::MediaTypes;
use sealgate_engine::pin;
use sealgate_engine::ports::RegistryWrite;
use sealgate_engine::sign::{
    self as engine, PendingArtifacts, SignFailure, SignRequest, SignedImage, sign_image_with,
};
use serde_json::json;

use crate::cli::keys::TokenFlags;
use crate::cli::registry::RegistryFlags;
use crate::cli::signing::plan::{ServiceAccess, SigningPlan};
use crate::cli::signing::resume::{self, ResumeFile};
use crate::cli::signing::{Signing, SigningFlags, open, reopen};
use crate::cli::values::{BOOL, go_bool};
use crate::clock::BuildClock;
use crate::failure::{CliError, Outcome};
use crate::output::{Format as Output, document};
use crate::session::Session;
use crate::terminal;
use plan::{Action, Environment};

/// Sign images
///
/// With --key, only the registry is contacted, unless flags or a signing configuration name a log
/// or a timestamp authority. Verifying such a signature needs --insecure-ignore-tlog with `cosign
/// verify --key`, and with `sealgate verify --key` if a trust root is configured. With
/// --tlog-upload or --signing-config FILE, the signature is logged and verifies without that flag.
/// Without --key, the signer is identified by an identity token (keyless), from --identity-token,
/// from an ambient provider such as a CI platform, or from a login.
///
/// By default, writes a Sigstore bundle as a referrer of the image, as cosign 3 does. --format
/// legacy writes the .sig tag of cosign 1 and 2, and --format both writes both. Every signature is
/// verified before it is stored.
#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    /// Private key: a file, env://VAR or k8s://NAMESPACE/SECRET
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Annotations to include in the signed content
    #[arg(short, long, value_name = "KEY=VALUE", value_delimiter = ',')]
    annotations: Vec<String>,

    /// Also sign all images in an index
    #[arg(short, long, value_name = BOOL, value_parser = go_bool)]
    recursive: Option<bool>,

    /// Signature format to write
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,

    /// Store the signature in the registry
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    upload: Option<bool>,

    /// Write the bundle to FILE (with --format legacy, the legacy signature as JSON)
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// Write the signature (base64) to FILE
    #[arg(long, value_name = "FILE")]
    output_signature: Option<PathBuf>,

    /// Write the signed payload to FILE
    #[arg(long, value_name = "FILE")]
    output_payload: Option<PathBuf>,

    /// Write the certificate, or the public key if there is none, to FILE (PEM)
    #[arg(long, alias = "output-cert", value_name = "FILE", hide = true)]
    output_certificate: Option<PathBuf>,

    /// Do not ask for confirmation
    #[arg(short, long, value_name = BOOL, value_parser = go_bool)]
    yes: Option<bool>,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Output,

    /// Name of the image in a legacy payload
    #[arg(long, value_name = "NAME", value_delimiter = ',', hide = true)]
    sign_container_identity: Vec<String>,

    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    record_creation_timestamp: Option<bool>,

    /// With false, the same as --format legacy
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
    signing: SigningFlags,

    #[command(flatten)]
    registry: RegistryFlags,

    /// The images
    #[arg(value_name = "IMAGE", required_unless_present = "resume")]
    images: Vec<String>,
}

/// The command that resumes unfinished signatures, up to the file's name.
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
    let step = match &args.signing.resume {
        Some(path) => format!("finishing {}", path.display()),
        None => format!("signing [{}]", args.images.join(" ")),
    };
    sign_all(args, session).await.map_err(|error| error.during(&step))
}

async fn sign_all(args: SignArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    let plan = args.plan(Environment::read()?)?;
    let registry = args.registry.client()?;
    let clock = BuildClock::from_env()?;
    let run = Run { args: &args, registry: &registry, clock: &clock, request: &plan.request };
    let signed = match &plan.action {
        Action::Resume { file, access } => run.resume(file, access).await?,
        Action::Sign { images, signing } => run.sign(images, signing).await?,
    };
    match args.output {
        Output::Text => Ok(()),
        Output::Json => {
            let signed: Vec<_> = signed.iter().map(output::entry).collect();
            document(session, "sign", json!({ "signed": signed }))
        }
    }
}

/// A run of the command.
struct Run<'a> {
    args: &'a SignArgs,
    registry: &'a dyn RegistryWrite,
    clock: &'a BuildClock,
    request: &'a SignRequest,
}

impl Run<'_> {
    async fn sign(
        &self,
        images: &[Reference],
        plan: &SigningPlan,
    ) -> Result<Vec<SignedImage>, CliError> {
        let images = self.pin(images).await?;
        let below = if self.request.recursive { ", and of every image below it" } else { "" };
        let names: Vec<_> = images.iter().map(|image| format!("{image}{below}")).collect();
        let signing = open(plan, &names).await?;
        let mut all = Vec::new();
        for image in &images {
            let spinner = terminal::spinner("Signing artifact...");
            let parties = signing.parties();
            let signed =
                sign_image_with(self.registry, image, parties, self.clock, self.request).await;
            spinner.finish_and_clear();
            let signed = signed.map_err(|failure| {
                output::with_signed(self.keep(failure, &signing, image), &all)
            })?;
            self.args.report(&signed, &signing.key)?;
            all.extend(signed);
        }
        signing.report_unlogged();
        Ok(all)
    }

    /// The images with their digests, so that the confirmed images are the signed ones, even where
    /// a tag moves meanwhile.
    async fn pin(&self, images: &[Reference]) -> Result<Vec<Reference>, CliError> {
        let mut pinned = Vec::new();
        for image in images {
            if image.digest().is_none() {
                self.warn_of_tag(image);
                pinned.push(pin::resolve(self.registry, image).await?.reference);
            } else {
                pinned.push(image.clone());
            }
        }
        Ok(pinned)
    }

    /// cosign's warning: a tag may name another image a moment later.
    fn warn_of_tag(&self, image: &Reference) {
        if self.args.output == Output::Json {
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

    fn keep(&self, failure: SignFailure, signing: &Signing, image: &Reference) -> CliError {
        let nothing = Digest::of(b"");
        let (bundle, digest) = (self.args.bundle.as_deref(), image.digest().unwrap_or(&nothing));
        resume::keep(failure, signing, ResumeFile { bundle, digest, command: RESUME })
    }

    /// `--resume`: uploads to the logs that lack an entry, and stores.
    async fn resume(
        &self,
        file: &Path,
        access: &ServiceAccess,
    ) -> Result<Vec<SignedImage>, CliError> {
        let (signatures, services) = resume::read(file)?;
        let key = signatures.verification_key.clone();
        let digest = match &signatures.artifacts {
            PendingArtifacts::Images(images) => {
                images.first().map(|image| image.subject.digest.clone())
            }
            PendingArtifacts::Blob(_) => None,
        };
        let transparency = reopen(access, &key, &services).await?;
        let Self { registry, clock, request, .. } = *self;
        let signed = engine::resume(registry, signatures, &transparency, clock, request).await;
        let signed = signed.map_err(|failure| match failure {
            SignFailure::Unfinished(unfinished) => {
                let digest = &digest.unwrap_or_else(|| Digest::of(b""));
                let bundle = self.args.bundle.as_deref();
                let file = ResumeFile { bundle, digest, command: RESUME };
                resume::keep_with(&unfinished, &services.logs, file)
            }
            other => other.into(),
        })?;
        self.args.report(&signed, &key)?;
        Ok(signed)
    }
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
