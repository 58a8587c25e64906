//! A Sigstore of the tests' own on loopback: real Fulcio, real Rekor v2, the real timestamp
//! authority, started once for all tests, with an OIDC issuer and a certificate log that the
//! harness plays; and the trusted root and the signing configuration that real cosign writes for
//! them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer as Signer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    SignatureAlgorithm, date_time_ymd,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ctlog::CertificateLog;
use crate::http;
use crate::oidc::{CLIENT, Issuer};
use crate::process::{Launch, Server, free_port};
use crate::programs::{Sandbox, built};

/// Since when every service counts.
const SINCE: &str = "2024-01-01T00:00:00Z";

/// All of it.
pub struct Sigstore {
    /// Gives tokens.
    pub issuer: Issuer,
    /// Promises to publish certificates.
    pub certificate_log: CertificateLog,
    /// Certifies signers.
    pub fulcio: Fulcio,
    /// Lists signatures.
    pub rekor: Rekor,
    /// Says when.
    pub authority: TimestampAuthority,
    sandbox: Sandbox,
}

/// Fulcio with a root and an intermediate certificate of its own.
pub struct Fulcio {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// PEM, the intermediate first.
    pub chain: String,
    _server: Kept,
}

/// Rekor v2.
pub struct Rekor {
    /// `http://localhost:PORT`.
    pub url: String,
    /// PEM.
    pub public_key: String,
    /// The folder of its tiles and its checkpoint.
    pub storage: PathBuf,
    _server: Kept,
}

/// The timestamp authority.
pub struct TimestampAuthority {
    /// Where timestamps are asked for.
    pub url: String,
    /// PEM, the leaf first.
    pub chain: String,
    _server: Kept,
}

/// What lives as long as a server.
struct Kept {
    _server: Mutex<Server>,
    _folder: TempDir,
}

/// How a log signs its checkpoints.
#[derive(Clone, Copy, Debug)]
pub enum LogKey {
    /// As the public log of 2025 and later.
    Ed25519,
    /// ECDSA on P-256.
    P256,
}

/// The one that all tests share.
pub fn shared() -> &'static Sigstore {
    static SIGSTORE: OnceLock<Sigstore> = OnceLock::new();
    SIGSTORE.get_or_init(|| Sigstore::start().expect("Fulcio, Rekor and a timestamp authority"))
}

impl Sigstore {
    fn start() -> anyhow::Result<Self> {
        let issuer = Issuer::start()?;
        let certificate_log = CertificateLog::start()?;
        let fulcio = Fulcio::start(&issuer, &certificate_log)?;
        let rekor = Rekor::start("rekor", LogKey::Ed25519)?;
        let authority = TimestampAuthority::start("timestamps")?;
        let sandbox = Sandbox::new();
        let sigstore = Self { issuer, certificate_log, fulcio, rekor, authority, sandbox };
        sigstore.write_files();
        Ok(sigstore)
    }

    /// A token of a person.
    pub fn token(&self, email: &str) -> String {
        self.issuer.token(email)
    }

    /// The trusted root that cosign has written.
    pub fn trusted_root(&self) -> PathBuf {
        self.sandbox.path("trusted_root.json")
    }

    /// The same as a document, to change it.
    pub fn trusted_root_json(&self) -> Value {
        serde_json::from_str(&self.sandbox.read("trusted_root.json")).expect("a trusted root")
    }

    /// The signing configuration that cosign has written.
    pub fn signing_config(&self) -> PathBuf {
        self.sandbox.path("signing_config.json")
    }

    /// The same as a document, to change it.
    pub fn signing_config_json(&self) -> Value {
        serde_json::from_str(&self.sandbox.read("signing_config.json")).expect("a configuration")
    }

