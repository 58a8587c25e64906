//! The statement of what will be published, and the confirmation of the user. In cosign's words for
//! the public services; for every log with the data that it gets.

use sealgate_sigstore::oidc::Claims;
use sealgate_sigstore::signing_config::Services;

use super::plan::Confirm;
use super::services::is_public;
use crate::failure::Outcome;
use crate::terminal;

/// cosign's statement about the public services.
const STATEMENT: &str = "
\tThe sigstore service, hosted by sigstore a Series of LF Projects, LLC, is provided pursuant to the Hosted Project Tools Terms of Use, available at https://lfprojects.org/policies/hosted-project-tools-terms-of-use/.
\tNote that if your submission includes personal data associated with this signed artifact, it will be part of an immutable record.
\tThis may include the email address associated with the account with which you authenticate your contractual Agreement.
\tThis information will be used for signing this artifact and will be stored in public transparency logs and cannot be removed later, and is subject to the Immutable Record notice at https://lfprojects.org/policies/hosted-project-tools-immutable-records/.
";

const CONFIRMATION: &str = "By typing 'y', you attest that (1) you are not submitting the personal data of any other person; and (2) you understand and agree to the statement and the Agreement terms at the URLs listed above.";

/// Prints what will be published where, and asks for confirmation where `confirm` requires it.
/// Without a terminal the answer is no.
pub(super) async fn ask(
    confirm: Confirm,
    artifacts: &[String],
    services: &Services,
    identity: Option<&Claims>,
) -> Outcome {
    let Some(text) = statement(artifacts, services, identity) else { return Ok(()) };
    terminal::say(text);
    match is_required(confirm, services) {
        true => terminal::confirm("in scripts: --yes").await,
        false => Ok(()),
    }
}

fn is_required(confirm: Confirm, services: &Services) -> bool {
    match confirm {
        Confirm::Nothing => false,
        Confirm::PublicLogs => published_to(services).iter().any(|url| is_public(url)),
        Confirm::AllLogs => true,
    }
}

/// The transparency logs, and a public certificate authority, which logs its certificates.
fn published_to(services: &Services) -> Vec<&str> {
    let authority = services.fulcio.as_deref().filter(|url| is_public(url));
    services.logs.iter().map(|log| log.url.as_str()).chain(authority).collect()
}

/// The text; none where nothing is published.
fn statement(
    artifacts: &[String],
    services: &Services,
    identity: Option<&Claims>,
) -> Option<String> {
    let logs = published_to(services);
    if logs.is_empty() {
        return None;
    }
    let mut lines = Vec::new();
    let public = logs.iter().any(|url| is_public(url));
    if public {
        lines.push(STATEMENT.to_owned());
    }
    lines.push(format!("To be published to {}, permanently:", logs.join(", ")));
    if let Some(claims) = identity {
        let issuer = claims.connector.as_deref().unwrap_or(&claims.issuer);
        lines.push(format!("  the identity {} ({issuer})", claims.identity()));
    } else {
        lines.push("  the public key, or the certificate that was given with it".to_owned());
    }
    lines.extend(artifacts.iter().map(|name| format!("  the digest and the signature of {name}")));
    if public {
        lines.push(CONFIRMATION.to_owned());
    }
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use sealgate_sigstore::signing_config::{LogService, RekorVersion};

    use super::*;

    fn services(log: &str) -> Services {
        let logs = vec![LogService { url: log.to_owned(), version: RekorVersion::V1 }];
        Services { logs, ..Services::default() }
    }

    #[test]
    fn the_statement_names_the_log_and_the_artifacts() {
        let artifacts = ["reg.example/app@sha256:00".to_owned()];
        let text = statement(&artifacts, &services("https://rekor.sigstore.dev"), None).unwrap();
        assert!(text.contains("Hosted Project Tools Terms of Use"), "{text}");
        assert!(text.contains("https://rekor.sigstore.dev"), "{text}");
        assert!(text.contains("reg.example/app@sha256:00"), "{text}");
        let text = statement(&artifacts, &services("https://rekor.acme.example"), None).unwrap();
        assert!(!text.contains("LF Projects"), "{text}");
        assert!(statement(&artifacts, &Services::default(), None).is_none());
    }

    #[test]
    fn a_private_log_of_a_configuration_needs_no_confirmation() {
        let private = services("https://rekor.acme.example");
        assert!(!is_required(Confirm::PublicLogs, &private));
        assert!(is_required(Confirm::AllLogs, &private));
        let public = services("https://rekor.sigstage.dev");
        assert!(is_required(Confirm::PublicLogs, &public));
        assert!(!is_required(Confirm::Nothing, &public));
    }
}
