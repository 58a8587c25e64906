//! The command line as people and scripts see it: the real binary against the in-memory registry.
//! Needs nothing else.

mod blobs;
mod documents;
mod flags;
mod images;
mod initialize;
mod keyless;
mod keyless_blobs;
mod keys;
mod lists;
mod places;
mod signing;
mod stage;
