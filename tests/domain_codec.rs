//! What is encoded can be decoded: by a round trip of random values, and of bytes written long ago.
//!
//! `tests/golden/*.hex` hold bytes that were written by earlier versions: one line each, a name and hexadecimal. They
//! are only ever added to. `UPDATE=1` adds what is missing; it never changes a line. Where the same history is written
//! otherwise now, the old line stays as `before-…`: it must decode.

#![allow(
    clippy::result_large_err,
    clippy::large_enum_variant,
    clippy::type_complexity,
    clippy::explicit_auto_deref,
    clippy::unwrap_used,
    unreachable_pub,
    dead_code
)]

mod domain_model;
#[path = "domain/generate.rs"]
mod generate;
#[path = "domain/random.rs"]
mod random;
#[path = "domain/script_parse.rs"]
mod script_parse;
#[path = "domain/script_webhooks.rs"]
mod script_webhooks;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use lastseat::domain::codec::{self, CodecError};
use lastseat::domain::command::{Command, Proposal, ProposalBody};
use lastseat::domain::inventory::Inventory;
use lastseat::domain::outcome::{Answer, Decision};
use lastseat::domain::record::{RecordBody, RecordKey};
use lastseat::domain::value::{Coordinate, Millis, SeatNumber, Text};
use serde::Serialize;
use serde::de::DeserializeOwned;

use domain_model::Model;
use generate::Generator;

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let bytes = codec::encode(value);
    let back: T = codec::decode(&bytes).unwrap_or_else(|error| panic!("{value:?}: {error}"));
    assert_eq!(*value, back);
    assert_eq!(bytes, codec::encode(&back), "the same value, the same bytes");
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(codec::decode::<T>(&longer), Err(CodecError::LeftOver(1)));
    assert!(codec::decode::<T>(&bytes[..bytes.len() - 1]).is_err(), "cut short, it is no value: {value:?}");
}

fn answers(applied: &lastseat::domain::inventory::Applied) -> impl Iterator<Item = &Answer> {
    applied.decisions.iter().filter_map(|decision| match decision {
        Decision::Fresh(answer) | Decision::Replayed(answer) => Some(answer),
        Decision::KeyReused | Decision::StagingLost => None,
    })
}

#[test]
fn random_proposals_answers_changes_and_records_survive_a_round_trip() {
    for seed in 0..12 {
        let (mut generator, mut model, mut inventory) = (Generator::new(seed), Model::new(), Inventory::new());
        for _ in 0..200 {
            let proposal = generator.next(&model);
            model.apply(&proposal);
            let applied = inventory.apply(&proposal);
            round_trip(&proposal);
            answers(&applied).for_each(round_trip);
            applied.change_sets.iter().for_each(round_trip);
        }
        for (key, body) in inventory.freeze().records() {
            round_trip(&key);
            round_trip(&body);
        }
    }
}

