//! Turns many waiting requests into few log entries.
//!
//! One task owns the queue. It takes whatever waits, up to an entry's limits, stamps it and proposes it; while entries
//! are under way more requests gather, so that load makes the entries bigger instead of more. Nothing lingers: a lone
//! request is proposed at once. How much may wait is in `room.rs`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::limits::{ENTRIES_IN_FLIGHT_MAX, ENTRY_BYTES_MAX, ENTRY_REQUESTS_MAX, QUEUE_COMMANDS_MAX};
use super::room::{Load, Place, Room};
use super::stamp::{ClockSamples, Stamper};
use crate::domain::codec;
use crate::domain::command::{Proposal, ProposalBody, Request};
use crate::domain::outcome::Decision;
use crate::domain::value::Millis;
use crate::raft::{AppliedEntry, ClusterView, ProposeError, ProposeOutcome, RaftNode};

/// A new leader asks this often whether a quorum's clocks are known. They come with the first heartbeats.
const CLOCKS_POLL: Duration = Duration::from_millis(5);

/// What came of a queued job. A dropped reply means: proposed, and its fate is not known.
#[derive(Debug)]
pub(super) enum JobResult {
    Decided(Decision),
    /// A tick or a staged part was applied.
    Applied,
    /// Certainly not in the log.
    NotLeader,
}

struct Job {
    body: JobBody,
    bytes: usize,
    reply: oneshot::Sender<JobResult>,
    /// Until it is cut into an entry.
    place: Place,
}

enum JobBody {
    Request(Box<Request>),
    /// An entry of its own.
    Entry(ProposalBody),
}

/// The queue's entrance.
#[derive(Clone)]
pub(super) struct Batcher {
    queue: mpsc::Sender<Job>,
    room: Arc<Room>,
}

/// Where the result of a job comes.
pub(super) type Queued = oneshot::Receiver<JobResult>;

/// The queue is full, or the batcher has stopped.
#[derive(Debug)]
pub(super) struct QueueFull;

impl Batcher {
    /// Starts the task. When it ends, `QueueFull` is all that callers see; the owner is told by the join handle.
    pub(super) fn start(raft: RaftNode, stamper: Arc<Stamper>) -> (Self, tokio::task::JoinHandle<()>) {
        // A job has at least one command: the room is full before the queue is.
        let (queue, jobs) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let worker = Worker { raft, stamper, jobs, next: None };
        (Self { queue, room: Arc::default() }, tokio::spawn(worker.run()))
    }

    /// Queues a request, or refuses at once.
    pub(super) fn request(&self, request: Request) -> Result<Queued, QueueFull> {
        let bytes = codec::encoded_len(&request);
        let place = self.room.take(Load::of(&request.command, bytes)).ok_or(QueueFull)?;
        self.push(JobBody::Request(Box::new(request)), bytes, place)
    }

    /// Queues all slices of an independent batch in their order, or refuses at once, and then none of them.
    pub(super) fn batch(&self, slices: Vec<Request>) -> Result<Vec<Queued>, QueueFull> {
        let load = |slice: &Request| Load::of(&slice.command, codec::encoded_len(slice));
        let loads: Vec<Load> = slices.iter().map(load).collect();
        let places = self.room.take_batch(&loads).ok_or(QueueFull)?;
        let entrances = self.queue.try_reserve_many(slices.len()).map_err(|_| QueueFull)?;
        let jobs = slices.into_iter().zip(loads).zip(places);
        let queued = entrances.zip(jobs).map(|(entrance, ((slice, load), place))| {
            let (reply, result) = oneshot::channel();
            entrance.send(Job { body: JobBody::Request(Box::new(slice)), bytes: load.bytes, reply, place });
            result
        });
        Ok(queued.collect())
    }

    /// Queues an entry of its own: a tick or a staged part.
    pub(super) fn entry(&self, body: ProposalBody) -> Result<Queued, QueueFull> {
        let bytes = codec::encoded_len(&body);
        let place = self.room.take(Load { commands: 1, bytes }).ok_or(QueueFull)?;
        self.push(JobBody::Entry(body), bytes, place)
    }

    fn push(&self, body: JobBody, bytes: usize, place: Place) -> Result<Queued, QueueFull> {
        let (reply, result) = oneshot::channel();
        self.queue.try_send(Job { body, bytes, reply, place }).map_err(|_| QueueFull)?;
        Ok(result)
    }

    /// What waits.
    pub(super) fn queued(&self) -> Load {
        self.room.load()
    }
}

struct Worker {
    raft: RaftNode,
    stamper: Arc<Stamper>,
    jobs: mpsc::Receiver<Job>,
    /// Taken from the queue, did not fit the entry before.
    next: Option<Job>,
}

type Replies = Vec<oneshot::Sender<JobResult>>;

