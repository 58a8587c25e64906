//! Network between a client and its registry: TLS with a private CA, client certificates, and a
//! proxy. An untrusted registry is never reported as an image without signatures.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sealgate_tests::certificates::Authority;
use sealgate_tests::process::{Launch, Server, free_port, listens};
use sealgate_tests::programs::{Run, Sandbox};
use sealgate_tests::proxy::read_head;
use sealgate_tests::registries;

use crate::support::sandbox_with_key;

/// Name that only a proxy can resolve; it is in the registry's certificate, too.
const ELSEWHERE: &str = "registry.elsewhere.test";

/// docker-registry over TLS, with a CA for client certificates.
struct TlsRegistry {
    port: u16,
    sandbox: Sandbox,
    _server: Server,
}

/// Clients accepted by the registry.
enum Clients {
    AcceptAnyCertificate,
    /// Clients with a certificate from the CA in `clients.crt`, such as `client.crt`.
    Certified,
}

impl TlsRegistry {
    /// Sandbox with `ca.crt`, `other-ca.crt`, and `client` and `other-client` as `.crt` and `.key`.
    fn start(name: &str, clients: Clients) -> Self {
        Self::prepared(name, clients, |_| ())
    }

    /// Variant with server and client certificates of X.509 version 1.
    fn of_version_1(name: &str) -> Self {
        Self::prepared(name, Clients::Certified, |sandbox| {
            by_openssl(sandbox, "ca-1", None);
            by_openssl(sandbox, "registry", Some("ca-1"));
            by_openssl(sandbox, "client", Some("ca-1"));
            sandbox.write("clients.crt", sandbox.read("ca-1.crt"));
        })
    }

    fn prepared(name: &str, clients: Clients, change: impl FnOnce(&Sandbox)) -> Self {
        let sandbox = sandbox_with_key();
        let folder = sandbox.path("");
        let authority = Authority::new("tests registry ca").unwrap();
        let others = Authority::new("tests other ca").unwrap();
        let own = Authority::new("tests clients ca").unwrap();
        sandbox.write("ca.crt", &authority.pem);
        sandbox.write("other-ca.crt", &others.pem);
        sandbox.write("clients.crt", &own.pem);
        own.issue(&folder, "client").unwrap();
        others.issue(&folder, "other-client").unwrap();
        let names = ["127.0.0.1", "localhost", ELSEWHERE];
        authority.issue_for(&folder, "registry", &names).unwrap();
        change(&sandbox);
        let port = free_port().unwrap();
        sandbox.write("config.yml", configuration(&folder, port, &clients));
        let mut launch = Launch::new(name, "docker-registry");
        launch.command().arg("serve").arg(sandbox.path("config.yml"));
        let server = launch.start(|| listens(port)).unwrap();
        Self { port, sandbox, _server: server }
    }

    fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/tests/{name}:v1", self.port)
    }

    /// Signed image, pushed with `flags`.
    fn signed(&self, name: &str, flags: &[&str]) -> String {
        let image = self.image(name);
        let plain = registries::docker().image(name);
        self.run(&["copy"], flags, &[&plain.by_tag(), &image]).ok();
        self.run(&["sign", "--key", "cosign.key", "-y"], flags, &[&image]).ok();
        image
    }

    fn verify(&self, flags: &[&str], image: &str) -> Run {
        self.run(&["verify", "--key", "cosign.pub"], flags, &[image])
    }

    fn run(&self, command: &[&str], flags: &[&str], images: &[&str]) -> Run {
        self.sandbox.sealgate(&[command, flags, images].concat())
    }
}

