#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;

use super::record::{BATCH_HEADER_BYTES, Bad, BatchHeader, BatchKind};
use super::*;
use crate::storage::GROUP;

fn options() -> WalOptions {
    let on_fatal = Arc::new(|why| panic!("{why}"));
    WalOptions { segment_bytes: 32 << 10, cache_bytes: 4 << 10, kept: false, on_fatal }
}

fn entry(index: u64, bytes: usize) -> WalEntry {
    let id = LogId { term: 1, node_id: 7, index };
    WalEntry { id, payload: Bytes::from(vec![index as u8; bytes]) }
}

/// Runs `act` with a callback, and waits for it.
fn wait(act: impl FnOnce(Done)) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    act(Box::new(move |result| tell.send(result).unwrap()));
    told.recv_timeout(Duration::from_secs(20)).unwrap()
}

fn log_id() -> impl Strategy<Value = LogId> {
    any::<(u64, u64, u64)>().prop_map(|(term, node_id, index)| LogId { term, node_id, index })
}

fn body() -> impl Strategy<Value = Body> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let id = || prop::option::of(log_id());
    prop_oneof![
        (log_id(), bytes()).prop_map(|(id, payload)| Body::Entry(WalEntry { id, payload })),
        bytes().prop_map(Body::Vote),
        id().prop_map(Body::Committed),
        id().prop_map(Body::Truncate),
        log_id().prop_map(Body::Purge),
        id().prop_map(Body::Extent),
    ]
}

proptest! {
    #[test]
    fn the_number_of_the_newest_segment_reads_as_it_was_written(sequence: u32) {
        let bytes = newest::encode(sequence);
        prop_assert_eq!(newest::decode(&bytes, Path::new("x")).unwrap(), sequence);
        for length in 0..bytes.len() {
            prop_assert!(matches!(newest::decode(&bytes[..length], Path::new("x")), Err(WalError::Corrupt(_))));
        }
    }

    #[test]
    fn a_record_reads_as_it_was_written(group: u32, body in body(), generation: u64, position: u32) {
        let (record, position) = (Record { group: GroupId(group), body }, u64::from(position));
        let mut bytes = Vec::new();
        record.encode(generation, position, &mut bytes);
        prop_assert_eq!(bytes.len(), record.encoded_bytes());
        prop_assert_eq!(Record::decode(generation, position, &bytes).unwrap(), (record, bytes.len()));
        prop_assert!(Record::decode(generation ^ 1, position, &bytes).is_err(), "of an earlier use of the file");
        prop_assert!(Record::decode(generation, position + 8, &bytes).is_err(), "in another place");
        for length in 0..bytes.len() {
            prop_assert!(Record::decode(generation, position, &bytes[..length]).is_err(), "cut short");
        }
    }

    #[test]
    fn a_flipped_bit_never_decodes_to_another_record(body in body(), at: prop::sample::Index, bit in 0..8u8) {
        let record = Record { group: GROUP, body };
        let mut bytes = Vec::new();
        record.encode(5, 8, &mut bytes);
        bytes[at.index(record.encoded_bytes())] ^= 1 << bit;
        if let Ok((decoded, _)) = Record::decode(5, 8, &bytes) {
            prop_assert_eq!(decoded, record, "only padding may change");
        }
    }

    #[test]
    fn any_bytes_decode_or_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(1, 1, &bytes);
        let _ = BatchHeader::decode(1, 1, &bytes);
        let _ = segment::SegmentHeader::decode(&bytes, Path::new("x"));
    }

    #[test]
    fn a_batch_header_reads_as_it_was_written(kind in 0..3usize, body_bytes: u32, number: u64, records: u32) {
        let kind = [BatchKind::Data, BatchKind::Mark, BatchKind::Closed][kind];
        let header = BatchHeader { kind, body_bytes, number, records };
        let bytes = header.encode(9, 4096);
        prop_assert_eq!(BatchHeader::decode(9, 4096, &bytes).unwrap(), header);
        prop_assert!(BatchHeader::decode(9, 4104, &bytes).is_err());
        prop_assert!(BatchHeader::decode(8, 4096, &bytes).is_err());
        for bit in 0..BATCH_HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(BatchHeader::decode(9, 4096, &flipped).is_err());
        }
    }
}

