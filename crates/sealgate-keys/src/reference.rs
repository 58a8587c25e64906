//! Key references on the command line and in policies: a file, `env://VAR`,
//! `k8s://NAMESPACE/SECRET`, `https://…`. Schemes of key management services are recognised and
//! refused by name.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::PublicKey;
use sealgate_engine::ports::SecretSource;
use zeroize::Zeroizing;

use crate::{MAX_KEY_BYTES, Password};

/// Location of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyReference {
    /// A file.
    File(PathBuf),
    /// Environment variable that holds PEM text: `env://VAR`.
    Environment(String),
    /// Secret with the entries `cosign.key`, `cosign.pub` and `cosign.password`:
    /// `k8s://NAMESPACE/SECRET`.
    Kubernetes {
        /// Namespace.
        namespace: String,
        /// Name of the secret.
        secret: String,
    },
    /// URL of PEM text (`http://` or `https://`), for public keys.
    Url(String),
}

/// Encrypted private key.
pub struct EncryptedKey {
    /// PEM text.
    pub pem: Zeroizing<String>,
    /// Password, if stored with the key (Kubernetes secrets).
    pub password: Option<Password>,
}

/// Key management services and tokens supported by cosign, with their names in messages.
const SERVICES: [(&str, &str); 9] = [
    ("gcpkms://", "Google Cloud KMS"),
    ("awskms://", "AWS KMS"),
    ("azurekms://", "Azure Key Vault"),
    ("hashivault://", "HashiCorp Vault"),
    ("openbao://", "OpenBao"),
    ("pkcs11:", "PKCS#11 tokens"),
    ("gitlab://", "GitLab variables"),
    ("gitlab:", "GitLab variables"),
    ("github://", "GitHub secrets"),
];

impl KeyReference {
    /// Parses a reference. An unsupported scheme is a fault of kind `unsupported`, and never taken
    /// for a file name.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Err(Fault::new(FaultKind::Config, "key", "the key reference is empty"));
        }
        if let Some((_, name)) = SERVICES.iter().find(|(scheme, _)| text.starts_with(scheme)) {
            let detail = format!("keys in {name} are not supported by this version of sealgate");
            return Err(Fault::new(FaultKind::Unsupported, text, detail));
        }
        match text.split_once("://") {
            None => Ok(Self::File(PathBuf::from(text))),
            Some(("file", path)) => Ok(Self::File(PathBuf::from(path))),
            Some(("env", name)) => environment(name),
            Some(("k8s", path)) => kubernetes(text, path),
            Some(("http" | "https", _)) => Ok(Self::Url(text.to_owned())),
            Some((scheme, _)) => {
                let detail = format!(
                    "key plugins ({scheme}://) are not supported by this version of sealgate"
                );
                Err(Fault::new(FaultKind::Unsupported, text, detail))
            }
        }
    }

    /// Encrypted private key. A URL is refused: private keys are not fetched over HTTP.
    pub async fn private(&self, secrets: Option<&dyn SecretSource>) -> Result<EncryptedKey, Fault> {
        let pem = match self {
            Self::File(path) => read_file(path)?,
            Self::Environment(name) => read_variable(name)?,
            Self::Kubernetes { namespace, secret } => {
                let mut data = read_secret(secrets, namespace, secret).await?;
                let pem = data.take("cosign.key")?;
                let password =
                    data.take("cosign.password").ok().map(|p| Password::new(p.as_bytes()));
                return Ok(EncryptedKey { pem, password });
            }
            Self::Url(url) => {
                let detail = "a private key cannot be fetched from a URL";
                return Err(Fault::new(FaultKind::Unsupported, without_secrets(url), detail));
            }
        };
        Ok(EncryptedKey { pem, password: None })
    }

    /// Public key. For a URL, the caller fetches the PEM text (at most [`MAX_KEY_BYTES`]) and uses
    /// [`PublicKey::from_pem`].
    pub async fn public(&self, secrets: Option<&dyn SecretSource>) -> Result<PublicKey, Fault> {
        let pem = match self {
            Self::File(path) => read_file(path)?,
            Self::Environment(name) => read_variable(name)?,
            Self::Kubernetes { namespace, secret } => {
                read_secret(secrets, namespace, secret).await?.take("cosign.pub")?
            }
            Self::Url(url) => {
                let detail = "a URL is fetched by the caller";
                return Err(Fault::new(FaultKind::Config, without_secrets(url), detail));
            }
        };
        PublicKey::from_pem(&pem).map_err(|error| {
            let detail = match pem.contains("PRIVATE KEY-----") {
                true => "this is a private key: pass the public key, or create it with \
                         `sealgate public-key --key FILE`"
                    .to_owned(),
                false => format!("pem to public key: {error}"),
            };
            Fault::new(FaultKind::Config, self.to_string(), detail)
        })
    }
}

