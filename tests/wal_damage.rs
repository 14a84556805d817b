//! What the log makes of files that are not as it wrote them: torn, cut short, flipped, mixed up, newer.
#![allow(clippy::unwrap_used)]

#[path = "support/wal_child.rs"]
mod wal_child;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use lastseat::storage::GROUP;
use lastseat::storage::wal::{Done, Wal, WalEntry, WalError, WalGroup, WalOptions};
use wal_child::files::{LogFolder, copy_log, newest_of};
use wal_child::{Rng, entry, options};

/// In memory where there is such a place: the damage is done here, not by the disk.
fn wait(act: impl FnOnce(Done)) {
    let (tell, told) = mpsc::channel();
    act(Box::new(move |result| tell.send(result).unwrap()));
    told.recv().unwrap().unwrap();
}

fn append(log: &WalGroup, from: u64, many: u64) {
    wait(|done| log.append((from..from + many).map(|i| entry(i, 1)).collect(), done));
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    let mut found = all.filter(|p| p.extension().is_some_and(|e| e == "wal")).collect::<Vec<_>>();
    found.sort();
    found
}

/// Opens and reads everything; entries must be the ones written. Returns how many there are.
fn open_and_count(dir: &Path) -> Result<u64, WalError> {
    let wal = Wal::open(dir, options())?;
    let log = wal.group(GROUP);
    let all = log.read(0, u64::MAX, usize::MAX)?;
    for (index, found) in (0..).zip(&all) {
        assert_eq!(*found, entry(index, 1), "served something else than was written");
    }
    // It must be possible to go on, and to come back to that.
    let count = all.len() as u64;
    append(&log, count, 3);
    wal.close()?;
    drop((log, wal));
    let again = Wal::open(dir, options())?;
    assert_eq!(again.group(GROUP).state().last.map(|l| l.index), Some(count + 2));
    Ok(count)
}

fn refusal(dir: &Path) -> String {
    match Wal::open(dir, options()) {
        Err(WalError::Corrupt(why)) => why,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("opened a damaged log"),
    }
}

fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).unwrap();
}

/// First difference of two files, and the end of the last.
fn difference(before: &[u8], after: &[u8]) -> std::ops::Range<usize> {
    let differs = (0..after.len()).filter(|&i| before[i] != after[i]).collect::<Vec<_>>();
    differs[0]..differs[differs.len() - 1] + 1
}

/// A log before and after one more batch of ten entries, both as left by a crash.
fn around_a_batch() -> (LogFolder, LogFolder) {
    let dir = LogFolder::new();
    let wal = Wal::open(dir.path(), options()).unwrap();
    let log = wal.group(GROUP);
    for i in 0..5 {
        append(&log, i * 4, 4);
    }
    std::thread::sleep(Duration::from_millis(30)); // long enough for a mark, which the next batch overwrites
    let before = copy_log(dir.path());
    append(&log, 20, 10);
    (before, copy_log(dir.path()))
}

#[test]
fn a_file_cut_anywhere_in_the_last_batch_opens_with_all_before_it() {
    let (before, after) = around_a_batch();
    let (old, new) = (&segments(before.path())[0], &segments(after.path())[0]);
    let last = difference(&fs::read(old).unwrap(), &fs::read(new).unwrap());
    let whole = fs::read(new).unwrap();
    // The frame's first bytes are those of the mark it overwrote.
    for length in last.start / 8 * 8..last.end {
        let dir = LogFolder::new();
        fs::write(dir.path().join(new.file_name().unwrap()), &whole[..length]).unwrap();
        let count = open_and_count(dir.path()).unwrap();
        assert!(count == 20 || (count == 30 && length > last.end - 8), "{count} entries of a file of {length} bytes");
    }
}

