//! Loopback stand-ins between a client and a registry: one that counts what passes through it,
//! and one that answers whatever a test wants to hear.

use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What has been asked, `GET /v2/…` each, in order.
type Requests = Arc<Mutex<Vec<String>>>;

/// Heads are small; a longer one is cut off.
const HEAD_LIMIT: usize = 64 * 1024;

/// Passes requests on to a registry, and remembers them.
pub struct CountingProxy {
    /// `127.0.0.1:PORT`.
    pub host: String,
    requests: Requests,
    under_way: Arc<UnderWay>,
}

/// Requests that have no answer yet, and the most that there were at once.
#[derive(Default)]
struct UnderWay {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// What a registry does that another one does not expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// It answers pushes with `OCI-Subject`, whether or not it has the referrers API.
    PromisesReferrers,
    /// Its lists of referrers come as `application/json`.
    UntypedLists,
    /// Its lists of referrers are empty.
    EmptyLists,
    /// Its tags stay what they are: 412 to who would move or remove one.
    ImmutableTags,
}

/// Answers every request with the same.
pub struct Canned {
    /// `127.0.0.1:PORT`.
    pub host: String,
    requests: Requests,
}

/// Hands connections to several servers in turn, and passes over those that are gone: what a
/// Service does for the gate's replicas.
pub struct Balancer {
    /// The port on loopback.
    pub port: u16,
}

impl Balancer {
    /// In front of the servers on these loopback ports, as they come and go.
    pub fn start(backends: Vec<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for (turn, client) in listener.incoming().flatten().enumerate() {
                let order = (0..backends.len()).map(|n| backends[(turn + n) % backends.len()]);
                let mut servers = order.filter_map(|p| TcpStream::connect(("127.0.0.1", p)).ok());
                // Nobody there: the client's connection ends here.
                if let Some(server) = servers.next() {
                    join(client, server);
                }
            }
        });
        Ok(Self { port })
    }
}

/// Passes bytes both ways until one side ends.
pub(crate) fn join(client: TcpStream, server: TcpStream) {
    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
    for (mut from, mut to) in [(from, to), (server, client)] {
        std::thread::spawn(move || {
            // How it ended matters to neither side.
            let _ = io::copy(&mut from, &mut to);
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
}

impl CountingProxy {
    /// In front of `upstream` (`127.0.0.1:PORT`). It runs until the test process ends.
    pub fn start(upstream: &str) -> io::Result<Self> {
        Self::slow(upstream, Duration::ZERO)
    }

    /// The same, but each request waits for `delay` before it is passed on.
    pub fn slow(upstream: &str, delay: Duration) -> io::Result<Self> {
        let upstream = upstream.to_owned();
        let under_way = Arc::new(UnderWay::default());
        let counts = Arc::clone(&under_way);
        let (host, requests) = listen(move |client, head| {
            let now = counts.now.fetch_add(1, Ordering::SeqCst) + 1;
            counts.most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(delay);
            // The client may ask the next as soon as it has the end of the answer.
            counts.now.fetch_sub(1, Ordering::SeqCst);
            pass_on(client, head, &upstream)
        })?;
        Ok(Self { host, requests, under_way })
    }

    /// The same, but a request whose first line holds one of `words` is answered with `status`
    /// and never passed on.
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

    /// In front of `upstream`, which becomes odd by it.
    pub fn odd(upstream: &str, oddity: Oddity) -> io::Result<Self> {
        let upstream = upstream.to_owned();
        let (host, requests) = listen(move |client, head| oddly(client, head, &upstream, oddity))?;
        Ok(Self { host, requests, under_way: Arc::default() })
    }

    /// The requests so far; forgets them.
    pub fn take(&self) -> Vec<String> {
        take(&self.requests)
    }

    /// The most requests that waited at once; forgets it.
    pub fn take_most_at_once(&self) -> usize {
        self.under_way.most.swap(0, Ordering::SeqCst)
    }
}

impl Canned {
    /// Answers with `status` (`429 Too Many Requests`), header lines (each ended by CR LF), body.
    pub fn start(status: &str, headers: &str, body: &str) -> io::Result<Self> {
        let answer = answer(status, headers, body);
        let (host, requests) = listen(move |mut client, _| client.write_all(answer.as_bytes()))?;
        Ok(Self { host, requests })
    }

    /// Takes requests, and never answers.
    pub fn silent() -> io::Result<Self> {
        let (host, requests) = listen(|mut client, _| {
            // Until the client gives up.
            io::copy(&mut client, &mut io::sink()).map(drop)
        })?;
        Ok(Self { host, requests })
    }

    /// The requests so far; forgets them.
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

/// One request a connection: reads its head, remembers its first line, and lets `answer` go on.
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
                // A client that goes away in the middle is its own business.
                let _ = answer(client, head);
            });
        }
    });
    Ok((host, requests))
}

/// Everything up to and with the empty line, byte by byte so that the body stays in the socket.
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

/// `GET /v2/`, without the protocol.
fn first_line(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(head);
    let line = text.lines().next().unwrap_or_default();
    line.rsplit_once(' ').map_or(line, |(request, _)| request).to_owned()
}

const EMPTY_LIST: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
const IMMUTABLE: &str = r#"{"errors":[{"code":"PRECONDITION","message":"the tag is immutable, cannot be overwritten"}]}"#;

fn oddly(mut client: TcpStream, head: Vec<u8>, upstream: &str, oddity: Oddity) -> io::Result<()> {
    let line = first_line(&head);
    let (method, path) = line.split_once(' ').unwrap_or_default();
    let (manifest, list) = (path.contains("/manifests/"), path.contains("/referrers/"));
    match oddity {
        Oddity::PromisesReferrers if method == "PUT" && manifest => {
            let subject = format!("OCI-Subject: sha256:{}", "0".repeat(64));
            pass_changed(client, head, upstream, |lines| lines.push(subject.clone()))
        }
        Oddity::UntypedLists if list => pass_changed(client, head, upstream, |lines| {
            lines.retain(|line| !line.to_ascii_lowercase().starts_with("content-type:"));
            lines.push("Content-Type: application/json".to_owned());
        }),
        Oddity::EmptyLists if list => {
            let headers = "Content-Type: application/vnd.oci.image.index.v1+json\r\n";
            client.write_all(answer("200 OK", headers, EMPTY_LIST).as_bytes())
        }
        Oddity::ImmutableTags if manifest && stands(method, path, upstream) => {
            // A client that is still sending would not hear the answer.
            io::copy(&mut (&client).take(content_length(&head)), &mut io::sink())?;
            let headers = "Content-Type: application/json\r\n";
            client.write_all(answer("412 Precondition Failed", headers, IMMUTABLE).as_bytes())
        }
        _ => pass_on(client, head, upstream),
    }
}

/// Whether this would move or remove a tag that is there.
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

/// As [`pass_on`], with the lines of the answer's head changed.
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

/// The same head with its lines changed, asking for the end of the connection after this one
/// exchange.
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
