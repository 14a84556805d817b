//! The state store on a disk that loses power.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "support/state_child.rs"]
mod child;
#[path = "support/files.rs"]
mod files;
#[path = "support/state_model.rs"]
mod model;
#[path = "support/state_machine.rs"]
mod node;
#[path = "support/powercut.rs"]
mod powercut;
#[path = "support/sales.rs"]
mod sales;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use child::{Heard, Rng, Running};

const CUTS: u64 = 36;

#[test]
fn child() {
    child::play_child(child::write_model);
}

#[test]
fn child_with_an_inventory() {
    child::play_child(node::run_node);
}

#[test]
fn a_power_cut_never_leaves_a_state_that_cannot_be_opened() {
    let Some(mut disk) = powercut::LoopDisk::new(1024) else { return };
    let seed = std::env::var("LASTSEAT_TEST_SEED").map_or(1, |s| s.parse().unwrap());
    let mut rng = Rng(seed);
    let mut folder = disk.path().join("state-0");
    let (mut heard, mut lines, mut sources, mut gullible) = (Heard::default(), 0, [0; 3], [0; 3]);
    for round in 0..CUTS {
        if round % 3 == 0 {
            let _ = fs::remove_dir_all(&folder);
            folder = disk.path().join(format!("state-{round}"));
            lines += heard.lines;
            heard = Heard::default();
        }
        // The log was purged up to the last snapshot that was acknowledged.
        let first_log_index = if heard.snapshot == 0 { 0 } else { heard.snapshot + 1 };
        let running = Running::start("child", &folder, first_log_index, rng.next());
        // Some die while they start, the others at work.
        let at_work = rng.below(3) > 0;
        if at_work {
            let _ = running.opened.recv_timeout(Duration::from_secs(20));
        }
        sleep(Duration::from_micros(rng.below(if at_work { 300_000 } else { 15_000 })));
        disk.cut_power();
        running.kill(&mut heard);
        disk.restore_power();
        let first_log_index = if heard.snapshot == 0 { 0 } else { heard.snapshot + 1 };
        if !folder.exists() {
            continue;
        }
        // Harder than life: even a node that trusted sled after the cut is never given something wrong.
        let copy = tempfile::tempdir().unwrap();
        files::copy_folder(&folder, &copy.path().join("state"));
        let (_, _, source) = model::open(&copy.path().join("state"), first_log_index, model::BOOT).unwrap();
        gullible[source as usize] += 1;
        let (store, n, source) = model::open(&folder, first_log_index, &format!("reboot {round}")).unwrap();
        sources[source as usize] += 1;
        assert!(n >= heard.snapshot, "round {round}, seed {seed}: at batch {n} from {source:?}, but {heard:?}");
        store.close().unwrap();
        // The rebuilt state is older than what the log would bring; go on from what is there.
        heard.wrote = n;
        heard.snapshot = heard.snapshot.min(n);
    }
    lines += heard.lines;
    println!(
        "{lines} steps; opened empty, from sled, from a snapshot: {sources:?}; had sled been trusted: {gullible:?}"
    );
    assert!(lines > 3 * CUTS, "the children did not get to work");
}

#[test]
fn an_inventory_is_sound_after_a_power_cut() {
    let Some(mut disk) = powercut::LoopDisk::new(512) else { return };
    let seed = std::env::var("LASTSEAT_TEST_SEED").map_or(1, |s| s.parse().unwrap());
    let mut rng = Rng(seed);
    let folder = disk.path().join("state");
    let (mut heard, mut sources) = (Heard::default(), [0; 3]);
    let purged_up_to = |heard: &Heard| if heard.snapshot == 0 { 0 } else { heard.snapshot + 1 };
    for round in 0..10 {
        let running = Running::start("child_with_an_inventory", &folder, purged_up_to(&heard), rng.next());
        let _ = running.opened.recv_timeout(Duration::from_secs(20));
        sleep(Duration::from_micros(rng.below(400_000)));
        disk.cut_power();
        running.kill(&mut heard);
        disk.restore_power();
        let opened = node::try_open(&folder, purged_up_to(&heard), &format!("reboot {round}")).unwrap();
        let n = node::check(&opened);
        sources[opened.source as usize] += 1;
        assert!(
            n >= heard.snapshot,
            "round {round}, seed {seed}: at entry {n} from {:?}, but {heard:?}",
            opened.source
        );
        opened.store.close().unwrap();
    }
    println!("opened empty, from sled, from a snapshot: {sources:?}");
    assert!(heard.lines > 30, "the child did not get to work");
}
