//! Real cosign 3.1.3 and real skopeo: what one writes, the other reads.

mod attached;
mod blobs;
mod credentials;
mod ed25519;
mod identities;
mod keys;
mod odd;
mod parallel;
mod signatures;
mod skopeo;
mod trust_root;
