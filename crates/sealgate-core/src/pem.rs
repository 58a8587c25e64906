//! PEM: blocks of base64 between a BEGIN and an END line, found in a text as Go's `encoding/pem`
//! finds them, because that is what cosign and policy-controller read keys and certificates with.
//!
//! As in Go: text before, between and after blocks, blanks at the ends of lines, blank lines and
//! headers are ignored, and base64 lines may have any length. Stricter: where Go silently skips to
//! the next block (an END line that is missing or of another label, content that is not base64),
//! the text is refused with the reason, so that a damaged first key never makes the second one the
//! key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// Characters in a line of base64.
const LINE: usize = 64;

/// A block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block<'a> {
    /// The text after BEGIN: `PUBLIC KEY`.
    pub(crate) label: &'a str,
    /// The decoded content.
    pub(crate) content: Vec<u8>,
}

/// A block as it stands in the text, for those who decode a secret into memory of their own. It has
/// no `Debug`: what it borrows may be a private key.
#[derive(Clone, Copy)]
pub struct Undecoded<'a> {
    label: &'a str,
    /// The lines between BEGIN and END.
    body: &'a str,
}

/// The blocks of `text`, in their order, decoded. After an error there are no more.
///
/// # Errors
/// A block that is malformed; the reason in a few words.
pub(crate) fn blocks(
    text: &str,
) -> impl Iterator<Item = Result<Block<'_>, &'static str>> + use<'_> {
    let mut blocks = undecoded(text);
    std::iter::from_fn(move || {
        let block = blocks.next()?.and_then(|block| block.decoded());
        if block.is_err() {
            blocks.rest = "";
        }
        Some(block)
    })
}

/// The blocks of `text`, in their order. After an error there are no more.
///
/// # Errors
/// A block that is malformed; the reason in a few words.
pub fn undecoded(text: &str) -> Blocks<'_> {
    // Some editors write an invisible byte order mark.
    Blocks { rest: text.strip_prefix('\u{feff}').unwrap_or(text) }
}

/// See [`undecoded`].
pub struct Blocks<'a> {
    rest: &'a str,
}

impl<'a> Undecoded<'a> {
    /// The text after BEGIN: `PUBLIC KEY`.
    pub fn label(&self) -> &'a str {
        self.label
    }

    /// True if there are headers before the content, as in keys that old versions of OpenSSL
    /// encrypted.
    pub fn has_headers(&self) -> bool {
        self.body.split('\n').next().is_some_and(is_header)
    }

    /// The base64 of the content, without headers and blanks.
    pub fn base64(&self) -> impl Iterator<Item = u8> + use<'a> {
        let lines = self.body.split('\n').skip_while(|line| is_header(line));
        lines.flat_map(|line| line.bytes()).filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r'))
    }

    fn decoded(self) -> Result<Block<'a>, &'static str> {
        let base64: Vec<u8> = self.base64().collect();
        let content = crate::base64::decode(base64).map_err(|_| "the content is not base64")?;
        Ok(Block { label: self.label, content })
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Undecoded<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let begin = std::iter::from_fn(|| self.line())
            .find(|line| line.starts_with(BEGIN) || line.starts_with(END))?;
        let block = self.block(begin);
        if block.is_err() {
            self.rest = "";
        }
        Some(block)
    }
}

impl<'a> Blocks<'a> {
    /// The next line; the rest begins behind it.
    fn line(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(trimmed(line))
    }

    fn block(&mut self, begin: &'a str) -> Result<Undecoded<'a>, &'static str> {
        let label = begin.strip_prefix(BEGIN).ok_or("an END line without a BEGIN line")?;
        let label = label.strip_suffix(DASHES).ok_or("a BEGIN line that does not end in -----")?;
        let inside = self.rest;
        loop {
            let before = self.rest;
            let line = self.line().ok_or("no END line")?;
            if line.starts_with(BEGIN) {
                return Err("a BEGIN line inside of a block");
            }
            let Some(end) = line.strip_prefix(END) else { continue };
            if end.strip_suffix(DASHES) != Some(label) {
                return Err("an END line that does not fit its BEGIN line");
            }
            let body = inside.strip_suffix(before).unwrap_or_default();
            return Ok(Undecoded { label, body });
        }
    }
}

