//! `load`: copies an image with its attachments from a folder to a registry.

use std::path::PathBuf;

use clap::Args;
use sealgate_core::reference::Reference;
use sealgate_engine::copy::CopyRequest;
use sealgate_engine::load::load_image;
use serde_json::json;

use crate::cli::registry::RegistryFlags;
use crate::failure::Outcome;
use crate::output::{self, OutputFlag};
use crate::session::Session;
use crate::terminal;

/// Load an image and its attachments from a folder that `save` wrote
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// The folder
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    #[command(flatten)]
    output: OutputFlag,

    #[command(flatten)]
    registry: RegistryFlags,

    /// Destination of the image
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

pub(crate) async fn run(args: LoadArgs, session: &mut Session) -> Outcome {
    let format = args.output.begin(session);
    let folder = super::layout::open(&args.dir).await?;
    let registry = args.registry.client()?;
    // As cosign: the image's tag at the target is moved.
    let request = CopyRequest {
        force: true,
        tag_prefix: args.registry.tag_prefix(),
        limits: super::limits()?,
        ..CopyRequest::default()
    };
    let spinner = terminal::spinner("loading");
    let loaded = load_image(&folder.layout, &folder.image, &registry, &args.image, &request).await;
    spinner.finish_and_clear();
    let loaded = loaded?;
    let folder = args.dir.display().to_string();
    let fields = json!({ "folder": folder, "loaded": super::copy::fields(&loaded) });
    output::report_result(session, format, "load", fields, || super::copy::line(&loaded))
}
