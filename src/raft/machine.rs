//! The state machine: the inventory, where in the log it stands, and what the persister has not taken yet.
//!
//! All of it is behind one lock. Apply takes it once per entry and lets go before it answers anybody; readers take it
//! shared, for moments.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::sync::watch;

use super::Member;
use super::agreement::contradiction;
use super::entry::{decode_membership, encode_membership};
use super::snapshot::{SnapshotBuilder, SnapshotHandle};
use super::types::{
    Answers, CommittedLeader, Membership, RaftEntry, RaftLogId, SnapshotMeta, StoredMembership, Types, to_ours, to_raft,
};
use crate::domain::change::ChangeSet;
use crate::domain::command::{Command, Proposal, ProposalBody};
use crate::domain::inventory::{Frozen, Inventory};
use crate::storage::LogId;
use crate::storage::background::taking_long;
use crate::storage::state::persister::{Persister, PersisterOptions};
use crate::storage::state::{AppliedPoint, PersistBatch, StateStore};
use crate::watch::{Hub, Retention};

/// How long to wait for the state on an async worker. Whoever waits longer, behind the definition of a big event, lets
/// the worker's other tasks move to another thread first: heartbeats among them.
const LOOK_PATIENCE: Duration = Duration::from_millis(2);
/// Entries applied before their answers go out and the new revision is published.
const ANSWERS_AT_ONCE: usize = 64;

/// What the lock guards.
pub(super) struct Machine {
    inventory: Inventory,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Ids that were members once. Part of the replicated state: every node refuses them for ever.
    removed: BTreeSet<u64>,
    /// Change sets that the persister has not taken yet, in order.
    history: Vec<Arc<ChangeSet>>,
    /// Revision of the batch that the persister took last.
    taken_revision: u64,
    /// Bytes of entries applied that the persister has not taken yet, and those it took last.
    pending_bytes: u64,
    taken_bytes: u64,
    /// Something was applied that the persister has not taken yet.
    pending: bool,
}

impl Machine {
    fn point(&self) -> AppliedPoint {
        AppliedPoint { last_applied: self.applied, membership: encode_membership(&self.membership, &self.removed) }
    }

    fn note_membership(&mut self, id: &RaftLogId, membership: &Membership) {
        let gone = self.membership.nodes().map(|(id, _)| *id).filter(|id| membership.get_node(id).is_none());
        self.removed.extend(gone.collect::<Vec<_>>());
        self.membership = StoredMembership::new(Some(*id), membership.clone());
    }
}

/// What this node shares of its state machine.
pub(super) struct State {
    machine: RwLock<Machine>,
    /// Revision and index of what was applied, published after each run of entries.
    revision: watch::Sender<u64>,
    applied: watch::Sender<u64>,
    /// Id of the newest entry that was applied. Apart from the lock of the machine, which an apply can hold for long.
    applied_id: Mutex<Option<LogId>>,
    pub(super) store: StateStore,
    pub(super) hub: Arc<Hub>,
    persister: OnceLock<Persister>,
    removed: watch::Sender<Arc<BTreeSet<u64>>>,
    counting_replay: AtomicBool,
    replayed: AtomicU64,
    on_fatal: Arc<dyn Fn(String) + Send + Sync>,
    apply_seconds: metrics::Histogram,
}

impl State {
    pub(super) fn new(
        store: StateStore,
        inventory: Inventory,
        applied: &AppliedPoint,
        retention: Retention,
        on_fatal: Arc<dyn Fn(String) + Send + Sync>,
    ) -> io::Result<Arc<Self>> {
        let (membership, removed) = decode_membership(&applied.membership)?;
        let machine = Machine {
            applied: applied.last_applied,
            membership,
            removed: removed.clone(),
            history: Vec::new(),
            taken_revision: inventory.revision().0,
            pending_bytes: 0,
            taken_bytes: 0,
            pending: false,
            inventory,
        };
        let index = applied.last_applied.map_or(0, |id| id.index);
        let revision = machine.inventory.revision().0;
        Ok(Arc::new(Self {
            hub: Hub::new(Arc::new(store.clone()), revision, retention),
            revision: watch::Sender::new(revision),
            applied: watch::Sender::new(index),
            applied_id: Mutex::new(applied.last_applied),
            persister: OnceLock::new(),
            removed: watch::Sender::new(Arc::new(removed)),
            machine: RwLock::new(machine),
            store,
            counting_replay: AtomicBool::new(true),
            replayed: AtomicU64::new(0),
            on_fatal,
            apply_seconds: metrics::histogram!("lastseat_apply_seconds"),
        }))
    }

