//! To be written by the core crate's author.
