//! Stories about what is bounded, what comes too late, and what is broken on disk.

#![allow(clippy::unwrap_used)]

use super::tests::*;
use super::*;
use crate::domain::codec;
use crate::domain::command::*;
use crate::domain::id::*;
use crate::domain::outcome::*;
use crate::domain::record::RecordBody;
use crate::domain::value::*;

fn long(what: &str, number: usize) -> PoolId {
    PoolId::parse(&format!("{what}{number:0>width$}", width = ID_CHARS_MAX - what.len())).unwrap()
}

fn add_to(items: Vec<Item>, token: &Token) -> SaleOp {
    SaleOp::Reserve { want: Want::Items(items), customer: None, ttl_ms: None, add_to: Some(token.clone()) }
}

fn op(op: SaleOp) -> SaleCommand {
    SaleCommand { event: event(), op }
}

/// Everything stored but what every entry changes.
fn trace(world: &World) -> Vec<(RecordKey, Vec<u8>)> {
    let frozen = world.inventory.freeze();
    let skip = |key: &RecordKey| matches!(key, RecordKey::Header | RecordKey::Results { .. });
    frozen.records().filter(|(key, _)| !skip(key)).map(|(key, body)| (key, codec::encode(&body))).collect()
}

fn late(world: &mut World, command: Command) -> Code {
    let mut request = world.request(command);
    request.not_after = Some(Millis(world.inventory.clock().0 - 1));
    let Decision::Fresh(Answer { verdict: Verdict::Rejected(rejection), .. }) = world.send(&request) else { panic!() };
    rejection.code
}

#[test]
fn what_is_wrong_with_a_request_goes_before_its_deadline() {
    let mut world = World::new();
    world.ok(define(Some(2), vec![row_seat("A", 1), row_seat("A", 2)], vec![]));
    let buy = |seat_id: &str, customer: Option<&str>| SaleOp::BookDirect {
        items: vec![seat(seat_id)],
        order: OrderId::parse("o-1").unwrap(),
        customer: customer.map(|c| CustomerId::parse(c).unwrap()),
    };
    let before = trace(&world);
    assert_eq!(late(&mut world, sale(buy("A-1", None))), Code::Invalid);
    assert_eq!(late(&mut world, sale(buy("A-1", Some("ann")))), Code::DeadlinePassed);
    assert_eq!(late(&mut world, sale(buy("Z-9", Some("ann")))), Code::DeadlinePassed);
    let batch = |last| Command::AtomicBatch(vec![op(buy("A-1", Some("ann"))), op(last)]);
    assert_eq!(late(&mut world, batch(book(vec![seat("A-2"), seat("A-2")], "o-2"))), Code::DuplicateItem);
    assert_eq!(late(&mut world, batch(buy("A-1", Some("ann")))), Code::DeadlinePassed);
    assert_eq!(late(&mut world, define(None, vec![row_seat("A", 1), row_seat("A", 1)], vec![])), Code::DuplicateItem);
    assert_eq!(late(&mut world, define(None, vec![], vec![])), Code::DeadlinePassed);
    let hold = Some(HoldPatch { ttl_ms: None, max_ttl_ms: Some(1) });
    let patch = Box::new(Patch { hold, ..Patch::default() });
    assert_eq!(late(&mut world, Command::Change { event: event(), patch }), Code::Invalid);
    assert_eq!(late(&mut world, Command::Delete { event: event(), force: true }), Code::DeadlinePassed);
    let settings = Settings { results_max: 0, ..Settings::default() };
    assert_eq!(late(&mut world, Command::Configure(settings)), Code::Invalid);
    assert_eq!(trace(&world), before);
    world.check();
}

#[test]
fn a_late_slice_names_the_errors_of_its_commands_too() {
    let mut world = World::theatre();
    let ttl_ms = Some(TTL_MS_MAX);
    let reserve_long = SaleOp::Reserve { want: Want::Items(vec![seat("A-1")]), customer: None, ttl_ms, add_to: None };
    let ops = [reserve_long, book(vec![seat("A-1")], "o-1")];
    let commands: Vec<_> = ops.into_iter().map(|o| BatchCommand { own: None, command: Ok(op(o)) }).collect();
    let mut request = world.request(Command::BatchSlice(BatchSlice { start: 0, total: 2, commands }));
    request.not_after = Some(Millis(1));
    let Decision::Fresh(Answer { verdict: Verdict::Applied(Outcome::BatchSlice(answers)), .. }) = world.send(&request)
    else {
        panic!()
    };
    let code = |answer: &SliceAnswer| match answer {
        SliceAnswer::Decided(Answer { verdict: Verdict::Rejected(rejection), .. }) => rejection.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), [Code::Invalid, Code::DeadlinePassed]);
    world.check();
}

