//! `sign-bundle`: the protocol of the sigstore-conformance suite. It never asks for confirmation,
//! because a test suite calls it.

use std::path::PathBuf;

use clap::Args;
use sealgate_core::digest::Digest;
use sealgate_core::dsse::{IN_TOTO, pae};
use sealgate_core::statement::Statement;
use sealgate_core::verify::Artifact;
use sealgate_engine::ports::Signer as _;
use sealgate_engine::sign_blob::{SignedBlob, publish_blob, publish_statement};
use sealgate_engine::verify_blob::MAX_HELD;

use crate::cli::files::{self, Mode};
use crate::cli::signing::plan::CommandFlags;
use crate::cli::signing::{Signing, SigningFlags, open};
use crate::failure::{CliError, Outcome};
use crate::terminal;

/// Sign a file without a key, as the sigstore-conformance suite calls it
#[derive(Args, Debug)]
pub(crate) struct SignBundleArgs {
    /// Use Sigstore's staging services
    #[arg(long)]
    staging: bool,

    /// The file is an in-toto statement: sign it in an envelope
    #[arg(long)]
    in_toto: bool,

    /// File to write the bundle to
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,

    #[command(flatten)]
    signing: SigningFlags,

    /// The file
    #[arg(value_name = "FILE")]
    artifact: PathBuf,
}

pub(crate) async fn run(mut args: SignBundleArgs) -> Outcome {
    args.signing.staging = args.staging;
    let plan = args.signing.plan(CommandFlags { yes: true, ..CommandFlags::default() })?;
    let content = files::read(&args.artifact, MAX_HELD)?;
    let signing = open(&plan, &[args.artifact.display().to_string()]).await?;
    let signed = match args.in_toto {
        true => statement(&signing, content).await?,
        false => blob(&signing, &content).await?,
    };
    files::write(&args.bundle, signed.bundle.as_bytes(), Mode::Private)?;
    terminal::say(format!("Wrote bundle to file {}", args.bundle.display()));
    Ok(())
}

async fn blob(signing: &Signing, content: &[u8]) -> Result<SignedBlob, CliError> {
    let Signing { signer, key, transparency, .. } = signing;
    let signature = signer.sign(content).await?;
    let (digest, artifact) = (Digest::of(content), Artifact::Content(content));
    Ok(publish_blob(signature, digest, artifact, key, transparency).await?)
}

/// Signs a statement. Its first subject is the artifact, whose content is not read.
async fn statement(signing: &Signing, content: Vec<u8>) -> Result<SignedBlob, CliError> {
    let Signing { signer, key, transparency, .. } = signing;
    let parsed = Statement::parse(&content);
    let parsed = parsed.map_err(|reason| CliError::new(format!("not a statement: {reason}")))?;
    let subject = parsed.subjects.first();
    let digests = subject.into_iter().flat_map(|subject| &subject.digests);
    let digests: Vec<Digest> =
        digests.filter_map(|(name, hex)| format!("{name}:{hex}").parse().ok()).collect();
    if digests.is_empty() {
        return Err(CliError::new("the statement's subject has no digest that we read"));
    }
    let signature = signer.sign(&pae(IN_TOTO, &content)).await?;
    let artifact = Artifact::Digests(&digests);
    Ok(publish_statement(signature, content, artifact, key, transparency).await?)
}