impl std::fmt::Display for KeyReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "env://{name}"),
            Self::Kubernetes { namespace, secret } => write!(f, "k8s://{namespace}/{secret}"),
            Self::Url(url) => f.write_str(&without_secrets(url)),
        }
    }
}

/// URL for messages: without user name and password, and without the query, which may be the secret
/// of a signed URL.
pub fn without_secrets(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let shown = url.get(..end).unwrap_or_default();
    let Some((scheme, rest)) = shown.split_once("://") else { return shown.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

impl std::fmt::Debug for EncryptedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EncryptedKey(…)")
    }
}

/// Entries of a secret; those not taken are wiped.
struct SecretData {
    target: String,
    entries: std::collections::BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl SecretData {
    fn take(&mut self, entry: &str) -> Result<Zeroizing<String>, Fault> {
        let bytes = self.entries.remove(entry).ok_or_else(|| {
            let detail = format!("the secret has no entry {entry:?}");
            Fault::new(FaultKind::Missing, &self.target, detail)
        })?;
        to_text(&self.target, &bytes)
    }
}

async fn read_secret(
    secrets: Option<&dyn SecretSource>,
    namespace: &str,
    name: &str,
) -> Result<SecretData, Fault> {
    let target = format!("k8s://{namespace}/{name}");
    let secrets = secrets
        .ok_or_else(|| Fault::new(FaultKind::Config, &target, "no cluster is configured"))?;
    let data = secrets
        .secret(namespace, name)
        .await?
        .ok_or_else(|| Fault::new(FaultKind::Missing, &target, "no such secret"))?;
    let entries = data.into_iter().map(|(name, bytes)| (name, Zeroizing::new(bytes))).collect();
    Ok(SecretData { target, entries })
}

fn environment(name: &str) -> Result<KeyReference, Fault> {
    if name.is_empty() || name.contains(['=', '\0']) {
        let detail = "want env://NAME_OF_A_VARIABLE";
        return Err(Fault::new(FaultKind::Config, format!("env://{name}"), detail));
    }
    Ok(KeyReference::Environment(name.to_owned()))
}

fn kubernetes(text: &str, path: &str) -> Result<KeyReference, Fault> {
    match path.split_once('/') {
        Some((namespace, secret))
            if !namespace.is_empty() && !secret.is_empty() && !secret.contains('/') =>
        {
            Ok(KeyReference::Kubernetes {
                namespace: namespace.to_owned(),
                secret: secret.to_owned(),
            })
        }
        _ => {
            let detail =
                "kubernetes specification should be in the format k8s://<namespace>/<secret>";
            Err(Fault::new(FaultKind::Config, text, detail))
        }
    }
}

fn read_variable(name: &str) -> Result<Zeroizing<String>, Fault> {
    let target = format!("env://{name}");
    match std::env::var(name) {
        Ok(text) => to_text(&target, Zeroizing::new(text).as_bytes()),
        Err(std::env::VarError::NotPresent) => {
            let detail = format!("loading URL: env var ${name} not found");
            Err(Fault::new(FaultKind::Config, target, detail))
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Fault::new(FaultKind::Config, target, "the variable's value is not text"))
        }
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, Fault> {
    let target = path.display().to_string();
    let failed = |error: std::io::Error| Fault::new(FaultKind::Config, &target, error.to_string());
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    to_text(&target, &bytes)
}

fn to_text(target: &str, bytes: &[u8]) -> Result<Zeroizing<String>, Fault> {
    if bytes.len() as u64 > MAX_KEY_BYTES {
        let detail = format!("larger than {MAX_KEY_BYTES} bytes: not a key");
        return Err(Fault::new(FaultKind::TooLarge, target, detail));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Fault::new(FaultKind::Config, target, "not PEM text")),
    }
}

#[cfg(test)]
mod tests;
