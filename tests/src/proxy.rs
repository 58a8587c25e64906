//! Loopback servers between a client and a registry: a counting proxy, and a server with fixed
//! responses.

use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Request lines, `GET /v2/…` each, in order.
type Requests = Arc<Mutex<Vec<String>>>;

/// Maximum size of a request head, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;

/// Forwards requests to a registry, and records them.
pub struct CountingProxy {
    /// `127.0.0.1:PORT`.
    pub host: String,
    requests: Requests,
    under_way: Arc<Concurrency>,
}

/// Current and maximum number of concurrent requests.
#[derive(Default)]
struct Concurrency {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Deviation of a registry from the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// Pushes are answered with `OCI-Subject`, whether or not the referrers API is supported.
    SendsOciSubject,
    /// Referrers lists have the type `application/json`.
    UntypedLists,
    /// Referrers lists are empty.
    EmptyLists,
    /// Tags are immutable: moving or deleting one is answered with 412.
    ImmutableTags,
}

/// Answers every request with the same response.
pub struct FixedResponse {
    /// `127.0.0.1:PORT`.
    pub host: String,
    requests: Requests,
}

/// Distributes connections among several servers in turn, skipping unavailable ones, as a Service
/// does for the gate's replicas.
pub struct Balancer {
    /// Loopback port.
    pub port: u16,
}

impl Balancer {
    /// Starts a balancer for the servers on these loopback ports.
    pub fn start(backends: Vec<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for (turn, client) in listener.incoming().flatten().enumerate() {
                let order = (0..backends.len()).map(|n| backends[(turn + n) % backends.len()]);
                let mut servers = order.filter_map(|p| TcpStream::connect(("127.0.0.1", p)).ok());
                // No server available: the client's connection is closed.
                if let Some(server) = servers.next() {
                    join(client, server);
                }
            }
        });
        Ok(Self { port })
    }
}

/// Forwards bytes in both directions until one side closes.
pub(crate) fn join(client: TcpStream, server: TcpStream) {
    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
    for (mut from, mut to) in [(from, to), (server, client)] {
        std::thread::spawn(move || {
            // The other side does not care how the connection ended.
            let _ = io::copy(&mut from, &mut to);
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
}

impl CountingProxy {
    /// Starts a proxy for `upstream` (`127.0.0.1:PORT`), which runs until the test process ends.
    pub fn start(upstream: &str) -> io::Result<Self> {
        Self::slow(upstream, Duration::ZERO)
    }

    /// Variant that delays each request by `delay`.
    pub fn slow(upstream: &str, delay: Duration) -> io::Result<Self> {
        let upstream = upstream.to_owned();
        let under_way = Arc::new(Concurrency::default());
        let counts = Arc::clone(&under_way);
        let (host, requests) = listen(move |client, head| {
            let now = counts.now.fetch_add(1, Ordering::SeqCst) + 1;
            counts.most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(delay);
            // The client may send the next request as soon as it has read the response.
            counts.now.fetch_sub(1, Ordering::SeqCst);
            pass_on(client, head, &upstream)
        })?;
        Ok(Self { host, requests, under_way })
    }

    /// Variant that answers a request whose first line contains one of `words` with `status`,
    /// without forwarding it.
    pub fn refusing(upstream: &str, words: &[&str], status: &str) -> io::Result<Self> {
        let upstream = upstream.to_owned();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let refusal = answer(status, "", "");
        let (host, requests) = listen(move |mut client, head| {
            let line = first_line(&head);
            match words.iter().any(|word| line.contains(word)) {
                true => client.write_all(refusal.as_bytes()),
                false => pass_on(client, head, &upstream),
            }
        })?;
        Ok(Self { host, requests, under_way: Arc::default() })
    }

    /// Proxy that gives `upstream` a deviation.
    pub fn deviating(upstream: &str, deviation: Deviation) -> io::Result<Self> {
        let upstream = upstream.to_owned();
        let (host, requests) =
            listen(move |client, head| deviate(client, head, &upstream, deviation))?;
        Ok(Self { host, requests, under_way: Arc::default() })
    }

    /// Requests so far; clears them.
    pub fn take(&self) -> Vec<String> {
        take(&self.requests)
    }

    /// Maximum number of concurrent requests so far; resets it.
    pub fn take_most_at_once(&self) -> usize {
        self.under_way.most.swap(0, Ordering::SeqCst)
    }
}

impl FixedResponse {
    /// Responds with `status` (`429 Too Many Requests`), header lines (each ended by CR LF), and
    /// body.
    pub fn start(status: &str, headers: &str, body: &str) -> io::Result<Self> {
        let answer = answer(status, headers, body);
        let (host, requests) = listen(move |mut client, _| client.write_all(answer.as_bytes()))?;
        Ok(Self { host, requests })
    }

    /// Accepts requests and never responds.
    pub fn silent() -> io::Result<Self> {
        let (host, requests) = listen(|mut client, _| {
            // Until the client gives up.
            io::copy(&mut client, &mut io::sink()).map(drop)
        })?;
        Ok(Self { host, requests })
    }

    /// Requests so far; clears them.
    pub fn take(&self) -> Vec<String> {
        take(&self.requests)
    }
}

fn take(requests: &Requests) -> Vec<String> {
    std::mem::take(&mut *requests.lock().unwrap_or_else(PoisonError::into_inner))
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// Serves one request per connection: reads its head, records its first line, and calls `answer`.
fn listen(
    answer: impl Fn(TcpStream, Vec<u8>) -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<(String, Requests)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let host = listener.local_addr()?.to_string();
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
            std::thread::spawn(move || {
                let Ok(head) = read_head(&client) else { return };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(first_line(&head));
                // A client may disconnect at any time.
                let _ = answer(client, head);
            });
        }
    });
    Ok((host, requests))
}

/// Reads up to and including the empty line, byte by byte so that the body stays in the socket.
pub fn read_head(mut client: &TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
        if head.len() > HEAD_LIMIT {
            return Err(io::Error::other("the head is too long"));
        }
    }
    Ok(head)
}

