//! `download signature`: prints the unverified signatures of an image, one JSON document per line.

use clap::{Args, Subcommand};
use sealgate_core::reference::Reference;
use sealgate_engine::download::{self, Download};
use serde_json::{Value, json};

use crate::cli::registry::{self, RegistryFlags};
use crate::failure::{CliError, Outcome, exit};
use crate::output::{self, Format};
use crate::session::Session;
use crate::terminal;

/// Download attachments of an image
#[derive(Args, Debug)]
pub(crate) struct DownloadArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Print the bundles and legacy signatures of an image without verifying them
    Signature(SignatureArgs),
}

#[derive(Args, Debug)]
struct SignatureArgs {
    /// Output format: the same lines as cosign, or one JSON document
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,

    #[command(flatten)]
    registry: RegistryFlags,

    /// The image
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

pub(crate) async fn run(args: DownloadArgs, session: &mut Session) -> Outcome {
    let What::Signature(args) = args.what;
    session.errors = args.output.errors();
    let registry = args.registry.client()?;
    let place = registry::signature_repository()?;
    let prefix = args.registry.tag_prefix();
    let limits = super::reading_limits()?;
    let found =
        download::signatures(&registry, &args.image, place.as_ref(), &prefix, &limits).await?;
    for fault in &found.faults {
        terminal::warn(format!("there may be more signatures: {fault}"));
    }
    if found.lines.is_empty() {
        return Err(CliError::new("no signatures found")
            .code(exit::NO_SIGNATURES)
            .note(format!("{} has neither bundles nor legacy signatures", args.image)));
    }
    match args.output {
        Format::Text => {
            found.lines.iter().try_for_each(|line| session.line(output::escape_controls(line)))
        }
        Format::Json => {
            let fields = fields(&args.image, &found)?;
            output::document(session, "download-signature", fields)
        }
    }
}

fn fields(image: &Reference, found: &Download) -> Result<Value, CliError> {
    let signatures: Result<Vec<Value>, _> =
        found.lines.iter().map(|line| serde_json::from_str(line)).collect();
    let signatures = signatures.map_err(|error| CliError::new(error.to_string()))?;
    let faults = found.faults.iter().map(|fault| {
        json!({ "code": fault.kind.code(), "target": fault.target, "detail": fault.detail })
    });
    let faults = faults.collect::<Vec<_>>();
    Ok(json!({ "reference": image.to_string(), "signatures": signatures, "faults": faults }))
}
