//! Regular expressions as Go reads them (RE2), so that a policy means the same here as with
//! cosign and policy-controller.
//!
//! The `regex` crate has the same linear-time semantics; the differences of its syntax are
//! translated: `\d`, `\s`, `\w` and `\b` know ASCII only, `[`, `&&`, `--` and `~~` in a class are
//! plain characters, `\<` and `\>` are plain characters. What only one of both knows is refused.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// The longest expression that is read, in bytes.
pub const MAX_PATTERN: usize = 4096;
/// The most memory that a compiled expression may take, in bytes.
const MAX_COMPILED: usize = 4 << 20;
const MAX_NESTING: u32 = 50;

/// A compiled expression.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
    anchored: bool,
}

/// Why a text is not an expression that we read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct InvalidPattern(String);

impl Pattern {
    /// Compiles an expression in Go's syntax.
    pub fn new(source: &str) -> Result<Self, InvalidPattern> {
        if source.len() > MAX_PATTERN {
            return Err(InvalidPattern(format!("longer than {MAX_PATTERN} bytes")));
        }
        let translated = Translation::of(source)?;
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

    /// Whether it is found anywhere in `text`.
    pub fn is_found_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Whether every match reaches from the begin of a text to its end.
    pub fn is_anchored(&self) -> bool {
        self.anchored
    }
}

/// The sentence, without the picture above it that shows where.
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

/// Walks once over an expression and writes it in the syntax of the `regex` crate.
struct Translation<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    written: String,
}

impl<'a> Translation<'a> {
    fn of(source: &'a str) -> Result<String, InvalidPattern> {
        let mut walk =
            Self { rest: source.chars().peekable(), written: String::with_capacity(source.len()) };
        while let Some(c) = walk.rest.next() {
            match c {
                '\\' => walk.escape()?,
                '[' => walk.class()?,
                '(' if walk.rest.peek() == Some(&'?') => walk.flags()?,
                c => walk.written.push(c),
            }
        }
        Ok(walk.written)
    }

    fn escape(&mut self) -> Result<(), InvalidPattern> {
        let c = self.rest.next().ok_or_else(|| refused("trailing backslash"))?;
        match c {
            'd' => self.written.push_str("[0-9]"),
            'D' => self.written.push_str("[^0-9]"),
            's' => self.written.push_str(r"[\t\n\f\r ]"),
            'S' => self.written.push_str(r"[^\t\n\f\r ]"),
            'w' => self.written.push_str("[0-9A-Za-z_]"),
            'W' => self.written.push_str("[^0-9A-Za-z_]"),
            'b' | 'B' => {
                // `\b{start}` is a word of the `regex` crate alone.
                if self.rest.peek() == Some(&'{') {
                    return Err(refused("a repeated word boundary"));
                }
                self.written.push_str(if c == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
            }
            other => self.literal(other)?,
        }
        Ok(())
    }

    /// An escape that means the same in and outside of classes.
    fn literal(&mut self, c: char) -> Result<(), InvalidPattern> {
        match c {
            // Go's \x{10FFFF} and \x7F are ours; \u and \U are not Go's.
            'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'x' | 'A' | 'z' | 'p' | 'P' => {
                self.written.extend(['\\', c]);
            }
            c if c.is_ascii_punctuation() => self.plain(c),
            other => return Err(refused(format!("invalid escape sequence: `\\{other}`"))),
        }
        Ok(())
    }

    fn plain(&mut self, c: char) {
        if matches!(c, '<' | '>') {
            self.written.push(c);
        } else {
            self.written.extend(['\\', c]);
        }
    }

    /// Go knows the flags i, m, s and U, and named groups.
    fn flags(&mut self) -> Result<(), InvalidPattern> {
        self.written.push('(');
        self.written.extend(self.rest.next());
        if matches!(self.rest.peek(), Some('P' | '<')) {
            return Ok(());
        }
        for c in self.rest.by_ref() {
            match c {
                ':' | ')' => {
                    self.written.push(c);
                    return Ok(());
                }
                'i' | 'm' | 's' | 'U' | '-' => self.written.push(c),
                other => return Err(refused(format!("invalid flag: {other:?}"))),
            }
        }
        Err(refused("missing closing )"))
    }

    fn class(&mut self) -> Result<(), InvalidPattern> {
        self.written.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.written.push('^');
        }
        let mut first = true;
        while let Some(c) = self.rest.next() {
            match c {
                ']' if !first => {
                    self.written.push(']');
                    return Ok(());
                }
                '[' if self.rest.peek() == Some(&':') => self.posix_class()?,
                '\\' => self.class_escape()?,
                // A hyphen makes a range, or is one at an end of the class.
                '-' => match self.rest.peek() {
                    Some(']') => self.written.push_str(r"\-"),
                    Some('-') => return Err(refused("invalid character class range")),
                    _ if first => self.written.push_str(r"\-"),
                    _ => self.written.push('-'),
                },
                '[' | ']' | '&' | '~' => self.written.extend(['\\', c]),
                c => self.written.push(c),
            }
            first = false;
        }
        Err(refused("missing closing ]"))
    }

    fn class_escape(&mut self) -> Result<(), InvalidPattern> {
        let c = self.rest.next().ok_or_else(|| refused("trailing backslash"))?;
        match c {
            'd' => self.written.push_str("0-9"),
            's' => self.written.push_str(r"\t\n\f\r "),
            'w' => self.written.push_str("0-9A-Za-z_"),
            'D' => self.written.push_str("[^0-9]"),
            'S' => self.written.push_str(r"[^\t\n\f\r ]"),
            'W' => self.written.push_str("[^0-9A-Za-z_]"),
            'A' | 'z' => return Err(refused(format!("invalid escape sequence: `\\{c}`"))),
            other => self.literal(other)?,
        }
        Ok(())
    }

    /// `[:alpha:]`, the same in both; a name that is not known would be a class of its letters.
    fn posix_class(&mut self) -> Result<(), InvalidPattern> {
        const NAMES: &[&str] = &[
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ];
        self.rest.next();
        let mut name = String::new();
        while let Some(c) = self.rest.next_if(|c| matches!(c, '^' | 'a'..='z')) {
            name.push(c);
        }
        let known = NAMES.contains(&name.strip_prefix('^').unwrap_or(&name));
        let closed = self.rest.next() == Some(':') && self.rest.next() == Some(']');
        if !known || !closed {
            return Err(refused("invalid character class range"));
        }
        self.written.push_str(&format!("[:{name}:]"));
        Ok(())
    }
}

fn refused(detail: impl Into<String>) -> InvalidPattern {
    InvalidPattern(detail.into())
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