/// Creates `NAME.crt` and `.key` with openssl: without extensions, which gives version 1; or
/// without an issuer as a CA, which must be version 3.
fn by_openssl(sandbox: &Sandbox, name: &str, issuer: Option<&str>) {
    let file = |name: &str, extension: &str| format!("{name}.{extension}");
    let (certificate, key) = (file(name, "crt"), file(name, "key"));
    let subject = format!("/CN={name}");
    let new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let new = [&new[..], &["-keyout", &key, "-subj", &subject]].concat();
    let Some(issuer) = issuer else {
        sandbox.program("openssl", &[&new[..], &["-x509", "-out", &certificate]].concat()).ok();
        return;
    };
    let request = file(name, "csr");
    sandbox.program("openssl", &[&new[..], &["-out", &request]].concat()).ok();
    let (ca, ca_key) = (file(issuer, "crt"), file(issuer, "key"));
    let sign = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
    sandbox.program("openssl", &[&sign[..], &["-out", &certificate]].concat()).ok();
    let show = ["x509", "-in", &certificate, "-noout", "-text"];
    let text = sandbox.program("openssl", &show).ok().stdout;
    assert!(text.contains("Version: 1 (0x0)"), "{text}");
}

fn configuration(folder: &Path, port: u16, clients: &Clients) -> String {
    let folder = folder.display();
    let wanted = match clients {
        Clients::AcceptAnyCertificate => String::new(),
        Clients::Certified => format!("    clientcas: [{folder}/clients.crt]\n"),
    };
    format!(
        "version: 0.1\n\
         log:\n  level: warn\n\
         storage:\n  filesystem:\n    rootdirectory: {folder}/storage\n\
         http:\n  addr: 127.0.0.1:{port}\n  tls:\n    \
         certificate: {folder}/registry.crt\n    key: {folder}/registry.key\n{wanted}"
    )
}

#[test]
fn a_registry_with_a_private_ca_is_trusted_with_that_ca_only() {
    let registry = TlsRegistry::start("registry-own-ca", Clients::AcceptAnyCertificate);
    let ours = ["--registry-cacert", "ca.crt"];
    let image = registry.signed("own-ca", &ours);
    registry.verify(&ours, &image).ok();
    let refused = |flags: &[&str]| {
        let run = registry.verify(flags, &image).exits(1);
        run.says("(tls)").says("--registry-cacert").says_no("no signatures found");
    };
    refused(&[]);
    refused(&["--registry-cacert", "other-ca.crt"]);
    refused(&["--registry-cacert", "ca.crt", "--registry-server-name", "wrong.test"]);
    registry.verify(&[&ours[..], &["--registry-server-name", ELSEWHERE]].concat(), &image).ok();
    registry.verify(&["--allow-insecure-registry"], &image).ok();
    registry.verify(&["--registry-cacert", "nowhere.crt"], &image).exits(1).says("nowhere.crt");

    let cosign = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog"];
    registry.sandbox.cosign(&[&cosign[..], &ours, &[&image]].concat()).ok();
}

#[test]
fn a_registry_with_client_certificates_accepts_ours() {
    let registry = TlsRegistry::start("registry-client-ca", Clients::Certified);
    let with = |name: &'static str| {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        ["--registry-cacert", "ca.crt", "--registry-client-cert"]
            .map(str::to_owned)
            .into_iter()
            .chain([certificate, "--registry-client-key".to_owned(), key])
            .collect::<Vec<_>>()
    };
    let client = with("client");
    let client: Vec<&str> = client.iter().map(String::as_str).collect();
    let image = registry.signed("client-ca", &client);
    registry.verify(&client, &image).ok();
    let other_client = with("other-client");
    let other_client: Vec<&str> = other_client.iter().map(String::as_str).collect();
    for flags in [&["--registry-cacert", "ca.crt"], other_client.as_slice()] {
        registry.verify(flags, &image).exits(1).says_no("no signatures found");
    }
    let half = ["--registry-cacert", "ca.crt", "--registry-client-cert", "client.crt"];
    registry.verify(&half, &image).exits(1).says("must be given together");

    let cosign = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog"];
    registry.sandbox.cosign(&[&cosign[..], &client, &[&image]].concat()).ok();
}

