//! `clean`: removes signatures, attestations and bills of materials from an image.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use sealgate_core::manifest::media_type;
use sealgate_core::reference::{Identifier, Reference};
use sealgate_engine::attached::Kind;
use sealgate_engine::clean::{self, CleanRequest};
use sealgate_engine::ports::RegistryWrite as _;
use serde_json::json;

use crate::cli::registry::{self, RegistryFlags};
use crate::cli::values::{BOOL, go_bool};
use crate::failure::{CliError, Outcome};
use crate::output::{self, OutputFlag};
use crate::session::Session;
use crate::terminal;

/// Remove signatures and other attachments from an image
#[derive(Args, Debug)]
pub(crate) struct CleanArgs {
    /// Kind of attachment to remove
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "all")]
    what: Type,

    /// Do not ask for confirmation
    #[arg(short, long, value_name = BOOL, value_parser = go_bool)]
    force: Option<bool>,

    #[command(flatten)]
    output: OutputFlag,

    #[command(flatten)]
    registry: RegistryFlags,

    /// The image
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    /// Signatures: the legacy tag and bundles
    Signature,
    /// Attestations: the legacy tag and bundles
    Attestation,
    /// Bundles of both kinds, but nothing under legacy tags
    Referrer,
    /// SBOMs
    Sbom,
    /// All kinds
    All,
}

impl Type {
    fn question(self) -> &'static str {
        match self {
            Self::Signature => "this will remove all signatures from the image",
            Self::Attestation => "this will remove all attestations from the image",
            Self::Referrer => {
                "this will remove all referrer attestations and/or signatures from the image"
            }
            Self::Sbom => "this will remove all SBOMs from the image",
            Self::All => "this will remove all signatures, SBOMs and attestations from the image",
        }
    }

    fn kinds(self) -> BTreeSet<Kind> {
        match self {
            Self::Signature => [Kind::Signature].into(),
            Self::Attestation => [Kind::Attestation].into(),
            Self::Referrer => [Kind::Signature, Kind::Attestation].into(),
            Self::Sbom => [Kind::Sbom].into(),
            Self::All => [Kind::Signature, Kind::Attestation, Kind::Sbom].into(),
        }
    }
}

pub(crate) async fn run(args: CleanArgs, session: &mut Session) -> Outcome {
    let format = args.output.begin(session);
    if args.force != Some(true) {
        terminal::warn(args.what.question());
        terminal::confirm("in scripts: --force").await?;
    }
    let registry = args.registry.client()?;
    let request = CleanRequest {
        kinds: args.what.kinds(),
        signature_repository: registry::signature_repository()?,
        tag_prefix: args.registry.tag_prefix(),
        limits: super::limits()?,
    };
    let removed = match args.what {
        Type::Referrer => bundles(&registry, &args.image, &request).await?,
        _ => clean::clean(&registry, &args.image, &request).await?,
    };
    let removed: Vec<String> = removed.iter().map(ToString::to_string).collect();
    let image = args.image.to_string();
    let fields = json!({ "reference": image, "removed": removed });
    output::report_result(session, format, "clean", fields, || match removed.as_slice() {
        [] => format!("Nothing to remove from {image}"),
        places => {
            let lines = places.iter().map(|place| format!("Removed {place} from {image}"));
            lines.collect::<Vec<_>>().join("\n")
        }
    })
}

/// Removes the referrers that are bundles.
async fn bundles(
    registry: &sealgate_registry::Client,
    image: &Reference,
    request: &CleanRequest,
) -> Result<Vec<Reference>, CliError> {
    let mut removed = Vec::new();
    for item in clean::find(registry, image, request).await? {
        let bundle = item.artifact_type.starts_with(media_type::BUNDLE_PREFIX);
        let at = Identifier::Digest(item.digest().clone());
        if item.tag.is_none() && bundle && registry.delete(&item.repository, &at).await? {
            removed.push(item.repository.at(at));
        }
    }
    Ok(removed)
}
