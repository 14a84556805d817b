//! `mode=latest`: many changes made into one that has the newest state of each seat and pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::change::{Change, ChangeSet, EventChanges};
use crate::domain::id::{EventId, PoolId, SeatId};
use crate::domain::value::{PoolCounts, SeatStatus, Totals, Version};
use crate::watch::{Message, Subject};

/// What has changed since the last message. As big as what can change: the seats and pools of its events.
pub(super) struct Latest {
    interval: Duration,
    /// Not before this.
    due: Instant,
    /// The newest change set that is in it, without its events.
    newest: Option<ChangeSet>,
    events: BTreeMap<EventId, Merged>,
    /// The first message waits until there is nothing left to catch up with.
    caught_up: bool,
}

#[derive(Default)]
struct Merged {
    version: Version,
    totals: Totals,
    seats: BTreeMap<SeatId, SeatStatus>,
    /// `None`: removed.
    pools: BTreeMap<PoolId, Option<PoolCounts>>,
}

impl Latest {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, due: Instant::now(), newest: None, events: BTreeMap::new(), caught_up: false }
    }

    pub(super) fn merge(&mut self, message: &Message) {
        let set = message.set();
        self.newest = Some(ChangeSet { revision: set.revision, at: set.at, cause: set.cause, events: Vec::new() });
        for event in message.events() {
            if !self.events.contains_key(&event.event) {
                self.events.insert(event.event.clone(), Merged::default());
            }
            let merged = self.events.get_mut(&event.event).expect("it is there now");
            (merged.version, merged.totals) = (event.version, event.totals);
            for change in &event.changes {
                match change {
                    Change::Seat { seat, status } => drop(merged.seats.insert(seat.clone(), *status)),
                    Change::Pool { pool, counts } => drop(merged.pools.insert(pool.clone(), Some(*counts))),
                    Change::PoolRemoved { pool } => drop(merged.pools.insert(pool.clone(), None)),
                }
            }
        }
    }

    /// When the next message may go. `None`: there is nothing to say, or something is still missing.
    pub(super) fn due(&mut self, is_current: impl FnOnce() -> bool) -> Option<Instant> {
        self.newest.as_ref()?;
        self.caught_up = self.caught_up || is_current();
        self.caught_up.then_some(self.due)
    }

    /// Everything since the last time as one change at the newest position.
    pub(super) fn take(&mut self, subject: &Subject) -> Option<Message> {
        let mut set = self.newest.take()?;
        self.due = Instant::now() + self.interval;
        set.events = std::mem::take(&mut self.events).into_iter().map(Merged::into_changes).collect();
        Message::about(subject, &Arc::new(set))
    }
}

impl Merged {
    fn into_changes((event, merged): (EventId, Self)) -> EventChanges {
        let Self { version, totals, seats, pools } = merged;
        let seats = seats.into_iter().map(|(seat, status)| Change::Seat { seat, status });
        let pools = pools.into_iter().map(|(pool, counts)| match counts {
            Some(counts) => Change::Pool { pool, counts },
            None => Change::PoolRemoved { pool },
        });
        EventChanges { event, version, changes: seats.chain(pools).collect(), totals }
    }
}
