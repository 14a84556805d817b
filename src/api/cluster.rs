//! The cluster: who is in it, and changes of that.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::reading::{NoQuery, ReadHeaders, WireConsistency};
use super::reply::{Reply, value};
use super::request::{BODY_BYTES_MAX, Call};
use super::wire::nodes::{Cluster, StateHashView};
use super::wire::{TEXT_BYTES_MAX, json};
use crate::raft::NewMember;

/// Most nodes that a cluster is made of at once.
pub(super) const INIT_NODES_MAX: usize = 9;

/// A node that belongs to no cluster yet.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeAddress {
    #[schema(minimum = 1)]
    id: u64,
    /// URL of its API, as clients reach it.
    #[schema(example = "http://127.0.0.1:7401")]
    api: String,
    /// `host:port` as the other nodes reach it.
    #[schema(example = "127.0.0.1:7501")]
    peer: String,
    #[serde(default)]
    region: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InitCluster {
    /// All first members, the node that is asked among them.
    nodes: Vec<NodeAddress>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransferLeader {
    /// The new leader; the most up-to-date other voter if left out.
    to: Option<u64>,
}

/// A change of the cluster that took effect.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {
    #[schema(value_type = super::render::AppliedOutcome)]
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
}

impl Done {
    fn new(cluster_id: Option<String>) -> Self {
        Self { outcome: "applied", cluster_id }
    }
}

impl NodeAddress {
    fn member(self, field: &str) -> Result<NewMember, Problem> {
        if self.id == 0 {
            return Err(Problem::invalid(format!("{field}id is 0; node ids begin at 1 and are never used again.")));
        }
        let is_url = self.api.starts_with("http://") || self.api.starts_with("https://");
        if !is_url || self.api.len() > TEXT_BYTES_MAX || self.api.chars().any(|c| !c.is_ascii_graphic()) {
            return Err(Problem::invalid(format!("{field}api is no URL; give one such as http://10.0.0.1:7400.")));
        }
        let port = self
            .peer
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) || self.peer.len() > TEXT_BYTES_MAX {
            return Err(Problem::invalid(format!("{field}peer is no address; give host:port such as 10.0.0.1:7500.")));
        }
        let region = self.region.unwrap_or_default();
        if region.len() > TEXT_BYTES_MAX {
            return Err(Problem::invalid(format!("{field}region is too long; give at most {TEXT_BYTES_MAX} bytes.")));
        }
        Ok(NewMember { id: self.id, api: self.api, peer: self.peer, region })
    }
}

/// Parses a body of an administrator's call.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    json::parse(body).map_err(|error| Problem::malformed(error.message))
}

/// The cluster as its leader sees it.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "cluster", params(ReadHeaders),
    responses(
        (status = 200, description = "The nodes", body = Cluster),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn show(State(api): State<Api>, call: Call) -> Reply {
    let NoQuery {} = call.query()?;
    let status = api.service().cluster(call.deadline()?).await;
    Ok(value(&Cluster {
        cluster_id: status.cluster_id.map(|id| id.to_string()),
        leader: status.leader,
        term: status.term,
        revision: status.revision,
        nodes: status.nodes.iter().map(Into::into).collect(),
    }))
}

/// A hash of this node's state, to be compared with other nodes' at the same log index.
#[utoipa::path(
    get, path = "/v1/cluster/state-hash", tag = "cluster", params(ReadHeaders),
    responses(
        (status = 200, description = "The hash", body = StateHashView),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn state_hash(State(api): State<Api>, call: Call) -> Reply {
    let NoQuery {} = call.query()?;
    // Only this node's own state is asked for; a node that is still recovering has none to show.
    api.permit(&call, Some(WireConsistency::Stale), None).await?;
    let node = api.service().facts().node_id;
    let (log_index, revision, frozen) =
        api.service().inspect_at(|index, inventory| (index, inventory.revision().0, inventory.freeze()));
    let hash = api.aside(&call, move || frozen.state_hash()).await?;
    let mut text = format!("v{}:", hash.version);
    for byte in hash.hash {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    Ok(value(&StateHashView { node, log_index, revision, hash: text }))
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Makes a new cluster of nodes that belong to none yet.
#[utoipa::path(
    post, path = "/v1/cluster/init", tag = "cluster", params(ReadHeaders), request_body = InitCluster,
    responses(
        (status = 200, description = "The cluster is made", body = Done),
        (status = "default", description = "Not made, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn init(State(api): State<Api>, mut call: Call) -> Reply {
    let NoQuery {} = call.query()?;
    let (body, _room) = call.json_body(&api, BODY_BYTES_MAX).await?;
    let wire: InitCluster = parse(&body)?;
    if !(1..=INIT_NODES_MAX).contains(&wire.nodes.len()) {
        return Err(Problem::invalid(format!(
            "nodes has {} entries; name 1 to {INIT_NODES_MAX} nodes, this one among them.",
            wire.nodes.len()
        )));
    }
    let members = wire.nodes.into_iter().enumerate().map(|(at, node)| node.member(&format!("nodes[{at}].")));
    let cluster_id = api.service().init_cluster(members.collect::<Result<_, _>>()?).await?;
    Ok(value(&Done::new(Some(cluster_id.to_string()))))
}

/// Adds a node: first as a learner, then, when it has caught up, as a voter.
#[utoipa::path(
    post, path = "/v1/cluster/members", tag = "cluster", params(ReadHeaders), request_body = NodeAddress,
    responses(
        (status = 200, description = "The node is a voter", body = Done),
        (status = "default", description = "Not added, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn add_member(State(api): State<Api>, mut call: Call) -> Reply {
    let NoQuery {} = call.query()?;
    let (body, _room) = call.json_body(&api, BODY_BYTES_MAX).await?;
    let wire: NodeAddress = parse(&body)?;
    api.service().add_member(wire.member("")?, call.deadline()?).await?;
    Ok(value(&Done::new(None)))
}

/// Removes a member for ever: its id is never used again.
#[utoipa::path(
    delete, path = "/v1/cluster/members/{id}", tag = "cluster", params(("id" = u64, Path), ReadHeaders),
    responses(
        (status = 200, description = "The node is no member", body = Done),
        (status = "default", description = "Not removed, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn remove_member(State(api): State<Api>, mut call: Call) -> Reply {
    let NoQuery {} = call.query()?;
    call.no_body(&api).await?;
    let id = call.segment("id")?;
    let id = id.parse().map_err(|_| {
        Problem::new(ProblemCode::MemberNotFound, "A member's id is a whole number; look at GET /v1/cluster.")
    })?;
    api.service().remove_member(id, call.deadline()?).await?;
    Ok(value(&Done::new(None)))
}

/// Hands leadership to another voter.
#[utoipa::path(
    post, path = "/v1/cluster/transfer-leader", tag = "cluster", params(ReadHeaders),
    request_body(content = TransferLeader, description = "May be left out"),
    responses(
        (status = 200, description = "Another node leads", body = Done),
        (status = "default", description = "Not handed over, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn transfer_leader(State(api): State<Api>, mut call: Call) -> Reply {
    let NoQuery {} = call.query()?;
    let (body, _room) = call.json_body(&api, BODY_BYTES_MAX).await?;
    let wire = if body.is_empty() { TransferLeader::default() } else { parse(&body)? };
    api.service().transfer_leader(wire.to, call.deadline()?).await?;
    Ok(value(&Done::new(None)))
}
