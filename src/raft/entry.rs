//! How entries, votes and the membership at a point are written: in the log, in snapshots, and between nodes.
//!
//! ```text
//! entry       [version 1][kind: 0 blank, 1 normal, 2 membership][body]
//!             normal: the codec's encoding of a Proposal; membership: of MembershipV1
//! vote        [version 1][codec: term, node, committed]
//! membership  [version 1][codec: MembershipPointV1]      beside the state, in `AppliedPoint::membership`
//! ```
//! An unknown version or kind is refused. A change here is a new version; the old one stays readable, and the golden
//! bytes below prove it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::vote::leader_id_adv::LeaderId;
use serde::{Deserialize, Serialize};

use super::Member;
use super::types::{Membership, Payload, RaftEntry, RaftVote, StoredMembership, to_ours, to_raft};
use crate::domain::codec;
use crate::storage::LogId;

pub(super) const STORED_VERSION: u8 = 1;
pub(super) const STORED_HEADER_BYTES: usize = 2;
const KIND_BLANK: u8 = 0;
pub(super) const KIND_NORMAL: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// Voters (two sets while a change is under way) and everything known of every member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MembershipV1 {
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, Member>,
}

impl MembershipV1 {
    pub(super) fn of(membership: &Membership) -> Self {
        Self {
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.clone())).collect(),
        }
    }

    pub(super) fn into_membership(self) -> io::Result<Membership> {
        if self.configs.is_empty() && self.nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(self.configs, self.nodes).map_err(|e| bad(format!("a stored membership is not valid: {e}")))
    }
}

/// The membership at a point of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct MembershipPointV1 {
    log_id: Option<LogId>,
    membership: MembershipV1,
    /// Ids that were members once. They never come back.
    removed: BTreeSet<u64>,
}

fn bad(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn versioned<T: Serialize>(head: &[u8], value: &T) -> Bytes {
    let mut out = head.to_vec();
    codec::encode_into(value, &mut out);
    Bytes::from(out)
}

fn check_version(bytes: &[u8], what: &str) -> io::Result<()> {
    match bytes.first() {
        Some(&STORED_VERSION) => Ok(()),
        Some(other) => Err(bad(format!(
            "{what} has format version {other}, and this program reads {STORED_VERSION}: run a program at least as \
             new as the one that wrote it"
        ))),
        None => Err(bad(format!("{what} is empty"))),
    }
}

/// The bytes of an entry's payload. Costs nothing for a proposal: it is kept as it is stored.
pub(super) fn encode_payload(entry: &RaftEntry) -> Bytes {
    match &entry.payload {
        EntryPayload::Blank => Bytes::from_static(&[STORED_VERSION, KIND_BLANK]),
        EntryPayload::Normal(payload) => payload.stored().clone(),
        EntryPayload::Membership(m) => versioned(&[STORED_VERSION, KIND_MEMBERSHIP], &MembershipV1::of(m)),
    }
}

/// The entry of these bytes. A proposal's own encoding is looked at when it is applied.
pub(super) fn decode_entry(id: &LogId, stored: Bytes) -> io::Result<RaftEntry> {
    let name = || format!("log entry {}", id.index);
    check_version(&stored, &name())?;
    let payload = match stored.get(1) {
        Some(&KIND_BLANK) => EntryPayload::Blank,
        Some(&KIND_NORMAL) => EntryPayload::Normal(Payload::from_stored(stored)),
        Some(&KIND_MEMBERSHIP) => {
            let wire: MembershipV1 =
                codec::decode(&stored[STORED_HEADER_BYTES..]).map_err(|e| bad(format!("{}: {e}", name())))?;
            EntryPayload::Membership(wire.into_membership()?)
        }
        other => return Err(bad(format!("{} has the unknown kind {other:?}", name()))),
    };
    Ok(RaftEntry { log_id: to_raft(id), payload })
}

pub(super) fn encode_vote(vote: &RaftVote) -> Bytes {
    versioned(&[STORED_VERSION], &(vote.leader_id.term, vote.leader_id.node_id, vote.committed))
}

pub(super) fn decode_vote(bytes: &[u8]) -> io::Result<RaftVote> {
    check_version(bytes, "the vote")?;
    let (term, node_id, committed): (u64, u64, bool) =
        codec::decode(&bytes[1..]).map_err(|e| bad(format!("the vote: {e}")))?;
    Ok(RaftVote { leader_id: LeaderId { term, node_id }, committed })
}

pub(super) fn encode_membership(stored: &StoredMembership, removed: &BTreeSet<u64>) -> Bytes {
    let point = MembershipPointV1 {
        log_id: stored.log_id().as_ref().map(to_ours),
        membership: MembershipV1::of(stored.membership()),
        removed: removed.clone(),
    };
    versioned(&[STORED_VERSION], &point)
}

/// Empty bytes are a state that has seen no membership yet.
pub(super) fn decode_membership(bytes: &[u8]) -> io::Result<(StoredMembership, BTreeSet<u64>)> {
    if bytes.is_empty() {
        return Ok(Default::default());
    }
    check_version(bytes, "the stored membership")?;
    let point: MembershipPointV1 =
        codec::decode(&bytes[1..]).map_err(|e| bad(format!("the stored membership: {e}")))?;
    let membership = point.membership.into_membership()?;
    Ok((StoredMembership::new(point.log_id.as_ref().map(to_raft), membership), point.removed))
}
