//! The plan of a signing run: what it takes from where. A pure function of the flags, and after
//! the services are known, of the flags and the services.

use std::path::PathBuf;

use sealgate_core::verify::Override;
use sealgate_sigstore::oidc::{Ambient, PUBLIC_ISSUER, TokenRequest};
use sealgate_sigstore::signing_config::{LogService, RekorVersion, Services, SignWith};

use super::keyless::{self, Algorithm};
use super::services::{is_public, is_unguarded};
use super::{Refusal, SigningFlags};

const PUBLIC_FULCIO: &str = "https://fulcio.sigstore.dev";
const PUBLIC_REKOR: &str = "https://rekor.sigstore.dev";

/// The flags of one command that the plan depends on, beside the shared ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CommandFlags<'a> {
    /// `--key`.
    pub(crate) key: Option<&'a str>,
    /// `--signing-algorithm`.
    pub(crate) algorithm: Option<&'a str>,
    /// `--yes`.
    pub(crate) yes: bool,
    /// The format of the signature.
    pub(crate) format: SignatureFormat,
    /// The output of progress messages.
    pub(crate) progress: Progress,
    /// True if the timestamp is written to a file (`--rfc3161-timestamp`).
    pub(crate) timestamp_file: bool,
}

/// The format that limits what a signature can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SignatureFormat {
    /// A Sigstore bundle: several log entries and timestamps, one certificate.
    #[default]
    Bundle,
    /// The format of cosign 1 and 2, alone or beside a bundle: an entry of a Rekor v1 log, a
    /// certificate chain.
    Legacy,
}

/// The output of progress messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    /// A message for each step, in cosign's words.
    #[default]
    Shown,
    /// None: the output is a document.
    Hidden,
}

/// A plan to sign.
#[derive(Clone, Debug)]
pub(crate) struct SigningPlan {
    /// The key and its certificate.
    pub(super) signer: SignerPlan,
    /// The source of the service addresses.
    pub(super) services: ServiceSource,
    /// The access to the services.
    pub(super) access: ServiceAccess,
    /// The uploads to confirm.
    pub(super) confirm: Confirm,
    /// The format of the signature.
    pub(super) format: SignatureFormat,
    /// The output of progress messages.
    pub(super) progress: Progress,
    /// Flags that have no meaning in this combination.
    pub(super) warnings: Vec<String>,
    /// True if logs are refused (`--tlog-upload=false`).
    refuses_logs: bool,
    /// True if the timestamp is written to a file.
    timestamp_file: bool,
    /// The flags about the timestamp authority that were given.
    timestamp_flags: Vec<&'static str>,
}

/// The source of the private key and of its certificate.
#[derive(Clone, Debug)]
pub(super) enum SignerPlan {
    /// A key, with the certificate that was given with it, if any.
    Key { reference: String, certificate: Option<CertificateFiles> },
    /// A key for which a certificate is requested.
    CertifiedKey { reference: String, token: TokenRequest },
    /// A key for this run only, for which a certificate is requested.
    EphemeralKey { algorithm: &'static Algorithm, token: TokenRequest },
}

/// The certificate of a key, and the certificates above it.
#[derive(Clone, Debug)]
pub(super) struct CertificateFiles {
    pub(super) certificate: PathBuf,
    pub(super) chain: Option<PathBuf>,
}

/// The source of the service addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServiceSource {
    /// None: no service is contacted.
    Nothing,
    /// The flags.
    Flags(Services),
    /// `--signing-config`.
    File(PathBuf),
    /// The signing configuration of TUF, or the embedded one.
    Default,
}

/// The access to the services, and the trust root that their answers are verified with. Signing
/// and resuming need it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceAccess {
    /// `--trusted-root`.
    pub(super) trusted_root: Option<PathBuf>,
    /// True if Sigstore's staging trust root is used.
    pub(super) staging: bool,
    /// The SCT requirement.
    pub(super) sct: Override,
    /// The TLS settings for the timestamp authority.
    pub(super) timestamp_client: TimestampClient,
}

