//! Go's syntax of regular expressions (regexp/syntax), written in that of the `regex` crate.
//!
//! Most of the syntax is the same in both. In Go, `\d`, `\s`, `\w` and `\b` are ASCII only; `[`,
//! `&&`, `--` and `~~` in a class are literals, and so is a hyphen that forms no range; `\<` and
//! `\>` are literals, as are braces other than `{n}`, `{n,}` and `{n,m}`; a repetition is not
//! repeated again; `\p{Name}` is a category or a script. Syntax that only one of both supports is
//! refused.

use std::str::Chars;

use super::pattern::InvalidPattern;

/// The maximum count of a repetition.
const MAX_COUNT: u32 = 1000;

/// Translates `source` for the `regex` crate, which reports the remaining errors.
///
/// # Errors
/// Syntax that Go refuses, or reads in a way that the `regex` crate does not.
pub(super) fn translated(source: &str) -> Result<String, InvalidPattern> {
    let mut walk = Walk {
        rest: source.chars(),
        written: String::with_capacity(source.len()),
        last: Last::Nothing,
    };
    while let Some(c) = walk.rest.next() {
        walk.piece(c)?;
    }
    Ok(walk.written)
}

/// Translation state over one pass of the expression.
struct Walk<'a> {
    rest: Chars<'a>,
    written: String,
    last: Last,
}

/// The last item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Nothing that can be repeated.
    Nothing,
    Piece,
    Repetition,
}

