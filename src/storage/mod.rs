//! What a node keeps on disk: the write-ahead log, the sled state and history, snapshots, the node's identity.

pub mod background;
mod durable;
pub mod identity;
pub mod state;
pub mod wal;

use serde::{Deserialize, Serialize};

/// One Raft group. There is one at first; every record and frame carries it from the first day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u32);

/// The only group there is today.
pub const GROUP: GroupId = GroupId(0);

/// Names one log entry: who led when it was made, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    pub term: u64,
    pub node_id: u64,
    pub index: u64,
}