/// The TLS settings for the timestamp authority.
#[derive(Clone, Debug, Default)]
pub(super) struct TimestampClient {
    /// Certificates of CAs that its server may have.
    pub(super) cacert: Option<PathBuf>,
    /// The client certificate and its key.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate.
    pub(super) server_name: Option<String>,
}

/// The uploads that the user is asked to confirm: a log entry is permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirm {
    /// None (`--yes`).
    Nothing,
    /// Uploads to Sigstore's public logs: the user has named the others in a configuration.
    PublicLogs,
    /// All.
    AllLogs,
}

impl SignerPlan {
    /// True if the certificate authority is asked for a certificate.
    pub(super) fn sign_with(&self) -> SignWith {
        match self {
            Self::Key { .. } => SignWith::Key,
            Self::CertifiedKey { .. } | Self::EphemeralKey { .. } => SignWith::Identity,
        }
    }
}

impl SigningPlan {
    /// True if there will be nothing to verify but the signature of a plain key.
    pub(super) fn is_plain_key(&self, services: &Services) -> bool {
        matches!(self.signer, SignerPlan::Key { certificate: None, .. })
            && services.logs.is_empty()
            && services.timestamps.is_empty()
    }

    /// Refuses services that the signature could not be made or verified with, and returns
    /// warnings.
    pub(super) fn check(&self, services: &Services) -> Result<Vec<String>, Refusal> {
        let has_rekor2 = services.logs.iter().any(|log| log.version == RekorVersion::V2);
        let is_timestamped = !services.timestamps.is_empty();
        if self.refuses_logs && !services.logs.is_empty() {
            return Err(Refusal::ConfiguredLog);
        }
        if has_rekor2 && self.format == SignatureFormat::Legacy {
            return Err(Refusal::LegacyRekor2);
        }
        if self.timestamp_file && !is_timestamped {
            return Err(Refusal::NoTimestamp);
        }
        let mut warnings = Vec::new();
        if !is_timestamped {
            warnings.extend(
                self.timestamp_flags
                    .iter()
                    .map(|flag| format!("{flag} has no meaning: no timestamp authority is asked")),
            );
        }
        if self.access.trusted_root.is_some() && self.is_plain_key(services) {
            let why = "only the signature is verified, with its key";
            warnings.push(format!("--trusted-root has no meaning here: {why}"));
        }
        if self.signer.sign_with() == SignWith::Key {
            return Ok(warnings);
        }
        let Some(fulcio) = &services.fulcio else { return Err(Refusal::NoCertificateAuthority) };
        if has_rekor2 && !is_timestamped {
            return Err(Refusal::NoTimestampAuthority);
        }
        if is_unguarded(fulcio) {
            warnings.push(format!(
                "the identity token goes to {fulcio} without encryption: whoever reads it on its \
                 way can sign in that name"
            ));
        }
        if services.logs.is_empty() && !is_timestamped {
            warnings.push(
                "neither a log nor a timestamp authority is asked: after the certificate has \
                 expired, nothing proves that it was valid when the signature was made"
                    .to_owned(),
            );
        }
        Ok(warnings)
    }
}

impl SigningFlags {
    /// Plans to sign, or refuses.
    pub(crate) fn plan(&self, command: CommandFlags<'_>) -> Result<SigningPlan, Refusal> {
        self.check_certificate(command.key)?;
        let access = self.access()?;
        let signer = self.signer(&command)?;
        let services = self.source(signer.sign_with())?;
        let confirm = match (command.yes, &self.signing_config) {
            (true, _) => Confirm::Nothing,
            (false, Some(_)) => Confirm::PublicLogs,
            (false, None) => Confirm::AllLogs,
        };
        Ok(SigningPlan {
            warnings: self.meaningless(&command, signer.sign_with()),
            signer,
            services,
            access,
            confirm,
            format: command.format,
            progress: command.progress,
            refuses_logs: self.tlog_upload == Some(false),
            timestamp_file: command.timestamp_file,
            timestamp_flags: self.timestamp_flags(),
        })
    }

