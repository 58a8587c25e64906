//! A text that is not to be seen.

use std::fmt;

use zeroize::Zeroizing;

/// A text that `Debug` does not show and that is wiped when it is dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text. Never print it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `text` without this secret: who was told it may say it again, in words that we show.
    pub fn hide(&self, text: &str) -> String {
        // Of fewer bytes, too much of an honest sentence would go.
        if self.0.len() < SHORTEST {
            return text.to_owned();
        }
        let coded = Zeroizing::new(percent_coded(&self.0));
        text.replace(self.0.as_str(), HIDDEN).replace(coded.as_str(), HIDDEN)
    }
}

const SHORTEST: usize = 4;
const HIDDEN: &str = "(hidden)";

/// As forms and queries write it.
fn percent_coded(text: &str) -> String {
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
    fn a_secret_is_taken_out_of_what_others_say() {
        let secret = Secret::new("a/b+c=");
        assert_eq!(secret.hide("bad: a/b+c= (a%2Fb%2Bc%3D)"), "bad: (hidden) ((hidden))");
        assert_eq!(Secret::new("").hide("as it is"), "as it is");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
