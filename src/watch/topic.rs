//! A topic: the messages of one event, or of the group, for all its readers. There while it has readers.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};

use super::Subject;
use super::limits::{
    BLOCK_BYTES_MAX, BLOCK_MESSAGES_MAX, ENCODE_ASIDE_BYTES, WAKE_AT_ONCE_READERS, WAKE_PER_READER, WAKE_TOGETHER,
    WAKE_WITHIN,
};
use super::ring::{Recent, weight, weight_of_event};
use crate::domain::change::{Cause, ChangeSet, EventChanges};

/// One message: a change set, or the part of it that touches one event.
#[derive(Debug, Clone)]
pub struct Message {
    set: Arc<ChangeSet>,
    /// Index of the event; `None`: all of it.
    event: Option<u32>,
}

impl Message {
    /// The message of this change set to readers of `subject`, if it touches that.
    pub fn about(subject: &Subject, set: &Arc<ChangeSet>) -> Option<Self> {
        let event = match subject {
            Subject::Group => None,
            Subject::Event(id) => {
                let at = set.events.iter().position(|change| change.event == *id)?;
                Some(u32::try_from(at).expect("a command touches fewer events than that"))
            }
        };
        Some(Self { set: Arc::clone(set), event })
    }

    pub fn set(&self) -> &ChangeSet {
        &self.set
    }

    /// What it touches: one event on an event's stream, all of them on the group's.
    pub fn events(&self) -> &[EventChanges] {
        match self.event {
            Some(at) => std::slice::from_ref(&self.set.events[at as usize]),
            None => &self.set.events,
        }
    }

    /// The event, on an event's stream.
    pub fn event(&self) -> Option<&EventChanges> {
        self.event.map(|at| &self.set.events[at as usize])
    }

    pub fn position(&self) -> u64 {
        self.event().map_or(self.set.revision.0, |change| change.version.0)
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.event().map_or_else(|| weight(&self.set), weight_of_event)
    }

    /// Nothing of the event comes after it, until it is defined again.
    pub(super) fn is_last(&self) -> bool {
        self.event.is_some() && self.set.cause == Cause::Delete
    }
}

/// The messages of a block as bytes of one format.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub bytes: Bytes,
    /// Where each message begins.
    pub starts: Arc<[u32]>,
}

impl Encoded {
    /// From this message to the end.
    pub fn from(&self, message: usize) -> Bytes {
        self.starts.get(message).map_or_else(Bytes::new, |start| self.bytes.slice(*start as usize..))
    }
}

/// Messages in order, encoded at most once in each of two formats.
#[derive(Debug)]
pub struct Block {
    messages: Vec<Message>,
    weight: usize,
    /// When the first of it was applied.
    applied: Instant,
    encoded: [OnceCell<Encoded>; 2],
}

impl Block {
    /// `messages`: at least one.
    pub(super) fn new(messages: Vec<Message>, applied: Instant) -> Arc<Self> {
        let weight = messages.iter().map(Message::weight).sum();
        Arc::new(Self { messages, weight, applied, encoded: Default::default() })
    }

    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub fn applied(&self) -> Instant {
        self.applied
    }

    /// The event is deleted with the last message.
    pub fn ends(&self) -> bool {
        self.last().is_last()
    }

    fn last(&self) -> &Message {
        self.messages.last().expect("a block has a message")
    }

    pub(super) fn last_position(&self) -> u64 {
        self.last().position()
    }

    pub(super) fn last_revision(&self) -> u64 {
        self.last().set.revision.0
    }

    /// Index of the first message after this position.
    pub(super) fn after(&self, position: u64) -> usize {
        self.messages.partition_point(|message| message.position() <= position)
    }

    /// The messages in format 0 or 1. Whoever comes first encodes, the others wait and share.
    pub async fn encoded(self: &Arc<Self>, format: usize, encode: fn(&[Message]) -> Encoded) -> Encoded {
        let made = self.encoded[format].get_or_init(|| async {
            if self.weight <= ENCODE_ASIDE_BYTES {
                return encode(&self.messages);
            }
            let block = Arc::clone(self);
            let aside = tokio::task::spawn_blocking(move || encode(&block.messages));
            aside.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        });
        made.await.clone()
    }
}

pub(super) struct Topic {
    pub(super) subject: Subject,
    state: Mutex<TopicState>,
}

struct TopicState {
    readers: usize,
    /// Readers in groups that are woken one after the other. Each counts its wakes.
    groups: Vec<watch::Sender<u64>>,
    /// A round of wakes is under way.
    waking: bool,
    blocks: VecDeque<Arc<Block>>,
    /// Messages that are not in a block yet, what they weigh, and when the first of them was applied.
    open: Vec<Message>,
    open_weight: usize,
    open_since: Instant,
    /// Every message after this revision is here, or is still to come.
    complete_after: u64,
    /// Counts how often all was thrown away because another state was put in place.
    era: u64,
    woken: Instant,
    /// The pacer has it on its list.
    listed: bool,
}

/// When the readers of a topic may be woken.
pub(super) enum Due {
    Now,
    At(Instant),
    /// When the round that is under way is over.
    After,
}

