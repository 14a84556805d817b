//! The OpenAPI document, and a page that reads it. The page's files are part of the binary.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{Redirect, Response};
use utoipa_swagger_ui::{Config, SwaggerFile};

use super::Api;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::reply::Reply;
use super::request::Call;

/// The OpenAPI 3.1 document of this API.
#[utoipa::path(
    get, path = "/openapi.json", tag = "node",
    responses((status = 200, description = "This document", body = Object, content_type = "application/json"))
)]
pub(super) async fn document(State(api): State<Api>) -> Response {
    let mut response = Response::new(Body::from(api.document()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A page that reads the document.
#[utoipa::path(
    get, path = "/docs", tag = "node",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(super) async fn page() -> Reply {
    let file = file("index.html")?;
    // The page is at /docs, its files are below it: without a base they would be looked for beside it.
    let html = String::from_utf8_lossy(&file.bytes).replacen("<head>", "<head>\n    <base href=\"/docs/\">", 1);
    Ok(with_type(Body::from(html), HeaderValue::from_static("text/html; charset=utf-8")))
}

/// The page, as people type it.
#[utoipa::path(
    get, path = "/docs/", tag = "node",
    responses((status = 308, description = "To /docs"))
)]
pub(super) async fn slash() -> Redirect {
    Redirect::permanent("/docs")
}

/// A file of that page.
#[utoipa::path(
    get, path = "/docs/{file}", tag = "node", params(("file" = String, Path)),
    responses(
        (status = 200, description = "The file", body = String, content_type = "*/*"),
        (status = "default", description = "There is no such file", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn asset(call: Call) -> Reply {
    let SwaggerFile { bytes, content_type, gzpipped, .. } = file(call.segment("file")?)?;
    let content_type = HeaderValue::try_from(content_type).expect("the table of types holds only header values");
    let mut response = with_type(Body::from(bytes.into_owned()), content_type);
    if gzpipped {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

fn file(path: &str) -> Result<SwaggerFile<'static>, Problem> {
    let config = Arc::new(Config::from("/openapi.json"));
    let found = utoipa_swagger_ui::serve(path, config).ok().flatten();
    found.ok_or_else(|| {
        Problem::new(ProblemCode::RouteNotFound, format!("There is no file {path:?} here; begin at /docs."))
    })
}

fn with_type(body: Body, content_type: HeaderValue) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
