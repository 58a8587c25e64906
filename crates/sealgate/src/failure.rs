//! How a command ends when it does not end well: cosign's line first, then what was found and what
//! to do, cosign's closing line last, and an exit code.

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
    /// Anything that has no code of its own; a registry that could not be asked is among it.
    pub(crate) const FAILED: u8 = 1;
    /// `verify`: there is no signature.
    pub(crate) const NO_SIGNATURES: u8 = 10;
    /// `verify`: there is no such image.
    pub(crate) const NOT_FOUND: u8 = 11;
    /// `verify`: there are signatures, but none valid.
    pub(crate) const NO_MATCH: u8 = 12;
    /// `replay`: a decision differs from the recorded one.
    pub(crate) const DIFFERENT: u8 = 14;
}

/// A command's failure, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CliError {
    /// cosign's line where it has one.
    pub(crate) message: String,
    /// What was found, and what to do; a line each, indented by the renderer.
    pub(crate) notes: Vec<String>,
    /// The exit code.
    pub(crate) code: u8,
    /// Whether the `Error:` block was printed already (one for each image of a list).
    pub(crate) shown: bool,
}

/// What every command returns.
pub(crate) type Outcome = Result<(), CliError>;

impl CliError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), notes: Vec::new(), code: exit::FAILED, shown: false }
    }

    /// A flag or value that this version cannot honour: refused, never ignored.
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

    /// Says in which step it happened, before the message: `signing: …`.
    pub(crate) fn during(mut self, step: &str) -> Self {
        self.message = format!("{step}: {}", self.message);
        self
    }

    /// A text that was to be a reference; of a long one the beginning.
    pub(crate) fn no_reference(text: &str, why: &InvalidReference) -> Self {
        let shown: String = text.chars().take(300).collect();
        let error = Self::new(format!("parsing reference: could not parse reference: {shown}"));
        if text.trim().is_empty() {
            return error.note("the image is empty: is a variable of the shell not set?");
        }
        match why {
            InvalidReference::Malformed(_) => error,
            InvalidReference::Digest(_) => error.note("invalid digest after @"),
            other => error.note(other.to_string()),
        }
    }

    /// The `Error:` block.
    pub(crate) fn block(&self) -> String {
        let mut text = format!("Error: {}\n", self.message);
        for line in self.notes.iter().flat_map(|note| note.lines()) {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    /// Everything for standard error.
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
                    .note(format!("it holds {found}"))
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

/// What a person can do about a fault.
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
                "log in with `sealgate login {server}`, or give --registry-username and \
                 --registry-password"
            ));
        }
        FaultKind::Denied => "ask the registry's owner for the right to do this",
        FaultKind::Throttled => "wait, or log in: most registries allow more to known users",
        FaultKind::Tls => {
            "check the registry's certificate; for a registry with its own CA give \
             --registry-cacert FILE"
        }
        FaultKind::Timeout => MORE_TIME,
        FaultKind::Unreachable => "check the registry's name, the network and the proxy settings",
        _ => return None,
    };
    Some(text.to_owned())
}

/// For whoever is no registry: a timestamp authority, a log, an issuer of certificates, an API
/// server. Why one refuses, it says itself.
fn service_remedy(kind: FaultKind) -> Option<&'static str> {
    match kind {
        FaultKind::Throttled => Some("wait, and try again"),
        FaultKind::Tls => Some(
            "check the service's certificate; for a timestamp authority with its own CA give \
             --timestamp-client-cacert FILE",
        ),
        FaultKind::Timeout => Some(MORE_TIME),
        FaultKind::Unreachable => {
            Some("check the service's address, the network and the proxy settings")
        }
        _ => None,
    }
}

const MORE_TIME: &str = "try again, or allow more time with --timeout 10m";

/// The registry's part of a target, if it is one: `HOST[:PORT]`, with a note in parentheses for a
/// token endpoint or a redirect. Services are named by their URLs.
fn registry(target: &str) -> Option<&str> {
    let server = target.split(" (").next()?;
    let repository = Repository::parse(&format!("{server}/x")).ok()?;
    (repository.registry() == server).then_some(server)
}

/// The registry that a refusal comes from, where it is one whose credentials were asked for: not
/// one that a redirect leads to.
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
    fn a_login_is_advised_at_a_registry_that_asked_for_it() {
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
