//! The HTTP API: routes, wire types, the table of problems.
//!
//! ```text
//!  serve ─▶ edge (per route) ─▶ handler ─▶ Call: headers, path, query, body
//!             │ request id                 wire: JSON ─▶ domain value
//!             │ Lastseat-* headers         Service: submit · read · inspect
//!             │ problem bodies             render: Answer ─▶ status, bytes
//!             ▼ metrics, access log
//!  every route stands once, in `routes.rs`: router and OpenAPI document are both made from that list
//! ```
//!
//! Invariants
//! - Every answer that is not 2xx or 3xx is a problem (`readyz` excepted: it is text), panics, wrong routes and what hyper
//!   cannot read included.
//! - A body is a pure function of the recorded answer, so a replay is the same to the byte but for `request_id`.
//! - Nothing here decides: what needs the state is decided by `apply`, through `service`.
//! - Tokens, credentials and bodies never reach a log; the log names the route, not the path.
//! - Everything has a named limit: bodies, connections, time to send, lists that are rendered at once, and the bytes of
//!   large bodies and answers of all connections together (`room.rs`).
//!
//! On purpose not here: TLS, CORS, compression, retries. No clock that a decision depends on: the deadline of a request is
//! only how long this node waits.

mod backend;
mod batch;
mod cluster;
mod commands;
mod console;
mod detail;
mod dev;
mod docs;
mod edge;
mod events;
mod front;
mod health;
pub mod metrics;
mod metrics_help;
mod orders;
mod outcomes;
pub mod problem;
mod reading;
pub mod render;
mod reply;
pub mod request;
pub mod room;
mod routes;
mod seats;
mod serve;
mod streams;
#[cfg(test)]
mod tests;
mod unread;
mod webhooks;
pub mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::service::Service;
use backend::Backend;
use room::Rooms;

pub use front::Front;
pub use routes::openapi;
pub use serve::{CONNECTIONS_MAX, serve};
pub use streams::STREAMS_MAX;
pub use wire::message::body as webhook_body;

/// Whole lists (seats, audits, hashes) that are rendered at the same time: each may need the memory of a big event.
pub const RENDERS_MAX: usize = 4;

/// What the API needs to know besides the service.
#[derive(Debug, Clone, Default)]
pub struct ApiOptions {
    /// This node's own API address, as the others know it: `?redirect` sends nobody here from here.
    pub own_api: Option<String>,
    /// Where `/metrics` reads; without it the page is empty.
    pub metrics: Option<metrics::Handle>,
    /// Where the process listens that keeps the nodes of a `dev` cluster.
    pub dev_control: Option<SocketAddr>,
    /// Ends every stream.
    pub stopping: CancellationToken,
    /// WebSockets that are open: they outlive their HTTP connection, so whoever stops the node waits for them.
    pub sockets: TaskTracker,
}

/// What every handler works with. A handle: clone it freely.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

struct Shared {
    backend: Backend,
    options: ApiOptions,
    renders: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    rooms: Rooms,
    document: Bytes,
}

impl Api {
    fn new(backend: Backend, options: ApiOptions, document: Bytes) -> Self {
        let (renders, streams) = (Arc::new(Semaphore::new(RENDERS_MAX)), Arc::new(Semaphore::new(STREAMS_MAX)));
        Self(Arc::new(Shared { backend, options, renders, streams, rooms: Rooms::new(), document }))
    }

    pub(crate) fn service(&self) -> &Backend {
        &self.0.backend
    }

    fn rooms(&self) -> &Rooms {
        &self.0.rooms
    }

    fn options(&self) -> &ApiOptions {
        &self.0.options
    }

    fn document(&self) -> Bytes {
        self.0.document.clone()
    }
}

/// The whole API on top of `service`.
pub fn router(service: Service, options: ApiOptions) -> Router {
    routes::build(Backend::Live(service), options)
}

/// The OpenAPI 3.1 document of the API as a file: JSON, a line at the end.
pub fn openapi_text() -> String {
    openapi().to_pretty_json().expect("the document is made of types that JSON can describe") + "\n"
}
