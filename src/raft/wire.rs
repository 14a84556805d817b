//! What nodes say to each other, and the frames it travels in.
//!
//! ```text
//! connection   opener: Hello { magic, protocol, lane, cluster, from, to }        answer: Welcome | Refused(why)
//! frame        [length u32][group u32][id u64][body]      little-endian; `length` counts the body alone
//! ```
//! The answer to a request carries its id. Values are the codec's; entries travel as the bytes they have in the log.
//! A new protocol is a new number in the handshake, and a node says which one it refused.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, VoteRequest, VoteResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

use super::entry::{decode_entry, decode_membership, decode_vote, encode_membership, encode_payload, encode_vote};
use super::types::{RaftEntry, RaftLogId, RaftVote, SnapshotMeta, Types, to_ours, to_raft};
use crate::domain::codec;
use crate::storage::{GroupId, LogId};

const MAGIC: [u8; 4] = *b"LSP1";
pub(super) const PROTOCOL: u16 = 1;
const FRAME_HEADER_BYTES: usize = 16;
/// Longest body of a handshake frame.
pub(super) const HELLO_BYTES_MAX: usize = 4 << 10;
/// Longest chunk of a snapshot.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;

/// What a connection is for. Each has its own, so that a big append never delays a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Lane {
    Append,
    Heartbeat,
    /// Votes, read index, transfer of leadership, clocks.
    Control,
    Snapshot,
    /// Requests of clients on their way to the leader.
    Forward,
    /// A stranger asks who is there, or makes an uninitialised node a member.
    Join,
}

impl Lane {
    /// Longest body of a frame on this lane.
    pub(super) fn frame_bytes_max(self) -> usize {
        match self {
            Lane::Append => 16 << 20,
            Lane::Heartbeat | Lane::Control => 1 << 20,
            Lane::Snapshot => CHUNK_BYTES_MAX + (64 << 10),
            Lane::Forward => 48 << 20,
            Lane::Join => HELLO_BYTES_MAX,
        }
    }
}

/// First frame of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) magic: [u8; 4],
    pub(super) protocol: u16,
    pub(super) lane: Lane,
    pub(super) cluster: Option<Uuid>,
    pub(super) from: u64,
    pub(super) incarnation: Uuid,
    /// Who is meant to answer; `None` only on the join lane.
    pub(super) to: Option<u64>,
}

impl Hello {
    pub(super) fn check_protocol(&self) -> Result<(), String> {
        if self.magic != MAGIC {
            return Err("the other side does not speak this protocol; is the address a node's peer address?".into());
        }
        if self.protocol != PROTOCOL {
            return Err(format!("peer protocol {} is not spoken here, only {PROTOCOL}", self.protocol));
        }
        Ok(())
    }

