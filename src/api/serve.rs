//! Connections: taken, bounded, and ended in good order.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::front::Front;
use super::unread::ProblemIo;

/// Connections open at a time; more wait in the kernel's backlog.
/// More than streams, so that they never keep requests out.
pub const CONNECTIONS_MAX: usize = 24_000;
/// Requests open at a time on one HTTP/2 connection.
pub(super) const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Longest time a client may take to send a request's headers; also the longest idle time of a kept connection.
pub(super) const HEADER_READ_MAX: Duration = Duration::from_secs(75);
/// An HTTP/2 client that is silent this long is asked whether it is there.
const HTTP2_PING_EVERY: Duration = Duration::from_secs(30);
/// A client that takes nothing of what was sent for this long is cut off.
const UNTAKEN_MAX: Duration = Duration::from_secs(60);
/// How long to leave the listener alone when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves what `front` answers until `shutdown`, then lets open requests end for at most `drain`. Streams must end by themselves when
/// `shutdown` comes. Returns how many connections were cut off at the end.
pub async fn serve(listener: TcpListener, front: Front, shutdown: CancellationToken, drain: Duration) -> usize {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let builder = builder();
    let mut connections = JoinSet::new();
    loop {
        while let Some(ended) = connections.try_join_next() {
            note(ended);
        }
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let connection = builder
            .serve_connection_with_upgrades(
                TokioIo::new(ProblemIo::new(stream, front.clone())),
                TowerToHyperService::new(front.clone()),
            )
            .into_owned();
        let watched = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(error = %error, "connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    finish(graceful.shutdown(), connections, drain).await
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // A client that has sent half a body and closed its side is still told what was wrong.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_MAX).half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .keep_alive_interval(HTTP2_PING_EVERY);
    builder
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.expect("nobody closes this semaphore");
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(error = %error, "TCP_NODELAY could not be set");
            }
            let untaken_ms = u32::try_from(UNTAKEN_MAX.as_millis()).expect("a minute");
            if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream, untaken_ms) {
                tracing::debug!(error = %error, "TCP_USER_TIMEOUT could not be set");
            }
            Some((stream, permit))
        }
        Err(error) => {
            // The client went away, or descriptors ran out: neither is a reason to stop serving.
            tracing::warn!(error = %error, "a connection could not be taken");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn finish(graceful: impl Future<Output = ()>, mut connections: JoinSet<()>, drain: Duration) -> usize {
    if tokio::time::timeout(drain, graceful).await.is_err() {
        tracing::warn!(
            drain_ms = drain.as_millis(),
            "requests were still open at the end of the drain and are cut off"
        );
    }
    while let Some(ended) = connections.try_join_next() {
        note(ended);
    }
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

/// A connection's task ends by itself; a panic in one is a bug to be seen, and costs the others nothing.
fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "a connection's task panicked");
    }
}
