//! Tests of the command line: the real binary with the in-memory registry. Needs no other service.

mod blobs;
mod documents;
mod fixture;
mod flags;
mod images;
mod initialize;
mod keyless;
mod keyless_blobs;
mod keys;
mod lists;
mod places;
mod signing;
