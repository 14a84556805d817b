//! Random proposals in a universe so small that everything gets in the way of everything: three events, twelve seats in
//! three rows, three pools, four customers, time steps that let holds lapse.
//!
//! What is asked depends only on the seed and on the model's state, never on the implementation.

use std::collections::BTreeMap;

use lastseat::domain::command::{
    BatchCommand, BatchSlice, Command, Contents, Definition, Fingerprint, HoldPatch, KeyMaker, OnExpired, Patch,
    PoolPatch, Proposal, ProposalBody, Request, Rest, SaleCommand, SaleOp, Settings, StagePart, StagingId, Want,
};
use lastseat::domain::id::{CustomerId, EventId, Key, OrderId, PoolId, SeatId, Token};
use lastseat::domain::outcome::{Code, Rejection};
use lastseat::domain::value::{EventHead, HoldPolicy, Item, Limits, Millis, PoolDef, SeatDef, Text, Version};

#[path = "generate_webhooks.rs"]
mod webhooks;

use crate::domain_model::{Event, Model};
use crate::random::Random;

/// 1 January 2026; any time but 0 would do.
pub const START: u64 = 1_767_225_600_000;

pub struct Generator {
    random: Random,
    now: u64,
    made: u64,
    /// Requests asked before, to ask them again.
    asked: Vec<Request>,
    /// Proposals that must come next: parts of a staged definition and its commit, slices of one batch.
    next: Vec<ProposalBody>,
}

fn event_id(text: &str) -> EventId {
    EventId::parse(text).unwrap()
}

fn seat_id(text: &str) -> SeatId {
    SeatId::parse(text).unwrap()
}

fn pool_id(text: &str) -> PoolId {
    PoolId::parse(text).unwrap()
}

