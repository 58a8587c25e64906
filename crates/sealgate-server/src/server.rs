//! Starting and stopping: the sockets, the phases, the order of an end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use crate::body::Together;
use crate::certificate::CertificateSlot;
use crate::http::{Door, Offer, Routes};
use crate::limits::Limits;
use crate::tls::{self, Listener, Phase};

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The address for HTTPS. Port 0: any free one.
    pub listen: SocketAddr,
    /// Where `/metrics` is served over plain HTTP; `None`: on the HTTPS port.
    pub metrics_listen: Option<SocketAddr>,
    /// The certificate, which may change while serving.
    pub certificate: Arc<CertificateSlot>,
    /// Bounds.
    pub limits: Limits,
}

/// Why the gate does not listen.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The TLS library refuses its configuration.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A gate that listens. Dropping it stops it at once; [`Running::stop`] does so in order.
pub struct Running {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    limits: Arc<Limits>,
    phase: watch::Sender<Phase>,
    listeners: Vec<JoinHandle<()>>,
}

/// Begins to serve `door`. Must be called inside a tokio runtime.
pub fn start(door: Arc<dyn Door>, options: &ServerOptions) -> Result<Running, StartError> {
    let (phase, seen) = watch::channel(Phase::Serving);
    let limits = Arc::new(options.limits.clone());
    let together = Arc::new(Together::new(limits.body_bytes_together));
    let offer = if options.metrics_listen.is_some() { Offer::Webhooks } else { Offer::All };
    let listener = |socket, offer, tls| Listener {
        socket,
        tls,
        routes: Arc::new(Routes::new(
            Arc::clone(&door),
            offer,
            Arc::clone(&limits),
            Arc::clone(&together),
            seen.clone(),
        )),
        limits: Arc::clone(&limits),
        phase: seen.clone(),
    };
    let (socket, address) = bind(options.listen)?;
    let tls = tls::acceptor(Arc::clone(&options.certificate))?;
    let metrics = options.metrics_listen.map(bind).transpose()?;
    let mut listeners = vec![tokio::spawn(listener(socket, offer, Some(tls)).run())];
    let metrics_address = metrics.map(|(socket, address)| {
        listeners.push(tokio::spawn(listener(socket, Offer::Metrics, None).run()));
        address
    });
    info!(%address, "listening");
    Ok(Running { address, metrics_address, limits, phase, listeners })
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let refused = |source| StartError::Bind { address, source };
    let socket = tls::bind(address).map_err(refused)?;
    let bound = socket.local_addr().map_err(refused)?;
    Ok((socket, bound))
}

impl Running {
    /// Where HTTPS is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` is served, if on an address of its own.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Stops in order: `/readyz` refuses, the lame-duck time passes, the sockets close, what runs
    /// may end within the grace period.
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
