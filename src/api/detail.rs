//! The code and the sentence of a rejection: what stands in the way, and what to do about it.

use std::fmt::Write;

use super::problem::ProblemCode;
use crate::domain::inventory::WEBHOOKS_MAX;
use crate::domain::outcome::{Code, Conflict, Rejection};
use crate::domain::value::SeatStatus;
use crate::service::NoLeader;

impl From<Code> for ProblemCode {
    fn from(code: Code) -> Self {
        match code {
            Code::Invalid => Self::Invalid,
            Code::DuplicateItem => Self::DuplicateItem,
            Code::DeadlinePassed => Self::DeadlinePassed,
            Code::Voided => Self::Voided,
            Code::EventNotFound => Self::EventNotFound,
            Code::HoldNotFound => Self::HoldNotFound,
            Code::OrderNotFound => Self::OrderNotFound,
            Code::SeatNotFound => Self::SeatNotFound,
            Code::PoolNotFound => Self::PoolNotFound,
            Code::DefinitionMoved => Self::DefinitionMoved,
            Code::NotOnSale => Self::NotOnSale,
            Code::HoldExpired => Self::HoldExpired,
            Code::TokenMismatch => Self::TokenMismatch,
            Code::OrderMismatch => Self::OrderMismatch,
            Code::OrderExists => Self::OrderExists,
            Code::SeatBooked => Self::SeatBooked,
            Code::SeatHeld => Self::SeatHeld,
            Code::SeatBlocked => Self::SeatBlocked,
            Code::Insufficient => Self::Insufficient,
            Code::NotContiguous => Self::NotContiguous,
            Code::LimitExceeded => Self::LimitExceeded,
            Code::CapacityBelowCommitted => Self::CapacityBelowCommitted,
            Code::NotBlocked => Self::NotBlocked,
            Code::WebhookNotFound => Self::WebhookNotFound,
            Code::DeliveryNotFound => Self::DeliveryNotFound,
            Code::TooManyWebhooks => Self::TooManyWebhooks,
        }
    }
}

/// Conflicts named in the sentence; all of them are in `conflicts`.
const NAMED_MAX: usize = 3;

const AGAIN: &str = "Try again after the time in Retry-After";
const REMOVED: &str = "This node was removed from the cluster: stop this process, its id is never used again.";

/// Of a command that was not proposed.
pub(super) fn of_command_without_leader(why: NoLeader) -> String {
    match why {
        NoLeader::Silent(id) => format!(
            "Node {id}, the last known leader, did not take the command in time, so it was not proposed: it \
                         is cut off, on its way out, or has too much to do. {AGAIN}, on any node, with the same key."
        ),
        NoLeader::Removed => format!("{REMOVED} Send the command to another node, with the same key."),
        NoLeader::NoneKnown | NoLeader::Recovering => format!(
            "No leader became known in time, so the command was not proposed. {AGAIN}, on any node, with \
                         the same key."
        ),
    }
}

/// Of a read that no leader confirmed.
pub(super) fn of_read_without_leader(why: NoLeader) -> String {
    match why {
        NoLeader::NoneKnown => {
            format!("No leader is known. {AGAIN}, ask another node, or read with consistency=stale.")
        }
        NoLeader::Silent(id) => format!(
            "Node {id}, the last known leader, did not confirm the read. {AGAIN}, ask another node, or read \
                         with consistency=stale."
        ),
        NoLeader::Recovering => {
            format!("This node is still recovering and shows nothing. {AGAIN}, or ask another node.")
        }
        NoLeader::Removed => format!("{REMOVED} Ask another node."),
    }
}