    pub(super) fn new(lane: Lane, who: &Card, to: Option<u64>) -> Self {
        let Card { node_id, incarnation, cluster, .. } = who;
        let (from, incarnation, cluster) = (*node_id, *incarnation, *cluster);
        Self { magic: MAGIC, protocol: PROTOCOL, lane, cluster, from, incarnation, to }
    }
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Card {
    pub(super) node_id: u64,
    pub(super) incarnation: Uuid,
    pub(super) cluster: Option<Uuid>,
    /// Of the program.
    pub(super) version: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum HelloReply {
    Welcome(Card),
    Refused(String),
}

/// Why a node that was removed is refused. It knows itself removed by this very sentence: the reply has no other form.
pub(super) fn removed_text(id: u64) -> String {
    format!("node {id} was removed from this cluster; give the machine a new id")
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WireEntry {
    id: LogId,
    payload: Bytes,
}

/// AppendEntries; without entries also a heartbeat.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Append {
    vote: Bytes,
    prev: Option<LogId>,
    commit: Option<LogId>,
    entries: Vec<WireEntry>,
}

impl Append {
    pub(super) fn of(request: &AppendEntriesRequest<Types>) -> Self {
        let entry = |e: &RaftEntry| WireEntry { id: to_ours(&e.log_id), payload: encode_payload(e) };
        Self {
            vote: encode_vote(&request.vote),
            prev: request.prev_log_id.as_ref().map(to_ours),
            commit: request.leader_commit.as_ref().map(to_ours),
            entries: request.entries.iter().map(entry).collect(),
        }
    }

    pub(super) fn into_request(self) -> io::Result<AppendEntriesRequest<Types>> {
        Ok(AppendEntriesRequest {
            vote: decode_vote(&self.vote)?,
            prev_log_id: self.prev.as_ref().map(to_raft),
            entries: self.entries.into_iter().map(|e| decode_entry(&e.id, e.payload)).collect::<io::Result<_>>()?,
            leader_commit: self.commit.as_ref().map(to_raft),
        })
    }

    pub(super) fn commit_index(&self) -> u64 {
        self.commit.map_or(0, |id| id.index)
    }
}

/// How an append went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Appended {
    UpTo(Option<LogId>),
    Conflict(LogId),
    HigherVote(Bytes),
}

pub(super) type StreamResult = Result<Option<RaftLogId>, StreamAppendError<Types>>;

impl Appended {
    pub(super) fn of(result: StreamResult) -> Self {
        match result {
            Ok(matching) => Appended::UpTo(matching.as_ref().map(to_ours)),
            Err(StreamAppendError::Conflict(at)) => Appended::Conflict(to_ours(&at)),
            Err(StreamAppendError::HigherVote(vote)) => Appended::HigherVote(encode_vote(&vote)),
        }
    }