    /// What `trusted-root create` is called with, without `--out`.
    pub fn trusted_root_arguments(&self) -> Vec<String> {
        let file = |name: &str| self.sandbox.path(name).display().to_string();
        let (fulcio, ctfe) = (&self.fulcio.url, &self.certificate_log.url);
        let (rekor, tsa) = (&self.rekor.url, &self.authority.url);
        vec![
            "trusted-root".to_owned(),
            "create".to_owned(),
            format!("--fulcio=url={fulcio},certificate-chain={}", file("fulcio.pem")),
            format!("--ctfe=url={ctfe},public-key={},start-time={SINCE}", file("ctfe.pub")),
            format!(
                "--rekor=url={rekor},public-key={},start-time={SINCE},origin=localhost",
                file("rekor.pub")
            ),
            format!("--tsa=url={tsa},certificate-chain={}", file("tsa.pem")),
        ]
    }

    /// What `signing-config create` is called with, without `--out`.
    pub fn signing_config_arguments(&self) -> Vec<String> {
        let service = |flag: &str, url: &str, version: u32| {
            format!("--{flag}=url={url},api-version={version},start-time={SINCE},operator=tests")
        };
        vec![
            "signing-config".to_owned(),
            "create".to_owned(),
            service("fulcio", &self.fulcio.url, 1),
            service("rekor", &self.rekor.url, 2),
            "--rekor-config=ANY".to_owned(),
            service("oidc-provider", &self.issuer.people(), 1),
            service("tsa", &self.authority.url, 1),
            "--tsa-config=ANY".to_owned(),
        ]
    }

    fn write_files(&self) {
        self.sandbox.write("fulcio.pem", &self.fulcio.chain);
        self.sandbox.write("ctfe.pub", &self.certificate_log.public_key);
        self.sandbox.write("rekor.pub", &self.rekor.public_key);
        self.sandbox.write("tsa.pem", &self.authority.chain);
        for (mut arguments, file) in [
            (self.trusted_root_arguments(), "trusted_root.json"),
            (self.signing_config_arguments(), "signing_config.json"),
        ] {
            arguments.push(format!("--out={}", self.sandbox.path(file).display()));
            self.sandbox.cosign(&arguments).ok();
        }
    }
}

impl Fulcio {
    fn start(issuer: &Issuer, log: &CertificateLog) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let (chain, key) = authority()?;
        let file = |name: &str, text: &str| write(folder.path(), name, text);
        let port = free_port()?;
        let mut launch = Launch::new("fulcio", built("fulcio"));
        let command = launch.command();
        command.args(["serve", "--ca=fileca", "--fileca-watch=false", "--fileca-key-passwd=none"]);
        command.arg("--fileca-cert").arg(file("chain.pem", &chain)?);
        command.arg("--fileca-key").arg(file("ca.key", &key)?);
        command.arg("--config-path").arg(file("config.json", &fulcio_config(issuer).to_string())?);
        command.arg(format!("--ct-log-url={}", log.url));
        // Fulcio itself checks what our log signs.
        command.arg("--ct-log-public-key-path").arg(file("ctfe.pub", &log.public_key)?);
        command.args(["--host=127.0.0.1", &format!("--port={port}")]);
        command.args(["--grpc-host=127.0.0.1", &format!("--grpc-port={}", free_port()?)]);
        command.arg("--metrics-port=0");
        command.arg("--legacy-unix-domain-socket").arg(folder.path().join("fulcio.sock"));
        let host = format!("127.0.0.1:{port}");
        let server = launch.start(|| is_fine(&host, "/healthz"))?;
        Ok(Self { url: format!("http://{host}"), chain, _server: Kept::new(server, folder) })
    }
}

