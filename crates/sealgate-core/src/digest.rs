//! Content digests, `sha256:…`, as the OCI image specification writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The hash functions that a content digest may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `sha256`, the one every registry speaks.
    Sha256,
    /// `sha384`.
    Sha384,
    /// `sha512`.
    Sha512,
}

/// A content digest: an algorithm and the hash in lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// Reason why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest {text:?}: want sha256:<64 lower-case hex digits> (or sha384, sha512)")]
pub struct InvalidDigest {
    /// The text, cut to a length that a log line can hold.
    pub text: String,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The number of hexadecimal digits after the colon.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }

    fn hash(self) -> &'static aws_lc_rs::digest::Algorithm {
        match self {
            Self::Sha256 => &aws_lc_rs::digest::SHA256,
            Self::Sha384 => &aws_lc_rs::digest::SHA384,
            Self::Sha512 => &aws_lc_rs::digest::SHA512,
        }
    }
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::with(Algorithm::Sha256, bytes)
    }

    /// The digest of `bytes` by `algorithm`.
    pub fn with(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let hash = aws_lc_rs::digest::digest(algorithm.hash(), bytes);
        Self { algorithm, hex: hex::encode(hash) }
    }

    /// True if `bytes` have this digest.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        Self::with(self.algorithm, bytes) == *self
    }

    /// The algorithm before the colon.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The lower-case hexadecimal hash after the colon.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// A running hash, for content that arrives in pieces.
    pub fn hasher(algorithm: Algorithm) -> Hasher {
        Hasher { algorithm, context: aws_lc_rs::digest::Context::new(algorithm.hash()) }
    }
}

/// A running hash that ends in a [`Digest`].
pub struct Hasher {
    algorithm: Algorithm,
    context: aws_lc_rs::digest::Context,
}

impl Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        Digest { algorithm: self.algorithm, hex: hex::encode(self.context.finish()) }
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest { text: text.chars().take(160).collect() };
        let (name, hex) = text.split_once(':').ok_or_else(invalid)?;
        let named = |algorithm: &Algorithm| algorithm.name() == name;
        let algorithm = Algorithm::ALL.into_iter().find(named).ok_or_else(invalid)?;
        let lower_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() != algorithm.hex_len() || !lower_hex {
            return Err(invalid());
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parses() {
        let digest = Digest::of(b"{}");
        assert_eq!(
            digest.to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        let hex = "4".repeat(64);
        for text in [
            "",
            "sha256:",
            "sha256",
            &hex,
            &format!("SHA256:{hex}"),
            &format!("sha256:{}A", "4".repeat(63)),
            &format!("sha256:{hex}0"),
            &format!("sha512:{hex}"),
            &format!("md5:{}", "4".repeat(32)),
            &format!(" sha256:{hex}"),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
