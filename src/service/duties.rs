//! What a node does unasked: expire holds on time, watch its own clock, keep admission informed.

use std::time::Instant;

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Service;
use super::batcher::{self, JobResult};
use super::limits::{CLOCK_SKEW_MAX_MS, TICK_EVERY, TRANSFER_WITHIN};
use super::stamp::skew_ms;
use crate::domain::command::ProposalBody;

impl Service {
    /// With no traffic nothing moves the replicated clock, so the leader proposes a `Tick` when a hold is due (or when
    /// only time can make room for new results); one at a time. A deposed leader's late tick is harmless: `clock = max(clock, stamp)`.
    pub(super) async fn expire_on_time(self) {
        let mut every = interval(TICK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if !self.raft.view().is_leader {
                continue;
            }
            let Some(now) = self.stamp_now() else { continue };
            let due = self.raft.inspect(|inventory| inventory.next_due()).is_some_and(|due| due <= now);
            if !due && !self.admission.sheds_for_results() {
                continue;
            }
            let Ok(queued) = self.batcher.entry(ProposalBody::Tick) else { continue };
            match timeout(super::DEFAULT_TIMEOUT, queued).await {
                Ok(Ok(JobResult::Applied | JobResult::Decided(_))) => {}
                // Not led any more, or lost: the next leader, or the next round here, sees the same hold due.
                Ok(Ok(JobResult::NotLeader) | Err(_)) | Err(_) => {
                    tracing::debug!("a tick was not applied");
                }
            }
        }
    }

    /// A leader whose clock is off hands leadership away; one bad clock must not empty the shelves.
    pub(super) async fn keep_house(self) {
        let mut every = interval(TICK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut not_before = Instant::now();
        loop {
            every.tick().await;
            self.admission.refresh(&self.raft);
            let Some(skew) = self.clock_skew_ms().filter(|skew| skew.abs() > CLOCK_SKEW_MAX_MS) else { continue };
            if !self.raft.view().is_leader || Instant::now() < not_before {
                continue;
            }
            tracing::warn!(skew_ms = skew, "this node's clock is off the median; handing leadership away");
            if let Ok(Err(failed)) = timeout(TRANSFER_WITHIN, self.raft.transfer_leader(None)).await {
                tracing::warn!(%failed, "leadership was not handed away");
            }
            not_before = Instant::now() + TRANSFER_WITHIN;
        }
    }

    /// How far this node's wall clock is ahead of the median of the voters, when enough are known to tell.
    pub(super) fn clock_skew_ms(&self) -> Option<i64> {
        skew_ms(&batcher::clock_samples(&self.raft, &self.raft.view()).offsets_ms)
    }
}
