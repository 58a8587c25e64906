//! `save`: an image and everything attached to it, to a folder (an OCI image layout).

use std::path::PathBuf;

use clap::Args;
use sealgate_core::reference::Reference;
use sealgate_engine::copy::CopyRequest;
use sealgate_engine::save::save_images;

use crate::cli::registry::RegistryFlags;
use crate::failure::Outcome;
use crate::terminal;

/// Save an image with everything attached to it in a folder
#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// The folder
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    #[command(flatten)]
    registry: RegistryFlags,

    /// The image
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

pub(crate) async fn run(args: SaveArgs) -> Outcome {
    let registry = args.registry.client()?;
    let layout = super::layout::create(&args.dir)?;
    let request = CopyRequest {
        tag_prefix: args.registry.tag_prefix(),
        limits: super::limits()?,
        ..CopyRequest::default()
    };
    let spinner = terminal::spinner("saving");
    let saved = save_images(&registry, std::slice::from_ref(&args.image), &layout, &request).await;
    spinner.finish_and_clear();
    for saved in &saved? {
        super::layout::mark(&layout, &saved.image).await?;
        super::copy::tell(saved);
    }
    Ok(())
}
