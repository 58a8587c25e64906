//! `triangulate`: where legacy signatures and attestations of an image lie.

use clap::{Args, ValueEnum};
use sealgate_core::reference::{Identifier, Reference};
use sealgate_engine::pin;
use sealgate_engine::triangulate::{self, Attachment};

use crate::cli::registry::{self, RegistryFlags};
use crate::failure::Outcome;
use crate::session::Session;

/// Print where cosign keeps an image's signature, attestation or SBOM
#[derive(Args, Debug)]
pub(crate) struct TriangulateArgs {
    /// What to look for
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "signature")]
    what: Type,

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
    let registry = args.registry.client()?;
    let digest = pin::digest(&registry, &args.image).await?;
    let what = match args.what {
        Type::Signature => Attachment::Signatures,
        Type::Attestation => Attachment::Attestations,
        Type::Sbom => Attachment::Sbom,
        Type::Digest => {
            let pinned = args.image.repository().at(Identifier::Digest(digest));
            return session.line(pinned.to_string());
        }
    };
    let place = registry::signature_repository()?;
    let place = place.as_ref().unwrap_or(args.image.repository());
    let location = triangulate::location(place, &args.registry.tag_prefix(), &digest, what);
    session.line(location.to_string())
}
