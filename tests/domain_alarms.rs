//! Proves the alarm: states that break an invariant on purpose are seen, by `from_records` or by `audit`.
//!
//! A broken state is put together from the records of two good ones, as a disk would that lost a write: each record is
//! well-formed, together they lie.

#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "domain/script_parse.rs"]
mod script_parse;
#[path = "domain/script_webhooks.rs"]
mod script_webhooks;

use std::collections::BTreeMap;

use lastseat::domain::command::{Proposal, ProposalBody};
use lastseat::domain::id::EventId;
use lastseat::domain::inventory::Inventory;
use lastseat::domain::record::{RecordBody, RecordKey};
use lastseat::domain::value::Millis;

use script_parse::{Made, time};

type Records = BTreeMap<RecordKey, RecordBody>;

/// The records after these acts; `at …` sets the clock.
fn records(acts: &[&str]) -> Records {
    let mut inventory = Inventory::new();
    let (mut made, mut now) = (Made::default(), time("12:00:00.000"));
    for act in acts {
        if let Some(at) = act.strip_prefix("at ") {
            now = time(at);
            inventory.apply(&Proposal { stamp: Millis(now), body: ProposalBody::Tick });
            continue;
        }
        let request = script_parse::request(act, &mut made).unwrap();
        let applied = inventory.apply(&Proposal { stamp: Millis(now), body: ProposalBody::Requests(vec![request]) });
        assert_eq!(applied.decisions.len(), 1);
    }
    let frozen = inventory.freeze();
    assert_eq!(frozen.audit(), Vec::<String>::new(), "the state is good before it is broken");
    frozen.records().collect()
}

/// `base`, with the records that `taken` says from `other` (gone, where `other` has none).
fn mixed(base: &Records, other: &Records, taken: impl Fn(&RecordKey) -> bool) -> Records {
    let kept = base.iter().filter(|(key, _)| !taken(key));
    let swapped = other.iter().filter(|(key, _)| taken(key));
    kept.chain(swapped).map(|(key, body)| (*key, body.clone())).collect()
}

/// What `audit` finds in these records; the event's own audit must see it too when `in_event`.
fn alarm(records: Records, in_event: bool) -> String {
    let inventory = Inventory::from_records(records).expect("each record is well-formed");
    let violations = inventory.freeze().audit();
    assert!(!violations.is_empty(), "the audit sees nothing");
    if in_event {
        let report = inventory.freeze_event(&EventId::parse("e").unwrap()).unwrap().audit();
        assert!(!report.violations.is_empty(), "the audit of the event sees nothing: {report:?}");
    }
    violations.join("; ")
}

const DEFINE: &str = "define e seats A-1..A-3 row A pools standing=5";

#[test]
fn sound_records_raise_no_alarm() {
    let good = records(&[DEFINE, "reserve e A-1 standing*2", "buy e A-2 order o1", "block e A-3"]);
    let loaded = Inventory::from_records(good.clone()).unwrap();
    assert_eq!(loaded.freeze().audit(), Vec::<String>::new());
    assert_eq!(loaded.freeze().records().collect::<Records>(), good);
}

#[test]
fn a_seat_held_by_no_hold_is_seen() {
    let (before, after) = (records(&[DEFINE]), records(&[DEFINE, "reserve e A-1"]));
    alarm(mixed(&after, &before, |key| matches!(key, RecordKey::Holds { .. })), true);
}

#[test]
fn a_hold_whose_seat_is_free_is_seen() {
    let (before, after) = (records(&[DEFINE]), records(&[DEFINE, "reserve e A-1"]));
    alarm(mixed(&after, &before, |key| matches!(key, RecordKey::SeatStates { .. })), true);
}

#[test]
fn a_booked_seat_without_an_order_is_seen() {
    let (units, seat) = (records(&[DEFINE, "buy e standing*1 order o1"]), records(&[DEFINE, "buy e A-1 order o1"]));
    let seen = alarm(mixed(&seat, &units, |key| matches!(key, RecordKey::Orders { .. })), true);
    assert!(seen.contains("A-1"), "{seen}");
}

#[test]
fn an_order_whose_seat_is_free_is_seen() {
    let (before, after) = (records(&[DEFINE]), records(&[DEFINE, "buy e A-1 order o1"]));
    alarm(mixed(&after, &before, |key| matches!(key, RecordKey::SeatStates { .. })), true);
}

