//! tests
pub(crate) mod tree;
