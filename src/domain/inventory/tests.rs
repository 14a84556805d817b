//! Stories that go through several files of this folder. Tests of one file stand in that file.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::domain::change::{Cause, Change};
use crate::domain::codec;
use crate::domain::command::*;
use crate::domain::id::*;
use crate::domain::outcome::*;
use crate::domain::record::RecordBody;
use crate::domain::value::*;

pub(super) struct World {
    pub(super) inventory: Inventory,
    now: u64,
    keys: u64,
    /// What a disk would have: the records, kept up to date with `take_dirty`.
    disk: BTreeMap<RecordKey, Vec<u8>>,
    pub(super) sets: Vec<ChangeSet>,
}

pub(super) fn event() -> EventId {
    EventId::parse("show").unwrap()
}

pub(super) fn seat(id: &str) -> Item {
    Item::Seat(SeatId::parse(id).unwrap())
}

pub(super) fn pool(id: &str, quantity: u64) -> Item {
    Item::Pool { pool: PoolId::parse(id).unwrap(), quantity }
}

pub(super) fn row_seat(row: &str, number: usize) -> SeatDef {
    SeatDef {
        id: SeatId::parse(&format!("{row}-{number}")).unwrap(),
        section: Some("Stalls".into()),
        row: Some(row.into()),
        number: Some(SeatNumber::Number(number as i64)),
        category: None,
        x: None,
        y: Some(Coordinate(2.5f64.to_bits())),
    }
}

pub(super) fn pool_def(id: &str, capacity: u64) -> PoolDef {
    PoolDef { id: PoolId::parse(id).unwrap(), capacity, category: None, name: None }
}

pub(super) fn head(limit: Option<u64>) -> EventHead {
    EventHead {
        name: "Hamlet".into(),
        on_sale: true,
        hold: HoldPolicy::default(),
        limits: Limits { per_customer: limit },
        labels: BTreeMap::new(),
    }
}

pub(super) fn define(limit: Option<u64>, seats: Vec<SeatDef>, pools: Vec<PoolDef>) -> Command {
    let definition = Definition { head: head(limit), contents: Contents::Inline { seats, pools } };
    Command::Define { event: event(), definition: Box::new(definition) }
}

pub(super) fn sale(op: SaleOp) -> Command {
    Command::Sale(SaleCommand { event: event(), op })
}

pub(super) fn reserve(items: Vec<Item>) -> SaleOp {
    SaleOp::Reserve { want: Want::Items(items), customer: None, ttl_ms: None, add_to: None }
}

pub(super) fn book(items: Vec<Item>, order: &str) -> SaleOp {
    SaleOp::BookDirect { items, order: OrderId::parse(order).unwrap(), customer: None }
}

pub(super) fn book_hold(token: &Token, order: &str, on_expired: OnExpired) -> SaleOp {
    let order = OrderId::parse(order).unwrap();
    SaleOp::BookHold { token: token.clone(), order, items: None, rest: Rest::Keep, on_expired }
}

impl World {
    pub(super) fn new() -> Self {
        Self { inventory: Inventory::new(), now: 1_000_000, keys: 0, disk: BTreeMap::new(), sets: Vec::new() }
    }

    pub(super) fn theatre() -> Self {
        let mut world = Self::new();
        let seats = ["A", "B"].iter().flat_map(|row| (1..=6).map(|n| row_seat(row, n))).collect();
        world.ok(define(None, seats, vec![pool_def("floor", 10)]));
        world
    }

    pub(super) fn pass(&mut self, ms: u64) -> Applied {
        self.now += ms;
        self.propose(ProposalBody::Tick)
    }

    pub(super) fn propose(&mut self, body: ProposalBody) -> Applied {
        let applied = self.inventory.apply(&Proposal { stamp: Millis(self.now), body });
        self.sets.extend(applied.change_sets.iter().cloned());
        applied
    }

    pub(super) fn request(&mut self, command: Command) -> Request {
        self.keys += 1;
        let tokens = (0..4).map(|n| Token::parse(&format!("token-{}-{n}", self.keys)).unwrap());
        Request {
            key: Key::parse(&format!("key-{}", self.keys)).unwrap(),
            key_made_by: KeyMaker::Client,
            fingerprint: Fingerprint(u128::from(self.keys)),
            not_after: None,
            if_match: None,
            fresh_tokens: tokens.collect(),
            command,
        }
    }

