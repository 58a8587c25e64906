//! Regular expressions as Go reads them (RE2), so that a policy means the same here as with
//! cosign and policy-controller.
//!
//! The `regex` crate has the same linear-time semantics; [`super::go_syntax`] translates the
//! syntax. Syntax that only one of both supports is refused.

use std::fmt;

use regex::{Regex, RegexBuilder};

use super::go_syntax;

/// The maximum length of an expression in bytes.
pub const MAX_PATTERN: usize = 4096;
/// The maximum size of a compiled expression in bytes.
const MAX_COMPILED: usize = 4 << 20;
const MAX_NESTING: u32 = 50;

/// A compiled expression.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
    anchored: bool,
}

/// Reason why a text is not accepted as an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct InvalidPattern(pub(super) String);

impl Pattern {
    /// Compiles an expression in Go's syntax.
    pub fn new(source: &str) -> Result<Self, InvalidPattern> {
        if source.len() > MAX_PATTERN {
            return Err(InvalidPattern(format!("longer than {MAX_PATTERN} bytes")));
        }
        let translated = go_syntax::translated(source)?;
        let regex = RegexBuilder::new(&translated)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .nest_limit(MAX_NESTING)
            .build()
            .map_err(|error| InvalidPattern(last_line(&error.to_string())))?;
        let anchored = is_anchored(&translated);
        Ok(Self { source: source.to_owned(), regex, anchored })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// True if it matches anywhere in `text`.
    pub fn is_found_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// True if every match spans the whole text.
    pub fn is_anchored(&self) -> bool {
        self.anchored
    }
}

/// The last line of the error, without the excerpt above it.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ").to_owned()
}

fn is_anchored(translated: &str) -> bool {
    use regex_syntax::hir::Look;
    let Ok(hir) = regex_syntax::parse(translated) else { return false };
    let properties = hir.properties();
    properties.look_set_prefix().contains(Look::Start)
        && properties.look_set_suffix().contains(Look::End)
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}