#[test]
fn the_first_format_of_the_newest_segments_number_still_reads() {
    let golden = include_bytes!("../../../tests/golden/wal-newest-1");
    assert_eq!(newest::decode(golden, Path::new("x")).unwrap(), 0x0102_0304);
    assert_eq!(newest::encode(0x0102_0304), *golden);
}

#[test]
fn a_record_of_an_unknown_kind_is_newer_not_damaged() {
    let mut bytes = Vec::new();
    Record { group: GROUP, body: Body::Vote(Bytes::new()) }.encode(1, 0, &mut bytes);
    for (at, value) in [(4, 99), (5, 2)] {
        let mut newer = bytes.clone();
        newer[at] = value;
        let crc = record::checksum(1, 0, &newer);
        newer[12..16].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(Record::decode(1, 0, &newer), Err(Bad::Newer(_))));
    }
}

#[test]
fn callbacks_run_in_order_and_after_one_sync_for_many() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(&dir.path().join("wal"), options()).unwrap();
    let log = wal.group(GROUP);
    let (tell, told) = mpsc::channel();
    for i in 0..2000u64 {
        let tell = tell.clone();
        log.append(vec![entry(i, 20)], Box::new(move |result| tell.send((i, result.is_ok())).unwrap()));
    }
    assert!(told.iter().take(2000).eq((0..2000).map(|i| (i, true))));
    let stats = wal.stats();
    assert!(stats.batches < 1000, "{stats:?}");
    assert_eq!(stats.batches, stats.batch_sizes.iter().sum::<u64>());
    assert_eq!((stats.queued_records, stats.queued_bytes), (0, 0));
}

#[test]
fn a_failing_sync_is_fatal_once_and_nothing_is_acknowledged_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let fatal = Arc::new(AtomicUsize::new(0));
    let counter = fatal.clone();
    let on_fatal = Arc::new(move |why: String| {
        assert!(why.contains("injected"), "{why}");
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let wal = Wal::open(&dir.path().join("wal"), WalOptions { on_fatal, ..options() }).unwrap();
    let log = wal.group(GROUP);
    wait(|done| log.append(vec![entry(0, 10)], done)).unwrap();
    let newest = wal.core.shared.state.lock().segments.last_key_value().unwrap().1.clone();
    newest.broken.store(true, Ordering::SeqCst);
    assert!(wait(|done| log.append(vec![entry(1, 10)], done)).is_err());
    // The disk works again, but what it lost meanwhile is not known.
    newest.broken.store(false, Ordering::SeqCst);
    assert!(wait(|done| log.append(vec![entry(2, 10)], done)).is_err());
    assert!(wait(|done| log.save_vote(Bytes::new(), done)).is_err());
    assert!(wal.close().is_err());
    assert_eq!(fatal.load(Ordering::SeqCst), 1);
}

#[test]
fn a_panic_on_the_writer_thread_is_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let (tell, told) = mpsc::channel();
    let on_fatal = Arc::new(move |why| tell.send(why).unwrap());
    let wal = Wal::open(&dir.path().join("wal"), WalOptions { on_fatal, ..options() }).unwrap();
    let log = wal.group(GROUP);
    log.append(vec![entry(0, 10)], Box::new(|_| panic!("planted")));
    assert!(told.recv_timeout(Duration::from_secs(20)).unwrap().contains("planted"));
    assert!(wait(|done| log.append(vec![entry(1, 10)], done)).is_err());
    assert!(wal.close().unwrap_err().to_string().contains("planted"));
}

#[test]
fn dropping_the_last_handle_writes_what_is_queued() {
    let dir = tempfile::tempdir().unwrap();
    let (tell, told) = mpsc::channel();
    {
        let log = Wal::open(&dir.path().join("wal"), options()).unwrap().group(GROUP);
        for i in 0..500 {
            let tell = tell.clone();
            log.append(vec![entry(i, 100)], Box::new(move |result| tell.send(result.is_ok()).unwrap()));
        }
    }
    assert_eq!(told.try_iter().filter(|ok| *ok).count(), 500, "dropping waits");
    let wal = Wal::open(&dir.path().join("wal"), options()).unwrap();
    assert_eq!(wal.group(GROUP).state().last.unwrap().index, 499);
}

