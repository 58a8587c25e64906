//! PEM (RFC 7468) of one or several certificates, as trust roots, flags and annotations hold it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::MAX_CHAIN;

const MAX_PEM: usize = 128 << 10;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The DER of every certificate in `pem`, at most `limit`. Text between the blocks is passed
/// over, as OpenSSL writes it; blocks of another kind are not accepted.
pub(crate) fn certificates(pem: &str, limit: usize) -> Result<Vec<Vec<u8>>, &'static str> {
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

/// The chain of an authority.
pub(super) fn chain(pem: &str) -> Result<Vec<Vec<u8>>, &'static str> {
    match certificates(pem, MAX_CHAIN)? {
        none if none.is_empty() => Err("no certificate in it"),
        chain => Ok(chain),
    }
}
