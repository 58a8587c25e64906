//! Signing from the command line, in three steps: the flags as typed ([`SigningFlags`]), a plan
//! that is a pure function of them and makes every refusal ([`plan`]), and the opening of keys,
//! tokens and services ([`open()`]).
//!
//! Each flag does what it says, has no meaning in this combination, which is a warning, or is
//! refused; none is ignored in silence.

mod certificate;
mod confirm;
mod flags;
mod keyless;
mod open;
pub(crate) mod plan;
mod refusal;
pub(crate) mod report;
pub(crate) mod resume;
mod services;

pub(crate) use flags::SigningFlags;
pub(crate) use open::{Signing, open, reopen};
pub(crate) use refusal::Refusal;

#[cfg(test)]
mod tests;
