//! Reading a whole database at open, and checking that it adds up.

use super::super::format::{self, Joiner, Kind};
use super::super::history::{self, Entry, Index, Span};
use super::super::table::Table;
use super::super::{AppliedPoint, StateError};
use super::{Header, RawRecord, from_sled, length, undecodable};
use crate::domain::codec;

/// What a scan of all keys found.
#[derive(Default)]
pub(super) struct Contents {
    header: Option<Header>,
    pub(super) table: Table,
    pub(super) index: Index,
    pub(super) error: Option<StateError>,
}

impl Contents {
    /// Everything that the header counts on is there, and nothing else.
    pub(super) fn check(&mut self) -> Result<AppliedPoint, StateError> {
        let corrupt = |why: String| StateError::Corrupt(format!("the state database does not add up: {why}"));
        let header = self.header.take().ok_or_else(|| corrupt("it has no header".into()))?;
        if (header.records, header.records_sum) != (self.table.len(), self.table.sum()) {
            let found = self.table.len();
            return Err(corrupt(format!("{found} records, and its header tells of {} others", header.records)));
        }
        let told = Span { oldest: header.history_oldest, next: header.history_next };
        if self.index.next() == 0 {
            self.index = Index::empty(told.next);
        }
        if told != self.index.span() {
            return Err(corrupt(format!("its history is {:?}, and its header tells of {told:?}", self.index.span())));
        }
        Ok(header.applied)
    }
}

/// Walks over all keys of a group: yields the records, notes everything else. Ends early on an error.
pub(super) struct Scan<'a> {
    pub(super) iter: sled::Iter,
    pub(super) contents: &'a mut Contents,
}

impl Scan<'_> {
    fn step(&mut self) -> Result<Option<RawRecord>, StateError> {
        while let Some(item) = self.iter.next() {
            let (key, value) = item.map_err(from_sled)?;
            let split = format::split_key(&key)?;
            let kind = [Kind::Header, Kind::Record, Kind::History].into_iter().find(|k| *k as u8 == split.kind);
            let kind = kind.ok_or_else(|| StateError::Corrupt(format!("an unknown kind of key: {key:02x?}")))?;
            let (parts, body) = self.join(kind, &key, &value, split.stem)?;
            match kind {
                Kind::Header => self.contents.header = Some(codec::decode(&body).map_err(undecodable)?),
                Kind::Record => {
                    self.contents.table.set(split.stem, &body, parts);
                    return Ok(Some((split.own.to_vec(), body)));
                }
                Kind::History => {
                    let first = split.own.try_into().map(u64::from_be_bytes);
                    let first = first.map_err(|_| StateError::Corrupt(format!("a bad history key: {key:02x?}")))?;
                    self.contents.index.push(Entry {
                        first,
                        count: history::count(&body)?,
                        parts,
                        bytes: length(&body),
                    })?;
                }
            }
        }
        Ok(None)
    }

    /// Reads the parts that follow part 0.
    fn join(&mut self, kind: Kind, key: &[u8], value: &[u8], stem: &[u8]) -> Result<(u16, Vec<u8>), StateError> {
        let missing = || StateError::Corrupt(format!("a part of a value is missing, under key {key:02x?}"));
        if format::split_key(key)?.part != 0 {
            return Err(missing());
        }
        let mut joiner = Joiner::begin(key, kind, value)?;
        while !joiner.is_whole() {
            let (key, value) = self.iter.next().ok_or_else(missing)?.map_err(from_sled)?;
            let split = format::split_key(&key)?;
            if split.stem != stem || split.part != joiner.next_part() {
                return Err(missing());
            }
            joiner.add(&key, kind, &value)?;
        }
        Ok(joiner.finish())
    }
}

impl Iterator for Scan<'_> {
    type Item = RawRecord;

    fn next(&mut self) -> Option<RawRecord> {
        if self.contents.error.is_some() {
            return None;
        }
        self.step().unwrap_or_else(|error| {
            self.contents.error = Some(error);
            None
        })
    }
}
