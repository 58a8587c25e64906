//! The settings of a verification, from flags and environment: the trust root, the required proofs,
//! the time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use sealgate_core::trust::{
    AuthorityObject, CertificateAuthority, MAX_AUTHORITIES, SigstoreKeys, TrustRoot, Validity,
};
use sealgate_core::verify::{
    Authority, Chains, Override, Overrides, ProofRequirements, TrustConfig, VerificationContext,
};
use sealgate_core::{base64, certificate};
use sealgate_engine::ports::Clock as _;
use sealgate_sigstore::root::{
    Environment, LoadedRoot, Refresh, RootOptions, RootOrigin, STAGING, current_root,
};

use super::files;
use super::values::{BOOL, go_bool};
use crate::clock::SystemClock;
use crate::failure::CliError;
use crate::terminal;

/// The largest file of certificates.
const MAX_PEM: u64 = 1 << 20;
/// The time limit for refreshing from a TUF mirror; on failure, the last valid root is used.
const REFRESH: Duration = Duration::from_secs(10);

/// The flags, as typed.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TrustFlags {
    /// Trusted root (JSON) with the trusted authorities and logs
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,

    /// Do not require a transparency log entry
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    insecure_ignore_tlog: Option<bool>,

    /// Do not require an SCT in the certificate
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    insecure_ignore_sct: Option<bool>,

    /// Require a signed timestamp (RFC 3161)
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    use_signed_timestamps: Option<bool>,

    /// Verify as of TIME (RFC 3339), for investigations; the output shows this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,

    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    private_infrastructure: Option<bool>,

    /// Do not check the TUF mirror for updates. (Verification never contacts a log.)
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    offline: Option<bool>,

    #[arg(long, hide = true)]
    rekor_url: Option<String>,

    /// Accept certificate chains in bundles of version 0.3
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    allow_certificate_chain: Option<bool>,

    /// No effect: bundles and legacy signatures are both verified
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    new_bundle_format: Option<bool>,

    /// Certificate chain of the timestamp authority (PEM), instead of those in the trust root
    #[arg(long, value_name = "FILE", hide = true)]
    timestamp_certificate_chain: Option<PathBuf>,

    /// Certificate chain of the certificate authority (PEM), instead of those in the trust root
    #[arg(long, alias = "cert-chain", value_name = "FILE", hide = true)]
    certificate_chain: Option<PathBuf>,

    /// Root certificates of certificate authorities (PEM), instead of those in the trust root
    #[arg(long, value_name = "FILE", hide = true)]
    ca_roots: Option<PathBuf>,

    /// Intermediate certificates for --ca-roots (PEM)
    #[arg(long, value_name = "FILE", hide = true)]
    ca_intermediates: Option<PathBuf>,

    /// Use the trust root of Sigstore's staging services
    #[arg(skip)]
    pub(crate) staging: bool,
}

/// The settings of a verification, and their sources.
pub(crate) struct VerificationSettings {
    pub(crate) authority: Authority,
    pub(crate) trust_config: TrustConfig,
    pub(crate) now: Timestamp,
    /// True if `now` is a past time that the user has chosen.
    pub(crate) past: bool,
    pub(crate) origin: RootOrigin,
    /// Files whose certificates stand in for those of the root.
    pub(crate) replaced: Vec<PathBuf>,
}

impl VerificationSettings {
    /// For the verifier.
    pub(crate) fn trust(&self) -> VerificationContext<'_> {
        self.trust_config.context(&self.authority, self.now.as_second())
    }

    /// The required proofs.
    pub(crate) fn requirements(&self) -> ProofRequirements {
        self.trust_config.requirements(&self.authority)
    }

    /// The root that decides.
    pub(crate) fn root(&self) -> Option<&TrustRoot> {
        self.trust_config.root.as_deref()
    }
}

impl TrustFlags {
    /// The settings for verifying that `authority` signed `what`. Prints the warnings that users should
    /// know.
    pub(crate) async fn settings(
        &self,
        authority: Authority,
        what: &str,
    ) -> Result<VerificationSettings, CliError> {
        self.check()?;
        let present = SystemClock.now();
        if self.at.is_some_and(|at| at > present) {
            return Err(CliError::new("--at: that time has not come yet"));
        }
        let chosen = self.root(present).await?;
        let mut root = chosen.root;
        let replaced = self.replaced();
        if !replaced.is_empty() {
            root = self.replace(TrustRoot::clone(&root))?.into();
        }
        self.tell(what);
        let (source, overrides) = (chosen.source, self.overrides());
        Ok(VerificationSettings {
            authority,
            trust_config: TrustConfig { root: Some(root), source, overrides },
            now: self.at.unwrap_or(present),
            past: self.at.is_some(),
            origin: chosen.origin,
            replaced,
        })
    }

