//! `--key`: a private key, opened for signing, or a public key.

use clap::Args;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::PublicKey;
use sealgate_engine::ports::SecretSource;
use sealgate_keys::{KeyError, KeyPair, KeyReference};

use super::files;
use super::signing::Refusal;
use super::values::{BOOL, go_bool};
use crate::failure::CliError;
use crate::terminal::{self, Ask};

/// The flags of hardware security keys, which are refused.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TokenFlags {
    /// Use a hardware security key
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    sk: Option<bool>,

    /// Slot of the hardware security key
    #[arg(long, value_name = "SLOT")]
    slot: Option<String>,
}

impl TokenFlags {
    /// Refuses hardware security keys.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        Ok(self.check_signing()?)
    }

    /// The same for the plan of a signing run.
    pub(crate) fn check_signing(&self) -> Result<(), Refusal> {
        let flag = match (self.sk, &self.slot) {
            (Some(true), _) => "--sk",
            (_, Some(_)) => "--slot",
            _ => return Ok(()),
        };
        Err(Refusal::Unsupported {
            what: format!("{flag} (hardware security keys)"),
            why: "use a key file, env://VAR or k8s://NAMESPACE/SECRET",
        })
    }
}

/// Opens a private key: reads it, asks for its password, decrypts it.
pub(crate) async fn signer(reference: &str) -> Result<KeyPair, CliError> {
    let reference = KeyReference::parse(reference)?;
    let cluster = cluster(&reference).await?;
    let found = reference.private(cluster.as_deref()).await;
    let found = found.map_err(|fault| unread(&reference, fault).during("reading key"))?;
    let password = match found.password {
        Some(password) => password,
        None => terminal::key_password(Ask::Once).await?,
    };
    // scrypt takes a quarter of a second of CPU: not on the thread that drives the network.
    let opened =
        tokio::task::spawn_blocking(move || KeyPair::from_encrypted_pem(&found.pem, &password));
    let pair = opened.await.map_err(|_| CliError::new("opening the key was interrupted"))?;
    pair.map_err(|error| {
        let remedy = remedy(&error);
        let error = CliError::from(error).during("reading key").note(format!("in {reference}"));
        remedy.into_iter().fold(error, CliError::note)
    })
}

/// The remedy for a private key that cannot be opened.
fn remedy(error: &KeyError) -> Option<&'static str> {
    match error {
        KeyError::PemType(kind) if kind == "PUBLIC KEY" => {
            Some("it is a public key: sign with the private one")
        }
        KeyError::WrongPassword => {
            Some("the password (COSIGN_PASSWORD, or what was typed) is not this key's")
        }
        _ => None,
    }
}

/// Reads a public key.
pub(crate) async fn verifier(reference: &str) -> Result<PublicKey, CliError> {
    let reference = KeyReference::parse(reference)?;
    let found = match &reference {
        KeyReference::Url(url) => {
            let pem = super::fetch::text(url, sealgate_keys::MAX_KEY_BYTES).await?;
            PublicKey::from_pem(&pem)
                .map_err(|error| CliError::new(format!("{url}: pem to public key: {error}")))
        }
        other => {
            let cluster = cluster(other).await?;
            other.public(cluster.as_deref()).await.map_err(|fault| unread(other, fault))
        }
    };
    found.map_err(|error| error.during("loading public key"))
}

/// The failure to read a key, in cosign's words where it is a local file or a variable.
fn unread(reference: &KeyReference, fault: Fault) -> CliError {
    let unreadable = match reference {
        KeyReference::File(path) => files::unreadable(path),
        _ => None,
    };
    match (unreadable, fault.kind) {
        (Some(unreadable), _) => unreadable,
        (None, FaultKind::Config) => {
            CliError::new(fault.detail).note(format!("in {}", fault.target))
        }
        (None, _) => fault.into(),
    }
}

/// The cluster's secrets, where the reference names one.
async fn cluster(reference: &KeyReference) -> Result<Option<Box<dyn SecretSource>>, CliError> {
    match reference {
        KeyReference::Kubernetes { .. } => super::cluster::secrets().await.map(Some),
        _ => Ok(None),
    }
}
