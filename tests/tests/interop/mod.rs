//! Interoperability with real cosign 3.1.3 and real skopeo.

mod attached;
mod blobs;
mod credentials;
mod ed25519;
mod identities;
mod keys;
mod nonconforming;
mod parallel;
mod signatures;
mod skopeo;
mod trust_root;
