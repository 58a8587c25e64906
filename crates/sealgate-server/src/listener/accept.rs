//! A listening socket: accepts connections within the connection limit, does their TLS handshake
//! within its time, serves them, and ends in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, warn};

use super::connection::Connection;
use super::connection_limit::{ConnectionLimit, ConnectionSlot};
use super::descriptors::SpareDescriptors;
use super::limits::Limits;
use super::phase::Phase;
use super::request_limit::RequestLimit;
use super::service::HttpService;
use super::tls::Protocol;

/// The time between two warnings about connections that cannot be accepted.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// A listening socket and what its connections need.
pub(crate) struct Listener {
    pub(crate) socket: std::net::TcpListener,
    /// `None`: plain HTTP (for metrics on a port of their own).
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) service: Arc<dyn HttpService>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) requests: Arc<RequestLimit>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// Binds `address`, so that a restart does not wait for old connections.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)?.into_std()
}

impl Listener {
    /// Serves on the runtime that this runs on, until the phase is [`Phase::Stopping`] and every
    /// connection has ended, or the grace period is over.
    pub(crate) async fn run(self) {
        let socket = match self.socket.try_clone().and_then(TcpListener::from_std) {
            Ok(socket) => socket,
            Err(error) => return error!(%error, "the socket cannot be served"),
        };
        let limit = ConnectionLimit::new(self.limits.connections, Arc::clone(&self.requests));
        let mut connections = JoinSet::new();
        let mut phase = self.phase.clone();
        let mut waiting = None;
        let mut failures = AcceptFailures::default();
        failures.spare.fill();
        loop {
            tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase == Phase::Stopping) => break,
                Some(_) = connections.join_next() => failures.spare.fill(),
                accepted = failures.accept(&socket), if waiting.is_none() => waiting = accepted,
                Some(slot) = limit.acquire(), if waiting.is_some() => {
                    if let Some((stream, peer)) = waiting.take() {
                        self.start(&mut connections, stream, peer, slot);
                    }
                }
            }
        }
        let grace = self.limits.grace;
        drop((socket, self));
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
        slot: ConnectionSlot,
    ) {
        let tls = self.tls.clone();
        let connection = Connection {
            activity: Arc::clone(&slot.activity),
            service: Arc::clone(&self.service),
            limits: Arc::clone(&self.limits),
            phase: self.phase.clone(),
        };
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            tokio::select! {
                () = serve(stream, peer, tls, connection) => {}
                () = slot.evicted() => debug!(%peer, "idle connection closed: its slot is needed"),
            }
        });
    }
}

/// Serves one connection from its handshake to its end.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    connection: Connection,
) {
    let Some(tls) = tls else { return connection.serve(stream, Protocol::Http1).await };
    match timeout(connection.limits.handshake, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let protocol = Protocol::of_alpn(stream.get_ref().1.alpn_protocol());
            connection.serve(stream, protocol).await;
        }
        Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => debug!(%peer, "TLS handshake took too long"),
    }
}

/// Handling of connections that cannot be accepted.
#[derive(Default)]
struct AcceptFailures {
    spare: SpareDescriptors,
    /// The moment of the last warning.
    warned: Option<Instant>,
}

impl AcceptFailures {
    /// The next connection; `None` after a failure that may pass.
    async fn accept(&mut self, socket: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
        match socket.accept().await {
            Ok(accepted) => return Some(accepted),
            Err(error) if self.spare.make_room(&error) => {}
            Err(error) => {
                self.warn(&error);
                // For instance no file descriptor left: waiting beats spinning.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        None
    }

    /// Logs a failure, at most once a minute.
    fn warn(&mut self, error: &std::io::Error) {
        if self.warned.is_none_or(|moment| moment.elapsed() >= WARNING_INTERVAL) {
            self.warned = Some(Instant::now());
            warn!(%error, "connections cannot be accepted");
        }
    }
}
