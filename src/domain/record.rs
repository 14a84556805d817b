//! Records: the materialised state cut into pieces, for disk, snapshots and the state hash.

use serde::{Deserialize, Serialize};

/// Names one record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RecordKey {
    Header,
}

/// A record's contents. Cloning is cheap: big parts are shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordBody {
    Header,
}
