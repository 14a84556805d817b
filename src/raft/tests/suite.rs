//! openraft's own tests of a storage, on ours.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use super::*;
use crate::raft::log_store::LogStore;
use crate::raft::machine::{State, StateMachine};
use crate::raft::types::Types;

struct Builder;

/// Keeps the folder while a test runs.
struct Guard {
    _dir: tempfile::TempDir,
    wal: Wal,
    state: Arc<State>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(persister) = self.state.persister() {
            persister.shutdown().unwrap();
        }
        self.wal.close().unwrap();
    }
}

impl StoreBuilder<Types, LogStore, StateMachine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let fatal = Fatal::default();
        let wal = open_wal(dir.path(), false, &fatal);
        let opened = open_state(dir.path(), 0, &fatal);
        let state =
            State::new(opened.store, opened.inventory, &opened.applied, Retention::default(), noting(&fatal)).unwrap();
        state.start_persister().unwrap();
        let log = LogStore::new(wal.group(GROUP));
        Ok((Guard { _dir: dir, wal, state: Arc::clone(&state) }, log, StateMachine::new(state)))
    }
}

#[test]
fn the_storage_passes_the_tests_of_openraft() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Suite::test_all(Builder)).unwrap();
}
