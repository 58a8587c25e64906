//! One connection: HTTP/1.1 or HTTP/2, ended when the client is too slow or idle for too long.

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
use hyper_util::server::conn::auto::{Builder, Connection as HttpConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tracing::debug;

use super::activity::{Activity, IdleState};
use super::limits::Limits;
use super::phase::Phase;
use super::service::HttpService;
use super::tls::Protocol;

/// The bytes that an HTTP/2 client can send before they are read: they are not in the budget of
/// bodies yet. hyper's default is 1 MiB for each connection.
const H2_WINDOW: u32 = 64 << 10;

/// The bytes of the headers of one request. A connection over HTTP/1.1 buffers as much of a body
/// before it is counted.
const HEADER_BYTES: u32 = 16 << 10;

/// A connection, and what its requests need.
pub(super) struct Connection {
    pub(super) activity: Arc<Activity>,
    pub(super) service: Arc<dyn HttpService>,
    pub(super) limits: Arc<Limits>,
    pub(super) phase: watch::Receiver<Phase>,
}

/// A stream that records the bytes received.
struct RecordedStream<S> {
    stream: TokioIo<S>,
    activity: Arc<Activity>,
}

/// A service that records the requests received.
struct RecordedService {
    service: Arc<dyn HttpService>,
    activity: Arc<Activity>,
    protocol: Protocol,
    phase: watch::Receiver<Phase>,
}

impl Connection {
    /// Serves `stream` until either side ends it, it exceeds a limit, or the gate stops.
    pub(super) async fn serve<S>(self, stream: S, protocol: Protocol)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { activity, service, limits, phase } = self;
        let io = RecordedStream { stream: TokioIo::new(stream), activity: Arc::clone(&activity) };
        let service = RecordedService {
            service,
            activity: Arc::clone(&activity),
            protocol,
            phase: phase.clone(),
        };
        let http = builder(protocol, &limits);
        drive(pin!(http.serve_connection(io, service)), &activity, protocol, &limits, phase).await;
    }
}

fn builder(protocol: Protocol, limits: &Limits) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    // `drive` tells an idle connection from a slow one; hyper's own timer does not.
    http.http1()
        .timer(TokioTimer::new())
        .max_buf_size(HEADER_BYTES as usize)
        .header_read_timeout(None);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_WINDOW)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    match protocol {
        Protocol::Http1 => http.http1_only(),
        Protocol::Http2 => http.http2_only(),
    }
}

/// Drives a connection; ends it when the gate stops, or the client is idle or too slow.
async fn drive<S>(
    mut connection: Pin<&mut HttpConnection<'_, RecordedStream<S>, RecordedService, TokioExecutor>>,
    activity: &Activity,
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
            () = activity.given_up(), if !ending => {
                debug!("connection given up: its slot is needed");
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = tick.tick() => match activity.idle_state(protocol, limits) {
                IdleState::WithinLimits => {}
                IdleState::Idle if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                IdleState::Idle if activity.idle_for() < limits.idle + limits.headers => {}
                IdleState::Idle | IdleState::Slow => {
                    debug!("connection closed: the client is idle or too slow");
                    return;
                }
            }
        }
    }
}

impl Service<Request<Incoming>> for RecordedService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (service, activity) = (Arc::clone(&self.service), Arc::clone(&self.activity));
        let (protocol, phase) = (self.protocol, self.phase.clone());
        Box::pin(async move {
            let _running = activity.request_started();
            let mut response = service.answer(request, &activity).await;
            let ends = *phase.borrow() != Phase::Serving || activity.is_given_up();
            if protocol == Protocol::Http1 && ends {
                // The API server speaks HTTP/1.1 and does not retry: a connection that is closed while
                // it writes is a failed call. Told beforehand, it opens another one.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

fn tick_of(limits: &Limits) -> Duration {
    (limits.headers.min(limits.idle) / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
}

impl<S: AsyncRead + Unpin> Read for RecordedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) {
            self.activity.bytes_received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Write for RecordedStream<S> {
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
