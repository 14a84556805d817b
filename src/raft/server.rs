//! The peer port: what other nodes ask of this one.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest};
use parking_lot::Mutex;
use tokio::io::{BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::agreement;
use super::client::APPENDS_IN_FLIGHT_MAX;
use super::core::Core;
use super::entry::decode_vote;
use super::link::write_queue;
use super::room::{STRANGERS_MAX, Standing};
use super::types::{Types, to_raft};
use super::wire::{self, Answer, Append, Appended, HELLO_BYTES_MAX, Hello, HelloReply, Lane, Request, Voted};
use crate::storage::GROUP;

/// Connections from peers at a time.
const CONNECTIONS_MAX: usize = 512;
/// Requests of one connection being worked on at a time.
const REQUESTS_MAX: usize = 1024;
/// Bytes of forwarded requests held at a time, over all connections.
pub(super) const FORWARD_BYTES_MAX: usize = 256 << 20;
/// Longest wait for the handshake of a new connection.
const HELLO_WITHIN: Duration = Duration::from_secs(2);
/// Longest life of a connection of a stranger that is still one then.
const STRANGER_WITHIN: Duration = Duration::from_secs(10);
/// Pause after the system refused a connection (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const ANSWERS_QUEUED_MAX: usize = 64;
const SOCKET_BUFFER: usize = 64 << 10;

/// Accepts until the node stops.
pub(super) async fn listen(core: Arc<Core>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = core.stopping.cancelled() => break,
        };
        match accepted {
            Ok((socket, from)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    tracing::warn!(%from, "refused a connection: {CONNECTIONS_MAX} are open");
                    continue;
                };
                let core = Arc::clone(&core);
                connections.spawn(async move {
                    if let Err(e) = serve(core, socket).await
                        && e.kind() != io::ErrorKind::UnexpectedEof
                    {
                        tracing::debug!(%from, error = %e, "a peer's connection ended");
                    }
                    drop(place);
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "cannot accept a connection from a peer");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.shutdown().await;
}

async fn serve(core: Arc<Core>, mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let shake = async {
        let frame = wire::read_frame(&mut socket, HELLO_BYTES_MAX).await?;
        check_group(frame.group)?;
        let hello: Hello = wire::decode(&frame.body)?;
        let checked = admit(&core, &hello);
        let reply = match &checked {
            Ok(_) => HelloReply::Welcome(core.me.card()),
            Err(why) => HelloReply::Refused(why.clone()),
        };
        wire::write_frame(&mut socket, GROUP, 0, &reply, HELLO_BYTES_MAX).await?;
        Ok::<_, io::Error>(checked.map(|place| (hello, place)))
    };
    let (hello, place) = match tokio::time::timeout(HELLO_WITHIN, shake).await {
        Ok(Ok(Ok(admitted))) => admitted,
        Ok(Ok(Err(why))) => {
            if core.guests.complains(&why) {
                let from = socket.peer_addr().ok();
                tracing::warn!(?from, %why, "refused a peer; said once a minute");
            }
            return Ok(());
        }
        Ok(Err(e)) => return Err(e),
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    match hello.lane {
        // It limits silence by itself, and takes one at a time.
        Lane::Snapshot => super::transfer::receive(&core, &mut socket).await,
        lane => {
            let guest = core.guests.newest(hello.from, lane);
            let overstayed = overstay(&core, &hello, place);
            let serving = async {
                match lane {
                    Lane::Append => serve_appends(Arc::clone(&core), socket, hello.clone()).await,
                    _ => serve_requests(Arc::clone(&core), socket, hello.clone()).await,
                }
            };
            tokio::select! {
                ended = serving => ended,
                () = guest.replaced.cancelled(), if lane != Lane::Join => Ok(()),
                () = overstayed => Ok(()),
            }
        }
    }
}

/// Ends when a stranger has been here for long and is not known yet. Holds its place until then.
async fn overstay(core: &Core, hello: &Hello, place: Option<OwnedSemaphorePermit>) {
    if place.is_some() {
        tokio::time::sleep(STRANGER_WITHIN).await;
        if standing(core, hello) == Standing::Stranger {
            return;
        }
        drop(place);
    }
    std::future::pending().await
}

/// What is known now of who said hello. A stranger becomes a member when this node hears of it.
fn standing(core: &Core, hello: &Hello) -> Standing {
    match core.membership().get_node(&hello.from) {
        Some(member) if member.incarnation == hello.incarnation && hello.lane != Lane::Join => Standing::Member,
        _ => Standing::Stranger,
    }
}

/// Lets in who may come in. Strangers take one of their places.
fn admit(core: &Core, hello: &Hello) -> Result<Option<OwnedSemaphorePermit>, String> {
    check(core, hello)?;
    if standing(core, hello) == Standing::Member {
        return Ok(None);
    }
    let place = Arc::clone(&core.room.places).try_acquire_owned();
    place.map(Some).map_err(|_| format!("{STRANGERS_MAX} nodes that are not known here are connected already"))
}

/// Whether this node deals with who says hello.
///
/// An id that this node does not know is let in when it belongs to the cluster: this node may lag behind the change that
/// made it a member, and could never catch up, or elect it, otherwise. It gets a stranger's room. An id that was removed is
/// refused for ever. Nobody is told the incarnation of another node: who knows it can pass for that node.
fn check(core: &Core, hello: &Hello) -> Result<(), String> {
    hello.check_protocol()?;
    if hello.lane == Lane::Join {
        return Ok(());
    }
    let me = core.me.node_id;
    if hello.to != Some(me) {
        let meant = hello.to.map_or_else(|| "a stranger".to_owned(), |id| format!("node {id}"));
        return Err(format!("this is node {me}, not {meant}: check the peer addresses"));
    }
    let Some(cluster) = *core.me.cluster.read() else {
        return Err(format!("node {me} belongs to no cluster yet: init a cluster with it, or add it to one"));
    };
    if hello.cluster != Some(cluster) {
        let theirs = hello.cluster.map_or_else(|| "none".to_owned(), |theirs| theirs.to_string());
        return Err(format!("node {me} belongs to cluster {cluster}, and node {} to {theirs}", hello.from));
    }
    if core.state.removed().contains(&hello.from) {
        return Err(wire::removed_text(hello.from));
    }
    match core.membership().get_node(&hello.from) {
        Some(member) if member.incarnation != hello.incarnation => Err(format!(
            "this is not the node {} that the cluster knows by that id: a node that lost its disk must not come back under \
             its id; add it under a new one and remove {}",
            hello.from, hello.from
        )),
        // A client's requests are forwarded to a leader, and a leader knows all members.
        None if hello.lane == Lane::Forward => Err(format!("node {} is not known here", hello.from)),
        _ => Ok(()),
    }
}

// ---- appends: in order, answered in order, many under way

/// An append and the id of its frame.
type Numbered = (u64, AppendEntriesRequest<Types>);

async fn serve_appends(core: Arc<Core>, socket: TcpStream, hello: Hello) -> io::Result<()> {
    let (read, write) = socket.into_split();
    let (answers, queue) = mpsc::channel(ANSWERS_QUEUED_MAX);
    tokio::select! {
        ended = read_appends(core, BufReader::with_capacity(SOCKET_BUFFER, read), answers, hello) => ended,
        ended = write_queue(BufWriter::new(write), queue) => ended,
    }
}

async fn read_appends(
    core: Arc<Core>,
    mut from: BufReader<tokio::net::tcp::OwnedReadHalf>,
    answers: mpsc::Sender<Bytes>,
    hello: Hello,
) -> io::Result<()> {
    let mut runs = JoinSet::new();
    let mut current: Option<(u64, mpsc::Sender<Numbered>)> = None;
    loop {
        let standing = standing(&core, &hello);
        let (length, group, id) = wire::read_head(&mut from, standing.frame_bytes_max(Lane::Append)).await?;
        check_group(group)?;
        let (body, _room) = core.room.read(&mut from, standing, length).await?;
        let Request::Append { stream, append } = wire::decode(&body)? else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not an append on the append lane"));
        };
        let request = append.into_request()?;
        check_agreement(&core, &request).await?;
        let run = match &current {
            Some((open, run)) if *open == stream => run.clone(),
            _ => {
                while runs.try_join_next().is_some() {}
                let (run, requests) = mpsc::channel(APPENDS_IN_FLIGHT_MAX);
                runs.spawn(run_appends(Arc::clone(&core), requests, answers.clone()));
                current = Some((stream, run.clone()));
                run
            }
        };
        // A run that is over refused something: what else the sender had under way on it is void.
        let _ = run.send((id, request)).await;
    }
}

/// Feeds one stream of appends to openraft.
async fn run_appends(core: Arc<Core>, requests: mpsc::Receiver<Numbered>, answers: mpsc::Sender<Bytes>) {
    let ids = Arc::new(Mutex::new(VecDeque::new()));
    let taken = Arc::clone(&ids);
    let input = futures_util::stream::unfold(requests, move |mut requests| {
        let taken = Arc::clone(&taken);
        async move {
            let (id, request) = requests.recv().await?;
            taken.lock().push_back(id);
            Some((request, requests))
        }
    });
    let mut results = std::pin::pin!(core.raft.stream_append(input));
    while let Some(Ok(result)) = results.next().await {
        let Some(id) = ids.lock().pop_front() else { return };
        let answer = Answer::Appended(Appended::of(result));
        let Ok(frame) = wire::encode_frame(GROUP, id, &answer, Lane::Append.frame_bytes_max()) else { return };
        if answers.send(frame).await.is_err() {
            return;
        }
    }
}

/// Whether what it says of the leader's log is one with what this node has applied.
async fn check_agreement(core: &Core, request: &AppendEntriesRequest<Types>) -> io::Result<()> {
    let entries = request.entries.iter().map(|entry| &entry.log_id);
    let said = request.prev_log_id.iter().chain(&request.leader_commit).chain(entries);
    let apart = agreement::apart(core, said);
    agreement::check(core, &request.vote, apart).await
}

fn check_group(group: crate::storage::GroupId) -> io::Result<()> {
    if group == GROUP {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("there is no group {} here", group.0)))
}

// ---- everything else: each request by itself

async fn serve_requests(core: Arc<Core>, socket: TcpStream, hello: Hello) -> io::Result<()> {
    let (read, write) = socket.into_split();
    let (answers, queue) = mpsc::channel(ANSWERS_QUEUED_MAX);
    tokio::select! {
        ended = read_requests(core, BufReader::with_capacity(SOCKET_BUFFER, read), answers, hello) => ended,
        ended = write_queue(BufWriter::with_capacity(SOCKET_BUFFER, write), queue) => ended,
    }
}

async fn read_requests(
    core: Arc<Core>,
    mut socket: BufReader<tokio::net::tcp::OwnedReadHalf>,
    answers: mpsc::Sender<Bytes>,
    hello: Hello,
) -> io::Result<()> {
    let lane = hello.lane;
    let body_max = lane.frame_bytes_max();
    let mut working = JoinSet::new();
    loop {
        let standing = standing(&core, &hello);
        let (length, group, id) = wire::read_head(&mut socket, standing.frame_bytes_max(lane)).await?;
        check_group(group)?;
        let (body, room) = match lane {
            // Waiting here is the backpressure: the sender's requests stay in its own queue.
            Lane::Forward => {
                let room = Arc::clone(&core.forward_room).acquire_many_owned(length as u32).await;
                (wire::read_body(&mut socket, length).await?, room.map_err(io::Error::other)?)
            }
            _ => core.room.read(&mut socket, standing, length).await?,
        };
        while working.len() >= REQUESTS_MAX {
            working.join_next().await;
        }
        while working.try_join_next().is_some() {}
        if lane != Lane::Join && core.state.removed().contains(&hello.from) {
            // It learns why when it connects again.
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, wire::removed_text(hello.from)));
        }
        let request: Request = wire::decode(&body)?;
        let (core, answers) = (Arc::clone(&core), answers.clone());
        working.spawn(async move {
            let answer = handle(&core, lane, request).await;
            drop(room);
            let frame = wire::encode_frame(GROUP, id, &answer, body_max)
                .or_else(|e| wire::encode_frame(GROUP, id, &Answer::Failed(e.to_string()), body_max));
            if let Ok(frame) = frame {
                // The connection may have ended meanwhile.
                let _ = answers.send(frame).await;
            }
        });
    }
}

