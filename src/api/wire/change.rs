//! What a change is to the public: on streams, and in the messages of webhooks.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::Name;
use super::views::{Counts, Status, StatusSchema, Time};
use crate::domain::change::{Cause, Change};
use crate::domain::value::{PoolCounts, SeatStatus};

pub(in crate::api) fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Define => "define",
        Cause::Reserve => "reserve",
        Cause::Book => "book",
        Cause::Release => "release",
        Cause::Expire => "expire",
        Cause::Cancel => "cancel",
        Cause::Block => "block",
        Cause::Unblock => "unblock",
        Cause::Batch => "batch",
        Cause::Delete => "delete",
    }
}

#[derive(Debug, ToSchema)]
#[schema(as = Cause)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "the schema of what `cause_name` gives")]
pub(in crate::api) enum CauseSchema {
    Define,
    Reserve,
    Book,
    Release,
    Expire,
    Cancel,
    Block,
    Unblock,
    Batch,
    Delete,
}

/// What one change set did to an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventChange)]
pub(in crate::api) struct ChangeMessage<'a> {
    #[schema(value_type = Name)]
    pub(in crate::api) event: &'a str,
    pub(in crate::api) version: u64,
    pub(in crate::api) revision: u64,
    #[schema(value_type = Time)]
    pub(in crate::api) at: Time,
    #[schema(value_type = CauseSchema)]
    pub(in crate::api) cause: &'static str,
    #[schema(value_type = Vec<ChangeView>)]
    pub(in crate::api) changes: ChangeList<'a>,
    pub(in crate::api) totals: Counts,
    /// Which part of a change that is too big for one message; the position is reached with the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::api) part: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::api) parts: Option<usize>,
}

#[derive(Debug)]
pub(in crate::api) struct ChangeList<'a>(pub(in crate::api) &'a [Change]);

impl Serialize for ChangeList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ChangeView::from))
    }
}

/// The new state of one seat or pool.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Change)]
#[serde(untagged)]
pub(in crate::api) enum ChangeView<'a> {
    #[schema(title = "SeatChange")]
    Seat {
        #[schema(value_type = Name)]
        seat: &'a str,
        #[schema(value_type = StatusSchema)]
        status: Status,
    },
    #[schema(title = "PoolChange")]
    Pool {
        #[schema(value_type = Name)]
        pool: &'a str,
        capacity: u64,
        held: u64,
        booked: u64,
        blocked: u64,
        available: u64,
    },
    #[schema(title = "PoolRemoved")]
    PoolRemoved {
        #[schema(value_type = Name)]
        pool: &'a str,
        #[schema(value_type = StatusSchema)]
        status: Status,
    },
}

impl<'a> From<&'a Change> for ChangeView<'a> {
    fn from(change: &'a Change) -> Self {
        match change {
            Change::Seat { seat, status } => Self::Seat { seat: seat.as_str(), status: Status(*status) },
            Change::Pool { pool, counts } => {
                let PoolCounts { capacity, held, booked, blocked } = *counts;
                let available = counts.available();
                Self::Pool { pool: pool.as_str(), capacity, held, booked, blocked, available }
            }
            Change::PoolRemoved { pool } => {
                Self::PoolRemoved { pool: pool.as_str(), status: Status(SeatStatus::Removed) }
            }
        }
    }
}
