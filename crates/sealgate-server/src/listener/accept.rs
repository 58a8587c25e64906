//! A listening socket: accepts connections within the connection limit, does their TLS handshake
//! within its time, serves them, and ends in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error, warn};

use super::client_certificates::{Caller, ClientCertificates};
use super::connection::Connection;
use super::connection_limit::{ConnectionLimit, ConnectionSlot};
use super::descriptors::SpareDescriptors;
use super::limits::Limits;
use super::phase::Phase;
use super::service::HttpService;
use super::tls::Protocol;

/// The time between two warnings about connections that cannot be accepted.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// A listening socket and what its connections need.
pub(crate) struct Listener {
    pub(crate) socket: std::net::TcpListener,
    /// `None`: plain HTTP (for metrics on a port of their own).
    pub(crate) tls: Option<TlsAcceptor>,
    /// The client certificates that the handshakes request.
    pub(crate) clients: Option<Arc<ClientCertificates>>,
    pub(crate) service: Arc<dyn HttpService>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// The limits of a listener's connections.
enum ConnectionLimits {
    /// Callers are not told apart.
    Common(Arc<ConnectionLimit>),
    /// A new connection is that of an unauthenticated caller, until its certificate is accepted. So
    /// those without one never take a slot from those with one.
    ByCaller { unauthenticated: Arc<ConnectionLimit>, authenticated: Arc<ConnectionLimit> },
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
        let limits = ConnectionLimits::new(&self.limits, self.clients.is_some());
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
                Some(slot) = limits.first().acquire(), if waiting.is_some() => {
                    if let Some((stream, peer)) = waiting.take() {
                        let _ = stream.set_nodelay(true);
                        let connection = self.connection(&limits, peer);
                        connections.spawn(connection.serve(stream, slot));
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

    fn connection(&self, limits: &ConnectionLimits, peer: SocketAddr) -> NewConnection {
        let accepted = match (limits, &self.clients) {
            (ConnectionLimits::ByCaller { authenticated, .. }, Some(clients)) => {
                Some((Arc::clone(clients), Arc::clone(authenticated)))
            }
            _ => None,
        };
        NewConnection {
            peer,
            tls: self.tls.clone(),
            accepted,
            service: Arc::clone(&self.service),
            limits: Arc::clone(&self.limits),
            phase: self.phase.clone(),
        }
    }
}

impl ConnectionLimits {
    /// Callers without a certificate get at most a quarter of the connections and requests.
    fn new(limits: &Limits, by_caller: bool) -> Self {
        let Limits { connections, requests, .. } = *limits;
        if !by_caller {
            return Self::Common(ConnectionLimit::new(Caller::Unchecked, connections, requests));
        }
        let few = (connections / 4, requests / 4);
        Self::ByCaller {
            unauthenticated: ConnectionLimit::new(Caller::Unauthenticated, few.0, few.1),
            authenticated: ConnectionLimit::new(
                Caller::Authenticated,
                connections - few.0,
                requests - few.1,
            ),
        }
    }

    /// The limit that a new connection counts towards.
    fn first(&self) -> &Arc<ConnectionLimit> {
        match self {
            Self::Common(limit) | Self::ByCaller { unauthenticated: limit, .. } => limit,
        }
    }
}

/// A connection that was accepted, and what it needs.
struct NewConnection {
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    /// The certificates that are accepted, and the limit of the connections that have one.
    accepted: Option<(Arc<ClientCertificates>, Arc<ConnectionLimit>)>,
    service: Arc<dyn HttpService>,
    limits: Arc<Limits>,
    phase: watch::Receiver<Phase>,
}

impl NewConnection {
    /// Serves the connection from its handshake to its end, or until its slot is needed.
    async fn serve(self, stream: TcpStream, slot: ConnectionSlot) {
        let peer = self.peer;
        let ended = match self.tls.clone() {
            None => self.serve_http(stream, Protocol::Http1, &slot).await,
            Some(tls) => self.serve_tls(stream, tls, slot).await,
        };
        if ended.is_none() {
            debug!(%peer, "connection closed: its slot is needed");
        }
    }

    async fn serve_tls(
        self,
        stream: TcpStream,
        tls: TlsAcceptor,
        slot: ConnectionSlot,
    ) -> Option<()> {
        let Some(stream) = slot.until_evicted(self.handshake(stream, tls)).await? else {
            return Some(());
        };
        let (_, session) = stream.get_ref();
        let protocol = Protocol::of_alpn(session.alpn_protocol());
        let slot = match &self.accepted {
            Some((clients, limit))
                if clients.caller(session.peer_certificates()) == Caller::Authenticated =>
            {
                let authenticated = slot.until_evicted(limit.acquire()).await??;
                drop(slot);
                authenticated
            }
            _ => slot,
        };
        self.serve_http(stream, protocol, &slot).await
    }

    /// `None` if the handshake fails or takes too long.
    async fn handshake(&self, stream: TcpStream, tls: TlsAcceptor) -> Option<TlsStream<TcpStream>> {
        let peer = self.peer;
        match timeout(self.limits.handshake, tls.accept(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => debug!(%peer, "TLS handshake took too long"),
        }
        None
    }

    async fn serve_http<S>(self, stream: S, protocol: Protocol, slot: &ConnectionSlot) -> Option<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = Connection {
            activity: Arc::clone(&slot.activity),
            service: self.service,
            limits: self.limits,
            phase: self.phase,
        };
        slot.until_evicted(connection.serve(stream, protocol)).await
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
