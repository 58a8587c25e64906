//! Text from outside, made printable for messages.

use std::fmt;

/// A piece of foreign text that is safe to print: cut to one short line, control and other
/// unprintable characters escaped.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Foreign(String);

impl Foreign {
    /// The longest text that is kept, in characters.
    const LONGEST: usize = 120;

    /// Makes `text` printable: control and other unprintable characters (also those that turn
    /// the direction of text) become escapes, and what is too long is cut.
    pub fn new(text: impl AsRef<str>) -> Self {
        let mut chars = text.as_ref().chars();
        let mut kept = String::new();
        for c in chars.by_ref().take(Self::LONGEST) {
            match c {
                '"' | '\'' | '\\' => kept.push(c),
                c => kept.extend(c.escape_debug()),
            }
        }
        if chars.next().is_some() {
            kept.push('…');
        }
        Self(kept)
    }

    /// The printable text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In quotation marks; already escaped, so not once more.
impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}
