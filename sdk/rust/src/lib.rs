//! Client of lastseat, the inventory store that never sells the last seat twice.
//!
//! ```no_run
//! # async fn sell() -> Result<(), Box<dyn std::error::Error>> {
//! use lastseat_client::{Book, Client, Outcome, Reserve};
//!
//! let client = Client::new(["http://127.0.0.1:7401", "http://127.0.0.1:7402", "http://127.0.0.1:7403"])?;
//!
//! let hold = match client.reserve("hamlet", Reserve::best(2).customer("ada")).await {
//!     Outcome::Applied(hold) => hold,
//!     Outcome::Rejected(no) => return Err(format!("not these seats: {no}").into()),
//!     Outcome::NotApplied(no) => return Err(format!("nothing happened, try again: {no}").into()),
//!     Outcome::Unknown { key, .. } => return Err(format!("ask again with key {key}").into()),
//! };
//! let order = client.book("hamlet", Book::hold(&hold.token, "order-4711")).await;
//! # let _ = order;
//! # Ok(())
//! # }
//! ```
//!
//! # Four answers, no others
//!
//! | [`Outcome`] | what it promises |
//! |---|---|
//! | `Applied` | done: on disk on a majority of the nodes, never lost |
//! | `Rejected` | decided no, and recorded: the same key gives the same no |
//! | `NotApplied` | certainly no effect of this call, nor of any earlier one under its key |
//! | `Unknown` | may take effect once, or never; it becomes definite by asking again or by voiding |
//!
//! # One intent, one key
//!
//! Each command is a [`Call`] that makes its idempotency key once (a UUID v7). [`Call::send`] tries one node after the
//! other with that key until an answer is definite or the deadline (15 s unless set) has passed, so a lost connection
//! never books twice. What was unknown stays unknown: a refusal that says "this attempt had no effect" says nothing
//! about an earlier attempt, and the two combine to `Unknown`. [`Call::resolve`] goes one step further and voids the key
//! of what is still unknown; its answer is then definite unless no node could be asked.
//!
//! A connection that was refused sent nothing; the next node is asked. `429` and `503` are honoured with their
//! `Retry-After`, with jitter, as long as the deadline allows.
//!
//! Reads ([`Read`]) are linearizable unless [`Read::stale`] is asked for, and are tried on every node likewise.
//!
//! ```no_run
//! # async fn careful(client: &lastseat_client::Client) {
//! # use lastseat_client::Reserve;
//! # use std::time::Duration;
//! let mut call = client.reserve("hamlet", Reserve::seats(["A-1", "A-2"])).deadline(Duration::from_secs(3));
//! println!("the key to keep: {}", call.key());
//! let outcome = call.resolve().await;
//! println!("{outcome:?}");
//! # }
//! ```
//!
//! # Following changes
//!
//! [`Client::watch`] gives every change of an event once and in order, and [`Client::watch_all`] those of all events. They
//! come back by themselves on another node, after the last position.
//!
//! ```no_run
//! # async fn follow(client: &lastseat_client::Client) -> Result<(), lastseat_client::ReadError> {
//! use lastseat_client::WatchBody;
//!
//! let mut changes = client.watch("hamlet").snapshot().open();
//! while let Some(message) = changes.next().await {
//!     match message?.body {
//!         WatchBody::Reset => println!("the state follows, in pieces"),
//!         WatchBody::Snapshot(piece) => println!("{} seats more", piece.seats.len()),
//!         WatchBody::Change(change) => println!("{}: {:?}", change.cause, change.events),
//!         WatchBody::Synced | WatchBody::Bookmark => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What it lacks on purpose: TLS (the server has none yet).

mod call;
mod client;
mod outcome;
mod read;
mod requests;
mod transport;
mod types;
mod watch;
mod webhooks;

pub use call::{Attempt, Call};
pub use client::{ATTEMPT_TIMEOUT, Client, ClientError, DEADLINE, path_segment};
pub use outcome::{Conflict, Outcome, Problem};
pub use read::{Read, ReadError};
pub use requests::{Batch, Best, Book, EventDefinition, EventPatch, NewNode, PoolPatch, Reserve};
pub use transport::{CONNECT_TIMEOUT, RESPONSE_BYTES_MAX};
pub use types::{
    Audit, BatchResults, Blocked, Cancelled, Cluster, Deleted, Event, EventHold, EventLimits, EventPage, EventSummary,
    Hold, HoldPolicy, Item, Limits, NodeInfo, Order, OrderPage, Pool, PoolDefinition, RecordedOutcome, Released, Seat,
    SeatCounts, SeatDefinition, SeatNumber, SeatPage, StateHash, Voided,
};
pub use watch::{Change, Changes, EventChange, ItemChange, Snapshot, Totals, Watch, WatchBody, WatchMessage};
