//! `--certificate` and `--certificate-chain`: the certificates of a key.

use std::path::Path;

use sealgate_core::certificate::{Presented, SctRequirement, Unverified, certify};
use sealgate_core::key::PublicKey;
use sealgate_core::trust::{CertificateAuthority, MAX_CHAIN, TrustRoot, Validity};
use sealgate_engine::sign::VerificationKey;

use super::open::MAX_PEM;
use super::plan::{CertificateFiles, SignatureFormat};
use crate::cli::files;
use crate::failure::CliError;
use crate::terminal;

/// Reads the certificates of `key`. The leaf must be a certificate of that key, and the chain must
/// lead from it to its last certificate.
pub(super) fn certified(
    key: PublicKey,
    files: &CertificateFiles,
    format: SignatureFormat,
) -> Result<VerificationKey, CliError> {
    let leaf = read_leaf(&files.certificate)?;
    let mut certificates = vec![leaf.der().to_vec()];
    if let Some(path) = &files.chain {
        let chain = read_chain(path)?;
        check_chain(&leaf, &chain)?;
        certificates.extend(chain.into_iter().filter(|der| der.as_slice() != leaf.der()));
        if format == SignatureFormat::Bundle {
            terminal::say(
                "The chain is not in the signature: a bundle of version 0.3 holds one \
                 certificate, those above it come from the verifier's trust root",
            );
        }
    }
    Ok(VerificationKey::certified(key, certificates)?)
}

fn read_leaf(path: &Path) -> Result<Unverified, CliError> {
    let bytes = files::read(path, MAX_PEM).map_err(|error| error.during("read certificate"))?;
    let failed = |error: &dyn std::fmt::Display| {
        CliError::new(format!("parse x509 certificate: {error}"))
            .note(format!("in {}", path.display()))
    };
    match bytes.starts_with(b"-----") {
        false => Unverified::read(&bytes).map_err(|error| failed(&error)),
        true => {
            let text = String::from_utf8(bytes).map_err(|error| failed(&error))?;
            let found = Unverified::of_pem(&text, MAX_CHAIN).map_err(|error| failed(&error))?;
            found.into_iter().next().ok_or_else(|| {
                CliError::new(format!("supplied PEM file is not a certificate: {}", path.display()))
            })
        }
    }
}

fn read_chain(path: &Path) -> Result<Vec<Vec<u8>>, CliError> {
    let bytes = files::read(path, MAX_PEM)
        .map_err(|error| error.during("reading certificate chain from path"))?;
    let unusable = |why: &str| CliError::new(why).note(format!("in {}", path.display()));
    let text =
        String::from_utf8(bytes).map_err(|_| unusable("loading certificate chain: not PEM"))?;
    let found = Unverified::of_pem(&text, MAX_CHAIN)
        .map_err(|error| unusable(&format!("loading certificate chain: {error}")))?;
    match found.is_empty() {
        true => Err(unusable("no certificates in certificate chain")),
        false => Ok(found.iter().map(|certificate| certificate.der().to_vec()).collect()),
    }
}

/// Verifies the path from the leaf to the last certificate of the chain, at the start of the leaf's
/// validity.
fn check_chain(leaf: &Unverified, chain: &[Vec<u8>]) -> Result<(), CliError> {
    let unusable = |error: &dyn std::fmt::Display| {
        CliError::new(format!("unable to validate certificate chain: {error}"))
    };
    let above = chain.iter().filter(|der| der.as_slice() != leaf.der()).cloned().collect();
    let authority = CertificateAuthority::new("--certificate-chain", above, Validity::default());
    let authority = authority.map_err(|error| unusable(&error))?;
    let root = TrustRoot { certificate_authorities: vec![authority], ..TrustRoot::default() };
    let presented = Presented { leaf: leaf.der(), untrusted: &[], detached_sct: None };
    certify(presented, &root, &[leaf.not_before()], SctRequirement::NotRequired)
        .map(drop)
        .map_err(|error| unusable(&error))
}
