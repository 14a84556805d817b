//! How much may wait for the batcher: so much that it is decided in time, counted in commands and in bytes.
//!
//! Independent batches get at most half of the room, however many there are: a single sale always finds a place beside
//! them. A place is taken for the whole of a batch or not at all.

use std::sync::Arc;

use parking_lot::Mutex;

use super::limits::{QUEUE_BATCH_SHARE, QUEUE_BYTES_MAX, QUEUE_COMMANDS_MAX};
use crate::domain::command::Command;

/// What waits, or is to wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) commands: usize,
    /// As encoded.
    pub(super) bytes: usize,
}

impl Load {
    pub(super) fn of(command: &Command, bytes: usize) -> Self {
        let commands = match command {
            Command::BatchSlice(slice) => slice.commands.len(),
            Command::AtomicBatch(commands) => commands.len(),
            Command::Define { .. }
            | Command::Change { .. }
            | Command::Delete { .. }
            | Command::Sale(_)
            | Command::Void { .. }
            | Command::Webhook(_)
            | Command::Configure(_) => 1,
        };
        Self { commands: commands.max(1), bytes }
    }

    fn fits(self, more: Self, share: usize) -> bool {
        self.commands + more.commands <= QUEUE_COMMANDS_MAX / share
            && self.bytes + more.bytes <= QUEUE_BYTES_MAX / share
    }

    fn add(&mut self, more: Self) {
        self.commands += more.commands;
        self.bytes += more.bytes;
    }

    fn subtract(&mut self, less: Self) {
        self.commands -= less.commands;
        self.bytes -= less.bytes;
    }
}

#[derive(Debug, Default)]
pub(super) struct Room {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: Load,
    /// Of all: slices of independent batches.
    batches: Load,
}

/// What one job takes up while it waits; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    load: Load,
    of_batch: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.room.waiting.lock();
        waiting.all.subtract(self.load);
        if self.of_batch {
            waiting.batches.subtract(self.load);
        }
    }
}

impl Room {
    /// A place for one job that is no part of an independent batch.
    pub(super) fn take(self: &Arc<Self>, load: Load) -> Option<Place> {
        let mut waiting = self.waiting.lock();
        waiting.all.fits(load, 1).then(|| {
            waiting.all.add(load);
            Place { room: Arc::clone(self), load, of_batch: false }
        })
    }

    /// A place for each slice of an independent batch, or none.
    pub(super) fn take_batch(self: &Arc<Self>, slices: &[Load]) -> Option<Vec<Place>> {
        let mut whole = Load::default();
        slices.iter().for_each(|load| whole.add(*load));
        let mut waiting = self.waiting.lock();
        (waiting.all.fits(whole, 1) && waiting.batches.fits(whole, QUEUE_BATCH_SHARE)).then(|| {
            waiting.all.add(whole);
            waiting.batches.add(whole);
            let place = |load: &Load| Place { room: Arc::clone(self), load: *load, of_batch: true };
            slices.iter().map(place).collect()
        })
    }

    pub(super) fn load(&self) -> Load {
        self.waiting.lock().all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE: Load = Load { commands: 1, bytes: 100 };

    fn batch(commands: usize, bytes: usize) -> Vec<Load> {
        vec![Load { commands, bytes }; 4]
    }

    #[test]
    fn batches_leave_half_of_the_room_to_single_commands() {
        let room = Arc::new(Room::default());
        let quarter = QUEUE_COMMANDS_MAX / 4;
        let first = room.take_batch(&batch(quarter / 4, 1)).expect("it is empty");
        let second = room.take_batch(&batch(quarter / 4, 1)).expect("half is for batches");
        assert!(room.take_batch(&batch(1, 1)).is_none());
        let singles: Vec<_> = std::iter::from_fn(|| room.take(SINGLE)).collect();
        assert_eq!(singles.len(), QUEUE_COMMANDS_MAX / 2);
        drop((first, singles));
        assert!(room.take_batch(&batch(1, 1)).is_some());
        drop(second);
        assert_eq!(room.load(), Load::default());
    }

    #[test]
    fn bytes_count_too_and_a_batch_that_does_not_fit_takes_nothing() {
        let room = Arc::new(Room::default());
        assert!(room.take_batch(&batch(1, QUEUE_BYTES_MAX / 8 + 1)).is_none());
        assert_eq!(room.load(), Load::default());
        let full = room.take(Load { commands: 1, bytes: QUEUE_BYTES_MAX });
        assert!(full.is_some() && room.take(SINGLE).is_none());
    }

    #[test]
    fn the_largest_batch_fits_an_empty_room() {
        let half = |max: usize| max / QUEUE_BATCH_SHARE;
        assert!(half(QUEUE_COMMANDS_MAX) >= 10_000 && half(QUEUE_BYTES_MAX) >= 8 << 20);
    }
}
