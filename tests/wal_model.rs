//! Random operations on the log and on a naive model of it must give the same answers, over restarts too.
#![allow(clippy::unwrap_used)]

#[path = "support/files.rs"]
mod files;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use files::{LogFolder, copy_log};
use lastseat::storage::wal::{Done, Wal, WalEntry, WalGroup, WalOptions, WalState};
use lastseat::storage::{GroupId, LogId};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Append { sizes: Vec<u16> },
    Gap,
    Vote(u8),
    Committed(u8),
    Truncate(u8),
    Purge(u8),
    PurgeBeyond(u8),
    Read { from: u8, len: u8, bytes: u16 },
    Restart { crash: bool, size: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => prop::collection::vec(0..3000u16, 0..12).prop_map(|sizes| Op::Append { sizes }),
        1 => Just(Op::Gap),
        2 => any::<u8>().prop_map(Op::Vote),
        2 => any::<u8>().prop_map(Op::Committed),
        2 => any::<u8>().prop_map(Op::Truncate),
        4 => any::<u8>().prop_map(Op::Purge),
        1 => any::<u8>().prop_map(Op::PurgeBeyond),
        4 => (any::<u8>(), any::<u8>(), any::<u16>()).prop_map(|(from, len, bytes)| Op::Read { from, len, bytes }),
        2 => (any::<bool>(), 1..5u64).prop_map(|(crash, size)| Op::Restart { crash, size }),
    ]
}

/// The naive log.
#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, WalEntry>,
    purged: Option<LogId>,
    vote: Option<Bytes>,
    committed: Option<LogId>,
    term: u64,
}

impl Model {
    fn state(&self) -> WalState {
        WalState { last_purged: self.purged, last: self.last(), vote: self.vote.clone(), committed: self.committed }
    }

    fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, e)| e.id).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |l| l.index + 1)
    }

    /// One of the indexes there are.
    fn pick(&self, dice: u8) -> Option<LogId> {
        self.entries.values().nth(usize::from(dice) % self.entries.len().max(1)).map(|e| e.id)
    }
}

fn wait(act: impl FnOnce(Done)) -> std::io::Result<()> {
    let (tell, told) = mpsc::channel();
    act(Box::new(move |result| tell.send(result).unwrap()));
    told.recv().unwrap()
}

/// Segments of `size` times 16 KiB: what was written with one size opens with another.
fn open(dir: &Path, size: u64) -> Wal {
    let on_fatal = Arc::new(|why| panic!("{why}"));
    Wal::open(dir, WalOptions { segment_bytes: size * (16 << 10), cache_bytes: 8 << 10, kept: false, on_fatal })
        .unwrap()
}

