//! Text hidden from `Debug` and wiped from memory.

use std::fmt;

use zeroize::Zeroizing;

/// Text that `Debug` does not show and that is wiped when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. It must never be printed or logged.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `text` with this secret redacted: a server may repeat the secret in an error message that is
    /// shown to users.
    pub fn redact(&self, text: &str) -> String {
        // Redacting shorter secrets would remove unrelated parts of a message.
        if self.0.len() < SHORTEST {
            return text.to_owned();
        }
        let coded = Zeroizing::new(percent_encoded(&self.0));
        text.replace(self.0.as_str(), HIDDEN).replace(coded.as_str(), HIDDEN)
    }
}

const SHORTEST: usize = 4;
const HIDDEN: &str = "(hidden)";

/// Percent-encoded form, as in forms and queries.
fn percent_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"*-._".contains(&b);
    let code = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(code).collect()
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_redacted() {
        let secret = Secret::new("a/b+c=");
        assert_eq!(secret.redact("bad: a/b+c= (a%2Fb%2Bc%3D)"), "bad: (hidden) ((hidden))");
        assert_eq!(Secret::new("").redact("as it is"), "as it is");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
