//! Registry that answers as a hostile tenant would have it, by the first component of the
//! repository. It listens on all addresses: each `127.a.b.c:PORT` is another registry to the gate.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::connections::until_closed;
use crate::image::{INDEX, MANIFEST, descriptor, sha256};

/// Behaviour of the registry for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Accepts connections and never answers.
    Silent,
    /// Sixteen signature layers of 1 MiB, the last of which stops one byte before its end.
    StalledLayer,
    /// Sixteen signature layers of 1 MiB, all of which stop one byte before their end.
    StalledLayers,
    /// Sixteen referrers of 4 MiB, all of which stop one byte before their end.
    StalledManifests,
    /// Everything is missing: 404.
    Missing,
    /// 1,000 signatures, none of which verifies, of a payload of 16 KiB.
    ManySignatures,
    /// 1,000 signature layers of 1 MiB each.
    LargeSignatures,
    /// Fifteen bundles of almost 1 MiB each, which consists of certificates.
    LargeBundles,
}

/// Running registry; it ends with the value.
pub struct HostileRegistry {
    /// Port on all addresses.
    pub port: u16,
    task: JoinHandle<()>,
}

/// Response to a request.
enum Response {
    Silence,
    Whole {
        status: &'static str,
        media_type: &'static str,
        body: &'static [u8],
    },
    /// The headers, and the body but for its last byte.
    Stalled {
        media_type: &'static str,
        body: &'static [u8],
    },
}

/// Documents of the registry, built once.
struct Documents {
    /// Signature manifests with sixteen and with 1,000 layers.
    sixteen_layers: Vec<u8>,
    many_layers: Vec<u8>,
    large_layers: Vec<u8>,
    /// Referrers lists: of sixteen manifests of 4 MiB, and of the bundles.
    large_referrers: Vec<u8>,
    bundle_referrers: Vec<u8>,
    /// By digest.
    blobs: HashMap<String, Vec<u8>>,
    bundle_manifests: HashMap<String, Vec<u8>>,
    /// Digest of the last of the sixteen layers.
    last_layer: String,
    large_manifest: Vec<u8>,
}

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const OCTETS: &str = "application/octet-stream";
const EMPTY_INDEX: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
const MISSING: &[u8] = br#"{"errors":[{"code":"NOT_FOUND","message":"not found"}]}"#;

const LAYER: usize = 1 << 20;
const LAYERS: usize = 16;
const LARGE_MANIFEST: usize = 4 << 20;
const MANY: usize = 1_000;
const SMALL_PAYLOAD: usize = 16 << 10;
const BUNDLES: usize = 15;
const CERTIFICATES: usize = 16;
const EXTENSION: usize = 46 << 10;
/// Maximum size of a request head.
const HEAD: usize = 16 << 10;

static DOCUMENTS: LazyLock<Documents> = LazyLock::new(Documents::new);

impl Behaviour {
    const ALL: [Self; 8] = [
        Self::Silent,
        Self::StalledLayer,
        Self::StalledLayers,
        Self::StalledManifests,
        Self::Missing,
        Self::ManySignatures,
        Self::LargeSignatures,
        Self::LargeBundles,
    ];

    /// First component of the repositories with this behaviour.
    fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::StalledLayer => "stalled-layer",
            Self::StalledLayers => "stalled-layers",
            Self::StalledManifests => "stalled-manifests",
            Self::Missing => "missing",
            Self::ManySignatures => "many-signatures",
            Self::LargeSignatures => "large-signatures",
            Self::LargeBundles => "large-bundles",
        }
    }

    /// Response to `GET /v2/NAME/…/{referrers,manifests,blobs}/REFERENCE`.
    fn answer(self, kind: &str, reference: &str) -> Response {
        let documents = &*DOCUMENTS;
        let signatures = |layers: &'static [u8]| match kind {
            "referrers" => Response::ok(INDEX, EMPTY_INDEX),
            "manifests" if reference.ends_with(".sig") => Response::ok(MANIFEST, layers),
            "manifests" => Response::missing(),
            _ => Response::found(OCTETS, documents.blobs.get(reference)),
        };
        match self {
            Self::Silent => Response::Silence,
            Self::Missing => Response::missing(),
            Self::StalledLayer | Self::StalledLayers => {
                let all = self == Self::StalledLayers || reference == documents.last_layer;
                match signatures(&documents.sixteen_layers) {
                    Response::Whole { media_type, body, .. } if kind == "blobs" && all => {
                        Response::Stalled { media_type, body }
                    }
                    response => response,
                }
            }
            Self::StalledManifests => match kind {
                "referrers" => Response::ok(INDEX, &documents.large_referrers),
                "manifests" => {
                    Response::Stalled { media_type: MANIFEST, body: &documents.large_manifest }
                }
                _ => Response::missing(),
            },
            Self::ManySignatures => signatures(&documents.many_layers),
            Self::LargeSignatures => signatures(&documents.large_layers),
            Self::LargeBundles => match kind {
                "referrers" => Response::ok(INDEX, &documents.bundle_referrers),
                "manifests" => Response::found(MANIFEST, documents.bundle_manifests.get(reference)),
                _ => Response::found(OCTETS, documents.blobs.get(reference)),
            },
        }
    }
}

