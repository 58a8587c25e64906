//! `generate-key-pair`: generates a P-256 key, encrypted with a password, and writes it to two
//! files or to a Kubernetes secret.

use std::path::{Path, PathBuf};

use clap::Args;
use sealgate_core::key::PublicKey;
use sealgate_keys::{KeyPair, KeyReference, Password};
use sealgate_kube::cluster::{Connect, KeySecret, create_key_secret};
use serde_json::json;

use super::public_key::key_fields;
use crate::cli::cluster;
use crate::cli::files::{self, Mode};
use crate::failure::{CliError, Outcome};
use crate::output::{self, Format, OutputFlag};
use crate::session::Session;
use crate::terminal::{self, Ask};

/// Generate a key pair for signing
///
/// Writes PREFIX.key (encrypted with a password) and PREFIX.pub. The password is taken from
/// COSIGN_PASSWORD. Otherwise, it is prompted for twice at a terminal, or read from standard input.
#[derive(Args, Debug)]
pub(crate) struct GenerateKeyPairArgs {
    /// Prefix of the names of the two files
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    output_key_prefix: String,

    /// Create the key in a KMS
    #[arg(long, value_name = "URI")]
    kms: Option<String>,

    #[command(flatten)]
    output: OutputFlag,

    /// Location of the key pair instead of files: k8s://NAMESPACE/SECRET
    #[arg(value_name = "REFERENCE")]
    reference: Option<String>,
}

pub(crate) async fn run(args: GenerateKeyPairArgs, session: &mut Session) -> Outcome {
    let format = args.output.begin(session);
    if let Some(kms) = args.kms {
        let why = "make a key in files, or in a Kubernetes secret with k8s://NAMESPACE/SECRET";
        return Err(CliError::unsupported(&format!("--kms {kms}"), why));
    }
    let written = match args.reference {
        None => in_files(&args.output_key_prefix).await,
        Some(reference) => in_cluster(&reference).await,
    };
    written?.report(session, format, "generate-key-pair")
}

async fn in_files(prefix: &str) -> Result<WrittenKeyPair, CliError> {
    let files = Files::of(prefix);
    files.ask_before_overwriting(Consent::Wanted(ELSEWHERE)).await?;
    let pair = KeyPair::generate()?;
    let password = terminal::key_password(Ask::Twice).await?;
    files.write(&pair, &password)
}

async fn in_cluster(reference: &str) -> Result<WrittenKeyPair, CliError> {
    if !reference.contains("://") {
        return Err(CliError::new("could not parse scheme, use <scheme>://<ref> format"));
    }
    let KeyReference::Kubernetes { namespace, secret } = KeyReference::parse(reference)? else {
        let scheme = reference.split("://").next().unwrap_or_default();
        return Err(CliError::new(format!("undefined provider: {scheme}")));
    };
    let public = Path::new("cosign.pub");
    ask_before_overwriting(&[public], Consent::Wanted(ELSEWHERE)).await?;
    let client = cluster::client(&Connect::default()).await?;
    let pair = KeyPair::generate()?;
    let password = terminal::key_password(Ask::Twice).await?;
    let key = KeySecret {
        private_key: pair.to_encrypted_pem(&password)?.as_bytes().to_vec(),
        public_key: pair.public().to_pem().into_bytes(),
        password: password.expose().to_vec(),
    };
    create_key_secret(&client, &namespace, &secret, key).await?;
    files::write(public, pair.public().to_pem().as_bytes(), Mode::Public)?;
    Ok(WrittenKeyPair {
        private: Private::Secret { namespace, secret },
        public: public.to_owned(),
        key: pair.public().clone(),
    })
}

/// The locations of a new key pair.
pub(crate) struct WrittenKeyPair {
    private: Private,
    public: PathBuf,
    key: PublicKey,
}

enum Private {
    File(PathBuf),
    Secret { namespace: String, secret: String },
}

impl WrittenKeyPair {
    pub(crate) fn report(&self, session: &mut Session, format: Format, what: &str) -> Outcome {
        let public = self.public.display().to_string();
        let (private, line) = match &self.private {
            Private::File(path) => {
                let path = path.display().to_string();
                let line = format!("Private key written to {path}");
                (path, line)
            }
            Private::Secret { namespace, secret } => (
                format!("k8s://{namespace}/{secret}"),
                format!("Successfully created secret {secret} in namespace {namespace}"),
            ),
        };
        let key = key_fields(&self.key);
        let fields = json!({ "privateKey": private, "publicKey": public, "key": key });
        output::report_result(session, format, what, fields, || {
            format!("{line}\nPublic key written to {public}")
        })
    }
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

    /// Asks for consent if a file exists.
    pub(crate) async fn ask_before_overwriting(&self, consent: Consent) -> Outcome {
        ask_before_overwriting(&[&self.private, &self.public], consent).await
    }

    pub(crate) fn write(
        self,
        pair: &KeyPair,
        password: &Password,
    ) -> Result<WrittenKeyPair, CliError> {
        let pem = pair.to_encrypted_pem(password)?;
        files::write(&self.private, pem.as_bytes(), Mode::Private)?;
        files::write(&self.public, pair.public().to_pem().as_bytes(), Mode::Public)?;
        let key = pair.public().clone();
        Ok(WrittenKeyPair { private: Private::File(self.private), public: self.public, key })
    }
}

/// The remedy where there is no terminal to ask for consent.
const ELSEWHERE: &str = "in scripts: give another --output-key-prefix, or remove the files first";

/// The consent to replace a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// To be asked for; with the remedy where there is no terminal.
    Wanted(&'static str),
    /// `--yes`.
    Given,
}

async fn ask_before_overwriting(paths: &[&Path], consent: Consent) -> Outcome {
    let Some(path) = paths.iter().find(|path| std::fs::symlink_metadata(path).is_ok()) else {
        return Ok(());
    };
    terminal::warn(format!("File {} already exists. Overwrite?", path.display()));
    match consent {
        Consent::Given => Ok(()),
        Consent::Wanted(otherwise) => terminal::confirm(otherwise).await,
    }
}
