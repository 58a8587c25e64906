//! Start and stop of the server: the sockets, their routes, and the phases of an orderly end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tracing::info;

use crate::listener::accept::{self, Listener};
use crate::listener::certificate::CertificateSlot;
use crate::listener::client_certificates::ClientCertificates;
use crate::listener::limits::Limits;
use crate::listener::phase::Phase;
use crate::listener::tls;
use crate::webhook::review_handler::ReviewHandler;
use crate::webhook::routes::{BodyBudgets, PARSERS, Paths, Routes};

/// The options of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The address for HTTPS. Port 0: any free one.
    pub listen: SocketAddr,
    /// The address for `/metrics` over plain HTTP; `None`: on the HTTPS port.
    pub metrics_listen: Option<SocketAddr>,
    /// The certificate, which may change while serving.
    pub certificate: Arc<CertificateSlot>,
    /// The client certificates whose owners may have reviews answered; `None`: any caller may.
    pub clients: Option<Arc<ClientCertificates>>,
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
    /// The thread for metrics cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
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
    listeners: Vec<RunningListener>,
}

/// A listener that runs.
enum RunningListener {
    Task(JoinHandle<()>),
    Thread {
        /// Fails when the thread has ended.
        ended: oneshot::Receiver<()>,
        /// Ends the thread when it is dropped.
        _abort: oneshot::Sender<()>,
    },
}

/// Starts to serve `handler`. Must be called inside a tokio runtime, on which reviews are answered.
/// Metrics with an address of their own are served by a thread of their own, so that health checks
/// are answered while reviews keep every thread of the runtime busy.
pub fn start<H: ReviewHandler>(
    handler: Arc<H>,
    options: &ServerOptions,
) -> Result<Running, StartError> {
    let (sender, phase) = watch::channel(Phase::Serving);
    let limits = Arc::new(options.limits.clone());
    let bodies = Arc::new(BodyBudgets::new(&limits));
    let parsers = Arc::new(Semaphore::new(PARSERS));
    let paths = if options.metrics_listen.is_some() { Paths::Webhooks } else { Paths::All };
    let listener = |socket, paths, tls: Option<TlsAcceptor>| {
        let clients = tls.as_ref().and(options.clients.clone());
        let routes = Routes {
            handler: Arc::clone(&handler),
            paths,
            limits: Arc::clone(&limits),
            bodies: Arc::clone(&bodies),
            parsers: Arc::clone(&parsers),
            phase: phase.clone(),
        };
        let (limits, phase) = (Arc::clone(&limits), phase.clone());
        Listener { socket, tls, clients, service: Arc::new(routes), limits, phase }
    };
    let (socket, address) = bind(options.listen)?;
    let tls = tls::acceptor(Arc::clone(&options.certificate), options.clients.clone())?;
    let metrics = options.metrics_listen.map(bind).transpose()?;
    let metrics_address = metrics.as_ref().map(|(_, address)| *address);
    let mut listeners = Vec::new();
    if let Some((socket, _)) = metrics {
        let thread = RunningListener::on_thread(listener(socket, Paths::Metrics, None));
        listeners.push(thread.map_err(StartError::Thread)?);
    }
    let reviews = tokio::spawn(listener(socket, paths, Some(tls)).run());
    listeners.push(RunningListener::Task(reviews));
    info!(%address, "listening");
    Ok(Running { address, metrics_address, limits, phase: sender, listeners })
}

impl RunningListener {
    /// Runs `listener` on a thread of its own, with a runtime of its own.
    fn on_thread(listener: Listener) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (send_end, ended) = oneshot::channel::<()>();
        let (abort, aborted) = oneshot::channel::<()>();
        std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = listener.run() => {}
                    _ = aborted => {}
                }
            });
            drop(send_end);
        })?;
        Ok(Self::Thread { ended, _abort: abort })
    }

    /// Waits until the listener has ended.
    async fn ended(&mut self) {
        match self {
            Self::Task(task) => drop(task.await),
            Self::Thread { ended, .. } => drop(ended.await),
        }
    }
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
            listener.ended().await;
        }
        info!("stopped");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for listener in &self.listeners {
            if let RunningListener::Task(task) = listener {
                task.abort();
            }
        }
    }
}
