#![allow(clippy::unwrap_used)]

use std::sync::mpsc;

use super::*;
use crate::storage::GROUP;

pub(super) fn options(segment_bytes: u64) -> WalOptions {
    WalOptions { segment_bytes, cache_bytes: 4 << 10, on_fatal: Arc::new(|why| panic!("{why}")) }
}

pub(super) fn entry(index: u64, bytes: usize) -> WalEntry {
    let id = LogId { term: 1 + index / 100, node_id: 7, index };
    WalEntry { id, payload: Bytes::from(vec![index as u8; bytes]) }
}

/// Runs `act` with a callback, and waits for it.
pub(super) fn wait(act: impl FnOnce(Done)) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    act(Box::new(move |result| tell.send(result).unwrap()));
    told.recv().unwrap()
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5u64 {
        let wal = Wal::open(dir.path(), options(32 << 10)).unwrap();
        let log = wal.group(GROUP);
        let all = log.read(0, u64::MAX, usize::MAX).unwrap();
        assert_eq!(all, (0..round * 100).map(|i| entry(i, 100)).collect::<Vec<_>>());
        for i in 0..10 {
            let from = round * 100 + i * 10;
            wait(|done| log.append((from..from + 10).map(|i| entry(i, 100)).collect(), done)).unwrap();
        }
        wait(|done| log.save_vote(Bytes::from(vec![round as u8]), done)).unwrap();
        log.save_committed(log.state().last);
        let state = log.state();
        wal.close().unwrap();
        let again = Wal::open(dir.path(), options(32 << 10)).unwrap();
        assert_eq!(again.group(GROUP).state(), state);
    }
}
