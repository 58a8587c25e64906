//! The flags of signing about certificates, transparency logs, timestamps and identity tokens.

use std::path::PathBuf;

use clap::Args;
use sealgate_sigstore::oidc::Secret;

use crate::cli::values::{BOOL, go_bool};

/// The flags that `sign`, `sign-blob` and `sign-bundle` share.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SigningFlags {
    /// Signing configuration that names the services to use; it can be without logs
    #[arg(long, value_name = "FILE")]
    pub(super) signing_config: Option<PathBuf>,

    /// Use the signing configuration from TUF, or the embedded one
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    pub(super) use_signing_config: Option<bool>,

    /// Trusted root with which the signature is verified before it is stored
    #[arg(long, value_name = "FILE")]
    pub(super) trusted_root: Option<PathBuf>,

    /// Upload the signature to a transparency log [default: true for keyless signing; with --key,
    /// only if a signing configuration names a log]
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    pub(super) tlog_upload: Option<bool>,

    /// Transparency log (Rekor v1) to upload to
    #[arg(long, value_name = "URL", hide = true)]
    pub(super) rekor_url: Option<String>,

    /// Address of a timestamp authority (RFC 3161)
    #[arg(long, value_name = "URL", hide = true)]
    pub(super) timestamp_server_url: Option<String>,

    /// CA certificates (PEM) for the TLS connection to the timestamp authority
    #[arg(long, value_name = "FILE")]
    pub(super) timestamp_client_cacert: Option<PathBuf>,

    /// Client certificate (PEM) for the timestamp authority
    #[arg(long, value_name = "FILE")]
    pub(super) timestamp_client_cert: Option<PathBuf>,

    /// Private key (PEM) of the client certificate
    #[arg(long, value_name = "FILE")]
    pub(super) timestamp_client_key: Option<PathBuf>,

    /// Name that the TLS certificate of the timestamp authority must contain
    #[arg(long, value_name = "NAME")]
    pub(super) timestamp_server_name: Option<String>,

    /// Certificate (PEM or DER) for the key, to include in the signature
    #[arg(long, alias = "cert", value_name = "FILE")]
    pub(super) certificate: Option<PathBuf>,

    /// Certificate chain of --certificate (PEM), the root last
    #[arg(long, alias = "cert-chain", value_name = "FILE")]
    pub(super) certificate_chain: Option<PathBuf>,

    /// Request a certificate for --key from Fulcio
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    pub(super) issue_certificate: Option<bool>,

    /// Address of the certificate authority (Fulcio)
    #[arg(long, value_name = "URL", hide = true)]
    pub(super) fulcio_url: Option<String>,

    /// Login flow: normal (browser), device, token or client_credentials
    #[arg(long, value_name = "FLOW")]
    pub(super) fulcio_auth_flow: Option<String>,

    /// Identity token for keyless signing, or a file that contains it
    #[arg(long, value_name = "TOKEN|FILE", value_parser = secret)]
    pub(super) identity_token: Option<Secret>,

    /// Do not require an SCT in the certificate
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    pub(super) insecure_skip_verify: Option<bool>,

    /// OIDC issuer for the login
    #[arg(long, value_name = "URL", hide = true)]
    pub(super) oidc_issuer: Option<String>,

    /// OIDC client ID [default: sigstore]
    #[arg(long, value_name = "ID")]
    pub(super) oidc_client_id: Option<String>,

    /// File that contains the OIDC client secret
    #[arg(long, value_name = "FILE")]
    pub(super) oidc_client_secret_file: Option<PathBuf>,

    /// Redirect URL for the login, at an address of this machine
    #[arg(long, value_name = "URL")]
    pub(super) oidc_redirect_url: Option<String>,

    /// Ambient provider of identity tokens to use
    #[arg(long, value_name = "PROVIDER")]
    pub(super) oidc_provider: Option<String>,

    /// Do not use ambient providers of identity tokens
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    pub(super) oidc_disable_ambient_providers: Option<bool>,

    /// Continue with the signatures in FILE, which a log or the registry did not accept
    #[arg(long, value_name = "FILE")]
    pub(crate) resume: Option<PathBuf>,

    /// Use Sigstore's staging services instead of the public ones
    #[arg(skip)]
    pub(crate) staging: bool,
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}
