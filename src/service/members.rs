//! The cluster as a whole: who is in it, is this node ready, how does it stop.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use uuid::Uuid;

use super::limits::{CLOCK_SKEW_MAX_MS, PERSISTER_LAG_ENTRIES_MAX, TRANSFER_WITHIN};
use super::{ClusterStatus, Readiness, Service};
use crate::raft::{MembershipError, NewMember};

/// A node that lacks more log entries than this is not ready.
const READY_LAG_ENTRIES_MAX: u64 = 10_000;

/// A node whose leader was not confirmed by a quorum for this long is not ready. Longer than an election over a wide area.
const READY_STALENESS_MAX_MS: u64 = 6_000;

/// What an operator does about a removed node that still runs.
const REMOVED: &str = "removed from the cluster: stop this process, its id is never used again";

impl Service {
    /// The cluster, as the leader knows it; as this node does when the leader does not answer.
    pub async fn cluster(&self, deadline: Instant) -> ClusterStatus {
        let view = self.raft.view();
        let nodes = if view.is_leader { None } else { self.leaders_nodes(deadline).await };
        let nodes = match nodes {
            Some(nodes) => nodes,
            None => self.raft.nodes().await,
        };
        ClusterStatus {
            cluster_id: view.cluster_id,
            leader: view.leader.as_ref().map(|(id, _)| *id),
            term: view.term,
            revision: *self.raft.revisions().borrow(),
            nodes,
        }
    }

    /// Whether a load balancer should send requests here: a member, a leader known, little behind, its clock right.
    pub fn readiness(&self) -> Readiness {
        let view = self.raft.view();
        let gauges = self.raft.gauges();
        let mut checks = Vec::new();
        let stopping = self.admission.draining();
        checks.push(("stopping", if stopping { Err("the node is stopping".to_owned()) } else { ok("no") }));
        checks.push((
            "member",
            match view.cluster_id {
                _ if view.removed => Err(REMOVED.to_owned()),
                Some(id) => Ok(format!("of cluster {id}")),
                None => Err("not a member of a cluster yet; run `lastseat cluster init` or `join`".to_owned()),
            },
        ));
        checks.push((
            "leader",
            match &view.leader {
                Some((id, _)) => Ok(format!("node {id}")),
                None => Err("no leader is known".to_owned()),
            },
        ));
        checks.push((
            "quorum",
            match self.raft.staleness_ms() {
                Some(ms) if ms <= READY_STALENESS_MAX_MS => Ok(format!("confirmed the leader {ms} ms ago")),
                Some(ms) => Err(format!("no majority of the nodes has confirmed the leader for {ms} ms")),
                None => Err("no majority of the nodes has confirmed a leader yet".to_owned()),
            },
        ));
        checks.push((
            "recovered",
            if view.recovered {
                ok("all of the log as it was at the start")
            } else {
                Err("still replaying the log".to_owned())
            },
        ));
        let lag = gauges.last_log_index.saturating_sub(gauges.applied_index);
        checks.push(("applied", below(lag, READY_LAG_ENTRIES_MAX, "log entries are not applied yet")));
        let behind = gauges.persister_lag_entries;
        checks.push(("persisted", below(behind, PERSISTER_LAG_ENTRIES_MAX, "applied entries are not persisted yet")));
        checks.push((
            "clock",
            match self.clock_skew_ms() {
                Some(ms) if ms.abs() > CLOCK_SKEW_MAX_MS => {
                    Err(format!("this node's clock is {ms} ms off the median of the cluster; check its time service"))
                }
                Some(ms) => Ok(format!("{ms} ms off the median")),
                None => Ok("not compared".to_owned()),
            },
        ));
        Readiness { checks }
    }

    /// Makes a cluster of nodes that belong to none, this one among them. Returns the cluster's id.
    pub async fn init_cluster(&self, members: Vec<NewMember>) -> Result<Uuid, MembershipError> {
        self.raft.init_cluster(members).await
    }

    /// Adds a node that belongs to no cluster. On any node; carried out by the leader.
    pub async fn add_member(&self, member: NewMember, deadline: Instant) -> Result<(), MembershipError> {
        if self.raft.view().is_leader {
            return self.raft.add_member(member).await;
        }
        self.leader_adds(member, deadline).await
    }

