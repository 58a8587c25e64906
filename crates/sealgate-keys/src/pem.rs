//! PEM (RFC 7468), read as leniently as Go does where that is harmless: text before the block and
//! any line width; one block only, no headers. (`pem-rfc7468` insists on 64 columns.)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::KeyError;

/// One PEM block. The content may be a secret and is wiped.
pub(crate) struct Block {
    /// What stands after `BEGIN`.
    pub(crate) label: String,
    /// The decoded bytes.
    pub(crate) content: Zeroizing<Vec<u8>>,
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
/// Columns of the base64 text that we write.
const WIDTH: usize = 64;

/// The first block whose label is not in `skipped`.
pub(crate) fn read(text: &str, skipped: &[&str]) -> Result<Block, KeyError> {
    let mut rest = text;
    loop {
        let (label, body, after) = next(rest)?;
        if !skipped.contains(&label) {
            return decode(label, body);
        }
        rest = after;
    }
}

/// Label, body and what follows the first block of `text`.
fn next(text: &str) -> Result<(&str, &str, &str), KeyError> {
    let (_, from_label) = text.split_once(BEGIN).ok_or(KeyError::Pem("no BEGIN line"))?;
    let (label, after_label) =
        from_label.split_once(DASHES).ok_or(KeyError::Pem("the BEGIN line does not end"))?;
    if label.len() > 64 || !label.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Err(KeyError::Pem("the BEGIN line holds no label"));
    }
    let end = format!("-----END {label}-----");
    let (body, after) =
        after_label.split_once(end.as_str()).ok_or(KeyError::Pem("no matching END line"))?;
    Ok((label, body, after))
}

fn decode(label: &str, body: &str) -> Result<Block, KeyError> {
    if body.contains(':') {
        return Err(KeyError::Pem(
            "it has headers (a password protected key of openssl's old form?): \
             decrypt it first with `openssl pkey`",
        ));
    }
    let mut packed = Zeroizing::new(Vec::with_capacity(body.len()));
    packed.extend(body.bytes().filter(|b| !b.is_ascii_whitespace()));
    let mut content = Zeroizing::new(vec![0; packed.len()]);
    let length = STANDARD
        .decode_slice(&packed, &mut content)
        .map_err(|_| KeyError::Pem("it is not base64"))?;
    content.truncate(length);
    Ok(Block { label: label.to_owned(), content })
}

/// A block as text, with a final line break.
pub(crate) fn write(label: &str, content: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(content));
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() * 66 / WIDTH + 128));
    text.push_str(&format!("{BEGIN}{label}-----\n"));
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
