//! `download signature`: the signatures of an image as they are, one JSON document a line.

use clap::{Args, Subcommand};
use sealgate_core::reference::Reference;
use sealgate_engine::download;

use crate::cli::registry::{self, RegistryFlags};
use crate::failure::{CliError, Outcome, exit};
use crate::session::Session;
use crate::terminal;

/// Download what is attached to an image
#[derive(Args, Debug)]
pub(crate) struct DownloadArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Print the signatures of an image, unverified: bundles and legacy signatures
    Signature(SignatureArgs),
}

#[derive(Args, Debug)]
struct SignatureArgs {
    #[command(flatten)]
    registry: RegistryFlags,

    /// The image
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

pub(crate) async fn run(args: DownloadArgs, session: &mut Session) -> Outcome {
    let What::Signature(args) = args.what;
    let registry = args.registry.client()?;
    let place = registry::signature_repository()?;
    let prefix = args.registry.tag_prefix();
    let limits = super::limits()?;
    let found =
        download::signatures(&registry, &args.image, place.as_ref(), &prefix, &limits).await?;
    for fault in &found.faults {
        terminal::warn(format!("there may be more signatures: {fault}"));
    }
    if found.lines.is_empty() {
        return Err(CliError::new("no signatures found")
            .code(exit::NO_SIGNATURES)
            .note(format!("neither a bundle nor a legacy signature lies beside {}", args.image)));
    }
    found.lines.iter().try_for_each(|line| session.line(line))
}
