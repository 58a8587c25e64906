//! How a key is named on a command line or in a policy: a file, `env://VAR`,
//! `k8s://NAMESPACE/SECRET`, `https://…`; the schemes of key services are known by name and
//! refused by name.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::PublicKey;
use sealgate_engine::ports::SecretSource;
use zeroize::Zeroizing;

use crate::{MAX_KEY_BYTES, Password};

/// Where a key lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyReference {
    /// A file.
    File(PathBuf),
    /// An environment variable that holds PEM text: `env://VAR`.
    Environment(String),
    /// A secret with the entries `cosign.key`, `cosign.pub` and `cosign.password`:
    /// `k8s://NAMESPACE/SECRET`.
    Kubernetes {
        /// The namespace.
        namespace: String,
        /// The secret's name.
        secret: String,
    },
    /// PEM text behind `http://` or `https://`, for public keys.
    Url(String),
}

/// A private key as it was found: still encrypted.
pub struct EncryptedKey {
    /// The PEM text.
    pub pem: Zeroizing<String>,
    /// The password, where it lay beside the key (Kubernetes secrets).
    pub password: Option<Password>,
}

/// Key services and tokens whose references cosign knows, with what they are called.
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
    /// Reads a reference. A scheme that this version does not speak is a fault of kind
    /// `unsupported`, never taken for a file name.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Err(Fault::new(FaultKind::Config, "key", "the key reference is empty"));
        }
        if let Some((_, name)) = SERVICES.iter().find(|(scheme, _)| text.starts_with(scheme)) {
            let detail = format!("keys in {name} are not in this version of sealgate");
            return Err(Fault::new(FaultKind::Unsupported, text, detail));
        }
        match text.split_once("://") {
            None => Ok(Self::File(PathBuf::from(text))),
            Some(("file", path)) => Ok(Self::File(PathBuf::from(path))),
            Some(("env", name)) => environment(name),
            Some(("k8s", path)) => kubernetes(text, path),
            Some(("http" | "https", _)) => Ok(Self::Url(text.to_owned())),
            Some((scheme, _)) => {
                let detail =
                    format!("key plugins ({scheme}://) are not in this version of sealgate");
                Err(Fault::new(FaultKind::Unsupported, text, detail))
            }
        }
    }

    /// The encrypted private key. A URL is refused: a private key does not belong there.
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
                let detail = "a private key is not fetched from a URL";
                return Err(Fault::new(FaultKind::Unsupported, without_secrets(url), detail));
            }
        };
        Ok(EncryptedKey { pem, password: None })
    }

    /// The public key. For a URL, fetch the PEM text (bounded by [`MAX_KEY_BYTES`]) and use
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
                true => "it is a private key: give the public key, or make it with \
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

/// An address for messages: without a user's name and password, and without the query, which may
/// be what opens a signed link.
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

/// The entries of a secret, wiped when they were not taken.
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
        .ok_or_else(|| Fault::new(FaultKind::Config, &target, "there is no cluster to ask"))?;
    let data = secrets
        .secret(namespace, name)
        .await?
        .ok_or_else(|| Fault::new(FaultKind::Missing, &target, "there is no such secret"))?;
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
            Err(Fault::new(FaultKind::Config, target, "the variable holds no text"))
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
        let detail = format!("larger than {MAX_KEY_BYTES} bytes: this is no key");
        return Err(Fault::new(FaultKind::TooLarge, target, detail));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Fault::new(FaultKind::Config, target, "it is not PEM text")),
    }
}

#[cfg(test)]
mod tests;