/// What a reader finds in its topic.
pub(super) enum Found {
    Block(Arc<Block>),
    /// It has everything that was handed out so far.
    Nothing,
    /// What it wants is not here: history has to be read up to this revision.
    Behind {
        upto: u64,
        era: u64,
    },
}

impl Topic {
    pub(super) fn new(subject: Subject, complete_after: u64, era: u64) -> Arc<Self> {
        let now = Instant::now();
        let state = TopicState {
            readers: 0,
            groups: Vec::new(),
            waking: false,
            blocks: VecDeque::new(),
            open: Vec::new(),
            open_weight: 0,
            open_since: now,
            complete_after,
            era,
            woken: now.checked_sub(WAKE_WITHIN).unwrap_or(now),
            listed: false,
        };
        Arc::new(Self { subject, state: Mutex::new(state) })
    }

    /// One reader more; gives what it is woken by.
    pub(super) fn join(&self) -> watch::Receiver<u64> {
        let mut state = self.state.lock();
        state.readers += 1;
        let room = state.groups.iter().rev().find(|group| group.receiver_count() < WAKE_TOGETHER);
        match room.map(watch::Sender::subscribe) {
            Some(wake) => wake,
            None => {
                let (group, wake) = watch::channel(0);
                state.groups.push(group);
                wake
            }
        }
    }

    /// How many readers are left.
    pub(super) fn leave(&self) -> usize {
        let mut state = self.state.lock();
        state.readers -= 1;
        state.readers
    }

    pub(super) fn era(&self) -> u64 {
        self.state.lock().era
    }

    /// Takes a change set if it is about this topic. True: put me on your list, and wake me when I am due.
    pub(super) fn push(&self, recent: &Recent) -> bool {
        let Some(message) = Message::about(&self.subject, &recent.set) else { return false };
        let mut state = self.state.lock();
        if state.open.is_empty() {
            state.open_since = recent.applied;
        }
        let ends = message.is_last();
        let message_weight = message.weight();
        if state.open_weight + message_weight > BLOCK_BYTES_MAX {
            state.seal();
        }
        state.open_weight += message_weight;
        state.open.push(message);
        if ends || state.open.len() >= BLOCK_MESSAGES_MAX {
            state.seal();
        }
        !std::mem::replace(&mut state.listed, true)
    }

    /// Takes recent change sets before anybody reads.
    pub(super) fn seed<'a>(&self, recent: impl Iterator<Item = &'a Recent>) {
        recent.for_each(|recent| {
            self.push(recent);
        });
        let mut state = self.state.lock();
        state.seal();
        state.listed = false;
    }

    /// Makes a block of what is open if it is time for another round of wakes, which has to follow.
    pub(super) fn seal_if_due(&self, now: Instant) -> Due {
        let mut state = self.state.lock();
        if state.waking {
            return Due::After;
        }
        let due = state.woken + pace(state.readers);
        if now < due {
            return Due::At(due);
        }
        state.seal();
        state.woken = now;
        state.waking = true;
        state.listed = false;
        Due::Now
    }

    /// Wakes one group of readers. False: there are no more, and the round is over.
    pub(super) fn wake(&self, group: usize) -> bool {
        let mut state = self.state.lock();
        let Some(group) = state.groups.get(group) else {
            state.waking = false;
            return false;
        };
        group.send_modify(|count| *count += 1);
        true
    }

    /// Forgets the blocks that end before the ring begins.
    pub(super) fn trim(&self, ring_first: u64) {
        let mut gone = Vec::new();
        let mut state = self.state.lock();
        while state.blocks.front().is_some_and(|block| block.last_revision() < ring_first) {
            let block = state.blocks.pop_front().expect("there is a first");
            state.complete_after = block.last_revision();
            gone.push(block);
        }
        drop(state);
    }

    /// Another state is in place: nothing up to `revision` comes this way.
    pub(super) fn reset(&self, revision: u64, era: u64) {
        let mut state = self.state.lock();
        state.blocks.clear();
        state.open.clear();
        state.open_weight = 0;
        state.complete_after = revision;
        state.era = era;
        state.groups.iter().for_each(|group| group.send_modify(|count| *count += 1));
    }

    /// What comes after `revision`.
    pub(super) fn find(&self, revision: u64) -> Found {
        let state = self.state.lock();
        if revision < state.complete_after {
            return Found::Behind { upto: state.complete_after, era: state.era };
        }
        let at = state.blocks.partition_point(|block| block.last_revision() <= revision);
        state.blocks.get(at).map_or(Found::Nothing, |block| Found::Block(Arc::clone(block)))
    }
}

impl TopicState {
    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.open_weight = 0;
            let messages = std::mem::take(&mut self.open);
            self.blocks.push_back(Block::new(messages, self.open_since));
        }
    }
}

/// How long to wait between two wakes of so many readers.
pub(super) fn pace(readers: usize) -> Duration {
    if readers <= WAKE_AT_ONCE_READERS {
        return Duration::ZERO;
    }
    (WAKE_PER_READER * u32::try_from(readers).unwrap_or(u32::MAX)).min(WAKE_WITHIN)
}
