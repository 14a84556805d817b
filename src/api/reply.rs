//! Responses with a body in one buffer.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::problem::Problem;
use super::render;
use super::request::RequestId;
use crate::domain::id::Key;
use crate::domain::outcome::Verdict;
use crate::service::{Submitted, SubmittedBatch};

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What every handler answers.
pub(super) type Reply = Result<Response, Problem>;

/// A JSON response.
pub(super) fn json(status: u16, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).expect("statuses are written in this crate, and real");
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// A 200 with one value.
pub(super) fn value<T: serde::Serialize>(value: &T) -> Response {
    let mut body = Vec::with_capacity(render::BODY_BYTES_USUAL);
    render::write_json(value, &mut body);
    json(200, body)
}

/// A decided command.
pub(super) fn decided(submitted: Submitted, request_id: &RequestId) -> Reply {
    let Submitted { key, answer, replayed } = submitted;
    let outcome = match &answer.verdict {
        Verdict::Applied(outcome) => outcome,
        Verdict::Rejected(rejection) => {
            return Err(Problem::rejected(&answer, rejection).with_key(Some(key)).replayed(replayed));
        }
    };
    let mut body = Vec::with_capacity(render::BODY_BYTES_USUAL);
    render::write_outcome(&answer, outcome, request_id.as_str(), &mut body);
    let mut response = json(render::status(&answer), body);
    command_headers(response.headers_mut(), &key, replayed);
    Ok(response)
}

/// A decided independent batch.
pub(super) fn decided_batch(submitted: SubmittedBatch, request_id: &RequestId) -> Response {
    let mut body = Vec::with_capacity(submitted.answers.len() * BATCH_RESULT_BYTES_USUAL);
    render::write_batch(&submitted.answers, request_id.as_str(), &mut body);
    let mut response = json(200, body);
    command_headers(response.headers_mut(), &submitted.key, submitted.replayed);
    response
}

/// Room for one result of a batch.
const BATCH_RESULT_BYTES_USUAL: usize = 256;

/// The key that was used, and whether the answer was recorded before.
pub(super) fn command_headers(headers: &mut axum::http::HeaderMap, key: &Key, replayed: bool) {
    let key = HeaderValue::from_str(key.as_str()).expect("a key is printable ASCII");
    headers.insert(IDEMPOTENCY_KEY, key);
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
}