/// A pure function of the rejection, so that a replay says the same.
pub(super) fn of_rejection(rejection: &Rejection) -> String {
    if let Some(reason) = &rejection.facts.reason {
        let reason = sentence(reason);
        return if reason.ends_with('.') { reason } else { format!("{reason}.") };
    }
    let what = names(&rejection.conflicts);
    match rejection.code {
        Code::Invalid => "A value of the request is not allowed; correct it and send it with a new key.".into(),
        Code::DuplicateItem => format!("The same seat is named more than once{what}; name each seat once."),
        Code::DeadlinePassed => {
            "The cluster's clock was past the request's Not-After; send it again with a later one and a new key.".into()
        }
        Code::Voided => match &rejection.facts.key {
            Some(key) => format!("The key {key} was voided, so it will never be applied; use a new key."),
            None => "This key was voided, so it will never be applied; use a new key.".into(),
        },
        Code::EventNotFound => "There is no such event; check its id, or define it with PUT.".into(),
        Code::HoldNotFound => {
            "There is no such hold: the token is wrong, or the hold ended by a book or a release. Reserve again.".into()
        }
        Code::OrderNotFound => "The event has no such order; check the order id.".into(),
        Code::SeatNotFound => format!("The event has no such seat{what}; check the ids against its list of seats."),
        Code::PoolNotFound => format!("The event has no such pool{what}; check the ids against the event's pools."),
        Code::DefinitionMoved => match rejection.facts.definition_version {
            Some(now) => format!(
                "The definition version is {now}, not the one in If-Match; read the event, and decide again on what it is now."
            ),
            None => "The event is not at the definition version in If-Match; read it, and decide again.".into(),
        },
        Code::NotOnSale => "The event is not on sale; live holds can still be booked. Try when it is on sale.".into(),
        Code::HoldExpired => {
            format!(
                "The hold has expired{what}; reserve again. What was paid for can be saved with on_expired: \"rebook\", if \
                 all of it is still free, the order id unused and the customer's limit kept."
            )
        }
        Code::TokenMismatch => {
            format!("The hold does not own all that is named, or is another customer's{what}; name only what it owns.")
        }
        Code::OrderMismatch => format!("The order does not own all that is named{what}; name only what it owns."),
        Code::OrderExists => "The order id is used in this event already; take another order id.".into(),
        Code::SeatBooked => format!("Not every seat is free{what}; choose other seats, or cancel the orders first."),
        Code::SeatHeld => {
            format!("Not every seat is free{what}; choose other seats, or try again when the hold ends.")
        }
        Code::SeatBlocked => format!("Not every seat can be had{what}; choose other seats, or unblock them first."),
        Code::Insufficient => format!("There are not enough units left{what}; ask for fewer."),
        Code::NotContiguous => {
            "Enough seats are free, but no block of neighbours that large; ask for fewer, or with contiguous: false."
                .into()
        }
        Code::LimitExceeded => match rejection.facts.limit {
            Some((limit, current)) => format!(
                "A customer may have {limit} units of this event, held and booked together, and this one has {current}; ask for \
                 fewer."
            ),
            None => "The customer's limit for this event would be exceeded; ask for fewer.".into(),
        },
        Code::CapacityBelowCommitted if rejection.conflicts.iter().all(is_removal) => {
            let pools = pools(&rejection.conflicts);
            format!(
                "Units of what is to be removed are held or booked{pools}; release and cancel first, or delete the event \
                 with force=true."
            )
        }
        Code::CapacityBelowCommitted => {
            format!(
                "More units are held, booked or blocked than would be left{what}; keep more capacity, or release, cancel and \
                 unblock first."
            )
        }
        Code::NotBlocked => format!("Only what is blocked can be unblocked{what}; name only blocked seats and units."),
        Code::WebhookNotFound => "There is no such webhook; check its id, or set it with PUT.".into(),
        Code::DeliveryNotFound => {
            "The message is not among the newest deliveries of the webhook; resume it from a revision instead.".into()
        }
        Code::TooManyWebhooks => {
            format!("There are {WEBHOOKS_MAX} webhooks already; delete one that nobody needs.")
        }
    }
}

/// With a capital letter, unless it begins with the name of a field.
fn sentence(reason: &str) -> String {
    match reason.strip_prefix("this ") {
        Some(rest) => format!("This {rest}"),
        None => reason.to_owned(),
    }
}

/// A pool that would be gone: with its event, or out of the definition.
fn is_removal(conflict: &Conflict) -> bool {
    matches!(conflict, Conflict::Pool { requested: 0, .. })
}

/// `: pool a, pool b`
fn pools(conflicts: &[Conflict]) -> String {
    let named = |conflict: &Conflict| match conflict {
        Conflict::Pool { pool, .. } => Conflict::NoPool { pool: pool.clone() },
        other => other.clone(),
    };
    names(&conflicts.iter().map(named).collect::<Vec<_>>())
}

/// `: A-1 is held, A-2 is booked and 4 more`; nothing without conflicts.
fn names(conflicts: &[Conflict]) -> String {
    let mut text = String::new();
    for (at, conflict) in conflicts.iter().take(NAMED_MAX).enumerate() {
        text.push_str(if at == 0 { ": " } else { ", " });
        name(conflict, &mut text);
    }
    if conflicts.len() > NAMED_MAX {
        let _ = write!(text, " and {} more", conflicts.len() - NAMED_MAX);
    }
    text
}

fn name(conflict: &Conflict, text: &mut String) {
    // Writing to a String cannot fail.
    let _ = match conflict {
        Conflict::Seat { seat, status } => write!(text, "seat {seat} is {}", status_name(*status)),
        Conflict::NoSeat { seat } => write!(text, "seat {seat}"),
        Conflict::NoPool { pool } => write!(text, "pool {pool}"),
        Conflict::Pool { pool, available, requested } => {
            write!(text, "pool {pool}: {requested} requested, {available} available")
        }
        Conflict::Best { available, requested } => write!(text, "{requested} requested, {available} available"),
    };
}

/// A status as the API writes it.
pub(super) fn status_name(status: SeatStatus) -> &'static str {
    match status {
        SeatStatus::Free => "free",
        SeatStatus::Held => "held",
        SeatStatus::Booked => "booked",
        SeatStatus::Blocked => "blocked",
        SeatStatus::Removed => "removed",
    }
}
