//! `trusted-root create`: writes a trusted root, the document with the trusted authorities and
//! logs.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use sealgate_core::certificate::Unverified;
use sealgate_core::key::{HashAlgorithm, KeyAlgorithm, PublicKey};
use sealgate_core::trust::{
    CertificateAuthority, LogKey, MAX_CHAIN, TransparencyLog, TrustRoot, Validity,
};

use crate::cli::files::{self, Mode};
use crate::cli::root::default_root;
use crate::cli::spec::{Spec, time};
use crate::cli::values::{BOOL, go_bool};
use crate::failure::{CliError, Outcome};
use crate::session::Session;

const MAX_PEM: u64 = 1 << 20;

/// Manage trusted roots, which contain the trusted keys and certificates
#[derive(Args, Debug)]
pub(crate) struct TrustedRootArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Create(Box<CreateArgs>),
}

/// Create a trusted root
///
/// Each certificate authority and timestamp authority is a comma-separated list:
/// url=…,certificate-chain=FILE and optionally start-time=…,end-time=… (RFC 3339). Each log is a
/// comma-separated list: url=…,public-key=FILE,start-time=… and optionally end-time=…,origin=… (the
/// name with which a Rekor v2 log signs its checkpoints).
#[derive(Args, Debug)]
struct CreateArgs {
    /// Certificate authority (Fulcio); its chain ends with the root
    #[arg(long, value_name = "SPEC")]
    fulcio: Vec<String>,

    /// Transparency log (Rekor)
    #[arg(long, value_name = "SPEC")]
    rekor: Vec<String>,

    /// CT log
    #[arg(long, value_name = "SPEC")]
    ctfe: Vec<String>,

    /// Timestamp authority; its chain begins with the signing certificate
    #[arg(long, value_name = "SPEC")]
    tsa: Vec<String>,

    /// Start from the trusted root from TUF, or the embedded one
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    with_default_services: Option<bool>,

    /// Do not include the certificate authorities of the default trusted root
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    no_default_fulcio: Option<bool>,

    /// Do not include the CT logs of the default trusted root
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    no_default_ctfe: Option<bool>,

    /// Do not include the transparency logs of the default trusted root
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    no_default_rekor: Option<bool>,

    /// Do not include the timestamp authorities of the default trusted root
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    no_default_tsa: Option<bool>,

    /// Write to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    older: OlderFlags,
}

/// The flags before the lists: the first of each kind belong together, and so on.
#[derive(Args, Debug, Default)]
struct OlderFlags {
    #[arg(long, hide = true)]
    certificate_chain: Vec<PathBuf>,
    #[arg(long, hide = true)]
    fulcio_uri: Vec<String>,
    #[arg(long, hide = true)]
    ctfe_key: Vec<PathBuf>,
    #[arg(long, hide = true)]
    ctfe_url: Vec<String>,
    #[arg(long, hide = true)]
    ctfe_start_time: Vec<String>,
    #[arg(long, hide = true)]
    ctfe_end_time: Vec<String>,
    #[arg(long, hide = true)]
    rekor_key: Vec<String>,
    #[arg(long, hide = true)]
    rekor_url: Vec<String>,
    #[arg(long, hide = true)]
    rekor_start_time: Vec<String>,
    #[arg(long, hide = true)]
    rekor_end_time: Vec<String>,
    #[arg(long, hide = true)]
    timestamp_certificate_chain: Vec<PathBuf>,
    #[arg(long, hide = true)]
    timestamp_uri: Vec<String>,
}

pub(crate) async fn run(args: TrustedRootArgs, session: &mut Session) -> Outcome {
    let What::Create(args) = args.what;
    let text = args.root().await?.to_json();
    match &args.out {
        Some(path) => files::write(path, text.as_bytes(), Mode::Private),
        None => session.line(text),
    }
}

impl CreateArgs {
    async fn root(&self) -> Result<TrustRoot, CliError> {
        self.check()?;
        let mut root = self.begin().await?;
        for spec in &self.fulcio {
            root.certificate_authorities.push(authority(spec, Chain::Fulcio)?);
        }
        for spec in &self.tsa {
            root.timestamp_authorities.push(authority(spec, Chain::Timestamps)?);
        }
        for spec in &self.ctfe {
            put(&mut root.ct_logs, log(spec, "ctfe")?);
        }
        for spec in &self.rekor {
            put(&mut root.transparency_logs, log(spec, "rekor")?);
        }
        self.older.add(&mut root)?;
        // The oldest first, as cosign writes them.
        root.certificate_authorities.sort_by_key(|one| one.validity.start);
        root.timestamp_authorities.sort_by_key(|one| one.validity.start);
        root.ct_logs.sort_by_key(|one| one.validity.start);
        root.transparency_logs.sort_by_key(|one| one.validity.start);
        Ok(root)
    }

