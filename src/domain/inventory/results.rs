//! Remembered results, so that a repeated request gets the answer it got before.
//!
//! Three rings, oldest first out: results under keys of clients, rejections, results under keys made by a node. One
//! compact index finds a key in any of them. A slice of an independent batch is one record; its commands without a key
//! of their own are found as `{batch key}:{index}`.

use serde::{Deserialize, Serialize};

use super::ResultsRoom;
use super::chunk::ChunkLog;
use super::hash::{NameIndex, name_hash};
use crate::domain::codec;
use crate::domain::command::{Fingerprint, KeyMaker, Settings};
use crate::domain::id::{CustomerId, EventId, Key, OrderId};
use crate::domain::outcome::{Answer, Outcome, SliceAnswer, Verdict};
use crate::domain::record::ResultClass;
use crate::domain::value::{Item, Millis, OrderView, Revision, Version};

/// Bits of an index entry that number a record within its ring; two bits say which ring.
const SEQ_BITS: u32 = 30;
const SEQ_MASK: u64 = (1 << SEQ_BITS) - 1;

/// How a record begins: all that is needed to find and to evict it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) decided_at: Millis,
    pub(super) key: Key,
    /// `None`: the key was voided, whatever it is used for.
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) slice: Option<SliceHead>,
}

/// Which part of an independent batch a record holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SliceHead {
    pub(super) start: u32,
    pub(super) total: u32,
    pub(super) len: u32,
    /// Indexes in the batch of the commands that have a key of their own.
    pub(super) own: Vec<u32>,
}

/// How a record ends. The commonest answer of all is packed without what the head has already.
#[derive(Debug, Serialize, Deserialize)]
struct Tail {
    revision: Revision,
    version: Option<Version>,
    verdict: Packed,
}

#[derive(Debug, Serialize, Deserialize)]
enum Packed {
    /// An order booked at the moment of the decision.
    Booked {
        order: OrderId,
        event: EventId,
        items: Vec<Item>,
        customer: Option<CustomerId>,
    },
    Other(Verdict),
}

impl Packed {
    fn pack(verdict: Verdict, decided_at: Millis) -> Self {
        match verdict {
            Verdict::Applied(Outcome::Booked(view)) if view.booked_at == decided_at => {
                Packed::Booked { order: view.order, event: view.event, items: view.items, customer: view.customer }
            }
            other => Packed::Other(other),
        }
    }

    fn unpack(self, decided_at: Millis) -> Verdict {
        match self {
            Packed::Booked { order, event, items, customer } => {
                Verdict::Applied(Outcome::Booked(OrderView { order, event, items, customer, booked_at: decided_at }))
            }
            Packed::Other(verdict) => verdict,
        }
    }
}

/// Where a record is.
pub(super) type Place = (ResultClass, u64);

/// What is filed under a key.
#[derive(Debug, Default)]
pub(super) struct Hits {
    /// A single command, or the mark of a void.
    pub(super) single: Option<(Head, Place)>,
    /// Slices of an independent batch, in the order of the batch.
    pub(super) slices: Vec<(Head, SliceHead, Place)>,
}

#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) rings: [ChunkLog; 3],
    index: NameIndex,
    /// When the oldest result of each ring was decided. Derived, so that nothing is decoded to see that all may stay.
    oldest: [Option<Millis>; 3],
}

fn entry(class: ResultClass, seq: u64) -> u32 {
    u32::try_from(((class as u64) << SEQ_BITS) | (seq & SEQ_MASK)).expect("two bits and thirty")
}

fn head_of(bytes: &[u8]) -> (Head, &[u8]) {
    let (head, used) = codec::decode_prefix(bytes).expect("rings hold what was packed; records are checked at load");
    (head, &bytes[used..])
}

fn decided_at(bytes: &[u8]) -> Millis {
    codec::decode_prefix(bytes).expect("every record begins with the time of its decision").0
}

impl Results {
    /// The results of these rings. Every one is decoded, so that a broken one is found here, with the chunk it is in, and
    /// not when a client asks for it.
    pub(super) fn new(rings: [ChunkLog; 3]) -> Result<Self, (Place, String)> {
        let mut index = NameIndex::default();
        for (class, ring) in ResultClass::ALL.into_iter().zip(&rings) {
            for (seq, bytes) in ring.iter() {
                let broken = |e: codec::CodecError| ((class, ring.first_of(seq)), e.to_string());
                let (head, used): (Head, usize) = codec::decode_prefix(bytes).map_err(broken)?;
                codec::decode::<Tail>(&bytes[used..]).map_err(broken)?;
                index.insert(name_hash(head.key.as_str()), entry(class, seq));
            }
        }
        let mut results = Self { rings, index, oldest: [None; 3] };
        ResultClass::ALL.into_iter().for_each(|class| results.look_at_oldest(class));
        Ok(results)
    }

