//! The hub: fed by apply, subscribed to by the API, driven by its pacer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout_at;

use super::limits::{
    DISTRIBUTE_AT_ONCE, HISTORY_READS_MAX, MARKS_DROPPED_AT_ONCE, RING_CHANGES_MAX, RING_CHANGES_MIN,
    RING_TRIM_AT_ONCE, TIME_EVERY, TOPIC_SEED_CHANGES,
};
use super::marks::Marks;
use super::reader::Joined;
use super::ring::{Recent, Ring};
use super::topic::{Due, Topic};
use super::{History, Point, Retention, StartError, Subject};
use crate::domain::change::ChangeSet;
use crate::domain::id::EventId;
use crate::domain::value::Millis;
use crate::storage::state::StateError;

/// Change sets in one read while history is indexed.
const INDEX_READ_CHANGES: usize = 4_096;

/// See the module.
pub struct Hub {
    pub(super) history: Arc<dyn History>,
    /// Reads of history take turns.
    pub(super) history_reads: Arc<Semaphore>,
    retention: Retention,
    inner: Mutex<Inner>,
    /// There is something to hand out.
    pacer: Notify,
    /// History is indexed: positions can be found.
    ready: watch::Sender<bool>,
}

struct Inner {
    ring: Ring,
    marks: Marks,
    /// Everything up to this revision is in history.
    written: u64,
    /// Everything up to this revision was handed out to topics.
    distributed: u64,
    /// When the state in memory began: marks from before come from history.
    began: u64,
    /// Counts the states that were put in place.
    era: u64,
    clock: Millis,
    tidied: u64,
    topics: Topics,
}

#[derive(Default)]
struct Topics {
    group: Option<Arc<Topic>>,
    events: HashMap<EventId, Arc<Topic>>,
}

impl Topics {
    fn is_empty(&self) -> bool {
        self.group.is_none() && self.events.is_empty()
    }

    fn get(&self, subject: &Subject) -> Option<&Arc<Topic>> {
        match subject {
            Subject::Group => self.group.as_ref(),
            Subject::Event(event) => self.events.get(event),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.group.iter().chain(self.events.values())
    }

    /// Those that this change set is about.
    fn about<'a>(&'a self, set: &'a ChangeSet) -> impl Iterator<Item = &'a Arc<Topic>> {
        let events = if self.events.is_empty() { &[][..] } else { &set.events[..] };
        self.group.iter().chain(events.iter().filter_map(|change| self.events.get(&change.event)))
    }
}

/// Numbers for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubGauges {
    pub recent_changes: usize,
    pub recent_bytes: usize,
    pub topics: usize,
    pub marks: usize,
}

impl Hub {
    /// `revision`: of the state that apply goes on from. Until [`Hub::index`] is done no stream begins.
    pub fn new(history: Arc<dyn History>, revision: u64, retention: Retention) -> Arc<Self> {
        let changes_max = usize::try_from(retention.changes).unwrap_or(usize::MAX);
        let inner = Inner {
            ring: Ring::new(revision, changes_max.clamp(RING_CHANGES_MIN, RING_CHANGES_MAX)),
            marks: Marks::default(),
            written: revision,
            distributed: revision,
            began: revision,
            era: 0,
            clock: Millis(0),
            tidied: revision,
            topics: Topics::default(),
        };
        Arc::new(Self {
            history,
            history_reads: Arc::new(Semaphore::new(HISTORY_READS_MAX)),
            retention,
            inner: Mutex::new(inner),
            pacer: Notify::new(),
            ready: watch::Sender::new(false),
        })
    }

    // --- fed by the state machine -----------------------------------------------------------------------------------

    /// Takes a change set. Called inside the lock of the state machine: once for each, in order.
    pub fn append(&self, set: &Arc<ChangeSet>, applied: Instant) {
        let mut inner = self.inner.lock();
        inner.marks.note(set);
        inner.ring.push(Recent { set: Arc::clone(set), applied });
        let upto = inner.written.min(inner.distributed);
        inner.ring.trim(upto, RING_TRIM_AT_ONCE);
    }

    /// Everything up to this revision is in history.
    pub fn written(&self, revision: u64) {
        let mut inner = self.inner.lock();
        inner.written = inner.written.max(revision);
    }

    /// A run of entries was applied, and it is `clock`: hand out what came since the last call.
    pub fn publish(&self, clock: Millis) {
        let mut inner = self.inner.lock();
        inner.clock = clock;
        let newest = inner.ring.newest();
        if inner.topics.is_empty() {
            inner.distributed = newest;
            if newest < inner.tidied + TIME_EVERY {
                return;
            }
        }
        drop(inner);
        self.pacer.notify_one();
    }

