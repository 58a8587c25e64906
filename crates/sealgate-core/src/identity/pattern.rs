//! Regular expressions as Go reads them (RE2), so that a policy means the same here as with
//! cosign and policy-controller.
//!
//! The `regex` crate has the same linear-time semantics; [`super::go_syntax`] translates the
//! syntax. Syntax that only one of both supports is refused.
//!
//! Two steps: [`Expression::parse`] checks the syntax and estimates the cost, [`Expression::compile`]
//! spends it. Between them a caller that has many expressions can refuse them all.

use std::fmt;

use regex::{Regex, RegexBuilder};
use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::hir::Hir;
use regex_syntax::hir::translate::Translator;

use super::{cost, go_syntax};

/// The maximum length of an expression in bytes.
pub const MAX_PATTERN: usize = 4096;
/// The maximum cost of an expression, see [`Expression::cost`].
pub const MAX_PATTERN_COST: u64 = 256 * 1024;
/// The maximum size of a compiled expression in bytes, in each of the forms that the `regex` crate
/// keeps; no expression within [`MAX_PATTERN_COST`] is known to reach it.
const MAX_COMPILED: usize = 1 << 20;
/// The maximum size of the states that a match keeps for the following ones, in bytes.
const MAX_MATCH_CACHE: usize = 1 << 20;
const MAX_NESTING: u32 = 50;

/// An expression whose syntax is valid and whose cost is bounded, not compiled yet.
#[derive(Clone, Debug)]
pub struct Expression {
    source: String,
    translated: String,
    anchored: bool,
    cost: u64,
}

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

impl Expression {
    /// Parses an expression in Go's syntax.
    ///
    /// # Errors
    /// Invalid syntax, or a cost above [`MAX_PATTERN_COST`].
    pub fn parse(source: &str) -> Result<Self, InvalidPattern> {
        if source.len() > MAX_PATTERN {
            return Err(InvalidPattern(format!("longer than {MAX_PATTERN} bytes")));
        }
        let translated = go_syntax::translated(source)?;
        let ast = ParserBuilder::new().nest_limit(MAX_NESTING).build().parse(&translated);
        let ast = ast.map_err(|error| invalid(&regex_syntax::Error::from(error)))?;
        let cost = cost::of(&ast);
        if cost > MAX_PATTERN_COST {
            return Err(too_large());
        }
        let hir = Translator::new().translate(&translated, &ast);
        let hir = hir.map_err(|error| invalid(&regex_syntax::Error::from(error)))?;
        let anchored = is_anchored(&hir);
        Ok(Self { source: source.to_owned(), translated, anchored, cost })
    }

    /// An estimate of the size of the compiled expression, in bytes; the time of compilation is
    /// proportional to it.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Compiles the expression.
    ///
    /// # Errors
    /// The compiled expression is too large.
    pub fn compile(self) -> Result<Pattern, InvalidPattern> {
        let regex = RegexBuilder::new(&self.translated)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_MATCH_CACHE)
            .nest_limit(MAX_NESTING)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => too_large(),
                error => invalid(&error),
            })?;
        Ok(Pattern { source: self.source, regex, anchored: self.anchored })
    }
}

impl Pattern {
    /// Parses and compiles an expression in Go's syntax.
    ///
    /// # Errors
    /// See [`Expression::parse`] and [`Expression::compile`].
    pub fn new(source: &str) -> Result<Self, InvalidPattern> {
        Expression::parse(source)?.compile()
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

fn too_large() -> InvalidPattern {
    InvalidPattern(format!(
        "expression too large: compiled, it takes more than {} KiB",
        MAX_PATTERN_COST / 1024
    ))
}

/// The last line of the error, without the excerpt above it.
fn invalid(error: &dyn fmt::Display) -> InvalidPattern {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or(&text);
    InvalidPattern(last.trim_start_matches("error: ").to_owned())
}

fn is_anchored(hir: &Hir) -> bool {
    use regex_syntax::hir::Look;
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
