//! Metrics in Prometheus' text format.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use metrics::{Counter, Histogram, SharedString};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use super::{Api, streams};

/// Upper bounds of the buckets of every duration, in seconds: from a cached read to the longest request.
pub const DURATION_BUCKETS_S: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The same for what happens within the node: an apply takes microseconds, a sync up to a second.
const STEP_BUCKETS_S: &[f64] =
    &[0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0];
/// Commands that share a log entry.
const COMMANDS_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// Samples wait at most this long before they are added to their buckets when nobody scrapes.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

const REQUESTS: &str = "lastseat_http_requests_total";
const DURATION: &str = "lastseat_http_request_duration_seconds";
/// Counted by whoever writes the log.
pub const LOG_LINES_LOST: &str = "lastseat_log_lines_lost_total";

/// Reads what this process has measured.
#[derive(Clone)]
pub struct Handle(PrometheusHandle);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("metrics::Handle")
    }
}

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("the metrics recorder cannot be made: {0}")]
    Build(#[from] BuildError),
    #[error("this process has a metrics recorder already; install it once, before the router is made")]
    Installed,
}

/// Makes this process measure. Once per process, before the router is made.
pub fn install() -> Result<Handle, InstallError> {
    // Without buckets the exporter would make summaries, which cannot be added up over nodes.
    let step = |name: &str| Matcher::Full(name.to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets(DURATION_BUCKETS_S)?
        .set_buckets_for_metric(step("lastseat_apply_seconds"), STEP_BUCKETS_S)?
        .set_buckets_for_metric(step("lastseat_wal_fsync_seconds"), STEP_BUCKETS_S)?
        .set_buckets_for_metric(step("lastseat_persister_write_seconds"), STEP_BUCKETS_S)?
        .set_buckets_for_metric(step("lastseat_stream_delivery_seconds"), STEP_BUCKETS_S)?
        .set_buckets_for_metric(step("lastseat_entry_commands"), COMMANDS_BUCKETS)?
        .build_recorder();
    let handle = Handle(recorder.handle());
    metrics::set_global_recorder(recorder).map_err(|_| InstallError::Installed)?;
    super::metrics_help::describe();
    metrics::counter!(LOG_LINES_LOST).absolute(0);
    streams::describe_metrics();
    Ok(handle)
}

impl Handle {
    /// Everything measured, as text.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps the memory of unscraped samples bounded until `shutdown`. Its owner is who spawns it.
    pub async fn upkeep(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            self.0.run_upkeep();
        }
    }
}

/// The two metrics of one kind of answer.
pub(super) struct Meter {
    requests: Counter,
    duration: Histogram,
}

impl Meter {
    pub(super) fn new(route: &Arc<str>, method: &'static str, status: u16, code: &'static str) -> Self {
        let route = SharedString::from_shared(Arc::clone(route));
        let status = status.to_string();
        Self {
            requests: metrics::counter!(
                REQUESTS, "route" => route.clone(), "method" => method, "status" => status.clone(), "code" => code
            ),
            duration: metrics::histogram!(
                DURATION, "route" => route, "method" => method, "status" => status, "code" => code
            ),
        }
    }

    pub(super) fn count(&self, took: Duration) {
        self.requests.increment(1);
        self.duration.record(took);
    }
}

/// Metrics of this node.
#[utoipa::path(
    get, path = "/metrics", tag = "node",
    responses((status = 200, description = "Prometheus text format", body = String, content_type = "text/plain"))
)]
pub(super) async fn scrape(State(api): State<Api>) -> Response {
    api.service().refresh_metrics();
    let text = api.options().metrics.as_ref().map(Handle::render).unwrap_or_default();
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_histograms_told_apart_by_route_and_code() {
        let handle = install().expect("the only install of this process");
        assert!(matches!(install(), Err(InstallError::Installed)));
        let meter = Meter::new(&"/v1/batch".into(), "POST", 409, "seat_held");
        meter.count(Duration::from_millis(2));
        let text = handle.render();
        let labels = r#"route="/v1/batch",method="POST",status="409",code="seat_held""#;
        assert!(text.contains(&format!("# HELP {REQUESTS} Requests")), "{text}");
        assert!(text.contains(&format!("{REQUESTS}{{{labels}}} 1")), "{text}");
        assert!(text.contains(&format!("{DURATION}_bucket{{{labels},le=\"0.0025\"}} 1")), "{text}");
        assert!(text.contains(&format!("{DURATION}_bucket{{{labels},le=\"0.001\"}} 0")), "{text}");
    }
}
