//! Sigstore's services, as ports of the engine and as documents: Fulcio, Rekor v1 and v2,
//! timestamp authorities, signing configurations, OIDC identity tokens, and trust roots by TUF.
//!
//! What these services answer is not believed here: `sealgate-core` verifies what was signed
//! before anything is stored.

#![warn(missing_docs)]

pub mod fulcio;
pub mod http;
pub mod oidc;
pub mod rekor;
pub mod root;
pub mod signing_config;
pub mod tsa;
pub mod tuf;
