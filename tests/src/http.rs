//! Minimal HTTP client for loopback registries: one request per connection, HTTP/1.0 so that no
//! response is chunked.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// HTTP response.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// First header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `GET http://HOST PATH`.
pub fn get(host: &str, path: &str, accept: &str) -> anyhow::Result<Response> {
    request("GET", host, path, &[("Accept", accept)], &[])
}

/// Any request over plain HTTP.
pub fn request(
    method: &str,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Response> {
    let stream = TcpStream::connect(host).with_context(|| format!("connecting to {host}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    exchange(stream, method, host, path, headers, body)
}

/// Any request over an existing connection.
pub fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Response> {
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        // TLS servers may close a connection without a close_notify alert.
        if error.kind() != io::ErrorKind::UnexpectedEof {
            return Err(error.into());
        }
    }
    parse(&answer).with_context(|| format!("{method} {host}{path}"))
}

fn parse(answer: &[u8]) -> anyhow::Result<Response> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        bail!("the answer has no head: {:?}", String::from_utf8_lossy(answer));
    };
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    Ok(Response {
        status: status.parse().context("the status is no number")?,
        headers: headers.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect(),
        body: answer[end + 4..].to_vec(),
    })
}
