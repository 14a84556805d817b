//! Cuts a change set that is too big for one message.

use std::ops::Range;

use crate::domain::change::Change;
use crate::service::limits::MESSAGE_CHANGES_BYTES_MAX;

/// Most bytes that a change takes as JSON besides its name: of a seat its status, of a pool five numbers of 20 digits.
const SEAT_BYTES: usize = 48;
const POOL_BYTES: usize = 180;

/// Which changes go into which part; at least one part. The same changes are always cut the same way, so that a part
/// keeps its id.
pub(super) fn parts(changes: &[Change]) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, change) in changes.iter().enumerate() {
        let size = match change {
            Change::Seat { seat, .. } => seat.as_str().len() + SEAT_BYTES,
            Change::Pool { pool, .. } | Change::PoolRemoved { pool } => pool.as_str().len() + POOL_BYTES,
        };
        if at > start && bytes + size > MESSAGE_CHANGES_BYTES_MAX {
            parts.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    parts.push(start..changes.len());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::SeatId;
    use crate::domain::value::SeatStatus;

    #[test]
    fn every_change_is_in_one_part_and_no_part_is_big() {
        let seat = |n: usize| Change::Seat {
            seat: SeatId::parse(&format!("{n:0>100}")).expect("a name"),
            status: SeatStatus::Free,
        };
        let changes: Vec<Change> = (0..10_000).map(seat).collect();
        let cut = parts(&changes);
        assert!(cut.len() > 1);
        assert_eq!(cut.iter().cloned().flatten().collect::<Vec<_>>(), (0..10_000).collect::<Vec<_>>());
        for part in &cut {
            assert!(part.len() * (100 + SEAT_BYTES) <= MESSAGE_CHANGES_BYTES_MAX);
        }
        assert_eq!(parts(&[]), vec![Range::default()]);
        assert_eq!(parts(&changes[..1]).len(), 1);
    }
}