    fn check(&self) -> Outcome {
        let OlderFlags { certificate_chain, fulcio_uri, ctfe_key, ctfe_url, .. } = &self.older;
        let OlderFlags { rekor_key, rekor_url, timestamp_certificate_chain, .. } = &self.older;
        let kinds = [
            ("fulcio", &self.fulcio, !certificate_chain.is_empty() || !fulcio_uri.is_empty()),
            ("rekor", &self.rekor, !rekor_key.is_empty() || !rekor_url.is_empty()),
            ("ctfe", &self.ctfe, !ctfe_key.is_empty() || !ctfe_url.is_empty()),
            (
                "tsa",
                &self.tsa,
                !timestamp_certificate_chain.is_empty() || !self.older.timestamp_uri.is_empty(),
            ),
        ];
        match kinds.iter().find(|(_, specs, older)| !specs.is_empty() && *older) {
            None => Ok(()),
            Some((name, ..)) => Err(CliError::new(format!(
                "cannot use --{name} and old {name} flags at the same time"
            ))),
        }
    }

    async fn begin(&self) -> Result<TrustRoot, CliError> {
        if self.with_default_services != Some(true) {
            return Ok(TrustRoot::default());
        }
        let mut root = TrustRoot::clone(&default_root().await?.root);
        let leaves = |no: Option<bool>| no == Some(true);
        if leaves(self.no_default_fulcio) {
            root.certificate_authorities.clear();
        }
        if leaves(self.no_default_ctfe) {
            root.ct_logs.clear();
        }
        if leaves(self.no_default_rekor) {
            root.transparency_logs.clear();
        }
        if leaves(self.no_default_tsa) {
            root.timestamp_authorities.clear();
        }
        Ok(root)
    }
}

impl OlderFlags {
    fn add(&self, root: &mut TrustRoot) -> Outcome {
        for (at, path) in self.certificate_chain.iter().enumerate() {
            let chain = Chain::Fulcio.read(path)?;
            let validity = window(chain.last().map(Unverified::not_before), None);
            let uri = nth(&self.fulcio_uri, at);
            root.certificate_authorities.push(chained(uri, &chain, validity)?);
        }
        for (at, path) in self.timestamp_certificate_chain.iter().enumerate() {
            let chain = Chain::Timestamps.read(path)?;
            let validity = window(chain.last().map(Unverified::not_before), None);
            let uri = nth(&self.timestamp_uri, at);
            root.timestamp_authorities.push(chained(uri, &chain, validity)?);
        }
        for (at, path) in self.ctfe_key.iter().enumerate() {
            let times = (self.ctfe_start_time.as_slice(), self.ctfe_end_time.as_slice());
            let url = nth(&self.ctfe_url, at);
            put(&mut root.ct_logs, older_log(url, path, None, times, at)?);
        }
        for (at, key) in self.rekor_key.iter().enumerate() {
            let (path, origin) = match key.split_once(',') {
                Some((path, origin)) => (path, Some(origin).filter(|origin| !origin.is_empty())),
                None => (key.as_str(), None),
            };
            let times = (self.rekor_start_time.as_slice(), self.rekor_end_time.as_slice());
            let url = nth(&self.rekor_url, at);
            put(&mut root.transparency_logs, older_log(url, Path::new(path), origin, times, at)?);
        }
        Ok(())
    }
}

fn nth(texts: &[String], at: usize) -> String {
    texts.get(at).cloned().unwrap_or_default()
}

fn older_log(
    url: String,
    key: &Path,
    origin: Option<&str>,
    (starts, ends): (&[String], &[String]),
    at: usize,
) -> Result<TransparencyLog, CliError> {
    let read = |texts: &[String]| texts.get(at).map(|text| time(text)).transpose();
    let start = read(starts).map_err(CliError::new)?.map_or(0, Timestamp::as_second);
    let end = read(ends).map_err(CliError::new)?;
    keyed(url, key, origin, window(Some(start), end))
}

