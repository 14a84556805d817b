//! openraft's network: what this node sends to one peer.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory};
use parking_lot::Mutex;

use super::link::{Link, Pending, Slot, Target, idle_limit};
use super::peers::{Me, Peers};
use super::snapshot::{Snapshot, SnapshotHandle};
use super::types::{RaftVote, Types};
use super::wire::{Answer, Append, Ballot, Lane, Request, vote_bytes};
use super::{CallError, Member};

/// Appends to one peer without an answer.
pub(super) const APPENDS_IN_FLIGHT_MAX: usize = 32;

type Rpc<T> = Result<T, RPCError<Types>>;

/// The ways out of this node.
pub(super) struct Net {
    pub(super) me: Arc<Me>,
    pub(super) peers: Arc<Peers>,
    /// Links shared by all callers, by peer and lane.
    slots: Mutex<HashMap<(u64, Lane), Arc<Slot>>>,
    next_stream: AtomicU64,
    /// No peer is sent entries from before this index: openraft drops none that it is sending.
    dropping: Arc<AtomicU64>,
    /// How long ago a quorum confirmed this node as leader, for heartbeats to carry.
    quorum_age: Box<dyn Fn() -> Option<u64> + Send + Sync>,
}

impl Net {
    pub(super) fn new(
        me: Arc<Me>,
        peers: Arc<Peers>,
        quorum_age: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (quorum_age, dropping) = (Box::new(quorum_age), Arc::default());
        Arc::new(Self { me, peers, slots: Mutex::default(), next_stream: AtomicU64::new(1), dropping, quorum_age })
    }

    /// A request on a shared lane.
    pub(super) async fn call(
        &self,
        lane: Lane,
        target: &Target,
        request: &Request,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let slot = {
            let mut slots = self.slots.lock();
            Arc::clone(slots.entry((target.id, lane)).or_insert_with(|| Arc::new(Slot::new(lane))))
        };
        let at = tokio::time::Instant::from_std(deadline);
        let link = match tokio::time::timeout_at(at, slot.get(&self.me, target)).await {
            Ok(Ok(link)) => link,
            Ok(Err(e)) => return Err(CallError::NotSent(e.to_string())),
            Err(_) => return Err(CallError::NotSent(format!("node {} was not reached in time", target.id))),
        };
        link.call(request, deadline).await
    }

    /// Ends appends to peers that still need entries from before `index`. openraft must have been told to drop these: it
    /// then does, and sends the snapshot instead.
    pub(super) fn stop_sending_before(&self, index: u64) {
        self.dropping.fetch_max(index, Ordering::Relaxed);
    }

    fn note_clock(&self, id: u64, wall_ms: u64, sent: Instant) {
        self.peers.note_clock(id, wall_ms, sent, self.me.wall_ms());
    }

    /// Asks a peer for its clock and version.
    pub(super) async fn ping(&self, target: &Target, within: Duration) {
        let sent = Instant::now();
        let pong = self.call(Lane::Control, target, &Request::Ping, sent + within).await;
        if let Ok(Answer::Pong { wall_ms, version }) = pong {
            self.note_clock(target.id, wall_ms, sent);
            self.peers.note_version(target.id, version);
        }
    }
}

/// Makes clients for openraft.
pub(super) struct Network(pub(super) Arc<Net>);

impl Network {
    fn client(&self, id: u64, node: &Member, lane: Lane) -> PeerClient {
        let target = target_of(id, node);
        PeerClient { net: Arc::clone(&self.0), target, lane, slot: Slot::new(lane) }
    }
}

pub(super) fn target_of(id: u64, node: &Member) -> Target {
    Target { id, peer: node.peer.clone(), incarnation: node.incarnation }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, node: &Member) -> PeerClient {
        self.client(target, node, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> PeerClient {
        self.client(target, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> PeerClient {
        self.client(target, node, Lane::Snapshot)
    }
}

/// One peer, for one purpose.
pub(super) struct PeerClient {
    net: Arc<Net>,
    target: Target,
    lane: Lane,
    slot: Slot,
}

fn unreachable_peer(e: &io::Error) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(e))
}

fn broken(e: &io::Error) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(e))
}

