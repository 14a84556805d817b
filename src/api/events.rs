//! Events: define, change, delete, and what a reader sees of them.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::commands::{CommandQuery, Flag, is_set, with_key};
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::reading::{ReadHeaders, ReadQuery, page_limit};
use super::render::{Applied, Deleted};
use super::reply::{Reply, value};
use super::request::{BODY_BYTES_MAX, Call, CommandHeaders, DEFINITION_BYTES_MAX};
use super::room::Room;
use super::wire::definition::{self, EventChange, EventDefinition};
use super::wire::views::{Audit, Event, EventLine, EventPage};
use super::wire::{Name, WireError};
use crate::domain::command::Command;
use crate::domain::id::EventId;

/// Bodies above this are parsed on a thread of their own, so that they never hold up other requests.
const PARSE_ASIDE_BYTES: usize = 64 << 10;
/// Most events of a page.
pub(super) const EVENTS_PAGE_MAX: usize = 1_000;
/// Events of a page if the client does not say.
pub(super) const EVENTS_PAGE_DEFAULT: usize = 100;

type ParseEvent = fn(&str, &[u8]) -> Result<Command, WireError>;

/// `If-Match` of a definition.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only a schema: `Call::context` reads it")]
pub(super) struct IfMatch {
    /// The definition version it must still have, in quotes; `*` for any.
    #[param(rename = "If-Match", required = false, example = "\"3\"")]
    if_match: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    #[param(value_type = Option<bool>)]
    redirect: Option<Flag>,
    /// Delete it although something is held or booked.
    #[param(value_type = Option<bool>)]
    force: Option<Flag>,
}

impl Api {
    async fn definition(&self, mut call: Call, limit_bytes: usize, parse: ParseEvent) -> Reply {
        let reply = self.try_definition(&mut call, limit_bytes, parse).await;
        reply.map_err(|problem| with_key(problem, &call))
    }

    async fn try_definition(&self, call: &mut Call, limit_bytes: usize, parse: ParseEvent) -> Reply {
        let query: CommandQuery = call.query()?;
        if let Some(redirect) = self.redirected(call, is_set(query.redirect)) {
            return Ok(redirect);
        }
        let body = call.json_body(self, limit_bytes).await?;
        let event = call.segment("event")?.to_owned();
        let (command, _room) = self.parse_aside(body, move |body| parse(&event, body).map_err(Problem::from)).await?;
        self.submit(call, true, command).await
    }