/// Does what is asked. Each lane takes its own requests only.
async fn handle(core: &Arc<Core>, lane: Lane, request: Request) -> Answer {
    let arrived = Instant::now();
    let done = match (lane, request) {
        (Lane::Heartbeat, Request::Heartbeat { append, quorum_age_ms }) => heartbeat(core, append, quorum_age_ms).await,
        (Lane::Control, Request::Vote { ballot }) => vote(core, ballot, false).await,
        (Lane::Control, Request::PreVote { ballot }) => vote(core, ballot, true).await,
        (Lane::Control, Request::Transfer { vote, to, last }) => take_over(core, &vote, to, last).await,
        (Lane::Control, Request::ReadIndex { within_ms }) => {
            let deadline = arrived + Duration::from_millis(within_ms);
            Ok(Answer::ReadIndex(core.barrier.index_as_leader(core, deadline).await.map_err(|e| e.to_string())))
        }
        (Lane::Control | Lane::Forward, Request::Ping) => {
            Ok(Answer::Pong { wall_ms: core.me.wall_ms(), version: core.me.version.clone() })
        }
        (Lane::Forward, Request::Forward { within_ms, body }) => {
            let handler = core.forward_handler.read().clone();
            match handler {
                Some(handler) => {
                    let deadline = arrived + Duration::from_millis(within_ms);
                    Ok(Answer::Forwarded(handler.handle(body, deadline).await))
                }
                None => Ok(Answer::Refused("this node is still starting".into())),
            }
        }
        (Lane::Join, Request::WhoAreYou) => Ok(Answer::Card(core.me.card())),
        (Lane::Join, Request::Adopt { cluster, node_id }) => Ok(match core.adopt(cluster, node_id).await {
            Ok(()) => Answer::Adopted,
            Err(why) => Answer::Refused(why),
        }),
        _ => Ok(Answer::Refused("not a request for this lane".into())),
    };
    done.unwrap_or_else(|e: io::Error| Answer::Failed(e.to_string()))
}

