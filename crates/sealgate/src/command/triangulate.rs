//! `triangulate`: prints the tags of an image's legacy signatures and attestations.

use clap::{Args, ValueEnum};
use sealgate_core::reference::{Identifier, Reference};
use sealgate_engine::pin;
use sealgate_engine::triangulate::{self, Attachment};
use serde_json::json;

use crate::cli::registry::{self, RegistryFlags};
use crate::failure::Outcome;
use crate::output::{self, Format};
use crate::session::Session;

/// Print the location of an image's signature, attestation or SBOM, as cosign does
#[derive(Args, Debug)]
pub(crate) struct TriangulateArgs {
    /// Kind of location to print
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "signature")]
    what: Type,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,

    #[command(flatten)]
    registry: RegistryFlags,

    /// The image
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    Signature,
    Attestation,
    Sbom,
    Digest,
}

pub(crate) async fn run(args: TriangulateArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    let registry = args.registry.client()?;
    let digest = pin::digest(&registry, &args.image).await?;
    let (what, name) = match args.what {
        Type::Signature => (Some(Attachment::Signatures), "signature"),
        Type::Attestation => (Some(Attachment::Attestations), "attestation"),
        Type::Sbom => (Some(Attachment::Sbom), "sbom"),
        Type::Digest => (None, "digest"),
    };
    let location = match what {
        None => args.image.repository().at(Identifier::Digest(digest.clone())),
        Some(what) => {
            let place = registry::signature_repository()?;
            let place = place.as_ref().unwrap_or(args.image.repository());
            triangulate::location(place, &args.registry.tag_prefix(), &digest, what)
        }
    };
    match args.output {
        Format::Text => session.line(location.to_string()),
        Format::Json => {
            let location = location.to_string();
            let fields = json!({ "type": name, "digest": digest, "location": location });
            output::document(session, "triangulate", fields)
        }
    }
}
