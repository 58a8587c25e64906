//! `verify`: is each of these images signed by this key, or by somebody with this identity?
//!
//! Every image gets its own outcome; the exit code is the highest of them. Images below an index
//! are looked at with `--recursive`.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use futures::{StreamExt as _, pin_mut, stream};
use sealgate_core::fault::Fault;
use sealgate_core::reference::Reference;
use sealgate_core::verify::ClaimComparison;
use sealgate_engine::ports::RegistryRead;
use sealgate_engine::verify::{Outcome as Found, Report, VerifyRequest, verify_images};

use crate::cli::keys::TokenFlags;
use crate::cli::registry::{self, RegistryFlags};
use crate::cli::trust::VerificationSettings;
use crate::cli::values::{self, BOOL, go_bool, refuse_given};
use crate::cli::verifying::VerifyingServices;
use crate::failure::{CliError, Outcome, exit};
use crate::output::{self, report, schema, settings, verification};
use crate::session::{Errors, Session};
use crate::terminal;

/// Verify the signatures of images
///
/// Bundles and legacy signatures are both verified. Exit codes: 0: all images verified; 10: no
/// signatures; 11: no such image; 12: signatures, but none valid; 1: any other failure. With
/// several images, the exit code is the highest of them.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Public key: a file, env://VAR, k8s://NAMESPACE/SECRET or a URL
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Annotations that a signature must contain
    #[arg(short, long, value_name = "KEY=VALUE", value_delimiter = ',')]
    annotations: Vec<String>,

    /// Check that the signed claims match the image
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    check_claims: Option<bool>,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "json")]
    output: Format,

    /// Verify images in folders that `save` wrote
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    local_image: Option<bool>,

    /// Also require a signature for every image in an index
    #[arg(short, long, value_name = BOOL, value_parser = go_bool)]
    recursive: Option<bool>,

    /// Maximum number of images that are verified concurrently
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(1..=256))]
    max_workers: u16,

    /// Read images from FILE, one per line (- is standard input)
    #[arg(long, value_name = "FILE")]
    images_file: Option<PathBuf>,

    #[command(flatten)]
    token: TokenFlags,

    #[command(flatten)]
    services: VerifyingServices,

    #[command(flatten)]
    registry: RegistryFlags,

    #[arg(long, hide = true)]
    attachment: Option<String>,

    #[arg(long, hide = true)]
    signature: Option<String>,

    #[arg(long, hide = true)]
    payload: Option<String>,

    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    experimental_oci11: Option<bool>,

    /// The images
    #[arg(value_name = "IMAGE", required_unless_present = "images_file")]
    images: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A JSON array of signatures for each image, as in cosign
    Json,
    /// The signed payloads; for a bundle, the same JSON object as in cosign
    Text,
    /// One JSON document with all details, sealgate.dev/verify/v1
    SealgateJson,
}

pub(crate) async fn run(args: VerifyArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    let settings = args.settings().await?;
    let request = args.request(&settings)?;
    let lines = args.lines()?;
    let registry = match args.local_image {
        Some(true) => None,
        _ => Some(args.registry.client()?),
    };
    let mut tally = Tally::new(args.output, lines.len(), &settings);
    tally.begin(session)?;
    // From here on a failure is an item of the document.
    session.errors = Errors::Text;
    match registry {
        Some(registry) => {
            let images = readable(&lines, &mut tally, session)?;
            judge(&registry, images, &request, &mut tally, session).await?;
        }
        None => judge_folders(&lines, &request, &mut tally, session).await?,
    }
    tally.end(session)
}

impl Format {
    /// The format of failures before the first image.
    fn errors(self) -> Errors {
        match self {
            Self::SealgateJson => Errors::Document,
            Self::Json | Self::Text => Errors::Text,
        }
    }
}

async fn judge_folders(
    folders: &[String],
    request: &VerifyRequest,
    tally: &mut Tally<'_>,
    session: &mut Session,
) -> Outcome {
    for folder in folders {
        match super::layout::open(Path::new(folder)).await {
            Ok(found) => {
                tally.folder = Some(folder.clone());
                judge(&found.layout, vec![found.image], request, tally, session).await?;
            }
            Err(fault) => tally.unopened(folder, fault, session)?,
        }
    }
    Ok(())
}