    pub(super) fn ring(&self, class: ResultClass) -> &ChunkLog {
        &self.rings[class as usize]
    }

    pub(super) fn len(&self) -> u64 {
        self.rings.iter().map(ChunkLog::len).sum()
    }

    /// The ring a result belongs to. A void is kept as firmly as an applied result: it is a promise too.
    pub(super) fn class_of(maker: KeyMaker, answer: &Answer) -> ResultClass {
        match (maker, &answer.verdict) {
            (KeyMaker::Node, _) => ResultClass::NodeMade,
            (KeyMaker::Client, Verdict::Applied(_)) => ResultClass::Applied,
            (KeyMaker::Client, Verdict::Rejected(_)) => ResultClass::Rejected,
        }
    }

    /// Records an answer. Returns the chunk it is in.
    pub(super) fn record(
        &mut self,
        class: ResultClass,
        key: Key,
        fingerprint: Option<Fingerprint>,
        slice: Option<SliceHead>,
        answer: Answer,
    ) -> u64 {
        let hash = name_hash(key.as_str());
        let head = Head { decided_at: answer.decided_at, key, fingerprint, slice };
        let verdict = Packed::pack(answer.verdict, answer.decided_at);
        let mut bytes = Vec::with_capacity(128);
        codec::encode_into(&head, &mut bytes);
        codec::encode_into(&Tail { revision: answer.revision, version: answer.version, verdict }, &mut bytes);
        let ring = &mut self.rings[class as usize];
        self.index.insert(hash, entry(class, ring.next()));
        self.oldest[class as usize].get_or_insert(answer.decided_at);
        ring.push(&bytes)
    }

    fn look_at_oldest(&mut self, class: ResultClass) {
        let ring = self.ring(class);
        self.oldest[class as usize] = ring.get(ring.front()).map(decided_at);
    }

    /// The full number of the record that an index entry means.
    fn place(&self, entry: u32) -> Option<Place> {
        let class = *ResultClass::ALL.get((entry >> SEQ_BITS) as usize)?;
        let front = self.ring(class).front();
        let seq = front + (u64::from(entry).wrapping_sub(front) & SEQ_MASK);
        Some((class, seq))
    }

    /// Everything that was recorded under this key itself.
    pub(super) fn find(&self, key: &str) -> Hits {
        let mut hits = Hits::default();
        for place in self.index.candidates(name_hash(key)).filter_map(|entry| self.place(entry)) {
            let Some(bytes) = self.ring(place.0).get(place.1) else { continue };
            let (head, _) = head_of(bytes);
            if head.key.as_str() != key {
                continue;
            }
            match head.slice.clone() {
                Some(slice) => hits.slices.push((head, slice, place)),
                None => hits.single = Some((head, place)),
            }
        }
        hits.slices.sort_by_key(|(_, slice, _)| slice.start);
        hits
    }

    pub(super) fn answer(&self, place: Place) -> Answer {
        let bytes = self.ring(place.0).get(place.1).expect("a place comes from a hit of this very moment");
        let (head, tail) = head_of(bytes);
        let tail: Tail = codec::decode(tail).expect("rings hold what was packed; records are checked at load");
        let verdict = tail.verdict.unpack(head.decided_at);
        Answer { revision: tail.revision, version: tail.version, decided_at: head.decided_at, verdict }
    }

    /// The answers of one slice.
    pub(super) fn slice_answers(&self, place: Place) -> Vec<SliceAnswer> {
        match self.answer(place).verdict {
            Verdict::Applied(Outcome::BatchSlice(answers)) => answers,
            Verdict::Applied(_) | Verdict::Rejected(_) => Vec::new(),
        }
    }

    /// The answer to a batch's command that has no key of its own, asked for as `{batch key}:{index}`.
    pub(super) fn find_inside(&self, key: &str) -> Option<Answer> {
        let (batch, index) = Key::split_derived(key)?;
        let hits = self.find(batch);
        let holds = |slice: &SliceHead| index >= slice.start && index - slice.start < slice.len;
        let (_, slice, place) = hits.slices.iter().find(|(_, slice, _)| holds(slice))?;
        if slice.own.contains(&index) {
            return None;
        }
        match self.slice_answers(*place).into_iter().nth((index - slice.start) as usize)? {
            SliceAnswer::Decided(answer) => Some(answer),
            SliceAnswer::KeyReused | SliceAnswer::Refused(_) => None,
        }
    }

