//! Trust root cache shared by both tools: each finds what the other has fetched by TUF and chosen.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use sealgate_tests::programs::Sandbox;
use serde_json::{Value, json};

const ROOT: &str = include_str!("../../../crates/sealgate-core/tests/data/trusted_root.json");
const CONFIG: &str = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;

/// TUF repository over HTTP, with a request log.
struct Mirror {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    fn start() -> Self {
        let files = repository();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
                let path = first.split(' ').nth(1).unwrap_or_default();
                let name = path.trim_start_matches('/').to_owned();
                let (status, body) = match files.get(&name) {
                    Some(body) => ("200 OK", body.as_slice()),
                    None => ("404 Not Found", &b""[..]),
                };
                seen.lock().unwrap().push(name);
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let _ = client.write_all(head.as_bytes()).and_then(|()| client.write_all(body));
            }
        });
        Self { address, asked }
    }

    /// Names requested since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// Repository with four roles and one key each.
fn repository() -> BTreeMap<String, Vec<u8>> {
    let keys = ["root", "timestamp", "snapshot", "targets"]
        .map(|role| (role, Ed25519KeyPair::generate().unwrap()));
    let key = |role: &str| &keys.iter().find(|(name, _)| *name == role).unwrap().1;
    let all: serde_json::Map<_, _> =
        keys.iter().map(|(_, key)| (id(key), described(key))).collect();
    let roles = keys
        .iter()
        .map(|(role, key)| ((*role).to_owned(), json!({ "keyids": [id(key)], "threshold": 1 })));
    let roles: serde_json::Map<_, _> = roles.collect();
    let root = json!({ "consistent_snapshot": true, "keys": all, "roles": roles });
    let targets = [("trusted_root.json", ROOT), ("signing_config.v0.2.json", CONFIG)];
    let pins = targets.iter().map(|(name, text)| ((*name).to_owned(), pin(text.as_bytes())));
    let pins: serde_json::Map<_, _> = pins.collect();
    let version = json!({ "version": 1 });
    let snapshot = json!({ "meta": { "targets.json": version } });
    let timestamp = json!({ "meta": { "snapshot.json": version } });
    let mut files = BTreeMap::from([
        ("1.root.json".to_owned(), sign("root", root, key("root"))),
        ("timestamp.json".to_owned(), sign("timestamp", timestamp, key("timestamp"))),
        ("1.snapshot.json".to_owned(), sign("snapshot", snapshot, key("snapshot"))),
        ("1.targets.json".to_owned(), sign("targets", json!({ "targets": pins }), key("targets"))),
    ]);
    for (name, text) in targets {
        files.insert(format!("targets/{}.{name}", sha256(text.as_bytes())), text.into());
    }
    files
}

fn sign(role: &str, mut signed: Value, key: &Ed25519KeyPair) -> Vec<u8> {
    signed["_type"] = role.into();
    signed["spec_version"] = "1.0.31".into();
    signed["version"] = 1.into();
    signed["expires"] = tomorrow().into();
    let signature = hex::encode(key.sign(signed.to_string().as_bytes()));
    let signatures = json!([{ "keyid": id(key), "sig": signature }]);
    json!({ "signed": signed, "signatures": signatures }).to_string().into_bytes()
}

fn described(key: &Ed25519KeyPair) -> Value {
    let public = hex::encode(key.public_key());
    json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public } })
}

fn id(key: &Ed25519KeyPair) -> String {
    sha256(described(key).to_string().as_bytes())
}

fn pin(bytes: &[u8]) -> Value {
    json!({ "length": bytes.len(), "hashes": { "sha256": sha256(bytes) } })
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// RFC 3339 time from the system's `date`.
fn tomorrow() -> String {
    let time = SystemTime::now() + Duration::from_secs(86_400);
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let arguments = ["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"];
    let output = std::process::Command::new("date").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn json_of(sandbox: &Sandbox, name: &str) -> Value {
    serde_json::from_str(&sandbox.read(name)).unwrap()
}

/// Sandbox with the mirror's root in a file.
fn sandbox(mirror: &Mirror) -> Sandbox {
    let sandbox = Sandbox::new();
    let host = mirror.address.trim_start_matches("http://");
    let root = sealgate_tests::http::get(host, "/1.root.json", "*/*").unwrap();
    sandbox.write("1.root.json", root.body);
    mirror.asked();
    sandbox
}

#[test]
fn cosign_finds_what_we_have_chosen() {
    let mirror = Mirror::start();
    let sandbox = sandbox(&mirror);
    let choose = ["initialize", "--mirror", &mirror.address, "--root", "1.root.json"];
    sandbox.sealgate(&choose).ok();
    mirror.asked();
    let create = ["trusted-root", "create", "--with-default-services", "--out", "found.json"];
    sandbox.cosign(&create).ok();
    assert_eq!(json_of(&sandbox, "found.json")["tlogs"][0], parsed(ROOT)["tlogs"][0]);
    // cosign accepts the copy: it only checks for updates.
    assert_eq!(mirror.asked(), ["2.root.json", "timestamp.json"]);
}

#[test]
fn we_find_what_cosign_has_chosen() {
    let mirror = Mirror::start();
    let sandbox = sandbox(&mirror);
    let choose = ["initialize", "--mirror", &mirror.address, "--root", "1.root.json"];
    sandbox.cosign(&choose).ok();
    mirror.asked();
    let again = ["initialize", "--mirror", &mirror.address, "-o", "json"];
    let found: Value = serde_json::from_str(&sandbox.sealgate(&again).ok().stdout).unwrap();
    assert_eq!(found["trustRoot"]["transparencyLogs"], 2);
    assert_eq!(mirror.asked(), ["2.root.json", "timestamp.json"]);
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
