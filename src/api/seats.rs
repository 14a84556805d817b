//! The seats of an event. The state is frozen first and rendered afterwards, on a thread of its own: a list of a million
//! seats neither holds up `apply` nor other requests.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::events::no_event;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::reading::{ReadHeaders, ReadQuery, WireConsistency, page_limit};
use super::render;
use super::reply::{Reply, json};
use super::request::Call;
use super::wire::views::{SeatOwner, SeatPage, SeatRow};
use super::wire::{self, Name};
use crate::domain::id::{EventId, SeatId};
use crate::domain::inventory::FrozenEvent;
use crate::domain::value::{SeatDef, SeatStatus};

/// Most seats of a page; without `limit` the list is whole.
pub(super) const SEATS_PAGE_MAX: usize = 10_000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SeatsQuery {
    /// Only seats in this state.
    #[param(inline)]
    status: Option<WireStatus>,
    /// Only seats of this section.
    section: Option<String>,
    /// Only seats of this category.
    category: Option<String>,
    /// 1 to 10,000; the whole list at one version if left out.
    limit: Option<usize>,
    /// The last seat of the page before.
    after: Option<String>,
    #[param(inline)]
    consistency: Option<WireConsistency>,
    /// Waits until the node has applied this revision.
    min_revision: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireStatus {
    Free,
    Held,
    Booked,
    Blocked,
}

impl WireStatus {
    fn domain(self) -> SeatStatus {
        match self {
            Self::Free => SeatStatus::Free,
            Self::Held => SeatStatus::Held,
            Self::Booked => SeatStatus::Booked,
            Self::Blocked => SeatStatus::Blocked,
        }
    }
}

/// Which seats a page has.
struct Filter {
    status: Option<SeatStatus>,
    section: Option<String>,
    category: Option<String>,
    after: Option<SeatId>,
    limit: usize,
}

/// Seats in definition order.
#[utoipa::path(
    get, path = "/v1/events/{event}/seats", tag = "reads",
    params(("event" = Name, Path), SeatsQuery, ReadHeaders),
    responses(
        (status = 200, description = "The seats at one version", body = SeatPage),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn list(State(api): State<Api>, call: Call) -> Reply {
    let query: SeatsQuery = call.query()?;
    let event: EventId = call.id("event")?;
    let filter = Filter {
        status: query.status.map(WireStatus::domain),
        section: query.section,
        category: query.category,
        after: query.after.as_deref().map(|id| wire::name(id, "Query parameter after")).transpose()?,
        limit: page_limit(query.limit, usize::MAX, SEATS_PAGE_MAX)?,
    };
    // Room before the state is frozen: what waits keeps no old version of it.
    let seats = api.service().inspect(|inventory| inventory.event(&event).map_or(0, |view| view.seats.total));
    let bytes = filter.limit.min(usize::try_from(seats).unwrap_or(usize::MAX)).saturating_mul(SEAT_BYTES_USUAL);
    let room = api.rooms().answer(bytes, call.deadline()?).await?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, frozen) = api.service().inspect(|inventory| (inventory.revision(), inventory.freeze_event(&event)));
    let Some(frozen) = frozen else { return Err(no_event(&event, revision.0)) };
    // The room goes along: rendering does not end when the client goes away.
    let rendered = move || filter.page(&frozen, revision.0).map(|page| (page, room));
    let (page, room) = api.aside(&call, rendered).await??;
    Ok(permit.on(json(200, api.rooms().house(page, room, call.deadline()?).await?)))
}

impl Filter {
    fn page(&self, frozen: &FrozenEvent, revision: u64) -> Result<Vec<u8>, Problem> {
        let mut seats = frozen.seats();
        if let Some(after) = &self.after
            && !seats.any(|(seat, _)| seat.id == *after)
        {
            return Err(no_seat(after, revision));
        }
        let mut matching = seats.filter(|(seat, status)| self.takes(seat, *status));
        let rows: Vec<SeatRow<'_>> =
            matching.by_ref().take(self.limit).map(|(seat, status)| SeatRow::new(seat, status)).collect();
        let more = matching.next().is_some();
        let next = rows.last().filter(|_| more).map(SeatRow::id);
        let mut body = Vec::with_capacity(render::BODY_BYTES_USUAL + rows.len() * SEAT_BYTES_USUAL);
        render::write_json(&SeatPage { version: frozen.version().0, revision, seats: rows, next }, &mut body);
        Ok(body)
    }

    fn takes(&self, seat: &SeatDef, status: SeatStatus) -> bool {
        self.status.is_none_or(|wanted| wanted == status)
            && self.section.as_ref().is_none_or(|wanted| seat.section.as_deref() == Some(wanted))
            && self.category.as_ref().is_none_or(|wanted| seat.category.as_deref() == Some(wanted))
    }
}

/// Room for one seat of a list.
const SEAT_BYTES_USUAL: usize = 128;

/// One seat, with who has it.
#[utoipa::path(
    get, path = "/v1/events/{event}/seats/{seat}", tag = "reads",
    params(("event" = Name, Path), ("seat" = Name, Path), ReadQuery, ReadHeaders),
    responses(
        (status = 200, description = "The seat", body = OwnedSeat),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn show(State(api): State<Api>, call: Call) -> Reply {
    let query: ReadQuery = call.query()?;
    let event: EventId = call.id("event")?;
    let seat: SeatId = call.id("seat")?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, found) = api.service().inspect(|inventory| {
        let found = inventory.seat(&event, &seat).ok_or_else(|| inventory.event(&event).is_some());
        (inventory.revision().0, found)
    });
    let view =
        found.map_err(|has_event| if has_event { no_seat(&seat, revision) } else { no_event(&event, revision) })?;
    let mut body = Vec::with_capacity(render::BODY_BYTES_USUAL);
    render::write_json(&SeatRow::new(&view.seat, view.status), &mut body);
    render::append_fields(&SeatOwner::at(&view, revision), &mut body);
    Ok(permit.on(json(200, body)))
}

/// The schema of a seat with who has it.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only a schema: `show` writes it")]
pub(super) struct OwnedSeat<'a> {
    #[serde(flatten)]
    row: SeatRow<'a>,
    #[serde(flatten)]
    owner: SeatOwner<'a>,
}

fn no_seat(seat: &SeatId, revision: u64) -> Problem {
    let detail = format!("The event has no seat {seat}; check the id against its list of seats.");
    Problem::not_found(ProblemCode::SeatNotFound, revision, detail)
}
