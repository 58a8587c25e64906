//! `public-key`: prints the public key of a private key.

use std::path::PathBuf;

use clap::Args;
use sealgate_core::key::{KeyAlgorithm, PublicKey};
use serde_json::{Value, json};

use crate::cli::files::{self, Mode};
use crate::cli::keys::{self, TokenFlags};
use crate::failure::{CliError, Outcome};
use crate::output::{self, Format};
use crate::session::Session;
use crate::terminal;

/// Print the public key of a private key
#[derive(Args, Debug)]
pub(crate) struct PublicKeyArgs {
    /// Private key: a file, env://VAR or k8s://NAMESPACE/SECRET
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Write the public key to FILE
    #[arg(long, value_name = "FILE")]
    outfile: Option<PathBuf>,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,

    #[command(flatten)]
    token: TokenFlags,
}

pub(crate) async fn run(args: PublicKeyArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    args.token.check()?;
    let key = args.key.ok_or_else(|| CliError::new("a key must be provided with --key"))?;
    let pair = keys::signer(&key).await?;
    let pem = pair.public().to_pem();
    if let Some(path) = &args.outfile {
        files::write(path, pem.as_bytes(), Mode::Public)?;
    }
    let file = args.outfile.as_ref().map(|path| path.display().to_string());
    match (args.output, file) {
        (Format::Text, None) => session.print(pem),
        (Format::Text, Some(file)) => {
            terminal::say(format!("Public key written to {file}"));
            Ok(())
        }
        (Format::Json, file) => {
            let fields = json!({ "key": key_fields(pair.public()), "publicKey": file, "pem": pem });
            output::document(session, "public-key", fields)
        }
    }
}

/// The fingerprint of a key, as `verify` prints it, and its kind.
pub(crate) fn key_fields(key: &PublicKey) -> Value {
    let algorithm = match key.algorithm() {
        KeyAlgorithm::EcdsaP256 => "ecdsa-p256".to_owned(),
        KeyAlgorithm::EcdsaP384 => "ecdsa-p384".to_owned(),
        KeyAlgorithm::EcdsaP521 => "ecdsa-p521".to_owned(),
        KeyAlgorithm::Rsa { bits } => format!("rsa-{bits}"),
        KeyAlgorithm::Ed25519 => "ed25519".to_owned(),
    };
    json!({ "fingerprint": key.fingerprint(), "algorithm": algorithm })
}