impl Worker {
    async fn run(mut self) {
        let mut in_flight = FuturesUnordered::new();
        let mut views = self.raft.view_changes();
        let mut term = 0;
        loop {
            let room = in_flight.len() < ENTRIES_IN_FLIGHT_MAX;
            let first = match self.next.take() {
                Some(job) if room => job,
                waiting => {
                    self.next = waiting;
                    tokio::select! {
                        biased;
                        Some((replies, result)) = in_flight.next(), if !in_flight.is_empty() => {
                            answer(replies, result);
                            continue;
                        }
                        changed = views.changed() => {
                            if changed.is_err() {
                                return;
                            }
                            let view = views.borrow_and_update().clone();
                            if !view.is_leader || view.term != term {
                                // Their fate may never be known here: whoever waits asks again under the same key.
                                in_flight.clear();
                                term = view.term;
                            }
                            continue;
                        }
                        job = self.jobs.recv(), if room && self.next.is_none() => match job {
                            Some(job) => job,
                            None => return,
                        },
                    }
                }
            };
            let (body, replies) = self.cut(first);
            if let Some(entry) = self.propose(body, replies).await {
                in_flight.push(entry);
            }
        }
    }

    /// One entry's worth of what waits, beginning with `first`.
    fn cut(&mut self, first: Job) -> (ProposalBody, Replies) {
        drop(first.place);
        let mut replies = vec![first.reply];
        let request = match first.body {
            JobBody::Entry(body) => return (body, replies),
            JobBody::Request(request) => request,
        };
        let mut bytes = first.bytes;
        let mut requests = vec![*request];
        while requests.len() < ENTRY_REQUESTS_MAX && bytes < ENTRY_BYTES_MAX {
            let Ok(job) = self.jobs.try_recv() else { break };
            match job.body {
                JobBody::Request(request) if bytes + job.bytes <= ENTRY_BYTES_MAX => {
                    drop(job.place);
                    bytes += job.bytes;
                    requests.push(*request);
                    replies.push(job.reply);
                }
                JobBody::Request(_) | JobBody::Entry(_) => {
                    self.next = Some(job);
                    break;
                }
            }
        }
        metrics::histogram!("lastseat_entry_commands").record(requests.len() as f64);
        (ProposalBody::Requests(requests), replies)
    }

    /// Stamps and proposes one entry. `None`: refused, and everyone was told.
    async fn propose(
        &self,
        body: ProposalBody,
        replies: Replies,
    ) -> Option<impl Future<Output = (Replies, Result<AppliedEntry, ProposeOutcome>)> + Send + 'static> {
        let Some(stamp) = self.stamp().await else {
            refuse(replies);
            return None;
        };
        let proposal = Arc::new(Proposal { stamp, body });
        let encoded = Bytes::from(codec::encode(proposal.as_ref()));
        match self.raft.propose(proposal, encoded).await {
            Ok(result) => Some(async move { (replies, result.await) }),
            Err(ProposeError::NotLeader | ProposeError::Stopping) => {
                refuse(replies);
                None
            }
            Err(too_large @ ProposeError::TooLarge(_)) => {
                // Commands are bounded before they get here: this is a bug, and it must not be silent.
                tracing::error!(%too_large, "an entry was cut too big");
                refuse(replies);
                None
            }
        }
    }

    /// The stamp for now; waits, while this node leads, until a quorum's clocks are known.
    async fn stamp(&self) -> Option<Millis> {
        loop {
            let view = self.raft.view();
            if !view.is_leader {
                return None;
            }
            if let Some(stamp) = self.stamper.stamp(view.term, || clock_samples(&self.raft, &view)) {
                return Some(stamp);
            }
            tokio::time::sleep(CLOCKS_POLL).await;
        }
    }
}

/// What the voters' clocks say now.
pub(super) fn clock_samples(raft: &RaftNode, view: &ClusterView) -> ClockSamples {
    let of_voter = |(id, offset)| view.voters.contains(&id).then_some(offset);
    ClockSamples {
        offsets_ms: raft.clock_offsets().into_iter().filter_map(of_voter).collect(),
        voters: view.voters.len(),
        floor: raft.inspect(|inventory| inventory.clock()),
    }
}

fn refuse(replies: Replies) {
    for reply in replies {
        // A receiver that is gone has stopped waiting; there is nobody to tell.
        let _ = reply.send(JobResult::NotLeader);
    }
}

fn answer(replies: Replies, result: Result<AppliedEntry, ProposeOutcome>) {
    match result {
        Ok(entry) if entry.decisions.is_empty() => {
            for reply in replies {
                let _ = reply.send(JobResult::Applied);
            }
        }
        Ok(entry) => {
            for (reply, decision) in replies.into_iter().zip(entry.decisions) {
                let _ = reply.send(JobResult::Decided(decision));
            }
        }
        Err(ProposeOutcome::NotLeader) => refuse(replies),
        // Dropping the replies says: not known.
        Err(ProposeOutcome::Lost(_)) => drop(replies),
    }
}
