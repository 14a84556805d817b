//! What all reads share: permission to read, paging, and work done aside.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::problem::{Problem, read_timeout};
use super::request::Call;
use crate::service::{Consistency, ReadOptions, ReadPermit};

const STALENESS_MS: HeaderName = HeaderName::from_static("lastseat-staleness-ms");

/// How a read is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = Consistency)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireConsistency {
    /// As if there were one copy: sees every command answered before.
    Linearizable,
    /// From the node's own state; `Lastseat-Staleness-Ms` says how old it can be.
    Stale,
}

/// Query of every read.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// `linearizable` if left out.
    #[param(inline)]
    pub consistency: Option<WireConsistency>,
    /// Waits until the node has applied this revision.
    pub min_revision: Option<u64>,
}

/// Of a route that takes no parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

/// Headers of every read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only a schema: `Call` reads them")]
pub(super) struct ReadHeaders {
    /// How long to wait for the answer, 5,000 if left out.
    #[param(rename = "Request-Timeout-Ms", required = false, minimum = 1, maximum = 30000)]
    request_timeout_ms: Option<u64>,
    /// Returned as it is; made by the node if left out.
    #[param(rename = "Request-Id", required = false)]
    request_id: Option<String>,
}

/// A permission to read, to be shown on the answer.
pub(super) struct Permit(ReadPermit);

impl Permit {
    /// The answer, saying how old it can be.
    pub(super) fn on(self, mut response: Response) -> Response {
        if let Some(staleness_ms) = self.0.staleness_ms {
            response.headers_mut().insert(STALENESS_MS, HeaderValue::from(staleness_ms));
        }
        response
    }
}

impl Api {
    /// Waits until the read may look at the state.
    pub(super) async fn permit(
        &self,
        call: &Call,
        consistency: Option<WireConsistency>,
        min_revision: Option<u64>,
    ) -> Result<Permit, Problem> {
        let consistency = match consistency {
            None | Some(WireConsistency::Linearizable) => Consistency::Linearizable,
            Some(WireConsistency::Stale) => Consistency::Stale,
        };
        let options = ReadOptions { consistency, min_revision, deadline: call.deadline()? };
        Ok(Permit(self.service().read(options).await?))
    }

    /// A turn to render something that takes long.
    pub(super) fn render_turn(&self) -> impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + use<> {
        Arc::clone(&self.0.renders).acquire_owned()
    }

    /// Does what may take long on a thread of its own, a few at a time; the wait for a turn ends with the request's
    /// deadline.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.render_turn();
        let turn = tokio::time::timeout_at(call.deadline()?.into(), turn).await.map_err(|_| read_timeout())?;
        let turn = turn.expect("nobody closes this semaphore");
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        Ok(working.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
    }
}

/// A page's length.
pub(super) fn page_limit(given: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    match given {
        None => Ok(default),
        Some(limit) if (1..=max).contains(&limit) => Ok(limit),
        Some(limit) => {
            Err(Problem::invalid(format!("Query parameter limit is {limit}; give 1 to {max}, and page with after.")))
        }
    }
}
