//! Start and stop of the server: the sockets, their routes, and the phases of an orderly end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tracing::info;

use crate::listener::accept::{self, Listener};
use crate::listener::body::BodyBudget;
use crate::listener::certificate::CertificateSlot;
use crate::listener::limits::Limits;
use crate::listener::phase::Phase;
use crate::listener::request_limit::RequestLimit;
use crate::listener::tls;
use crate::webhook::review_handler::ReviewHandler;
use crate::webhook::routes::{PARSERS, Paths, Routes};

/// The options of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The address for HTTPS. Port 0: any free one.
    pub listen: SocketAddr,
    /// The address for `/metrics` over plain HTTP; `None`: on the HTTPS port.
    pub metrics_listen: Option<SocketAddr>,
    /// The certificate, which may change while serving.
    pub certificate: Arc<CertificateSlot>,
    /// The limits.
    pub limits: Limits,
}

/// The reasons why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The TLS library refuses its configuration.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A server that runs. Dropping it stops it at once; [`Running::stop`] does so in order.
pub struct Running {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    limits: Arc<Limits>,
    phase: watch::Sender<Phase>,
    listeners: Vec<JoinHandle<()>>,
}

/// Starts to serve `handler`. Must be called inside a tokio runtime.
pub fn start<H: ReviewHandler>(
    handler: Arc<H>,
    options: &ServerOptions,
) -> Result<Running, StartError> {
    let (sender, phase) = watch::channel(Phase::Serving);
    let limits = Arc::new(options.limits.clone());
    let requests = Arc::new(RequestLimit::new(limits.requests));
    let bodies = Arc::new(BodyBudget::new(limits.body_bytes_total));
    let parsers = Arc::new(Semaphore::new(PARSERS));
    let paths = if options.metrics_listen.is_some() { Paths::Webhooks } else { Paths::All };
    let listener = |socket, paths, tls| {
        let routes = Routes {
            handler: Arc::clone(&handler),
            paths,
            limits: Arc::clone(&limits),
            requests: Arc::clone(&requests),
            bodies: Arc::clone(&bodies),
            parsers: Arc::clone(&parsers),
            phase: phase.clone(),
        };
        let (limits, requests) = (Arc::clone(&limits), Arc::clone(&requests));
        let phase = phase.clone();
        Listener { socket, tls, service: Arc::new(routes), limits, requests, phase }
    };
    let (socket, address) = bind(options.listen)?;
    let tls = tls::acceptor(Arc::clone(&options.certificate))?;
    let metrics = options.metrics_listen.map(bind).transpose()?;
    let mut listeners = vec![tokio::spawn(listener(socket, paths, Some(tls)).run())];
    let metrics_address = metrics.map(|(socket, address)| {
        listeners.push(tokio::spawn(listener(socket, Paths::Metrics, None).run()));
        address
    });
    info!(%address, "listening");
    Ok(Running { address, metrics_address, limits, phase: sender, listeners })
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { address, source };
    let socket = accept::bind(address).map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    Ok((socket, bound))
}

impl Running {
    /// The address for HTTPS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for `/metrics`, if it has one of its own.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Stops in order: `/readyz` refuses, the lame-duck time passes, the sockets are closed, running
    /// requests may finish within the grace period.
    pub async fn stop(mut self) {
        self.phase.send_replace(Phase::Draining);
        tokio::time::sleep(self.limits.lame_duck).await;
        self.phase.send_replace(Phase::Stopping);
        for listener in &mut self.listeners {
            let _ = listener.await;
        }
        info!("stopped");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}