    /// Removes a node for ever. On any node; carried out by the leader.
    pub async fn remove_member(&self, id: u64, deadline: Instant) -> Result<(), MembershipError> {
        if self.raft.view().is_leader {
            return self.raft.remove_member(id).await;
        }
        self.leader_removes(id, deadline).await
    }

    /// Hands leadership to `to`, or to the most up-to-date other voter. On any node; carried out by the leader.
    pub async fn transfer_leader(&self, to: Option<u64>, deadline: Instant) -> Result<(), MembershipError> {
        if self.raft.view().is_leader {
            return self.raft.transfer_leader(to).await;
        }
        self.leader_transfers(to, deadline).await
    }

    /// Stop, step one: `/readyz` fails, new commands go elsewhere, leadership is handed over.
    pub async fn drain(&self, within: Duration) {
        self.admission.drain(Instant::now() + within);
        if !self.raft.view().is_leader || self.raft.view().voters.len() < 2 {
            return;
        }
        match timeout(within.min(TRANSFER_WITHIN), self.raft.transfer_leader(None)).await {
            Ok(Ok(())) => {}
            Ok(Err(failed)) => tracing::warn!(%failed, "leadership was not handed over; an election will follow"),
            Err(_) => tracing::warn!("leadership was not handed over in time; an election will follow"),
        }
    }

    /// Brings up to date the gauges that are read, not counted. Called before each scrape.
    pub fn refresh_metrics(&self) {
        let gauges = self.raft.gauges();
        let view = self.raft.view();
        let set = |name: &'static str, value: u64| metrics::gauge!(name).set(value as f64);
        set("lastseat_raft_term", view.term);
        set("lastseat_raft_is_leader", u64::from(view.is_leader));
        set("lastseat_raft_has_leader", u64::from(view.leader.is_some()));
        set("lastseat_raft_last_log_index", gauges.last_log_index);
        set("lastseat_raft_applied_index", gauges.applied_index);
        set("lastseat_raft_snapshot_index", gauges.snapshot_index);
        set("lastseat_start_replayed_entries", gauges.replayed_entries_at_start);
        set("lastseat_persisted_index", gauges.persisted_index);
        set("lastseat_persister_lag_entries", gauges.persister_lag_entries);
        set("lastseat_persister_lag_bytes", gauges.persister_lag_bytes);
        let queued = self.batcher.queued();
        set("lastseat_batcher_queued_commands", queued.commands as u64);
        set("lastseat_batcher_queued_bytes", queued.bytes as u64);
        let wal = self.raft.wal_stats();
        let count = |name: &'static str, value: u64| metrics::counter!(name).absolute(value);
        count("lastseat_wal_batches_total", wal.batches);
        count("lastseat_wal_records_total", wal.records);
        count("lastseat_wal_bytes_total", wal.bytes);
        count("lastseat_wal_segments_recycled_total", wal.recycled);
        set("lastseat_wal_segments", wal.segments);
        set("lastseat_wal_queued_bytes", wal.queued_bytes);
        let (revision, results) = self.raft.inspect(|inventory| (inventory.revision().0, inventory.results_len()));
        set("lastseat_revision", revision);
        set("lastseat_results_remembered", results);
        let streams = self.raft.hub().gauges();
        set("lastseat_stream_recent_changes", streams.recent_changes as u64);
        set("lastseat_stream_recent_bytes", streams.recent_bytes as u64);
        set("lastseat_stream_topics", streams.topics as u64);
        set("lastseat_stream_marks", streams.marks as u64);
        if let Some(skew) = self.clock_skew_ms() {
            metrics::gauge!("lastseat_clock_skew_ms").set(skew as f64);
        }
        if let Some(age) = gauges.ms_since_quorum_ack {
            set("lastseat_raft_quorum_ack_age_ms", age);
        }
    }
}

fn ok(says: &str) -> Result<String, String> {
    Ok(says.to_owned())
}

fn below(value: u64, max: u64, what: &str) -> Result<String, String> {
    let says = format!("{value} {what}");
    if value > max { Err(says) } else { Ok(says) }
}
