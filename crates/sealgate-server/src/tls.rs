//! The listener: TLS 1.2 and 1.3 with HTTP/2 or HTTP/1.1, and its orderly end.
//!
//! It accepts, shakes hands within a bound, hands the connection on, and counts them. What is said
//! on a connection is [`crate::http`]; no lock is held across any of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::certificate::CertificateSlot;
use crate::connection::{self, Protocol};
use crate::crowd::{Crowd, Guest};
use crate::http::Routes;
use crate::limits::Limits;
use crate::pulse::Pulse;

/// How far the gate is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It still serves, but `/readyz` refuses, so that nobody new comes.
    Draining,
    /// The listener is closed; what runs may end.
    Stopping,
}

/// One listening socket and what it needs.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    /// `None`: plain HTTP (for metrics on a port of their own).
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// Binds `address`, so that a restart does not wait for old connections.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// TLS with the certificate that lies in `slot` at each handshake.
pub(crate) fn acceptor(slot: Arc<CertificateSlot>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(slot);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Listener {
    /// Serves until the phase is [`Phase::Stopping`] and every connection has ended, or the grace
    /// period is over.
    pub(crate) async fn run(self) {
        let crowd = Crowd::new(self.limits.connections);
        let mut connections = JoinSet::new();
        let mut phase = self.phase.clone();
        let mut waiting = None;
        loop {
            tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase == Phase::Stopping) => break,
                Some(_) = connections.join_next() => {}
                accepted = accept(&self.socket), if waiting.is_none() => waiting = accepted,
                Some(place) = crowd.room(), if waiting.is_some() => {
                    if let Some((stream, peer)) = waiting.take() {
                        self.start(&mut connections, stream, peer, crowd.enter(place));
                    }
                }
            }
        }
        let grace = self.limits.grace;
        drop(self);
        if timeout(grace, async { while connections.join_next().await.is_some() {} }).await.is_err()
        {
            warn!(
                connections = connections.len(),
                "requests cut off at the end of the grace period"
            );
        }
    }

    fn start(
        &self,
        connections: &mut JoinSet<()>,
        stream: TcpStream,
        peer: SocketAddr,
        guest: Guest,
    ) {
        let (tls, routes) = (self.tls.clone(), Arc::clone(&self.routes));
        let (limits, phase) = (Arc::clone(&self.limits), self.phase.clone());
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let pulse = Arc::clone(&guest.pulse);
            tokio::select! {
                () = converse(stream, peer, tls, pulse, routes, limits, phase) => {}
                () = guest.wanted_elsewhere() => {
                    debug!(%peer, "connection given up: its place is needed");
                }
            }
        });
    }
}

/// One connection from its handshake to its end.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    pulse: Arc<Pulse>,
    routes: Arc<Routes>,
    limits: Arc<Limits>,
    phase: watch::Receiver<Phase>,
) {
    let Some(tls) = tls else {
        return connection::serve(stream, Protocol::Http1, pulse, routes, limits, phase).await;
    };
    match timeout(limits.handshake, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let protocol = Protocol::of_alpn(stream.get_ref().1.alpn_protocol());
            connection::serve(stream, protocol, pulse, routes, limits, phase).await;
        }
        Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => debug!(%peer, "TLS handshake took too long"),
    }
}

/// The next connection; `None` after a failure that may pass.
async fn accept(socket: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match socket.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            // For instance no file descriptor left: waiting beats spinning.
            warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
