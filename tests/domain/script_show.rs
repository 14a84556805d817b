//! What a user sees, in words.

use lastseat::domain::change::{Cause, Change, ChangeSet};
use lastseat::domain::inventory::{Applied, FrozenEvent};
use lastseat::domain::outcome::{Answer, Conflict, Decision, Outcome, Rejection, SliceAnswer, Verdict};
use lastseat::domain::value::{EventView, HoldView, Item, Millis, OrderView, PoolCounts, SeatStatus, SeatView};

use crate::script_parse::MIDNIGHT;
use crate::script_webhooks as webhooks;

pub fn applied(applied: &Applied) -> String {
    let mut out = String::new();
    // What expires does so before the command is decided; the rest is what the command did.
    let (expired, done): (Vec<_>, Vec<_>) = applied.change_sets.iter().partition(|set| set.cause == Cause::Expire);
    for set in expired {
        out.push_str(&change_set(set));
    }
    for decision in &applied.decisions {
        match decision {
            Decision::Fresh(given) => out.push_str(&answer(given)),
            Decision::Replayed(given) => out.push_str(&format!("replayed: {}", answer(given))),
            Decision::KeyReused => out.push_str("key_reused\n"),
            Decision::StagingLost => out.push_str("staging lost\n"),
        }
    }
    for set in done {
        out.push_str(&change_set(set));
    }
    out
}

fn change_set(set: &ChangeSet) -> String {
    let mut out = String::new();
    for part in &set.events {
        let changes: Vec<String> = part.changes.iter().map(change).collect();
        out.push_str(&format!(
            "  {} revision {} {} version {}: {} | {}\n",
            word(&set.cause),
            set.revision,
            part.event,
            part.version,
            if changes.is_empty() { "no seat or pool".to_owned() } else { changes.join(", ") },
            counts(&part.totals)
        ));
    }
    out
}

fn change(change: &Change) -> String {
    match change {
        Change::Seat { seat, status } => format!("{seat} {}", word(status)),
        Change::Pool { pool, counts: now } => format!("{pool} ({})", counts(now)),
        Change::PoolRemoved { pool } => format!("{pool} removed"),
    }
}

fn counts(counts: &PoolCounts) -> String {
    let mut text = format!("{} of {} available", counts.available(), counts.capacity);
    for (count, name) in [(counts.held, "held"), (counts.booked, "booked"), (counts.blocked, "blocked")] {
        if count > 0 {
            text.push_str(&format!(" {count} {name}"));
        }
    }
    text
}

