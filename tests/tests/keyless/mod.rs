//! Keyless signing on real Fulcio, Rekor v2 and timestamp authority: interoperability with real
//! cosign in both directions, and refusals, each with its code.

mod differential;
mod documents;
mod expressions;
mod forms;
mod interop;
mod refused;
mod servers;
mod signing;
pub(crate) mod support;
