//! Linearizable reads by ReadIndex: the leader proves to a quorum that it still leads, and a read then waits until the
//! log index that was committed at that moment is applied here.
//!
//! Rounds are shared. A call that comes while a round is under way joins the *next* one: the proof must begin after the
//! call did. Nothing here trusts a lease or a clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::ReadPolicy;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::BarrierError;
use super::client::target_of;
use super::core::Core;
use super::wire::{Answer, Lane, Request};

/// Pause before another round after one failed: a new leader may be on its way.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// Calls waiting for a round.
const WAITING_MAX: usize = 65_536;

type Round = Result<u64, BarrierError>;

#[derive(Default)]
pub(super) struct Barrier {
    /// Waiting for rounds by whoever leads, and for rounds by this node as the leader alone.
    any: Queue,
    own: Queue,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Vec<oneshot::Sender<Round>>>,
    wake: Notify,
}

impl Queue {
    async fn join(&self, deadline: Instant) -> Round {
        let (tx, rx) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= WAITING_MAX {
                waiting.retain(|w| !w.is_closed());
                if waiting.len() >= WAITING_MAX {
                    return Err(BarrierError::Timeout);
                }
            }
            waiting.push(tx);
        }
        self.wake.notify_one();
        match tokio::time::timeout_at(deadline.into(), rx).await {
            Ok(Ok(round)) => round,
            Ok(Err(_)) | Err(_) => Err(BarrierError::Timeout),
        }
    }

    /// Runs rounds until the node stops.
    async fn run<F: Future<Output = Round>>(&self, core: &Core, round: impl Fn() -> F) {
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = core.stopping.cancelled() => return,
            }
            let waiting = std::mem::take(&mut *self.waiting.lock());
            if waiting.is_empty() {
                continue;
            }
            let result = round().await;
            for one in waiting {
                let _ = one.send(result.clone());
            }
        }
    }
}

impl Barrier {
    /// Runs both kinds of rounds until the node stops.
    pub(super) async fn run(core: Arc<Core>) {
        let any = core.barrier.any.run(&core, || round(&core));
        let own = core.barrier.own.run(&core, || lead_round(&core));
        tokio::join!(any, own);
    }

    /// For other nodes: the index, if this node leads.
    pub(super) async fn index_as_leader(&self, _core: &Core, deadline: Instant) -> Round {
        self.own.join(deadline).await
    }

    /// Returns when everything committed before the call is applied here.
    pub(super) async fn pass(core: &Core, deadline: Instant) -> Result<(), BarrierError> {
        if core.view.borrow().removed {
            return Err(BarrierError::Removed);
        }
        let mut view = core.view.subscribe();
        match tokio::time::timeout_at(deadline.into(), view.wait_for(|view| view.recovered)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Err(BarrierError::Recovering),
        }
        drop(view);
        let index = Self::index(core, deadline).await?;
        let mut applied = core.state.applied();
        match tokio::time::timeout_at(deadline.into(), applied.wait_for(|at| *at >= index)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(BarrierError::Timeout),
        }
    }

    async fn index(core: &Core, deadline: Instant) -> Round {
        let mut last = BarrierError::Timeout;
        loop {
            match core.barrier.any.join(deadline).await {
                Ok(index) => return Ok(index),
                // The reason why the rounds failed says more than that the time is over.
                Err(BarrierError::Timeout) if Instant::now() >= deadline => return Err(last),
                Err(why) => last = why,
            }
            if core.view.borrow().removed {
                return Err(BarrierError::Removed);
            }
            if Instant::now() + RETRY_AFTER >= deadline {
                return Err(last);
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

/// One round, by whoever leads.
async fn round(core: &Core) -> Round {
    let view = core.view.borrow().clone();
    if view.is_leader {
        return lead_round(core).await;
    }
    let Some((id, member)) = &view.leader else { return Err(BarrierError::NoLeader) };
    let within = Duration::from_millis(core.me.timing.election_max_ms * 2);
    let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    let deadline = Instant::now() + within;
    let request = Request::ReadIndex { within_ms };
    match core.net.call(Lane::Control, &target_of(*id, member), &request, deadline).await {
        Ok(Answer::ReadIndex(Ok(index))) => Ok(index),
        Ok(Answer::ReadIndex(Err(_))) => Err(BarrierError::NoLeader),
        Ok(_) | Err(_) => Err(BarrierError::Timeout),
    }
}

/// One round as the leader: the index, confirmed by a quorum after this call began.
async fn lead_round(core: &Core) -> Round {
    match core.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => Ok(linearizer.read_log_id().index()),
        Err(openraft::errors::RaftError::APIError(openraft::errors::LinearizableReadError::ForwardToLeader(_))) => {
            Err(BarrierError::NoLeader)
        }
        Err(_) => Err(BarrierError::Timeout),
    }
}