/// Its parts are used up by the first commit.
fn staged(command: &Command) -> bool {
    matches!(command, Command::Define { definition, .. } if matches!(definition.contents, Contents::Staged { .. }))
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), now: START, made: 0, asked: Vec::new(), next: Vec::new() }
    }

    pub fn next(&mut self, model: &Model) -> Proposal {
        self.let_time_pass(model);
        let stamp = Millis(if self.random.chance(3) { self.now - 1_000 } else { self.now });
        let body = match self.next.pop() {
            Some(body) => body,
            None if self.random.chance(4) => ProposalBody::Tick,
            None if self.random.chance(4) => self.reports(model),
            None => {
                let count = if self.random.chance(10) { self.random.between(2, 4) } else { 1 };
                let requests: Vec<_> = (0..count).map(|_| self.request(model)).collect();
                self.asked.extend(requests.iter().cloned());
                // Definitions that travel in parts: the parts go first.
                match self.next.pop() {
                    Some(first) => {
                        self.next.insert(0, ProposalBody::Requests(requests));
                        first
                    }
                    None => ProposalBody::Requests(requests),
                }
            }
        };
        Proposal { stamp, body }
    }

    /// Mostly not at all or a little; sometimes to the very millisecond at which a hold is due, or one before.
    fn let_time_pass(&mut self, model: &Model) {
        let due = model.next_due().map(|due| due.0).filter(|due| *due > self.now);
        let roll = self.random.between(0, 99);
        self.now = match (roll, due) {
            (0..3, Some(due)) => due,
            (3..6, Some(due)) => due - 1,
            (6..45, _) => self.now,
            (45..85, _) => self.now + self.random.between(1, 200),
            (85..98, _) => self.now + self.random.between(200, 2_000),
            _ => self.now + self.random.between(3_000, 20_000),
        };
    }

    fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn request(&mut self, model: &Model) -> Request {
        if !self.asked.is_empty() && self.random.chance(7) {
            return self.again();
        }
        let command = self.command(model);
        let key = Key::parse(&format!("k{}", self.number())).unwrap();
        let if_match = match &command {
            Command::Define { event, .. } | Command::Change { event, .. } if self.random.chance(15) => {
                let now = model.state.events.get(event).map_or(1, |event| event.definition_version.0);
                Some(Version(if self.random.chance(60) { now } else { self.random.between(0, now + 1) }))
            }
            _ => None,
        };
        Request {
            key,
            key_made_by: if self.random.chance(20) { KeyMaker::Node } else { KeyMaker::Client },
            fingerprint: Fingerprint(u128::from(self.random.next())),
            // Parts lost and too late at once: which is told is open.
            not_after: (self.random.chance(4) && !staged(&command))
                .then(|| Millis(self.now + 300 - self.random.between(0, 600))),
            if_match,
            fresh_tokens: self.fresh_tokens(&command),
            command,
        }
    }

    /// One for each reserve, as the leader does.
    fn fresh_tokens(&mut self, command: &Command) -> Vec<Token> {
        let reserve = |sale: &&SaleCommand| matches!(sale.op, SaleOp::Reserve { .. });
        let count = match command {
            Command::Sale(sale) => usize::from(reserve(&sale)),
            Command::AtomicBatch(sales) => sales.iter().filter(reserve).count(),
            Command::BatchSlice(slice) => {
                slice.commands.iter().filter_map(|one| one.command.as_ref().ok()).filter(reserve).count()
            }
            Command::Define { .. }
            | Command::Change { .. }
            | Command::Delete { .. }
            | Command::Void { .. }
            | Command::Configure(_)
            | Command::Webhook(_) => 0,
        };
        // Not in the order of their names: "by expiry, then token" must not be the order of making by accident.
        (0..count)
            .map(|_| Token::parse(&format!("t{:02}-{}", self.random.between(0, 99), self.number())).unwrap())
            .collect()
    }

    /// A request asked before, with tokens made anew; sometimes another request under its key.
    fn again(&mut self) -> Request {
        let newest = self.asked.len().saturating_sub(30);
        let mut request = if self.random.chance(70) {
            self.random.pick(&self.asked[newest..]).clone()
        } else {
            self.random.pick(&self.asked).clone()
        };
        request.fresh_tokens = self.fresh_tokens(&request.command);
        if self.random.chance(25) {
            request.fingerprint.0 ^= 1;
        } else if self.random.chance(25) && !staged(&request.command) {
            // The same intent under a new key: "the same order, token and items again".
            request.key = Key::parse(&format!("k{}", self.number())).unwrap();
        }
        request
    }

    fn command(&mut self, model: &Model) -> Command {
        if model.state.events.is_empty() {
            return self.define(model);
        }
        match self.random.between(0, 99) {
            0..4 => self.define(model),
            4..8 => Command::Change { event: self.event(model), patch: Box::new(self.patch()) },
            8..10 => Command::Delete { event: self.event(model), force: self.random.chance(30) },
            10..13 => Command::Void { key: self.key_to_void() },
            13..14 => Command::Configure(Settings { stagings_max: 16, ..Settings::default() }),
            14..22 => {
                let count = self.random.between(1, 4);
                Command::AtomicBatch((0..count).map(|_| self.sale(model)).collect())
            }
            22..27 => self.slice(model),
            27..34 => self.webhook(model),
            _ => Command::Sale(self.sale(model)),
        }
    }

    fn event(&mut self, model: &Model) -> EventId {
        let there = self.random.pick_some(model.state.events.keys().cloned());
        match there {
            Some(event) if self.random.chance(97) => event,
            _ => event_id(*self.random.pick(&["e1", "e2", "e3", "nowhere"])),
        }
    }

    fn key_to_void(&mut self) -> Key {
        let made_soon = self.made + self.random.between(1, 12);
        let known = self.random.pick_some(self.asked.iter().map(|request| request.key.clone()));
        match known {
            Some(key) if self.random.chance(40) => key,
            _ => Key::parse(&format!("k{made_soon}")).unwrap(),
        }
    }

    // --- definitions ---

    fn define(&mut self, model: &Model) -> Command {
        let event = event_id(*self.random.pick(&["e1", "e2", "e3"]));
        let old = model.state.events.get(&event);
        let (seats, pools) = match old {
            Some(old) if self.random.chance(70) => self.vary(old),
            _ => (self.seats(), self.pools()),
        };
        let head = match old {
            Some(old) if self.random.chance(50) => old.head.clone(),
            _ => self.head(),
        };
        let contents =
            if self.random.chance(25) { self.stage(seats, pools) } else { Contents::Inline { seats, pools } };
        Command::Define { event, definition: Box::new(Definition { head, contents }) }
    }

    fn head(&mut self) -> EventHead {
        let ttl_ms = *self.random.pick(&[500, 2_000, 8_000, 30_000]);
        let max_ttl_ms = *self.random.pick(&[8_000, 20_000, 60_000]);
        EventHead {
            name: Text::from(*self.random.pick(&["Hamlet", "Lear"])),
            on_sale: self.random.chance(92),
            hold: HoldPolicy {
                ttl_ms,
                max_ttl_ms: if self.random.chance(95) { max_ttl_ms.max(ttl_ms) } else { max_ttl_ms },
            },
            limits: self.limits(),
            labels: if self.random.chance(80) {
                BTreeMap::new()
            } else {
                BTreeMap::from([("venue".into(), "Globe".into())])
            },
        }
    }

    fn limits(&mut self) -> Limits {
        Limits { per_customer: self.random.chance(25).then(|| self.random.between(2, 8)) }
    }

    /// Three rows of four; sometimes a seat without a row, a section, two rows woven into each other.
    fn seats(&mut self) -> Vec<SeatDef> {
        let mut seats = Vec::new();
        for row in ["A", "B", "C"] {
            let section = self.random.chance(40).then(|| Text::from(*self.random.pick(&["Left", "Right"])));
            for number in 1..=4 {
                let category =
                    self.random.chance(60).then(|| Text::from(*self.random.pick(&["gold", "gold", "plain"])));
                let row_name = self.random.chance(95).then(|| Text::from(row));
                let id = seat_id(&format!("{row}-{number}"));
                let (section, number) = (section.clone(), None);
                seats.push(SeatDef { id, section, row: row_name, number, category, x: None, y: None });
            }
        }
        if self.random.chance(20) {
            let (from, to) = (self.any_index(&seats), self.any_index(&seats));
            seats.swap(from, to);
        }
        if self.random.chance(2) {
            seats.push(seats[0].clone());
        }
        if self.random.chance(15) {
            seats.truncate(5);
        }
        seats
    }

    fn any_index<T>(&mut self, list: &[T]) -> usize {
        usize::try_from(self.random.between(0, list.len() as u64 - 1)).unwrap()
    }

    fn pools(&mut self) -> Vec<PoolDef> {
        let mut pools = Vec::new();
        for name in ["p1", "p2", "p3"] {
            if self.random.chance(75) {
                let capacity = *self.random.pick(&[0, 3, 6, 12]);
                pools.push(PoolDef { id: pool_id(name), capacity, category: None, name: None });
            }
        }
        pools
    }

    /// The old definition with a little changed, or nothing.
    fn vary(&mut self, old: &Event) -> (Vec<SeatDef>, Vec<PoolDef>) {
        let (mut seats, mut pools) = (old.seats.clone(), old.pools.clone());
        if !seats.is_empty() {
            let at = self.any_index(&seats);
            match self.random.between(0, 9) {
                0..3 => drop(seats.remove(at)),
                3 => seats[at].category = Some(Text::from("gold")),
                4 => seats[at].row = Some(Text::from(*self.random.pick(&["A", "B"]))),
                5 => seats.reverse(),
                6 => {
                    let id = seat_id(*self.random.pick(&["D-1", "A-1", "B-2"]));
                    if seats.iter().all(|seat| seat.id != id) {
                        seats.insert(at, SeatDef { id, ..seats[at].clone() });
                    }
                }
                _ => {}
            }
        }
        if !pools.is_empty() && self.random.chance(40) {
            let at = self.any_index(&pools);
            match self.random.between(0, 2) {
                0 => drop(pools.remove(at)),
                1 => pools[at].capacity = self.random.between(0, 12),
                _ => pools[at].name = Some(Text::from("Floor")),
            }
        }
        (seats, pools)
    }

    /// Cuts a definition in parts; now and then one gets lost.
    fn stage(&mut self, mut seats: Vec<SeatDef>, mut pools: Vec<PoolDef>) -> Contents {
        let staging = StagingId(u128::from(self.random.next()));
        let parts: u32 = 2;
        let lost = self.random.chance(15).then(|| self.random.between(0, 1));
        let rest = (seats.split_off(seats.len() / 2), pools.split_off(pools.len() / 2));
        for (part, (seats, pools)) in [(seats, pools), rest].into_iter().enumerate() {
            if lost != Some(part as u64) {
                let part = u32::try_from(part).unwrap();
                self.next.push(ProposalBody::Stage(StagePart { staging, part, seats, pools }));
            }
        }
        Contents::Staged { staging, parts }
    }

    fn patch(&mut self) -> Patch {
        let mut patch = Patch::default();
        match self.random.between(0, 7) {
            0 => patch.on_sale = Some(false),
            1 | 2 => patch.on_sale = Some(true),
            3 => patch.limits = Some(self.limits()),
            4 => {
                let ttl_ms = self.random.chance(50).then(|| *self.random.pick(&[1_000, 9_000]));
                let max_ttl_ms = self.random.chance(50).then(|| *self.random.pick(&[4_000, 40_000]));
                patch.hold = Some(HoldPatch { ttl_ms, max_ttl_ms });
            }
            5 => patch.name = Some(Text::from(*self.random.pick(&["Hamlet", "Othello"]))),
            6 => patch.labels = Some(BTreeMap::from([("venue".to_owned(), "Rose".to_owned())])),
            _ => {}
        }
        for name in ["p1", "p2"] {
            if self.random.chance(25) {
                let capacity = self.random.chance(80).then(|| self.random.between(0, 12));
                patch.pools.push(PoolPatch { id: pool_id(name), capacity, category: None, name: None });
            }
        }
        patch
    }

    // --- sales ---

    fn slice(&mut self, model: &Model) -> Command {
        let count = self.random.between(1, 4);
        let commands = (0..count).map(|_| {
            let own = self.random.chance(40).then(|| {
                let known = self.random.pick_some(self.asked.iter().map(|old| (old.key.clone(), old.fingerprint)));
                match known {
                    Some((key, print)) if self.random.chance(25) => {
                        (key, Fingerprint(print.0 ^ u128::from(self.random.chance(50))))
                    }
                    _ => {
                        let key = Key::parse(&format!("k{}", self.number())).unwrap();
                        (key, Fingerprint(u128::from(self.random.next())))
                    }
                }
            });
            let command =
                if self.random.chance(5) { Err(Rejection::new(Code::DuplicateItem)) } else { Ok(self.sale(model)) };
            BatchCommand { own, command }
        });
        let commands: Vec<_> = commands.collect();
        let start = if self.random.chance(80) { 0 } else { 4 };
        let total = start + u32::try_from(commands.len()).unwrap() + if self.random.chance(70) { 0 } else { 3 };
        Command::BatchSlice(BatchSlice { start, total, commands })
    }

    fn sale(&mut self, model: &Model) -> SaleCommand {
        let id = self.event(model);
        let known = model.state.events.get(&id).cloned();
        let event = known.as_ref();
        let op = match self.random.between(0, 99) {
            0..34 => self.reserve(event),
            34..40 => SaleOp::Extend { token: self.token(event), ttl_ms: self.ttl() },
            40..58 => self.book(event),
            58..67 => SaleOp::BookDirect {
                items: self.items(event, 20),
                order: self.order(event, 10),
                customer: self.customer(),
            },
            67..75 => {
                let token = self.token(event);
                SaleOp::Release { items: self.subset(event, &token), token }
            }
            75..89 => self.cancel(event),
            89..95 => SaleOp::Block { items: self.items(event, 10), reason: self.reason() },
            _ => self.unblock(event),
        };
        SaleCommand { event: id, op }
    }

    fn reserve(&mut self, event: Option<&Event>) -> SaleOp {
        let add_to = self.random.chance(20).then(|| self.token(event));
        let ttl_ms = (self.random.chance(70) && (add_to.is_none() || self.random.chance(3))).then(|| self.ttl());
        let want = if self.random.chance(35) {
            Want::Best {
                quantity: if self.random.chance(1) { 0 } else { self.random.between(1, 5) },
                section: self.random.chance(15).then(|| Text::from(*self.random.pick(&["Left", "Right"]))),
                category: self.random.chance(25).then(|| Text::from(*self.random.pick(&["gold", "plain"]))),
                contiguous: self.random.chance(70),
            }
        } else {
            Want::Items(self.items(event, 12))
        };
        let customer = if add_to.is_some() && self.random.chance(70) { None } else { self.customer() };
        SaleOp::Reserve { want, customer, ttl_ms, add_to }
    }

    fn book(&mut self, event: Option<&Event>) -> SaleOp {
        let repeated = event.and_then(|event| {
            let from_hold = event.orders.iter().filter(|order| order.token.is_some()).cloned();
            self.random.pick_some(from_hold)
        });
        let rest = if self.random.chance(30) { Rest::Release } else { Rest::Keep };
        let on_expired = if self.random.chance(50) { OnExpired::Rebook } else { OnExpired::Reject };
        match repeated {
            Some(order) if self.random.chance(20) => {
                let items = (!order.whole_hold || self.random.chance(50)).then(|| order.first_items.items());
                let (token, order) = (order.token.expect("only such were picked"), order.id);
                SaleOp::BookHold { token, order, items, rest, on_expired }
            }
            _ => {
                let token = self.token(event);
                let items = self.subset(event, &token);
                SaleOp::BookHold { token, order: self.order(event, 8), items, rest, on_expired }
            }
        }
    }

    fn cancel(&mut self, event: Option<&Event>) -> SaleOp {
        let order = self.order(event, 85);
        let known = event.and_then(|event| event.order(&order));
        let items = match known {
            Some(known) if self.random.chance(40) => Some(self.some_of(&known.items.items(), event)),
            _ => None,
        };
        SaleOp::Cancel { order, items }
    }

    fn unblock(&mut self, event: Option<&Event>) -> SaleOp {
        let blocked = event.map(|event| event.blocked.items()).unwrap_or_default();
        let items = if self.random.chance(80) { self.some_of(&blocked, event) } else { self.items(event, 10) };
        SaleOp::Unblock { items, reason: self.reason() }
    }

    fn reason(&mut self) -> Option<String> {
        self.random.chance(30).then(|| "camera".to_owned())
    }

    fn ttl(&mut self) -> u64 {
        if self.random.chance(6) { 70_000 } else { *self.random.pick(&[200, 1_000, 3_000, 7_000, 8_000]) }
    }

    fn customer(&mut self) -> Option<CustomerId> {
        self.random.chance(80).then(|| CustomerId::parse(*self.random.pick(&["ann", "ben", "cleo", "dan"])).unwrap())
    }

    /// Mostly a live hold, sometimes one that lapsed, seldom one that never was.
    fn token(&mut self, event: Option<&Event>) -> Token {
        let live = event.and_then(|event| self.random.pick_some(event.holds.keys().cloned()));
        let lapsed = event.and_then(|event| self.random.pick_some(event.lapsed.keys().cloned()));
        let ended =
            event.and_then(|event| self.random.pick_some(event.orders.iter().filter_map(|order| order.token.clone())));
        let never = Token::parse("never").unwrap();
        match self.random.between(0, 99) {
            0..68 => live.or(lapsed).unwrap_or(never),
            68..90 => lapsed.or(live).unwrap_or(never),
            90..97 => ended.unwrap_or(never),
            _ => never,
        }
    }

    /// An order of the event with `percent`, else a new one.
    fn order(&mut self, event: Option<&Event>, percent: u64) -> OrderId {
        let known = event.and_then(|event| self.random.pick_some(event.orders.iter().map(|order| order.id.clone())));
        match known {
            Some(order) if self.random.chance(percent) => order,
            _ => OrderId::parse(&format!("o{}", self.number())).unwrap(),
        }
    }

    /// Some of what a hold has, or all by naming nothing.
    fn subset(&mut self, event: Option<&Event>, token: &Token) -> Option<Vec<Item>> {
        let hold = event.and_then(|event| event.holds.get(token).or_else(|| event.lapsed.get(token)));
        let items = hold?.items.items();
        self.random.chance(45).then(|| self.some_of(&items, event))
    }

    /// A part of these items; now and then something that is not among them.
    fn some_of(&mut self, items: &[Item], event: Option<&Event>) -> Vec<Item> {
        let mut some: Vec<Item> = items.iter().filter(|_| self.random.chance(60)).cloned().collect();
        for item in &mut some {
            if let Item::Pool { quantity, .. } = item
                && self.random.chance(50)
            {
                let one_too_many = u64::from(self.random.chance(10));
                *quantity = self.random.between(1, *quantity + one_too_many);
            }
        }
        if self.random.chance(7) {
            some.extend(self.items(event, 20));
        }
        if some.is_empty() && self.random.chance(97) {
            some.extend(items.first().cloned());
        }
        some
    }

    /// One to three items; free ones mostly, `careless` percent any.
    fn items(&mut self, event: Option<&Event>, careless: u64) -> Vec<Item> {
        let count = self.random.between(1, 3);
        let mut items = Vec::new();
        for _ in 0..count {
            let item = if self.random.chance(65) { self.seat(event, careless) } else { self.units(event) };
            // The same pool twice is summed; the same seat twice is an error, so seldom.
            if matches!(item, Item::Pool { .. }) || !items.contains(&item) || self.random.chance(8) {
                items.push(item);
            }
        }
        if self.random.chance(1) {
            items.clear();
        }
        items
    }

    fn seat(&mut self, event: Option<&Event>, careless: u64) -> Item {
        use lastseat::domain::value::SeatStatus::Free;
        let free = event.and_then(|event| {
            let free = event.seats.iter().filter(|seat| event.status(&seat.id) == Free).map(|seat| seat.id.clone());
            self.random.pick_some(free)
        });
        let any = event.and_then(|event| self.random.pick_some(event.seats.iter().map(|seat| seat.id.clone())));
        let none = seat_id("Z-9");
        let seat = if self.random.chance(careless) { any } else { free.or(any) };
        Item::Seat(if self.random.chance(2) { none } else { seat.unwrap_or(none) })
    }

    fn units(&mut self, event: Option<&Event>) -> Item {
        let known = event.and_then(|event| self.random.pick_some(event.pools.iter().map(|pool| pool.id.clone())));
        let pool = if self.random.chance(3) { pool_id("p9") } else { known.unwrap_or_else(|| pool_id("p1")) };
        let quantity = match self.random.between(0, 99) {
            0 => 0,
            1 => u64::MAX,
            2..10 => self.random.between(5, 15),
            _ => self.random.between(1, 3),
        };
        Item::Pool { pool, quantity }
    }
}
