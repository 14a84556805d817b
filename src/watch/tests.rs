//! Readers over a history in memory.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::limits::{RING_CHANGES_MIN, TOPIC_SEED_CHANGES, WAKE_WITHIN};
use super::topic::pace;
use super::*;
use crate::domain::change::{Cause, EventChanges};
use crate::domain::value::{Millis, PoolCounts, Revision, Version};

#[derive(Default)]
struct Kept {
    oldest: u64,
    sets: Vec<ChangeSet>,
    forget: u64,
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Kept>>);

impl Memory {
    /// Keeps nothing below this revision.
    fn prune(&self, oldest: u64) {
        self.0.lock().oldest = oldest;
    }
}

impl History for Memory {
    fn oldest(&self) -> u64 {
        let kept = self.0.lock();
        kept.oldest.max(1)
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<ChangeSet>, StateError> {
        let kept = self.0.lock();
        if from < kept.oldest {
            return Ok(Vec::new());
        }
        Ok(kept.sets.iter().filter(|set| set.revision.0 >= from).take(max).cloned().collect())
    }

    fn may_forget_before(&self, revision: u64) {
        self.0.lock().forget = revision;
    }
}

/// A hub with its pacer, and what apply would do.
struct World {
    hub: Arc<Hub>,
    history: Memory,
    revision: u64,
    versions: std::collections::BTreeMap<&'static str, u64>,
    pacer: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.pacer.abort();
    }
}

const EVENTS: [&str; 3] = ["often", "now and then", "never"];

impl World {
    fn new() -> Self {
        let history = Memory::default();
        let retention = Retention { changes: 1, age_ms: 10_000 };
        let hub = Hub::new(Arc::new(history.clone()), 0, retention);
        hub.index().unwrap();
        let pacer = tokio::spawn(Arc::clone(&hub).run());
        Self { hub, history, revision: 0, versions: Default::default(), pacer }
    }

    fn next(&mut self, event: &'static str, cause: Cause) -> Arc<ChangeSet> {
        self.revision += 1;
        let version = self.versions.entry(event).or_default();
        *version += 1;
        let touched = EventChanges {
            event: EventId::parse(event).unwrap(),
            version: Version(*version),
            changes: Vec::new(),
            totals: PoolCounts::default(),
        };
        let (revision, at) = (Revision(self.revision), Millis(self.revision * 10));
        Arc::new(ChangeSet { revision, at, cause, events: vec![touched] })
    }

    fn change(&mut self, event: &'static str, cause: Cause) {
        let set = self.next(event, cause);
        self.history.0.lock().sets.push(ChangeSet::clone(&set));
        self.hub.append(&set, Instant::now());
        self.hub.written(self.revision);
        self.hub.publish(set.at);
    }

    /// Every 200th change is of the event that changes now and then.
    fn changes(&mut self, count: u64) {
        for _ in 0..count {
            let event = if self.revision % 200 == 199 { EVENTS[1] } else { EVENTS[0] };
            self.change(event, Cause::Book);
        }
    }

    fn now(&self, event: &str) -> Point {
        Point { position: self.versions.get(event).copied().unwrap_or(0), revision: self.revision }
    }

    fn reader(&self, event: &str, after: u64) -> Result<Reader, StartError> {
        self.hub.join(Subject::Event(EventId::parse(event).unwrap())).start(after, self.now(event))
    }
}