/// First line without the protocol: `GET /v2/`.
fn first_line(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(head);
    let line = text.lines().next().unwrap_or_default();
    line.rsplit_once(' ').map_or(line, |(request, _)| request).to_owned()
}

const EMPTY_LIST: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
const IMMUTABLE: &str = r#"{"errors":[{"code":"PRECONDITION","message":"the tag is immutable, cannot be overwritten"}]}"#;

fn deviate(
    mut client: TcpStream,
    head: Vec<u8>,
    upstream: &str,
    deviation: Deviation,
) -> io::Result<()> {
    let line = first_line(&head);
    let (method, path) = line.split_once(' ').unwrap_or_default();
    let (manifest, list) = (path.contains("/manifests/"), path.contains("/referrers/"));
    match deviation {
        Deviation::SendsOciSubject if method == "PUT" && manifest => {
            let subject = format!("OCI-Subject: sha256:{}", "0".repeat(64));
            pass_changed(client, head, upstream, |lines| lines.push(subject.clone()))
        }
        Deviation::UntypedLists if list => pass_changed(client, head, upstream, |lines| {
            lines.retain(|line| !line.to_ascii_lowercase().starts_with("content-type:"));
            lines.push("Content-Type: application/json".to_owned());
        }),
        Deviation::EmptyLists if list => {
            let headers = "Content-Type: application/vnd.oci.image.index.v1+json\r\n";
            client.write_all(answer("200 OK", headers, EMPTY_LIST).as_bytes())
        }
        Deviation::ImmutableTags if manifest && stands(method, path, upstream) => {
            // A client that is still sending would not read the response.
            io::copy(&mut (&client).take(content_length(&head)), &mut io::sink())?;
            let headers = "Content-Type: application/json\r\n";
            client.write_all(answer("412 Precondition Failed", headers, IMMUTABLE).as_bytes())
        }
        _ => pass_on(client, head, upstream),
    }
}

/// Returns whether the request would move or delete an existing tag.
fn stands(method: &str, path: &str, upstream: &str) -> bool {
    let by_tag = !path.contains("/manifests/sha256:");
    let there = |path| {
        let any = "application/vnd.oci.image.manifest.v1+json, \
                   application/vnd.oci.image.index.v1+json, */*";
        crate::http::get(upstream, path, any).is_ok_and(|answer| answer.status == 200)
    };
    matches!(method, "PUT" | "DELETE") && by_tag && there(path)
}

fn content_length(head: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|length| length.trim().parse().ok()).unwrap_or_default()
}

fn pass_on(client: TcpStream, head: Vec<u8>, upstream: &str) -> io::Result<()> {
    pass_changed(client, head, upstream, |_| ())
}

/// Variant of [`pass_on`] that changes the lines of the response head.
fn pass_changed(
    client: TcpStream,
    head: Vec<u8>,
    upstream: &str,
    change: impl Fn(&mut Vec<String>),
) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(&closing(&head, |_| ()))?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || io::copy(&mut from, &mut to));
    let answer = read_head(&server)?;
    let mut client = client;
    client.write_all(&closing(&answer, change))?;
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}

/// Same head with its lines changed, requesting that the connection be closed after this exchange.
fn closing(head: &[u8], change: impl Fn(&mut Vec<String>)) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let kept = text.trim_end_matches("\r\n").split("\r\n");
    let kept = kept.filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let mut lines: Vec<String> = kept.map(str::to_owned).collect();
    change(&mut lines);
    let mut new = lines.join("\r\n");
    new.push_str("\r\nConnection: close\r\n\r\n");
    new.into_bytes()
}
