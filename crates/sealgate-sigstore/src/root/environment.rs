//! Environment variables of the trust root: cosign's variables for individual keys and
//! certificates, and for TUF. They are read once by the process.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sealgate_core::certificate::{names_itself, pem};
use sealgate_core::key::PublicKey;
use sealgate_core::trust::{
    CertificateAuthority, LogKey, MAX_AUTHORITIES, MAX_TRUST_ROOT, TransparencyLog, TrustRoot,
    Validity,
};
use sealgate_core::verify::RootSource;

use super::{LoadedRoot, RootError, RootOrigin};
use crate::tuf::MAX_ROOT;

const CA: &str = "SIGSTORE_ROOT_FILE";
const LOG: &str = "SIGSTORE_REKOR_PUBLIC_KEY";
const CT_LOG: &str = "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE";
const TSA: &str = "SIGSTORE_TSA_CERTIFICATE_FILE";
const ROOT_JSON: &str = "TUF_ROOT_JSON";

/// Values of the environment variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Individual keys and certificates.
    pub keys: Keys,
    /// `TUF_ROOT`, or `~/.sigstore/root`.
    pub cache: Option<PathBuf>,
    /// `TUF_MIRROR`: takes precedence over the mirror recorded by `initialize`.
    pub mirror: Option<String>,
    /// `TUF_ROOT_JSON`: initial TUF root of a mirror without an embedded one.
    pub root_json: Option<PathBuf>,
}

/// Files with individual keys and certificates. What they do not provide comes from the underlying
/// root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// `SIGSTORE_ROOT_FILE`: Fulcio certificates, PEM.
    pub ca: Option<PathBuf>,
    /// `SIGSTORE_REKOR_PUBLIC_KEY`: public key of the transparency log, PEM.
    pub log: Option<PathBuf>,
    /// `SIGSTORE_CT_LOG_PUBLIC_KEY_FILE`: public key of the CT log, PEM.
    pub ct_log: Option<PathBuf>,
    /// `SIGSTORE_TSA_CERTIFICATE_FILE`: certificate chain of the timestamp authority, PEM.
    pub tsa: Option<PathBuf>,
}

impl Environment {
    /// Reads the variables. Empty ones count as unset.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| given(name).map(PathBuf::from);
        let home = || path("HOME").map(|home| home.join(".sigstore").join("root"));
        Self {
            keys: Keys { ca: path(CA), log: path(LOG), ct_log: path(CT_LOG), tsa: path(TSA) },
            cache: path("TUF_ROOT").or_else(home),
            mirror: given("TUF_MIRROR").map(|value| value.to_string_lossy().into_owned()),
            root_json: path(ROOT_JSON),
        }
    }
}

impl Keys {
    /// Returns whether no variable is set.
    pub fn is_empty(&self) -> bool {
        self.files().is_empty()
    }

    /// Returns whether nothing is taken from the underlying root.
    pub(super) fn is_complete(&self) -> bool {
        self.files().len() == 4
    }

    fn files(&self) -> Vec<PathBuf> {
        [&self.ca, &self.log, &self.ct_log, &self.tsa].into_iter().flatten().cloned().collect()
    }

    /// Underlying root with the given parts replaced.
    pub(super) fn over(&self, below: Option<LoadedRoot>) -> Result<LoadedRoot, RootError> {
        let mut root =
            below.as_ref().map_or_else(TrustRoot::default, |below| TrustRoot::clone(&below.root));
        if let Some(path) = &self.ca {
            root.certificate_authorities = authorities(path)?;
        }
        if let Some(path) = &self.log {
            root.transparency_logs = vec![log(LOG, path)?];
            root.skipped.clear();
        }
        if let Some(path) = &self.ct_log {
            root.ct_logs = vec![log(CT_LOG, path)?];
        }
        if let Some(path) = &self.tsa {
            root.timestamp_authorities = vec![chain(TSA, path, certificates(TSA, path)?)?];
        }
        let (origin, warnings) = below.map(|below| (below.origin, below.warnings)).unzip();
        Ok(LoadedRoot {
            root: root.into(),
            source: RootSource::Configured,
            origin: RootOrigin::Environment(self.files(), origin.map(Box::new)),
            warnings: warnings.unwrap_or_default(),
        })
    }
}

/// Trust root in the file of `--trusted-root`.
pub(super) fn root_of_file(path: &Path) -> Result<LoadedRoot, RootError> {
    let unreadable = |detail| RootError::File { path: path.to_owned(), detail };
    let json = read(path, MAX_TRUST_ROOT as u64).map_err(unreadable)?;
    let origin = RootOrigin::File(path.to_owned());
    let root = super::parse(&json, &origin)?;
    Ok(LoadedRoot { root, source: RootSource::Configured, origin, warnings: Vec::new() })
}

/// Content of the file in `TUF_ROOT_JSON`.
pub(super) fn tuf_root(path: &Path) -> Result<Vec<u8>, RootError> {
    read(path, MAX_ROOT).map_err(|detail| bad(ROOT_JSON, path, detail))
}

/// One authority per self-issued certificate; the other certificates may be below any of them.
fn authorities(path: &Path) -> Result<Vec<CertificateAuthority>, RootError> {
    let certificates = certificates(CA, path)?;
    let (roots, between): (Vec<_>, Vec<_>) =
        certificates.into_iter().partition(|der| names_itself(der));
    if roots.is_empty() {
        return Err(bad(CA, path, "contains no root certificate"));
    }
    let authority = |root| chain(CA, path, between.iter().cloned().chain([root]).collect());
    roots.into_iter().map(authority).collect()
}

/// Authority with these certificates; a stable sort puts the root last.
fn chain(
    variable: &'static str,
    path: &Path,
    mut certificates: Vec<Vec<u8>>,
) -> Result<CertificateAuthority, RootError> {
    certificates.sort_by_key(|der| names_itself(der));
    CertificateAuthority::new("", certificates, Validity::default())
        .map_err(|error| bad(variable, path, error))
}

fn certificates(variable: &'static str, path: &Path) -> Result<Vec<Vec<u8>>, RootError> {
    match pem::read(&text(variable, path)?, MAX_AUTHORITIES) {
        Ok(none) if none.is_empty() => Err(bad(variable, path, "contains no PEM certificates")),
        Ok(certificates) => Ok(certificates),
        Err(why) => Err(bad(variable, path, format!("not PEM certificates: {why}"))),
    }
}

fn log(variable: &'static str, path: &Path) -> Result<TransparencyLog, RootError> {
    let key = PublicKey::from_pem(&text(variable, path)?);
    let key = key.map_err(|error| bad(variable, path, error))?;
    Ok(TransparencyLog::new("", LogKey { key, hash: None }, None, Validity::default()))
}

fn text(variable: &'static str, path: &Path) -> Result<String, RootError> {
    let bytes = read(path, MAX_TRUST_ROOT as u64).map_err(|detail| bad(variable, path, detail))?;
    String::from_utf8(bytes).map_err(|_| bad(variable, path, "is not text"))
}

fn bad(variable: &'static str, path: &Path, detail: impl std::fmt::Display) -> RootError {
    RootError::Variable { variable, detail: format!("{}: {detail}", path.display()) }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match bytes.len() as u64 > limit {
        true => Err(format!("larger than {limit} bytes")),
        false => Ok(bytes),
    }
}
