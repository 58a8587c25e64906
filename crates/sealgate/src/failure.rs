//! Failures of commands: cosign's line first, then findings and remedies, cosign's closing line
//! last, and an exit code.

use std::fmt::Write as _;

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::{InvalidReference, Repository};
use sealgate_engine::failure::Failure;
use sealgate_engine::sign::SignFailure;
use sealgate_keys::KeyError;

use crate::cli::files;
use crate::output::verification::MISSING_REMEDY;

/// Exit codes, as cosign's (`docs/reference/exit-codes.md`).
pub(crate) mod exit {
    /// Any failure without a code of its own, such as a registry that could not be read.
    pub(crate) const FAILED: u8 = 1;
    /// `verify`: no signature was found.
    pub(crate) const NO_SIGNATURES: u8 = 10;
    /// `verify`: the image does not exist.
    pub(crate) const NOT_FOUND: u8 = 11;
    /// `verify`: signatures were found, but none is valid.
    pub(crate) const NO_MATCH: u8 = 12;
    /// `replay`: a decision differs from the recorded one.
    pub(crate) const DIFFERENT: u8 = 14;
}

/// The failure of a command, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CliError {
    /// The message; cosign's, if it has one.
    pub(crate) message: String,
    /// Findings and remedies; a line each, indented when rendered.
    pub(crate) notes: Vec<String>,
    /// The exit code.
    pub(crate) code: u8,
    /// Set if the `Error:` block was printed already (one for each image of a list).
    pub(crate) shown: bool,
}

/// The result of every command.
pub(crate) type Outcome = Result<(), CliError>;