/// Acts that make every kind of command, answer and record at least once.
const ACTS: [&str; 46] = [
    "define hamlet seats A-1..A-4 row A section Stalls category gold seats B-1 pools standing=10 vip=2 name Hamlet ttl 1m \
     max-ttl 1h limit 8 label venue=Globe",
    "stage 7 part 0 seats A-1 row A",
    "stage 7 part 1 pools box=3",
    "define lear staged 7 parts 2 key k1",
    "stage 8 part 0 seats A-1",
    "define hamlet staged 9 parts 2",
    "change hamlet off-sale pools standing=12 vip=Very_important if-match 1",
    "change hamlet on-sale name Hamlet,_Prince limit 6 ttl 2m label venue=Rose if-match 2",
    "change hamlet off-sale if-match 1",
    "reserve hamlet A-1 standing*2 customer ann ttl 30s key 01234567-89ab-cdef-0123-456789abcdef",
    "reserve hamlet A-2 add-to t1",
    "reserve hamlet best 2 customer ben by-node",
    "reserve hamlet best 3 section Stalls category gold scattered customer cleo",
    "reserve hamlet best 2 customer ann",
    "reserve hamlet A-1 Z-9 standing*99 box*1 customer ben",
    "reserve hamlet A-1 standing*99 customer ben not-after 12:30:00.000",
    "reserve hamlet B-1 standing*9 customer ben",
    "reserve hamlet B-1 not-after 11:00:00.000 customer dan",
    "extend hamlet t1 ttl 40s",
    "book hamlet t1 order o1 items A-1 rest keep key k2",
    "book hamlet t1 order o1 items A-1",
    "book hamlet t1 order o2 items standing*1 rest release",
    "buy hamlet B-1 order o3 customer dan",
    "cancel hamlet o1 items A-1",
    "cancel hamlet o9",
    "release hamlet t3 items A-3",
    "block hamlet A-1 standing*1 reason camera",
    "unblock hamlet standing*2",
    "unblock hamlet A-1 standing*1",
    "reserve hamlet A-1 customer ann ttl 5s token lapses",
    "at 12:00:06.000",
    "book hamlet lapses order o4",
    "book hamlet lapses order o5 rebook",
    "reserve hamlet A-2 customer ann ttl 5s token lapses-too",
    "at 12:00:12.000",
    "atomic: reserve hamlet A-2 customer ann ; extend lear t9 ttl 1m",
    "atomic: block hamlet A-2 reason crew ; buy lear A-1 order o1",
    "slice 0/3: reserve hamlet A-2 customer ben ; own k7: buy lear box*1 order o2 ; refused invalid key b1",
    "void k99",
    "void k2",
    "configure applied-keep 20m stagings-max 4 results-max 1000 rejections-max 500",
    "define brief seats A-1",
    "delete brief",
    "delete hamlet",
    "define alone seats X-1 X-2",
    "reserve alone best 2",
];

/// The same of webhooks, in files of their own: the bytes of the others stay what they are.
const WEBHOOK_ACTS: [&str; 20] = [
    "define hamlet seats A-1 A-2",
    "webhook set mail https://a.example/x events hamlet,lear causes book,cancel description mails disable-after 1m secret 1",
    "webhook set audit http://b.example paused secret 2",
    "webhook set mail https://a.example/y secret 3",
    "buy hamlet A-1 order o1",
    "webhook rotate mail overlap 1h secret 4",
    "at 12:00:06.000",
    "report mail cursor 2 tried 2:hamlet:500 tried 2:hamlet:timeout tried 2:hamlet:200",
    "webhook pause mail",
    "webhook resume mail from 1",
    "report mail cursor 1 gap 1-1 tried 2:hamlet:503",
    "webhook test mail answered 204",
    "webhook test nobody",
    "webhook redeliver mail tried 2:hamlet:forbidden",
    "webhook redeliver mail",
    "webhook set gone https://c.example secret 5",
    "report gone cursor 1 tried 2:hamlet:410",
    "webhook set brief https://d.example secret 6",
    "webhook delete brief",
    "webhook resume mail from 99",
];

/// The proposals of the acts, by name, and what they did.
fn history() -> (Vec<(String, Proposal)>, Vec<(String, Answer)>, Inventory) {
    let (mut proposals, given, inventory) = history_of(&ACTS);
    // Things that no act says.
    let mut twice = proposals[0].1.clone();
    if let ProposalBody::Requests(requests) = &mut twice.body {
        requests.push(requests[0].clone());
        if let Command::Define { definition, .. } = &mut requests[1].command
            && let lastseat::domain::command::Contents::Inline { seats, .. } = &mut definition.contents
        {
            seats[0].number = Some(SeatNumber::Text(Text::from("12a")));
        }
    }
    proposals.push(("two-requests".to_owned(), twice));
    (proposals, given, inventory)
}

