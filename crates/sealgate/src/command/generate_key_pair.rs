//! `generate-key-pair`: a new P-256 key, encrypted by a password, in two files or in a Kubernetes
//! secret.

use std::path::{Path, PathBuf};

use clap::Args;
use sealgate_keys::{KeyPair, KeyReference, Password};
use sealgate_kube::cluster::{Connect, KeySecret, create_key_secret};

use crate::cli::cluster;
use crate::cli::files::{self, Mode};
use crate::failure::{CliError, Outcome};
use crate::terminal::{self, Ask};

/// Make a key pair for signing
///
/// Writes PREFIX.key (encrypted by a password) and PREFIX.pub. The password is taken from
/// COSIGN_PASSWORD, else asked for twice, else read from standard input.
#[derive(Args, Debug)]
pub(crate) struct GenerateKeyPairArgs {
    /// What the names of the two files begin with
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    output_key_prefix: String,

    /// Create the key in a key service
    #[arg(long, value_name = "URI")]
    kms: Option<String>,

    /// Where to keep the key instead of files: k8s://NAMESPACE/SECRET
    #[arg(value_name = "REFERENCE")]
    reference: Option<String>,
}

pub(crate) async fn run(args: GenerateKeyPairArgs) -> Outcome {
    if let Some(kms) = args.kms {
        let why = "make a key in files, or in a Kubernetes secret with k8s://NAMESPACE/SECRET";
        return Err(CliError::unsupported(&format!("--kms {kms}"), why));
    }
    match args.reference {
        None => in_files(&args.output_key_prefix),
        Some(reference) => in_cluster(&reference).await,
    }
}

fn in_files(prefix: &str) -> Outcome {
    let files = Files::of(prefix);
    files.ask_before_overwriting(false)?;
    let pair = KeyPair::generate()?;
    let password = terminal::key_password(Ask::Twice)?;
    files.write(&pair, &password)
}

async fn in_cluster(reference: &str) -> Outcome {
    if !reference.contains("://") {
        return Err(CliError::new("could not parse scheme, use <scheme>://<ref> format"));
    }
    let KeyReference::Kubernetes { namespace, secret } = KeyReference::parse(reference)? else {
        let scheme = reference.split("://").next().unwrap_or_default();
        return Err(CliError::new(format!("undefined provider: {scheme}")));
    };
    let public = Path::new("cosign.pub");
    ask_before_overwriting(&[public], false)?;
    let client = cluster::client(&Connect::default()).await?;
    let pair = KeyPair::generate()?;
    let password = terminal::key_password(Ask::Twice)?;
    let key = KeySecret {
        private_key: pair.to_encrypted_pem(&password)?.as_bytes().to_vec(),
        public_key: pair.public().to_pem().into_bytes(),
        password: password.expose().to_vec(),
    };
    create_key_secret(&client, &namespace, &secret, key).await?;
    terminal::say(format!("Successfully created secret {secret} in namespace {namespace}"));
    files::write(public, pair.public().to_pem().as_bytes(), Mode::Public)?;
    terminal::say("Public key written to cosign.pub");
    Ok(())
}

/// The two files of a key pair.
pub(crate) struct Files {
    private: PathBuf,
    public: PathBuf,
}

impl Files {
    pub(crate) fn of(prefix: &str) -> Self {
        Self { private: format!("{prefix}.key").into(), public: format!("{prefix}.pub").into() }
    }

    /// Neither file is replaced without consent.
    pub(crate) fn ask_before_overwriting(&self, consent: bool) -> Outcome {
        ask_before_overwriting(&[&self.private, &self.public], consent)
    }

    pub(crate) fn write(&self, pair: &KeyPair, password: &Password) -> Outcome {
        let pem = pair.to_encrypted_pem(password)?;
        files::write(&self.private, pem.as_bytes(), Mode::Private)?;
        terminal::say(format!("Private key written to {}", self.private.display()));
        files::write(&self.public, pair.public().to_pem().as_bytes(), Mode::Public)?;
        terminal::say(format!("Public key written to {}", self.public.display()));
        Ok(())
    }
}

fn ask_before_overwriting(paths: &[&Path], consent: bool) -> Outcome {
    let Some(path) = paths.iter().find(|path| std::fs::symlink_metadata(path).is_ok()) else {
        return Ok(());
    };
    terminal::warn(format!("File {} already exists. Overwrite?", path.display()));
    if consent { Ok(()) } else { terminal::confirm() }
}
