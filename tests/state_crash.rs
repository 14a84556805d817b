//! The state store under kill -9.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/state_child.rs"]
mod child;
#[path = "support/state_model.rs"]
mod model;

use std::thread::sleep;
use std::time::Duration;

use child::{Heard, Rng, Running};
use lastseat::storage::state::Source;

const KILLS: u64 = 100;

#[test]
fn child() {
    child::play_child();
}

#[test]
fn a_killed_process_finds_the_last_batch_it_wrote() {
    let seed = std::env::var("LASTSEAT_TEST_SEED").map_or(1, |s| s.parse().unwrap());
    let mut rng = Rng(seed);
    let home = tempfile::tempdir().unwrap();
    let (mut heard, mut sources, mut batches) = (Heard::default(), [0; 3], 0);
    let mut folder = home.path().join("state-0");
    for round in 0..KILLS {
        if round % 5 == 0 {
            // The first start can be killed as well.
            folder = home.path().join(format!("state-{round}"));
            batches += heard.wrote;
            heard = Heard::default();
        }
        let running = Running::start(&folder, heard.snapshot, rng.next());
        // Some die while they start, the others at work.
        let at_work = rng.below(3) > 0;
        if at_work {
            let _ = running.opened.recv_timeout(Duration::from_secs(20));
        }
        sleep(Duration::from_micros(rng.below(if at_work { 120_000 } else { 15_000 })));
        running.kill(&mut heard);
        // `open` itself compares everything with what it should be.
        let (store, n, source) = model::open(&folder, heard.snapshot, model::BOOT).unwrap();
        sources[source as usize] += 1;
        assert!(n >= heard.wrote, "round {round}, seed {seed}: at batch {n} from {source:?}, but {heard:?}");
        if source == Source::Empty {
            assert_eq!(heard.wrote, 0);
        }
        if rng.below(3) == 0 {
            store.close().unwrap();
        }
    }
    batches += heard.wrote;
    println!("{batches} batches; opened empty, from sled, from a snapshot: {sources:?}");
    assert!(batches > 3 * KILLS, "the children did not get to work");
}
