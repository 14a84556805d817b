//! What a node does all the time, beside answering: it follows openraft, its own recovery, the clocks of its peers, and
//! the length of its log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use openraft::async_runtime::watch::WatchReceiver;

use super::client::target_of;
use super::core::Core;
use crate::storage::LogId;

const CLOCKS_EVERY: Duration = Duration::from_secs(2);
const CLOCK_WITHIN: Duration = Duration::from_secs(1);
/// A removed node that runs on says so this often.
const SAY_REMOVED_EVERY: Duration = Duration::from_secs(60);
const SNAPSHOT_LOOK_EVERY: Duration = Duration::from_secs(1);
/// A snapshot that is not there this long after it was asked for is asked for again.
const SNAPSHOT_RETRY_AFTER: Duration = Duration::from_secs(600);
/// A follower that reads old entries is waited for until the log is this many times as long as it may grow between two
/// snapshots. Then it gets the snapshot.
const LOG_HELD_MAX: u64 = 3;

impl Core {
    /// Keeps the view fresh, and notices when openraft stops.
    pub(super) async fn follow_raft(self: Arc<Self>) {
        let mut server = self.raft.server_metrics();
        let mut all = self.raft.metrics();
        // What changed before these were taken.
        self.refresh_view();
        loop {
            let stopped = all.borrow_watched().running_state.clone().err();
            if let Some(why) = stopped
                && !self.stopping.is_cancelled()
            {
                (self.on_fatal)(format!("consensus stopped: {why}"));
                return self.stopping.cancelled().await;
            }
            tokio::select! {
                changed = server.changed() => match changed {
                    Ok(()) => self.refresh_view(),
                    Err(_) => return,
                },
                changed = all.changed() => if changed.is_err() { return },
                () = self.me.removal.notified() => {
                    self.raft.runtime_config().elect(false);
                    self.refresh_view();
                }
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// A removed node keeps quiet: it asks for no votes, and says what it is now and then. True: it is one.
    fn keep_quiet(&self, said: &mut Option<Instant>) -> bool {
        if !self.is_removed() {
            return false;
        }
        if said.is_none() {
            self.raft.runtime_config().elect(false);
            self.refresh_view();
        }
        if said.is_none_or(|at| at.elapsed() >= SAY_REMOVED_EVERY) {
            tracing::warn!(
                node_id = self.me.node_id,
                "removed from the cluster: stop this process, its id is never used again"
            );
            *said = Some(Instant::now());
        }
        true
    }

    /// Waits until everything is applied that this node can have applied before it was restarted: only then may it show
    /// its state. `at_start` is the end of its log as found on disk.
    pub(super) async fn recover(self: Arc<Self>, at_start: Option<LogId>) {
        let mut metrics = self.raft.metrics();
        let at_start = at_start.map_or(0, |id| id.index);
        let target = loop {
            {
                let m = metrics.borrow_watched();
                if let Some(committed) = m.cluster_committed.map(|id| id.index)
                    && (committed >= at_start || Some(committed) >= m.last_log_index)
                {
                    break committed;
                }
            }
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                () = self.stopping.cancelled() => return,
            }
        };
        let mut applied = self.state.applied();
        tokio::select! {
            reached = applied.wait_for(|at| *at >= target) => if reached.is_err() { return },
            () = self.stopping.cancelled() => return,
        }
        drop(applied);
        self.state.end_of_replay();
        self.recovered.store(true, Ordering::Release);
        self.refresh_view();
        tracing::info!(applied = target, replayed = self.state.replayed(), "recovered");
        // This task has done its work; its end must not look like a death.
        self.stopping.cancelled().await;
    }

    pub(super) async fn pace_streams(self: Arc<Self>) {
        tokio::select! {
            () = Arc::clone(&self.state.hub).run() => {}
            () = self.stopping.cancelled() => {}
        }
    }

    /// Reads history once, so that streams can begin anywhere in it.
    pub(super) async fn index_history(self: Arc<Self>) {
        let hub = Arc::clone(&self.state.hub);
        let started = tokio::time::Instant::now();
        match tokio::task::spawn_blocking(move || hub.index()).await {
            Ok(Ok(())) => tracing::info!(took_ms = started.elapsed().as_millis(), "history indexed for streams"),
            // The store may be closed before it was read to its end.
            Ok(Err(_)) if self.stopping.is_cancelled() => {}
            Ok(Err(error)) => (self.on_fatal)(format!("history cannot be read: {error}")),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        // Its end must not look like a death.
        self.stopping.cancelled().await;
    }

    /// Asks every member for its clock now and then: followers do not talk to each other otherwise.
    pub(super) async fn clocks(self: Arc<Self>) {
        let mut beat = tokio::time::interval(CLOCKS_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut said_removed = None;
        let (mut views, mut known) = (self.view.subscribe(), 0);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                // A new member need not wait to be asked.
                Ok(_) = views.wait_for(|view| view.members.len() != known) => {}
                () = self.stopping.cancelled() => return,
            }
            if self.me.cluster.read().is_none() || self.keep_quiet(&mut said_removed) {
                continue;
            }
            let view = Arc::clone(&views.borrow_and_update());
            known = view.members.len();
            let others = view.members.iter().filter(|(id, _)| *id != self.me.node_id);
            let net = &self.net;
            let asked = others.map(|(id, node)| {
                let target = target_of(*id, node);
                async move { net.ping(&target, CLOCK_WITHIN).await }
            });
            futures_util::future::join_all(asked.collect::<Vec<_>>()).await;
        }
    }

    /// Drops what is too much of the log behind the snapshot at `index`. Up to `bytes` are kept there (and never more
    /// than [`LOG_TO_KEEP`](super::core::LOG_TO_KEEP) entries), for followers that were away for a moment.
    ///
    /// openraft drops nothing that no durable snapshot covers, and puts off what it is sending to a follower, until
    /// that one has it or cannot be reached: one that is slow could make the log grow until the disk is full.
    async fn shorten_log(&self, index: u64, bytes: u64) {
        let Some(upto) = self.log.last_beyond(index, bytes) else { return };
        if self.raft.trigger().purge_log(upto).await.is_ok()
            && self.log.bytes_after(0) > bytes.saturating_mul(LOG_HELD_MAX)
        {
            self.net.stop_sending_before(upto);
        }
    }

    /// Keeps the log short: asks for a snapshot when the log since the last one is longer than the threshold and than
    /// that snapshot, and drops what is behind it.
    pub(super) async fn snapshots(self: Arc<Self>) {
        let mut beat = tokio::time::interval(SNAPSHOT_LOOK_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asked: Option<(u64, tokio::time::Instant)> = None;
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                () = self.stopping.cancelled() => return,
            }
            let last = self.state.store.latest_snapshot();
            let (index, bytes) = last.map_or((0, 0), |s| (s.applied.last_applied.map_or(0, |id| id.index), s.bytes));
            let limit = self.snapshot_wal_bytes.load(Ordering::Relaxed).max(bytes);
            self.shorten_log(index, limit).await;
            if let Some((since, at)) = asked
                && since == index
                && at.elapsed() < SNAPSHOT_RETRY_AFTER
            {
                continue;
            }
            asked = None;
            if self.log.bytes_after(index) > limit && self.applied_index() > index {
                if self.raft.trigger().snapshot().await.is_err() {
                    continue;
                }
                tracing::info!(since = index, "the log has grown: taking a snapshot");
                asked = Some((index, tokio::time::Instant::now()));
            }
        }
    }
}