    /// Starts the thread that brings the store after this state.
    pub(super) fn start_persister(self: &Arc<Self>) -> io::Result<()> {
        let state = Arc::downgrade(self);
        let collect = Box::new(move || state.upgrade().and_then(|state| state.collect()));
        let persister = Persister::spawn(self.store.clone(), PersisterOptions::default(), collect)?;
        let _ = self.persister.set(persister);
        Ok(())
    }

    /// `None`: not started yet.
    pub(super) fn persister(&self) -> Option<&Persister> {
        self.persister.get()
    }

    fn look(&self) -> RwLockReadGuard<'_, Machine> {
        self.machine.try_read_for(LOOK_PATIENCE).unwrap_or_else(|| taking_long(|| self.machine.read()))
    }

    pub(super) fn inspect<R>(&self, look: impl FnOnce(u64, &Inventory) -> R) -> R {
        let machine = self.look();
        look(machine.applied.map_or(0, |id| id.index), &machine.inventory)
    }

    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Index of the newest entry that was applied; 0 before the first.
    pub(super) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    pub(super) fn applied_id(&self) -> Option<LogId> {
        *self.applied_id.lock()
    }

    #[cfg(test)]
    pub(super) fn pretend_applied(&self, id: LogId) {
        *self.applied_id.lock() = Some(id);
    }

    /// Ends the process: this node holds what the cluster does not. Returns the error to give to openraft.
    pub(super) fn contradicted(&self, said: Option<LogId>) -> io::Error {
        let why = contradiction(self.applied_id(), said);
        (self.on_fatal)(why.clone());
        io::Error::other(why)
    }

    pub(super) fn removed(&self) -> Arc<BTreeSet<u64>> {
        Arc::clone(&self.removed.borrow())
    }

    pub(super) fn replayed(&self) -> u64 {
        self.replayed.load(Ordering::Relaxed)
    }

    pub(super) fn end_of_replay(&self) {
        self.counting_replay.store(false, Ordering::Relaxed);
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        let machine = self.look();
        machine.pending_bytes + machine.taken_bytes
    }

    /// All that changed since the last call, and the point it leads to. `None`: nothing did. Called by the persister,
    /// which has written the batch before when it asks for the next.
    fn collect(&self) -> Option<PersistBatch> {
        let mut machine = self.machine.write();
        self.hub.written(machine.taken_revision);
        machine.taken_bytes = std::mem::take(&mut machine.pending_bytes);
        if !std::mem::replace(&mut machine.pending, false) {
            return None;
        }
        let history = std::mem::take(&mut machine.history);
        machine.taken_revision = machine.inventory.revision().0;
        Some(PersistBatch { applied: machine.point(), records: machine.inventory.take_dirty(), history })
    }

    /// A view of now that stays as it is while apply goes on.
    pub(super) fn freeze(&self) -> (Frozen, AppliedPoint) {
        let machine = self.look();
        (machine.inventory.freeze(), machine.point())
    }

    /// Puts another state in place of everything. A batch of the old one that is under way is void to the store.
    pub(super) fn replace(&self, inventory: Inventory, point: &AppliedPoint) -> io::Result<()> {
        let (membership, removed) = decode_membership(&point.membership)?;
        let mut machine = self.machine.write();
        machine.inventory = inventory;
        machine.applied = point.last_applied;
        *self.applied_id.lock() = point.last_applied;
        machine.membership = membership;
        machine.removed = removed;
        machine.history.clear();
        machine.taken_revision = machine.inventory.revision().0;
        machine.pending = false;
        machine.pending_bytes = 0;
        machine.taken_bytes = 0;
        self.hub.reset(machine.taken_revision);
        drop(machine);
        self.publish();
        Ok(())
    }

    /// Tells everybody who follows how far the state is, once for each run of entries.
    fn publish(&self) {
        let machine = self.look();
        let (revision, applied) = (machine.inventory.revision().0, machine.applied.map_or(0, |id| id.index));
        let removed = (machine.removed != **self.removed.borrow()).then(|| Arc::new(machine.removed.clone()));
        let clock = machine.inventory.clock();
        drop(machine);
        self.hub.publish(clock);
        if let Some(removed) = removed {
            self.removed.send_replace(removed);
        }
        self.revision.send_if_modified(|old| std::mem::replace(old, revision) != revision);
        self.applied.send_if_modified(|old| std::mem::replace(old, applied) != applied);
        if let Some(persister) = self.persister.get() {
            persister.notify();
        }
    }

    /// Applies one entry; gives the answers when somebody waits for them.
    fn apply(&self, entry: RaftEntry, wanted: bool) -> io::Result<Answers> {
        let id = to_ours(&entry.log_id);
        // Decoded before the lock is taken.
        let proposal = match &entry.payload {
            EntryPayload::Normal(payload) => Some(payload.proposal().map_err(|e| {
                io::Error::new(io::ErrorKind::InvalidData, format!("log entry {} cannot be applied: {e}", id.index))
            })?),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        };
        let mut answers = Answers::default();
        let started = Instant::now();
        let mut machine = self.machine.write();
        match (&entry.payload, proposal) {
            (EntryPayload::Normal(payload), Some(proposal)) => {
                let mut apply = || machine.inventory.apply(&proposal);
                let applied = if is_long(&proposal) { taking_long(apply) } else { apply() };
                machine.pending_bytes += payload.stored().len() as u64;
                for set in applied.change_sets {
                    let set = Arc::new(set);
                    self.hub.append(&set, started);
                    machine.history.push(set);
                }
                if wanted {
                    answers = Answers(applied.decisions);
                }
            }
            (EntryPayload::Membership(membership), _) => machine.note_membership(&entry.log_id, membership),
            (EntryPayload::Blank | EntryPayload::Normal(_), _) => {}
        }
        machine.applied = Some(id);
        *self.applied_id.lock() = Some(id);
        machine.pending = true;
        drop(machine);
        self.apply_seconds.record(started.elapsed());
        Ok(answers)
    }
}

