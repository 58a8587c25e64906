//! The addresses of the services: of the flags, or of a signing configuration that is read here.

use jiff::Timestamp;
use sealgate_sigstore::root::{RootOrigin, current_signing_config};
use sealgate_sigstore::signing_config::{MAX_SIGNING_CONFIG, Services, SignWith, SigningConfig};

use super::plan::{ServiceSource, SigningPlan};
use crate::cli::files;
use crate::failure::CliError;
use crate::terminal;

/// The services of `plan`, from the source that it names.
pub(super) async fn load(plan: &SigningPlan, now: Timestamp) -> Result<Services, CliError> {
    let with = plan.signer.sign_with();
    match &plan.services {
        ServiceSource::Nothing => Ok(Services::default()),
        ServiceSource::Flags(services) => Ok(services.clone()),
        ServiceSource::File(path) => {
            let json = files::read(path, MAX_SIGNING_CONFIG as u64)?;
            chosen(&json, &path.display().to_string(), now, with)
        }
        ServiceSource::Default => {
            let found = current_signing_config(&plan.access.root_options(), now).await;
            let found = found.map_err(|error| {
                CliError::new(format!("error getting signing config from TUF: {error}"))
            })?;
            if !matches!(found.origin, RootOrigin::Embedded { .. }) {
                found.warnings.iter().for_each(|warning| terminal::warn(warning.to_string()));
            }
            chosen(&found.json, &found.origin.to_string(), now, with)
        }
    }
}

/// The services that a signing configuration names for this moment.
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

/// True if `url` is that of one of Sigstore's public services.
pub(super) fn is_public(url: &str) -> bool {
    // The client's own reading decides: `https:rekor.sigstore.dev` leads there, too.
    let with_scheme = |_| reqwest::Url::parse(&format!("https://{url}"));
    let Ok(url) = reqwest::Url::parse(url).or_else(with_scheme) else { return false };
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    [".sigstore.dev", ".sigstage.dev"].iter().any(|domain| host.ends_with(domain))
}

/// True if requests to `url` leave this machine without encryption.
pub(super) fn is_unguarded(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let here = ["localhost", "127.0.0.1", "[::1]"];
    url.scheme() == "http" && !url.host_str().is_some_and(|host| here.contains(&host))
}

/// True if any service is a public one.
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
