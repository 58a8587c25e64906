//! Certificates in PEM, as trust roots, flags and annotations hold them: one or several, with
//! text between them, as OpenSSL writes it ([`crate::pem`] has the rules).

use crate::pem::{self, Block};

const MAX_PEM: usize = 128 << 10;
/// The first line of a certificate; tells PEM from other text.
pub const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const LABEL: &str = "CERTIFICATE";

/// The DER of every certificate in `pem`, at most `limit`. Text between the blocks is passed
/// over; blocks of another kind are not accepted.
///
/// # Errors
/// The problem of the text, in a few words.
pub fn read(pem: &str, limit: usize) -> Result<Vec<Vec<u8>>, &'static str> {
    if pem.len() > MAX_PEM {
        return Err("longer than any real chain");
    }
    let mut chain = Vec::new();
    for block in pem::blocks(pem) {
        let Block { label, content } = block?;
        if label != LABEL {
            return Err("a block that is not a certificate");
        }
        if chain.len() >= limit {
            return Err("too many certificates");
        }
        chain.push(content);
    }
    Ok(chain)
}

/// PEM of a certificate, DER.
pub fn write(certificate: &[u8]) -> String {
    pem::block(LABEL, certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [1, 47, 48, 49, 500] {
            let der = vec![7; length];
            assert_eq!(read(&write(&der), 1), Ok(vec![der]));
        }
    }

    #[test]
    fn certificates_are_told_apart_and_counted() {
        let two = format!("a comment\n{}another\n{}", write(b"one"), write(b"two"));
        assert_eq!(read(&two, 2), Ok(vec![b"one".to_vec(), b"two".to_vec()]));
        assert_eq!(read(&two, 1), Err("too many certificates"));
        assert_eq!(read("nothing", 1), Ok(Vec::new()));
        assert!(read(&pem::block("PRIVATE KEY", b"x"), 1).is_err());
        assert!(read(&two.replace("-----END CERTIFICATE-----", ""), 2).is_err());
    }
}