    pub(super) fn send(&mut self, request: &Request) -> Decision {
        let applied = self.propose(ProposalBody::Requests(vec![request.clone()]));
        applied.decisions.into_iter().next().unwrap()
    }

    pub(super) fn decide(&mut self, command: Command) -> Answer {
        let request = self.request(command);
        match self.send(&request) {
            Decision::Fresh(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn ok(&mut self, command: Command) -> Outcome {
        match self.decide(command).verdict {
            Verdict::Applied(outcome) => outcome,
            Verdict::Rejected(rejection) => panic!("{rejection:?}"),
        }
    }

    pub(super) fn no(&mut self, command: Command) -> Rejection {
        match self.decide(command).verdict {
            Verdict::Applied(outcome) => panic!("{outcome:?}"),
            Verdict::Rejected(rejection) => rejection,
        }
    }

    pub(super) fn hold(&mut self, op: SaleOp) -> HoldView {
        match self.ok(sale(op)) {
            Outcome::Reserved(hold) => hold,
            other => panic!("{other:?}"),
        }
    }

    /// Every invariant holds, and the records on "disk" give the same state.
    pub(super) fn check(&mut self) {
        let frozen = self.inventory.freeze();
        assert_eq!(frozen.audit(), Vec::<String>::new());
        for (key, body) in self.inventory.take_dirty() {
            match body {
                Some(body) => self.disk.insert(key, codec::encode(&body)),
                None => self.disk.remove(&key),
            };
        }
        let whole: BTreeMap<RecordKey, Vec<u8>> = frozen.records().map(|(k, b)| (k, codec::encode(&b))).collect();
        assert_eq!(self.disk, whole, "what is dirty, applied to what was, is what is");
        assert!(frozen.records().map(|(k, _)| k).is_sorted());
        let loaded = load(&self.disk).unwrap();
        assert_eq!(loaded.freeze().state_hash(), frozen.state_hash());
        for (at, set) in self.sets.iter().enumerate() {
            assert_eq!(set.revision.0, at as u64 + 1, "revisions are dense");
        }
    }

    /// Goes on from what is on "disk".
    pub(super) fn restart(&mut self) {
        self.check();
        self.inventory = load(&self.disk).unwrap();
    }
}

fn load(disk: &BTreeMap<RecordKey, Vec<u8>>) -> Result<Inventory, LoadError> {
    Inventory::from_records(disk.iter().map(|(key, bytes)| (*key, codec::decode::<RecordBody>(bytes).unwrap())))
}

#[test]
fn a_seat_goes_from_free_to_held_to_booked_to_free() {
    let mut world = World::theatre();
    let hold = world.hold(reserve(vec![seat("A-1"), pool("floor", 2), pool("floor", 1)]));
    assert_eq!(hold.items, vec![seat("A-1"), pool("floor", 3)]);
    world.check();
    let no = world.no(sale(book(vec![seat("A-1"), seat("Z-9"), pool("floor", 8)], "o-1")));
    assert_eq!(no.code, Code::SeatNotFound);
    assert_eq!(no.conflicts.len(), 3);
    let booked = world.ok(sale(book_hold(&hold.token, "o-1", OnExpired::Reject)));
    assert!(matches!(booked, Outcome::Booked(_)));
    let again = world.ok(sale(book_hold(&hold.token, "o-1", OnExpired::Reject)));
    assert!(matches!(again, Outcome::BookedBefore(_)));
    assert_eq!(world.no(sale(book_hold(&hold.token, "o-2", OnExpired::Reject))).code, Code::HoldNotFound);
    world.restart();
    let cancel = |items| SaleOp::Cancel { order: OrderId::parse("o-1").unwrap(), items };
    world.ok(sale(cancel(Some(vec![pool("floor", 1)]))));
    assert_eq!(world.no(sale(cancel(Some(vec![pool("floor", 3)])))).code, Code::OrderMismatch);
    world.ok(sale(cancel(None)));
    let revision = world.inventory.revision();
    assert_eq!(world.ok(sale(cancel(None))), Outcome::Cancelled { items: vec![] });
    assert_eq!(world.inventory.revision(), revision);
    assert_eq!(world.no(sale(book(vec![seat("A-1")], "o-1"))).code, Code::OrderExists);
    world.check();
}

#[test]
fn a_hold_expires_and_a_late_payment_is_saved_once() {
    let mut world = World::theatre();
    let hold = world.hold(reserve(vec![seat("A-1"), pool("floor", 2)]));
    assert_eq!(world.pass(599_999).change_sets.len(), 0);
    let expired = world.pass(1).change_sets;
    assert_eq!(expired.len(), 1);
    assert_eq!(expired[0].cause, Cause::Expire);
    world.restart();
    assert_eq!(world.no(sale(book_hold(&hold.token, "o-1", OnExpired::Reject))).code, Code::HoldExpired);
    world.ok(sale(book_hold(&hold.token, "o-1", OnExpired::Rebook)));
    world.check();
    assert_eq!(world.no(sale(book_hold(&hold.token, "o-2", OnExpired::Rebook))).code, Code::HoldNotFound);
    assert!(matches!(world.ok(sale(book_hold(&hold.token, "o-1", OnExpired::Rebook))), Outcome::BookedBefore(_)));
    world.check();
}

#[test]
fn a_refused_atomic_batch_leaves_no_trace() {
    let mut world = World::theatre();
    let hold = world.hold(reserve(vec![seat("A-1"), pool("floor", 2)]));
    world.ok(sale(book(vec![seat("B-6")], "old")));
    let state = |world: &World| {
        let frozen = world.inventory.freeze();
        let body = |(key, body): (RecordKey, RecordBody)| (key, codec::encode(&body));
        let skip = |key: &RecordKey| matches!(key, RecordKey::Header | RecordKey::Results { .. });
        frozen.records().filter(|(key, _)| !skip(key)).map(body).collect::<Vec<_>>()
    };
    let before = state(&world);
    let op = |op| SaleCommand { event: event(), op };
    let commands = vec![
        op(reserve(vec![seat("A-2"), pool("floor", 1)])),
        op(book_hold(&hold.token, "o-1", OnExpired::Reject)),
        op(SaleOp::Cancel { order: OrderId::parse("o-1").unwrap(), items: Some(vec![seat("A-1")]) }),
        op(SaleOp::Cancel { order: OrderId::parse("old").unwrap(), items: None }),
        op(book(vec![seat("A-1"), seat("B-6")], "o-2")),
        op(SaleOp::Block { items: vec![seat("A-3")], reason: None }),
        op(book(vec![seat("A-2")], "o-3")),
    ];
    let no = world.no(Command::AtomicBatch(commands.clone()));
    assert_eq!((no.code, no.facts.index), (Code::SeatHeld, Some(6)));
    assert_eq!(state(&world), before);
    world.check();
    let version = world.inventory.event(&event()).unwrap().version;
    let Outcome::AtomicBatch(answers) = world.ok(Command::AtomicBatch(commands[..6].to_vec())) else { panic!() };
    assert!(answers.iter().all(|a| a.version == Some(version.next()) && a.revision == world.inventory.revision()));
    assert_eq!(world.sets.last().unwrap().cause, Cause::Batch);
    world.check();
    world.restart();
}

#[test]
fn a_repeated_key_gets_the_same_answer_and_a_reused_key_none() {
    let mut world = World::theatre();
    let request = world.request(sale(book(vec![seat("A-1")], "o-1")));
    let Decision::Fresh(answer) = world.send(&request) else { panic!() };
    world.restart();
    assert_eq!(world.send(&request), Decision::Replayed(answer.clone()));
    assert_eq!(world.inventory.recorded(&request.key), Some(answer.clone()));
    let mut other = request.clone();
    other.fingerprint = Fingerprint(7_777);
    assert_eq!(world.send(&other), Decision::KeyReused);
    let void = |key: &Key| Command::Void { key: key.clone() };
    assert_eq!(world.ok(void(&request.key)), Outcome::NotVoided(Box::new(answer)));
    let late = world.request(sale(book(vec![seat("A-2")], "o-2")));
    assert_eq!(world.ok(void(&late.key)), Outcome::Voided);
    assert_eq!(world.ok(void(&late.key)), Outcome::Voided);
    world.restart();
    let Decision::Replayed(refused) = world.send(&late) else { panic!() };
    assert!(matches!(refused.verdict, Verdict::Rejected(Rejection { code: Code::Voided, .. })));
    world.check();
}

#[test]
fn a_batch_in_slices_is_found_as_a_whole_and_command_by_command() {
    let mut world = World::theatre();
    let own = (Key::parse("mine").unwrap(), Fingerprint(5));
    let command =
        |own: Option<(Key, Fingerprint)>, op| BatchCommand { own, command: Ok(SaleCommand { event: event(), op }) };
    let slice = |start, commands| Command::BatchSlice(BatchSlice { start, total: 3, commands });
    let first = slice(
        0,
        vec![command(None, book(vec![seat("A-1")], "o-1")), command(Some(own.clone()), book(vec![seat("A-1")], "o-2"))],
    );
    let second = slice(2, vec![command(None, book(vec![seat("A-2")], "o-3"))]);
    let mut request = world.request(first);
    request.key = Key::parse("batch").unwrap();
    let Decision::Fresh(_) = world.send(&request) else { panic!() };
    assert_eq!(world.inventory.recorded(&request.key), None);
    let found = world.inventory.recorded(&Key::parse("batch:0").unwrap()).unwrap();
    assert!(matches!(found.verdict, Verdict::Applied(Outcome::Booked(_))));
    assert_eq!(world.inventory.recorded(&Key::parse("batch:1").unwrap()), None);
    assert!(matches!(world.inventory.recorded(&own.0).unwrap().verdict, Verdict::Rejected(_)));
    assert!(matches!(world.send(&request), Decision::Replayed(_)));
    let mut rest = request.clone();
    rest.command = second;
    let Decision::Fresh(_) = world.send(&rest) else { panic!() };
    world.restart();
    let Some(Answer { verdict: Verdict::Applied(Outcome::BatchSlice(all)), .. }) =
        world.inventory.recorded(&request.key)
    else {
        panic!()
    };
    assert_eq!(all.len(), 3);
    let mut single = world.request(sale(book(vec![seat("A-5")], "o-9")));
    single.key = request.key.clone();
    assert_eq!(world.send(&single), Decision::KeyReused);
    single.key = Key::parse("batch:2").unwrap();
    assert_eq!(world.send(&single), Decision::KeyReused);
    world.check();
}

#[test]
fn a_definition_is_replaced_in_place() {
    let mut world = World::theatre();
    world.ok(sale(book(vec![seat("A-1"), pool("floor", 4)], "o-1")));
    let hold = world.hold(reserve(vec![seat("B-6")]));
    let version = world.inventory.event(&event()).unwrap().version;
    let same = ["A", "B"].iter().flat_map(|row| (1..=6).map(|n| row_seat(row, n))).collect::<Vec<_>>();
    world.ok(define(None, same.clone(), vec![pool_def("floor", 10)]));
    assert_eq!(world.inventory.event(&event()).unwrap().version, version, "nothing changed");
    let no = world.no(define(None, vec![], vec![pool_def("floor", 3)]));
    assert_eq!((no.code, no.conflicts.len()), (Code::SeatBooked, 3));
    let fewer: Vec<SeatDef> = same.iter().rev().filter(|def| def.id.as_str() != "A-3").cloned().collect();
    world.ok(define(Some(2), fewer, vec![pool_def("floor", 4), pool_def("box", 1)]));
    world.check();
    let changes = &world.sets.last().unwrap().events[0].changes;
    assert_eq!(changes.len(), 3, "{changes:?}");
    assert!(matches!(&changes[0], Change::Seat { status: SeatStatus::Removed, .. }));
    world.restart();
    world.ok(sale(book_hold(&hold.token, "o-2", OnExpired::Reject)));
    assert_eq!(world.no(sale(book(vec![seat("A-3")], "o-3"))).code, Code::Invalid);
    world.check();
}

#[test]
fn a_deleted_event_goes_on_from_its_version() {
    let mut world = World::theatre();
    world.ok(sale(book(vec![seat("A-1")], "o-1")));
    let hold = world.hold(reserve(vec![seat("B-6"), pool("floor", 1)]));
    let no = world.no(Command::Delete { event: event(), force: false });
    assert_eq!((no.code, no.conflicts.len()), (Code::SeatBooked, 3));
    let answer = world.decide(Command::Delete { event: event(), force: true });
    assert_eq!(answer.version, Some(Version(4)));
    world.check();
    assert_eq!(world.inventory.next_due(), None);
    assert_eq!(world.no(sale(reserve(vec![seat("A-1")]))).code, Code::EventNotFound);
    world.restart();
    let answer = world.decide(define(None, vec![row_seat("A", 1)], vec![]));
    assert_eq!(answer.version, Some(Version(5)));
    assert_eq!(world.no(sale(book_hold(&hold.token, "o-1", OnExpired::Reject))).code, Code::HoldNotFound);
    world.ok(sale(book(vec![seat("A-1")], "o-1")));
    world.check();
}

#[test]
fn a_staged_definition_is_committed_or_lost() {
    let mut world = World::new();
    let staging = StagingId(9);
    let part = |part, rows: &[&str]| {
        let seats = rows.iter().flat_map(|row| (1..=300).map(|n| row_seat(row, n))).collect();
        ProposalBody::Stage(StagePart { staging, part, seats, pools: vec![] })
    };
    let contents = Contents::Staged { staging, parts: 2 };
    let command = Command::Define { event: event(), definition: Box::new(Definition { head: head(None), contents }) };
    let request = world.request(command);
    world.propose(part(0, &["A"]));
    assert_eq!(world.send(&request), Decision::StagingLost);
    world.propose(part(1, &["B"]));
    world.restart();
    assert!(matches!(world.send(&request), Decision::Fresh(_)));
    assert_eq!(world.inventory.event(&event()).unwrap().seats.total, 600);
    assert_eq!(world.sets[0].events[0].changes.len(), 600);
    assert!(matches!(world.send(&request), Decision::Replayed(_)));
    world.propose(part(0, &["A"]));
    world.pass(600_000);
    world.check();
    assert!(world.inventory.freeze().staging.parts.is_empty());
}

#[test]
fn results_leave_oldest_first_and_never_before_their_time() {
    let mut world = World::theatre();
    let settings = Settings { results_max: 20, rejections_max: 5, ..Settings::default() };
    world.ok(Command::Configure(settings));
    let first = world.request(sale(reserve(vec![pool("floor", 1)])));
    world.send(&first);
    for _ in 0..8 {
        world.no(sale(reserve(vec![seat("none")])));
    }
    assert_eq!(world.inventory.results_len(), 3 + 5, "rejections have a quota of their own");
    for n in 0..12 {
        world.ok(sale(SaleOp::Extend { token: Token::parse("token-3-0").unwrap(), ttl_ms: 1_000 + n }));
    }
    assert_eq!(world.inventory.results_room(), ResultsRoom::Full);
    assert!(world.inventory.recorded(&first.key).is_some());
    world.check();
    world.pass(900_000);
    assert_eq!(world.inventory.results_room(), ResultsRoom::Open);
    for _ in 0..10 {
        world.ok(Command::Configure(settings));
    }
    assert_eq!(world.inventory.results_len(), 20);
    assert!(world.inventory.recorded(&first.key).is_none());
    world.restart();
}

#[test]
fn the_limit_per_customer_counts_held_and_booked() {
    let mut world = World::new();
    world.ok(define(Some(3), vec![row_seat("A", 1)], vec![pool_def("floor", 10)]));
    let customer = CustomerId::parse("ada").ok();
    let op = |quantity| SaleOp::Reserve {
        want: Want::Items(vec![pool("floor", quantity)]),
        customer: customer.clone(),
        ttl_ms: None,
        add_to: None,
    };
    assert_eq!(world.no(sale(reserve(vec![seat("A-1")]))).code, Code::Invalid);
    let hold = world.hold(op(2));
    world.ok(sale(book_hold(&hold.token, "o-1", OnExpired::Reject)));
    world.restart();
    let no = world.no(sale(op(2)));
    assert_eq!((no.code, no.facts.limit), (Code::LimitExceeded, Some((3, 2))));
    world.hold(op(1));
    world.pass(600_000);
    world.hold(op(1));
    world.ok(sale(SaleOp::Cancel { order: OrderId::parse("o-1").unwrap(), items: Some(vec![pool("floor", 1)]) }));
    world.hold(op(1));
    assert_eq!(world.no(sale(op(1))).code, Code::LimitExceeded);
    world.check();
}

#[test]
fn a_broken_owner_is_found() {
    let mut world = World::theatre();
    world.ok(sale(book(vec![seat("A-1")], "o-1")));
    world.inventory.event_mut(0).set_seat(0, seats::SeatState::FREE);
    world.inventory.event_mut(0).set_seat(1, seats::SeatState::booked(0));
    let violations = world.inventory.freeze().audit();
    assert_eq!(violations.len(), 2, "{violations:?}");
}