    /// What a reader is told about a key. For a batch: only once every slice is there, or when it was voided.
    pub(super) fn recorded(&self, key: &str) -> Option<Answer> {
        let hits = self.find(key);
        self.whole_batch(&hits)
            .or_else(|| hits.single.map(|(_, place)| self.answer(place)))
            .or_else(|| self.find_inside(key))
    }

    fn whole_batch(&self, hits: &Hits) -> Option<Answer> {
        let total = hits.slices.first()?.1.total;
        let mut answers = Vec::new();
        for (_, slice, place) in &hits.slices {
            if slice.start as usize != answers.len() {
                return None;
            }
            answers.extend(self.slice_answers(*place));
        }
        if answers.len() != total as usize {
            return None;
        }
        let last = self.answer(hits.slices.last()?.2);
        Some(Answer { verdict: Verdict::Applied(Outcome::BatchSlice(answers)), ..last })
    }

    fn keep_ms(class: ResultClass, settings: &Settings) -> u64 {
        match class {
            ResultClass::Applied => settings.applied_keep_ms,
            ResultClass::Rejected => settings.rejected_keep_ms,
            ResultClass::NodeMade => settings.node_key_keep_ms,
        }
    }

    fn age(&self, class: ResultClass, clock: Millis) -> Option<u64> {
        self.oldest[class as usize].map(|at| clock.0.saturating_sub(at.0))
    }

    /// The ring whose oldest result must leave now, if any.
    fn overdue(&self, settings: &Settings, clock: Millis) -> Option<ResultClass> {
        let ages = ResultClass::ALL.map(|class| (class, self.age(class, clock)));
        let too_old = ages.iter().find(|(_, age)| age.is_some_and(|age| age > settings.results_keep_max_ms));
        if let Some((class, _)) = too_old {
            return Some(*class);
        }
        if self.ring(ResultClass::Rejected).len() > settings.rejections_max {
            return Some(ResultClass::Rejected);
        }
        if self.len() <= settings.results_max {
            return None;
        }
        let passed = |(class, age): &(ResultClass, Option<u64>)| {
            let age = (*age)?;
            (age >= Self::keep_ms(*class, settings)).then_some((age, *class))
        };
        let passed = ages.iter().filter_map(passed);
        passed.max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1))).map(|(_, class)| class)
    }

    /// Evicts what may go, at most `budget` results. Calls `touched` with each chunk that left.
    pub(super) fn evict(
        &mut self,
        settings: &Settings,
        clock: Millis,
        budget: u32,
        mut touched: impl FnMut(ResultClass, u64),
    ) {
        for _ in 0..budget {
            let Some(class) = self.overdue(settings, clock) else { return };
            let ring = &mut self.rings[class as usize];
            let seq = ring.front();
            if let Some(bytes) = ring.get(seq) {
                let (head, _) = head_of(bytes);
                self.index.remove(name_hash(head.key.as_str()), entry(class, seq));
            }
            if let Some(chunk) = ring.pop_front() {
                touched(class, chunk);
            }
            self.look_at_oldest(class);
        }
    }

    /// Results of a ring that are younger than their guarantee.
    fn young(&self, class: ResultClass, settings: &Settings, clock: Millis) -> u64 {
        let ring = self.ring(class);
        let is_old = |seq: u64| {
            let age = ring.get(seq).map_or(0, |bytes| clock.0.saturating_sub(decided_at(bytes).0));
            age >= Self::keep_ms(class, settings)
        };
        let (mut old, mut young) = (ring.front(), ring.next());
        while old < young {
            let middle = old + (young - old) / 2;
            if is_old(middle) { old = middle + 1 } else { young = middle }
        }
        ring.next() - young
    }

    pub(super) fn room(&self, settings: &Settings, clock: Millis) -> ResultsRoom {
        let room = settings.results_max.saturating_sub(settings.rejections_max).max(1);
        let shed_from = room - room / 10;
        let classes = [ResultClass::Applied, ResultClass::NodeMade];
        if classes.iter().map(|class| self.ring(*class).len()).sum::<u64>() < shed_from {
            return ResultsRoom::Open;
        }
        let young: u64 = classes.iter().map(|class| self.young(*class, settings, clock)).sum();
        match young {
            young if young >= room => ResultsRoom::Full,
            young if young >= shed_from => ResultsRoom::ReservesShed,
            _ => ResultsRoom::Open,
        }
    }
}
