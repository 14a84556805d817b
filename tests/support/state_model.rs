//! A made-up inventory whose every state follows from the number of its last batch, so that whatever a store opens with
//! can be compared with what it should be.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lastseat::domain::change::{Cause, Change, ChangeSet, EventChanges};
use lastseat::domain::id::{EventId, SeatId};
use lastseat::domain::value::{Millis, Revision, SeatStatus, Totals, Version};
use lastseat::storage::LogId;
use lastseat::storage::state::{AppliedPoint, SnapshotFile, Source, StateError, StateOptions, StateStore};

pub type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// The kernel's boot id that a run pretends.
pub const BOOT: &str = "boot-1";

pub fn options() -> StateOptions {
    StateOptions { sled_cache_bytes: 16 << 20, history_max: 400, on_fatal: Arc::new(|why| panic!("fatal: {why}")) }
}

/// The entry that batch `n` brings the state to.
pub fn applied(n: u64) -> AppliedPoint {
    let membership = Bytes::from(format!("membership {}", n / 10));
    AppliedPoint { last_applied: (n > 0).then_some(LogId { term: 1 + n / 100, node_id: 1, index: n }), membership }
}

/// Revision after batch `n`: batches bring 0 to 3 change sets.
pub fn revision(n: u64) -> u64 {
    n / 4 * 6 + [0, 1, 3, 6][(n % 4) as usize]
}

pub fn change_set(revision: u64) -> ChangeSet {
    let changes = if revision.is_multiple_of(151) { 12_000 } else { 1 + revision % 3 };
    let seat = |i| Change::Seat { seat: SeatId::parse(&format!("A-{i}")).unwrap(), status: SeatStatus::Booked };
    let events = vec![EventChanges {
        event: EventId::parse("opera").unwrap(),
        version: Version(revision),
        changes: (0..changes).map(seat).collect(),
        totals: Totals { capacity: 100, held: 0, booked: revision, blocked: 0 },
    }];
    ChangeSet { revision: Revision(revision), at: Millis(1_000 + revision), cause: Cause::Reserve, events }
}

/// What batch `n` does to the records. Sizes go from nothing to several parts; a key shrinks, grows and vanishes.
pub fn changes(n: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut out = vec![(b"clock".to_vec(), Some(n.to_be_bytes().to_vec()))];
    for i in 0..4 {
        let which = (n * 7 + i * 13) % 61;
        let size = match (n + i) % 9 {
            0 => 0,
            1 => 70_000 + (n * 31 % 9_000) as usize,
            2 => 24 << 10,
            k => 50 * k as usize,
        };
        let body = ((n + i) % 11 != 3).then(|| vec![(n % 251) as u8; size]);
        out.push((format!("block {which}").into_bytes(), body));
    }
    out
}

/// All records after batch `n`.
pub fn expected(n: u64) -> Records {
    let mut all = Records::new();
    (1..=n).for_each(|n| apply(&mut all, n));
    all
}

pub fn apply(all: &mut Records, n: u64) {
    for (key, body) in changes(n) {
        match body {
            Some(body) => all.insert(key, body),
            None => all.remove(&key),
        };
    }
}

pub fn write(store: &StateStore, n: u64) -> Result<(), StateError> {
    let history: Vec<_> = (revision(n - 1) + 1..=revision(n)).map(|r| Arc::new(change_set(r))).collect();
    store.write_raw(&applied(n), changes(n), &history)
}

pub fn snapshot(store: &StateStore, n: u64) -> Result<SnapshotFile, StateError> {
    store.write_snapshot_raw(&mut expected(n).into_iter(), revision(n), &applied(n))
}

/// Writes the snapshot of batch `n` with all the history since 1, as another node would send it.
pub fn foreign_snapshot(folder: &Path, n: u64) -> SnapshotFile {
    let (store, ..) = open(folder, 0, BOOT).unwrap();
    // One batch is enough: the state is the same however it came to be.
    let history: Vec<_> = (1..=revision(n)).map(|r| Arc::new(change_set(r))).collect();
    let records = expected(n).into_iter().map(|(key, body)| (key, Some(body))).collect();
    store.write_raw(&applied(n), records, &history).unwrap();
    snapshot(&store, n).unwrap()
}

pub fn install(store: &StateStore, from: &Path) -> Result<u64, StateError> {
    let (mut file, path) = store.incoming_snapshot()?;
    std::io::copy(&mut std::fs::File::open(from)?, &mut file)?;
    let (records, point) = store.install_snapshot_raw(&path, &mut |records| Ok(records.collect::<Records>()))?;
    let n = point.last_applied.map_or(0, |id| id.index);
    assert_eq!(records, expected(n), "what an install gives is the state of its batch");
    Ok(n)
}

/// Opens a store and checks that it stands exactly at the end of a batch. Returns which, and where it came from.
pub fn open(folder: &Path, first_log_index: u64, boot: &str) -> Result<(StateStore, u64, Source), StateError> {
    let mut load = |records: &mut dyn Iterator<Item = _>| Ok(records.collect::<Records>());
    let opened = StateStore::open_raw(folder, first_log_index, options(), Some(boot.into()), &mut load)?;
    let (store, records, point, source) = opened;
    let n = point.last_applied.map_or(0, |id| id.index);
    check(&store, &records, &point, n);
    Ok((store, n, source))
}

fn check(store: &StateStore, records: &Records, point: &AppliedPoint, n: u64) {
    if n > 0 {
        assert_eq!(point, &applied(n));
    }
    let expected = expected(n);
    let differs = expected.iter().find(|(key, body)| records.get(*key) != Some(*body));
    assert!(
        differs.is_none(),
        "after batch {n}: {:?} differs",
        differs.map(|d| String::from_utf8_lossy(d.0).into_owned())
    );
    assert_eq!(records.len(), expected.len(), "after batch {n}");
    check_history(store, n);
}

/// The history is without a gap and ends with the state.
pub fn check_history(store: &StateStore, n: u64) {
    let mut next = store.history_oldest();
    while next <= revision(n) {
        let sets = store.history(next, 100).unwrap();
        assert!(!sets.is_empty() && sets.len() <= 100, "revision {next} of {} is missing", revision(n));
        for set in sets {
            assert_eq!(set, change_set(next));
            next += 1;
        }
    }
    assert_eq!(next, (revision(n) + 1).max(1), "the history ends with the state");
    assert!(store.history(next, 10).unwrap().is_empty());
}
