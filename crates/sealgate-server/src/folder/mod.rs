//! A folder of YAML and JSON files as a source of policies.
//!
//! A file that cannot be used never takes a policy away: its last good version stays in force, and
//! the problem is reported. Only deleting a file removes the policies in it.
//!
//! [`source`] follows the folder; `scan` reads its files within bounds; `files` keeps the last good
//! version of each; `documents` reads them with `sealgate-policy`; `definitions` compares two
//! versions of a file by the names that they define; `secrets` serves the Secrets in them.

mod definitions;
mod documents;
mod files;
mod scan;
mod secrets;
mod source;

pub use secrets::FolderSecrets;
pub use source::{FolderOptions, follow};