impl Walk<'_> {
    fn piece(&mut self, c: char) -> Result<(), InvalidPattern> {
        match c {
            '*' | '+' | '?' => return self.repetition(&c.to_string()),
            '{' => match self.count()? {
                Some(count) => return self.repetition(&count),
                None => self.written.push_str(r"\{"),
            },
            '\\' if self.next_if('Q') => return self.quoted(),
            '\\' => self.escape()?,
            '[' => self.class()?,
            '(' if self.peek() == Some('?') => self.flags()?,
            c => self.written.push(c),
        }
        self.last = if matches!(c, '(' | '|') { Last::Nothing } else { Last::Piece };
        Ok(())
    }

    /// `*`, `{2}` and the like, lazy or not.
    fn repetition(&mut self, operator: &str) -> Result<(), InvalidPattern> {
        let wrong = match self.last {
            Last::Piece => None,
            Last::Nothing => Some("missing argument to repetition operator"),
            Last::Repetition => Some("invalid nested repetition operator"),
        };
        if let Some(wrong) = wrong {
            return Err(refused(format!("{wrong}: `{operator}`")));
        }
        self.written.push_str(operator);
        if self.next_if('?') {
            self.written.push('?');
        }
        self.last = Last::Repetition;
        Ok(())
    }

    /// Parses the text after a brace: `{n}`, `{n,}`, `{n,m}`, or none of them.
    fn count(&mut self) -> Result<Option<String>, InvalidPattern> {
        let Some((inside, after)) = self.rest.as_str().split_once('}') else { return Ok(None) };
        let (least, most) = match inside.split_once(',') {
            None => (inside, inside),
            Some((least, "")) => (least, least),
            Some(both) => both,
        };
        if !is_number(least) || !is_number(most) {
            return Ok(None);
        }
        let count = |text: &str| text.parse().ok().filter(|count: &u32| *count <= MAX_COUNT);
        match (count(least), count(most)) {
            (Some(least), Some(most)) if least <= most => {}
            _ => return Err(refused(format!("invalid repeat count: `{{{inside}}}`"))),
        }
        let count = format!("{{{inside}}}");
        self.rest = after.chars();
        Ok(Some(count))
    }

    /// Parses literal text between `\Q` and `\E`, or the end. A repetition after it applies to the
    /// last character.
    fn quoted(&mut self) -> Result<(), InvalidPattern> {
        let rest = self.rest.as_str();
        let (inside, after) = rest.split_once(r"\E").unwrap_or((rest, ""));
        self.written.extend(inside.chars().map(plain));
        if !inside.is_empty() {
            self.last = Last::Piece;
        }
        self.rest = after.chars();
        Ok(())
    }

    fn escape(&mut self) -> Result<(), InvalidPattern> {
        let c = self.escaped()?;
        match c {
            'd' => self.written.push_str("[0-9]"),
            's' => self.written.push_str(r"[\t\n\f\r ]"),
            'w' => self.written.push_str("[0-9A-Za-z_]"),
            'p' | 'P' => self.property(c)?,
            'b' => self.written.push_str(r"(?-u:\b)"),
            'B' => self.written.push_str(r"(?-u:\B)"),
            'A' | 'z' => self.written.extend(['\\', c]),
            c if self.negated_class(c) => {}
            c => {
                let literal = self.literal(c)?;
                self.written.push_str(&literal);
            }
        }
        Ok(())
    }

    fn escaped(&mut self) -> Result<char, InvalidPattern> {
        self.rest.next().ok_or_else(|| refused("trailing backslash at end of expression"))
    }

    /// `\D`, `\S` and `\W`: the same in and outside of classes.
    fn negated_class(&mut self, c: char) -> bool {
        self.written.push_str(match c {
            'D' => "[^0-9]",
            'S' => r"[^\t\n\f\r ]",
            'W' => "[^0-9A-Za-z_]",
            _ => return false,
        });
        true
    }

    /// `\pL`, `\p{Lu}`, `\p{^Greek}`: categories and scripts, written explicitly, because the
    /// `regex` crate supports other properties too.
    fn property(&mut self, kind: char) -> Result<(), InvalidPattern> {
        let one = self.rest.next().ok_or_else(|| refused("invalid character class range"))?;
        let (negated, name) = match one {
            '{' => {
                let rest = self.rest.as_str();
                let (name, after) =
                    rest.split_once('}').ok_or_else(|| refused("invalid character class range"))?;
                self.rest = after.chars();
                match name.strip_prefix('^') {
                    Some(name) => (true, name.to_owned()),
                    None => (false, name.to_owned()),
                }
            }
            one => (false, one.to_string()),
        };
        if !name.chars().all(|c| c.is_ascii_alphabetic() || c == '_') {
            return Err(refused(format!("invalid character class range: `\\{kind}{{{name}}}`")));
        }
        let what = if name.len() <= 2 { "gc" } else { "sc" };
        let kind = if (kind == 'P') == negated { 'p' } else { 'P' };
        self.written.push_str(&format!("\\{kind}{{{what}={name}}}"));
        Ok(())
    }

    /// An escape that is one character, as the `regex` crate writes it.
    fn literal(&mut self, c: char) -> Result<String, InvalidPattern> {
        match c {
            'a' | 'f' | 't' | 'n' | 'r' | 'v' => Ok(format!("\\{c}")),
            'x' => self.code_point().map(plain),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(plain(c)),
            other => Err(refused(format!("invalid escape sequence: `\\{other}`"))),
        }
    }

    /// `\x7F` or `\x{10FFFF}`, behind the `x`.
    fn code_point(&mut self) -> Result<char, InvalidPattern> {
        let rest = self.rest.as_str();
        let (digits, after) = match rest.strip_prefix('{') {
            Some(inside) => inside.split_once('}').unwrap_or_default(),
            None => rest.split_at_checked(2).unwrap_or_default(),
        };
        let hexadecimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| hexadecimal);
        let c = number.and_then(char::from_u32);
        let c = c.ok_or_else(|| refused("invalid escape sequence: `\\x`"))?;
        self.rest = after.chars();
        Ok(c)
    }

    /// Go knows the flags i, m, s and U, and named groups.
    fn flags(&mut self) -> Result<(), InvalidPattern> {
        self.written.push('(');
        self.written.extend(self.rest.next());
        if matches!(self.peek(), Some('P' | '<')) {
            return self.group_name();
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

    /// `P<name>` or `<name>`.
    fn group_name(&mut self) -> Result<(), InvalidPattern> {
        let rest = self.rest.as_str();
        let invalid = || refused("invalid named capture");
        let inside =
            rest.strip_prefix('P').unwrap_or(rest).strip_prefix('<').ok_or_else(invalid)?;
        let (name, after) = inside.split_once('>').ok_or_else(invalid)?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(invalid());
        }
        self.written.push_str(&format!("P<{name}>"));
        self.rest = after.chars();
        Ok(())
    }

    fn class(&mut self) -> Result<(), InvalidPattern> {
        self.written.push('[');
        if self.next_if('^') {
            self.written.push('^');
        }
        let mut first = true;
        while let Some(c) = self.rest.next() {
            match c {
                ']' if !first => {
                    self.written.push(']');
                    return Ok(());
                }
                '[' if self.peek() == Some(':') => self.posix_class()?,
                '\\' if self.class_in_class()? => {}
                c => self.range(c)?,
            }
            first = false;
        }
        Err(refused("missing closing ]"))
    }

    /// `\d` and its like in a class; `false` where the escape is a character, which is left there.
    fn class_in_class(&mut self) -> Result<bool, InvalidPattern> {
        let before = self.rest.clone();
        match self.escaped()? {
            'd' => self.written.push_str("0-9"),
            's' => self.written.push_str(r"\t\n\f\r "),
            'w' => self.written.push_str("0-9A-Za-z_"),
            kind @ ('p' | 'P') => self.property(kind)?,
            c if self.negated_class(c) => {}
            _ => {
                self.rest = before;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A character of a class, or a range that begins with it. A hyphen before the closing bracket
    /// makes none.
    fn range(&mut self, first: char) -> Result<(), InvalidPattern> {
        let from = self.member(first)?;
        self.written.push_str(&from);
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || matches!(ahead.next(), None | Some(']')) {
            return Ok(());
        }
        self.rest.next();
        let last = self.rest.next().ok_or_else(|| refused("missing closing ]"))?;
        let to = self.member(last)?;
        self.written.push('-');
        self.written.push_str(&to);
        Ok(())
    }

    fn member(&mut self, c: char) -> Result<String, InvalidPattern> {
        if c != '\\' {
            return Ok(plain(c));
        }
        let c = self.escaped()?;
        self.literal(c)
    }

    /// `[:alpha:]`, the same in both; a name that is not known would be a class of its letters.
    fn posix_class(&mut self) -> Result<(), InvalidPattern> {
        const NAMES: &[&str] = &[
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ];
        let unknown = || refused("invalid character class range");
        let inside = self.rest.as_str().strip_prefix(':').ok_or_else(unknown)?;
        let (name, after) = inside.split_once(":]").ok_or_else(unknown)?;
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(unknown());
        }
        self.written.push_str(&format!("[:{name}:]"));
        self.rest = after.chars();
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn next_if(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest.next();
        }
        found
    }
}

/// A character that means itself, in and outside of classes.
fn plain(c: char) -> String {
    match c {
        '<' | '>' => c.to_string(),
        c if c.is_ascii_punctuation() => format!("\\{c}"),
        c if c.is_control() => format!("\\x{{{:x}}}", u32::from(c)),
        c => c.to_string(),
    }
}

/// Digits without a leading zero.
fn is_number(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits && (text.len() == 1 || !text.starts_with('0'))
}

fn refused(detail: impl Into<String>) -> InvalidPattern {
    InvalidPattern(detail.into())
}
