//! The verbs, one file each: the flags as typed, their meaning, and the use case that is run.

pub(crate) mod attach;
pub(crate) mod bundle;
pub(crate) mod clean;
pub(crate) mod completion;
pub(crate) mod copy;
pub(crate) mod download;
pub(crate) mod env;
pub(crate) mod generate_key_pair;
pub(crate) mod import_key_pair;
pub(crate) mod initialize;
pub(crate) mod install;
pub(crate) mod layout;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod man;
pub(crate) mod public_key;
pub(crate) mod replay;
pub(crate) mod save;
pub(crate) mod sign;
pub(crate) mod sign_blob;
pub(crate) mod sign_bundle;
pub(crate) mod signing_config;
pub(crate) mod tree;
pub(crate) mod triangulate;
pub(crate) mod trusted_root;
pub(crate) mod uninstall;
pub(crate) mod usage;
pub(crate) mod verify;
pub(crate) mod verify_blob;
pub(crate) mod verify_bundle;
pub(crate) mod version;

use sealgate_engine::limits::{CONCURRENT_READS, Limits};

use crate::failure::CliError;

/// The bounds on what is read; `COSIGN_MAX_ATTACHMENT_SIZE` sets the largest size of a signature.
pub(crate) fn limits() -> Result<Limits, CliError> {
    let mut limits = Limits::default();
    if let Ok(text) = std::env::var("COSIGN_MAX_ATTACHMENT_SIZE")
        && !text.is_empty()
    {
        limits.blob = crate::cli::values::byte_size(&text).map_err(|error| {
            CliError::new(format!("invalid COSIGN_MAX_ATTACHMENT_SIZE: {error}"))
        })?;
        limits.evidence = limits.evidence.max(limits.blob);
    }
    Ok(limits)
}

/// [`limits`] with more concurrent requests, for verbs that only read.
pub(crate) fn reading_limits() -> Result<Limits, CliError> {
    Ok(Limits { concurrent: CONCURRENT_READS, ..limits()? })
}
