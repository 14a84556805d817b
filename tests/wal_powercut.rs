//! The log on a disk that loses power.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/powercut.rs"]
mod powercut;
#[path = "support/wal_child.rs"]
mod wal_child;

use std::fs;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use wal_child::{Expected, Rng, Running};

const CUTS: u64 = 30;

#[test]
fn a_cut_loses_exactly_what_was_not_synced() {
    let Some(mut disk) = powercut::LoopDisk::new(256) else { return };
    let synced = disk.path().join("synced");
    let mut file = fs::File::create(&synced).unwrap();
    file.write_all(b"kept").unwrap();
    file.sync_all().unwrap();
    fs::File::open(disk.path()).unwrap().sync_all().unwrap();
    fs::write(disk.path().join("unsynced"), b"lost").unwrap();
    disk.cut_power();
    assert!(file.sync_all().is_err(), "nothing can be acknowledged after the cut");
    drop(file);
    disk.restore_power();
    assert_eq!(fs::read(&synced).unwrap(), b"kept");
    assert!(fs::read(disk.path().join("unsynced")).unwrap_or_default().is_empty());
}

#[test]
fn child() {
    wal_child::play_child();
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    let Some(mut disk) = powercut::LoopDisk::new(256) else { return };
    let seed = std::env::var("LASTSEAT_TEST_SEED").map_or(1, |s| s.parse().unwrap());
    let mut rng = Rng(seed);
    let mut folder = disk.path().join("wal-0");
    let mut expected = Expected::default();
    let mut acknowledged = 0;
    for round in 0..CUTS {
        // Now and then a new folder: the cut may come while the first segment is made.
        if round % 5 == 0 {
            acknowledged += expected.acknowledged;
            expected = Expected::default();
            folder = disk.path().join(format!("wal-{round}"));
        }
        let running = Running::start("child", &folder, rng.next());
        if rng.below(4) > 0 {
            let _ = running.opened.recv_timeout(Duration::from_secs(20));
        }
        sleep(Duration::from_micros(rng.below(60_000)));
        disk.cut_power();
        let mut said = running.kill();
        // That writes fail after the cut is what the child should notice.
        said.retain(|line| !line.starts_with('#') && !line.starts_with('!'));
        disk.restore_power();
        expected.hear(&said);
        expected.check(&folder);
    }
    acknowledged += expected.acknowledged;
    println!("{acknowledged} entries acknowledged");
    assert!(acknowledged > CUTS, "the children did not get to work");
}
