//! The log on a disk that loses power.
#![allow(clippy::unwrap_used)]

#[path = "support/powercut.rs"]
mod powercut;

use std::fs;
use std::io::Write;

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
