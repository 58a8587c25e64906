//! `import-key-pair`: encrypts a private key of another tool in cosign's key format.

use std::path::PathBuf;

use clap::Args;
use sealgate_keys::{MAX_KEY_BYTES, import};

use super::generate_key_pair::{Consent, Files};
use crate::cli::files;
use crate::cli::values::{BOOL, go_bool};
use crate::failure::{CliError, Outcome};
use crate::output::Format;
use crate::session::Session;
use crate::terminal::{self, Ask};

/// Import a private key (RSA, ECDSA P-256/384/521, Ed25519; PKCS#1, SEC1, PKCS#8)
#[derive(Args, Debug)]
pub(crate) struct ImportKeyPairArgs {
    /// Private key to import (PEM, not encrypted)
    #[arg(short, long, value_name = "FILE")]
    key: PathBuf,

    /// Prefix of the names of the two files
    #[arg(short, long, value_name = "PREFIX", default_value = "import-cosign")]
    output_key_prefix: String,

    /// Overwrite files without asking for confirmation
    #[arg(short, long, value_name = BOOL, value_parser = go_bool)]
    yes: Option<bool>,

    /// Output format
    // Without a letter: -o is cosign's for --output-key-prefix.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
}

pub(crate) async fn run(args: ImportKeyPairArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    let bytes = zeroize::Zeroizing::new(files::read(&args.key, MAX_KEY_BYTES)?);
    let name = args.key.display();
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| CliError::new("invalid pem block").note(format!("{name} is not text")))?;
    let pair =
        import::read(text).map_err(|error| CliError::from(error).note(format!("in {name}")))?;
    let files = Files::of(&args.output_key_prefix);
    let consent =
        if args.yes == Some(true) { Consent::Given } else { Consent::Wanted("in scripts: --yes") };
    files.ask_before_overwriting(consent).await?;
    let password = terminal::key_password(Ask::Twice).await?;
    files.write(&pair, &password)?.report(session, args.output, "import-key-pair")
}
