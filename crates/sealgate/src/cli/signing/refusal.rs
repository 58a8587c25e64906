//! The refusals of signing: flags that conflict with each other, lack another flag, or require what
//! the configured services cannot do.

use sealgate_core::reference::InvalidReference;

use super::keyless;
use crate::failure::CliError;

/// A refusal to sign with these flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A flag about the certificate of a key, without a key.
    WithoutKey { flag: &'static str },
    /// A certificate that is given and one that is requested.
    TwoCertificates,
    /// A certificate chain without the certificate that it belongs to.
    ChainWithoutCertificate,
    /// A client certificate for the timestamp authority without its key, or the key alone.
    HalfClientCertificate,
    /// Service URLs beside a signing configuration.
    UrlsAndConfig,
    /// A public service would be used beside private ones.
    ServiceNotGiven { flag: &'static str, otherwise: &'static str },
    /// An unknown `--signing-algorithm`.
    Algorithm { name: String },
    /// An unknown `--oidc-provider`.
    Provider { error: String },
    /// An unknown `--fulcio-auth-flow`.
    Flow { error: String },
    /// A flag or a value that this version does not support.
    Unsupported { what: String, why: &'static str },
    /// An unknown `--registry-referrers-mode`.
    ReferrersMode { value: String },
    /// Two flags that name different formats.
    TwoFormats,
    /// A signature that would neither be stored nor written to a file.
    NoDestination,
    /// An annotation that is not `KEY=VALUE`.
    Annotation { error: String },
    /// An image that is not a reference.
    Reference { text: String, error: InvalidReference },
    /// A file for the result, and several blobs.
    SeveralBlobs { flag: &'static str },
    /// `sign --resume` beside images or a key.
    ResumeWithImages,
    /// `sign-blob --resume` with more than one file.
    ResumeSeveralBlobs,
    /// `sign-blob --resume` beside a key.
    ResumeWithKey,
    /// `--tlog-upload=false` beside a signing configuration that names a log.
    ConfiguredLog,
    /// A legacy signature with an entry of a Rekor v2 log.
    LegacyRekor2,
    /// No certificate authority for a signature that needs a certificate.
    NoCertificateAuthority,
    /// A certificate and a log of version 2, which signs no time, without a timestamp authority.
    NoTimestampAuthority,
    /// `--rfc3161-timestamp` without a timestamp.
    NoTimestamp,
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WithoutKey { flag } => Self::new(format!("{flag} needs --key"))
                .note("without --key, the certificate authority issues the certificate"),
            Refusal::TwoCertificates => {
                Self::new("--issue-certificate and --certificate cannot be used together")
            }
            Refusal::ChainWithoutCertificate => {
                Self::new("no leaf certificate found or provided while specifying chain")
                    .note("give the certificate of the key with --certificate")
            }
            Refusal::HalfClientCertificate => {
                Self::new("--timestamp-client-cert and --timestamp-client-key must be given together")
            }
            Refusal::UrlsAndConfig => {
                Self::new("cannot specify service URLs and use signing config")
            }
            Refusal::ServiceNotGiven { flag, otherwise } => {
                Self::new(format!("{flag} is not given"))
                    .note("other services for this signature are private, so no public service is used")
                    .note(format!("give {flag} URL, or {otherwise}"))
            }
            Refusal::Algorithm { name } => {
                Self::new(format!("parsing signature algorithm: unknown algorithm {name:?}"))
                    .note(format!("supported algorithms: {}", keyless::algorithms()))
            }
            Refusal::Provider { error } => Self::new(format!("getting provider: {error}")),
            Refusal::Flow { error } => Self::new(format!("setting auth flow: {error}")),
            Refusal::Unsupported { what, why } => Self::unsupported(&what, why),
            Refusal::ReferrersMode { value } => Self::new(format!(
                "invalid argument {value:?} for \"--registry-referrers-mode\" flag: must be one of \
                 \"legacy\", \"oci-1-1\""
            )),
            Refusal::TwoFormats => {
                Self::new("--format and --new-bundle-format name different formats")
            }
            Refusal::NoDestination => Self::new(
                "must enable upload to the OCI registry or specify a local --bundle path with \
                 --new-bundle-format",
            )
            .note("with --upload=false, the signature is written to a file only: give --bundle FILE"),
            Refusal::Annotation { error } => Self::new(error),
            Refusal::Reference { text, error } => Self::no_reference(&text, &error),
            Refusal::SeveralBlobs { flag } => {
                Self::new(format!("{flag} names one file, but several files are signed"))
                    .note("sign the files one at a time")
            }
            Refusal::ResumeWithImages => Self::new("--resume takes the images and the signatures from its file")
                .note("give neither images nor --key with --resume"),
            Refusal::ResumeSeveralBlobs => Self::new("--resume requires the one file that was signed"),
            Refusal::ResumeWithKey => {
                Self::new("--resume and --key cannot be used together")
            }
            Refusal::ConfiguredLog => Self::new(
                "--tlog-upload=false is not supported with --signing-config or \
                 --use-signing-config. Provide a signing config with --signing-config without a \
                 transparency log service",
            )
            .note("`sealgate signing-config create` writes one"),
            Refusal::LegacyRekor2 => {
                Self::new("the legacy format cannot hold an entry of a Rekor v2 log")
                    .note("write a bundle (--format bundle), or use a Rekor v1 log")
            }
            Refusal::NoCertificateAuthority => {
                Self::new("no fulcio URLs provided in signing config")
                    .note("signing without --key requires a certificate authority: add one, or give --key")
            }
            Refusal::NoTimestampAuthority => Self::new(
                "a timestamp authority must be provided to request a short-lived certificate \
                 that will be logged to Rekor",
            )
            .note("a Rekor v2 log does not sign the time of an entry: specify a timestamp authority as well"),
            Refusal::NoTimestamp => {
                Self::new("--rfc3161-timestamp requires a timestamp authority")
                    .note("specify one with --timestamp-server-url or in a signing config")
            }
        }
    }
}
