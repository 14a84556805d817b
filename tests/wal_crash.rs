//! The log of a process that is killed at random moments, again and again in the same folder.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/wal_child.rs"]
mod wal_child;

use std::thread::sleep;
use std::time::Duration;

use wal_child::{Expected, Rng, Running};

const KILLS: u64 = 200;

#[test]
fn child() {
    wal_child::play_child();
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let seed = std::env::var("LASTSEAT_TEST_SEED").map_or(1, |s| s.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("wal");
    let mut rng = Rng(seed);
    let mut expected = Expected::default();
    for round in 0..KILLS {
        let running = Running::start("child", &folder, rng.next());
        // Some die while they open the log, most at work.
        if rng.below(5) > 0 {
            let _ = running.opened.recv_timeout(Duration::from_secs(20));
        }
        sleep(Duration::from_micros(rng.below(40_000)));
        expected.hear(&running.kill_alive());
        let before = expected.acknowledged;
        let check = std::panic::AssertUnwindSafe(|| expected.check(&folder));
        if let Err(panic) = std::panic::catch_unwind(check) {
            let kept = dir.keep();
            panic!("round {round}, {before} acknowledged, seed {seed}, folder {}: {panic:?}", kept.display());
        }
    }
    println!("{} entries acknowledged, purged up to {:?}", expected.acknowledged, expected.purged);
    assert!(expected.acknowledged > KILLS, "the children did not get to work");
}
