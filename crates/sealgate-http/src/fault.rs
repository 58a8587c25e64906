//! What a broken exchange is called, and a stranger's words in messages.

use sealgate_core::fault::{Fault, FaultKind, cause};

/// The fault behind a failed exchange with `target`, told in at most `limit` characters.
pub fn broken(target: &str, error: reqwest::Error, limit: usize) -> Fault {
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
    Fault::new(kind, target, chain(&error, limit))
}

/// Whether TLS was in the way: a certificate that is not believed, a handshake that failed.
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

/// An error and what caused it, in one line of at most `limit` characters.
pub fn chain(error: &dyn std::error::Error, limit: usize) -> String {
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

/// Text of a stranger for a terminal and a log: short, on one line, no control characters, none
/// that turn the direction of what follows, none that nobody sees.
pub fn printable(text: &str, limit: usize) -> String {
    let clean = |c: char| if steers(c) { ' ' } else { c };
    let mut short: String = text.chars().take(limit).map(clean).collect();
    if text.chars().nth(limit).is_some() {
        short.push('…');
    }
    short
}

/// Control characters, line separators, and those that are there to format (Unicode's Cf) and can
/// make a text look like another one.
fn steers(c: char) -> bool {
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
    fn strangers_steer_nothing() {
        assert_eq!(printable("a\u{1b}[2J\nb\u{9b}c", 99), "a [2J b c");
        assert_eq!(printable("x\u{202e}gpj.exe\u{2028}y\u{200b}z", 99), "x gpj.exe y z");
        assert_eq!(printable("grüße, 世界 🙂", 99), "grüße, 世界 🙂");
        assert_eq!(printable("abc", 2), "ab…");
    }
}
