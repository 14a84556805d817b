//! What became of a key.

use axum::extract::State;

use super::Api;
use super::commands::{CommandQuery, is_set, with_key};
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::reading::{ReadHeaders, ReadQuery};
use super::render::{self, Applied, Recorded, Voided};
use super::reply::{Reply, json};
use super::request::{Call, CommandHeaders};
use super::wire::AskedKey;
use crate::domain::command::Command;

/// The answer recorded under a key.
#[utoipa::path(
    get, path = "/v1/outcomes/{key}", tag = "outcomes",
    params(("key" = inline(AskedKey), Path), ReadQuery, ReadHeaders),
    responses(
        (status = 200, description = "What was recorded", body = Recorded),
        (status = "default", description = "`outcome_not_found`: nothing is decided so far", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn show(State(api): State<Api>, call: Call) -> Reply {
    let query: ReadQuery = call.query()?;
    let key = call.asked_key()?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, answer) = api.service().inspect(|inventory| (inventory.revision().0, inventory.recorded(&key)));
    let Some(answer) = answer else {
        return Err(Problem::not_found(
            ProblemCode::OutcomeNotFound,
            revision,
            format!("Nothing is decided under the key {key} so far; send the command again with it, or void it."),
        ));
    };
    let mut body = Vec::with_capacity(render::BODY_BYTES_USUAL);
    render::write_recorded(&answer, revision, call.request_id.as_str(), &mut body);
    Ok(permit.on(json(200, body)))
}

/// Makes an unknown definite: what happened, or never.
#[utoipa::path(
    post, path = "/v1/outcomes/{key}/void", tag = "outcomes",
    params(("key" = inline(AskedKey), Path), CommandQuery, CommandHeaders),
    responses(
        (status = 200, description = "Voided, or what was recorded before", body = Applied<Voided>),
        (status = "default", description = "Not applied, rejected, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn void(State(api): State<Api>, mut call: Call) -> Reply {
    let reply = try_void(&api, &mut call).await;
    reply.map_err(|problem| with_key(problem, &call))
}

async fn try_void(api: &Api, call: &mut Call) -> Reply {
    let query: CommandQuery = call.query()?;
    if let Some(redirect) = api.redirected(call, is_set(query.redirect)) {
        return Ok(redirect);
    }
    call.no_body(api).await?;
    let key = call.asked_key()?;
    api.submit(call, false, Command::Void { key }).await
}