impl CliError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), notes: Vec::new(), code: exit::FAILED, shown: false }
    }

    /// An error for a flag or value that this version does not support: rejected, never ignored.
    pub(crate) fn unsupported(what: &str, why: &str) -> Self {
        Self::new(format!("{what} is not supported in this version of sealgate"))
            .note(why.to_owned())
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Prepends the step to the message: `signing: …`.
    pub(crate) fn during(mut self, step: &str) -> Self {
        self.message = format!("{step}: {}", self.message);
        self
    }

    /// An error for a text that is not a reference; a long text is truncated.
    pub(crate) fn no_reference(text: &str, why: &InvalidReference) -> Self {
        let shown: String = text.chars().take(300).collect();
        let error = Self::new(format!("parsing reference: could not parse reference: {shown}"));
        if text.trim().is_empty() {
            return error.note("the image name is empty; check for an unset shell variable");
        }
        match why {
            InvalidReference::Malformed(_) => error,
            InvalidReference::Digest(_) => error.note("invalid digest after @"),
            other => error.note(other.to_string()),
        }
    }

    /// Formats the `Error:` block.
    pub(crate) fn block(&self) -> String {
        let mut text = format!("Error: {}\n", self.message);
        for line in self.notes.iter().flat_map(|note| note.lines()) {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    /// Formats the whole text for standard error.
    pub(crate) fn render(&self) -> String {
        let block = if self.shown { String::new() } else { self.block() };
        format!("{block}error during command execution: {}\n", self.message)
    }
}

impl From<Fault> for CliError {
    fn from(fault: Fault) -> Self {
        let error = Self::new(fault.to_string());
        match remedy(&fault) {
            Some(remedy) => error.note(remedy),
            None => error,
        }
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Fault(fault) => fault.into(),
            Failure::NotFound(_) => {
                Self::new(failure.to_string()).code(exit::NOT_FOUND).note(MISSING_REMEDY)
            }
            Failure::Occupied { at, found } => {
                Self::new(format!("image \"{at}\" already exists. Use `-f` to overwrite"))
                    .note(format!("it contains {found}"))
            }
            Failure::Rejected(reason) => {
                Self::new(format!("{reason} [{}]", reason.code())).note(reason.remedy())
            }
            other => Self::new(other.to_string()),
        }
    }
}

impl From<SignFailure> for CliError {
    fn from(failure: SignFailure) -> Self {
        match failure {
            SignFailure::Failed(failure) => failure.into(),
            unfinished @ SignFailure::Unfinished(_) => Self::new(unfinished.to_string()),
        }
    }
}

impl From<KeyError> for CliError {
    fn from(error: KeyError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<InvalidReference> for CliError {
    fn from(error: InvalidReference) -> Self {
        Self::new(format!("parsing reference: {error}"))
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::new(files::reason(&error))
    }
}

/// Returns the remedy for a fault.
pub(crate) fn remedy(fault: &Fault) -> Option<String> {
    match registry(&fault.target) {
        Some(_) => registry_remedy(fault),
        None => service_remedy(fault.kind).map(str::to_owned),
    }
}

fn registry_remedy(fault: &Fault) -> Option<String> {
    let text = match fault.kind {
        FaultKind::Unauthorized => {
            let server = login_server(&fault.target)?;
            return Some(format!(
                "log in with `sealgate login {server}`, or use --registry-username and \
                 --registry-password"
            ));
        }
        FaultKind::Denied => "ask the registry's owner for permission",
        FaultKind::Throttled => {
            "wait, or log in: most registries have higher rate limits for authenticated users"
        }
        FaultKind::Tls => {
            "check the registry's certificate; for a registry with its own CA, use \
             --registry-cacert FILE"
        }
        FaultKind::Timeout => MORE_TIME,
        FaultKind::Unreachable => "check the registry's name, the network and the proxy settings",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Returns the remedy for a fault of another service: a timestamp authority, a log, a certificate
/// authority, an API server. Its own message says why it denied a request.
fn service_remedy(kind: FaultKind) -> Option<&'static str> {
    match kind {
        FaultKind::Throttled => Some("wait, and try again"),
        FaultKind::Tls => Some(
            "check the service's certificate; for a timestamp authority with its own CA, use \
             --timestamp-client-cacert FILE",
        ),
        FaultKind::Timeout => Some(MORE_TIME),
        FaultKind::Unreachable => {
            Some("check the service's address, the network and the proxy settings")
        }
        _ => None,
    }
}

const MORE_TIME: &str = "try again, or increase the limit, for example --timeout 10m";

/// Returns the registry of a target, if it is one: `HOST[:PORT]`, with a note in parentheses for a
/// token endpoint or a redirect. Services are named by their URLs.
fn registry(target: &str) -> Option<&str> {
    let server = target.split(" (").next()?;
    let repository = Repository::parse(&format!("{server}/x")).ok()?;
    (repository.registry() == server).then_some(server)
}

/// Returns the registry that requires authentication, unless a redirect leads to it.
fn login_server(target: &str) -> Option<&str> {
    let asked = target.split(" (token endpoint ").next()?;
    registry(asked).filter(|server| *server == asked)
}

#[cfg(test)]
mod tests {
    use sealgate_testkit::remedy::weakens;

    use super::*;

    #[test]
    fn no_remedy_of_a_fault_weakens() {
        let targets = ["registry.test", "https://rekor.test/", "cluster", "signed.yaml"];
        for (kind, target) in FaultKind::ALL.iter().flat_map(|kind| targets.map(|at| (*kind, at))) {
            if let Some(remedy) = remedy(&Fault::new(kind, target, "detail")) {
                assert_eq!(weakens(&remedy), None, "{}: {remedy}", kind.code());
            }
        }
    }

    #[test]
    fn a_login_is_suggested_for_a_registry_that_requires_it() {
        let advice = |target: &str| remedy(&Fault::new(FaultKind::Unauthorized, target, "401"));
        for target in ["reg.io:5000", "reg.io:5000 (token endpoint auth.io)"] {
            let advice = advice(target).unwrap();
            assert!(advice.contains("`sealgate login reg.io:5000`"), "{advice}");
        }
        for target in ["storage.io (redirected from reg.io)", "https://fulcio.io/", "cluster"] {
            assert_eq!(advice(target), None, "{target}");
        }
    }

    #[test]
    fn only_registries_have_the_remedies_of_registries() {
        let advice = |kind: &FaultKind, target: &str| remedy(&Fault::new(*kind, target, "detail"));
        for kind in FaultKind::ALL {
            for target in ["https://tsa.test/api/v1/timestamp", "http://127.0.0.1:1/", "cluster"] {
                let advice = advice(kind, target).unwrap_or_default();
                assert!(!advice.contains("registr"), "{}: {advice}", kind.code());
            }
        }
        for kind in [FaultKind::Denied, FaultKind::Tls, FaultKind::Unreachable] {
            for target in ["reg.io", "[::1]:5000", "storage.io (redirected from reg.io)"] {
                let advice = advice(&kind, target).unwrap_or_default();
                assert!(advice.contains("the registry's "), "{target}: {advice}");
            }
        }
    }

    #[test]
    fn cosigns_line_comes_first_and_last() {
        let error = CliError::new("no signatures found").note("looked at\nthe tag").code(10);
        assert_eq!(
            error.render(),
            "Error: no signatures found\n  looked at\n  the tag\n\
             error during command execution: no signatures found\n"
        );
    }

    #[test]
    fn a_block_is_shown_once() {
        let error = CliError { shown: true, ..CliError::new("x") };
        assert_eq!(error.render(), "error during command execution: x\n");
    }
}