impl VerifyArgs {
    async fn settings(&self) -> Result<VerificationSettings, CliError> {
        self.token.check()?;
        let why = "signatures and payloads are read from the registry";
        let local = [
            ("--attachment", self.attachment.as_ref().is_some_and(|kind| !kind.is_empty())),
            ("--signature", self.signature.is_some()),
            ("--payload", self.payload.is_some()),
        ];
        refuse_given(&local, why)?;
        let oci11 = [("--experimental-oci11", self.experimental_oci11 == Some(true))];
        refuse_given(&oci11, "bundles are found as referrers without it")?;
        let parts = [
            ("--certificate", self.services.parts.certificate.is_some()),
            ("--sct", self.services.parts.sct.is_some()),
        ];
        refuse_given(&parts, "an image's signature brings its certificate along")?;
        self.services.settings(self.key.as_deref(), "signature").await
    }

    fn request(&self, settings: &VerificationSettings) -> Result<VerifyRequest, CliError> {
        Ok(VerifyRequest {
            trust_config: settings.trust_config.clone(),
            now: settings.now.as_second(),
            annotations: values::annotations(&self.annotations).map_err(CliError::new)?,
            claims: match self.check_claims {
                Some(false) => ClaimComparison::Ignored,
                _ => ClaimComparison::Checked,
            },
            signature_repository: registry::signature_repository()?,
            tag_prefix: self.registry.tag_prefix(),
            limits: super::reading_limits()?,
            recursive: self.recursive == Some(true),
            max_workers: usize::from(self.max_workers),
            ..VerifyRequest::new(settings.authority.clone())
        })
    }

    /// The images that were named, on the command line and in the file.
    fn lines(&self) -> Result<Vec<String>, CliError> {
        let mut lines = self.images.clone();
        if let Some(path) = &self.images_file {
            lines.extend(read_list(path)?);
        }
        match lines.is_empty() {
            true => Err(CliError::new("no images were named")),
            false => Ok(lines),
        }
    }
}

/// The largest list of images, and the largest line of it.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// One image a line; empty lines and lines that begin with `#` do not count.
fn read_list(path: &Path) -> Result<Vec<String>, CliError> {
    let bytes = crate::cli::files::read_or_stdin(path, MAX_LIST_BYTES)?;
    let mut images = Vec::new();
    for line in bytes.lines() {
        let line = line?;
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            images.push(line.to_owned());
        }
    }
    Ok(images)
}

/// The lines that are references; the others are told at once, each with its own outcome.
fn readable(
    lines: &[String],
    tally: &mut Tally<'_>,
    session: &mut Session,
) -> Result<Vec<Reference>, CliError> {
    let mut images = Vec::with_capacity(lines.len());
    for line in lines {
        match line.parse() {
            Ok(reference) => images.push(reference),
            Err(error) => tally.unreadable(line, error, session)?,
        }
    }
    Ok(images)
}

