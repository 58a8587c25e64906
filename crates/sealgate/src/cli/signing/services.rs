//! Which services are asked: none with a plain key, those of a signing configuration, or those that
//! flags name. A private set-up never ends at a public service: where one service is private, the
//! others are not filled in with public ones.

use jiff::Timestamp;
use sealgate_sigstore::oidc::PUBLIC_ISSUER;
use sealgate_sigstore::root::{Origin, current_signing_config};
use sealgate_sigstore::signing_config::{
    LogService, MAX_SIGNING_CONFIG, RekorVersion, Services, SignWith, SigningConfig,
};

use super::SigningServices;
use crate::cli::files;
use crate::failure::CliError;
use crate::terminal;

const PUBLIC_FULCIO: &str = "https://fulcio.sigstore.dev";
const PUBLIC_REKOR: &str = "https://rekor.sigstore.dev";

/// Where addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Nowhere: no service is asked.
    Nothing,
    /// `--signing-config`.
    File,
    /// TUF's signing configuration, or the one built in.
    Default,
    /// Flags.
    Flags,
}

impl SigningServices {
    /// The services of this signature.
    pub(super) async fn services(
        &self,
        key: Option<&str>,
        now: Timestamp,
    ) -> Result<Services, CliError> {
        let with = self.sign_with(key);
        let services = self.of_source(self.source(with)?, now, with).await?;
        if self.tlog_upload == Some(false) && !services.logs.is_empty() {
            return Err(CliError::new(
                "--tlog-upload=false is not supported with --signing-config or \
                 --use-signing-config. Provide a signing config with --signing-config without a \
                 transparency log service",
            )
            .note("`sealgate signing-config create` writes one"));
        }
        Ok(services)
    }

    async fn of_source(
        &self,
        source: Source,
        now: Timestamp,
        with: SignWith,
    ) -> Result<Services, CliError> {
        match source {
            Source::Nothing => Ok(Services::default()),
            Source::Flags => self.named(with),
            Source::File => {
                let Some(path) = &self.signing_config else { return Ok(Services::default()) };
                let json = files::read(path, MAX_SIGNING_CONFIG as u64)?;
                let name = path.display().to_string();
                chosen(&json, &name, now, with)
            }
            Source::Default => {
                let found = current_signing_config(&self.root_options(), now).await;
                let found = found.map_err(|error| {
                    CliError::new(format!("error getting signing config from TUF: {error}"))
                })?;
                if !matches!(found.origin, Origin::Embedded { .. }) {
                    found.warnings.iter().for_each(|warning| terminal::warn(warning.to_string()));
                }
                chosen(&found.json, &found.origin.to_string(), now, with)
            }
        }
    }

    /// cosign's rules for what does not go together, and for what decides.
    pub(super) fn source(&self, with: SignWith) -> Result<Source, CliError> {
        let configured = self.signing_config.is_some() || self.use_signing_config == Some(true);
        if configured && self.names_urls() {
            return Err(CliError::new("cannot specify service URLs and use signing config"));
        }
        Ok(match (self.signing_config.is_some(), with) {
            (true, _) => Source::File,
            _ if self.use_signing_config == Some(true) => Source::Default,
            _ if self.names_urls() || self.use_signing_config == Some(false) => Source::Flags,
            (_, SignWith::Identity) if self.tlog_upload == Some(false) => Source::Flags,
            (_, SignWith::Identity) => Source::Default,
            (_, SignWith::Key) if self.tlog_upload == Some(true) => Source::Default,
            (_, SignWith::Key) => Source::Nothing,
        })
    }

    /// Whether a flag names a service that is not cosign's default.
    fn names_urls(&self) -> bool {
        let differs = |given: &Option<String>, default: &str| {
            given.as_deref().is_some_and(|url| !url.is_empty() && url != default)
        };
        differs(&self.rekor_url, PUBLIC_REKOR)
            || differs(&self.fulcio_url, PUBLIC_FULCIO)
            || differs(&self.oidc_issuer, PUBLIC_ISSUER)
            || self.timestamp_server_url.as_deref().is_some_and(|url| !url.is_empty())
    }

    fn named(&self, with: SignWith) -> Result<Services, CliError> {
        let given = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
        let (fulcio, rekor) = (given(&self.fulcio_url), given(&self.rekor_url));
        let issuer = given(&self.oidc_issuer);
        let private = [&fulcio, &rekor, &issuer, &given(&self.timestamp_server_url)]
            .into_iter()
            .flatten()
            .any(|url| !is_public(url));
        let certifies = with == SignWith::Identity;
        let default = |url: &str, flag: &str, also: &str| match private {
            false => Ok(url.to_owned()),
            true => Err(CliError::new(format!("{flag} is not given"))
                .note("other services of this signature are private, so no public one is used")
                .note(format!("give {flag} URL{also}"))),
        };
        let fulcio = match (certifies, fulcio) {
            (false, _) => None,
            (true, Some(url)) => Some(url),
            (true, None) => Some(default(PUBLIC_FULCIO, "--fulcio-url", ", or sign with --key")?),
        };
        let wanted = self.tlog_upload == Some(true) || certifies;
        let log = match (self.tlog_upload, rekor) {
            (Some(false), _) => None,
            (_, Some(url)) => Some(url),
            (_, None) if wanted => {
                Some(default(PUBLIC_REKOR, "--rekor-url", ", or --tlog-upload=false for no log")?)
            }
            (_, None) => None,
        };
        // Needed for a login only, and there is a question of its own.
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
}

fn chosen(json: &[u8], name: &str, now: Timestamp, with: SignWith) -> Result<Services, CliError> {
    let unusable = |error: &dyn std::fmt::Display| {
        CliError::new(format!("error reading signing config from file: {error}"))
            .note(format!("in {name}"))
    };
    let config = SigningConfig::parse(json).map_err(|error| unusable(&error))?;
    config
        .services(now, with)
        .map_err(|error| CliError::new(error.to_string()).note(format!("in {name}")))
}

/// Whether it is one of Sigstore's public services.
pub(super) fn is_public(url: &str) -> bool {
    // The client's own reading decides: `https:rekor.sigstore.dev` leads there, too.
    let with_scheme = |_| reqwest::Url::parse(&format!("https://{url}"));
    let Ok(url) = reqwest::Url::parse(url).or_else(with_scheme) else { return false };
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    [".sigstore.dev", ".sigstage.dev"].iter().any(|domain| host.ends_with(domain))
}

/// Whether what is sent there can be read on its way.
pub(super) fn is_unguarded(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let here = ["localhost", "127.0.0.1", "[::1]"];
    url.scheme() == "http" && !url.host_str().is_some_and(|host| here.contains(&host))
}

/// Whether any of them is.
pub(super) fn any_public(services: &Services) -> bool {
    let logs = services.logs.iter().map(|log| &log.url);
    services.fulcio.iter().chain(logs).chain(&services.timestamps).any(|url| is_public(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_gets_tokens_without_encryption() {
        for (url, unguarded) in [
            ("http://fulcio.example", true),
            ("HTTP://localhost.example:80/x", true),
            ("http://localhost:5555", false),
            ("http://[::1]:5555", false),
            ("https://fulcio.example", false),
        ] {
            assert_eq!(is_unguarded(url), unguarded, "{url}");
        }
    }
}