/// As in Go: accepted as a client certificate, and as a server certificate where any is accepted;
/// never for a host name, which they cannot contain.
#[test]
fn certificates_of_version_1_are_taken_where_cosign_takes_them() {
    let registry = TlsRegistry::of_version_1("registry-version-1");
    let client = ["--registry-client-cert", "client.crt", "--registry-client-key", "client.key"];
    let any = [&client[..], &["--allow-insecure-registry"]].concat();
    let image = registry.signed("version-1", &any);
    let cosign = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog"];
    let both = |flags: &[&str]| {
        let peer = registry.sandbox.cosign(&[&cosign[..], flags, &[&image]].concat());
        [registry.verify(flags, &image), peer]
    };
    for run in both(&any) {
        run.ok();
    }
    // A signature by cosign is verified by sealgate.
    let sign = ["sign", "--key", "cosign.key", "-y", "--tlog-upload=false"];
    let legacy = ["--use-signing-config=false", "--new-bundle-format=false", "-a", "by=cosign"];
    registry.sandbox.cosign(&[&sign[..], &legacy, &any, &[&image]].concat()).ok();
    registry.verify(&[&any[..], &["-a", "by=cosign"]].concat(), &image).ok();
    // Refused without the client certificate, and where the server certificate must name the host.
    let without = ["--allow-insecure-registry"];
    for authority in ["ca-1.crt", "registry.crt"] {
        let named = [&client[..], &["--registry-cacert", authority]].concat();
        for flags in [&without[..], &named] {
            for run in both(flags) {
                assert_ne!(run.code, 0, "{flags:?}: {}", run.report());
                run.says_no("no signatures found");
            }
        }
    }
}

/// Proxy to one registry, which records request heads.
struct Proxy {
    host: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Every tunnel leads to `port` on loopback, whatever name was requested.
    fn start(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let host = listener.local_addr()?.to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                // A client may disconnect at any time.
                std::thread::spawn(move || drop(tunnel(client, port, &seen)));
            }
        });
        Ok(Self { host, heads })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn tunnel(mut client: TcpStream, port: u16, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let head = String::from_utf8_lossy(&read_head(&client)?).into_owned();
    let is_tunnel = head.starts_with("CONNECT ");
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    if !is_tunnel {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
    }
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n")?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let up = std::thread::spawn(move || {
        let copied = io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Write).and(copied)
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)?;
    up.join().map_or(Ok(()), |copied| copied.map(drop))
}

#[test]
fn a_proxy_leads_to_a_registry_that_has_no_address_here() {
    let registry = TlsRegistry::start("registry-behind-proxy", Clients::AcceptAnyCertificate);
    let ours = ["--registry-cacert", "ca.crt"];
    registry.signed("behind-proxy", &ours);
    let proxy = Proxy::start(registry.port).unwrap();
    let image = format!("{ELSEWHERE}/tests/behind-proxy:v1");
    let verify_with = |variables: &[(&str, &str)], more: &[&str]| {
        let arguments = [&["verify", "--key", "cosign.pub"], more].concat();
        let sealgate = sealgate_tests::programs::sealgate();
        let mut command = registry.sandbox.command(&sealgate, &arguments);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let verify = |variables: &[(&str, &str)], image: &str| {
        verify_with(variables, &["--registry-cacert", "ca.crt", image])
    };
    let through = format!("http://ada:s3cret@{}", proxy.host);
    let (code, told) = verify(&[("HTTPS_PROXY", &through)], &image);
    assert_eq!(code, Some(0), "{told}");
    let heads = proxy.take();
    assert!(!heads.is_empty());
    for head in heads {
        assert!(head.starts_with(&format!("CONNECT {ELSEWHERE}:443 ")), "{head}");
        assert!(head.to_lowercase().contains("proxy-authorization: basic "), "{head}");
        assert!(!head.to_lowercase().contains("/v2/"), "{head}");
    }
    // Without it, or with the registry in NO_PROXY, the name cannot be resolved.
    for variables in
        [&[][..], &[("HTTPS_PROXY", through.as_str()), ("NO_PROXY", ".elsewhere.test")]]
    {
        let (code, told) = verify(variables, &image);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("(unreachable)") && !told.contains("no signatures found"), "{told}");
    }
    // Loopback never goes through a proxy.
    let (code, told) = verify(&[("HTTPS_PROXY", &through)], &registry.image("behind-proxy"));
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(proxy.take(), Vec::<String>::new());
    // An untrusted certificate is no reason to continue without TLS.
    let both = [("HTTPS_PROXY", through.as_str()), ("HTTP_PROXY", through.as_str())];
    let plain = ["--allow-http-registry", "--registry-cacert", "other-ca.crt", &image];
    let (code, told) = verify_with(&both, &plain);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("(tls)"), "{told}");
    assert!(proxy.take().iter().all(|head| head.starts_with("CONNECT ")));
    // An unreachable proxy is reported as such, without its password.
    let gone = format!("http://ada:s3cret@127.0.0.1:{}", free_port().unwrap());
    let (code, told) = verify(&[("HTTPS_PROXY", &gone)], &image);
    assert_eq!(code, Some(1), "{told}");
    assert!(!told.contains("s3cret") && !told.contains("no signatures found"), "{told}");
}

