//! One request to one node: what was sent, what came back, and what a failure says about the effect.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client as HyperClient, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// A node that does not take the connection within this is passed over.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer read.
pub const RESPONSE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Idle connections kept to each node.
const IDLE_CONNECTIONS_MAX: usize = 1024;
const IDLE_CONNECTION_KEPT: Duration = Duration::from_secs(30);

pub(crate) struct Transport {
    http: HyperClient<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
pub(crate) enum Failure {
    /// No connection: certainly nothing was sent.
    NotSent(String),
    /// Sent, or perhaps sent, and no whole answer.
    Lost(String),
}

impl Transport {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let http = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_KEPT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Self { http }
    }

    /// Sends once. The whole answer must be there within `within`.
    pub(crate) async fn send(
        &self,
        method: &Method,
        uri: Uri,
        headers: &HeaderMap,
        body: Bytes,
        within: Duration,
    ) -> Result<Answer, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers.clone();
        match tokio::time::timeout(within, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Lost(format!("no answer within {} ms", within.as_millis()))),
        }
    }

    /// Sends once, and reads the answer as it comes if it is a 200; otherwise gives all of it. The head must be there within
    /// `within`.
    pub(crate) async fn open(
        &self,
        method: &Method,
        uri: Uri,
        headers: &HeaderMap,
        within: Duration,
    ) -> Result<Result<Incoming, Answer>, Failure> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers.clone();
        let exchange = async {
            let response = self.respond(request).await?;
            match response.status().as_u16() {
                200 => Ok(Ok(response.into_body())),
                _ => whole(response).await.map(Err),
            }
        };
        match tokio::time::timeout(within, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Lost(format!("no answer within {} ms", within.as_millis()))),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        whole(self.respond(request).await?).await
    }

    async fn respond(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        self.http.request(request).await.map_err(|error| {
            let text = chain(&error);
            if error.is_connect() { Failure::NotSent(text) } else { Failure::Lost(text) }
        })
    }
}

async fn whole(response: Response<Incoming>) -> Result<Answer, Failure> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, RESPONSE_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| Failure::Lost(format!("the answer broke off: {error}")))?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() })
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
