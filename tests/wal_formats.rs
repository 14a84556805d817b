//! Files written by released versions must open for ever.
//!
//! `tests/golden/wal-v1` was written once, by `LASTSEAT_BLESS=1 cargo test --test wal_formats`, which must not be run again
//! for a version that was released: a new format gets a folder of its own.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use lastseat::storage::wal::{Done, Wal, WalEntry, WalOptions, WalState};
use lastseat::storage::{GroupId, LogId};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wal-v1")
}

fn open(dir: &Path) -> Wal {
    let on_fatal = Arc::new(|why| panic!("{why}"));
    Wal::open(&dir.join("wal"), WalOptions { segment_bytes: 16 << 10, cache_bytes: 0, kept: false, on_fatal }).unwrap()
}

fn wait(act: impl FnOnce(Done)) {
    let (tell, told) = mpsc::channel();
    act(Box::new(move |result| tell.send(result).unwrap()));
    told.recv().unwrap().unwrap();
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term, node_id: 3, index }
}

fn entry(term: u64, index: u64) -> WalEntry {
    WalEntry { id: id(term, index), payload: Bytes::from(vec![(term * 16 + index) as u8; 100 + index as usize]) }
}

#[test]
fn a_log_of_version_1_opens() {
    if std::env::var_os("LASTSEAT_BLESS").is_some() {
        write_golden();
    }
    let dir = tempfile::tempdir().unwrap();
    let log_dir = dir.path().join("wal");
    fs::create_dir(&log_dir).unwrap();
    for item in fs::read_dir(golden()).unwrap() {
        let path = item.unwrap().path();
        fs::copy(&path, log_dir.join(path.file_name().unwrap())).unwrap();
    }
    let wal = open(dir.path());
    let log = wal.group(GroupId(0));
    assert_eq!(
        log.state(),
        WalState {
            last_purged: Some(id(1, 9)),
            last: Some(id(2, 139)),
            vote: Some(Bytes::from_static(b"vote of two")),
            committed: Some(id(2, 120)),
        }
    );
    let expected = (10..20).map(|i| entry(1, i)).chain((20..140).map(|i| entry(2, i))).collect::<Vec<_>>();
    assert_eq!(log.read(0, u64::MAX, usize::MAX).unwrap(), expected);
    let other = wal.group(GroupId(5));
    assert_eq!(other.state(), WalState { last: Some(id(4, 1)), ..WalState::default() });
    assert_eq!(other.read(0, 10, 0).unwrap(), [entry(4, 1)]);
}

fn write_golden() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let (log, other) = (wal.group(GroupId(0)), wal.group(GroupId(5)));
    wait(|done| log.save_vote(Bytes::from_static(b"vote of one"), done));
    wait(|done| log.append((0..30).map(|i| entry(1, i)).collect(), done));
    wait(|done| other.append(vec![entry(4, 1)], done));
    log.save_committed(Some(id(1, 12)));
    wait(|done| log.truncate_after(Some(id(1, 19)), done));
    wait(|done| log.save_vote(Bytes::from_static(b"vote of two"), done));
    wait(|done| log.purge(id(1, 9), done));
    wait(|done| log.append((20..140).map(|i| entry(2, i)).collect(), done));
    log.save_committed(Some(id(2, 120)));
    wal.close().unwrap();
    fs::create_dir_all(golden()).unwrap();
    for item in fs::read_dir(dir.path().join("wal")).unwrap() {
        let path = item.unwrap().path();
        if path.extension().is_some_and(|e| e == "wal") {
            // What follows is zeros; a file that ends early reads the same.
            let bytes = fs::read(&path).unwrap();
            let used = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
            fs::write(golden().join(path.file_name().unwrap()), &bytes[..used.next_multiple_of(64)]).unwrap();
        }
    }
}