    pub(super) fn into_result(self) -> io::Result<StreamResult> {
        Ok(match self {
            Appended::UpTo(matching) => Ok(matching.as_ref().map(to_raft)),
            Appended::Conflict(at) => Err(StreamAppendError::Conflict(to_raft(&at))),
            Appended::HigherVote(vote) => Err(StreamAppendError::HigherVote(decode_vote(&vote)?)),
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ballot {
    vote: Bytes,
    last: Option<LogId>,
    transfer: bool,
}

impl Ballot {
    pub(super) fn of(request: &VoteRequest<Types>) -> Self {
        let last = request.last_log_id.as_ref().map(to_ours);
        Self { vote: encode_vote(&request.vote), last, transfer: request.leadership_transfer }
    }

    pub(super) fn into_request(self) -> io::Result<VoteRequest<Types>> {
        let mut request = VoteRequest::new(decode_vote(&self.vote)?, self.last.as_ref().map(to_raft));
        request.leadership_transfer = self.transfer;
        Ok(request)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Voted {
    vote: Bytes,
    last: Option<LogId>,
    granted: bool,
}

impl Voted {
    pub(super) fn of(response: &VoteResponse<Types>) -> Self {
        let last = response.last_log_id.as_ref().map(to_ours);
        Self { vote: encode_vote(&response.vote), last, granted: response.vote_granted }
    }

    pub(super) fn into_response(self) -> io::Result<VoteResponse<Types>> {
        Ok(VoteResponse::new(decode_vote(&self.vote)?, self.last.as_ref().map(to_raft), self.granted))
    }
}

/// What a snapshot covers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Covers {
    last: Option<LogId>,
    membership: Bytes,
}

impl Covers {
    pub(super) fn of(meta: &SnapshotMeta) -> Self {
        let membership = encode_membership(&meta.last_membership, &Default::default());
        Self { last: meta.last_log_id.as_ref().map(to_ours), membership }
    }

    pub(super) fn into_meta(self) -> io::Result<SnapshotMeta> {
        let (last_membership, _) = decode_membership(&self.membership)?;
        Ok(SnapshotMeta { last_log_id: self.last.as_ref().map(to_raft), last_membership })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Requests of one stream go to openraft in order and are answered in order. After a refused one the rest of its
    /// stream is void; the opener goes on with another stream.
    Append {
        stream: u64,
        append: Append,
    },
    Heartbeat {
        append: Append,
        /// How long ago a quorum last confirmed the sender as leader.
        quorum_age_ms: Option<u64>,
    },
    Vote {
        ballot: Ballot,
    },
    PreVote {
        ballot: Ballot,
    },
    Transfer {
        vote: Bytes,
        to: u64,
        last: Option<LogId>,
    },
    /// Which log index must be applied for a read to see everything committed by now. For the leader.
    ReadIndex {
        within_ms: u64,
    },
    /// Asks for clock and version, and shows life.
    Ping,
    SnapshotStart {
        vote: Bytes,
        covers: Covers,
        bytes: u64,
    },
    SnapshotChunk {
        data: Bytes,
    },
    SnapshotEnd,
    Forward {
        within_ms: u64,
        body: Bytes,
    },
    WhoAreYou,
    Adopt {
        cluster: Uuid,
        node_id: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Appended(Appended),
    Beat {
        appended: Appended,
        wall_ms: u64,
    },
    Voted {
        voted: Voted,
        wall_ms: u64,
    },
    Transferred(Result<(), String>),
    ReadIndex(Result<u64, String>),
    Pong {
        wall_ms: u64,
        version: String,
    },
    /// The chunk is written.
    Taken,
    /// The snapshot is being checked and installed; more to come.
    Working,
    Installed {
        vote: Bytes,
    },
    Forwarded(Bytes),
    Card(Card),
    Adopted,
    /// Not done, and why. Nothing took effect.
    Refused(String),
    /// Done perhaps, and the outcome cannot be told.
    Failed(String),
}

/// One frame, taken apart.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) group: GroupId,
    pub(super) id: u64,
    pub(super) body: Bytes,
}

/// The bytes of a frame. Refuses a body longer than the receiver would take.
pub(super) fn encode_frame<T: Serialize>(group: GroupId, id: u64, body: &T, body_max: usize) -> io::Result<Bytes> {
    let mut out = vec![0; FRAME_HEADER_BYTES];
    codec::encode_into(body, &mut out);
    let length = out.len() - FRAME_HEADER_BYTES;
    if length > body_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a message of {length} bytes is over the limit of {body_max} between nodes"),
        ));
    }
    let mut head = BytesMut::with_capacity(FRAME_HEADER_BYTES);
    head.put_u32_le(u32::try_from(length).expect("limits of frames are far below 4 GiB"));
    head.put_u32_le(group.0);
    head.put_u64_le(id);
    out[..FRAME_HEADER_BYTES].copy_from_slice(&head);
    Ok(Bytes::from(out))
}

/// Length of the body, group and id of the next frame. Cancel-safe only between frames.
pub(super) async fn read_head(
    from: &mut (impl AsyncRead + Unpin),
    body_max: usize,
) -> io::Result<(usize, GroupId, u64)> {
    let length = from.read_u32_le().await? as usize;
    let group = from.read_u32_le().await?;
    let id = from.read_u64_le().await?;
    if length > body_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {length} bytes is over the limit of {body_max} between nodes"),
        ));
    }
    Ok((length, GroupId(group), id))
}

pub(super) async fn read_body(from: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<Bytes> {
    // Grows as bytes arrive: a length alone must not make this node set memory aside.
    let mut body = BytesMut::with_capacity(length.min(64 << 10));
    let mut limited = from.take(length as u64);
    while body.len() < length {
        if limited.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body.freeze())
}

pub(super) async fn read_frame(from: &mut (impl AsyncRead + Unpin), body_max: usize) -> io::Result<Frame> {
    let (length, group, id) = read_head(from, body_max).await?;
    Ok(Frame { group, id, body: read_body(from, length).await? })
}

pub(super) async fn write_frame<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    group: GroupId,
    id: u64,
    body: &T,
    body_max: usize,
) -> io::Result<()> {
    to.write_all(&encode_frame(group, id, body, body_max)?).await?;
    to.flush().await
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    codec::decode(body).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("a message from a peer: {e}")))
}

pub(super) fn vote_bytes(vote: &RaftVote) -> Bytes {
    encode_vote(vote)
}
