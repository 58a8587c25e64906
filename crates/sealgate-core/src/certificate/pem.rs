//! PEM (RFC 7468) of one or several certificates, as trust roots, flags and annotations hold it:
//! the one place where it is taken apart and put together. A public key in PEM is
//! [`crate::key`]'s, which wants exactly one block.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const MAX_PEM: usize = 128 << 10;
/// What a block begins with; tells PEM from what is none.
pub const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Characters in a line of base64.
const LINE: usize = 64;

/// The DER of every certificate in `pem`, at most `limit`. Text between the blocks is passed
/// over, as OpenSSL writes it; blocks of another kind are not accepted.
///
/// # Errors
/// What is wrong with the text, in a few words.
pub fn read(pem: &str, limit: usize) -> Result<Vec<Vec<u8>>, &'static str> {
    if pem.len() > MAX_PEM {
        return Err("longer than any real chain");
    }
    let mut chain = Vec::new();
    let mut lines = pem.lines().map(str::trim_end);
    while let Some(line) = lines.by_ref().find(|line| line.starts_with("-----")) {
        if line != BEGIN {
            return Err("a block that is not a certificate");
        }
        let mut body = String::new();
        loop {
            match lines.next() {
                None => return Err("no END line"),
                Some(END) => break,
                Some(line) => body.push_str(line),
            }
        }
        if chain.len() >= limit {
            return Err("too many certificates");
        }
        chain.push(STANDARD.decode(body).map_err(|_| "a certificate that is not base64")?);
    }
    Ok(chain)
}

/// PEM of a certificate, DER.
pub fn write(certificate: &[u8]) -> String {
    block("CERTIFICATE", certificate)
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
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [1, 47, 48, 49, 500] {
            let der = vec![7; length];
            let text = write(&der);
            assert!(text.lines().all(|line| line.len() <= LINE), "{text}");
            assert_eq!(read(&text, 1), Ok(vec![der]));
        }
    }

    #[test]
    fn certificates_are_told_apart_and_counted() {
        let two = format!("a comment\n{}another\n{}", write(b"one"), write(b"two"));
        assert_eq!(read(&two, 2), Ok(vec![b"one".to_vec(), b"two".to_vec()]));
        assert_eq!(read(&two, 1), Err("too many certificates"));
        assert_eq!(read("nothing", 1), Ok(Vec::new()));
        assert!(read(&block("PRIVATE KEY", b"x"), 1).is_err());
        assert!(read(&two.replace(END, ""), 2).is_err());
    }
}
