//! Are two results the same, as far as the contract says what they are?
//!
//! Left open by the contract, so not compared: the order of items in a view and of changes in a change set, the words
//! of a reason, the list of conflicts of a code that is not about items.

use std::collections::BTreeSet;

use lastseat::domain::change::{Cause, Change, ChangeSet, EventChanges};
use lastseat::domain::inventory::Applied;
use lastseat::domain::outcome::{Answer, Code, Conflict, Decision, Outcome, Rejection, SliceAnswer, Verdict};
use lastseat::domain::value::{EventView, Item, SeatStatus};

/// `Err` says what differs.
pub fn applied(model: &Applied, real: &Applied) -> Result<(), String> {
    let count = (model.decisions.len(), real.decisions.len());
    if count.0 != count.1 {
        return Err(format!("{} decisions expected, {} given", count.0, count.1));
    }
    for (at, (wanted, given)) in model.decisions.iter().zip(&real.decisions).enumerate() {
        let (wanted, given) = (plain_decision(wanted), plain_decision(given));
        if wanted != given {
            return Err(format!("decision {at} differs:\n  contract says {wanted:?}\n  apply says    {given:?}"));
        }
    }
    if model.change_sets.len() != real.change_sets.len() {
        return Err(format!(
            "{} change sets expected, {} given:\n  contract says {:?}\n  apply says    {:?}",
            model.change_sets.len(),
            real.change_sets.len(),
            model.change_sets,
            real.change_sets
        ));
    }
    model.change_sets.iter().zip(&real.change_sets).try_for_each(|(wanted, given)| change_set(wanted, given))
}

fn change_set(wanted: &ChangeSet, given: &ChangeSet) -> Result<(), String> {
    let differ = || Err(format!("change sets differ:\n  contract says {wanted:?}\n  apply says    {given:?}"));
    let head = |set: &ChangeSet| (set.revision, set.at, set.cause, set.events.len());
    if head(wanted) != head(given) {
        return differ();
    }
    let by_event = |set: &ChangeSet| {
        let mut events = set.events.clone();
        events.sort_by(|a, b| a.event.cmp(&b.event));
        events
    };
    // A definition or a batch may name what it touched and left as it was; nothing else may.
    let exact = !matches!(given.cause, Cause::Define | Cause::Batch);
    for (wanted, given) in by_event(wanted).iter().zip(&by_event(given)) {
        let head = |part: &EventChanges| (part.event.clone(), part.version, part.totals);
        let (all, some) = (sorted(&wanted.changes), sorted(&given.changes));
        let distinct: BTreeSet<_> = some.iter().map(|(name, _)| name.clone()).collect();
        let within = some.iter().all(|change| all.contains(change));
        if head(wanted) != head(given) || distinct.len() < some.len() || !within || (exact && all != some) {
            return differ();
        }
    }
    Ok(())
}

fn sorted(changes: &[Change]) -> Vec<(String, Change)> {
    let name = |change: &Change| match change {
        Change::Seat { seat, .. } => format!("seat {seat}"),
        Change::Pool { pool, .. } | Change::PoolRemoved { pool } => format!("pool {pool}"),
    };
    let mut changes: Vec<_> = changes.iter().map(|change| (name(change), change.clone())).collect();
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    changes
}

fn plain_decision(decision: &Decision) -> Decision {
    match decision {
        Decision::Fresh(answer) => Decision::Fresh(plain(answer)),
        Decision::Replayed(answer) => Decision::Replayed(plain(answer)),
        Decision::KeyReused => Decision::KeyReused,
        Decision::StagingLost => Decision::StagingLost,
    }
}

/// An answer without what the contract leaves open.
pub fn plain(answer: &Answer) -> Answer {
    let verdict = match &answer.verdict {
        Verdict::Applied(outcome) => Verdict::Applied(plain_outcome(outcome)),
        Verdict::Rejected(rejection) => Verdict::Rejected(plain_rejection(rejection)),
    };
    // "None where no single event is meant": what a batch, or a refusal without event, says is its own affair.
    let version = match &verdict {
        Verdict::Applied(Outcome::AtomicBatch(_) | Outcome::BatchSlice(_)) | Verdict::Rejected(_) => None,
        Verdict::Applied(_) => answer.version,
    };
    Answer { version, verdict, ..answer.clone() }
}

fn plain_outcome(outcome: &Outcome) -> Outcome {
    let mut outcome = outcome.clone();
    match &mut outcome {
        Outcome::Defined { event, .. } | Outcome::Changed { event } => **event = plain_event(event),
        Outcome::Reserved(hold) | Outcome::Extended(hold) => hold.items = plain_items(&hold.items),
        Outcome::Booked(order) | Outcome::BookedBefore(order) => order.items = plain_items(&order.items),
        Outcome::Released { items }
        | Outcome::Cancelled { items }
        | Outcome::Blocked { items, .. }
        | Outcome::Unblocked { items, .. } => *items = plain_items(items),
        Outcome::AtomicBatch(answers) => *answers = answers.iter().map(plain).collect(),
        Outcome::BatchSlice(answers) => {
            for answer in answers {
                if let SliceAnswer::Decided(answer) = answer {
                    *answer = plain(answer);
                }
            }
        }
        Outcome::NotVoided(answer) => **answer = plain(answer),
        Outcome::Deleted { .. }
        | Outcome::Voided
        | Outcome::Configured
        | Outcome::WebhookSet { .. }
        | Outcome::WebhookDeleted { .. }
        | Outcome::WebhookChanged { .. }
        | Outcome::WebhookRotated { .. }
        | Outcome::WebhookTried { .. } => {}
    }
    outcome
}

pub fn plain_items(items: &[Item]) -> Vec<Item> {
    let mut items = items.to_vec();
    items.sort();
    items
}

pub fn plain_event(event: &EventView) -> EventView {
    event.clone()
}

fn plain_rejection(rejection: &Rejection) -> Rejection {
    let mut plain = rejection.clone();
    plain.facts.reason = None;
    let missing = |conflict: &Conflict| matches!(conflict, Conflict::NoSeat { .. } | Conflict::NoPool { .. });
    match plain.code {
        Code::SeatNotFound | Code::PoolNotFound => plain.conflicts.retain(missing),
        Code::SeatBooked | Code::SeatHeld | Code::SeatBlocked | Code::Insufficient => {
            plain.conflicts.retain(|conflict| !missing(conflict));
        }
        Code::TokenMismatch | Code::OrderMismatch => {
            plain.conflicts.retain(|conflict| !matches!(conflict, Conflict::Seat { .. } | Conflict::Best { .. }));
        }
        Code::CapacityBelowCommitted | Code::NotBlocked => {}
        Code::Invalid
        | Code::DuplicateItem
        | Code::DeadlinePassed
        | Code::Voided
        | Code::EventNotFound
        | Code::HoldNotFound
        | Code::OrderNotFound
        | Code::DefinitionMoved
        | Code::NotOnSale
        | Code::HoldExpired
        | Code::OrderExists
        | Code::NotContiguous
        | Code::LimitExceeded
        | Code::WebhookNotFound
        | Code::DeliveryNotFound
        | Code::TooManyWebhooks => plain.conflicts.clear(),
    }
    plain.conflicts.sort_by_key(|conflict| format!("{conflict:?}"));
    plain
}

/// Statuses of seats that a reader can see.
pub const STATUSES: [SeatStatus; 4] = [SeatStatus::Free, SeatStatus::Held, SeatStatus::Booked, SeatStatus::Blocked];
