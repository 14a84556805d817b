//! What answers on the listener: while the data folder opens, a few routes that need nothing of it; then the whole API.
//!
//! ```text
//!   connection ──▶ Front ──▶ the API's router, once there is one
//!                    └─────▶ opening: /livez 200 · /readyz 503 and why · all else 503 `no_leader`
//! ```
//!
//! The listener, its connections and what waits in its backlog stay the same: nobody is refused when the API takes over,
//! and a connection that was kept open reaches it with its next request.
//!
//! Here too: an HTTP/1.1 request that does not name its host, once, is not one (RFC 9112, 3.2).

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{StatusCode, Version, header};
use axum::routing::{future::RouteFuture, get};
use axum::{Extension, Router};
use tower::Service;

use super::edge::EdgeLayer;
use super::health;
use super::problem::{Problem, ProblemCode};
use super::reply::Reply;
use super::request::Call;
use super::unread::Unread;

/// When to look again whether the data folder is open.
const OPENING_RETRY_MS: u64 = 1_000;

/// A handle: clone it freely.
#[derive(Clone)]
pub struct Front(Arc<Routers>);

struct Routers {
    opening: Router,
    api: OnceLock<Router>,
}

impl Front {
    /// Answers for node `node_id` while its data folder opens.
    pub fn opening(node_id: u64) -> Self {
        Self(Arc::new(Routers { opening: opening(node_id), api: OnceLock::new() }))
    }

    /// From here on `api` answers, on connections that are open too. Only the first one does.
    pub fn take_over(&self, api: Router) {
        // A second one would be a bug of the caller that costs nothing.
        let _ = self.0.api.set(api);
    }

    fn router(&self) -> Router {
        self.0.api.get().unwrap_or(&self.0.opening).clone()
    }
}

impl From<Router> for Front {
    /// There is nothing to open.
    fn from(api: Router) -> Self {
        Self(Arc::new(Routers { opening: Router::new(), api: api.into() }))
    }
}

impl<B> Service<Request<B>> for Front
where
    B: axum::body::HttpBody<Data = axum::body::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut router = self.router();
        if request.version() == Version::HTTP_11 && request.headers().get_all(header::HOST).iter().count() != 1 {
            return router.call(Unread::NoHost.request());
        }
        router.call(request)
    }
}

fn opening(node_id: u64) -> Router {
    let edge = |route: &str| EdgeLayer::opening(node_id, route);
    Router::new()
        .route("/livez", get(health::livez).layer(edge("/livez")))
        .route("/readyz", get(not_ready).layer(edge("/readyz")))
        .fallback_service(not_open.layer(edge("opening")).with_state(()))
}

async fn not_ready(call: Call) -> Reply {
    let _: health::HealthQuery = call.query()?;
    Ok(health::text(StatusCode::SERVICE_UNAVAILABLE, "[-] data: the data folder is being opened\nnot ready\n".into()))
}

async fn not_open(unread: Option<Extension<Unread>>) -> Problem {
    match unread {
        Some(Extension(unread)) => unread.into(),
        None => Problem::new(
            ProblemCode::NoLeader,
            "This node is still opening its data folder. Try again after the time in Retry-After, or ask another node.",
        )
        .retry_after_ms(OPENING_RETRY_MS),
    }
}
