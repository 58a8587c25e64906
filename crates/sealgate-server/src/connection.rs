//! One connection: HTTP/1.1 or HTTP/2, watched so that a slow or silent client cannot keep its place.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::{Builder, Connection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tracing::debug;

use crate::http::Routes;
use crate::limits::Limits;
use crate::pulse::{Patience, Pulse};
use crate::tls::Phase;

/// What was agreed on in the handshake. Not guessed from the first bytes: guessing has no time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// The stream, which tells the pulse of bytes that come.
struct Watched<S> {
    stream: TokioIo<S>,
    pulse: Arc<Pulse>,
}

/// The routes, which tell the pulse of requests.
struct Answering {
    routes: Arc<Routes>,
    pulse: Arc<Pulse>,
    protocol: Protocol,
    phase: watch::Receiver<Phase>,
}

impl Protocol {
    pub(crate) fn of_alpn(agreed: Option<&[u8]>) -> Self {
        if agreed == Some(b"h2") { Self::Http2 } else { Self::Http1 }
    }
}

/// Serves `stream` until either side ends it, it breaks a limit, or the gate stops.
pub(crate) async fn serve<S>(
    stream: S,
    protocol: Protocol,
    pulse: Arc<Pulse>,
    routes: Arc<Routes>,
    limits: Arc<Limits>,
    phase: watch::Receiver<Phase>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = Watched { stream: TokioIo::new(stream), pulse: Arc::clone(&pulse) };
    let service = Answering { routes, pulse: Arc::clone(&pulse), protocol, phase: phase.clone() };
    let http = builder(protocol, &limits);
    watch(pin!(http.serve_connection(io, service)), &pulse, protocol, &limits, phase).await;
}

fn builder(protocol: Protocol, limits: &Limits) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    // The watch below knows an idle connection from a slow one; hyper's own timer does not.
    http.http1().timer(TokioTimer::new()).max_buf_size(64 << 10).header_read_timeout(None);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    match protocol {
        Protocol::Http1 => http.http1_only(),
        Protocol::Http2 => http.http2_only(),
    }
}

/// Drives a connection; ends it when the gate stops or the client is too slow.
async fn watch<S>(
    mut connection: Pin<&mut Connection<'_, Watched<S>, Answering, TokioExecutor>>,
    pulse: &Pulse,
    protocol: Protocol,
    limits: &Limits,
    mut phase: watch::Receiver<Phase>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut tick = tokio::time::interval(tick_of(limits));
    let mut ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(%error, "connection ended");
                }
                return;
            }
            _ = phase.wait_for(|phase| *phase == Phase::Stopping), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = tick.tick() => match pulse.judge(protocol, limits) {
                Patience::Left => {}
                Patience::Idle if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                Patience::Idle if pulse.rested_for() < limits.idle + limits.headers => {}
                Patience::Idle | Patience::Slow => {
                    debug!("connection given up: the client is silent or too slow");
                    return;
                }
            }
        }
    }
}

impl Service<Request<Incoming>> for Answering {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (routes, pulse) = (Arc::clone(&self.routes), Arc::clone(&self.pulse));
        let (protocol, phase) = (self.protocol, self.phase.clone());
        Box::pin(async move {
            let _running = pulse.start();
            let mut answer = routes.answer(request, &pulse).await;
            if protocol == Protocol::Http1 && *phase.borrow() != Phase::Serving {
                // The API server speaks HTTP/1.1 and asks nothing twice: a connection that is closed
                // while it writes is a failed call. Told beforehand, it takes another one.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        })
    }
}

fn tick_of(limits: &Limits) -> Duration {
    (limits.headers.min(limits.idle) / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
}

impl<S: AsyncRead + Unpin> Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) {
            self.pulse.bytes_came();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Write for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }
}