#[test]
fn a_batch_of_which_any_sectors_reached_the_disk_is_dropped_or_kept_whole() {
    let (before, after) = around_a_batch();
    let name = segments(before.path())[0].file_name().unwrap().to_owned();
    let old = fs::read(before.path().join(&name)).unwrap();
    let new = fs::read(after.path().join(&name)).unwrap();
    let last = difference(&old, &new);
    let sectors = (last.start / 512..=last.end / 512).collect::<Vec<_>>();
    assert!(sectors.len() >= 5, "the batch should span a few sectors");
    let mut rng = Rng(7);
    for _ in 0..200 {
        let mut torn = old.clone();
        let chosen = sectors.iter().filter(|_| rng.below(2) == 0).collect::<Vec<_>>();
        for &&sector in &chosen {
            let range = sector * 512..(sector + 1) * 512;
            torn[range.clone()].copy_from_slice(&new[range]);
        }
        let dir = LogFolder::new();
        fs::write(dir.path().join(&name), &torn).unwrap();
        let count = open_and_count(dir.path()).unwrap();
        assert_eq!(count, if chosen.len() == sectors.len() { 30 } else { 20 }, "sectors {chosen:?} of {sectors:?}");
    }
}

#[test]
fn a_flipped_bit_is_refused_or_costs_at_most_the_last_batch_and_is_never_served() {
    let dir = LogFolder::new();
    let wal = Wal::open(dir.path(), options()).unwrap();
    let log = wal.group(GROUP);
    for i in 0..100 {
        append(&log, i * 4, 4);
    }
    let crashed = copy_log(dir.path());
    wal.close().unwrap();
    assert!(segments(dir.path()).len() > 2);
    let mut rng = Rng(3);
    let (mut refused, mut harmless) = (0, 0);
    for round in 0..400 {
        let source = if round % 2 == 0 { crashed.path() } else { dir.path() };
        let copy = copy_log(source);
        let files = segments(copy.path());
        let file = &files[rng.below(files.len() as u64) as usize];
        let at = rng.below(fs::metadata(file).unwrap().len());
        flip(file, at);
        match open_and_count(copy.path()) {
            Ok(400) => harmless += 1,
            Ok(396) if source == crashed.path() => harmless += 1,
            Ok(count) => panic!("{count} entries left after a flip at {at} of {}", file.display()),
            Err(WalError::Corrupt(why)) => {
                refused += 1;
                assert!(why.contains(file.file_name().unwrap().to_str().unwrap()) || files.len() > 1, "{why}");
                assert!(why.contains("at byte") && why.contains("remove it from the cluster"), "{why}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 200 && harmless > 20, "{refused} refused, {harmless} harmless");
}

#[test]
fn after_a_clean_close_even_the_last_batch_may_not_be_damaged() {
    let dir = LogFolder::new();
    let wal = Wal::open(dir.path(), options()).unwrap();
    append(&wal.group(GROUP), 0, 4);
    let before = copy_log(dir.path());
    append(&wal.group(GROUP), 4, 4);
    let after = copy_log(dir.path());
    wal.close().unwrap();
    let name = segments(dir.path())[0].file_name().unwrap().to_owned();
    let read = |dir: &Path| fs::read(dir.join(&name)).unwrap();
    let last = difference(&read(before.path()), &read(after.path()));
    for at in last.step_by(7).take(100) {
        let copy = copy_log(dir.path());
        flip(&copy.path().join(&name), at as u64);
        // Bytes that only pad are not covered.
        if let Ok(count) = open_and_count(copy.path()) {
            assert_eq!(count, 8, "a flip at {at} made the last batch vanish");
        }
    }
}

#[test]
fn an_idle_log_protects_its_last_batch_without_a_clean_close() {
    let dir = LogFolder::new();
    let wal = Wal::open(dir.path(), options()).unwrap();
    append(&wal.group(GROUP), 0, 4);
    std::thread::sleep(Duration::from_millis(100));
    let copy = copy_log(dir.path());
    flip(&segments(copy.path())[0], 4096 + 40 + 1);
    assert!(refusal(copy.path()).contains("at byte 4136"));
}

#[test]
fn a_missing_segment_is_refused() {
    let dir = LogFolder::new();
    let wal = Wal::open(dir.path(), options()).unwrap();
    for i in 0..100 {
        append(&wal.group(GROUP), i * 4, 4);
    }
    wal.close().unwrap();
    let files = segments(dir.path());
    assert!(files.len() >= 3);
    for gone in &files[..files.len() - 1] {
        let copy = copy_log(dir.path());
        fs::remove_file(copy.path().join(gone.file_name().unwrap())).unwrap();
        let why = refusal(copy.path());
        assert!(why.contains("is not there") || why.contains("are in no segment"), "{why}");
    }
    // Swapped files are noticed too.
    let copy = copy_log(dir.path());
    let files = segments(copy.path());
    fs::rename(&files[0], copy.path().join("x")).unwrap();
    fs::rename(&files[1], &files[0]).unwrap();
    fs::rename(copy.path().join("x"), &files[1]).unwrap();
    assert!(refusal(copy.path()).contains("name and its header differ"));
}

#[test]
fn an_older_segment_cut_short_is_refused() {
    let dir = LogFolder::new();
    let wal = Wal::open(dir.path(), options()).unwrap();
    for i in 0..100 {
        append(&wal.group(GROUP), i * 4, 4);
    }
    wal.close().unwrap();
    for length in [0, 50, 100, 4096, 5000, 30_000] {
        let copy = copy_log(dir.path());
        let file = &segments(copy.path())[0];
        OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
        assert!(refusal(copy.path()).contains("0000000000000001.wal"));
    }
}

#[test]
fn what_half_made_files_a_crash_leaves_is_cleared() {
    let dir = LogFolder::new();
    let wal = Wal::open(dir.path(), options()).unwrap();
    append(&wal.group(GROUP), 0, 4);
    wal.close().unwrap();
    drop(wal);
    fs::write(dir.path().join("spare-a0.tmp"), b"half").unwrap();
    fs::write(dir.path().join("spare-a1.free"), b"of another size").unwrap();
    assert_eq!(open_and_count(dir.path()).unwrap(), 4);
    assert!(!dir.path().join("spare-a0.tmp").exists());
    assert!(!dir.path().join("spare-a1.free").exists());
}

#[test]
fn a_recycled_segment_never_brings_old_records_back() {
    let dir = LogFolder::new();
    let wal = Wal::open(dir.path(), options()).unwrap();
    let log = wal.group(GROUP);
    let mut rng = Rng(11);
    // All of one size, so that old batches stand exactly where new ones end.
    let same_size = |index| WalEntry { id: entry(index, 1).id, payload: Bytes::from(vec![index as u8; 1000]) };
    for i in 0..300 {
        wait(|done| log.append((i * 4..i * 4 + 4).map(same_size).collect(), done));
        if i % 20 == 19 {
            wait(|done| log.purge(log.log_id(i * 4 - 20).unwrap(), done));
        }
        if i % 3 == 0 && wal.stats().recycled > 2 {
            // The newest segment holds a live start and an old rest; cut the live part anywhere.
            let copy = copy_log(dir.path());
            let last = Wal::open(copy.path(), options()).unwrap().group(GROUP).state().last;
            assert_eq!(last.unwrap().index, i * 4 + 3, "the old rest was taken for more of the log, or for damage");
            let copy = copy_log(dir.path());
            let newest = segments(copy.path()).pop().unwrap();
            let bytes = fs::read(&newest).unwrap();
            let at = 4096 + rng.below(bytes.len() as u64 - 4096 - 64);
            let file = OpenOptions::new().write(true).open(&newest).unwrap();
            file.write_all_at(&[0; 64], at).unwrap();
            // Refused, or the log up to some point: never an entry that had been purged or was never there.
            if let Ok(wal) = Wal::open(copy.path(), options()) {
                let log = wal.group(GROUP);
                let first = log.state().last_purged.unwrap().index + 1;
                let all = log.read(0, u64::MAX, usize::MAX).unwrap();
                assert!(all.len() as u64 + first >= i * 4, "more than the last batch is gone");
                assert!(all.iter().zip(first..).all(|(found, index)| *found == same_size(index)));
            }
        }
    }
    assert!(wal.stats().recycled > 5, "{:?}", wal.stats());
}

#[test]
fn a_log_written_by_a_newer_version_is_refused_with_advice() {
    let dir = LogFolder::new();
    let wal = Wal::open(dir.path(), options()).unwrap();
    wait(|done| wal.group(GROUP).append(vec![WalEntry { id: entry(0, 1).id, payload: Bytes::new() }], done));
    wal.close().unwrap();
    let path = &segments(dir.path())[0];
    let mut bytes = fs::read(path).unwrap();
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..72]).to_le_bytes();
    bytes[72..76].copy_from_slice(&crc);
    fs::write(path, bytes).unwrap();
    let Err(WalError::NewerFormat(why)) = Wal::open(dir.path(), options()) else { panic!("must be refused") };
    assert!(why.contains("newer version of lastseat") && why.contains("Start this node"), "{why}");
}

/// A log of several segments, some recycled, closed or not.
fn long_log(closed: bool) -> LogFolder {
    let dir = LogFolder::new();
    let wal = Wal::open(dir.path(), options()).unwrap();
    let log = wal.group(GROUP);
    for i in 0..200 {
        append(&log, i * 4, 4);
        if i % 20 == 19 && i < 120 {
            wait(|done| log.purge(log.log_id(i * 4 - 30).unwrap(), done));
        }
    }
    assert!(wal.stats().recycled > 2, "{:?}", wal.stats());
    let crashed = copy_log(dir.path());
    wal.close().unwrap();
    if closed { dir } else { crashed }
}

#[test]
fn a_log_that_lost_its_newest_segments_is_refused_and_never_begun_anew() {
    for closed in [false, true] {
        let whole = long_log(closed);
        let count = segments(whole.path()).len();
        assert!(count > 1);
        for lost in 1..=count {
            let copy = copy_log(whole.path());
            for segment in segments(copy.path()).iter().rev().take(lost) {
                fs::remove_file(segment).unwrap();
            }
            let why = refusal(copy.path());
            assert!(why.contains("is missing") && why.contains("was the newest"), "{why}");
            assert!(why.contains("under a new node id"), "{why}");
            assert_eq!(segments(copy.path()).len(), count - lost, "left alone");
        }
        fs::remove_dir_all(whole.path()).unwrap();
        assert!(refusal(whole.path()).contains("there is no segment"));
    }
}

#[test]
fn a_log_known_to_have_held_something_is_refused_without_the_number_of_its_newest_segment() {
    let kept = || WalOptions { kept: true, ..options() };
    let refused = |dir: &Path| match Wal::open(dir, kept()) {
        Err(WalError::Corrupt(why)) => assert!(why.contains("is missing") && why.contains("new node id"), "{why}"),
        other => panic!("not refused: {:?}", other.map(drop)),
    };
    let dir = long_log(true);
    Wal::open(dir.path(), kept()).unwrap().close().unwrap();
    fs::remove_file(newest_of(dir.path())).unwrap();
    refused(dir.path());
    fs::remove_dir_all(dir.path()).unwrap();
    refused(dir.path());
}

#[test]
fn a_first_start_cut_short_between_any_two_steps_can_be_repeated() {
    // No folder; an empty one; a segment without its number.
    let dir = LogFolder::new();
    fs::remove_dir(dir.path()).unwrap();
    assert_eq!(open_and_count(dir.path()).unwrap(), 0);
    assert_eq!(open_and_count(LogFolder::new().path()).unwrap(), 0);
    let dir = LogFolder::new();
    Wal::open(dir.path(), options()).unwrap();
    fs::remove_file(newest_of(dir.path())).unwrap();
    assert_eq!(open_and_count(dir.path()).unwrap(), 0);
    assert!(newest_of(dir.path()).exists());
    // And a later one, between a new segment and its number.
    let whole = long_log(false);
    let known = fs::read(newest_of(whole.path())).unwrap();
    let before = u32::from_le_bytes(known[12..16].try_into().unwrap()) - 1;
    let mut bytes = known.clone();
    bytes[12..16].copy_from_slice(&before.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..16]).to_le_bytes();
    bytes[16..].copy_from_slice(&crc);
    fs::write(newest_of(whole.path()), bytes).unwrap();
    Wal::open(whole.path(), options()).unwrap();
    assert_eq!(fs::read(newest_of(whole.path())).unwrap(), known);
}

#[test]
fn a_damaged_number_of_the_newest_segment_is_refused() {
    let dir = long_log(true);
    let path = newest_of(dir.path());
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        assert!(refusal(dir.path()).contains("wal.newest"));
        fs::write(&path, &whole[..at]).unwrap();
        assert!(refusal(dir.path()).contains("wal.newest"));
    }
    let mut newer = whole[..16].to_vec();
    newer[8] = 2;
    newer.extend(*b"more");
    newer.extend(crc32c::crc32c(&newer).to_le_bytes());
    fs::write(&path, newer).unwrap();
    assert!(matches!(Wal::open(dir.path(), options()), Err(WalError::NewerFormat(_))));
}
