//! Holds and orders, for those who know their names.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::events::no_event;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::reading::{ReadHeaders, ReadQuery, WireConsistency, page_limit};
use super::render;
use super::reply::{Reply, json, value};
use super::request::Call;
use super::wire::views::{Hold, Order, OrderPage};
use super::wire::{self, Name};
use crate::domain::id::{CustomerId, EventId, OrderId, Token};

/// Most orders of a page.
pub(super) const ORDERS_PAGE_MAX: usize = 1_000;
/// Orders of a page if the client does not say.
pub(super) const ORDERS_PAGE_DEFAULT: usize = 100;

/// A read value says at which revision it was seen.
#[derive(Serialize)]
struct Seen {
    revision: u64,
}

/// The schema of a value with its revision.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only a schema: `seen` writes it")]
pub(super) struct At<T> {
    #[serde(flatten)]
    value: T,
    /// The revision at which it was seen.
    revision: u64,
}

pub(super) fn seen<T: Serialize>(value: &T, revision: u64) -> axum::response::Response {
    let mut body = Vec::with_capacity(render::BODY_BYTES_USUAL);
    render::write_json(value, &mut body);
    render::append_fields(&Seen { revision }, &mut body);
    json(200, body)
}

/// A live hold.
#[utoipa::path(
    get, path = "/v1/events/{event}/holds/{token}", tag = "reads",
    params(("event" = Name, Path), ("token" = Name, Path), ReadQuery, ReadHeaders),
    responses(
        (status = 200, description = "The hold", body = At<Hold>),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn hold(State(api): State<Api>, call: Call) -> Reply {
    let query: ReadQuery = call.query()?;
    let event: EventId = call.id("event")?;
    let token: Token = call.id("token")?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, clock, found) = api.service().inspect(|inventory| {
        let found = inventory.hold(&event, &token).ok_or_else(|| inventory.event(&event).is_some());
        (inventory.revision().0, inventory.clock(), found)
    });
    let view = found.map_err(|has_event| {
        if !has_event {
            return no_event(&event, revision);
        }
        // The token is a secret: it is not repeated.
        let detail = "The event has no such live hold: the token is wrong, or the hold was booked, released or expired. \
                      Reserve again.";
        Problem::not_found(ProblemCode::HoldNotFound, revision, detail)
    })?;
    Ok(permit.on(seen(&Hold::at(&view, clock), revision)))
}

/// An order, cancelled or not.
#[utoipa::path(
    get, path = "/v1/events/{event}/orders/{order}", tag = "reads",
    params(("event" = Name, Path), ("order" = Name, Path), ReadQuery, ReadHeaders),
    responses(
        (status = 200, description = "The order", body = At<Order>),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn order(State(api): State<Api>, call: Call) -> Reply {
    let query: ReadQuery = call.query()?;
    let event: EventId = call.id("event")?;
    let order: OrderId = call.id("order")?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, found) = api.service().inspect(|inventory| {
        let found = inventory.order(&event, &order).ok_or_else(|| inventory.event(&event).is_some());
        (inventory.revision().0, found)
    });
    let view =
        found.map_err(|has_event| if has_event { no_order(&order, revision) } else { no_event(&event, revision) })?;
    Ok(permit.on(seen(&Order::from(&view), revision)))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OrdersQuery {
    /// Only orders of this customer.
    customer: Option<String>,
    /// 1 to 1,000; 100 if left out.
    limit: Option<usize>,
    /// The last order of the page before.
    after: Option<String>,
    #[param(inline)]
    consistency: Option<WireConsistency>,
    /// Waits until the node has applied this revision.
    min_revision: Option<u64>,
}

/// Orders in the order of booking, a page at a time.
#[utoipa::path(
    get, path = "/v1/events/{event}/orders", tag = "reads",
    params(("event" = Name, Path), OrdersQuery, ReadHeaders),
    responses(
        (status = 200, description = "A page", body = OrderPage),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn list(State(api): State<Api>, call: Call) -> Reply {
    let query: OrdersQuery = call.query()?;
    let event: EventId = call.id("event")?;
    let limit = page_limit(query.limit, ORDERS_PAGE_DEFAULT, ORDERS_PAGE_MAX)?;
    let customer: Option<CustomerId> =
        query.customer.as_deref().map(|id| wire::name(id, "Query parameter customer")).transpose()?;
    let after: Option<OrderId> =
        query.after.as_deref().map(|id| wire::name(id, "Query parameter after")).transpose()?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, found) = api.service().inspect(|inventory| {
        let found = inventory.orders(&event, customer.as_ref(), after.as_ref(), limit + 1);
        (inventory.revision().0, found.ok_or_else(|| inventory.event(&event).is_some()))
    });
    let mut orders = found.map_err(|has_event| match &after {
        Some(after) if has_event => no_order(after, revision),
        _ => no_event(&event, revision),
    })?;
    let more = orders.len() > limit;
    orders.truncate(limit);
    let next = orders.last().filter(|_| more).map(|order| order.order.as_str());
    Ok(permit.on(value(&OrderPage { orders: orders.iter().map(Order::from).collect(), next, revision })))
}

fn no_order(order: &OrderId, revision: u64) -> Problem {
    let detail = format!("The event has no order {order}; check the order id.");
    Problem::not_found(ProblemCode::OrderNotFound, revision, detail)
}