    /// Plans the access to services alone, which is all that resuming needs.
    pub(crate) fn access(&self) -> Result<ServiceAccess, Refusal> {
        let identity = match (&self.timestamp_client_cert, &self.timestamp_client_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => return Err(Refusal::HalfClientCertificate),
        };
        Ok(ServiceAccess {
            trusted_root: self.trusted_root.clone(),
            staging: self.staging,
            sct: match self.insecure_skip_verify {
                Some(true) => Override::Ignored,
                _ => Override::Unset,
            },
            timestamp_client: TimestampClient {
                cacert: self.timestamp_client_cacert.clone(),
                identity,
                server_name: self.timestamp_server_name.clone(),
            },
        })
    }

    fn check_certificate(&self, key: Option<&str>) -> Result<(), Refusal> {
        let given = [
            ("--certificate", self.certificate.is_some()),
            ("--certificate-chain", self.certificate_chain.is_some()),
        ];
        if let (None, Some((flag, _))) = (key, given.iter().find(|(_, given)| *given)) {
            return Err(Refusal::WithoutKey { flag });
        }
        if self.issue_certificate == Some(true) && self.certificate.is_some() {
            return Err(Refusal::TwoCertificates);
        }
        if self.certificate_chain.is_some() && self.certificate.is_none() {
            return Err(Refusal::ChainWithoutCertificate);
        }
        Ok(())
    }

    fn signer(&self, command: &CommandFlags<'_>) -> Result<SignerPlan, Refusal> {
        let Some(key) = command.key else {
            let algorithm = keyless::algorithm(command.algorithm)?;
            return Ok(SignerPlan::EphemeralKey { algorithm, token: self.token()? });
        };
        let reference = key.to_owned();
        if self.issue_certificate == Some(true) {
            return Ok(SignerPlan::CertifiedKey { reference, token: self.token()? });
        }
        let certificate = self.certificate.clone().map(|certificate| CertificateFiles {
            certificate,
            chain: self.certificate_chain.clone(),
        });
        Ok(SignerPlan::Key { reference, certificate })
    }

    /// The request for an identity token; its issuer is known with the services.
    fn token(&self) -> Result<TokenRequest, Refusal> {
        let ambient = match (&self.oidc_provider, self.oidc_disable_ambient_providers) {
            (_, Some(true)) => Ambient::Off,
            (Some(name), _) if !name.is_empty() => Ambient::Only(
                name.parse().map_err(|error| Refusal::Provider { error: format!("{error}") })?,
            ),
            _ => Ambient::Any,
        };
        let flow = self.fulcio_auth_flow.as_deref().filter(|name| !name.is_empty());
        let flow = flow.map(str::parse).transpose();
        let default = TokenRequest::default();
        Ok(TokenRequest {
            identity_token: self.identity_token.clone(),
            ambient,
            flow: flow.map_err(|error| Refusal::Flow { error: format!("{error}") })?,
            client_secret_file: self.oidc_client_secret_file.clone(),
            redirect_url: self.oidc_redirect_url.clone(),
            client_id: self.oidc_client_id.clone().unwrap_or(default.client_id),
            issuer: String::new(),
        })
    }

    /// cosign's rules for the source that decides.
    fn source(&self, with: SignWith) -> Result<ServiceSource, Refusal> {
        let configured = self.signing_config.is_some() || self.use_signing_config == Some(true);
        if configured && self.names_urls() {
            return Err(Refusal::UrlsAndConfig);
        }
        Ok(match (&self.signing_config, with) {
            (Some(path), _) => ServiceSource::File(path.clone()),
            _ if self.use_signing_config == Some(true) => ServiceSource::Default,
            _ if self.names_urls() || self.use_signing_config == Some(false) => {
                ServiceSource::Flags(self.named(with)?)
            }
            (_, SignWith::Identity) if self.tlog_upload == Some(false) => {
                ServiceSource::Flags(self.named(with)?)
            }
            (_, SignWith::Identity) => ServiceSource::Default,
            (_, SignWith::Key) if self.tlog_upload == Some(true) => ServiceSource::Default,
            (_, SignWith::Key) => ServiceSource::Nothing,
        })
    }

