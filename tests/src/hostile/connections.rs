//! Connections to a gate that never end by themselves.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificates::any_certificate;

/// Stage at which a connection stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// After the TLS handshake, without a request.
    Idle,
    /// In the TLS handshake: half of a record.
    Handshake,
    /// In the headers of a request.
    Headers,
    /// In the body of a review, of which 64 KiB a second arrive.
    Body,
}

/// Pause before a connection that the gate closed is opened again.
const REOPEN: Duration = Duration::from_secs(2);
/// Pause between two connections that are opened for the first time.
const OPEN: Duration = Duration::from_millis(5);
/// Length that a slow body has by its headers, and what arrives of it each second.
const BODY: usize = 7 << 20;
const PIECE: usize = 64 << 10;

/// Keeps `count` connections at this stage, until the task is dropped.
pub async fn keep(port: u16, stage: Stage, count: usize) -> anyhow::Result<()> {
    let connector = TlsConnector::from(Arc::new(any_certificate()?));
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..count {
        let connector = connector.clone();
        connections.spawn(async move {
            loop {
                // The gate may end a connection at any time: that is its right.
                let _ = open(port, stage, &connector).await;
                tokio::time::sleep(REOPEN).await;
            }
        });
        tokio::time::sleep(OPEN).await;
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Opens one connection and holds it until the gate closes it.
async fn open(port: u16, stage: Stage, connector: &TlsConnector) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    if stage == Stage::Handshake {
        // A TLS record of 512 bytes, of which 4 arrive.
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 1, 0, 1, 0xfc]).await?;
        return until_closed(&mut stream).await;
    }
    let name = ServerName::try_from("localhost").context("a name")?;
    let mut stream = connector.connect(name, stream).await?;
    let head = format!(
        "POST /validate?timeout=30s HTTP/1.1\r\nHost: localhost:{port}\r\n\
         Content-Type: application/json\r\nContent-Length: {BODY}\r\n"
    );
    match stage {
        Stage::Idle | Stage::Handshake => {}
        Stage::Headers => stream.write_all(head.as_bytes()).await?,
        Stage::Body => {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(b"\r\n").await?;
            let piece = vec![b' '; PIECE];
            for _ in 0..BODY / PIECE {
                stream.write_all(&piece).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    stream.flush().await?;
    until_closed(&mut stream).await
}

/// Reads until the peer closes the connection.
pub(super) async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