#[test]
fn an_old_if_match_never_fits_an_event_defined_anew() {
    let mut world = World::theatre();
    world.ok(Command::Delete { event: event(), force: false });
    world.restart();
    let Outcome::Defined { created: true, event: view } = world.ok(define(None, vec![], vec![])) else { panic!() };
    assert_eq!(view.definition_version, Version(2));
    let mut old = world.request(define(None, vec![row_seat("A", 1)], vec![]));
    old.if_match = Some(Version(1));
    let Decision::Fresh(Answer { verdict: Verdict::Rejected(no), .. }) = world.send(&old) else { panic!() };
    assert_eq!((no.code, no.facts.definition_version), (Code::DefinitionMoved, Some(Version(2))));
    world.restart();
}

#[test]
fn a_patch_names_what_stands_highest() {
    let mut world = World::theatre();
    let change = |pool: &str, hold| {
        let pools = vec![PoolPatch { id: PoolId::parse(pool).unwrap(), capacity: None, category: None, name: None }];
        Command::Change { event: event(), patch: Box::new(Patch { hold, pools, ..Patch::default() }) }
    };
    let mut code = |command, if_match| {
        let mut request = world.request(command);
        request.if_match = Some(Version(if_match));
        let Decision::Fresh(Answer { verdict: Verdict::Rejected(no), .. }) = world.send(&request) else { panic!() };
        (no.code, no.facts.definition_version)
    };
    assert_eq!(code(change("vip", None), 7), (Code::PoolNotFound, None));
    assert_eq!(code(change("floor", None), 7), (Code::DefinitionMoved, Some(Version(1))));
    let hold = Some(HoldPatch { ttl_ms: None, max_ttl_ms: Some(1) });
    assert_eq!(code(change("vip", hold), 7), (Code::Invalid, None));
}

#[test]
fn duplicate_item_stands_below_every_invalid() {
    let twice = vec![seat("A-1"), seat("A-1")];
    let both = SaleOp::Reserve {
        want: Want::Items(twice.clone()),
        customer: None,
        ttl_ms: Some(1),
        add_to: Token::parse("t").ok(),
    };
    assert_eq!(check_sale(&op(both)).unwrap_err().code, Code::Invalid);
    let zero = [twice.clone(), vec![pool("floor", 0)]].concat();
    assert_eq!(check_sale(&op(reserve(zero))).unwrap_err().code, Code::Invalid);
    assert_eq!(check_sale(&op(reserve(twice))).unwrap_err().code, Code::DuplicateItem);
    let change = |capacity| PoolPatch { id: PoolId::parse("p").unwrap(), capacity, category: None, name: None };
    let patch = |pools| check_patch(&Patch { pools, ..Patch::default() }).unwrap_err().code;
    assert_eq!(patch(vec![change(None), change(None), change(Some(UNITS_MAX + 1))]), Code::Invalid);
    assert_eq!(patch(vec![change(None), change(None)]), Code::DuplicateItem);
}

#[test]
fn adding_to_a_hold_that_is_not_there_needs_no_customer() {
    let mut world = World::new();
    world.ok(define(Some(2), vec![row_seat("A", 1)], vec![]));
    let no = world.no(sale(add_to(vec![seat("A-1")], &Token::parse("never").unwrap())));
    assert_eq!(no.code, Code::HoldNotFound);
}

#[test]
fn rejections_never_take_all_the_room_of_results() {
    let mut world = World::new();
    for (results_max, rejections_max, fits) in [(10, 9, true), (10, 10, false), (0, 0, false), (1 << 30, 1, false)] {
        let answer = world.decide(Command::Configure(Settings { results_max, rejections_max, ..Settings::default() }));
        assert_eq!(matches!(answer.verdict, Verdict::Applied(_)), fits, "{results_max} {rejections_max}");
    }
}