/// Whether applying it can take as long as an event is big.
fn is_long(proposal: &Proposal) -> bool {
    let ProposalBody::Requests(requests) = &proposal.body else { return false };
    requests.iter().any(|request| matches!(request.command, Command::Define { .. } | Command::Delete { .. }))
}

/// Ends the process when apply panics: openraft's worker would only fall silent.
struct Alarm<'a>(&'a State);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0.on_fatal)("applying a log entry panicked; the state in memory cannot be trusted".into());
        }
    }
}

/// The adapter openraft drives.
pub(super) struct StateMachine {
    state: Arc<State>,
}

impl StateMachine {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    fn flush(&self, answers: &mut Vec<(ApplyResponder<Types>, Answers)>) {
        self.state.publish();
        for (responder, answer) in answers.drain(..) {
            responder.send(answer);
        }
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), io::Error> {
        let machine = self.state.look();
        Ok((machine.applied.as_ref().map(to_raft), machine.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let state = Arc::clone(&self.state);
        let alarm = Alarm(&state);
        let mut entries = entries;
        let mut answers = Vec::new();
        let mut count = 0;
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let answer = state.apply(entry, responder.is_some())?;
            answers.extend(responder.map(|responder| (responder, answer)));
            count += 1;
            if count % ANSWERS_AT_ONCE == 0 {
                self.flush(&mut answers);
            }
        }
        self.flush(&mut answers);
        if state.counting_replay.load(Ordering::Relaxed) {
            state.replayed.fetch_add(count as u64, Ordering::Relaxed);
        }
        drop(alarm);
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder::new(Arc::clone(&self.state))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotHandle) -> Result<(), io::Error> {
        super::snapshot::install(Arc::clone(&self.state), meta.clone(), snapshot).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<openraft::Snapshot<CommittedLeader, u64, Member, SnapshotHandle>>, io::Error> {
        self.state.store.latest_snapshot().map(super::snapshot::of_file).transpose()
    }
}
