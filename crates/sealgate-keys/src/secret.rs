//! Secrets in memory: wiped on drop, never shown.

use zeroize::Zeroizing;

/// Password of a key file. May be empty, as in cosign.
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Takes the bytes unchanged; they are wiped with this value.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// Bytes, for the key derivation only.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether two passwords are equal (for the confirmation prompt).
    pub fn same_as(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    /// Bytes, for storing them next to the key in a Kubernetes secret, as cosign does.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Password::new("hunter2")), "Password(…)");
    }

    #[test]
    fn compares_whole_passwords() {
        assert!(Password::new("a").same_as(&Password::new("a")));
        assert!(!Password::new("a").same_as(&Password::new("b")));
        assert!(!Password::new("a").same_as(&Password::new("")));
    }
}