#[test]
fn holds_that_grow_stay_in_small_records() {
    let mut world = World::new();
    let def = |n| PoolDef { id: long("pool", n), capacity: 1_000, category: None, name: None };
    world.ok(define(None, (1..=40).map(|n| row_seat("A", n)).collect(), (0..999).map(def).collect()));
    let holds: Vec<HoldView> = (1..=40).map(|n| world.hold(reserve(vec![seat(&format!("A-{n}"))]))).collect();
    let all: Vec<Item> = (0..999).map(|n| Item::Pool { pool: long("pool", n), quantity: 1 }).collect();
    world.check();
    for hold in &holds {
        let before = trace(&world);
        let refused = Command::AtomicBatch(vec![op(add_to(all.clone(), &hold.token)), op(reserve(vec![seat("A-1")]))]);
        assert_eq!(world.no(refused).code, Code::SeatHeld);
        assert_eq!(trace(&world), before);
        let grown = world.hold(add_to(all.clone(), &hold.token));
        assert_eq!((grown.items.len(), grown.expires_at), (1_000, hold.expires_at));
        assert_eq!(world.sets.last().unwrap().events[0].changes.len(), 999, "a seat that stays held is no change");
    }
    world.check();
    let largest = trace(&world).into_iter().filter(|(key, _)| matches!(key, RecordKey::Holds { .. }));
    let largest = largest.map(|(_, bytes)| bytes.len()).max().unwrap();
    assert!(largest < 200 << 10, "{largest}");
    world.restart();
    for (n, hold) in holds.iter().enumerate() {
        world.ok(sale(book_hold(&hold.token, &format!("o-{n}"), OnExpired::Reject)));
    }
    world.restart();
}

#[test]
fn a_new_hold_is_not_put_beside_big_ones() {
    let mut world = World::new();
    let pools = (0..600).map(|n| PoolDef { id: long("pool", n), capacity: 1_000, category: None, name: None });
    world.ok(define(None, vec![], pools.collect()));
    let all: Vec<Item> = (0..600).map(|n| Item::Pool { pool: long("pool", n), quantity: 1 }).collect();
    for _ in 0..4 {
        world.hold(reserve(all.clone()));
    }
    let keys: Vec<RecordKey> = world.inventory.freeze().records().map(|(key, _)| key).collect();
    assert_eq!(keys.iter().filter(|key| matches!(key, RecordKey::Holds { .. })).count(), 4);
    world.restart();
    world.pass(600_000);
    world.check();
}

#[test]
fn a_refused_definition_lists_a_thousand_conflicts_and_counts_all() {
    let mut world = World::new();
    world.ok(define(None, (1..=1_500).map(|n| row_seat("A", n)).collect(), vec![]));
    for first in [1, 751] {
        let items = (first..first + 750).map(|n| seat(&format!("A-{n}"))).collect();
        world.ok(sale(book(items, &format!("o-{first}"))));
    }
    let reason = Some("1500 items stand in the way; the first 1000 are listed".to_owned());
    for command in [define(None, vec![], vec![]), Command::Delete { event: event(), force: false }] {
        let no = world.no(command);
        assert_eq!((no.code, no.conflicts.len(), no.facts.reason), (Code::SeatBooked, 1_000, reason.clone()));
    }
    let no = world.no(define(None, (501..=1_500).map(|n| row_seat("A", n)).collect(), vec![]));
    assert_eq!((no.conflicts.len(), no.facts.reason), (500, None));
    world.restart();
}

#[test]
fn a_batch_whose_answer_no_record_could_hold_is_refused() {
    let mut world = World::new();
    world.ok(define(None, (1..=1_000).map(|n| row_seat("A", n)).collect(), vec![]));
    let hold = world.hold(reserve((1..=1_000).map(|n| seat(&format!("A-{n}"))).collect()));
    let extend = || op(SaleOp::Extend { token: hold.token.clone(), ttl_ms: 1_000 });
    let no = world.no(Command::AtomicBatch((0..200).map(|_| extend()).collect()));
    assert_eq!((no.code, no.facts.index), (Code::Invalid, Some(101)));
    world.ok(Command::AtomicBatch((0..100).map(|_| extend()).collect()));
    let commands = (0..200).map(|_| BatchCommand { own: None, command: Ok(extend()) }).collect();
    let slice = Command::BatchSlice(BatchSlice { start: 0, total: 200, commands });
    let Outcome::BatchSlice(answers) = world.ok(slice) else { panic!() };
    let applied = |answer: &SliceAnswer| {
        matches!(answer, SliceAnswer::Decided(Answer { verdict: Verdict::Applied(Outcome::Extended(_)), .. }))
    };
    assert_eq!(answers.iter().filter(|answer| applied(answer)).count(), 101);
    // A batch of two slices, each as long as may be, is there to read, but not to be recorded once more.
    let slice = |start| {
        let commands = (0..101).map(|_| BatchCommand { own: None, command: Ok(extend()) }).collect();
        Command::BatchSlice(BatchSlice { start, total: 202, commands })
    };
    let first = world.request(slice(0));
    world.send(&first);
    world.send(&Request { command: slice(101), ..first.clone() });
    assert!(world.inventory.recorded(&first.key).is_some());
    assert_eq!(world.no(Command::Void { key: first.key.clone() }).code, Code::Invalid);
    world.restart();
    assert!(matches!(world.send(&first), Decision::Replayed(_)));
}

