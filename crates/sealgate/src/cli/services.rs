//! Flags about certificates, logs and timestamps. This version signs and verifies with keys alone,
//! so these flags are read (scripts are full of them) and each is judged: it asks for what is done
//! anyway, it has no meaning for keys (said so), or it is refused. None is ignored in silence.

use std::path::{Path, PathBuf};

use clap::Args;
use sealgate_core::key::HashAlgorithm;

use super::files;
use super::values::{BOOL, go_bool};
use crate::failure::CliError;
use crate::terminal;

const KEYLESS_LATER: &str =
    "signing with certificates (keyless) comes with a later version: give --key";
const LOG_LATER: &str = "transparency logs come with a later version: give --tlog-upload=false, \
                         or leave the flag away (nothing is logged)";
const TIME_LATER: &str = "timestamp authorities come with a later version";

/// What `sign` and `sign-blob` share of them, as typed.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SigningServices {
    /// Signing configuration that names the services to use; one without logs is fine
    #[arg(long, value_name = "FILE")]
    signing_config: Option<PathBuf>,

    /// Take service addresses from a signing configuration (TUF)
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    use_signing_config: Option<bool>,

    /// Trusted root to verify the signature with after signing
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,

    /// Upload to the transparency log
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    tlog_upload: Option<bool>,

    #[arg(long, hide = true)]
    rekor_url: Option<String>,

    #[arg(long, hide = true)]
    timestamp_server_url: Option<String>,

    #[arg(long, hide = true)]
    timestamp_client_cacert: Option<String>,

    #[arg(long, hide = true)]
    timestamp_client_cert: Option<String>,

    #[arg(long, hide = true)]
    timestamp_client_key: Option<String>,

    #[arg(long, hide = true)]
    timestamp_server_name: Option<String>,

    /// Certificate (PEM) to put into the signature
    #[arg(long, alias = "cert", value_name = "FILE")]
    certificate: Option<String>,

    /// Certificates above it (PEM)
    #[arg(long, alias = "cert-chain", value_name = "FILE")]
    certificate_chain: Option<String>,

    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    issue_certificate: Option<bool>,

    #[arg(long, hide = true)]
    fulcio_url: Option<String>,

    #[arg(long, hide = true)]
    fulcio_auth_flow: Option<String>,

    #[arg(long, hide = true)]
    identity_token: Option<String>,

    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    insecure_skip_verify: Option<bool>,

    #[arg(long, hide = true)]
    oidc_issuer: Option<String>,

    #[arg(long, hide = true)]
    oidc_client_id: Option<String>,

    #[arg(long, hide = true)]
    oidc_client_secret_file: Option<String>,

    #[arg(long, hide = true)]
    oidc_redirect_url: Option<String>,

    #[arg(long, hide = true)]
    oidc_provider: Option<String>,

    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    oidc_disable_ambient_providers: Option<bool>,
}

impl SigningServices {
    /// Judges the flags for signing with `key`; returns the key's reference.
    pub(crate) fn for_key<'a>(&self, key: Option<&'a str>) -> Result<&'a str, CliError> {
        let Some(key) = key else {
            return Err(CliError::unsupported("keyless signing (no --key)", KEYLESS_LATER));
        };
        self.check_log()?;
        refuse_given(&self.timestamps(), TIME_LATER)?;
        refuse_given(&self.certificates(), "certificates in signatures come with keyless signing")?;
        if let Some(path) = &self.signing_config {
            check_signing_config(path)?;
        }
        for (flag, given) in self.without_meaning() {
            if given {
                terminal::warn(format!("{flag} has no meaning when signing with --key"));
            }
        }
        Ok(key)
    }

    fn check_log(&self) -> Result<(), CliError> {
        if self.tlog_upload == Some(true) {
            return Err(CliError::unsupported("--tlog-upload=true", LOG_LATER));
        }
        if self.rekor_url.is_some() && self.tlog_upload != Some(false) {
            return Err(CliError::unsupported("--rekor-url", LOG_LATER));
        }
        if self.use_signing_config == Some(true) && self.tlog_upload != Some(false) {
            return Err(CliError::unsupported("--use-signing-config=true", LOG_LATER));
        }
        Ok(())
    }

    fn timestamps(&self) -> [(&'static str, bool); 5] {
        [
            ("--timestamp-server-url", self.timestamp_server_url.is_some()),
            ("--timestamp-client-cacert", self.timestamp_client_cacert.is_some()),
            ("--timestamp-client-cert", self.timestamp_client_cert.is_some()),
            ("--timestamp-client-key", self.timestamp_client_key.is_some()),
            ("--timestamp-server-name", self.timestamp_server_name.is_some()),
        ]
    }

    fn certificates(&self) -> [(&'static str, bool); 3] {
        [
            ("--certificate", self.certificate.is_some()),
            ("--certificate-chain", self.certificate_chain.is_some()),
            ("--issue-certificate", self.issue_certificate == Some(true)),
        ]
    }

    fn without_meaning(&self) -> [(&'static str, bool); 11] {
        [
            ("--trusted-root", self.trusted_root.is_some()),
            ("--fulcio-url", self.fulcio_url.is_some()),
            ("--fulcio-auth-flow", self.fulcio_auth_flow.is_some()),
            ("--identity-token", self.identity_token.is_some()),
            ("--insecure-skip-verify", self.insecure_skip_verify == Some(true)),
            ("--oidc-issuer", self.oidc_issuer.is_some()),
            ("--oidc-client-id", self.oidc_client_id.is_some()),
            ("--oidc-client-secret-file", self.oidc_client_secret_file.is_some()),
            ("--oidc-redirect-url", self.oidc_redirect_url.is_some()),
            ("--oidc-provider", self.oidc_provider.is_some()),
            ("--oidc-disable-ambient-providers", self.oidc_disable_ambient_providers == Some(true)),
        ]
    }
}

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

/// Refuses the first flag that was given.
pub(crate) fn refuse_given(flags: &[(&str, bool)], why: &str) -> Result<(), CliError> {
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(CliError::unsupported(flag, why)),
        None => Ok(()),
    }
}

/// A signing configuration must not ask for a log or a timestamp, for we would not go there.
fn check_signing_config(path: &Path) -> Result<(), CliError> {
    let bytes = files::read(path, 1 << 20)?;
    let name = path.display();
    let config: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|error| CliError::new(format!("error reading signing config {name}: {error}")))?;
    let asks = |field: &str| match config.get(field) {
        None | Some(serde_json::Value::Null) => false,
        Some(serde_json::Value::Array(services)) => !services.is_empty(),
        Some(_) => true,
    };
    if asks("rekorTlogUrls") {
        return Err(CliError::unsupported("a signing config with transparency logs", LOG_LATER));
    }
    if asks("tsaUrls") {
        return Err(CliError::unsupported(
            "a signing config with timestamp authorities",
            TIME_LATER,
        ));
    }
    Ok(())
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