fn history_of(acts: &[&str]) -> (Vec<(String, Proposal)>, Vec<(String, Answer)>, Inventory) {
    let (mut made, mut now) = (script_parse::Made::default(), script_parse::time("12:00:00.000"));
    let (mut proposals, mut given) = (Vec::new(), Vec::new());
    let mut inventory = Inventory::new();
    for (at, act) in acts.iter().enumerate() {
        let body = if let Some(time) = act.strip_prefix("at ") {
            now = script_parse::time(time);
            ProposalBody::Tick
        } else if let Some(part) = act.strip_prefix("stage ") {
            let mut part = script_parse::stage(&mut script_parse::Words::of(part));
            for seat in &mut part.seats {
                (seat.number, seat.x, seat.y) =
                    (Some(SeatNumber::Number(-1)), Some(Coordinate(7)), Some(Coordinate(8)));
            }
            ProposalBody::Stage(part)
        } else if let Some(report) = act.strip_prefix("report ") {
            let epoch_of = |id: &_| inventory.webhook_stored(id).map(|webhook| webhook.epoch);
            let words = &mut script_parse::Words::of(report);
            ProposalBody::Webhooks(vec![script_webhooks::report(words, now, epoch_of)])
        } else {
            ProposalBody::Requests(vec![script_parse::request(act, &mut made).unwrap()])
        };
        let proposal = Proposal { stamp: Millis(now), body };
        let applied = inventory.apply(&proposal);
        given.extend(answers(&applied).map(|answer| (format!("{at:02}"), answer.clone())));
        proposals.push((format!("{at:02}"), proposal));
    }
    (proposals, given, inventory)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// The lines of a file of old bytes; `UPDATE` adds those that are missing.
fn old_lines(name: &str, now: &[(String, String)]) -> BTreeMap<String, String> {
    let path = golden(name);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let split = |line: &str| line.split_once(' ').map(|(name, hex)| (name.to_owned(), hex.to_owned()));
    let mut lines: BTreeMap<_, _> = text.lines().filter_map(split).collect();
    if std::env::var_os("UPDATE").is_some() {
        for (name, hex) in now {
            lines.entry(name.clone()).or_insert_with(|| hex.clone());
        }
        let text: String = lines.iter().map(|(name, hex)| format!("{name} {hex}\n")).collect();
        std::fs::write(path, text).unwrap();
    }
    lines
}

/// How the name of a line begins that is no longer written, and still has to be read.
const BEFORE: &str = "before-";

/// Old bytes decode to what they were, and are still what is written.
fn check_golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(file: &str, values: &[(String, T)]) {
    let now: Vec<_> = values.iter().map(|(name, value)| (name.clone(), hex(&codec::encode(value)))).collect();
    let old = old_lines(file, &now);
    for ((name, value), (_, bytes)) in values.iter().zip(&now) {
        let line = old.get(name).unwrap_or_else(|| panic!("{file} has no line {name}: add it with UPDATE=1"));
        let decoded: T = codec::decode(&unhex(line)).unwrap_or_else(|error| panic!("{file}, {name}: {error}"));
        assert_eq!(decoded, *value, "{file}, {name}");
        assert_eq!(line, bytes, "{file}, {name}: written differently now; old nodes could not read it");
    }
    let before: Vec<_> = old.iter().filter(|(name, _)| name.starts_with(BEFORE)).collect();
    for (name, line) in &before {
        codec::decode::<T>(&unhex(line)).unwrap_or_else(|error| panic!("{file}, {name}: {error}"));
    }
    assert_eq!(old.len() - before.len(), values.len(), "{file} has lines that nobody checks");
}

#[test]
fn old_proposals_still_decode() {
    check_golden("proposal.hex", &history().0);
}

#[test]
fn old_answers_still_decode() {
    check_golden("answer.hex", &history().1);
}

/// Every kind of record; and all of them together are still the same state, with the same hash.
#[test]
fn old_records_still_decode() {
    let (_, _, inventory) = history();
    let frozen = inventory.freeze();
    let records: Vec<(RecordKey, RecordBody)> = frozen.records().collect();
    let named: Vec<_> = records.iter().map(|pair| (format!("{:?}", pair.0).replace(' ', ""), pair.clone())).collect();
    check_golden("record.hex", &named);
    let hash = frozen.state_hash();
    check_golden("state-hash.hex", &[("hash".to_owned(), hash)]);
    let old = old_lines("record.hex", &[]);
    let now = old.iter().filter(|(name, _)| !name.starts_with(BEFORE));
    let decoded = now.map(|(_, line)| codec::decode::<(RecordKey, RecordBody)>(&unhex(line)).unwrap());
    let loaded = Inventory::from_records(decoded).unwrap();
    assert_eq!(loaded.freeze().state_hash(), hash);
    assert_eq!(loaded.freeze().audit(), Vec::<String>::new());
}

/// The same for webhooks, and that a state without any is what it was before there were webhooks.
#[test]
fn old_webhooks_still_decode() {
    let (proposals, given, inventory) = history_of(&WEBHOOK_ACTS);
    check_golden("webhook-proposal.hex", &proposals);
    check_golden("webhook-answer.hex", &given);
    let frozen = inventory.freeze();
    let is_webhook = |(key, _): &(RecordKey, RecordBody)| matches!(key, RecordKey::Webhook { .. });
    let named: Vec<_> =
        frozen.records().filter(is_webhook).map(|pair| (format!("{:?}", pair.0).replace(' ', ""), pair)).collect();
    assert_eq!(named.len(), 3, "brief was deleted");
    check_golden("webhook-record.hex", &named);
    check_golden("webhook-state-hash.hex", &[("hash".to_owned(), frozen.state_hash())]);
    let loaded = Inventory::from_records(frozen.records()).unwrap();
    assert_eq!(loaded.freeze().state_hash(), frozen.state_hash());
    assert_eq!(frozen.audit(), Vec::<String>::new());
}

/// The samples are not samples of the easy half only.
#[test]
fn the_samples_have_every_kind_of_thing() {
    let (proposals, answers, inventory) = history();
    let said = format!("{proposals:?} {answers:?}");
    for word in [
        "Requests",
        "Stage",
        "Tick",
        "Define",
        "Change",
        "Delete",
        "AtomicBatch",
        "BatchSlice",
        "Void",
        "Configure",
        "Reserve",
        "Extend",
        "BookHold",
        "BookDirect",
        "Release",
        "Cancel",
        "Block",
        "Unblock",
        "Best",
        "Rebook",
        "Inline",
        "Staged",
        "Defined",
        "Deleted",
        "Changed",
        "Reserved",
        "Extended",
        "Booked",
        "BookedBefore",
        "Released",
        "Cancelled",
        "Blocked",
        "Unblocked",
        "Voided",
        "NotVoided",
        "Configured",
        "NoSeat",
        "NoPool",
        "Insufficient",
        "HoldExpired",
        "DefinitionMoved",
        "DeadlinePassed",
        "LimitExceeded",
        "NotContiguous",
    ] {
        let found = said.split(|c: char| !c.is_alphanumeric()).any(|known| known == word);
        assert!(found, "no sample has {word}");
    }
    let kinds: std::collections::BTreeSet<String> = inventory
        .freeze()
        .records()
        .map(|(key, _)| format!("{key:?}").split([' ', '{']).next().unwrap().to_owned())
        .collect();
    for kind in [
        "Header",
        "Event",
        "SeatDefs",
        "SeatStates",
        "PoolDefs",
        "PoolCounts",
        "Orders",
        "Holds",
        "Lapsed",
        "Results",
        "Stage",
    ] {
        assert!(kinds.contains(kind), "no sample is a record of kind {kind}: {kinds:?}");
    }
}
