//! Clients of Sigstore services and parsers of their configuration, implementing the engine's
//! ports: Fulcio, Rekor v1 and v2, timestamp authorities, signing configurations, OIDC identity
//! tokens, and trust roots distributed by TUF.
//!
//! Responses are not trusted here: `sealgate-core` verifies the signed content before anything is
//! stored.

#![warn(missing_docs)]

pub mod fulcio;
pub mod http;
pub mod oidc;
pub mod rekor;
pub mod root;
pub mod signing_config;
pub mod tsa;
pub mod tuf;
