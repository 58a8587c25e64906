//! `public-key`: the public half of a private key.

use std::path::PathBuf;

use clap::Args;

use crate::cli::files::{self, Mode};
use crate::cli::keys::{self, TokenFlags};
use crate::failure::{CliError, Outcome};
use crate::session::Session;
use crate::terminal;

/// Print the public key of a private key
#[derive(Args, Debug)]
pub(crate) struct PublicKeyArgs {
    /// The private key: a file, env://VAR or k8s://NAMESPACE/SECRET
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Write it to FILE
    #[arg(long, value_name = "FILE")]
    outfile: Option<PathBuf>,

    #[command(flatten)]
    token: TokenFlags,
}

pub(crate) async fn run(args: PublicKeyArgs, session: &mut Session) -> Outcome {
    args.token.check()?;
    let key = args.key.ok_or_else(|| CliError::new("a key must be provided with --key"))?;
    let pem = keys::signer(&key).await?.public().to_pem();
    let Some(path) = args.outfile else { return session.print(pem) };
    files::write(&path, pem.as_bytes(), Mode::Public)?;
    terminal::say(format!("Public key written to {}", path.display()));
    Ok(())
}
