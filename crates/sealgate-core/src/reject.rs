//! Why a candidate is not a signature that counts: known bad, with a stable code each.

/// Why one piece of evidence was rejected. The sentence is its `Display`, the stable one-word
/// code its [`Reject::code`]. Fields hold foreign text, cut to a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The signature does not verify with any key of the authority.
    #[error("invalid signature when validating ASN.1 encoded signature")]
    WrongSignature,
    /// The core crate's author adds one variant for each distinct way.
    #[error("placeholder")]
    Placeholder,
}

impl Reject {
    /// The stable one-word code, listed in `docs/reference/reject-codes.md`.
    pub fn code(&self) -> &'static str {
        todo!()
    }

    /// What a person can do about it, in one sentence.
    pub fn remedy(&self) -> &'static str {
        todo!()
    }
}
