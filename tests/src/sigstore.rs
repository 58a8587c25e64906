//! Sigstore instance on loopback: real Fulcio, Rekor v2 and timestamp authority, started once for
//! all tests, with an OIDC issuer and a CT log implemented by the harness; and the trusted root and
//! signing configuration that real cosign writes for them.

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

use crate::ctlog::CtLog;
use crate::http;
use crate::oidc::{CLIENT, Issuer};
use crate::process::{Launch, Server, free_port};
use crate::programs::{Sandbox, built};

/// Start of validity of every service.
const SINCE: &str = "2024-01-01T00:00:00Z";

/// All services.
pub struct Sigstore {
    /// OIDC issuer.
    pub issuer: Issuer,
    /// CT log.
    pub ct_log: CtLog,
    /// Certificate authority.
    pub fulcio: Fulcio,
    /// Transparency log.
    pub rekor: Rekor,
    /// Timestamp authority.
    pub authority: TimestampAuthority,
    sandbox: Sandbox,
}

/// Fulcio with its own root and intermediate certificate.
pub struct Fulcio {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// Certificate chain, PEM, intermediate first.
    pub chain: String,
    _server: ServerResources,
}

/// Rekor v2.
pub struct Rekor {
    /// `http://localhost:PORT`.
    pub url: String,
    /// Public key, PEM.
    pub public_key: String,
    /// Directory of its tiles and checkpoint.
    pub storage: PathBuf,
    _server: ServerResources,
}

/// Timestamp authority.
pub struct TimestampAuthority {
    /// URL of timestamp requests.
    pub url: String,
    /// Certificate chain, PEM, leaf first.
    pub chain: String,
    _server: ServerResources,
}

/// Resources that live as long as a server.
struct ServerResources {
    _server: Mutex<Server>,
    _folder: TempDir,
}

/// Algorithm of a log's checkpoint signatures.
#[derive(Clone, Copy, Debug)]
pub enum LogKey {
    /// Ed25519, as in the public log since 2025.
    Ed25519,
    /// ECDSA on P-256.
    P256,
}

/// Instance shared by all tests.
pub fn shared() -> &'static Sigstore {
    static SIGSTORE: OnceLock<Sigstore> = OnceLock::new();
    SIGSTORE.get_or_init(|| Sigstore::start().expect("Fulcio, Rekor and a timestamp authority"))
}

impl Sigstore {
    fn start() -> anyhow::Result<Self> {
        let issuer = Issuer::start()?;
        let ct_log = CtLog::start()?;
        let fulcio = Fulcio::start(&issuer, &ct_log)?;
        let rekor = Rekor::start("rekor", LogKey::Ed25519)?;
        let authority = TimestampAuthority::start("timestamps")?;
        let sandbox = Sandbox::new();
        let sigstore = Self { issuer, ct_log, fulcio, rekor, authority, sandbox };
        sigstore.write_files();
        Ok(sigstore)
    }

    /// Token of a person.
    pub fn token(&self, email: &str) -> String {
        self.issuer.token(email)
    }

    /// Trusted root written by cosign.
    pub fn trusted_root(&self) -> PathBuf {
        self.sandbox.path("trusted_root.json")
    }

    /// Same trusted root as a document, for modification.
    pub fn trusted_root_json(&self) -> Value {
        serde_json::from_str(&self.sandbox.read("trusted_root.json")).expect("a trusted root")
    }

    /// Signing configuration written by cosign.
    pub fn signing_config(&self) -> PathBuf {
        self.sandbox.path("signing_config.json")
    }

    /// Same configuration as a document, for modification.
    pub fn signing_config_json(&self) -> Value {
        serde_json::from_str(&self.sandbox.read("signing_config.json")).expect("a configuration")
    }

    /// Arguments of `trusted-root create`, without `--out`.
    pub fn trusted_root_arguments(&self) -> Vec<String> {
        let file = |name: &str| self.sandbox.path(name).display().to_string();
        let (fulcio, ctfe) = (&self.fulcio.url, &self.ct_log.url);
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

    /// Arguments of `signing-config create`, without `--out`.
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
        self.sandbox.write("ctfe.pub", &self.ct_log.public_key);
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
    fn start(issuer: &Issuer, log: &CtLog) -> anyhow::Result<Self> {
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
        // Fulcio itself verifies the SCTs of the log.
        command.arg("--ct-log-public-key-path").arg(file("ctfe.pub", &log.public_key)?);
        command.args(["--host=127.0.0.1", &format!("--port={port}")]);
        command.args(["--grpc-host=127.0.0.1", &format!("--grpc-port={}", free_port()?)]);
        command.arg("--metrics-port=0");
        command.arg("--legacy-unix-domain-socket").arg(folder.path().join("fulcio.sock"));
        let host = format!("127.0.0.1:{port}");
        let server = launch.start(|| is_fine(&host, "/healthz"))?;
        Ok(Self {
            url: format!("http://{host}"),
            chain,
            _server: ServerResources::new(server, folder),
        })
    }
}

impl Rekor {
    /// Separate log; `name` is used for its log file.
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
            // The host name is also the origin of the log's checkpoints.
            url: format!("http://localhost:{port}"),
            public_key: pair.public_key_pem(),
            storage,
            _server: ServerResources::new(server, folder),
        })
    }
}

impl TimestampAuthority {
    /// Separate authority; `name` is used for its log file.
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
            _server: ServerResources::new(server, TempDir::new()?),
        })
    }

    /// Timestamp over some bytes.
    pub fn stamp(&self, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        // TimeStampReq: version 1, SHA-256 digest, certificates requested.
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

impl ServerResources {
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

/// CA chain with root and intermediate, and the intermediate's key: leaf certificates are issued by
/// an intermediate, as in the public Fulcio.
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
