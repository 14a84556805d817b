//! Making a cluster and changing who is in it.
//!
//! A node is adopted (told the id of the cluster, durably) before it becomes part of the membership. Each step can be
//! repeated: a change that was cut short goes on where it stopped when it is asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::Instant;
use uuid::Uuid;

use super::barrier::Barrier;
use super::core::Core;
use super::link::open;
use super::wire::{self, Answer, Card, HELLO_BYTES_MAX, Lane, Request};
use super::{Member, MembershipError, NewMember};
use crate::storage::GROUP;

/// Longest wait for one answer of a node that is to join.
const JOIN_ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Longest wait for the first leader of a new cluster.
const FIRST_LEADER_WITHIN: Duration = Duration::from_secs(10);
/// A new member this close behind becomes a voter.
const CAUGHT_UP_ENTRIES: u64 = 128;
/// A new member that makes no progress for this long is given up (it stays a learner).
const NO_PROGRESS_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const TRANSFER_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for a quorum to confirm the leader that is to change the membership.
const CONFIRM_WITHIN: Duration = Duration::from_secs(3);

fn refused(why: impl Into<String>) -> MembershipError {
    MembershipError::Refused(why.into())
}

fn failed(why: impl Into<String>) -> MembershipError {
    MembershipError::Failed(why.into())
}

/// One question to a node that may be a stranger.
async fn ask(core: &Core, peer: &str, request: &Request) -> Result<Answer, MembershipError> {
    let talk = async {
        let (mut socket, _) = open(&core.me, Lane::Join, peer, None).await?;
        wire::write_frame(&mut socket, GROUP, 1, request, HELLO_BYTES_MAX).await?;
        let frame = wire::read_frame(&mut socket, HELLO_BYTES_MAX).await?;
        wire::decode::<Answer>(&frame.body)
    };
    match tokio::time::timeout(JOIN_ANSWER_WITHIN, talk).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) => Err(refused(format!("{peer} cannot be reached: {e}"))),
        Err(_) => Err(refused(format!("{peer} did not answer in time"))),
    }
}

/// Who answers there; it must have the id it is expected to have, and be free for this cluster.
async fn look_at(core: &Core, new: &NewMember, cluster: Option<Uuid>) -> Result<Card, MembershipError> {
    let card = match ask(core, &new.peer, &Request::WhoAreYou).await? {
        Answer::Card(card) => card,
        other => return Err(refused(format!("{} answered {other:?}", new.peer))),
    };
    if card.node_id != new.id {
        return Err(refused(format!("{} is node {}, not node {}", new.peer, card.node_id, new.id)));
    }
    if let Some(theirs) = card.cluster.filter(|theirs| Some(*theirs) != cluster) {
        return Err(refused(format!(
            "node {} belongs to another cluster already ({theirs}); start it with an empty folder",
            new.id
        )));
    }
    Ok(card)
}

async fn adopt(core: &Core, new: &NewMember, cluster: Uuid) -> Result<(), MembershipError> {
    match ask(core, &new.peer, &Request::Adopt { cluster, node_id: new.id }).await? {
        Answer::Adopted => Ok(()),
        Answer::Refused(why) => Err(refused(why)),
        other => Err(refused(format!("{} answered {other:?}", new.peer))),
    }
}

fn member(new: &NewMember, incarnation: Uuid) -> Member {
    Member { api: new.api.clone(), peer: new.peer.clone(), region: new.region.clone(), incarnation }
}

fn check_distinct(members: &[NewMember], me: u64) -> Result<(), MembershipError> {
    if !members.iter().any(|m| m.id == me) {
        return Err(refused(format!("node {me}, which is asked to make the cluster, is not in the list of members")));
    }
    let ids: BTreeSet<_> = members.iter().map(|m| m.id).collect();
    let peers: BTreeSet<_> = members.iter().map(|m| m.peer.as_str()).collect();
    if ids.len() != members.len() || peers.len() != members.len() {
        return Err(refused("two members have the same id or the same peer address"));
    }
    Ok(())
}

pub(super) async fn init_cluster(core: &Arc<Core>, members: Vec<NewMember>) -> Result<Uuid, MembershipError> {
    let _one = core.changing.lock().await;
    check_distinct(&members, core.me.node_id)?;
    let known = *core.me.cluster.read();
    let initialised = core.raft.is_initialized().await.map_err(|e| failed(e.to_string()))?;
    if initialised {
        return Err(refused(match known {
            Some(cluster) => format!("this node belongs to cluster {cluster} already"),
            None => "this node belongs to a cluster already".to_owned(),
        }));
    }
    let mut nodes = BTreeMap::new();
    for new in &members {
        let incarnation = match new.id == core.me.node_id {
            true => core.me.incarnation,
            false => look_at(core, new, known).await?.incarnation,
        };
        nodes.insert(new.id, member(new, incarnation));
    }
    // This node first: when the rest fails, asking it again goes on with the same cluster id.
    let cluster = known.unwrap_or_else(|| (core.new_cluster_id)());
    core.adopt(cluster, core.me.node_id).await.map_err(failed)?;
    for new in members.iter().filter(|new| new.id != core.me.node_id) {
        adopt(core, new, cluster).await?;
    }
    core.raft.initialize(nodes).await.map_err(|e| failed(format!("the cluster could not be made: {e}")))?;
    let mut view = core.view.subscribe();
    let led = view.wait_for(|view| view.leader.is_some());
    if tokio::time::timeout(FIRST_LEADER_WITHIN, led).await.is_err() {
        tracing::warn!(%cluster, "the new cluster has no leader yet; are its members running?");
    }
    Ok(cluster)
}

