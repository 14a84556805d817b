//! The one layer around every handler: request id, headers, problem bodies, panics, metrics and the access log.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use parking_lot::Mutex;
use tower::{Layer, Service};

use super::problem::{Problem, ProblemCode};
use super::reply::{IDEMPOTENCY_KEY, command_headers};
use super::request::RequestId;
use super::{Api, metrics};
use crate::service::NodeFacts;

const LASTSEAT_REVISION: HeaderName = HeaderName::from_static("lastseat-revision");
const LASTSEAT_NODE: HeaderName = HeaderName::from_static("lastseat-node");
const LASTSEAT_LEADER: HeaderName = HeaderName::from_static("lastseat-leader");
const REQUEST_ID: HeaderName = HeaderName::from_static(super::request::REQUEST_ID);

/// Marks a response that is no problem although its status is not 2xx: the text of `readyz`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain;

/// The edge of one route.
#[derive(Clone)]
pub(super) struct EdgeLayer(Arc<Edge>);

struct Edge {
    node: Node,
    /// The route as it is written, such as `/v1/events/{event}`: never the path, which may hold a token.
    route: Arc<str>,
    /// Responses under `/v1` show where they came from.
    is_v1: bool,
    /// Metrics of this route, found once by what they are told apart by.
    meters: Mutex<Vec<(Seen, metrics::Meter)>>,
}

/// Who answers.
enum Node {
    /// While its data folder opens, a node knows nothing but its id.
    Opening(u64),
    Open(Api),
}

impl Node {
    fn facts(&self) -> NodeFacts {
        match self {
            Self::Opening(node_id) => NodeFacts { revision: 0, node_id: *node_id, leader_api: None },
            Self::Open(api) => api.service().facts(),
        }
    }
}

/// What tells two answers of a route apart in metrics.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    method: &'static str,
    status: u16,
    code: &'static str,
}

impl EdgeLayer {
    pub(super) fn new(api: Api, route: &str) -> Self {
        Self::of(Node::Open(api), route, route.starts_with("/v1/"))
    }

    /// For a node that opens its data folder.
    pub(super) fn opening(node_id: u64, route: &str) -> Self {
        Self::of(Node::Opening(node_id), route, !route.starts_with('/'))
    }

    /// For what no route takes.
    pub(super) fn unmatched(api: Api) -> Self {
        Self::of(Node::Open(api), "unmatched", true)
    }

    fn of(node: Node, route: &str, is_v1: bool) -> Self {
        Self(Arc::new(Edge { node, route: route.into(), is_v1, meters: Mutex::default() }))
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = EdgeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        EdgeService { edge: Arc::clone(&self.0), inner }
    }
}

#[derive(Clone)]
pub(super) struct EdgeService<S> {
    edge: Arc<Edge>,
    inner: S,
}

impl<S> Service<Request> for EdgeService<S>
where
    S: Service<Request, Error = Infallible>,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let started = Instant::now();
        let request_id = RequestId::of(request.headers());
        let method = method_name(request.method());
        request.extensions_mut().insert(request_id.clone());
        let edge = Arc::clone(&self.edge);
        let handling = self.inner.call(request);
        Box::pin(async move {
            // A handler that panicked leaves nothing half-done behind: it owns all it works on, and `apply` runs elsewhere.
            let mut response = match AssertUnwindSafe(handling).catch_unwind().await {
                Ok(Ok(response)) => response.into_response(),
                Ok(Err(never)) => match never {},
                Err(_) => panicked().into_response(),
            };
            let code = finish_problem(&mut response, &request_id);
            edge.add_headers(response.headers_mut(), request_id.0.clone());
            edge.account(method, code, started, &response, &request_id);
            Ok(response)
        })
    }
}

fn panicked() -> Problem {
    Problem::new(
        ProblemCode::Internal,
        "The node failed on this request, and whether it took effect is not known. Send it again with the same \
         Idempotency-Key, and report the request id.",
    )
}

/// Writes the body of a problem; gives its code, empty for what is none.
fn finish_problem(response: &mut Response, request_id: &RequestId) -> &'static str {
    let status = response.status();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if status.as_u16() < 400 || response.extensions().get::<Plain>().is_some() => return "",
        None => Problem::new(
            ProblemCode::of_status(status.as_u16()),
            format!("The request was answered with {status}; correct it as the title says."),
        ),
    };
    let mut body = Vec::with_capacity(super::render::BODY_BYTES_USUAL);
    problem.write(request_id.as_str(), &mut body);
    *response.body_mut() = Body::from(body);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = problem.retry_after_s() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(key) = problem.key() {
        command_headers(headers, key, problem.is_replayed());
    }
    problem.code().row().code
}

impl Edge {
    fn add_headers(&self, headers: &mut HeaderMap, request_id: HeaderValue) {
        headers.insert(REQUEST_ID, request_id);
        if !self.is_v1 {
            return;
        }
        let facts = self.node.facts();
        headers.insert(LASTSEAT_REVISION, HeaderValue::from(facts.revision));
        headers.insert(LASTSEAT_NODE, HeaderValue::from(facts.node_id));
        if let Some(leader) = facts.leader_api.and_then(|api| HeaderValue::try_from(api).ok()) {
            headers.insert(LASTSEAT_LEADER, leader);
        }
    }

    fn account(
        &self,
        method: &'static str,
        code: &'static str,
        started: Instant,
        response: &Response,
        request_id: &RequestId,
    ) {
        let took = started.elapsed();
        let status = response.status().as_u16();
        self.meter(Seen { method, status, code }, took);
        let key = || response.headers().get(IDEMPOTENCY_KEY).and_then(|key| key.to_str().ok()).unwrap_or_default();
        let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let (route, request_id) = (&*self.route, request_id.as_str());
        if status < 400 {
            tracing::debug!(
                target: "lastseat::access", method, route, status, code, duration_us, request_id, key = key(), "request"
            );
        } else {
            tracing::info!(
                target: "lastseat::access", method, route, status, code, duration_us, request_id, key = key(), "request"
            );
        }
    }

    fn meter(&self, seen: Seen, took: std::time::Duration) {
        // A route has few different answers: a scan of a short list beats hashing five labels at each request.
        let mut meters = self.meters.lock();
        if let Some((_, meter)) = meters.iter().find(|(known, _)| *known == seen) {
            return meter.count(took);
        }
        let meter = metrics::Meter::new(&self.route, seen.method, seen.status, seen.code);
        meter.count(took);
        meters.push((seen, meter));
    }
}

/// Methods that clients make up must not make up time series.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