/// Reads on up to a position, and insists on every one between.
async fn read_to(reader: &mut Reader, upto: u64) {
    let mut expected = reader.position() + 1;
    while reader.position() < upto {
        let next = tokio::time::timeout(Duration::from_secs(5), reader.next()).await.expect("it goes on");
        let Next::Messages { block, from, .. } = next else { panic!("lagged at {expected}") };
        for message in &block.messages()[from..] {
            assert_eq!(message.position(), expected);
            expected += 1;
        }
    }
    assert_eq!(expected, upto + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gets_every_version_from_history_ring_and_topic() {
    let mut world = World::new();
    let begun = 5 * RING_CHANGES_MIN as u64;
    world.changes(begun);
    assert!(world.hub.gauges().recent_changes < 2 * RING_CHANGES_MIN, "the ring is bounded");
    for event in [EVENTS[0], EVENTS[1]] {
        let upto = world.versions[event];
        for after in [0, 1, upto / 2, upto - 1, upto] {
            let mut reader = world.reader(event, after).unwrap();
            read_to(&mut reader, upto).await;
            assert!(reader.is_current());
        }
    }
    let mut group = world.hub.join(Subject::Group).start(0, Point { position: begun, revision: begun }).unwrap();
    let (mut often, mut rare) = (world.reader(EVENTS[0], 7).unwrap(), world.reader(EVENTS[1], 3).unwrap());
    for _ in 0..20 {
        world.changes(100);
        read_to(&mut group, world.revision).await;
        read_to(&mut often, world.versions[EVENTS[0]]).await;
        read_to(&mut rare, world.versions[EVENTS[1]]).await;
    }
    assert_eq!(world.hub.gauges().topics, 3);
    drop((group, often, rare));
    assert_eq!(world.hub.gauges().topics, 0, "a topic goes with its last reader");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_is_told_where_it_was() {
    let mut world = World::new();
    world.changes(10);
    let mut slow = world.reader(EVENTS[0], 0).unwrap();
    let mut patient = world.reader(EVENTS[0], 0).unwrap();
    patient.set_patient();
    read_to(&mut slow, 10).await;
    read_to(&mut patient, 10).await;
    // The pacer trims topics when it hands out changes; it has to have seen that the ring went on.
    while slow.can_go_on() {
        world.changes(500);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(matches!(slow.next().await, Next::Lagged));
    assert_eq!(slow.position(), 10);
    read_to(&mut patient, world.versions[EVENTS[0]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_out_of_reach_are_refused() {
    let mut world = World::new();
    let seeded = TOPIC_SEED_CHANGES as u64;
    world.changes(10 * seeded);
    let now = world.now(EVENTS[0]).position;
    assert!(matches!(world.reader(EVENTS[0], now + 1), Err(StartError::Future { newest }) if newest == now));
    let floor = 4 * seeded;
    world.history.prune(floor);
    let Err(StartError::Compacted { oldest }) = world.reader(EVENTS[0], 5) else { panic!("5 is gone") };
    assert!(oldest >= floor - floor / 200 - 1 && oldest < floor + 64, "{oldest}");
    assert!(matches!(world.reader(EVENTS[0], oldest - 1), Err(StartError::Compacted { .. })));
    read_to(&mut world.reader(EVENTS[0], oldest).unwrap(), now).await;
    let here = Point { position: world.revision, revision: world.revision };
    let group = |after| world.hub.join(Subject::Group).start(after, here);
    assert!(matches!(group(floor - 2), Err(StartError::Compacted { oldest }) if oldest == floor - 1));
    read_to(&mut group(floor - 1).unwrap(), world.revision).await;
    // Nothing of this event is kept: only its newest position is left.
    world.versions.insert("never", 9);
    assert!(matches!(world.reader("never", 8), Err(StartError::Compacted { oldest: 9 })));
    assert!(world.reader("never", 9).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_state_in_place_costs_a_reader_nothing() {
    let mut world = World::new();
    world.changes(300);
    let (mut reader, mut unread) = (world.reader(EVENTS[0], 0).unwrap(), world.reader(EVENTS[0], 0).unwrap());
    read_to(&mut reader, world.versions[EVENTS[0]]).await;
    // What was decided meanwhile comes with the snapshot, not through apply.
    for _ in 0..3_000 {
        let set = world.next(EVENTS[0], Cause::Book);
        world.history.0.lock().sets.push(ChangeSet::clone(&set));
    }
    world.hub.reset(world.revision);
    world.hub.index().unwrap();
    read_to(&mut reader, world.versions[EVENTS[0]]).await;
    world.changes(50);
    read_to(&mut reader, world.versions[EVENTS[0]]).await;
    read_to(&mut unread, world.versions[EVENTS[0]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_of_an_event_ends_with_its_block() {
    let mut world = World::new();
    world.changes(5);
    let mut live = world.reader(EVENTS[0], 5).unwrap();
    world.change(EVENTS[0], Cause::Delete);
    world.change(EVENTS[0], Cause::Define);
    let ends = async |reader: &mut Reader, upto: u64| loop {
        let Next::Messages { block, .. } = reader.next().await else { panic!("lagged") };
        if block.ends() {
            assert_eq!(reader.position(), upto);
            return;
        }
    };
    ends(&mut live, 6).await;
    ends(&mut world.reader(EVENTS[0], 0).unwrap(), 6).await;
    read_to(&mut world.reader(EVENTS[0], 6).unwrap(), 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_share_one_encoding() {
    let mut world = World::new();
    world.changes(3);
    let (mut one, mut two) = (world.reader(EVENTS[0], 0).unwrap(), world.reader(EVENTS[0], 1).unwrap());
    let encode = |messages: &[Message]| {
        let starts = (0..messages.len() as u32).collect();
        Encoded { bytes: messages.iter().map(|message| message.position() as u8).collect::<Vec<u8>>().into(), starts }
    };
    let mut seen = Vec::new();
    for reader in [&mut one, &mut two] {
        let Next::Messages { block, from, .. } = reader.next().await else { panic!("lagged") };
        seen.push((block.encoded(0, encode).await, from));
    }
    assert_eq!(seen[0].0.bytes.as_ptr(), seen[1].0.bytes.as_ptr());
    assert_eq!((&seen[0].0.from(seen[0].1)[..], &seen[1].0.from(seen[1].1)[..]), (&[1, 2, 3][..], &[2, 3][..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_may_be_forgotten() {
    let mut world = World::new();
    world.changes(4_096);
    // 10 ms of clock a change, and 10 s are kept: the newest 1,000, give or take the coarse index.
    let start = Instant::now();
    while world.history.0.lock().forget < 2_000 {
        assert!(start.elapsed() < Duration::from_secs(5), "{}", world.history.0.lock().forget);
        tokio::time::sleep(Duration::from_millis(1)).await;
        world.changes(10);
    }
    assert!(world.history.0.lock().forget <= world.revision - 1_000);
}

#[test]
fn many_readers_are_woken_less_often() {
    assert_eq!(pace(200), Duration::ZERO);
    assert_eq!(pace(2_000), Duration::from_millis(10));
    assert_eq!(pace(1_000_000), WAKE_WITHIN);
}
