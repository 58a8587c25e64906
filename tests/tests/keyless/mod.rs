//! Signing without keys, on real Fulcio, Rekor v2 and timestamp authority: what real cosign signs
//! we verify, and the other way round; and what must be refused is, each with its own code.

mod differential;
mod documents;
mod expressions;
mod forms;
mod interop;
mod refused;
mod servers;
mod signing;
pub(crate) mod support;