async fn judge(
    registry: &dyn RegistryRead,
    images: Vec<Reference>,
    request: &VerifyRequest,
    tally: &mut Tally<'_>,
    session: &mut Session,
) -> Outcome {
    let bar = terminal::progress(images.len(), "verifying");
    let reports = verify_images(registry, stream::iter(images), request);
    pin_mut!(reports);
    while let Some(report) = reports.next().await {
        bar.inc(1);
        bar.suspend(|| tally.add(&report, session))?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// The outcomes of all images, printed as they arrive.
struct Tally<'a> {
    format: Format,
    settings: &'a VerificationSettings,
    /// The folder that the image lies in; what people call it.
    folder: Option<String>,
    total: usize,
    seen: usize,
    failed: usize,
    worst: Option<CliError>,
}

impl<'a> Tally<'a> {
    fn new(format: Format, total: usize, settings: &'a VerificationSettings) -> Self {
        Self { format, settings, folder: None, total, seen: 0, failed: 0, worst: None }
    }

    fn begin(&self, session: &mut Session) -> Outcome {
        if self.format != Format::SealgateJson {
            return Ok(());
        }
        session.print(format!("{{\"schema\":\"{}\"", schema("verify")))?;
        for (name, value) in settings::document(self.settings) {
            session.print(format!(",\n\"{name}\":{value}"))?;
        }
        session.print(",\n\"images\":[")
    }

    fn add(&mut self, report: &Report, session: &mut Session) -> Outcome {
        if self.format == Format::SealgateJson {
            self.item(report::image(report), session)?;
        }
        let mut below = vec![report];
        while let Some(report) = below.pop() {
            match &report.outcome {
                Found::Verified { signatures, faults, .. } => {
                    self.verified(report, signatures, session)?;
                    for fault in faults {
                        terminal::warn(format!("there may be more signatures: {fault}"));
                    }
                }
                _ => self.failed(verification::failure(report, &self.name(report), self.settings)),
            }
            below.extend(report.children.iter().rev());
        }
        Ok(())
    }

    /// The name of the image for display: its reference, or its folder.
    fn name(&self, report: &Report) -> String {
        match &self.folder {
            Some(folder) => folder.clone(),
            None => report.reference.to_string(),
        }
    }

    fn verified(
        &self,
        report: &Report,
        signatures: &[sealgate_core::verify::Verified],
        session: &mut Session,
    ) -> Outcome {
        let name = self.name(report);
        terminal::show(verification::header(&name, signatures, self.settings));
        match self.format {
            Format::SealgateJson => Ok(()),
            Format::Json => {
                session.print(format!("\n{}\n", verification::cosign_json(&name, signatures)))
            }
            Format::Text => signatures.iter().try_for_each(|signature| {
                session.print(verification::cosign_text(&name, signature))?;
                session.print("\n")
            }),
        }
    }

    fn unreadable(
        &mut self,
        line: &str,
        error: sealgate_core::reference::InvalidReference,
        session: &mut Session,
    ) -> Outcome {
        if self.format == Format::SealgateJson {
            self.item(report::unreadable(line, &error.to_string()), session)?;
        }
        self.failed(CliError::no_reference(line, &error));
        Ok(())
    }

    fn unopened(&mut self, folder: &str, fault: Fault, session: &mut Session) -> Outcome {
        if self.format == Format::SealgateJson {
            self.item(report::unopened(folder, &fault), session)?;
        }
        let told =
            CliError::from(fault).note("it could not be determined whether the image is signed");
        self.failed(
            told.note("what to do: give --local-image a folder that `sealgate save` wrote"),
        );
        Ok(())
    }

    fn item(&mut self, item: serde_json::Value, session: &mut Session) -> Outcome {
        let comma = if self.seen > 0 { ",\n" } else { "\n" };
        self.seen += 1;
        session.print(format!("{comma}{item}"))
    }

    /// Shows a failure; the one with the highest exit code is kept for the end.
    fn failed(&mut self, error: CliError) {
        self.failed += 1;
        terminal::show(error.block());
        let worse = self.worst.as_ref().is_none_or(|worst| error.code > worst.code);
        if worse {
            self.worst = Some(CliError { shown: true, ..error });
        }
    }

    fn end(self, session: &mut Session) -> Outcome {
        let verified = self.worst.is_none();
        if self.format == Format::SealgateJson {
            let code = self.worst.as_ref().map_or(0, |worst| worst.code);
            session.print(format!("\n],\"verified\":{verified},\"exitCode\":{code}}}\n"))?;
        }
        match self.worst {
            None => Ok(()),
            Some(worst) if self.total <= 1 && self.failed <= 1 => Err(worst),
            Some(worst) => {
                let were = if self.failed == 1 { "was" } else { "were" };
                let failed = output::count(self.failed, "image");
                let message = format!("{failed} {were} not verified: {}", worst.message);
                Err(CliError { message, ..worst })
            }
        }
    }
}

/// Exit codes above the default are ours to give only where cosign gives them.
const _: () = assert!(exit::FAILED < exit::NO_SIGNATURES && exit::NO_SIGNATURES < exit::NO_MATCH);