fn is_header(line: &str) -> bool {
    line.contains(':')
}

/// A line without the trailing characters that Go ignores.
fn trimmed(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line).trim_end_matches([' ', '\t'])
}

/// One block, with a line feed at its end.
pub(crate) fn block(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (index, c) in STANDARD.encode(der).chars().enumerate() {
        if index > 0 && index % LINE == 0 {
            pem.push('\n');
        }
        pem.push(c);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<(&str, Vec<u8>)>, &'static str> {
        blocks(text).map(|block| block.map(|block| (block.label, block.content))).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 47, 48, 49, 500] {
            let der = vec![7; length];
            let text = block("SOME THING", &der);
            assert!(text.lines().all(|line| line.len() <= LINE), "{text}");
            assert_eq!(read(&text), Ok(vec![("SOME THING", der)]));
        }
    }

    /// Each text was given to Go's `pem.Decode`, which reads the same one block.
    #[test]
    fn one_block_in_the_spellings_that_go_reads() {
        let pem = "-----BEGIN X-----\naGVs\nbG8=\n-----END X-----\n";
        for text in [
            pem.to_owned(),
            pem.trim_end().to_owned(),
            pem.replace('\n', "\r\n"),
            pem.replace('\n', " \t\n"),
            pem.replace("aGVs\n", "aGVs\n\n"),
            pem.replace("aGVs\n", "\n\naG Vs\n \t\n"),
            pem.replace("aGVs\nbG8=", "aGVsbG8="),
            pem.replace("aGVs", "  aGVs"),
            pem.replace("aGVs\n", "Proc-Type: 4\nDEK-Info: a\n\naGVs\n"),
            format!("Public-Key: (256 bit)\npub:\n    04:5a\n{pem}"),
            format!("{pem}Public-Key: (256 bit)\npub:\n    04:5a\nASN1 OID: prime256v1\n"),
            format!("# a comment - with ---- dashes -----\n\n{pem}\n\nand more -----\n"),
        ] {
            assert_eq!(read(&text), Ok(vec![("X", b"hello".to_vec())]), "{text:?}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_the_reason() {
        let pem = "-----BEGIN X-----\naGVsbG8=\n-----END X-----\n";
        for (text, why) in [
            (pem.replace("-----END X-----\n", ""), "no END line"),
            (pem.replace("END X", "END Y"), "an END line that does not fit its BEGIN line"),
            (
                pem.replace("END X-----", "END X----"),
                "an END line that does not fit its BEGIN line",
            ),
            (
                pem.replace("END X-----", "END X-----."),
                "an END line that does not fit its BEGIN line",
            ),
            (pem.replace("BEGIN X-----", "BEGIN X"), "a BEGIN line that does not end in -----"),
            (pem.replace("-----BEGIN X-----\n", ""), "an END line without a BEGIN line"),
            (pem.replace("aGVsbG8=", "aGVs!"), "the content is not base64"),
            (pem.replace("aGVsbG8=", "aGVsbG8"), "the content is not base64"),
            (pem.replace("aGVsbG8=", "\na: b\naGVsbG8="), "the content is not base64"),
            (pem.replace("aGVsbG8=", "aGVs\u{a0}bG8="), "the content is not base64"),
            (format!("-----BEGIN X-----\naGVs\n{pem}"), "a BEGIN line inside of a block"),
            (format!("{pem}-----BEGIN X-----\n"), "no END line"),
            (format!("{}{pem}", pem.replace("aGVs", "!!!!")), "the content is not base64"),
        ] {
            assert_eq!(read(&text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_block_is_none() {
        for text in
            ["", "\n", "garbage", " -----BEGIN X-----\naGk=\n -----END X-----", "----BEGIN X-----"]
        {
            assert_eq!(read(text), Ok(Vec::new()), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text: String, label: String) {
            let _ = read(&text);
            let _ = read(&format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----"));
        }
    }
}
