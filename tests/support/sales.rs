//! Sales whose every entry follows from its number, so that the state after any of them can be computed again.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;

use lastseat::domain::command::{
    Command, Contents, Definition, Fingerprint, KeyMaker, OnExpired, Proposal, ProposalBody, Request, Rest,
    SaleCommand, SaleOp, Want,
};
use lastseat::domain::id::{EventId, Key, OrderId, PoolId, SeatId, Token};
use lastseat::domain::inventory::Inventory;
use lastseat::domain::value::{EventHead, HoldPolicy, Item, Limits, Millis, PoolDef, SeatDef, SeatNumber};

pub const SEATS: u64 = 700;

fn event(which: u64) -> EventId {
    EventId::parse(&format!("opera {which}")).unwrap()
}

fn seat(at: u64) -> SeatId {
    SeatId::parse(&format!("R{}-{}", at / 20, at % 20)).unwrap()
}

fn standing() -> PoolId {
    PoolId::parse("standing").unwrap()
}

fn token(n: u64, i: u64) -> Token {
    Token::parse(&format!("token {n} {i}")).unwrap()
}

fn define(which: u64) -> Command {
    let seat_def = |at| SeatDef {
        id: seat(at),
        section: Some("Stalls".into()),
        row: Some(format!("R{}", at / 20).into()),
        number: Some(SeatNumber::Number((at % 20) as i64)),
        category: None,
        x: None,
        y: None,
    };
    let head = EventHead {
        name: "Tosca".into(),
        on_sale: true,
        hold: HoldPolicy::default(),
        limits: Limits::default(),
        labels: BTreeMap::new(),
    };
    let pools = vec![PoolDef { id: standing(), capacity: 1_000_000, category: None, name: None }];
    let contents = Contents::Inline { seats: (0..SEATS).map(seat_def).collect(), pools };
    Command::Define { event: event(which), definition: Box::new(Definition { head, contents }) }
}

fn command(n: u64, i: u64) -> Command {
    let mix = (n * 31 + i * 17).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let items = || match mix % 3 {
        0 => vec![Item::Pool { pool: standing(), quantity: 1 + mix % 4 }],
        _ => (0..1 + mix % 3).map(|k| Item::Seat(seat((mix / 7 + k) % SEATS))).collect(),
    };
    let order = |n: u64, i: u64| OrderId::parse(&format!("order {n} {i}")).unwrap();
    let op = match mix % 10 {
        0..4 => SaleOp::Reserve { want: Want::Items(items()), customer: None, ttl_ms: Some(20_000), add_to: None },
        4..6 => SaleOp::BookHold {
            token: token(n.saturating_sub(1), i),
            order: order(n, i),
            items: None,
            rest: Rest::Keep,
            on_expired: OnExpired::Reject,
        },
        6 => SaleOp::BookDirect { items: items(), order: order(n, i), customer: None },
        7 => SaleOp::Release { token: token(n.saturating_sub(2), i), items: None },
        8 => SaleOp::Cancel { order: order(n.saturating_sub(3), i), items: None },
        _ if mix % 20 == 9 => SaleOp::Block { items: items(), reason: None },
        _ => SaleOp::Unblock { items: items(), reason: None },
    };
    Command::Sale(SaleCommand { event: event(i % 2), op })
}

fn request(n: u64, i: u64, command: Command) -> Request {
    let fresh_tokens = match &command {
        Command::Sale(SaleCommand { op: SaleOp::Reserve { .. }, .. }) => vec![token(n, i)],
        _ => Vec::new(),
    };
    Request {
        key: Key::parse(&format!("key {n} {i}")).unwrap(),
        key_made_by: if i.is_multiple_of(2) { KeyMaker::Client } else { KeyMaker::Node },
        fingerprint: Fingerprint(u128::from(n * 1_000 + i)),
        not_after: None,
        if_match: None,
        fresh_tokens,
        command,
    }
}

/// Entry `n` of the log. The first defines two events; one of them is deleted and made again now and then.
pub fn proposal(n: u64) -> Proposal {
    let commands = match n {
        1 => vec![define(0), define(1)],
        _ if n.is_multiple_of(211) => vec![Command::Delete { event: event(1), force: true }, define(1)],
        _ => (0..1 + n % 8).map(|i| command(n, i)).collect(),
    };
    let requests = (0..).zip(commands).map(|(i, command)| request(n, i, command)).collect();
    let body = if n % 10 == 7 { ProposalBody::Tick } else { ProposalBody::Requests(requests) };
    Proposal { stamp: Millis(1_000_000 + n * 700), body }
}

/// A direct booking of one unit.
pub fn booking(n: u64, i: u64) -> Request {
    let op = SaleOp::BookDirect {
        items: vec![Item::Pool { pool: standing(), quantity: 1 }],
        order: OrderId::parse(&format!("booking {n} {i}")).unwrap(),
        customer: None,
    };
    request(n, i, Command::Sale(SaleCommand { event: event(0), op }))
}

/// The state after entry `n`.
pub fn after(n: u64) -> Inventory {
    let mut inventory = Inventory::new();
    for n in 1..=n {
        inventory.apply(&proposal(n));
    }
    inventory
}