/// The authority of a certificate chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chain {
    /// A certificate authority: the chain has CA certificates only.
    Fulcio,
    /// A timestamp authority: the chain begins with the certificate that signs timestamps.
    Timestamps,
}

impl Chain {
    fn what(self) -> &'static str {
        match self {
            Self::Fulcio => "fulcio",
            Self::Timestamps => "tsa",
        }
    }

    fn read(self, path: &Path) -> Result<Vec<Unverified>, CliError> {
        let named = |why: String| CliError::new(format!("{}: {why}", path.display()));
        let text = String::from_utf8(files::read(path, MAX_PEM)?);
        let text = text.map_err(|_| named("not PEM".to_owned()))?;
        let chain = Unverified::of_pem(&text, MAX_CHAIN).map_err(|why| named(why.to_string()))?;
        let Some(first) = chain.first() else {
            return Err(CliError::new(format!("no certificates in file {}", path.display())));
        };
        if self == Self::Timestamps && first.is_authority() {
            return Err(named("first certificate in chain must be a leaf certificate".to_owned()));
        }
        Ok(chain)
    }

    /// The default start of validity: that of the root for a certificate authority, that of the
    /// leaf for a timestamp authority, as in cosign.
    fn begins(self, chain: &[Unverified]) -> Option<i64> {
        let certificate = match self {
            Self::Fulcio => chain.last(),
            Self::Timestamps => chain.first(),
        };
        certificate.map(Unverified::not_before)
    }
}

fn authority(spec: &str, kind: Chain) -> Result<CertificateAuthority, CliError> {
    let (required, optional) = (["url", "certificate-chain"], ["start-time", "end-time"]);
    let spec = Spec::read(spec, kind.what(), &required, &optional)?;
    let chain = kind.read(Path::new(&spec.text("certificate-chain")))?;
    let start = spec.time("start-time")?.map(Timestamp::as_second).or(kind.begins(&chain));
    chained(spec.text("url"), &chain, window(start, spec.time("end-time")?))
}

fn chained(
    uri: String,
    chain: &[Unverified],
    validity: Validity,
) -> Result<CertificateAuthority, CliError> {
    let chain = chain.iter().map(|certificate| certificate.der().to_vec()).collect();
    CertificateAuthority::new(uri, chain, validity)
        .map_err(|error| CliError::new(error.to_string()))
}

fn log(spec: &str, what: &'static str) -> Result<TransparencyLog, CliError> {
    let required = ["url", "public-key", "start-time"];
    let spec = Spec::read(spec, what, &required, &["end-time", "origin"])?;
    let start = spec.time("start-time")?.map(Timestamp::as_second);
    let window = window(start, spec.time("end-time")?);
    keyed(spec.text("url"), Path::new(&spec.text("public-key")), spec.get("origin"), window)
}

/// A log with this key. Its ID is the key ID in its checkpoints if it has an origin, else the hash of
/// its key.
fn keyed(
    url: String,
    path: &Path,
    origin: Option<&str>,
    validity: Validity,
) -> Result<TransparencyLog, CliError> {
    let named =
        |why: String| CliError::new(format!("parsing public-key: {}: {why}", path.display()));
    let text = String::from_utf8(files::read(path, MAX_PEM)?);
    let text = text.map_err(|_| named("not PEM".to_owned()))?;
    let key = PublicKey::from_pem(&text).map_err(|error| named(error.to_string()))?;
    let hash = Some(match key.algorithm() {
        KeyAlgorithm::EcdsaP384 => HashAlgorithm::Sha384,
        KeyAlgorithm::EcdsaP521 | KeyAlgorithm::Ed25519 => HashAlgorithm::Sha512,
        _ => HashAlgorithm::Sha256,
    });
    let key = LogKey { key, hash };
    let id = origin.map(|origin| key.note_id(origin));
    Ok(TransparencyLog::new(url, key, id, validity))
}

/// Adds a log, which replaces one with the same ID, as in cosign.
fn put(logs: &mut Vec<TransparencyLog>, log: TransparencyLog) {
    logs.retain(|known| known.log_id() != log.log_id());
    logs.push(log);
}

fn window(start: Option<i64>, end: Option<Timestamp>) -> Validity {
    Validity { start, end: end.map(Timestamp::as_second) }
}