    /// True if a flag names a service other than cosign's default.
    fn names_urls(&self) -> bool {
        let differs = |given: &Option<String>, default: &str| {
            given.as_deref().is_some_and(|url| !url.is_empty() && url != default)
        };
        differs(&self.rekor_url, PUBLIC_REKOR)
            || differs(&self.fulcio_url, PUBLIC_FULCIO)
            || differs(&self.oidc_issuer, PUBLIC_ISSUER)
            || self.timestamp_server_url.as_deref().is_some_and(|url| !url.is_empty())
    }

    /// The services that the flags name. A private deployment never uses a public service: where
    /// one service is private, the others are not filled in with public ones.
    fn named(&self, with: SignWith) -> Result<Services, Refusal> {
        let given = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
        let (fulcio, rekor) = (given(&self.fulcio_url), given(&self.rekor_url));
        let issuer = given(&self.oidc_issuer);
        let private = [&fulcio, &rekor, &issuer, &given(&self.timestamp_server_url)]
            .into_iter()
            .flatten()
            .any(|url| !is_public(url));
        let certifies = with == SignWith::Identity;
        let default = |url: &str, flag: &'static str, otherwise: &'static str| match private {
            false => Ok(url.to_owned()),
            true => Err(Refusal::ServiceNotGiven { flag, otherwise }),
        };
        let fulcio = match (certifies, fulcio) {
            (false, _) => None,
            (true, Some(url)) => Some(url),
            (true, None) => Some(default(PUBLIC_FULCIO, "--fulcio-url", "sign with --key")?),
        };
        let log = match (self.tlog_upload, rekor) {
            (Some(false), _) => None,
            (_, Some(url)) => Some(url),
            (_, None) if self.tlog_upload == Some(true) || certifies => {
                let otherwise = "--tlog-upload=false for no log";
                Some(default(PUBLIC_REKOR, "--rekor-url", otherwise)?)
            }
            (_, None) => None,
        };
        // Needed for a login only, which has a refusal of its own.
        let oidc = issuer.or_else(|| (!private).then(|| PUBLIC_ISSUER.to_owned()));
        Ok(Services {
            fulcio,
            oidc: oidc.filter(|_| certifies),
            logs: log
                .map(|url| LogService { url, version: RekorVersion::V1 })
                .into_iter()
                .collect(),
            timestamps: given(&self.timestamp_server_url).into_iter().collect(),
        })
    }

    /// Warnings about flags that have no meaning with a key.
    fn meaningless(&self, command: &CommandFlags<'_>, with: SignWith) -> Vec<String> {
        let algorithm = command.key.is_some() && command.algorithm.is_some();
        let mut given = given([("--signing-algorithm", algorithm)]);
        if with == SignWith::Key {
            given.extend(self.identity_flags());
        }
        let warning = |flag: &str| format!("{flag} has no meaning when signing with --key");
        given.into_iter().map(warning).collect()
    }

    /// The flags about certificates and identity tokens that were given.
    fn identity_flags(&self) -> Vec<&'static str> {
        given([
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
        ])
    }

    /// The flags about the timestamp authority that were given.
    fn timestamp_flags(&self) -> Vec<&'static str> {
        given([
            ("--timestamp-client-cacert", self.timestamp_client_cacert.is_some()),
            ("--timestamp-client-cert", self.timestamp_client_cert.is_some()),
            ("--timestamp-client-key", self.timestamp_client_key.is_some()),
            ("--timestamp-server-name", self.timestamp_server_name.is_some()),
        ])
    }
}

fn given<const N: usize>(flags: [(&'static str, bool); N]) -> Vec<&'static str> {
    flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
}