    /// Another state is in place, with a history of its own that ends with `revision`. [`Hub::index`] has to follow.
    pub fn reset(&self, revision: u64) {
        let mut inner = self.inner.lock();
        inner.era += 1;
        inner.ring.clear(revision);
        inner.marks = Marks::default();
        (inner.written, inner.distributed, inner.began, inner.tidied) = (revision, revision, revision, revision);
        self.ready.send_replace(false);
        let era = inner.era;
        inner.topics.all().for_each(|topic| topic.reset(revision, era));
    }

    /// Reads all of history once, so that positions can be found in it. Blocking, long.
    pub fn index(&self) -> Result<(), StateError> {
        let (era, began) = {
            let inner = self.inner.lock();
            (inner.era, inner.began)
        };
        let mut older = Marks::default();
        let mut next = self.history.oldest();
        while next <= began {
            let sets = self.history.read(next, INDEX_READ_CHANGES)?;
            sets.iter().filter(|set| set.revision.0 <= began).for_each(|set| older.note(set));
            // Pruned meanwhile, or nothing was ever there.
            let after = sets.last().map_or_else(|| self.history.oldest(), |set| set.revision.0 + 1);
            if after <= next {
                break;
            }
            next = after;
        }
        let mut inner = self.inner.lock();
        if inner.era == era && !*self.ready.borrow() {
            inner.marks.prepend(older);
            self.ready.send_replace(true);
        }
        Ok(())
    }

    // --- the pacer --------------------------------------------------------------------------------------------------

    /// Hands out changes and wakes readers. Never ends by itself.
    pub async fn run(self: Arc<Self>) {
        // Topics with messages that are not in a block yet; and rounds of wakes, each with the next group to wake.
        let mut listed: Vec<Arc<Topic>> = Vec::new();
        let mut rounds: VecDeque<(Arc<Topic>, usize)> = VecDeque::new();
        loop {
            self.distribute(&mut listed);
            self.tidy();
            let due = self.begin_rounds(&mut listed, &mut rounds);
            match (rounds.pop_front(), due) {
                (Some((topic, group)), _) => {
                    if topic.wake(group) {
                        rounds.push_back((topic, group + 1));
                        // Whatever else waits for a thread comes before the next group.
                        tokio::task::yield_now().await;
                    }
                }
                (None, None) => self.pacer.notified().await,
                (None, Some(due)) => {
                    // Either way there is something to do.
                    let _ = timeout_at(due.into(), self.pacer.notified()).await;
                }
            }
        }
    }

    fn distribute(&self, listed: &mut Vec<Arc<Topic>>) {
        loop {
            let mut inner = self.inner.lock();
            let from = inner.distributed + 1;
            if from > inner.ring.newest() {
                return;
            }
            for recent in inner.ring.from(from, DISTRIBUTE_AT_ONCE) {
                listed.extend(inner.topics.about(&recent.set).filter(|topic| topic.push(recent)).cloned());
            }
            inner.distributed = inner.ring.newest().min(inner.distributed + DISTRIBUTE_AT_ONCE as u64);
        }
    }

    /// Begins a round for each topic that is due. Gives the time when the next one is.
    fn begin_rounds(
        &self,
        listed: &mut Vec<Arc<Topic>>,
        rounds: &mut VecDeque<(Arc<Topic>, usize)>,
    ) -> Option<Instant> {
        if listed.is_empty() {
            return None;
        }
        let first = self.inner.lock().ring.first();
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        listed.retain(|topic| {
            topic.trim(first);
            match topic.seal_if_due(now) {
                Due::Now => {
                    rounds.push_back((Arc::clone(topic), 0));
                    return false;
                }
                Due::At(due) => next = Some(next.map_or(due, |next| next.min(due))),
                // Looked at again when that round is over: until then this loop does not rest.
                Due::After => {}
            }
            true
        });
        next
    }

    /// Once in many revisions: forgets what is too old, in history, marks and topics.
    fn tidy(&self) {
        let mut inner = self.inner.lock();
        let newest = inner.ring.newest();
        if newest < inner.tidied + TIME_EVERY {
            return;
        }
        inner.tidied = newest;
        let cutoff = Millis(inner.clock.0.saturating_sub(self.retention.age_ms));
        let forget = inner.marks.older_than(cutoff);
        let (upto, first) = (inner.written.min(inner.distributed), inner.ring.first());
        inner.ring.trim(upto, DISTRIBUTE_AT_ONCE);
        let topics: Vec<_> = inner.topics.all().cloned().collect();
        drop(inner);
        topics.iter().for_each(|topic| topic.trim(first));
        if let Some(revision) = forget {
            self.history.may_forget_before(revision);
        }
        let floor = self.floor();
        while !self.inner.lock().marks.prune(floor, MARKS_DROPPED_AT_ONCE) {}
    }

