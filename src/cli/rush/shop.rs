//! What all buyers share: what is for sale, what is known to be sold out, and the running counts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lastseat_client::{Audit, Client, Event, ReadError};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::cli::args::{Global, RushArgs};
use crate::cli::exit::{self, Failure};

/// Requests under way at a time, all buyers together: each needs a connection.
const REQUESTS_MAX: usize = 512;
/// Answers of the event's counters are shared by all buyers who ask within this time.
const LOOK_SHARED: Duration = Duration::from_millis(50);

/// One thing a buyer can go for.
#[derive(Debug)]
pub(super) struct Target {
    /// `None`: the seats.
    pub(super) pool: Option<String>,
    sold_out: AtomicBool,
}

/// What can still be had of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Free,
    /// Held, by a buyer of this rush for all that is known: it may come back.
    OnlyHeld,
    /// Sold out for good, but for what others hold.
    Nothing,
}

pub(super) struct Shop {
    client: Client,
    pub(super) event: String,
    /// Makes customers and orders of this run differ from those of any other.
    pub(super) run: String,
    /// Most units a buyer asks for.
    pub(super) most: u64,
    /// The longest a buyer takes to pay.
    pub(super) paying: std::time::Duration,
    /// The event before the rush. What is held or blocked in it is others', and not for sale.
    pub(super) before: Audit,
    targets: Vec<Target>,
    pub(super) requests: Semaphore,
    booked: AtomicU64,
    orders: AtomicU64,
    pub(super) retries: AtomicU64,
    shared: AtomicUsize,
    /// Purchases that began and that ended, in any way. While the numbers are equal no unit is held by this rush.
    begun: AtomicU64,
    ended: AtomicU64,
    last_look: tokio::sync::Mutex<Option<Look>>,
    last_progress: Mutex<Instant>,
}

/// What a look found.
#[derive(Clone)]
struct Look {
    asked: Instant,
    event: Event,
    /// No purchase of this rush was under way: what is held is others'.
    quiet: bool,
}

/// A purchase under way: from before its reserve until its units are booked or certainly not held.
pub(super) struct UnderWay<'a>(&'a Shop);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Shop {
    /// Looks at what is for sale. Refuses an event that cannot be sold out by a rush.
    pub(super) async fn open(global: &Global, args: &RushArgs) -> Result<Self, Failure> {
        let client = global.client()?;
        let event: Event = exit::answered(client.event(&args.event).send().await)?;
        let audit = exit::answered(client.audit(&args.event).send().await)?;
        if !event.on_sale {
            return Err(Failure::new(exit::REJECTED, format!("event {:?} is not on sale; put it on sale", args.event)));
        }
        if audit.available == 0 {
            let held = if audit.held > 0 { format!(" ({})", held_by_others(audit.held)) } else { String::new() };
            return Err(Failure::new(
                exit::REJECTED,
                format!("event {:?} has nothing left to sell{held}; make or import another", args.event),
            ));
        }
        let seats = (event.seats.total > 0).then_some(None);
        let pools = event.pools.iter().filter(|pool| pool.capacity > 0).map(|pool| Some(pool.id.clone()));
        let target = |pool| Target { pool, sold_out: AtomicBool::new(false) };
        Ok(Self {
            client,
            paying: args.paying(),
            run: crate::service::stamp::timely_uuid().simple().to_string(),
            most: args.max_per_buyer.min(event.limits.per_customer.unwrap_or(u64::MAX)).max(1),
            before: audit,
            targets: seats.into_iter().chain(pools).map(target).collect(),
            event: args.event.clone(),
            requests: Semaphore::new(REQUESTS_MAX),
            booked: AtomicU64::new(0),
            orders: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            shared: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            last_look: tokio::sync::Mutex::new(None),
            last_progress: Mutex::new(Instant::now()),
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A target not known to be sold out, each in turn.
    pub(super) fn open_target(&self) -> Option<&Target> {
        let from = self.shared.fetch_add(1, Ordering::Relaxed);
        let count = self.targets.len();
        (0..count).map(|i| &self.targets[from.wrapping_add(i) % count]).find(|target| !target.is_sold_out())
    }

    /// Any target, sold out or not.
    pub(super) fn any_target(&self) -> Option<&Target> {
        self.targets.first()
    }

    pub(super) fn sold_out(&self) -> bool {
        self.targets.iter().all(Target::is_sold_out)
    }

    /// Begins a purchase.
    pub(super) fn under_way(&self) -> UnderWay<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        UnderWay(self)
    }

    /// A receipt.
    pub(super) fn note_booked(&self, units: u64) {
        self.booked.fetch_add(units, Ordering::Relaxed);
        self.orders.fetch_add(1, Ordering::Relaxed);
        *self.last_progress.lock() = Instant::now();
    }

    /// Units by the receipts of this run.
    pub(super) fn booked(&self) -> u64 {
        self.booked.load(Ordering::Relaxed)
    }

    pub(super) fn orders(&self) -> u64 {
        self.orders.load(Ordering::Relaxed)
    }

    /// Time since anyone bought anything.
    pub(super) fn idle(&self) -> Duration {
        self.last_progress.lock().elapsed()
    }

    /// What is left of the target, by a linearizable look that all who ask at the same time share.
    pub(super) async fn look(&self, target: &Target) -> Result<Left, ReadError> {
        if target.is_sold_out() {
            return Ok(Left::Nothing);
        }
        let asked = Instant::now();
        let mut last = self.last_look.lock().await;
        // Sold out only ever goes from false to true, so a look a little older is as true as a new one.
        let fresh = last.as_ref().filter(|look| look.asked + LOOK_SHARED >= asked);
        let look = match fresh {
            Some(look) => look.clone(),
            None => {
                let look = self.look_anew(asked).await?;
                *last = Some(look.clone());
                look
            }
        };
        drop(last);
        for target in &self.targets {
            if target.left(&look) == Left::Nothing {
                target.sold_out.store(true, Ordering::Relaxed);
            }
        }
        Ok(target.left(&look))
    }

    /// Quiet is a look during which no purchase was under way, none that began and ended meanwhile either: its hold
    /// could have been seen, and have come back since.
    async fn look_anew(&self, asked: Instant) -> Result<Look, ReadError> {
        // In this order: equal numbers then mean that nothing was under way in between.
        let ended = self.ended.load(Ordering::SeqCst);
        let begun = self.begun.load(Ordering::SeqCst);
        let event = self.client.event(&self.event).send().await?;
        let quiet = begun == ended && begun == self.begun.load(Ordering::SeqCst);
        Ok(Look { asked, event, quiet })
    }
}

/// What a person is told of them.
pub(super) fn held_by_others(units: u64) -> String {
    if units == 1 { "1 unit is held by others".to_owned() } else { format!("{units} units are held by others") }
}

impl Target {
    pub(super) fn is_sold_out(&self) -> bool {
        self.sold_out.load(Ordering::Relaxed)
    }

    fn left(&self, look: &Look) -> Left {
        let event = &look.event;
        let (free, held) = match &self.pool {
            None => (event.seats.free, event.seats.held),
            Some(id) => {
                let pool = event.pools.iter().find(|pool| pool.id == *id);
                pool.map_or((0, 0), |pool| (pool.available, pool.held))
            }
        };
        match (free, held) {
            (0, 0) => Left::Nothing,
            (0, _) if look.quiet => Left::Nothing,
            (0, _) => Left::OnlyHeld,
            _ => Left::Free,
        }
    }
}
