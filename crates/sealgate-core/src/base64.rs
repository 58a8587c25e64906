//! Standard base64 (RFC 4648, section 4): the one decoder of text that cosign reads by Go's
//! `encoding/base64`.
//!
//! As in Go, line feeds and carriage returns are ignored anywhere; `base64` and `openssl base64`
//! write them. Nothing else is accepted: no blanks, no other alphabet, no missing padding, no
//! non-zero trailing bits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The text is not standard base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not standard base64")]
pub struct InvalidBase64;

/// The bytes that `text` encodes.
///
/// # Errors
/// It is not standard base64, line breaks left out.
pub fn decode(text: impl AsRef<[u8]>) -> Result<Vec<u8>, InvalidBase64> {
    let text = text.as_ref();
    let decoded = if text.iter().any(is_line_break) {
        STANDARD.decode(without_line_breaks(text))
    } else {
        STANDARD.decode(text)
    };
    decoded.map_err(|_| InvalidBase64)
}

fn without_line_breaks(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| !is_line_break(byte)).collect()
}

fn is_line_break(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same table was given to Go's `base64.StdEncoding`.
    #[test]
    fn line_breaks_count_for_nothing_wherever_they_stand() {
        for text in ["aGk=", "aGk=\n", "aGk=\r\n", "\naGk=", "a\nG\r\nk\n=\r", "aGk\n\n="] {
            assert_eq!(decode(text), Ok(b"hi".to_vec()), "{text:?}");
        }
        assert_eq!(decode("aG\nk=\n"), decode("aGk="));
        assert_eq!(decode("aA=\n=\n"), Ok(b"h".to_vec()));
        for text in ["", "\n", "\r\n\r\n"] {
            assert_eq!(decode(text), Ok(Vec::new()), "{text:?}");
        }
    }

    #[test]
    fn nothing_else_is_passed_over() {
        for text in [
            "aGk",
            "aGk\n",
            "aGl=",
            "aG k=",
            " aGk=",
            "aGk= ",
            "aGk=\t",
            "a_-=",
            "aGk==",
            "=",
            "aGk=\0",
            "aGk=\u{b}",
            "aGk=\u{c}",
            "aGk=\u{85}",
            "aGk=\u{2028}",
            "\u{feff}aGk=",
            "aGk=aGk=",
            "aGk=\naGk=",
            "aGk\\n=",
        ] {
            assert_eq!(decode(text), Err(InvalidBase64), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn line_breaks_never_change_what_is_read(bytes: Vec<u8>, at in prop::collection::vec(any::<u8>(), 0..8)) {
            let mut text = STANDARD.encode(&bytes).into_bytes();
            for at in at {
                let place = usize::from(at) % (text.len() + 1);
                text.insert(place, if at % 2 == 0 { b'\n' } else { b'\r' });
            }
            prop_assert_eq!(decode(&text), Ok(bytes));
        }
    }
}
