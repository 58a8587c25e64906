//! `copy`: copies an image with its attachments to another repository.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use sealgate_core::reference::Reference;
use sealgate_engine::attached::Kind;
use sealgate_engine::copy::{Copied, CopyRequest, copy_image};
use serde_json::{Value, json};

use crate::cli::registry::{self, RegistryFlags};
use crate::cli::values::{BOOL, go_bool};
use crate::failure::Outcome;
use crate::output::{self, OutputFlag};
use crate::session::Session;
use crate::terminal;

/// Copy an image with its signatures, attestations and all other attachments
#[derive(Args, Debug)]
pub(crate) struct CopyArgs {
    /// Copy only these attachments, and do not write the image's tag
    #[arg(long, value_name = "KINDS", value_enum, value_delimiter = ',')]
    only: Vec<Only>,

    /// Same as --only=sig
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    sig_only: Option<bool>,

    /// Overwrite the tag at the destination if it points to another image
    #[arg(short, long, value_name = BOOL, value_parser = go_bool)]
    force: Option<bool>,

    /// Copy only the image for this platform from an index, os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    #[command(flatten)]
    output: OutputFlag,

    #[command(flatten)]
    registry: RegistryFlags,

    /// The image
    #[arg(value_name = "SOURCE")]
    source: Reference,

    /// Destination of the copy
    #[arg(value_name = "DESTINATION")]
    destination: Reference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Signatures
    #[value(alias = "sign")]
    Sig,
    /// Attestations
    Att,
    /// SBOMs
    Sbom,
}

pub(crate) async fn run(args: CopyArgs, session: &mut Session) -> Outcome {
    let format = args.output.begin(session);
    let registry = args.registry.client()?;
    let request = args.request()?;
    let spinner = terminal::spinner("copying");
    let copied = copy_image(&registry, &args.source, &registry, &args.destination, &request).await;
    spinner.finish_and_clear();
    let copied = copied?;
    let source = args.source.to_string();
    let fields = json!({ "source": source, "copied": fields(&copied) });
    output::report_result(session, format, "copy", fields, || line(&copied))
}

impl CopyArgs {
    fn request(&self) -> Result<CopyRequest, crate::failure::CliError> {
        let mut only: BTreeSet<Kind> = self.only.iter().map(|kind| kind.kind()).collect();
        if self.sig_only == Some(true) {
            only.insert(Kind::Signature);
        }
        Ok(CopyRequest {
            only: (!only.is_empty()).then_some(only),
            platform: self.platform.clone(),
            force: self.force == Some(true),
            signature_repository: registry::signature_repository()?,
            tag_prefix: self.registry.tag_prefix(),
            limits: super::limits()?,
        })
    }
}

impl Only {
    fn kind(self) -> Kind {
        match self {
            Self::Sig => Kind::Signature,
            Self::Att => Kind::Attestation,
            Self::Sbom => Kind::Sbom,
        }
    }
}

/// The result as a line of text.
pub(crate) fn line(copied: &Copied) -> String {
    let Copied { image, images, attachments, written } = copied;
    format!(
        "{image}: {}, {}, {} new",
        output::count(*images, "image"),
        output::count(*attachments, "attachment"),
        output::count(*written, "manifest"),
    )
}

/// The result as fields of a JSON document.
pub(crate) fn fields(copied: &Copied) -> Value {
    let Copied { image, images, attachments, written } = copied;
    json!({
        "reference": image.to_string(),
        "digest": image.digest(),
        "images": images,
        "attachments": attachments,
        "written": written,
    })
}
