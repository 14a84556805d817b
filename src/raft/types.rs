//! What openraft is told about our types, and the way between its log ids and ours.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::OptionalSend;
use openraft::raft::responder::Responder;
use openraft::vote::leader_id_adv::LeaderId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use super::Member;
use super::entry::{KIND_NORMAL, STORED_HEADER_BYTES, STORED_VERSION};
use crate::domain::codec::{self, CodecError};
use crate::domain::command::Proposal;
use crate::domain::outcome::Decision;
use crate::storage::LogId;

/// All types of one Raft group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types {}

impl openraft::RaftTypeConfig for Types {
    type D = Payload;
    type R = Answers;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Payload, u64, Member>;
    type Entry = openraft::Entry<Self::LeaderId, Self::Payload>;
    type AsyncRuntime = openraft::impls::TokioRuntime;
    type Responder<T>
        = Reply<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type CommittedLeader = LeaderId<u64, u64>;
pub(crate) type RaftLogId = openraft::LogId<CommittedLeader>;
pub(crate) type RaftEntry = <Types as openraft::RaftTypeConfig>::Entry;
pub(crate) type RaftVote = <Types as openraft::RaftTypeConfig>::Vote;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeader, u64, Member>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeader, u64, Member>;

/// A proposal as it stands in the log: encoded once, and the same bytes go to disk and to the peers.
#[derive(Clone)]
pub(crate) struct Payload {
    /// With the header of `entry.rs` in front.
    stored: Bytes,
    /// Known on the node that made the entry, which need not decode it again.
    parsed: Option<Arc<Proposal>>,
}

impl Payload {
    /// `encoded` is the codec's encoding of `proposal`.
    pub(crate) fn new(encoded: &[u8], proposal: Arc<Proposal>) -> Self {
        let mut stored = BytesMut::with_capacity(STORED_HEADER_BYTES + encoded.len());
        stored.put_u8(STORED_VERSION);
        stored.put_u8(KIND_NORMAL);
        stored.put_slice(encoded);
        Self { stored: stored.freeze(), parsed: Some(proposal) }
    }

    /// From bytes whose header was checked by `entry.rs`.
    pub(super) fn from_stored(stored: Bytes) -> Self {
        Self { stored, parsed: None }
    }

    pub(super) fn with_parsed(stored: Bytes, proposal: Arc<Proposal>) -> Self {
        Self { stored, parsed: Some(proposal) }
    }

    pub(crate) fn stored(&self) -> &Bytes {
        &self.stored
    }

    pub(crate) fn parsed(&self) -> Option<&Arc<Proposal>> {
        self.parsed.as_ref()
    }

    /// The proposal, decoded unless it is known.
    pub(crate) fn proposal(&self) -> Result<Arc<Proposal>, CodecError> {
        match &self.parsed {
            Some(parsed) => Ok(Arc::clone(parsed)),
            None => codec::decode(&self.stored[STORED_HEADER_BYTES..]).map(Arc::new),
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.stored == other.stored
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.stored.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

// openraft asks for serde of everything in an entry; this room encodes entries by `entry.rs` alone.
impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Bytes::deserialize(deserializer).map(Self::from_stored)
    }
}

/// What `apply` said to the requests of one entry. Made only when somebody on this node waits for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers(pub(crate) Vec<Decision>);

// Asked for by openraft, and never used: answers do not leave the node that made the entry.
impl Serialize for Answers {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("answers stay on the node that proposed"))
    }
}

impl<'de> Deserialize<'de> for Answers {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("answers stay on the node that proposed"))
    }
}

/// Hands a result to whoever waits; nobody waiting any longer is normal (its deadline passed).
pub(crate) struct Reply<T>(pub(crate) oneshot::Sender<T>);

impl<T: OptionalSend + 'static> Responder<Types, T> for Reply<T> {
    fn on_complete(self, result: T) {
        let _ = self.0.send(result);
    }
}

pub(crate) fn to_ours(id: &RaftLogId) -> LogId {
    LogId { term: id.leader_id.term, node_id: id.leader_id.node_id, index: id.index }
}

pub(crate) fn to_raft(id: &LogId) -> RaftLogId {
    RaftLogId::new(LeaderId { term: id.term, node_id: id.node_id }, id.index)
}
