//! Flags of signing about certificates, logs and timestamps. This version signs with keys alone, so
//! these flags are read (scripts are full of them) and each is judged: it asks for what is done
//! anyway, it has no meaning for keys (said so), or it is refused. None is ignored in silence.

use std::path::{Path, PathBuf};

use clap::Args;

use super::files;
use super::values::{BOOL, go_bool, refuse_given};
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

#[cfg(test)]
mod tests;
