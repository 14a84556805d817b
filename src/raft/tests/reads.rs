//! Where entries of the log are read: those in memory at once, those on disk never on an async worker.

use std::pin::pin;

use futures_util::{FutureExt, StreamExt};
use openraft::storage::RaftLogReader;
use tokio::sync::oneshot;

use super::*;
use crate::raft::log_store::LogStore;
use crate::storage::wal::WalEntry;

#[test]
fn what_is_only_on_disk_is_read_on_a_thread_for_blocking_work() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (dir, fatal) = (tempfile::tempdir().unwrap(), Fatal::default());
        let wal = open_wal(dir.path(), false, &fatal);
        let group = wal.group(GROUP);
        // More than the cache holds.
        let payload = Bytes::from([&[1, 1][..], &[7; 64 << 10]].concat());
        let entry = |index| WalEntry { id: LogId { term: 1, node_id: 1, index }, payload: payload.clone() };
        let (done, written) = oneshot::channel();
        group.append((1..=40).map(entry).collect(), Box::new(|result| done.send(result).unwrap()));
        written.await.unwrap().unwrap();
        eventually("the cache lets go of the oldest", || !group.find(1, 3, 1 << 20).in_memory()).await;

        let (free, busy) = std::sync::mpsc::channel::<()>();
        let held = tokio::task::spawn_blocking(move || busy.recv());
        let (mut log, mut other) = (LogStore::new(group.clone()), LogStore::new(group));
        let newest = log.limited_get_log_entries(40, 41).now_or_never().expect("in memory: nothing to wait for");
        assert_eq!(newest.unwrap().len(), 1);
        let mut oldest = pin!(log.limited_get_log_entries(1, 3));
        assert!(oldest.as_mut().now_or_never().is_none(), "the disk was read on the worker");
        let mut all = pin!(other.entries_stream(1..41).await);
        assert!(all.next().now_or_never().is_none(), "the disk was read on the worker");
        free.send(()).unwrap();
        held.await.unwrap().unwrap();
        assert_eq!(oldest.await.unwrap().len(), 2);
        assert_eq!(all.map(|entry| entry.unwrap().log_id.index).collect::<Vec<_>>().await, (1..41).collect::<Vec<_>>());
        wal.close().unwrap();
    });
}
