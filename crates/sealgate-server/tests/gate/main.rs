//! The whole gate over HTTPS: real reviews, real signatures, a real policy folder; only the registry
//! is in memory.

mod admission;
mod fixture;
mod folder;
mod keyless;
mod log;
mod policy_objects;
