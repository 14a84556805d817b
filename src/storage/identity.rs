//! Who this data folder belongs to.

use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Made at a node's first start; the cluster is known once it was initialised or joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub node_id: u64,
    /// Made at random with the folder: a wiped folder under a known node id is another incarnation.
    pub incarnation: Uuid,
    pub cluster_id: Option<Uuid>,
}

/// Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

#[allow(unused_variables)]
impl Identity {
    /// Reads the folder's identity or makes one, and locks the folder against a second process.
    pub fn open(dir: &Path, node_id: u64, incarnation: Uuid) -> Result<(Self, FolderLock), IdentityError> {
        todo!()
    }

    /// Writes durably that this folder belongs to a cluster from now on. Refused when it belongs to another.
    pub fn adopt(&mut self, dir: &Path, cluster_id: Uuid) -> Result<(), IdentityError> {
        todo!()
    }
}

/// Held while the process uses the folder.
#[derive(Debug)]
pub struct FolderLock {}