impl Rekor {
    /// A log of its own; `name` is its log file's.
    pub fn start(name: &str, key: LogKey) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let pair = KeyPair::generate_for(match key {
            LogKey::Ed25519 => &PKCS_ED25519,
            LogKey::P256 => &PKCS_ECDSA_P256_SHA256,
        })?;
        let storage = folder.path().join("storage");
        fs::create_dir(&storage)?;
        let port = free_port()?;
        let mut launch = Launch::new(name, built("rekor-server"));
        let command = launch.command();
        command.args(["serve", "--hostname=localhost", "--checkpoint-interval=200ms"]);
        command.args(["--batch-max-age=50ms", "--http-metrics-port=0"]);
        command.args([format!("--http-port={port}"), format!("--grpc-port={}", free_port()?)]);
        command.arg("--storage-dir").arg(&storage);
        let key = write(folder.path(), "rekor.key", &pair.serialize_pem())?;
        command.arg("--signer-filepath").arg(key);
        let server = launch.start(|| is_fine(&format!("127.0.0.1:{port}"), "/healthz"))?;
        Ok(Self {
            // The name is the origin of the log's checkpoints too.
            url: format!("http://localhost:{port}"),
            public_key: pair.public_key_pem(),
            storage,
            _server: Kept::new(server, folder),
        })
    }
}

impl TimestampAuthority {
    /// An authority of its own; `name` is its log file's.
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let host = format!("127.0.0.1:{port}");
        let mut launch = Launch::new(name, built("timestamps"));
        launch.command().arg(format!("-port={port}"));
        let server = launch.start(|| is_fine(&host, "/ping"))?;
        let chain = http::get(&host, "/api/v1/timestamp/certchain", "*/*")?;
        ensure!(chain.status == 200, "the timestamp authority shows no chain: {}", chain.text());
        Ok(Self {
            url: format!("http://{host}/api/v1/timestamp"),
            chain: chain.text(),
            _server: Kept::new(server, TempDir::new()?),
        })
    }

    /// A timestamp over some bytes.
    pub fn stamp(&self, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        // A TimeStampReq: version 1, SHA-256 with its digest, the certificate too.
        let mut query = hex::decode("30390201013031300d060960864801650304020105000420")?;
        query.extend(digest(&SHA256, bytes).as_ref());
        query.extend([1, 1, 0xff]);
        let url = self.url.trim_start_matches("http://");
        let (host, path) = url.split_once('/').context("an address has a path")?;
        let kind = [("Content-Type", "application/timestamp-query")];
        let answer = http::request("POST", host, &format!("/{path}"), &kind, &query)?;
        ensure!(matches!(answer.status, 200 | 201), "no timestamp: {}", answer.text());
        Ok(answer.body)
    }
}

impl Kept {
    fn new(server: Server, folder: TempDir) -> Self {
        Self { _server: Mutex::new(server), _folder: folder }
    }
}

fn fulcio_config(issuer: &Issuer) -> Value {
    let entry =
        |url: &str, kind: &str| json!({ "IssuerURL": url, "ClientID": CLIENT, "Type": kind });
    let (people, workflows) = (issuer.people(), issuer.workflows());
    json!({ "OIDCIssuers": {
        (people.as_str()): entry(&people, "email"),
        (workflows.as_str()): entry(&workflows, "github-workflow"),
    } })
}

/// A chain of two authorities, and the key of the first of them: what signs people's certificates
/// is an intermediate, as with the public Fulcio.
fn authority() -> anyhow::Result<(String, String)> {
    let (params, key) = authority_params("tests root", &PKCS_ECDSA_P384_SHA384)?;
    let root = params.self_signed(&key)?.pem();
    let root_signer = Signer::new(params, key);
    let (mut params, key) = authority_params("tests intermediate", &PKCS_ECDSA_P256_SHA256)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.use_authority_key_identifier_extension = true;
    let intermediate = params.signed_by(&key, &root_signer)?.pem();
    Ok((format!("{intermediate}{root}"), key.serialize_pem()))
}

fn authority_params(
    name: &str,
    algorithm: &'static SignatureAlgorithm,
) -> anyhow::Result<(CertificateParams, KeyPair)> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "sealgate.test");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2044, 1, 1);
    Ok((params, KeyPair::generate_for(algorithm)?))
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn is_fine(host: &str, path: &str) -> bool {
    http::get(host, path, "*/*").is_ok_and(|answer| answer.status == 200)
}
