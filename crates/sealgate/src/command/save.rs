//! `save`: copies an image with its attachments to a folder (an OCI image layout).

use std::path::PathBuf;

use clap::Args;
use sealgate_core::reference::Reference;
use sealgate_engine::copy::{Copied, CopyRequest};
use sealgate_engine::pin;
use sealgate_engine::save::save_image;
use sealgate_registry::Client;
use sealgate_registry::layout::Layout;
use serde_json::json;

use crate::cli::registry::{self, RegistryFlags};
use crate::failure::{CliError, Outcome};
use crate::output::{self, OutputFlag};
use crate::session::Session;
use crate::terminal;

/// Save an image and its attachments to a folder
///
/// A folder holds one image. Saving the same image again adds attachments that are new since the
/// last time.
#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// The folder
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    #[command(flatten)]
    output: OutputFlag,

    #[command(flatten)]
    registry: RegistryFlags,

    /// The image
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

pub(crate) async fn run(args: SaveArgs, session: &mut Session) -> Outcome {
    let format = args.output.begin(session);
    let registry = args.registry.client()?;
    let layout = super::layout::create(&args.dir)?;
    let request = CopyRequest {
        signature_repository: registry::signature_repository()?,
        tag_prefix: args.registry.tag_prefix(),
        limits: super::limits()?,
        ..CopyRequest::default()
    };
    let spinner = terminal::spinner("saving");
    let saved = save(&registry, &args.image, &layout, &request).await;
    spinner.finish_and_clear();
    let saved = saved?;
    let folder = args.dir.display().to_string();
    let fields = json!({ "folder": folder, "saved": super::copy::fields(&saved) });
    output::report_result(session, format, "save", fields, || super::copy::line(&saved))
}

/// Saves the image by the digest with which the folder was checked.
async fn save(
    registry: &Client,
    image: &Reference,
    layout: &Layout,
    request: &CopyRequest,
) -> Result<Copied, CliError> {
    let pinned = pin::resolve(registry, image).await?;
    super::layout::make_room(layout, pinned.digest()).await?;
    let saved = save_image(registry, &pinned.reference, layout, request).await?;
    super::layout::mark(layout, &saved.image).await?;
    Ok(saved)
}
