//! Flags of verifying about certificates, logs and timestamps: who may have signed, and what the
//! verification rests on.

use std::path::PathBuf;

use clap::Args;
use sealgate_core::key::HashAlgorithm;

use super::values::{BOOL, go_bool, refuse_given};
use crate::failure::CliError;

const KEYLESS_LATER: &str =
    "signing with certificates (keyless) comes with a later version: give --key";
const TIME_LATER: &str = "timestamp authorities come with a later version";

/// What `verify` and `verify-blob` share of them, as typed.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct VerifyingServices {
    /// Identity that the signer's certificate must carry (keyless)
    #[arg(long, alias = "cert-identity", value_name = "IDENTITY")]
    certificate_identity: Option<String>,

    /// Identity as a regular expression (keyless)
    #[arg(long, value_name = "REGEXP")]
    certificate_identity_regexp: Option<String>,

    /// OIDC issuer that the signer's certificate must carry (keyless)
    #[arg(long, alias = "cert-oidc-issuer", value_name = "URL")]
    certificate_oidc_issuer: Option<String>,

    /// OIDC issuer as a regular expression (keyless)
    #[arg(long, value_name = "REGEXP")]
    certificate_oidc_issuer_regexp: Option<String>,

    #[arg(long, hide = true)]
    certificate_github_workflow_name: Option<String>,

    #[arg(long, hide = true)]
    certificate_github_workflow_ref: Option<String>,

    #[arg(long, hide = true)]
    certificate_github_workflow_repository: Option<String>,

    #[arg(long, hide = true)]
    certificate_github_workflow_sha: Option<String>,

    #[arg(long, hide = true)]
    certificate_github_workflow_trigger: Option<String>,

    #[arg(long, hide = true, alias = "cert-email")]
    certificate_email: Option<String>,

    #[arg(long, hide = true, alias = "cert")]
    certificate: Option<String>,

    #[arg(long, hide = true, alias = "cert-chain")]
    certificate_chain: Option<String>,

    #[arg(long, hide = true)]
    ca_roots: Option<String>,

    #[arg(long, hide = true)]
    ca_intermediates: Option<String>,

    #[arg(long, hide = true)]
    sct: Option<String>,

    /// Do not ask for proof that the certificate was logged (no certificate, no proof: always so)
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    insecure_ignore_sct: Option<bool>,

    /// Do not ask for proof that the signature was logged (this version never does, and says so)
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    insecure_ignore_tlog: Option<bool>,

    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    private_infrastructure: Option<bool>,

    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    offline: Option<bool>,

    /// Accept certificate chains in bundles (without meaning for keys)
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    allow_certificate_chain: Option<bool>,

    /// Bundles and legacy signatures are both looked for, whatever this says
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    new_bundle_format: Option<bool>,

    /// Trusted root for certificates, logs and timestamps
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,

    #[arg(long, hide = true)]
    rekor_url: Option<String>,

    /// Ask for RFC 3161 timestamps
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    use_signed_timestamps: Option<bool>,

    #[arg(long, hide = true)]
    timestamp_certificate_chain: Option<String>,

    /// Hash that the signature must be made with; by default each that cosign has used
    #[arg(long, value_name = "sha256|sha384|sha512|sha224", value_parser = hash)]
    signature_digest_algorithm: Option<HashAlgorithm>,
}

impl VerifyingServices {
    /// Judges the flags for verifying with `key`; returns the key's reference.
    pub(crate) fn for_key<'a>(&self, key: Option<&'a str>) -> Result<&'a str, CliError> {
        let identities = self.identities();
        let Some(key) = key else {
            return Err(match identities.iter().any(|(_, given)| *given) {
                true => CliError::unsupported("keyless verification", KEYLESS_LATER),
                false => CliError::new(
                    "--certificate-identity or --certificate-identity-regexp is required for \
                     verification in keyless mode",
                )
                .note("keyless verification comes with a later version of sealgate: give --key"),
            });
        };
        if self.certificate_identity.is_some() || self.certificate_identity_regexp.is_some() {
            return Err(CliError::new(
                "exactly one of: key reference (--key) or certificate identity (--certificate-identity \
                 or --certificate-identity-regexp) must be provided",
            ));
        }
        refuse_given(&identities, "a key has no certificate that could carry this")?;
        refuse_given(&self.certificates(), "certificates come with keyless verification")?;
        refuse_given(&self.timestamps(), TIME_LATER)?;
        if !self.log_is_ignored() {
            let why = "log proofs are not checked yet: say so with --insecure-ignore-tlog, or \
                       leave the flag away";
            let logs = [
                ("--trusted-root", self.trusted_root.is_some()),
                ("--rekor-url", self.rekor_url.is_some()),
            ];
            refuse_given(&logs, why)?;
        }
        Ok(key)
    }

    /// The hash to insist on.
    pub(crate) fn hash(&self) -> Option<HashAlgorithm> {
        self.signature_digest_algorithm
    }

    fn log_is_ignored(&self) -> bool {
        self.insecure_ignore_tlog == Some(true) || self.private_infrastructure == Some(true)
    }

    fn identities(&self) -> [(&'static str, bool); 10] {
        [
            ("--certificate-identity", self.certificate_identity.is_some()),
            ("--certificate-identity-regexp", self.certificate_identity_regexp.is_some()),
            ("--certificate-oidc-issuer", self.certificate_oidc_issuer.is_some()),
            ("--certificate-oidc-issuer-regexp", self.certificate_oidc_issuer_regexp.is_some()),
            ("--certificate-github-workflow-name", self.certificate_github_workflow_name.is_some()),
            ("--certificate-github-workflow-ref", self.certificate_github_workflow_ref.is_some()),
            (
                "--certificate-github-workflow-repository",
                self.certificate_github_workflow_repository.is_some(),
            ),
            ("--certificate-github-workflow-sha", self.certificate_github_workflow_sha.is_some()),
            (
                "--certificate-github-workflow-trigger",
                self.certificate_github_workflow_trigger.is_some(),
            ),
            ("--certificate-email", self.certificate_email.is_some()),
        ]
    }

    fn certificates(&self) -> [(&'static str, bool); 5] {
        [
            ("--certificate", self.certificate.is_some()),
            ("--certificate-chain", self.certificate_chain.is_some()),
            ("--ca-roots", self.ca_roots.is_some()),
            ("--ca-intermediates", self.ca_intermediates.is_some()),
            ("--sct", self.sct.is_some()),
        ]
    }

    fn timestamps(&self) -> [(&'static str, bool); 2] {
        [
            ("--use-signed-timestamps", self.use_signed_timestamps == Some(true)),
            ("--timestamp-certificate-chain", self.timestamp_certificate_chain.is_some()),
        ]
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
