//! The web console: pages that are part of the binary. They talk only the public API of the node they came from.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use rust_embed::RustEmbed;

use super::Api;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::reply::Reply;
use super::request::Call;

#[derive(RustEmbed)]
#[folder = "src/api/console/"]
#[exclude = "tests/*"]
struct Files;

/// Nothing from anywhere else, nothing inline, no frame around it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
);
const NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// Where the console begins.
#[utoipa::path(get, path = "/", tag = "node", responses((status = 307, description = "To the console")))]
pub(super) async fn root() -> Response {
    to_console()
}

/// The same, without its last slash.
#[utoipa::path(get, path = "/console", tag = "node", responses((status = 307, description = "To the console")))]
pub(super) async fn door() -> Response {
    to_console()
}

/// The first page of the console: the cluster and its events.
#[utoipa::path(
    get, path = "/console/", tag = "node",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(super) async fn entrance(State(_): State<Api>, call: Call) -> Reply {
    file("index.html", &call)
}

/// A file of the console.
#[utoipa::path(
    get, path = "/console/{file}", tag = "node", params(("file" = String, Path)),
    responses(
        (status = 200, description = "The file", body = String, content_type = "*/*"),
        (status = 304, description = "The file is as the browser has it"),
        (status = "default", description = "There is no such file", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn asset(call: Call) -> Reply {
    file(call.segment("file")?, &call)
}

fn to_console() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/console/"));
    response
}

fn file(name: &str, call: &Call) -> Reply {
    let content_type = content_type(name);
    let (Some(content_type), Some(found)) = (content_type, Files::get(name)) else {
        let detail = format!("There is no file {name:?} here; begin at /console/.");
        return Err(Problem::new(ProblemCode::RouteNotFound, detail));
    };
    // Names carry no hash, so a browser asks each time, and mostly hears that nothing changed.
    let hash: String = found.metadata.sha256_hash()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = HeaderValue::try_from(format!("\"{hash}\"")).expect("digits in quotes");
    let known = call.headers().get(header::IF_NONE_MATCH) == Some(&tag);
    let mut response = Response::new(if known { Body::empty() } else { Body::from(found.data) });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::ETAG, tag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(NO_SNIFF, HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn content_type(name: &str) -> Option<HeaderValue> {
    let kind = match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    Some(HeaderValue::from_static(kind))
}