/// sealgate uses the proxy exactly when cosign does.
#[test]
fn no_proxy_means_the_same_as_to_cosign() {
    let registry = TlsRegistry::start("registry-no-proxy", Clients::AcceptAnyCertificate);
    registry.signed("no-proxy", &["--registry-cacert", "ca.crt"]);
    let proxy = Proxy::start(registry.port).unwrap();
    let through = format!("http://{}", proxy.host);
    let name = |host: &str| format!("{host}/tests/no-proxy:v1");
    // No connection to it is ever made: it is a multicast address.
    let nowhere = "224.0.0.1:5000";
    for (exempt, host, is_direct) in [
        ("", ELSEWHERE, false),
        ("elsewhere.test", ELSEWHERE, true),
        ("other.test, Elsewhere.Test", ELSEWHERE, true),
        (".elsewhere.test", ELSEWHERE, true),
        ("*.elsewhere.test", ELSEWHERE, true),
        (".registry.elsewhere.test", ELSEWHERE, false),
        ("*.registry.elsewhere.test", ELSEWHERE, false),
        ("lsewhere.test", ELSEWHERE, false),
        ("registry.elsewhere.test:443", ELSEWHERE, true),
        ("registry.elsewhere.test:5000", ELSEWHERE, false),
        ("*", ELSEWHERE, true),
        ("224.0.0.1", nowhere, true),
        ("224.0.0.1:5000", nowhere, true),
        ("224.0.0.1:5001", nowhere, false),
        ("224.0.0.0/24", nowhere, true),
        ("225.0.0.0/8", nowhere, false),
    ] {
        let image = name(host);
        let more = ["--registry-cacert", "ca.crt", "--key", "cosign.pub", &image];
        for (program, first) in [
            (sealgate_tests::programs::sealgate(), &["verify"][..]),
            (sealgate_tests::programs::built("cosign"), &["verify", "--insecure-ignore-tlog"]),
        ] {
            let mut command = registry.sandbox.command(&program, &[first, &more].concat());
            command.env("HTTPS_PROXY", &through).env("NO_PROXY", exempt);
            let output = command.output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            let asked = !proxy.take().is_empty();
            let shown = format!("NO_PROXY={exempt} {} {image}\n{told}", program.display());
            assert_eq!(asked, !is_direct, "{shown}");
            // The proxy's tunnels lead to the registry, whose certificate contains the name.
            assert_eq!(output.status.success(), asked && host == ELSEWHERE, "{shown}");
        }
    }
}
