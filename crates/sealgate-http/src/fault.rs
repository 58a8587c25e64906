//! Classification of failed exchanges, and sanitizing of untrusted text for messages.

use sealgate_core::fault::{Fault, FaultKind, cause};

/// Fault for a failed exchange with `target`; its detail has at most `limit` characters.
pub fn exchange_fault(target: &str, error: reqwest::Error, limit: usize) -> Fault {
    let error = error.without_url();
    let kind = if is_tls(&error) {
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

/// Returns whether the error came from TLS: an untrusted certificate or a failed handshake.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return true;
        }
        next = cause(error);
    }
    false
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
    use super::*;

    #[test]
    fn control_and_bidi_characters_are_replaced() {
        assert_eq!(printable("a\u{1b}[2J\nb\u{9b}c", 99), "a [2J b c");
        assert_eq!(printable("x\u{202e}gpj.exe\u{2028}y\u{200b}z", 99), "x gpj.exe y z");
        assert_eq!(printable("grüße, 世界 🙂", 99), "grüße, 世界 🙂");
        assert_eq!(printable("abc", 2), "ab…");
    }
}
