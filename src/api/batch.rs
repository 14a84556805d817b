//! `POST /v1/batch`.

use axum::extract::State;

use super::Api;
use super::commands::{CommandQuery, is_set, with_key};
use super::problem::ProblemBody;
use super::render::{Applied, Results};
use super::reply::{Reply, decided_batch};
use super::request::{BATCH_BYTES_MAX, Call, CommandHeaders};
use super::wire::batch::{Batch, Parsed, parse};
use crate::domain::command::Command;

/// Many commands in one request: all or none (`atomic`), or each by itself, in order.
#[utoipa::path(
    post, path = "/v1/batch", tag = "commands",
    params(CommandQuery, CommandHeaders),
    request_body = Batch,
    responses(
        (status = 200, description = "One result for each command, in order", body = Applied<Results>),
        (status = "default", description = "Atomic: the problem of the first failing command, with its `index`",
         body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn batch(State(api): State<Api>, mut call: Call) -> Reply {
    let reply = api.try_batch(&mut call).await;
    reply.map_err(|problem| with_key(problem, &call))
}

impl Api {
    async fn try_batch(&self, call: &mut Call) -> Reply {
        let query: CommandQuery = call.query()?;
        if let Some(redirect) = self.redirected(call, is_set(query.redirect)) {
            return Ok(redirect);
        }
        let body = call.json_body(self, BATCH_BYTES_MAX).await?;
        let (parsed, _room) = self.parse_aside(body, parse).await?;
        let commands = match parsed {
            Parsed::Atomic(commands) => return self.submit(call, false, Command::AtomicBatch(commands)).await,
            Parsed::Independent(commands) => commands,
        };
        let context = call.context(false)?;
        let submitted = self.service().submit_batch(context, commands).await?;
        Ok(decided_batch(submitted, &call.request_id))
    }
}
