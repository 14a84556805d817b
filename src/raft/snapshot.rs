//! Snapshots as openraft sees them: a durable file, with what it covers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::RaftSnapshotBuilder;

use super::Member;
use super::entry::decode_membership;
use super::machine::State;
use super::types::{CommittedLeader, SnapshotMeta, Types, to_ours, to_raft};
use crate::domain::inventory::Frozen;
use crate::storage::state::{AppliedPoint, SnapshotFile};

const PERSISTER_LOOK_EVERY: Duration = Duration::from_millis(20);

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
    view: (Frozen, AppliedPoint),
}

impl SnapshotBuilder {
    pub(super) fn new(state: Arc<State>) -> Self {
        let view = state.freeze();
        Self { state, view }
    }
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = SnapshotHandle;

    /// Returns when the file is durable: openraft drops log entries on the strength of it.
    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (frozen, point) = self.view.clone();
        let state = Arc::clone(&self.state);
        // The history in the file comes from the store, which runs behind. Waiting here has no limit: the store waits
        // too, but takes a slow disk for an error, and an error here ends the process.
        let upto = point.last_applied.map_or(0, |id| id.index);
        while state.persister().is_some_and(|persister| persister.persisted_index() < upto) {
            tokio::time::sleep(PERSISTER_LOOK_EVERY).await;
        }
        let write = move || state.store.write_snapshot(&frozen, &point).map_err(io::Error::other);
        of_file(blocking(write).await?)
    }
}

/// Whether a file that came from another node is whole, and the snapshot that was announced. openraft is given no other:
/// an error from [`install`] ends the process, and here it is only the way that failed.
pub(super) async fn check(state: Arc<State>, meta: SnapshotMeta, received: SnapshotHandle) -> io::Result<()> {
    blocking(move || {
        let found = of_file(state.store.check_snapshot(&received.path).map_err(io::Error::other)?)?.meta;
        match found == meta {
            true => Ok(()),
            false => Err(io::Error::other(format!("the snapshot is of {found:?}, and {meta:?} was announced"))),
        }
    })
    .await
}

/// Checks the file to its last byte, makes it this node's state on disk, then in memory.
pub(super) async fn install(state: Arc<State>, meta: SnapshotMeta, received: SnapshotHandle) -> io::Result<()> {
    // openraft installs only what it takes for newer. A later leader's id at an earlier place passes for that.
    let said = meta.last_log_id.as_ref().map(to_ours);
    let applied = state.applied_id();
    if said != applied && said.map(|id| id.index) <= applied.map(|id| id.index) {
        return Err(state.contradicted(said));
    }
    blocking(move || {
        let (inventory, point) = state.store.install_snapshot(&received.path).map_err(io::Error::other)?;
        if point.last_applied != said {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the snapshot ends at {:?}, and the leader said {:?}", point.last_applied, meta.last_log_id),
            ));
        }
        state.replace(inventory, &point)?;
        state.hub.index().map_err(io::Error::other)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(io::Error::other(format!("work on a snapshot ended early: {e}"))),
    }
}