fn check_leads(core: &Core) -> Result<Uuid, MembershipError> {
    if !core.view.borrow().is_leader {
        return Err(refused("this node does not lead; ask the leader"));
    }
    let cluster = *core.me.cluster.read();
    cluster.ok_or_else(|| refused("this node belongs to no cluster"))
}

/// Leads, and a quorum confirmed it: everything from before this leader's time is committed then, the membership too.
/// openraft refuses a change as long as it cannot know that; without a quorum it would keep one without an answer.
async fn leads_for_certain(core: &Core) -> Result<Uuid, MembershipError> {
    check_leads(core)?;
    let deadline = std::time::Instant::now() + CONFIRM_WITHIN;
    let confirmed = Barrier::pass(core, deadline).await;
    confirmed.map_err(|e| refused(format!("nothing was changed, a majority did not confirm the leader: {e}")))?;
    check_leads(core)
}

fn of_raft(e: impl std::fmt::Display) -> MembershipError {
    failed(format!("the change was not confirmed, look at the members before trying again: {e}"))
}

pub(super) async fn add_member(core: &Arc<Core>, new: NewMember) -> Result<(), MembershipError> {
    let _one = core.changing.lock().await;
    let cluster = leads_for_certain(core).await?;
    if core.state.removed().contains(&new.id) {
        return Err(refused(format!("node id {} was used before; a node id is never reused, choose another", new.id)));
    }
    let card = look_at(core, &new, Some(cluster)).await?;
    let node = member(&new, card.incarnation);
    let membership = core.membership();
    if membership.voter_ids().any(|id| id == new.id) {
        return Err(refused(format!("node {} is a member already", new.id)));
    }
    match membership.get_node(&new.id) {
        // A learner of an attempt that was cut short.
        Some(known) if *known == node => {}
        Some(_) => return Err(refused(format!("node {} is a member with another address or incarnation", new.id))),
        None => {
            if membership.nodes().any(|(_, known)| known.peer == new.peer) {
                return Err(refused(format!("another member has the peer address {}", new.peer)));
            }
            adopt(core, &new, cluster).await?;
            core.raft.add_learner(new.id, node, false).await.map_err(of_raft)?;
        }
    }
    catch_up(core, new.id).await?;
    let change = ChangeMembers::AddVoterIds(BTreeSet::from([new.id]));
    core.raft.change_membership(change, true).await.map_err(of_raft)?;
    Ok(())
}

/// Waits until a learner has nearly all of the log.
async fn catch_up(core: &Core, id: u64) -> Result<(), MembershipError> {
    let mut best = None;
    let mut since = Instant::now();
    loop {
        let (matched, last) = {
            let metrics = core.raft.data_metrics();
            let metrics = metrics.borrow_watched();
            let matched = metrics.replication.as_ref().and_then(|r| r.get(&id).cloned().flatten()).map(|m| m.index);
            (matched, metrics.last_log.map_or(0, |l| l.index))
        };
        if matched.is_some_and(|at| at + CAUGHT_UP_ENTRIES >= last) {
            return Ok(());
        }
        if matched > best {
            (best, since) = (matched, Instant::now());
        }
        if since.elapsed() > NO_PROGRESS_MAX {
            return Err(failed(format!(
                "node {id} is a learner and does not catch up; look at its log, then add it again to go on"
            )));
        }
        if !core.view.borrow().is_leader {
            return Err(failed("this node lost leadership meanwhile; ask the new leader to go on"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub(super) async fn remove_member(core: &Arc<Core>, id: u64) -> Result<(), MembershipError> {
    let _one = core.changing.lock().await;
    leads_for_certain(core).await?;
    let membership = core.membership();
    if membership.get_node(&id).is_none() {
        return Err(refused(format!("node {id} is not a member")));
    }
    let voters: BTreeSet<_> = membership.voter_ids().collect();
    if voters.len() == 1 && voters.contains(&id) {
        return Err(refused(format!("node {id} is the last voter; a cluster cannot be without one")));
    }
    let change = match voters.contains(&id) {
        true => ChangeMembers::RemoveVoters(BTreeSet::from([id])),
        false => ChangeMembers::RemoveNodes(BTreeSet::from([id])),
    };
    core.raft.change_membership(change, false).await.map_err(of_raft)?;
    Ok(())
}

/// The other voter with most of the log.
fn best_follower(core: &Core) -> Option<u64> {
    let membership = core.membership();
    let metrics = core.raft.data_metrics();
    let metrics = metrics.borrow_watched();
    let replication = metrics.replication.as_ref()?;
    let others = membership.voter_ids().filter(|id| *id != core.me.node_id);
    others.max_by_key(|id| replication.get(id).cloned().flatten().map(|matched| matched.index))
}

pub(super) async fn transfer_leader(core: &Arc<Core>, to: Option<u64>) -> Result<(), MembershipError> {
    let _one = core.changing.lock().await;
    check_leads(core)?;
    let Some(to) = to.or_else(|| best_follower(core)) else {
        return Err(refused("there is no other voter to lead"));
    };
    if to == core.me.node_id {
        return Ok(());
    }
    if !core.membership().voter_ids().any(|id| id == to) {
        return Err(refused(format!("node {to} is not a voter")));
    }
    core.raft.trigger().transfer_leader(to).await.map_err(of_raft)?;
    let mut view = core.view.subscribe();
    let led = view.wait_for(|view| view.leader.as_ref().is_some_and(|(id, _)| *id != core.me.node_id));
    match tokio::time::timeout(TRANSFER_WITHIN, led).await {
        Ok(Ok(view)) if view.leader.as_ref().is_some_and(|(id, _)| *id == to) => Ok(()),
        Ok(Ok(_)) => Err(failed(format!("another node than {to} took over"))),
        Ok(Err(_)) | Err(_) => Err(failed(format!("node {to} did not take over in time; try again"))),
    }
}