fn apply(log: &WalGroup, model: &mut Model, op: &Op, salt: u64) {
    match op {
        Op::Append { sizes } => {
            let first = model.next();
            let entries = sizes.iter().zip(first..).map(|(&size, index)| {
                let id = LogId { term: model.term, node_id: salt, index };
                WalEntry { id, payload: Bytes::from(vec![(index ^ salt) as u8; usize::from(size)]) }
            });
            let entries = entries.collect::<Vec<_>>();
            model.entries.extend(entries.iter().map(|e| (e.id.index, e.clone())));
            wait(|done| {
                log.append(entries.clone(), done);
                // Seen by readers before it is on disk.
                assert_eq!(log.read(first, u64::MAX, usize::MAX).unwrap(), entries);
            })
            .unwrap();
        }
        Op::Gap => {
            if let Some(last) = model.last() {
                for index in [last.index, last.index + 2] {
                    let id = LogId { index, ..last };
                    let refused = wait(|done| log.append(vec![WalEntry { id, payload: Bytes::new() }], done));
                    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
                }
            }
        }
        Op::Vote(vote) => {
            model.vote = Some(Bytes::from(vec![*vote; 20]));
            wait(|done| log.save_vote(model.vote.clone().unwrap(), done)).unwrap();
        }
        Op::Committed(dice) => {
            let Some(id) = model.pick(*dice) else { return };
            model.committed = Some(id);
            log.save_committed(model.committed);
        }
        Op::Truncate(dice) => {
            let after = model.pick(*dice);
            let from = after.map_or(0, |id| id.index + 1);
            model.entries.retain(|index, _| *index < from);
            // A real log never truncates what is committed.
            model.committed = model.committed.filter(|c| c.index < from);
            log.save_committed(model.committed);
            model.term += 1;
            wait(|done| log.truncate_after(after, done)).unwrap();
        }
        Op::Purge(_) | Op::PurgeBeyond(_) => {
            let upto = match op {
                Op::Purge(dice) => model.pick(*dice),
                Op::PurgeBeyond(ahead) => {
                    Some(LogId { term: model.term, node_id: 1, index: model.next() + u64::from(ahead % 8) })
                }
                _ => None,
            };
            let Some(upto) = upto else { return };
            model.entries = model.entries.split_off(&(upto.index + 1));
            model.purged = Some(upto);
            wait(|done| log.purge(upto, done)).unwrap();
        }
        Op::Read { from, len, bytes } => {
            let from = model.purged.map_or(0, |p| p.index + 1) + u64::from(*from);
            let to = from + u64::from(*len);
            let mut left = usize::from(*bytes);
            let mut expected = Vec::new();
            for entry in model.entries.range(from..to).map(|(_, e)| e) {
                // "About": the log counts in steps of eight.
                let counted = entry.payload.len().next_multiple_of(8);
                if !expected.is_empty() && counted > left {
                    break;
                }
                left = left.saturating_sub(counted);
                expected.push(entry.clone());
            }
            assert!(log.read(from, to, usize::from(*bytes)).unwrap() == expected, "read {from}..{to}, {bytes} bytes");
        }
        Op::Restart { .. } => {}
    }
    if !matches!(op, Op::Read { .. } | Op::Committed(_) | Op::Restart { .. } | Op::Gap) {
        assert_eq!(log.state(), model.state());
    }
}

fn compare(log: &WalGroup, model: &Model) {
    assert_eq!(log.state(), model.state());
    let all = log.read(0, u64::MAX, usize::MAX).unwrap();
    assert!(all.iter().eq(model.entries.values()), "{} entries, expected {}", all.len(), model.entries.len());
    let mut bytes = 0;
    for (index, entry) in model.entries.iter().rev() {
        assert_eq!(log.bytes_after(*index), bytes, "bytes after {index}");
        assert_eq!(log.log_id(*index), Some(entry.id));
        bytes += (40 + entry.payload.len() as u64).next_multiple_of(8);
    }
    assert_eq!(log.log_id(model.next()), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_does_what_a_naive_log_does(ops in prop::collection::vec((0..2u32, op()), 1..120)) {
        let mut dir = LogFolder::new();
        let mut wal = open(dir.path(), 2);
        let mut models = [Model { term: 1, ..Model::default() }, Model { term: 1, ..Model::default() }];
        for (group, op) in &ops {
            let model = &mut models[*group as usize];
            apply(&wal.group(GroupId(*group)), model, op, u64::from(*group) + 7);
            if let Op::Restart { crash, size } = op {
                if *crash {
                    // A crash leaves what was written; one more vote takes the lazily saved ids along.
                    for (group, model) in models.iter_mut().enumerate() {
                        apply(&wal.group(GroupId(group as u32)), model, &Op::Vote(1), 0);
                    }
                    let left = copy_log(dir.path());
                    drop(wal);
                    dir = left;
                } else {
                    wal.close().unwrap();
                }
                wal = open(dir.path(), *size);
            }
            for (group, model) in models.iter().enumerate() {
                if matches!(op, Op::Restart { .. }) {
                    compare(&wal.group(GroupId(group as u32)), model);
                }
            }
        }
        wal.close().unwrap();
        drop(wal);
        let wal = open(dir.path(), 2);
        for (group, model) in models.iter().enumerate() {
            compare(&wal.group(GroupId(group as u32)), model);
        }
        // Space comes back: with everything purged, one segment and a few spares are left.
        for (group, model) in models.iter_mut().enumerate() {
            apply(&wal.group(GroupId(group as u32)), model, &Op::PurgeBeyond(0), 0);
            apply(&wal.group(GroupId(group as u32)), model, &Op::Vote(0), 0);
        }
        prop_assert_eq!(wal.stats().segments, 1);
        prop_assert!(wal.stats().spares <= 2);
    }
}
