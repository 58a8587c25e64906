//! Small HTTP service on loopback, for servers that a test implements itself: one request per
//! connection, with complete requests and responses.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crate::http;
use crate::proxy::read_head;

/// Maximum size of a body, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;

/// Service with a bound port that does not answer yet.
pub struct Service {
    /// `127.0.0.1:PORT`.
    pub host: String,
    listener: TcpListener,
}

/// Received request.
#[derive(Debug)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Decoded query parameters.
    pub query: Vec<(String, String)>,
    /// Header lines, unchanged.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// Response of the service.
#[derive(Debug)]
pub struct Answer {
    /// `200 OK`.
    pub status: &'static str,
    /// Additional headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Service {
    /// Binds a free port.
    pub fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        Ok(Self { host: listener.local_addr()?.to_string(), listener })
    }

    /// Answers requests until the test process ends.
    pub fn answer_with(self, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for client in self.listener.incoming().flatten() {
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || {
                    // A client may disconnect at any time.
                    if let Ok(request) = read(&client) {
                        let _ = write(client, &request.method, &answer(&request));
                    }
                });
            }
        });
    }
}

impl Request {
    /// First query parameter with this name.
    pub fn asked(&self, name: &str) -> Option<&str> {
        value(&self.query, name)
    }

    /// Body as form fields.
    pub fn form(&self) -> Vec<(String, String)> {
        pairs(&String::from_utf8_lossy(&self.body))
    }
}

impl Answer {
    /// 200 with JSON.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::refusal("200 OK", value)
    }

    /// Another status with JSON.
    pub fn refusal(status: &'static str, value: &serde_json::Value) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Self { status, headers, body: value.to_string().into_bytes() }
    }

    /// Response of the server at `host` to the same request (without its query, as a GET).
    pub fn of(host: &str, request: &Request) -> Self {
        let accept = value(&request.headers, "accept").unwrap_or("*/*");
        let Ok(found) = http::get(host, &request.path, accept) else { return Self::not_found() };
        let status = match found.status {
            200 => "200 OK",
            404 => "404 Not Found",
            _ => "502 Bad Gateway",
        };
        let header = |name: &'static str| Some((name, found.header(name)?.to_owned()));
        let headers = ["content-type", "docker-content-digest"].into_iter().filter_map(header);
        Self { status, headers: headers.collect(), body: found.body.clone() }
    }

    /// 401 with this `WWW-Authenticate`.
    pub fn unauthorized(challenge: &str) -> Self {
        let headers = vec![("WWW-Authenticate", challenge.to_owned())];
        Self { status: "401 Unauthorized", headers, body: Vec::new() }
    }

    /// 404.
    pub fn not_found() -> Self {
        Self { status: "404 Not Found", headers: Vec::new(), body: Vec::new() }
    }
}

/// First value with this name.
pub fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

fn read(mut client: &TcpStream) -> io::Result<Request> {
    let head = read_head(client)?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers: Vec<_> = headers.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().into())).collect();
    let length = value(&headers, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    if length > BODY_LIMIT {
        return Err(io::Error::other("the body is too long"));
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    Ok(Request { method: method.into(), path: path.into(), query: pairs(query), headers, body })
}

fn write(mut client: TcpStream, method: &str, answer: &Answer) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = answer.body.len();
    head.push_str(&format!("Content-Length: {length}\r\nConnection: close\r\n\r\n"));
    client.write_all(head.as_bytes())?;
    if method == "HEAD" { Ok(()) } else { client.write_all(&answer.body) }
}

/// Decodes `a=b&c=d`.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(name), decode(value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// Decodes percent and plus signs; invalid sequences are kept.
fn decode(text: &str) -> String {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| byte == b'%');
        let escaped = digits.and_then(|digits| hex::decode(digits).ok());
        rest = if escaped.is_some() { &after[2..] } else { after };
        let plain = || vec![if byte == b'+' { b' ' } else { byte }];
        decoded.extend(escaped.unwrap_or_else(plain));
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let pairs = pairs("a=b+c&url=http%3A%2F%2Flocalhost%2F&broken=%2&empty=");
        let expected =
            [("a", "b c"), ("url", "http://localhost/"), ("broken", "%2"), ("empty", "")];
        assert_eq!(pairs, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }
}