#[test]
fn a_broken_result_is_found_at_load_or_does_no_harm() {
    let mut world = World::theatre();
    world.hold(reserve(vec![seat("A-1"), pool("floor", 2)]));
    world.no(sale(book(vec![seat("A-1")], "o-1")));
    let void = Command::Void { key: Key::parse("lost").unwrap() };
    world.ok(void);
    let records: Vec<(RecordKey, RecordBody)> = world.inventory.freeze().records().collect();
    let keys: Vec<Key> = (1..5).map(|n| Key::parse(&format!("key-{n}")).unwrap()).collect();
    let mut refused = 0;
    for (at, (key, body)) in records.iter().enumerate() {
        let RecordKey::Results { .. } = key else { continue };
        let bytes = codec::encode(body);
        for place in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[place] ^= 0x55;
            let Ok(torn) = codec::decode::<RecordBody>(&bytes) else { continue };
            let mut records = records.clone();
            records[at].1 = torn;
            match Inventory::from_records(records) {
                Err(error) => {
                    assert_eq!(error.key, format!("{key:?}"));
                    refused += 1;
                }
                Ok(inventory) => keys.iter().for_each(|key| drop(inventory.recorded(key))),
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

fn webhook(name: &str, op: WebhookOp) -> Command {
    Command::Webhook(WebhookCommand { webhook: WebhookId::parse(name).unwrap(), op })
}

fn set_webhook(name: &str) -> Command {
    let config = crate::domain::webhook::WebhookConfig {
        url: "https://a.example".into(),
        events: None,
        causes: None,
        enabled: true,
        description: None,
        disable_after_ms: DISABLE_AFTER_MS_MIN,
    };
    let fresh = Some(crate::domain::webhook::Secret([1; 32]));
    webhook(name, WebhookOp::Set { config: Box::new(config), fresh })
}

#[test]
fn webhooks_are_limited_and_a_free_number_is_used_again() {
    let mut world = World::new();
    for number in 0..WEBHOOKS_MAX {
        world.ok(set_webhook(&format!("w-{number}")));
    }
    assert_eq!(world.no(set_webhook("one-more")).code, Code::TooManyWebhooks);
    world.ok(set_webhook("w-7"));
    world.ok(webhook("w-7", WebhookOp::Delete));
    world.ok(set_webhook("one-more"));
    let numbers: Vec<_> = world
        .inventory
        .freeze()
        .records()
        .filter_map(|(key, _)| match key {
            RecordKey::Webhook { webhook } => Some(webhook as usize),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, (0..WEBHOOKS_MAX).collect::<Vec<_>>());
    let stored = world.inventory.webhooks_stored();
    assert_eq!(stored[7].id.as_str(), "one-more");
    let page = world.inventory.webhooks(Some(&WebhookId::parse("w-998").unwrap()), 10);
    assert_eq!(page.len(), 1, "by name: one-more is before");
}

#[test]
fn a_state_without_webhooks_has_no_record_of_them() {
    let mut world = World::new();
    world.ok(define(None, vec![row_seat("A", 1)], vec![]));
    let before: Vec<_> = world.inventory.freeze().records().map(|(key, _)| key).collect();
    world.ok(set_webhook("w"));
    world.ok(webhook("w", WebhookOp::Delete));
    let after: Vec<_> = world.inventory.freeze().records().map(|(key, _)| key).collect();
    assert_eq!(before, after);
}