impl HostileRegistry {
    /// Starts a registry on a free port of all addresses.
    pub async fn start() -> io::Result<Self> {
        LazyLock::force(&DOCUMENTS);
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        // The gate may close a connection at any time.
                        Ok((stream, _)) => drop(connections.spawn(async { drop(serve(stream).await) })),
                        Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { port, task })
    }

    /// Host number `number`; another address for each.
    pub fn host(&self, number: u32) -> String {
        let [_, a, b, c] = number.to_be_bytes();
        format!("127.{}.{b}.{c}:{}", 100 + a % 100, self.port)
    }

    /// Image number `number` on host number `host`, which the gate has not seen before.
    pub fn image(&self, behaviour: Behaviour, host: u32, number: u64) -> String {
        let digest = sha256(&number.to_be_bytes());
        format!("{}/{}/app@{digest}", self.host(host), behaviour.name())
    }

    /// Variant with a repository of its own.
    pub fn image_in_own_repository(&self, behaviour: Behaviour, host: u32, number: u64) -> String {
        let digest = sha256(&number.to_be_bytes());
        format!("{}/{}/{number}@{digest}", self.host(host), behaviour.name())
    }
}

impl Drop for HostileRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the requests of one connection.
async fn serve(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut buffer = Vec::new();
    while let Some(path) = read_path(&mut stream, &mut buffer).await? {
        let (status, media_type, body, end) = match answer(&path) {
            Response::Silence => return until_closed(&mut stream).await,
            Response::Whole { status, media_type, body } => (status, media_type, body, body.len()),
            Response::Stalled { media_type, body } => ("200 OK", media_type, body, body.len() - 1),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body[..end]).await?;
        if end < body.len() {
            return until_closed(&mut stream).await;
        }
    }
    Ok(())
}

/// Path of the next request; `None` at the end of the connection. Requests have no body.
async fn read_path(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            return Ok(Some(head.split(' ').nth(1).unwrap_or_default().to_owned()));
        }
        if buffer.len() > HEAD || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn answer(path: &str) -> Response {
    let Some(rest) = path.strip_prefix("/v2/") else { return Response::missing() };
    let mut from_the_end = rest.rsplitn(3, '/');
    let (reference, kind) = (from_the_end.next(), from_the_end.next());
    let name = rest.split('/').next().unwrap_or_default();
    let behaviour = Behaviour::ALL.into_iter().find(|behaviour| behaviour.name() == name);
    match (behaviour, kind, reference) {
        (Some(behaviour), Some(kind), Some(reference)) => behaviour.answer(kind, reference),
        _ => Response::missing(),
    }
}

impl Response {
    fn ok(media_type: &'static str, body: &'static [u8]) -> Self {
        Self::Whole { status: "200 OK", media_type, body }
    }

    fn found(media_type: &'static str, body: Option<&'static Vec<u8>>) -> Self {
        body.map_or_else(Self::missing, |body| Self::ok(media_type, body))
    }

    fn missing() -> Self {
        Self::Whole { status: "404 Not Found", media_type: "application/json", body: MISSING }
    }
}

impl Documents {
    fn new() -> Self {
        let mut blobs = HashMap::new();
        let sixteen: Vec<Value> =
            (0..LAYERS).map(|number| signature(&payload(LAYER, number), number)).collect();
        for number in 0..LAYERS {
            let payload = payload(LAYER, number);
            blobs.insert(sha256(&payload), payload);
        }
        let last_layer = sha256(&payload(LAYER, LAYERS - 1));
        let small = payload(SMALL_PAYLOAD, 0);
        let many = (0..MANY).map(|number| signature(&small, number));
        let many_layers = manifest(many.collect());
        blobs.insert(sha256(&small), small);
        let mut large = sixteen.clone();
        // These are never asked for: the first sixteen reach the limit of one image.
        large.extend((LAYERS..MANY).map(|number| {
            let digest = sha256(&number.to_be_bytes());
            json!({ "mediaType": SIMPLE_SIGNING, "size": LAYER, "digest": digest })
        }));
        let large_manifest = vec![b' '; LARGE_MANIFEST];
        let large_referrers = (0..LAYERS).map(|number: usize| {
            let digest = sha256(&number.to_be_bytes());
            json!({ "mediaType": MANIFEST, "size": LARGE_MANIFEST, "digest": digest })
        });
        let bundles: Vec<Vec<u8>> = (0..BUNDLES).map(bundle).collect();
        let manifests = bundles.iter().map(|bundle| manifest(vec![descriptor(BUNDLE, bundle)]));
        let manifests: Vec<Vec<u8>> = manifests.collect();
        let bundle_referrers = manifests.iter().map(|manifest| {
            let mut entry = descriptor(MANIFEST, manifest);
            entry["artifactType"] = json!(BUNDLE);
            entry
        });
        let bundle_referrers = index(bundle_referrers.collect());
        blobs.extend(bundles.into_iter().map(|bundle| (sha256(&bundle), bundle)));
        let by_digest = manifests.into_iter().map(|manifest| (sha256(&manifest), manifest));
        Self {
            sixteen_layers: manifest(sixteen),
            many_layers,
            large_layers: manifest(large),
            large_referrers: index(large_referrers.collect()),
            bundle_referrers,
            blobs,
            bundle_manifests: by_digest.collect(),
            last_layer,
            large_manifest,
        }
    }
}

