//! Classification of failed exchanges, and sanitizing of untrusted text for messages.

use sealgate_core::fault::{Fault, FaultKind, cause};

use crate::destination::SpecialAddress;
use crate::limits::is_own_limit;
use crate::resolver::{LookupCause, LookupError};

/// Fault for a failed exchange with `target`; its detail has at most `limit` characters. A limit of
/// this process is not blamed on `target`.
pub fn exchange_fault(target: &str, error: reqwest::Error, limit: usize) -> Fault {
    let error = error.without_url();
    let target = if is_busy(&error) { THIS_PROCESS } else { target };
    let kind = if is_busy(&error) {
        FaultKind::Busy
    } else if is_a::<SpecialAddress>(&error) {
        FaultKind::AddressNotAllowed
    } else if is_a::<rustls::Error>(&error) {
        FaultKind::Tls
    } else if error.is_redirect() {
        FaultKind::Malformed
    } else if error.is_timeout() {
        FaultKind::Timeout
    } else if error.is_builder() {
        FaultKind::Config
    } else {
        FaultKind::Unreachable
    };
    Fault::new(kind, target, error_chain(&error, limit))
}

/// Target of faults that are due to a limit of this process.
const THIS_PROCESS: &str = "this process";

/// Returns whether the error is due to a limit of this process: no descriptor or port is left.
fn is_busy(error: &reqwest::Error) -> bool {
    chain(error).any(|error| {
        let io = error.downcast_ref().is_some_and(is_own_limit);
        let look_up = error.downcast_ref::<LookupError>();
        io || look_up.is_some_and(|error| error.cause == LookupCause::OwnLimit)
    })
}

/// Returns whether the error or one of its causes is an `E`. A `rustls::Error` is an untrusted
/// certificate or a failed handshake.
fn is_a<E: std::error::Error + 'static>(error: &reqwest::Error) -> bool {
    chain(error).any(|error| error.is::<E>())
}

/// The error, and each cause.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| cause(*error))
}

/// Error and its chain of causes on one line of at most `limit` characters.
pub fn error_chain(error: &dyn std::error::Error, limit: usize) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    printable(&text, limit)
}

/// Untrusted text made safe for terminals and logs: one line, at most `limit` characters, with
/// control, bidirectional and invisible characters replaced by spaces.
pub fn printable(text: &str, limit: usize) -> String {
    let clean = |c: char| if is_unsafe(c) { ' ' } else { c };
    let mut short: String = text.chars().take(limit).map(clean).collect();
    if text.chars().nth(limit).is_some() {
        short.push('…');
    }
    short
}

/// Control characters, line separators, and format characters (Unicode category Cf) that can make a
/// text look like another one.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reqwest::dns::{Name, Resolve, Resolving};

    use super::*;

    struct NoDescriptor(i32);

    impl Resolve for NoDescriptor {
        fn resolve(&self, _: Name) -> Resolving {
            let error = std::io::Error::from_raw_os_error(self.0);
            Box::pin(async { Err(error.into()) })
        }
    }

    #[tokio::test]
    async fn a_limit_of_this_process_is_not_blamed_on_the_registry() {
        let fault = async |errno: rustix::io::Errno| {
            let names = Arc::new(NoDescriptor(errno.raw_os_error()));
            let client = reqwest::Client::builder()
                .tls_backend_preconfigured(crate::tls::config(TLS).unwrap())
                .dns_resolver(names)
                .no_proxy()
                .build();
            let sent = client.unwrap().get("http://reg.test/").send().await;
            exchange_fault("reg.test", sent.unwrap_err(), 99)
        };
        for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE] {
            let fault = fault(errno).await;
            assert_eq!((fault.kind, fault.target.as_str()), (FaultKind::Busy, "this process"));
        }
        let fault = fault(rustix::io::Errno::CONNREFUSED).await;
        assert_eq!((fault.kind, fault.target.as_str()), (FaultKind::Unreachable, "reg.test"));
    }

    const TLS: crate::tls::Settings<'static> = crate::tls::Settings {
        roots: &crate::TlsRoots::System,
        identity: None,
        server_name: None,
        peer: "registry",
    };

    #[test]
    fn control_and_bidi_characters_are_replaced() {
        assert_eq!(printable("a\u{1b}[2J\nb\u{9b}c", 99), "a [2J b c");
        assert_eq!(printable("x\u{202e}gpj.exe\u{2028}y\u{200b}z", 99), "x gpj.exe y z");
        assert_eq!(printable("grüße, 世界 🙂", 99), "grüße, 世界 🙂");
        assert_eq!(printable("abc", 2), "ab…");
    }
}
