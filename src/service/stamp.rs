//! The only clock and the only randomness of the server.
//!
//! A stamp is a base plus monotonic time elapsed, so that a step of this machine's wall clock moves nothing. A new
//! leader takes as base the median of the wall clocks of a quorum and, while it leads, slews towards that median by at
//! most 5 %. The replicated clock is the maximum of all stamps: it never runs backwards, whatever happens here.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use uuid::Uuid;

use super::limits::CLOCK_SKEW_MAX_MS;
use crate::domain::command::StagingId;
use crate::domain::id::{Key, Token};
use crate::domain::value::Millis;
use crate::domain::webhook::Secret;
use crate::raft::WallClock;

/// How often the stamp is compared with the median.
const SLEW_EVERY: Duration = Duration::from_millis(50);
/// Slew at most one part in this many: 5 %.
const SLEW_DIVISOR: i64 = 20;

/// This machine's wall clock, in milliseconds since 1970.
pub fn wall_clock() -> WallClock {
    Arc::new(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Names something for ever: a cluster, an incarnation of a data folder.
pub fn fresh_uuid() -> Uuid {
    Uuid::new_v4()
}

/// Names something that happens now, in order of time: a request, a run.
pub fn timely_uuid() -> Uuid {
    Uuid::now_v7()
}

/// A secret nobody can guess.
pub(super) fn fresh_token() -> Token {
    Token::parse(&fresh_uuid().to_string()).expect("a UUID is made of characters allowed in names")
}

/// What a webhook's signatures are made with.
pub(super) fn fresh_secret() -> Secret {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).expect("the kernel has randomness once the machine has started");
    Secret(bytes)
}

/// A number below `end`, or 0; not for secrets.
pub(super) fn random_below(end: u64) -> u64 {
    let random = fresh_uuid().as_u128();
    u64::try_from(random % u128::from(end.max(1))).expect("it is below a number of 64 bits")
}

/// A key for a client that brought none.
pub(super) fn fresh_key() -> Key {
    Key::parse(&timely_uuid().to_string()).expect("a UUID is made of characters allowed in names")
}

pub(super) fn fresh_staging() -> StagingId {
    StagingId(fresh_uuid().as_u128())
}

/// What the other clocks say.
pub(super) struct ClockSamples {
    /// Other voters' wall clocks minus this node's, milliseconds.
    pub offsets_ms: Vec<i64>,
    /// Voters in the cluster, this node included.
    pub voters: usize,
    /// The replicated clock now.
    pub floor: Millis,
}

/// Makes the stamps of the entries that this node proposes.
pub(super) struct Stamper {
    wall: WallClock,
    anchor: Mutex<Option<Anchor>>,
}

struct Anchor {
    term: u64,
    stamp_us: i64,
    at: Instant,
}

impl Stamper {
    pub(super) fn new(wall: WallClock) -> Self {
        Self { wall, anchor: Mutex::new(None) }
    }

    /// The stamp for an entry proposed now by the leader of `term`. `None` while a quorum's clocks are not known yet.
    /// `samples` is asked only when the base is taken or slewed.
    pub(super) fn stamp(&self, term: u64, samples: impl FnOnce() -> ClockSamples) -> Option<Millis> {
        let now = Instant::now();
        let mut anchor = self.anchor.lock();
        match anchor.as_mut().filter(|a| a.term == term) {
            Some(a) if now.duration_since(a.at) < SLEW_EVERY => Some(a.read(now)),
            Some(a) => {
                let target_us = self.target_us(&samples());
                a.slew(now, target_us);
                Some(a.read(now))
            }
            None => {
                let stamp_us = self.target_us(&samples())?;
                let fresh = anchor.insert(Anchor { term, stamp_us, at: now });
                Some(fresh.read(now))
            }
        }
    }

    /// The median of the wall clocks now, in microseconds. `None` without a quorum of them.
    fn target_us(&self, samples: &ClockSamples) -> Option<i64> {
        let own_ms = i64::try_from((self.wall)()).unwrap_or(i64::MAX / 2_000);
        let offset_ms = median_offset(own_ms, samples)?;
        Some((own_ms + offset_ms) * 1_000)
    }
}

impl Anchor {
    fn read_us(&self, now: Instant) -> i64 {
        let elapsed = now.saturating_duration_since(self.at).as_micros();
        self.stamp_us.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }

    fn read(&self, now: Instant) -> Millis {
        Millis(u64::try_from(self.read_us(now) / 1_000).unwrap_or(0))
    }

    /// Moves towards the target by at most 5 % of the time since the last move.
    fn slew(&mut self, now: Instant, target_us: Option<i64>) {
        let here = self.read_us(now);
        let allowance = (here - self.stamp_us) / SLEW_DIVISOR;
        let correction = target_us.map_or(0, |target| (target - here).clamp(-allowance, allowance));
        self.stamp_us = here + correction;
        self.at = now;
    }
}

/// The median of the offsets of a quorum, this node's own (zero) included.
///
/// Clocks that are behind the replicated clock by more than the stated slack are certainly wrong and are left out when
/// others remain; of an even number the lower middle is taken, so that one fast clock of two never makes a hold expire
/// early.
fn median_offset(own_ms: i64, samples: &ClockSamples) -> Option<i64> {
    let mut offsets = samples.offsets_ms.clone();
    offsets.push(0);
    if offsets.len() < samples.voters / 2 + 1 {
        return None;
    }
    offsets.sort_unstable();
    let floor_ms = i64::try_from(samples.floor.0).unwrap_or(i64::MAX) - CLOCK_SKEW_MAX_MS;
    let behind = offsets.iter().filter(|offset| own_ms + **offset < floor_ms).count();
    let credible = if behind < offsets.len() { &offsets[behind..] } else { &offsets[..] };
    Some(credible[(credible.len() - 1) / 2])
}

/// How far this node's wall clock is ahead of the median of all (negative: behind), when at least three are known:
/// of two that differ nobody can say which one is wrong.
pub(super) fn skew_ms(offsets_ms: &[i64]) -> Option<i64> {
    if offsets_ms.len() < 2 {
        return None;
    }
    let mut all = offsets_ms.to_vec();
    all.push(0);
    all.sort_unstable();
    Some(-all[(all.len() - 1) / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW_MS: u64 = 1_800_000_000_000;

    fn samples(offsets_ms: &[i64], voters: usize, floor: u64) -> ClockSamples {
        ClockSamples { offsets_ms: offsets_ms.to_vec(), voters, floor: Millis(floor) }
    }

    fn stamper() -> Stamper {
        Stamper::new(Arc::new(|| NOW_MS))
    }

    #[test]
    fn a_leader_without_a_quorum_of_clocks_gives_no_stamp() {
        assert_eq!(stamper().stamp(1, || samples(&[], 3, 0)), None);
        assert!(stamper().stamp(1, || samples(&[], 1, 0)).is_some());
    }

    #[test]
    fn a_leader_a_day_ahead_takes_the_time_of_the_others() {
        let stamp = stamper().stamp(1, || samples(&[-DAY_MS, -DAY_MS + 20], 3, 0)).expect("three clocks are known");
        let error = stamp.0 as i64 - (NOW_MS as i64 - DAY_MS);
        assert!((0..=50).contains(&error), "{error}");
    }

    #[test]
    fn of_two_clocks_the_earlier_counts_unless_time_has_passed_it() {
        let earlier = stamper().stamp(1, || samples(&[-DAY_MS], 3, 0)).expect("two of three are a quorum");
        assert!(earlier.0 < NOW_MS - 80_000_000);
        let floor = NOW_MS - 3_000;
        let later = stamper().stamp(1, || samples(&[-DAY_MS], 3, floor)).expect("two of three are a quorum");
        assert!(later.0 >= NOW_MS);
    }

    #[test]
    fn slewing_never_exceeds_five_percent() {
        let start = Instant::now();
        let mut anchor = Anchor { term: 1, stamp_us: 1_000_000, at: start };
        let later = start + Duration::from_millis(1_000);
        anchor.slew(later, Some(i64::MAX / 4));
        assert_eq!(anchor.read_us(later), 2_050_000);
        anchor.slew(later + Duration::from_millis(1_000), Some(0));
        assert_eq!(anchor.read_us(later + Duration::from_millis(1_000)), 3_000_000);
    }

    #[test]
    fn skew_needs_a_majority_to_compare_with() {
        assert_eq!(skew_ms(&[]), None);
        assert_eq!(skew_ms(&[DAY_MS]), None);
        assert_eq!(skew_ms(&[-DAY_MS, -DAY_MS]), Some(DAY_MS));
        assert_eq!(skew_ms(&[3, -2]), Some(0));
    }
}
