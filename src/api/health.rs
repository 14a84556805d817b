//! Is the process alive, and is it of use?

use std::fmt::Write;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::commands::{Flag, is_set};
use super::edge::Plain;
use super::reply::Reply;
use super::request::Call;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HealthQuery {
    /// Name the checks that pass, too.
    #[param(value_type = Option<bool>)]
    verbose: Option<Flag>,
}

/// The process is alive. Never asks for a leader.
#[utoipa::path(
    get, path = "/livez", tag = "node", params(HealthQuery),
    responses((status = 200, description = "Alive", body = String, content_type = "text/plain"))
)]
pub(super) async fn livez(call: Call) -> Reply {
    let _: HealthQuery = call.query()?;
    Ok(text(StatusCode::OK, "ok\n".to_owned()))
}

/// The node belongs to a cluster, knows a leader, and lags little.
#[utoipa::path(
    get, path = "/readyz", tag = "node", params(HealthQuery),
    responses(
        (status = 200, description = "Ready", body = String, content_type = "text/plain"),
        (status = 503, description = "Not ready, and why", body = String, content_type = "text/plain")
    )
)]
pub(super) async fn readyz(State(api): State<Api>, call: Call) -> Reply {
    let query: HealthQuery = call.query()?;
    let readiness = api.service().readiness();
    let mut lines = String::new();
    for (name, result) in &readiness.checks {
        // Writing to a String cannot fail.
        let _ = match result {
            Ok(says) if is_set(query.verbose) => writeln!(lines, "[+] {name}: {says}"),
            Ok(_) => Ok(()),
            Err(why) => writeln!(lines, "[-] {name}: {why}"),
        };
    }
    let ready = readiness.ready();
    lines.push_str(if ready { "ready\n" } else { "not ready\n" });
    Ok(text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, lines))
}

pub(super) fn text(status: StatusCode, text: String) -> Response {
    let mut response = (status, text).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.extensions_mut().insert(Plain);
    response
}