/// `SeatHeld` → `seat_held`.
fn word(value: &impl std::fmt::Debug) -> String {
    let mut out = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

pub fn time(at: Millis) -> String {
    let ms = at.0 - MIDNIGHT;
    let (day, ms) = (ms / 86_400_000, ms % 86_400_000);
    let days = if day > 0 { format!("day {} ", day + 1) } else { String::new() };
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{days}{hour:02}:{minute:02}:{second:02}.{:03}", ms % 1_000)
}

fn place(answer: &Answer) -> String {
    let version = answer.version.map_or(String::new(), |version| format!(" version {version}"));
    format!("revision {}{version}", answer.revision)
}

pub fn answer(answer: &Answer) -> String {
    match &answer.verdict {
        Verdict::Rejected(no) => format!("rejected {} ({})\n", rejection(no), place(answer)),
        Verdict::Applied(done) => {
            let (first, more) = outcome(done);
            format!("applied {first} ({})\n{more}", place(answer))
        }
    }
}

fn rejection(no: &Rejection) -> String {
    let mut text = word(&no.code);
    if let Some(index) = no.facts.index {
        text.push_str(&format!(" at {index}"));
    }
    if let Some((limit, current)) = no.facts.limit {
        text.push_str(&format!(" limit {limit} current {current}"));
    }
    if let Some(version) = no.facts.definition_version {
        text.push_str(&format!(" definition version is {version}"));
    }
    if let Some(key) = &no.facts.key {
        text.push_str(&format!(" key {key}"));
    }
    if !no.conflicts.is_empty() {
        let conflicts: Vec<String> = no.conflicts.iter().map(conflict).collect();
        text.push_str(&format!(": {}", conflicts.join(", ")));
    }
    text
}

fn conflict(conflict: &Conflict) -> String {
    match conflict {
        Conflict::Seat { seat, status } => format!("{seat} {}", word(status)),
        Conflict::NoSeat { seat } => format!("no {seat}"),
        Conflict::NoPool { pool } => format!("no {pool}"),
        Conflict::Pool { pool, available, requested } => format!("{pool} {available} for {requested}"),
        Conflict::Best { available, requested } => format!("{available} for {requested}"),
    }
}

/// The first line, and what follows it.
fn outcome(outcome: &Outcome) -> (String, String) {
    let one = |text: String| (text, String::new());
    match outcome {
        Outcome::Defined { created, event: view } => {
            one(format!("{} {}", if *created { "created" } else { "defined" }, head(view)))
        }
        Outcome::Changed { event: view } => one(format!("changed {}", head(view))),
        Outcome::Deleted { event } => one(format!("deleted {event}")),
        Outcome::Reserved(view) => one(format!("reserved {}", hold(view))),
        Outcome::Extended(view) => one(format!("extended {}", hold(view))),
        Outcome::Booked(view) => one(format!("booked {}", order(view))),
        Outcome::BookedBefore(view) => one(format!("booked before {}", order(view))),
        Outcome::Released { items: list } => one(format!("released {}", items(list))),
        Outcome::Cancelled { items: list } => one(format!("cancelled {}", items(list))),
        Outcome::Blocked { items: list, reason } => one(format!("blocked {}{}", items(list), why(reason))),
        Outcome::Unblocked { items: list, reason } => one(format!("unblocked {}{}", items(list), why(reason))),
        Outcome::Voided => one("voided".to_owned()),
        Outcome::NotVoided(before) => ("not voided".to_owned(), indented(&answer(before))),
        Outcome::Configured => one("configured".to_owned()),
        Outcome::WebhookSet { created, webhook, secret } => {
            let what = if *created { "made" } else { "set" };
            one(format!("{what} webhook {}{}", webhooks::view(webhook, time), webhooks::secret(secret)))
        }
        Outcome::WebhookDeleted { webhook } => one(format!("deleted webhook {webhook}")),
        Outcome::WebhookChanged { webhook } => one(format!("webhook {}", webhooks::view(webhook, time))),
        Outcome::WebhookRotated { webhook, secret } => {
            one(format!("rotated webhook {}{}", webhooks::view(webhook, time), webhooks::secret(secret)))
        }
        Outcome::WebhookTried { webhook, attempt } => one(format!("tried {webhook}, {}", webhooks::tried(attempt))),
        Outcome::AtomicBatch(answers) => {
            ("atomic batch".to_owned(), answers.iter().map(|one| indented(&answer(one))).collect())
        }
        Outcome::BatchSlice(answers) => {
            let answer = |one: &SliceAnswer| match one {
                SliceAnswer::Decided(one) => indented(&answer(one)),
                SliceAnswer::KeyReused => "    key_reused\n".to_owned(),
                SliceAnswer::Refused(no) => format!("    refused at the edge {}\n", rejection(no)),
            };
            ("slice".to_owned(), answers.iter().map(answer).collect())
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn why(reason: &Option<String>) -> String {
    reason.as_ref().map_or(String::new(), |reason| format!(" because of {reason}"))
}

fn head(view: &EventView) -> String {
    let mut text = format!("{} definition version {}", view.event, view.definition_version);
    if !view.head.on_sale {
        text.push_str(" off sale");
    }
    text
}

pub fn event(view: &EventView) -> String {
    let (seats, hold) = (view.seats, view.head.hold);
    let mut text = format!("event {} named {}, version {}\n", head(view), view.head.name, view.version);
    text.push_str(&format!(
        "  since {}, ttl {} ms, at most {} ms, limit {}\n",
        time(view.created_at),
        hold.ttl_ms,
        hold.max_ttl_ms,
        view.head.limits.per_customer.map_or("none".to_owned(), |limit| limit.to_string()),
    ));
    text.push_str(&format!(
        "  {} seats: {} free {} held {} booked {} blocked\n",
        seats.total, seats.free, seats.held, seats.booked, seats.blocked
    ));
    for pool in &view.pools {
        let name = pool.name.as_ref().map_or(String::new(), |name| format!(" named {name}"));
        text.push_str(&format!("  {}{name}: {}\n", pool.id, counts(&pool.counts)));
    }
    for (name, value) in &view.head.labels {
        text.push_str(&format!("  label {name}={value}\n"));
    }
    text
}

pub fn seats(frozen: &FrozenEvent) -> String {
    let seats: Vec<String> = frozen.seats().map(|(def, status)| format!("{} {}", def.id, word(&status))).collect();
    format!("version {}: {}\n", frozen.version(), seats.join(", "))
}

pub fn seat(view: &SeatView) -> String {
    let mut text = format!("seat {} {}", view.seat.id, word(&view.status));
    if let Some(token) = &view.token {
        text.push_str(&format!(" by {token}"));
    }
    if let Some(order) = &view.order {
        text.push_str(&format!(" under {order}"));
    }
    if let Some(customer) = &view.customer {
        text.push_str(&format!(" for {customer}"));
    }
    debug_assert!(view.status != SeatStatus::Removed, "what is removed is not seen");
    text.push('\n');
    text
}

fn items(items: &[Item]) -> String {
    let item = |item: &Item| match item {
        Item::Seat(seat) => seat.to_string(),
        Item::Pool { pool, quantity } => format!("{pool}*{quantity}"),
    };
    let items: Vec<String> = items.iter().map(item).collect();
    format!("[{}]", items.join(" "))
}

pub fn hold(view: &HoldView) -> String {
    let customer = view.customer.as_ref().map_or(String::new(), |customer| format!(" for {customer}"));
    format!("{} {}{customer} until {}", view.token, items(&view.items), time(view.expires_at))
}

pub fn order(view: &OrderView) -> String {
    let customer = view.customer.as_ref().map_or(String::new(), |customer| format!(" for {customer}"));
    format!("{} {}{customer}", view.order, items(&view.items))
}