fn of_call(e: CallError) -> RPCError<Types> {
    match e {
        CallError::NotSent(why) => RPCError::Unreachable(Unreachable::from_string(why)),
        CallError::NoAnswer(why) => RPCError::Network(NetworkError::from_string(why)),
    }
}

fn unexpected(answer: &Answer) -> RPCError<Types> {
    RPCError::Network(NetworkError::from_string(format!("an answer of another kind: {answer:?}")))
}

impl PeerClient {
    async fn ask(&self, request: &Request, within: Duration) -> Rpc<Answer> {
        self.net.call(Lane::Control, &self.target, request, Instant::now() + within).await.map_err(of_call)
    }

    /// A heartbeat: one request, one answer, on a connection that carries nothing else.
    async fn heartbeat(&self, append: AppendEntriesRequest<Types>, within: Duration) -> Rpc<StreamAppendResult<Types>> {
        let sent = Instant::now();
        let link = self.slot.get(&self.net.me, &self.target).await.map_err(|e| unreachable_peer(&e))?;
        let request = Request::Heartbeat { append: Append::of(&append), quorum_age_ms: (self.net.quorum_age)() };
        match link.call(&request, sent + within).await.map_err(of_call)? {
            Answer::Beat { appended, wall_ms } => {
                self.net.note_clock(self.target.id, wall_ms, sent);
                appended.into_result().map_err(|e| broken(&e))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn ballot(&self, request: VoteRequest<Types>, pre: bool, within: Duration) -> Rpc<VoteResponse<Types>> {
        let sent = Instant::now();
        let ballot = Ballot::of(&request);
        let request = match pre {
            true => Request::PreVote { ballot },
            false => Request::Vote { ballot },
        };
        match self.ask(&request, within).await? {
            Answer::Voted { voted, wall_ms } => {
                self.net.note_clock(self.target.id, wall_ms, sent);
                voted.into_response().map_err(|e| broken(&e))
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// A run of appends on one link: requests leave as they come, answers come back in their order.
struct AppendRun<S> {
    input: S,
    dropping: Arc<AtomicU64>,
    input_ended: bool,
    link: Arc<Link>,
    stream: u64,
    /// With the index of the entry before those sent.
    in_flight: VecDeque<(u64, Pending)>,
    idle: Duration,
    ended: bool,
}

enum Step {
    Sent,
    InputEnded,
    Got(io::Result<Answer>),
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + Unpin + Send> AppendRun<S> {
    async fn next(&mut self) -> Option<Rpc<StreamAppendResult<Types>>> {
        while !self.ended {
            if self.input_ended && self.in_flight.is_empty() {
                return None;
            }
            match self.step().await {
                Ok(Step::Sent) => {}
                Ok(Step::InputEnded) => self.input_ended = true,
                Ok(Step::Got(answer)) => {
                    let result = take_appended(answer);
                    self.ended = !matches!(result, Ok(Ok(_)));
                    return Some(result);
                }
                Err(e) => {
                    self.ended = true;
                    return Some(Err(unreachable_peer(&e)));
                }
            }
        }
        None
    }

    async fn step(&mut self) -> io::Result<Step> {
        let room = !self.input_ended && self.in_flight.len() < APPENDS_IN_FLIGHT_MAX;
        let Self { input, in_flight, link, stream, idle, dropping, .. } = self;
        if in_flight.front().is_some_and(|(after, _)| *after < dropping.load(Ordering::Relaxed)) {
            return Err(io::Error::other("it is too slow for what this node keeps of its log, and gets the snapshot"));
        }
        let request = match in_flight.front_mut() {
            Some((_, first)) => tokio::select! {
                biased;
                answer = tokio::time::timeout(*idle, first.answer()) => {
                    let Ok(answer) = answer else {
                        link.give_up();
                        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no append was answered for {idle:?}")));
                    };
                    in_flight.pop_front();
                    return Ok(Step::Got(answer));
                }
                request = input.next(), if room => request,
            },
            None => input.next().await,
        };
        let Some(request) = request else { return Ok(Step::InputEnded) };
        let after = request.prev_log_id.map_or(0, |id| id.index);
        let request = Request::Append { stream: *stream, append: Append::of(&request) };
        let pending = tokio::time::timeout(*idle, link.send(&request)).await;
        match pending {
            Ok(pending) => in_flight.push_back((after, pending?)),
            Err(_) => {
                link.give_up();
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no append could be sent for {idle:?}")));
            }
        }
        Ok(Step::Sent)
    }
}

fn take_appended(answer: io::Result<Answer>) -> Rpc<StreamAppendResult<Types>> {
    match answer {
        Ok(Answer::Appended(appended)) => appended.into_result().map_err(|e| broken(&e)),
        Ok(Answer::Refused(why)) => Err(RPCError::Unreachable(Unreachable::from_string(why))),
        Ok(other) => Err(unexpected(&other)),
        Err(e) => Err(broken(&e)),
    }
}

impl RaftNetworkV2<Types> for PeerClient {
    type SnapshotData = SnapshotHandle;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<Types>> {
        self.heartbeat(rpc, option.hard_ttl()).await.map(AppendEntriesResponse::from)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<Types>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            if self.lane == Lane::Heartbeat {
                let beats = futures_util::stream::once(async move {
                    let request = input.next().await?;
                    Some(self.heartbeat(request, option.hard_ttl()).await)
                });
                return Ok(beats.filter_map(std::future::ready).boxed() as BoxStream<'s, _>);
            }
            // Taken before there is a connection: after an attempt that failed, openraft makes the first request wait
            // for a while. Connecting first, a leader would do nothing but ask for a node that is down.
            let Some(first) = input.next().await else { return Ok(futures_util::stream::empty().boxed()) };
            let link = self.slot.get(&self.net.me, &self.target).await.map_err(|e| unreachable_peer(&e))?;
            let run = AppendRun {
                input: futures_util::stream::once(std::future::ready(first)).chain(input),
                dropping: Arc::clone(&self.net.dropping),
                input_ended: false,
                link,
                stream: self.net.next_stream.fetch_add(1, Ordering::Relaxed),
                in_flight: VecDeque::new(),
                idle: idle_limit(&self.net.me.timing),
                ended: false,
            };
            let answers = futures_util::stream::unfold(run, |mut run| async move {
                let answer = run.next().await?;
                Some((answer, run))
            });
            Ok(answers.boxed() as BoxStream<'s, _>)
        })
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Rpc<VoteResponse<Types>> {
        self.ballot(rpc, false, option.soft_ttl()).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Rpc<VoteResponse<Types>> {
        self.ballot(rpc, true, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        // No deadline on the whole: it lasts as long as it moves.
        tokio::select! {
            sent = super::transfer::send(&self.net.me, &self.target, &vote, &snapshot) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(e) => {
                    self.slot.complain(&self.target, &e).await;
                    Err(StreamingError::Unreachable(Unreachable::new(&e)))
                }
            },
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<Types>> {
        let last = req.last_log_id().map(super::types::to_ours);
        let request = Request::Transfer { vote: vote_bytes(req.from_leader()), to: *req.to_node_id(), last };
        match self.ask(&request, option.soft_ttl()).await? {
            Answer::Transferred(Ok(())) => Ok(Ok(())),
            Answer::Transferred(Err(why)) => {
                tracing::info!(peer = self.target.id, %why, "a peer does not take over leadership");
                let expected = req.last_log_id().copied();
                Ok(Err(TransferLeaderError::LogNotFlushed { expected, actual: None }))
            }
            other => Err(unexpected(&other)),
        }
    }
}
