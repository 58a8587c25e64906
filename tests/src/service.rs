//! A small HTTP service on loopback, for parts that a test plays itself: whole requests in, whole
//! answers out, one request a connection.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crate::http;
use crate::proxy::read_head;

/// Bodies are small; a longer one is not read.
const BODY_LIMIT: usize = 1024 * 1024;

/// A service that has its address, and does not answer yet.
pub struct Service {
    /// `127.0.0.1:PORT`.
    pub host: String,
    listener: TcpListener,
}

/// What somebody asks.
#[derive(Debug)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// The header lines as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the service says.
#[derive(Debug)]
pub struct Answer {
    /// `200 OK`.
    pub status: &'static str,
    /// Beside the usual ones.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Service {
    /// Takes a free port.
    pub fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        Ok(Self { host: listener.local_addr()?.to_string(), listener })
    }

    /// Answers until the test process ends.
    pub fn answer_with(self, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for client in self.listener.incoming().flatten() {
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || {
                    // A client that goes away in the middle is its own business.
                    if let Ok(request) = read(&client) {
                        let _ = write(client, &request.method, &answer(&request));
                    }
                });
            }
        });
    }
}

impl Request {
    /// The first value of that name in the query.
    pub fn asked(&self, name: &str) -> Option<&str> {
        value(&self.query, name)
    }

    /// The body as the fields of a form.
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

    /// What the server at `host` says to the same question (without its query, and as a GET).
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

/// The first value of that name.
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

/// `a=b&c=d`, decoded.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(name), decode(value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// Percent signs and plus signs undone; what is none is kept.
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
