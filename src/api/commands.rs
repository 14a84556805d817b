//! Commands on one event.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::{Problem, ProblemBody};
use super::render::{Applied, Blocked, Cancelled, Released, Unblocked};
use super::reply::{Reply, decided};
use super::request::{BODY_BYTES_MAX, Call, CommandHeaders};
use super::wire::Name;
use super::wire::sale::{self, Block, Book, Cancel, Extend, ParseSale, Release, Reserve};
use super::wire::views::{Hold, Order};
use super::{Api, wire};
use crate::domain::command::Command;

/// Query of every command.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CommandQuery {
    /// Answer 307 to the leader instead of forwarding the command to it.
    #[param(value_type = Option<bool>)]
    pub redirect: Option<Flag>,
}

/// `?flag`, `?flag=true` or `?flag=false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = wire::Str::deserialize(deserializer)?;
        match &*text.0 {
            "" | "true" | "1" => Ok(Self(true)),
            "false" | "0" => Ok(Self(false)),
            other => Err(serde::de::Error::custom(format!("{other:?} is neither true nor false"))),
        }
    }
}

/// Whether a flag is there and not `false`.
pub(super) fn is_set(flag: Option<Flag>) -> bool {
    flag.is_some_and(|flag| flag.0)
}

impl Api {
    /// 307 to the leader, if the client wants that and it is another node.
    pub(super) fn redirected(&self, call: &Call, wanted: bool) -> Option<Response> {
        if !wanted {
            return None;
        }
        let leader = self.service().facts().leader_api?;
        if self.options().own_api.as_ref() == Some(&leader) {
            return None;
        }
        let location = format!("{}{}", leader.trim_end_matches('/'), call.path_and_query());
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        response.headers_mut().insert(header::LOCATION, HeaderValue::try_from(location).ok()?);
        Some(response)
    }

    /// One command, from its headers to its answer.
    pub(super) async fn submit(&self, call: &Call, takes_if_match: bool, command: Command) -> Reply {
        let context = call.context(takes_if_match)?;
        let submitted = self.service().submit(context, command).await?;
        decided(submitted, &call.request_id)
    }

    async fn sale(&self, mut call: Call, parse: ParseSale) -> Reply {
        let reply = self.try_sale(&mut call, parse).await;
        reply.map_err(|problem| with_key(problem, &call))
    }

    async fn try_sale(&self, call: &mut Call, parse: ParseSale) -> Reply {
        let query: CommandQuery = call.query()?;
        if let Some(redirect) = self.redirected(call, is_set(query.redirect)) {
            return Ok(redirect);
        }
        let (body, _room) = call.json_body(self, BODY_BYTES_MAX).await?;
        let command = parse(call.segment("event")?, &body)?;
        drop(body);
        self.submit(call, false, Command::Sale(command)).await
    }
}

/// Every answer to a command shows its key, refusals at the edge included.
pub(super) fn with_key(problem: Problem, call: &Call) -> Problem {
    match problem.key() {
        Some(_) => problem,
        None => problem.with_key(call.key().ok().flatten()),
    }
}

macro_rules! sale_routes {
    ($($(#[$doc:meta])* $name:ident $path:literal $body:ident $status:literal $answer:ty, $says:literal;)*) => {$(
        $(#[$doc])*
        #[utoipa::path(
            post, path = $path, tag = "commands",
            params(("event" = Name, Path), CommandQuery, CommandHeaders),
            request_body = $body,
            responses(
                (status = $status, description = $says, body = $answer),
                (status = "default", description = "Not applied, rejected, or unknown", body = ProblemBody,
                 content_type = "application/problem+json")
            )
        )]
        pub(super) async fn $name(State(api): State<Api>, call: Call) -> Reply {
            api.sale(call, sale::$name).await
        }
    )*};
}

sale_routes! {
    /// Claims items for a while: all of them, or none.
    reserve "/v1/events/{event}/reserve" Reserve 201 Applied<Hold>, "The hold";
    /// Moves the expiry of a live hold.
    extend "/v1/events/{event}/extend" Extend 200 Applied<Hold>, "The hold";
    /// Sells what a hold has, or free items directly.
    book "/v1/events/{event}/book" Book 201 Applied<Order>, "The order";
    /// Gives items of a hold back.
    release "/v1/events/{event}/release" Release 200 Applied<Released>, "What is free again";
    /// Gives items of an order back.
    cancel "/v1/events/{event}/cancel" Cancel 200 Applied<Cancelled>, "What is free again";
    /// Sets free items aside.
    block "/v1/events/{event}/block" Block 200 Applied<Blocked>, "What is blocked";
    /// Makes blocked items free.
    unblock "/v1/events/{event}/unblock" Block 200 Applied<Unblocked>, "What is free again";
}