    /// True if timestamps are asked for.
    pub(crate) fn wants_timestamps(&self) -> bool {
        self.use_signed_timestamps == Some(true) || self.timestamp_certificate_chain.is_some()
    }

    /// Each flag that names certificates of authorities, and whether it was given.
    pub(crate) fn authorities(&self) -> [(&'static str, bool); 3] {
        [
            ("--certificate-chain", self.certificate_chain.is_some()),
            ("--ca-roots", self.ca_roots.is_some()),
            ("--ca-intermediates", self.ca_intermediates.is_some()),
        ]
    }

    /// cosign's words for what does not go together.
    fn check(&self) -> Result<(), CliError> {
        for (flag, given) in self.authorities().into_iter().skip(1) {
            if given && self.certificate_chain.is_some() {
                let name = flag.trim_start_matches('-');
                return Err(CliError::new(format!(
                    "if any flags in the group [{name} certificate-chain] are set none of the \
                     others can be; [{name} certificate-chain] were all set"
                )));
            }
        }
        if self.ca_intermediates.is_some() && self.ca_roots.is_none() {
            return Err(CliError::new("--ca-intermediates must be used together with --ca-roots"));
        }
        if self.trusted_root.is_some()
            && let Some(file) = self.replaced().first()
        {
            return Err(CliError::new(
                "authorities may only be provided using --trusted-root where it is given",
            )
            .note(format!("put the certificates of {} into the trusted root", file.display())));
        }
        Ok(())
    }

    async fn root(&self, now: Timestamp) -> Result<LoadedRoot, CliError> {
        let mut environment = Environment::read(|name| std::env::var_os(name));
        if self.staging {
            environment.mirror = Some(STAGING.to_owned());
        }
        let options = RootOptions {
            file: self.trusted_root.clone(),
            environment,
            refresh: match self.offline {
                Some(true) => Refresh::Never,
                _ => Refresh::WhenDue(REFRESH),
            },
        };
        let chosen = current_root(&options, now).await?;
        for warning in &chosen.warnings {
            terminal::warn(warning.to_string());
        }
        Ok(chosen)
    }

    fn replaced(&self) -> Vec<PathBuf> {
        let files = [
            &self.certificate_chain,
            &self.ca_roots,
            &self.ca_intermediates,
            &self.timestamp_certificate_chain,
        ];
        files.into_iter().flatten().cloned().collect()
    }

    /// The root with the authorities that the flags name instead of its own.
    fn replace(&self, root: TrustRoot) -> Result<TrustRoot, CliError> {
        let mut keys = SigstoreKeys::default();
        if let Some(path) = &self.certificate_chain {
            keys.certificate_authorities = vec![authority(path, pem(path)?)];
        }
        if let Some(path) = &self.timestamp_certificate_chain {
            keys.timestamp_authorities = vec![authority(path, pem(path)?)];
        }
        let mut named = read(&keys)?;
        if let Some(path) = &self.ca_roots {
            named.certificate_authorities = below_roots(path, self.ca_intermediates.as_deref())?;
        }
        let either =
            |given: Vec<_>, else_of: Vec<_>| if given.is_empty() { else_of } else { given };
        Ok(TrustRoot {
            certificate_authorities: either(
                named.certificate_authorities,
                root.certificate_authorities,
            ),
            timestamp_authorities: either(named.timestamp_authorities, root.timestamp_authorities),
            ..root
        })
    }

    /// The overrides of the flags. `--insecure-ignore-tlog=false` requires a log entry even
    /// where a key is judged by the key alone.
    fn overrides(&self) -> Overrides {
        let log = match (self.insecure_ignore_tlog, self.private_infrastructure) {
            (Some(true), _) | (_, Some(true)) => Override::Ignored,
            (Some(false), _) => Override::Required,
            (None, _) => Override::Unset,
        };
        let timestamp = if self.wants_timestamps() { Override::Required } else { Override::Unset };
        let sct = match self.insecure_ignore_sct {
            Some(true) => Override::Ignored,
            _ => Override::Unset,
        };
        let chains = match self.allow_certificate_chain {
            Some(true) => Chains::Allowed,
            _ => Chains::ByVersion,
        };
        Overrides { log, timestamp, sct, chains }
    }

    fn tell(&self, what: &str) {
        if self.insecure_ignore_tlog == Some(true) && self.private_infrastructure != Some(true) {
            terminal::warn(format!(
                "Skipping tlog verification is an insecure practice that lacks transparency and \
                 auditability verification for the {what}."
            ));
        }
        if self.rekor_url.is_some() {
            terminal::warn(
                "--rekor-url: verification never asks the log, it judges the proof that lies \
                 beside the signature",
            );
        }
        if let Some(at) = self.at {
            terminal::warn(format!(
                "verifying as of {at} (--at), not as of now: for investigations only"
            ));
        }
    }
}

fn authority(path: &Path, cert_chain: String) -> AuthorityObject {
    AuthorityObject { uri: uri(path), cert_chain, ..AuthorityObject::default() }
}

fn uri(path: &Path) -> String {
    format!("file:{}", path.display())
}

fn read(keys: &SigstoreKeys) -> Result<TrustRoot, CliError> {
    TrustRoot::of_keys(keys).map_err(|error| CliError::new(error.to_string()))
}

/// An authority for each certificate in `roots`. Those in `below` may lead there and are trusted
/// for nothing, be one of them a root by its own words.
fn below_roots(roots: &Path, below: Option<&Path>) -> Result<Vec<CertificateAuthority>, CliError> {
    let below = below.map(certificates).transpose()?.unwrap_or_default();
    let authority = |root| {
        let chain = below.iter().cloned().chain([root]).collect();
        CertificateAuthority::new(uri(roots), chain, Validity::default())
            .map_err(|error| CliError::new(error.to_string()))
    };
    certificates(roots)?.into_iter().map(authority).collect()
}

/// The certificates in a file, DER, in their order.
pub(crate) fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, CliError> {
    certificate::pem::read(&pem(path)?, MAX_AUTHORITIES)
        .map_err(|why| CliError::new(format!("{}: {why}", path.display())))
}

/// PEM, or the base64 of PEM, as cosign reads and writes it.
pub(crate) fn pem(path: impl AsRef<Path>) -> Result<String, CliError> {
    let path = path.as_ref();
    let bytes = files::read(path, MAX_PEM)?;
    let none = || CliError::new(format!("{}: no certs found in pem file", path.display()));
    let text = String::from_utf8(bytes).map_err(|_| none())?;
    if text.contains(certificate::pem::BEGIN) {
        return Ok(text);
    }
    let decoded = base64::decode(text.trim()).map_err(|_| none())?;
    String::from_utf8(decoded)
        .ok()
        .filter(|text| text.contains(certificate::pem::BEGIN))
        .ok_or_else(none)
}

fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no time, want something like 2026-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_decides_what_is_asked_for() {
        let overrides = |flags: TrustFlags| flags.overrides();
        let unsaid = Overrides::default();
        assert_eq!(overrides(TrustFlags::default()), unsaid);
        let ignored = TrustFlags { insecure_ignore_tlog: Some(true), ..Default::default() };
        assert_eq!(overrides(ignored).log, Override::Ignored);
        let private = TrustFlags { private_infrastructure: Some(true), ..Default::default() };
        assert_eq!(overrides(private).log, Override::Ignored);
        let required = TrustFlags { insecure_ignore_tlog: Some(false), ..Default::default() };
        assert_eq!(overrides(required).log, Override::Required);
        let chain = Some(PathBuf::from("tsa.pem"));
        let stamped = TrustFlags { timestamp_certificate_chain: chain, ..Default::default() };
        assert_eq!(overrides(stamped), Overrides { timestamp: Override::Required, ..unsaid });
        let sct = TrustFlags { insecure_ignore_sct: Some(true), ..Default::default() };
        assert_eq!(overrides(sct), Overrides { sct: Override::Ignored, ..unsaid });
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let file = || Some(PathBuf::from("f"));
        let all = [
            TrustFlags { certificate_chain: file(), ca_roots: file(), ..Default::default() },
            TrustFlags {
                certificate_chain: file(),
                ca_intermediates: file(),
                ..Default::default()
            },
            TrustFlags { ca_intermediates: file(), ..Default::default() },
            TrustFlags { trusted_root: file(), ca_roots: file(), ..Default::default() },
        ];
        for flags in all {
            assert!(flags.check().is_err(), "{flags:?}");
        }
        assert!(TrustFlags { ca_roots: file(), ..Default::default() }.check().is_ok());
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(moment("2023-11-14T22:13:20Z").unwrap().as_second(), 1_700_000_000);
        assert!(moment("yesterday").is_err());
    }
}
