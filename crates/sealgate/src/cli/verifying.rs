//! Verification flags for keys, certificates, logs and timestamps.

use std::path::PathBuf;

use clap::Args;
use sealgate_core::key::HashAlgorithm;
use sealgate_core::verify::{Authority, KeyAuthority};

use super::identity::IdentityFlags;
use super::keys;
use super::trust::{TrustFlags, VerificationSettings};
use crate::failure::CliError;

/// Flags that `verify` and `verify-blob` share, as typed.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct VerifyingServices {
    #[command(flatten)]
    identity: IdentityFlags,

    #[command(flatten)]
    pub(crate) trust: TrustFlags,

    #[command(flatten)]
    pub(crate) parts: PartFlags,

    /// Hash algorithm of the signature [default: any that cosign has used for this type of key]
    #[arg(long, value_name = "sha256|sha384|sha512|sha224", value_parser = hash)]
    signature_digest_algorithm: Option<HashAlgorithm>,

    /// Removed in cosign 2
    #[arg(long, hide = true, alias = "cert-email")]
    certificate_email: Option<String>,
}

/// Verification material of a signature that is not in a bundle.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PartFlags {
    /// Certificate of the signer (PEM), if it is not in a bundle
    #[arg(long, alias = "cert", value_name = "FILE", hide = true)]
    pub(crate) certificate: Option<PathBuf>,

    /// Detached SCT (the JSON that older versions of Fulcio returned), if the certificate contains
    /// none
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) sct: Option<PathBuf>,
}

/// The required signer, before its key is read.
enum Signer<'a> {
    Key(&'a str),
    Identities(Authority),
}

impl VerifyingServices {
    /// Returns the required signer of `what`, and the verification context.
    pub(crate) async fn settings(
        &self,
        key: Option<&str>,
        what: &str,
    ) -> Result<VerificationSettings, CliError> {
        let authority = match self.signer(key)? {
            Signer::Identities(authority) => authority,
            Signer::Key(reference) => {
                let keys = vec![keys::verifier(reference).await?];
                KeyAuthority { keys, hash: self.signature_digest_algorithm }.into()
            }
        };
        self.trust.settings(authority, what).await
    }

    /// Returns the signer by cosign's rules: a key or an identity, not both.
    fn signer<'a>(&self, key: Option<&'a str>) -> Result<Signer<'a>, CliError> {
        if self.certificate_email.is_some() {
            return Err(CliError::unsupported(
                "--certificate-email",
                "cosign removed it, too: use --certificate-identity and \
                 --certificate-oidc-issuer",
            ));
        }
        let key = key.filter(|key| !key.is_empty());
        if usize::from(key.is_some()) + self.identity.manners() > 1 {
            return Err(CliError::new(
                "exactly one of: key reference (--key) or certificate identity \
                 (--certificate-identity or --certificate-identity-regexp), must be provided. To \
                 determine which to use, inspect the bundle's 'verificationMaterial' field: if \
                 'publicKey' is present, use key reference; if 'certificate' or \
                 'x509CertificateChain' is present, use certificate identity",
            ));
        }
        let Some(key) = key else {
            return Ok(Signer::Identities(self.identity.authority()?.into()));
        };
        if self.parts.certificate.is_some() {
            return Err(CliError::new(
                "exactly one of: key reference (--key), certificate (--cert) or hardware token \
                 (--sk) must be provided",
            ));
        }
        let mut certificates = self.identity.given();
        certificates.extend(self.trust.authorities());
        certificates.push(("--sct", self.parts.sct.is_some()));
        match certificates.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(CliError::new(format!("{flag} cannot be used with --key"))
                .note("a key has no certificate that this flag could apply to: omit one of them")),
            None => Ok(Signer::Key(key)),
        }
    }
}

fn hash(text: &str) -> Result<HashAlgorithm, String> {
    match text {
        "sha224" => Ok(HashAlgorithm::Sha224),
        "sha256" => Ok(HashAlgorithm::Sha256),
        "sha384" => Ok(HashAlgorithm::Sha384),
        "sha512" => Ok(HashAlgorithm::Sha512),
        other => Err(format!("unknown digest algorithm: {other}")),
    }
}

#[cfg(test)]
mod tests;
