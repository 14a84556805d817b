//! How many appends a second one caller gets that waits for each. A measurement, not a test:
//! `cargo test --test wal_rate -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lastseat::storage::wal::{Wal, WalEntry, WalOptions};
use lastseat::storage::{GROUP, LogId};

const TIME: Duration = Duration::from_secs(2);

#[test]
#[ignore = "a measurement"]
fn flushes_per_second() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [148, 2308, 36_000] {
        let file = File::create(dir.path().join("floor")).unwrap();
        file.write_all_at(&vec![0; 64 << 20], 0).unwrap();
        file.sync_all().unwrap();
        let block = vec![1; bytes];
        let rate = rate(|i| {
            file.write_all_at(&block, i * bytes as u64 % (60 << 20)).unwrap();
            file.sync_data().unwrap();
        });
        println!("floor: write of {bytes} bytes + fdatasync: {rate:.0}/s");
    }
    for many in [1, 16, 256] {
        let options =
            WalOptions { segment_bytes: 64 << 20, cache_bytes: 16 << 20, on_fatal: Arc::new(|why| panic!("{why}")) };
        let wal = Wal::open(&dir.path().join(format!("wal-{many}")), options).unwrap();
        let log = wal.group(GROUP);
        let payload = Bytes::from(vec![7; 100]);
        let (tell, told) = mpsc::channel();
        let rate = rate(|i| {
            let ids = (i * many..(i + 1) * many).map(|index| LogId { term: 1, node_id: 1, index });
            let entries = ids.map(|id| WalEntry { id, payload: payload.clone() }).collect();
            let tell = tell.clone();
            log.append(entries, Box::new(move |result| tell.send(result).unwrap()));
            told.recv().unwrap().unwrap();
        });
        let stats = wal.stats();
        let micros = stats.fsync_micros / stats.fsyncs;
        println!("log: append of {many} x 100 bytes: {rate:.0}/s, a sync takes {micros} us, {} begun", stats.begun);
    }
}

fn rate(mut act: impl FnMut(u64)) -> f64 {
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < TIME {
        act(count);
        count += 1;
    }
    count as f64 / started.elapsed().as_secs_f64()
}
