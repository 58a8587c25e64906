//! `verify-bundle`: the protocol of the sigstore-conformance suite, which needs the exit status
//! only. It does the same as `verify-blob`.

use std::path::PathBuf;

use clap::Args;
use sealgate_core::bundle::MAX_BUNDLE;

use super::verify_blob::{Evidence, verify};
use crate::cli::files;
use crate::cli::verifying::VerifyingServices;
use crate::failure::Outcome;
use crate::terminal;

/// Verify a bundle, as the sigstore-conformance suite calls it
#[derive(Args, Debug)]
pub(crate) struct VerifyBundleArgs {
    /// Use the trust root of Sigstore's staging services
    #[arg(long)]
    staging: bool,

    /// The bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,

    /// The public key: a file
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    #[command(flatten)]
    services: VerifyingServices,

    /// The file, or its digest, sha256:…
    #[arg(value_name = "FILE_OR_DIGEST")]
    artifact: PathBuf,
}

pub(crate) async fn run(mut args: VerifyBundleArgs) -> Outcome {
    args.services.trust.staging = args.staging;
    let settings = args.services.settings(args.key.as_deref(), "blob").await?;
    let evidence = Evidence::Bundle(files::read(&args.bundle, MAX_BUNDLE as u64)?);
    verify(&evidence, &args.artifact, &settings)?;
    terminal::say("Verified OK");
    Ok(())
}