#[test]
fn the_log_says_up_to_where_it_must_go_to_fit() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(&dir.path().join("wal"), options()).unwrap();
    let log = wal.group(GROUP);
    wait(|done| log.append((1..=20).map(|i| entry(i, 100)).collect(), done)).unwrap();
    let one = log.bytes_after(19);
    for purged in [0, 3] {
        assert_eq!(log.last_beyond(15, (15 - purged) * one), None, "all of it fits");
        assert_eq!(log.last_beyond(15, (15 - purged) * one - 1), Some(purged + 1));
        assert_eq!(log.last_beyond(15, 5 * one), Some(10));
        assert_eq!(log.last_beyond(15, 5 * one - 1), Some(11));
        assert_eq!(log.last_beyond(15, 0), Some(15));
        assert_eq!(log.last_beyond(21, 0), None, "not there");
        wait(|done| log.purge(entry(3, 0).id, done)).unwrap();
    }
}

#[test]
fn a_closed_log_can_be_read_and_says_that_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(&dir.path().join("wal"), options()).unwrap();
    let log = wal.group(GROUP);
    wait(|done| log.append((0..200).map(|i| entry(i, 100)).collect(), done)).unwrap();
    wal.close().unwrap();
    wal.close().unwrap();
    assert_eq!(log.read(0, 200, usize::MAX).unwrap().len(), 200);
    let refused = wait(|done| log.append(vec![entry(200, 1)], done)).unwrap_err();
    assert!(refused.to_string().contains("closed"));
    assert_eq!(log.state().last.unwrap().index, 199, "what was refused is not there to read");
}

#[test]
fn an_entry_over_the_limit_is_refused_and_the_largest_fits() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(&dir.path().join("wal"), options()).unwrap();
    let log = wal.group(GROUP);
    let max = (28 << 10) / 4;
    for i in 0..20 {
        wait(|done| log.append(vec![entry(i, max)], done)).unwrap();
        let refused = wait(|done| log.append(vec![entry(i + 1, max + 1)], done)).unwrap_err();
        assert!(refused.to_string().contains("at most"));
    }
    assert!(wait(|done| log.save_vote(Bytes::from(vec![0; VOTE_BYTES_MAX + 1]), done)).is_err());
    assert_eq!(log.read(0, 20, usize::MAX).unwrap(), (0..20).map(|i| entry(i, max)).collect::<Vec<_>>());
}

#[test]
fn a_full_queue_holds_appenders_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(&dir.path().join("wal"), WalOptions { segment_bytes: 8 << 20, ..options() }).unwrap();
    let log = wal.group(GROUP);
    let (hold, held) = mpsc::channel::<()>();
    // The writer is kept in this callback.
    log.append(vec![entry(0, 1)], Box::new(move |_| held.recv().unwrap()));
    let filler = log.clone();
    let thread = thread::spawn(move || {
        for i in 0..2 * shared::QUEUE_RECORDS_MAX as u64 {
            filler.append(vec![entry(1 + i, 1)], Box::new(|_| ()));
        }
    });
    let full = || wal.stats().queued_records >= shared::QUEUE_RECORDS_MAX as u64;
    while !full() {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(20));
    assert_eq!(wal.stats().queued_records, shared::QUEUE_RECORDS_MAX as u64);
    hold.send(()).unwrap();
    thread.join().unwrap();
    wal.close().unwrap();
    assert_eq!(log.state().last.unwrap().index, 2 * shared::QUEUE_RECORDS_MAX as u64);
}

#[test]
fn readers_and_purges_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(&dir.path().join("wal"), WalOptions { cache_bytes: 0, ..options() }).unwrap();
    let log = wal.group(GROUP);
    let reader = log.clone();
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let mut read = 0;
        while stopped.try_recv().is_err() {
            for found in reader.read(0, u64::MAX, 20_000).unwrap() {
                assert_eq!(found, entry(found.id.index, 500));
                read += 1;
            }
        }
        read
    });
    for i in 0..400u64 {
        wait(|done| log.append((i * 5..i * 5 + 5).map(|i| entry(i, 500)).collect(), done)).unwrap();
        if i % 10 == 9 {
            wait(|done| log.purge(entry(i * 5 - 20, 0).id, done)).unwrap();
        }
    }
    stop.send(()).unwrap();
    assert!(thread.join().unwrap() > 100);
    assert!(wal.stats().begun > 20, "{:?}", wal.stats());
}
