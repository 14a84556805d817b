//! Snapshots as openraft sees them: a durable file, with what it covers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use openraft::storage::RaftSnapshotBuilder;
use parking_lot::Mutex;

use super::Member;
use super::entry::decode_membership;
use super::machine::State;
use super::types::{CommittedLeader, SnapshotMeta, to_ours, to_raft};
use crate::domain::inventory::Frozen;
use crate::storage::state::{AppliedPoint, SnapshotFile};

/// A file that holds a snapshot: one of ours, or one received and not yet checked.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotHandle {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

pub(crate) type Snapshot = openraft::Snapshot<CommittedLeader, u64, Member, SnapshotHandle>;

pub(super) fn of_file(file: SnapshotFile) -> io::Result<Snapshot> {
    let (last_membership, _) = decode_membership(&file.applied.membership)?;
    let meta = SnapshotMeta { last_log_id: file.applied.last_applied.as_ref().map(to_raft), last_membership };
    Ok(Snapshot { meta, snapshot: SnapshotHandle { path: file.path, bytes: file.bytes } })
}

/// Holds a frozen view of the state; apply goes on meanwhile.
pub(crate) struct SnapshotBuilder {
    state: Arc<State>,
    one_at_a_time: Arc<Mutex<()>>,
    view: (Frozen, AppliedPoint),
}

impl SnapshotBuilder {
    pub(super) fn new(state: Arc<State>, one_at_a_time: Arc<Mutex<()>>) -> Self {
        let view = state.freeze();
        Self { state, one_at_a_time, view }
    }
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = SnapshotHandle;

    /// Returns when the file is durable: openraft drops log entries on the strength of it.
    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (frozen, point) = self.view.clone();
        // The file takes the history from the store, which runs behind: let it come up to the frozen view first.
        self.state.persister.wait_for(point.last_applied.map_or(0, |id| id.index)).await?;
        let (state, guard) = (Arc::clone(&self.state), Arc::clone(&self.one_at_a_time));
        let write = move || {
            let _one = guard.lock();
            state.store.write_snapshot(&frozen, &point).map_err(io::Error::other)
        };
        of_file(blocking(write).await?)
    }
}

/// Checks the file to its last byte, makes it this node's state on disk, then in memory.
pub(super) async fn install(
    state: Arc<State>,
    one_at_a_time: Arc<Mutex<()>>,
    meta: SnapshotMeta,
    received: SnapshotHandle,
) -> io::Result<()> {
    blocking(move || {
        let _one = one_at_a_time.lock();
        // Held to the end: a batch of the old state must not land in the new one.
        let still = state.persister.hold();
        let (inventory, point) = state.store.install_snapshot(&received.path).map_err(io::Error::other)?;
        if point.last_applied != meta.last_log_id.as_ref().map(to_ours) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the snapshot ends at {:?}, and the leader said {:?}", point.last_applied, meta.last_log_id),
            ));
        }
        state.replace(inventory, &point)?;
        still.moved_to(point.last_applied.map_or(0, |id| id.index));
        Ok(())
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(io::Error::other(format!("work on a snapshot ended early: {e}"))),
    }
}

use super::types::Types;
