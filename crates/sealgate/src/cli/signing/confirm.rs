//! What becomes public, said before it does, and the question whether to go on. cosign's words for
//! the public services; for every log what exactly it gets.

use sealgate_sigstore::oidc::Claims;
use sealgate_sigstore::signing_config::Services;

use super::Asked;
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

/// About which logs to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// Every log.
    AllLogs,
    /// Those of Sigstore: the user has named the others in a configuration.
    PublicLogs,
}

/// Says what is published where, and asks unless told not to. Without anybody to answer it is a
/// no.
pub(super) async fn ask(
    asked: &Asked<'_>,
    services: &Services,
    asking: Asking,
    identity: Option<&Claims>,
) -> Outcome {
    let Some(text) = statement(asked, services, identity) else { return Ok(()) };
    terminal::say(text);
    if asked.yes || !is_question(services, asking) {
        return Ok(());
    }
    terminal::confirm("in scripts: --yes").await
}

fn is_question(services: &Services, asking: Asking) -> bool {
    asking == Asking::AllLogs || published_to(services).iter().any(|url| is_public(url))
}

/// Logs of signatures, and a public authority, which logs the certificates that it gives.
fn published_to(services: &Services) -> Vec<&str> {
    let authority = services.fulcio.as_deref().filter(|url| is_public(url));
    services.logs.iter().map(|log| log.url.as_str()).chain(authority).collect()
}

/// None where nothing is published.
fn statement(asked: &Asked<'_>, services: &Services, identity: Option<&Claims>) -> Option<String> {
    let places = published_to(services);
    if places.is_empty() {
        return None;
    }
    let mut lines = Vec::new();
    let public = places.iter().any(|url| is_public(url));
    if public {
        lines.push(STATEMENT.to_owned());
    }
    lines.push(format!("To be published to {}, permanently:", places.join(", ")));
    if let Some(claims) = identity {
        let issuer = claims.connector.as_deref().unwrap_or(&claims.issuer);
        lines.push(format!("  the identity {} ({issuer})", claims.identity()));
    } else {
        lines.push("  the public key, or the certificate that was given with it".to_owned());
    }
    lines.extend(asked.what.iter().map(|what| format!("  the digest and the signature of {what}")));
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

    fn asked(what: &[String]) -> Asked<'_> {
        Asked { key: Some("k"), yes: true, what, ..Asked::default() }
    }

    #[test]
    fn what_becomes_public_is_said_with_where_and_what() {
        let what = ["reg.example/app@sha256:00".to_owned()];
        let text = statement(&asked(&what), &services("https://rekor.sigstore.dev"), None).unwrap();
        assert!(text.contains("Hosted Project Tools Terms of Use"), "{text}");
        assert!(text.contains("https://rekor.sigstore.dev"), "{text}");
        assert!(text.contains("reg.example/app@sha256:00"), "{text}");
        let text = statement(&asked(&what), &services("https://rekor.acme.example"), None).unwrap();
        assert!(!text.contains("LF Projects"), "{text}");
        assert!(statement(&asked(&what), &Services::default(), None).is_none());
    }

    #[test]
    fn a_private_log_of_a_configuration_needs_no_question() {
        let private = services("https://rekor.acme.example");
        assert!(!is_question(&private, Asking::PublicLogs));
        assert!(is_question(&private, Asking::AllLogs));
        assert!(is_question(&services("https://rekor.sigstage.dev"), Asking::PublicLogs));
    }
}