async fn heartbeat(core: &Core, append: Append, quorum_age_ms: Option<u64>) -> io::Result<Answer> {
    let commit = append.commit_index();
    let request = append.into_request()?;
    check_agreement(core, &request).await?;
    let (prev, last) = (request.prev_log_id, request.entries.last().map(|e| e.log_id).or(request.prev_log_id));
    let response = core.raft.append_entries(request).await.map_err(io::Error::other)?;
    let result = response.into_stream_result(prev, last);
    if result.is_ok() {
        core.freshness.heartbeat(commit, quorum_age_ms, core.applied_index());
    }
    Ok(Answer::Beat { appended: Appended::of(result), wall_ms: core.me.wall_ms() })
}

async fn vote(core: &Core, ballot: wire::Ballot, pre: bool) -> io::Result<Answer> {
    let request = ballot.into_request()?;
    let response = match pre {
        true => core.raft.pre_vote(request).await,
        false => core.raft.vote(request).await,
    };
    let response = response.map_err(io::Error::other)?;
    Ok(Answer::Voted { voted: Voted::of(&response), wall_ms: core.me.wall_ms() })
}

async fn take_over(core: &Core, vote: &[u8], to: u64, last: Option<crate::storage::LogId>) -> io::Result<Answer> {
    let request = TransferLeaderRequest::new(decode_vote(vote)?, to, last.as_ref().map(to_raft));
    let done = core.raft.handle_transfer_leader(request).await.map_err(io::Error::other)?;
    Ok(Answer::Transferred(done.map_err(|e| e.to_string())))
}