fn manifest(layers: Vec<Value>) -> Vec<u8> {
    let config = descriptor("application/vnd.oci.empty.v1+json", b"{}");
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
    manifest.to_string().into_bytes()
}

fn index(manifests: Vec<Value>) -> Vec<u8> {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    index.to_string().into_bytes()
}

/// Signed payload of `length` bytes; another one for each number.
fn payload(length: usize, number: usize) -> Vec<u8> {
    let payload = |padding: &str| {
        let digest = sha256(&number.to_be_bytes());
        let critical = json!({
            "identity": { "docker-reference": "example.com/app" },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        });
        json!({ "critical": critical, "optional": { "padding": padding } }).to_string()
    };
    let rest = length - payload("").len();
    payload(&"x".repeat(rest)).into_bytes()
}

/// Signature layer of a payload, with a signature that was made by no key.
fn signature(payload: &[u8], number: usize) -> Value {
    let half = |side: &str| {
        let digits = sha256(format!("{side}{number}").as_bytes());
        let mut bytes = hex::decode(&digits["sha256:".len()..]).unwrap_or_default();
        // A positive integer of 32 bytes.
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x7f | 1;
        }
        [vec![0x02, 32], bytes].concat()
    };
    let der = [vec![0x30, 68], half("r"), half("s")].concat();
    let mut layer = descriptor(SIMPLE_SIGNING, payload);
    layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": STANDARD.encode(der) });
    layer
}

/// Bundle of almost 1 MiB that consists of certificates, as many and as large as are accepted; another
/// one for each number.
fn bundle(number: usize) -> Vec<u8> {
    let certificate = certificate(number).map(|certificate| STANDARD.encode(certificate));
    let entry = json!({ "rawBytes": certificate.unwrap_or_default() });
    let chain = vec![entry; CERTIFICATES];
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.2",
        "verificationMaterial": { "x509CertificateChain": { "certificates": chain } },
        "dsseEnvelope": {
            "payload": STANDARD.encode("{}"),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": STANDARD.encode("none") }],
        },
    });
    bundle.to_string().into_bytes()
}

/// Certificate (DER) with an extension that fills it.
fn certificate(number: usize) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(vec![format!("{number}.example.com")])?;
    let extension = CustomExtension::from_oid_content(&[1, 3, 9999, 1], vec![0; EXTENSION]);
    params.custom_extensions.push(extension);
    Ok(params.self_signed(&KeyPair::generate()?)?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_the_sizes_that_they_are_named_for() {
        let documents = Documents::new();
        let last = &documents.blobs[&documents.last_layer];
        assert_eq!(last.len(), LAYER);
        let bundles = documents.blobs.values().filter(|blob| blob.starts_with(b"{\"dsse"));
        let sizes: Vec<usize> = bundles.map(Vec::len).collect();
        assert_eq!(sizes.len(), BUNDLES);
        assert!(sizes.iter().all(|size| (900_000..=LAYER).contains(size)), "{sizes:?}");
    }

    #[test]
    fn a_path_names_a_behaviour_a_kind_and_a_reference() {
        assert!(matches!(answer("/v2/silent/app/referrers/sha256:0"), Response::Silence));
        let layers = answer("/v2/stalled-layer/app/manifests/sha256-0.sig");
        assert!(matches!(layers, Response::Whole { status: "200 OK", .. }));
        let last = format!("/v2/stalled-layer/app/blobs/{}", DOCUMENTS.last_layer);
        assert!(matches!(answer(&last), Response::Stalled { .. }));
        assert!(matches!(
            answer("/v2/other/app/blobs/x"),
            Response::Whole { status: "404 Not Found", .. }
        ));
    }
}
