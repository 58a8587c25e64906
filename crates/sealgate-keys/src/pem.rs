//! PEM of private keys, by the rules of [`sealgate_core::pem`], which are Go's. Decoded content is
//! wiped, and PEM headers are refused, because they describe an encryption.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealgate_core::pem::{Undecoded, undecoded};
use zeroize::Zeroizing;

use crate::KeyError;

/// PEM block. The content may be secret and is wiped on drop.
pub(crate) struct Block {
    /// Label after `BEGIN`.
    pub(crate) label: String,
    /// Decoded bytes.
    pub(crate) content: Zeroizing<Vec<u8>>,
}

/// Line length of written base64.
const WIDTH: usize = 64;
/// Maximum length of a label, in bytes.
const MAX_LABEL: usize = 64;

/// First block whose label is not in `skipped`.
pub(crate) fn read(text: &str, skipped: &[&str]) -> Result<Block, KeyError> {
    let fits = |block: &Result<Undecoded<'_>, _>| {
        block.as_ref().map_or(true, |block| !skipped.contains(&block.label()))
    };
    let block =
        undecoded(text).find(fits).unwrap_or(Err("no BEGIN line")).map_err(KeyError::Pem)?;
    decode(block, text.len())
}

fn decode(block: Undecoded<'_>, most: usize) -> Result<Block, KeyError> {
    let label = block.label();
    if label.len() > MAX_LABEL || !label.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Err(KeyError::Pem("the BEGIN line has no label"));
    }
    if block.has_headers() {
        return Err(KeyError::Pem(
            "it has headers (a password protected key of openssl's old form?): \
             decrypt it first with `openssl pkey`",
        ));
    }
    // Allocated once, so that no copy is left behind by a reallocation.
    let mut packed = Zeroizing::new(Vec::with_capacity(most));
    packed.extend(block.base64());
    let mut content = Zeroizing::new(vec![0; packed.len()]);
    let length = STANDARD
        .decode_slice(&packed, &mut content)
        .map_err(|_| KeyError::Pem("it is not base64"))?;
    content.truncate(length);
    Ok(Block { label: label.to_owned(), content })
}

/// Block as text, with a final line break.
pub(crate) fn write(label: &str, content: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(content));
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() * 66 / WIDTH + 128));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(WIDTH));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for length in [0, 1, 47, 48, 49, 500] {
            let content = vec![7u8; length];
            let block = read(&write("TEST KEY", &content), &[]).unwrap();
            assert_eq!(block.label, "TEST KEY");
            assert_eq!(*block.content, content);
        }
    }

    #[test]
    fn skips_curve_parameters_and_text() {
        let text = format!(
            "a note\n{}{}",
            *write("EC PARAMETERS", b"oid"),
            *write("EC PRIVATE KEY", b"key")
        );
        let block = read(&text, &["EC PARAMETERS"]).unwrap();
        assert_eq!(
            (block.label.as_str(), block.content.as_slice()),
            ("EC PRIVATE KEY", &b"key"[..])
        );
    }

    /// Spellings accepted by Go's `pem.Decode`, and therefore by cosign.
    #[test]
    fn reads_the_spellings_that_go_reads() {
        let pem = "-----BEGIN X-----\naGVs\nbG8=\n-----END X-----\n";
        for text in [
            pem.replace('\n', "\r\n"),
            pem.replace('\n', " \t\n"),
            pem.replace("aGVs\n", "aG Vs\n\n"),
            format!("\u{feff}{pem}"),
            format!("a note: {pem:?}\n{pem}-----BEGIN Y-----\n"),
        ] {
            let block = read(&text, &[]).unwrap();
            assert_eq!((block.label.as_str(), block.content.as_slice()), ("X", &b"hello"[..]));
        }
        for text in [format!(" {pem}"), format!("key={pem}"), pem.replace('\n', " ")] {
            assert!(matches!(read(&text, &[]), Err(KeyError::Pem(_))), "{text}");
        }
        let damaged = pem.replace("aGVs", "!!!!");
        assert!(matches!(read(&format!("{damaged}{pem}"), &[]), Err(KeyError::Pem(_))));
    }

    #[test]
    fn refuses_broken_blocks() {
        for text in [
            "",
            "-----BEGIN X",
            "-----BEGIN X-----\nAAAA\n",
            "-----BEGIN X-----\nAAAA\n-----END Y-----\n",
            "-----BEGIN X-----\n!!!!\n-----END X-----\n",
            "-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END X-----\n",
        ] {
            assert!(matches!(read(text, &[]), Err(KeyError::Pem(_))), "{text}");
        }
    }
}