    /// Parses here, or on a thread of its own when it would take long. What comes out is in the room of the body.
    pub(super) async fn parse_aside<T: Send + 'static>(
        &self,
        (body, room): (Bytes, Room),
        parse: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
    ) -> Result<(T, Room), Problem> {
        if body.len() <= PARSE_ASIDE_BYTES {
            return Ok((parse(&body)?, room));
        }
        // The room goes along: parsing does not end when the client goes away.
        let parsing = tokio::task::spawn_blocking(move || Ok((parse(&body)?, room)));
        parsing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// Defines an event, or replaces its definition in place.
#[utoipa::path(
    put, path = "/v1/events/{event}", tag = "commands",
    params(("event" = Name, Path), CommandQuery, CommandHeaders, IfMatch),
    request_body = EventDefinition,
    responses(
        (status = 200, description = "Replaced", body = Applied<Event>),
        (status = 201, description = "Made", body = Applied<Event>),
        (status = "default", description = "Not applied, rejected, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn define(State(api): State<Api>, call: Call) -> Reply {
    api.definition(call, DEFINITION_BYTES_MAX, definition::define).await
}

/// Changes an event without its seats.
#[utoipa::path(
    patch, path = "/v1/events/{event}", tag = "commands",
    params(("event" = Name, Path), CommandQuery, CommandHeaders, IfMatch),
    request_body = EventChange,
    responses(
        (status = 200, description = "The event as it is now", body = Applied<Event>),
        (status = "default", description = "Not applied, rejected, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn change(State(api): State<Api>, call: Call) -> Reply {
    api.definition(call, BODY_BYTES_MAX, definition::change).await
}

/// Deletes an event.
#[utoipa::path(
    delete, path = "/v1/events/{event}", tag = "commands",
    params(("event" = Name, Path), DeleteQuery, CommandHeaders),
    responses(
        (status = 200, description = "Deleted", body = Applied<Deleted>),
        (status = "default", description = "Not applied, rejected, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn delete(State(api): State<Api>, mut call: Call) -> Reply {
    let reply = try_delete(&api, &mut call).await;
    reply.map_err(|problem| with_key(problem, &call))
}

async fn try_delete(api: &Api, call: &mut Call) -> Reply {
    let query: DeleteQuery = call.query()?;
    if let Some(redirect) = api.redirected(call, is_set(query.redirect)) {
        return Ok(redirect);
    }
    call.no_body(api).await?;
    let event = call.id("event")?;
    api.submit(call, false, Command::Delete { event, force: is_set(query.force) }).await
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// 1 to 1,000; 100 if left out.
    pub(super) limit: Option<usize>,
    /// The last id of the page before.
    pub(super) after: Option<String>,
    #[param(inline)]
    pub(super) consistency: Option<super::reading::WireConsistency>,
    /// Waits until the node has applied this revision.
    pub(super) min_revision: Option<u64>,
}

/// All events, by id, a page at a time.
#[utoipa::path(
    get, path = "/v1/events", tag = "reads", params(PageQuery, ReadHeaders),
    responses(
        (status = 200, description = "A page", body = EventPage),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn list(State(api): State<Api>, call: Call) -> Reply {
    let query: PageQuery = call.query()?;
    let limit = page_limit(query.limit, EVENTS_PAGE_DEFAULT, EVENTS_PAGE_MAX)?;
    let after: Option<EventId> =
        query.after.as_deref().map(|id| super::wire::name(id, "Query parameter after")).transpose()?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, mut events) =
        api.service().inspect(|inventory| (inventory.revision(), inventory.events(after.as_ref(), limit + 1)));
    let more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().filter(|_| more).map(|event| event.event.as_str());
    let lines = events.iter().map(EventLine::from).collect();
    Ok(permit.on(value(&EventPage { events: lines, next, revision: revision.0 })))
}

/// An event without its list of seats.
#[utoipa::path(
    get, path = "/v1/events/{event}", tag = "reads",
    params(("event" = Name, Path), ReadQuery, ReadHeaders,
           ("If-None-Match" = Option<String>, Header, description = "The ETag of an earlier answer: 304 if it is still so")),
    responses(
        (status = 200, description = "The event", body = Event, headers(("ETag" = String, description = "\"version\""))),
        (status = 304, description = "As it was"),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn show(State(api): State<Api>, call: Call) -> Reply {
    let query: ReadQuery = call.query()?;
    let event: EventId = call.id("event")?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, view) = api.service().inspect(|inventory| (inventory.revision(), inventory.event(&event)));
    let Some(view) = view else { return Err(no_event(&event, revision.0)) };
    let tag = format!("\"{}\"", view.version);
    let mut response = if none_match(&call, &tag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        value(&Event::at(&view, revision.0))
    };
    response.headers_mut().insert(header::ETAG, HeaderValue::try_from(tag).expect("digits in quotes"));
    Ok(permit.on(response))
}

/// The client has this version already.
fn none_match(call: &Call, tag: &str) -> bool {
    let given = call.headers().get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|list| list.split(',')).map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

/// 404 for a reader.
pub(super) fn no_event(event: &EventId, revision: u64) -> Problem {
    Problem::not_found(
        ProblemCode::EventNotFound,
        revision,
        format!("There is no event {event}; check its id, or define it with PUT."),
    )
}

/// Counts recomputed from the records, not from counters.
#[utoipa::path(
    get, path = "/v1/events/{event}/audit", tag = "reads",
    params(("event" = Name, Path), ReadQuery, ReadHeaders),
    responses(
        (status = 200, description = "The counts", body = Audit),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn audit(State(api): State<Api>, call: Call) -> Reply {
    let query: ReadQuery = call.query()?;
    let event: EventId = call.id("event")?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, frozen) = api.service().inspect(|inventory| (inventory.revision(), inventory.freeze_event(&event)));
    let Some(frozen) = frozen else { return Err(no_event(&event, revision.0)) };
    let response = api.aside(&call, move || value(&Audit::from(&frozen.audit()))).await?;
    Ok(permit.on(response))
}
