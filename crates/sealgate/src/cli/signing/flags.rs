//! The flags of signing about certificates, transparency logs, timestamps and identity tokens.

use std::path::PathBuf;

use clap::Args;
use sealgate_sigstore::oidc::Secret;

use crate::cli::values::{BOOL, go_bool};

/// The flags that `sign`, `sign-blob` and `sign-bundle` share.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SigningFlags {
    /// Signing configuration that names the services to use; one without logs is fine
    #[arg(long, value_name = "FILE")]
    pub(super) signing_config: Option<PathBuf>,

    /// Take service addresses from the signing configuration of TUF, or the one built in
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    pub(super) use_signing_config: Option<bool>,

    /// Trusted root that the signature must verify with before it is written
    #[arg(long, value_name = "FILE")]
    pub(super) trusted_root: Option<PathBuf>,

    /// Upload to the transparency log: without a key unless it is false; with --key only where this
    /// or a signing configuration says so
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    pub(super) tlog_upload: Option<bool>,

    /// Transparency log (Rekor v1) to upload to
    #[arg(long, value_name = "URL", hide = true)]
    pub(super) rekor_url: Option<String>,

    /// Timestamp authority (RFC 3161) to ask
    #[arg(long, value_name = "URL", hide = true)]
    pub(super) timestamp_server_url: Option<String>,

    /// Certificates (PEM) of CAs that the timestamp authority's server may have
    #[arg(long, value_name = "FILE")]
    pub(super) timestamp_client_cacert: Option<PathBuf>,

    /// Client certificate (PEM) for the timestamp authority
    #[arg(long, value_name = "FILE")]
    pub(super) timestamp_client_cert: Option<PathBuf>,

    /// Key (PEM) of that client certificate
    #[arg(long, value_name = "FILE")]
    pub(super) timestamp_client_key: Option<PathBuf>,

    /// Name that the certificate of the timestamp authority's server must carry
    #[arg(long, value_name = "NAME")]
    pub(super) timestamp_server_name: Option<String>,

    /// Certificate (PEM or DER) of the key, to put into the signature
    #[arg(long, alias = "cert", value_name = "FILE")]
    pub(super) certificate: Option<PathBuf>,

    /// Certificates above it (PEM), the root last
    #[arg(long, alias = "cert-chain", value_name = "FILE")]
    pub(super) certificate_chain: Option<PathBuf>,

    /// Get a certificate for --key from the certificate authority
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    pub(super) issue_certificate: Option<bool>,

    /// Certificate authority (Fulcio) to ask
    #[arg(long, value_name = "URL", hide = true)]
    pub(super) fulcio_url: Option<String>,

    /// How to log in: normal (browser), device, token or client_credentials
    #[arg(long, value_name = "FLOW")]
    pub(super) fulcio_auth_flow: Option<String>,

    /// Identity token, or the file that holds it (keyless)
    #[arg(long, value_name = "TOKEN|FILE", value_parser = secret)]
    pub(super) identity_token: Option<Secret>,

    /// Do not ask for proof that the certificate was logged
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    pub(super) insecure_skip_verify: Option<bool>,

    /// OIDC issuer to log in at
    #[arg(long, value_name = "URL", hide = true)]
    pub(super) oidc_issuer: Option<String>,

    /// OIDC client (sigstore unless given)
    #[arg(long, value_name = "ID")]
    pub(super) oidc_client_id: Option<String>,

    /// File with the OIDC client's secret
    #[arg(long, value_name = "FILE")]
    pub(super) oidc_client_secret_file: Option<PathBuf>,

    /// Address of this machine that the OIDC issuer leads the browser back to
    #[arg(long, value_name = "URL")]
    pub(super) oidc_redirect_url: Option<String>,

    /// Where this machine gets identity tokens by itself
    #[arg(long, value_name = "PROVIDER")]
    pub(super) oidc_provider: Option<String>,

    /// Do not look for an identity token of this machine
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    pub(super) oidc_disable_ambient_providers: Option<bool>,

    /// Go on with the signatures in FILE, which a log or the registry did not take
    #[arg(long, value_name = "FILE")]
    pub(crate) resume: Option<PathBuf>,

    /// Sigstore's staging services instead of the public ones
    #[arg(skip)]
    pub(crate) staging: bool,
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}
