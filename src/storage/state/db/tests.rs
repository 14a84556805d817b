#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;

use super::builder::BULK_BATCH_BYTES;
use super::*;
use crate::storage::LogId;

const GOLDEN: &str = include_str!("../../../../tests/golden/state-values-1.txt");

fn applied() -> AppliedPoint {
    let last_applied = Some(LogId { term: 3, node_id: 2, index: 70_000 });
    AppliedPoint { last_applied, membership: Bytes::from_static(b"members") }
}

fn long() -> Vec<u8> {
    (0..PART + 10).map(|i| (i % 7) as u8).collect()
}

const PART: usize = format::PART_BYTES_MAX;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn collected(records: &mut dyn Iterator<Item = RawRecord>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StateError> {
    Ok(records.collect())
}

/// Every kind of value, as this build writes it: `key value` in hex, the long ones shortened to their hash.
fn written(live: &Live) -> String {
    let shorten = |value: &[u8]| match value.len() {
        0..500 => hex(value),
        _ => format!("blake3:{}", blake3::hash(value)),
    };
    let pairs = live.db().iter().map(Result::unwrap);
    pairs.map(|(key, value)| format!("{} {}\n", hex(&key), shorten(&value))).collect()
}

#[test]
fn the_first_format_is_still_written_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = Builder::begin(dir.path(), 1, 1 << 20).unwrap();
    builder.record(b"empty", b"").unwrap();
    builder.record(b"long", &long()).unwrap();
    builder.record(b"short", b"some bytes").unwrap();
    builder.history(&[(41, b"first".to_vec()), (42, b"second".to_vec())]).unwrap();
    let live = builder.finish(&applied(), 42).unwrap();
    let text = written(&live);
    if std::env::var_os("LASTSEAT_BLESS").is_some() {
        fs::write("tests/golden/state-values-1.txt", &text).unwrap();
    }
    assert_eq!(text, GOLDEN);
    drop(live);
    // The other way: a database made of the golden bytes opens. Long values stand there as a hash only.
    let (db, _file) = open_sled(&folder_of(dir.path(), 2), 1 << 20).unwrap();
    let long = format::cut(&format::stem(GROUP, Kind::Record, b"long"), Kind::Record, &long());
    for line in GOLDEN.lines() {
        let (key, value) = line.split_once(' ').unwrap();
        let key = unhex(key);
        let value = match value.strip_prefix("blake3:") {
            Some(_) => long.iter().find(|l| l.0 == key).unwrap().1.clone(),
            None => unhex(value),
        };
        db.insert(key, value).unwrap();
    }
    drop(db);
    let (live, records, point) = Live::open(dir.path(), 2, 1 << 20, &mut collected).unwrap();
    assert_eq!((records.len(), &records[&b"short"[..]][..]), (3, &b"some bytes"[..]));
    assert_eq!(point, applied());
    assert_eq!(live.history(41, 9, 99).unwrap(), [(41, b"first".to_vec()), (42, b"second".to_vec())]);
}

#[test]
fn a_builder_that_is_not_finished_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = Builder::begin(dir.path(), 1, 1 << 20).unwrap();
    builder.record(b"a", &vec![1; BULK_BATCH_BYTES]).unwrap();
    drop(builder);
    assert!(!folder_of(dir.path(), 1).exists());
    let builder = Builder::begin(dir.path(), 1, 1 << 20).unwrap();
    drop(builder.finish(&applied(), 0).unwrap());
    assert!(folder_of(dir.path(), 1).exists());
}

#[test]
fn a_panic_inside_sled_is_an_error() {
    let result: Result<(), _> = guarded("write", || panic!("index out of {}", "bounds"));
    assert!(result.unwrap_err().to_string().contains("failed to write: index out of bounds"));
}