    // --- for readers ------------------------------------------------------------------------------------------------

    /// Waits until streams can begin. False: not before the deadline.
    pub async fn ready(&self, deadline: Instant) -> bool {
        let mut ready = self.ready.subscribe();
        let is_ready = ready.wait_for(|ready| *ready);
        matches!(timeout_at(deadline.into(), is_ready).await, Ok(Ok(_)))
    }

    pub(super) fn when_ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Joins a topic: from now on nothing about the subject is missed. Look at the state afterwards, and then
    /// [`Joined::start`].
    pub fn join(self: &Arc<Self>, subject: Subject) -> Joined {
        let mut inner = self.inner.lock();
        let topic = match inner.topics.get(&subject) {
            Some(topic) => Arc::clone(topic),
            None => inner.new_topic(subject),
        };
        let wake = topic.join();
        drop(inner);
        Joined::new(Arc::clone(self), topic, wake)
    }

    pub(super) fn leave(&self, topic: &Arc<Topic>) {
        let mut inner = self.inner.lock();
        if topic.leave() > 0 {
            return;
        }
        match &topic.subject {
            Subject::Group => inner.topics.group = None,
            Subject::Event(event) => {
                inner.topics.events.remove(event);
            }
        }
    }

    /// Lowest revision that can still be read.
    pub(super) fn floor(&self) -> u64 {
        let first = self.inner.lock().ring.first();
        // The ring first: what leaves it is in history before it does.
        self.history.oldest().min(first)
    }

    /// The revision after which to read on from a position. `now`: where the subject stands.
    pub(super) fn locate(&self, subject: &Subject, after: u64, now: Point) -> Result<u64, StartError> {
        if after > now.position {
            return Err(StartError::Future { newest: now.position });
        }
        if after == now.position {
            return Ok(now.revision);
        }
        let floor = self.floor();
        match subject {
            Subject::Group if after + 1 < floor => Err(StartError::Compacted { oldest: floor - 1 }),
            Subject::Group => Ok(after),
            Subject::Event(event) => {
                let inner = self.inner.lock();
                let oldest = inner.marks.first_version(event, floor).map_or(now.position, |version| version - 1);
                let compacted = StartError::Compacted { oldest: oldest.min(now.position) };
                let from = inner.marks.revision_at_or_before(event, after + 1, floor).ok_or(compacted)?;
                Ok(from - 1)
            }
        }
    }

    /// The next revisions to read for changes of the subject after `scanned`, up to `upto`. `None`: there are none.
    pub(super) fn window(&self, subject: &Subject, scanned: u64, upto: u64) -> Option<(u64, u64)> {
        let from = scanned + 1;
        let (start, end) = match subject {
            Subject::Group => (from, upto),
            Subject::Event(event) => self.inner.lock().marks.window(event, from)?,
        };
        (start <= upto).then_some((start, end.min(upto)))
    }

    /// Recent change sets from a revision on; empty when it is no longer among them.
    pub(super) fn recent(&self, from: u64, max: usize) -> Vec<Arc<ChangeSet>> {
        self.inner.lock().ring.from(from, max).map(|recent| Arc::clone(&recent.set)).collect()
    }

    pub fn gauges(&self) -> HubGauges {
        let inner = self.inner.lock();
        HubGauges {
            recent_changes: inner.ring.len(),
            recent_bytes: inner.ring.bytes(),
            topics: inner.topics.all().count(),
            marks: inner.marks.len(),
        }
    }
}

impl Inner {
    /// A topic that begins with the most recent changes.
    fn new_topic(&mut self, subject: Subject) -> Arc<Topic> {
        let from = self.ring.first().max((self.distributed + 1).saturating_sub(TOPIC_SEED_CHANGES as u64));
        let topic = Topic::new(subject.clone(), from - 1, self.era);
        let upto = self.distributed;
        topic.seed(self.ring.from(from, TOPIC_SEED_CHANGES).take_while(|recent| recent.set.revision.0 <= upto));
        match subject {
            Subject::Group => self.topics.group = Some(Arc::clone(&topic)),
            Subject::Event(event) => {
                self.topics.events.insert(event, Arc::clone(&topic));
            }
        }
        topic
    }
}
