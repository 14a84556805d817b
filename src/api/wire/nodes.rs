//! What goes out about nodes: the cluster, its members, a node's state hash.

use serde::Serialize;
use utoipa::ToSchema;

use crate::raft::{NodeStatus, Role};

/// A hash over the canonical encoding of this node's state.
#[derive(Debug, Serialize, ToSchema)]
pub struct StateHashView {
    pub node: u64,
    pub log_index: u64,
    pub revision: u64,
    /// `v` and the version of the encoding, a colon, 64 hexadecimal digits.
    pub hash: String,
}

/// The cluster as its leader sees it, or this node where no leader answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cluster<'a> {
    pub cluster_id: Option<String>,
    pub leader: Option<u64>,
    pub term: u64,
    pub revision: u64,
    pub nodes: Vec<Node<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Node<'a> {
    id: u64,
    api: &'a str,
    peer: &'a str,
    region: &'a str,
    #[schema(value_type = NodeRole)]
    role: NodeRole,
    reachable: bool,
    /// Entries that the node lacks; null where it is not known.
    log_lag: Option<u64>,
    /// The node's wall clock against the median; null where it is not known.
    clock_skew_ms: Option<i64>,
    version: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    Leader,
    Follower,
    Learner,
}

impl<'a> From<&'a NodeStatus> for Node<'a> {
    fn from(node: &'a NodeStatus) -> Self {
        Self {
            id: node.id,
            api: &node.member.api,
            peer: &node.member.peer,
            region: &node.member.region,
            role: match node.role {
                Role::Leader => NodeRole::Leader,
                Role::Follower => NodeRole::Follower,
                Role::Learner => NodeRole::Learner,
            },
            reachable: node.reachable,
            log_lag: node.log_lag,
            clock_skew_ms: node.clock_skew_ms,
            version: node.version.as_deref(),
        }
    }
}