#[test]
fn an_order_whose_seat_another_order_has_is_seen() {
    let one = records(&[DEFINE, "buy e A-1 order o1", "buy e A-2 order o2"]);
    let other = records(&[DEFINE, "buy e A-2 order o2", "buy e A-1 order o1"]);
    alarm(mixed(&one, &other, |key| matches!(key, RecordKey::SeatStates { .. })), true);
}

#[test]
fn a_hold_whose_seat_was_booked_by_somebody_else_is_seen() {
    let held = records(&[DEFINE, "reserve e A-1 A-2"]);
    let sold = records(&[DEFINE, "reserve e A-1", "buy e A-2 order o1"]);
    alarm(mixed(&sold, &held, |key| matches!(key, RecordKey::Holds { .. })), true);
}

#[test]
fn a_blocked_seat_that_is_held_is_seen() {
    let held = records(&[DEFINE, "reserve e A-1"]);
    let blocked = records(&[DEFINE, "block e A-1"]);
    alarm(mixed(&held, &blocked, |key| matches!(key, RecordKey::SeatStates { .. })), true);
}

#[test]
fn a_pool_over_its_capacity_is_seen() {
    let wide = records(&["define e pools standing=10", "reserve e standing*8"]);
    let narrow = records(&["define e pools standing=3"]);
    // Both the capacity of the definition and that of the numbers, whichever the records keep.
    let defs = mixed(&wide, &narrow, |key| matches!(key, RecordKey::PoolDefs { .. }));
    let seen = alarm(defs, true);
    assert!(!seen.is_empty());
    let narrow = records(&["define e pools standing=3", "reserve e standing*3"]);
    alarm(mixed(&narrow, &wide, |key| matches!(key, RecordKey::Holds { .. })), true);
}

#[test]
fn pool_numbers_that_do_not_add_up_are_seen() {
    let before = records(&["define e pools standing=10"]);
    for act in ["reserve e standing*2", "buy e standing*2 order o1"] {
        let after = records(&["define e pools standing=10", act]);
        alarm(mixed(&after, &before, |key| matches!(key, RecordKey::PoolCounts { .. })), true);
    }
}

#[test]
fn an_oversold_pool_is_counted() {
    let wide = records(&["define e pools standing=10", "buy e standing*8 order o1"]);
    let narrow = records(&["define e pools standing=3", "buy e standing*3 order o1"]);
    let broken = mixed(&narrow, &wide, |key| matches!(key, RecordKey::Orders { .. }));
    let inventory = Inventory::from_records(broken).unwrap();
    let report = inventory.freeze_event(&EventId::parse("e").unwrap()).unwrap().audit();
    assert_eq!((report.booked, report.oversold), (8, 5), "{report:?}");
    assert!(!report.violations.is_empty() && !inventory.freeze().audit().is_empty());
}

#[test]
fn a_revision_that_ran_backwards_is_seen() {
    let early = records(&[DEFINE, "configure", "configure"]);
    let late = records(&[DEFINE, "block e A-1", "unblock e A-1"]);
    // Versions of an event add up to no more than the revisions of the group.
    alarm(mixed(&late, &early, |key| matches!(key, RecordKey::Header)), false);
}

#[test]
fn webhooks_that_cannot_be_are_not_loaded_or_seen() {
    let is_webhook = |key: &RecordKey| matches!(key, RecordKey::Webhook { .. });
    let (one, two) = (["webhook set w http://a"], ["webhook set v http://a", "webhook set w http://a"]);
    let twice = mixed(&records(&one), &records(&two), |key| matches!(key, RecordKey::Webhook { webhook: 1 }));
    let error = Inventory::from_records(twice).unwrap_err();
    assert!(error.to_string().contains("another webhook has its id"), "{error}");
    // Told of what was not made yet.
    let late = records(&[DEFINE, "block e A-1", "webhook set w http://a"]);
    let seen = alarm(mixed(&records(&["webhook set w http://a"]), &late, is_webhook), false);
    assert!(seen.contains("webhook w"), "{seen}");
}

#[test]
fn records_that_are_missing_are_not_loaded_or_seen() {
    let good = records(&[DEFINE, "reserve e A-1 standing*2", "buy e A-2 standing*1 order o1", "block e A-3"]);
    for key in good.keys() {
        let mut fewer = good.clone();
        fewer.remove(key);
        // Without the result of a request, or without the whole of the state, all is consistent again.
        if matches!(key, RecordKey::Results { .. }) {
            continue;
        }
        if let Ok(inventory) = Inventory::from_records(fewer) {
            assert!(!inventory.freeze().audit().is_empty(), "nobody notices that {key:?} is missing");
        }
    }
}
