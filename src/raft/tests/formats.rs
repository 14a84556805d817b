//! What is written stays readable: round trips and golden bytes.

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, StreamAppendError};
use proptest::prelude::*;

use super::*;
use crate::raft::entry::*;
use crate::raft::types::{Membership, Payload, RaftEntry, RaftVote, StoredMembership, to_ours, to_raft};
use crate::raft::wire::{self, Appended};

fn log_id() -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(term, node_id, index)| LogId { term, node_id, index })
}

fn membership() -> impl Strategy<Value = Membership> {
    let member = ("[a-z]{0,8}", "[a-z0-9.:]{0,12}", any::<u128>()).prop_map(|(api, peer, incarnation)| Member {
        api,
        peer,
        region: String::new(),
        incarnation: Uuid::from_u128(incarnation),
    });
    let nodes = proptest::collection::btree_map(1u64..9, member, 1..6);
    nodes.prop_flat_map(|nodes| {
        let ids: Vec<u64> = nodes.keys().copied().collect();
        let some = proptest::sample::subsequence(ids.clone(), 1..=ids.len());
        let configs = proptest::collection::vec(some, 1..3);
        configs.prop_map(move |configs| {
            let configs = configs.into_iter().map(BTreeSet::from_iter).collect();
            Membership::new(configs, nodes.clone()).unwrap()
        })
    })
}

fn payload() -> impl Strategy<Value = EntryPayload<Payload, u64, Member>> {
    let normal = "[a-z]{1,8}".prop_map(|name| {
        let proposal = define(&name);
        EntryPayload::Normal(Payload::new(&codec::encode(&proposal), Arc::new(proposal)))
    });
    prop_oneof![Just(EntryPayload::Blank), normal, membership().prop_map(EntryPayload::Membership)]
}

fn entry() -> impl Strategy<Value = RaftEntry> {
    (log_id(), payload()).prop_map(|(id, payload)| RaftEntry { log_id: to_raft(&id), payload })
}

fn vote() -> impl Strategy<Value = RaftVote> {
    (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, node, committed)| match committed {
        true => RaftVote::new_committed(term, node),
        false => RaftVote::new(term, node),
    })
}

proptest! {
    #[test]
    fn an_entry_comes_back_as_it_was(entry in entry()) {
        let back = decode_entry(&to_ours(&entry.log_id), encode_payload(&entry)).unwrap();
        prop_assert_eq!(&back, &entry);
        if let (EntryPayload::Normal(back), EntryPayload::Normal(was)) = (&back.payload, &entry.payload) {
            prop_assert_eq!(back.proposal().unwrap(), was.proposal().unwrap());
        }
    }

    #[test]
    fn a_vote_and_a_membership_come_back(vote in vote(), m in membership(), id in log_id(), gone in any::<[u64; 3]>()) {
        prop_assert_eq!(decode_vote(&encode_vote(&vote)).unwrap(), vote);
        let stored = StoredMembership::new(Some(to_raft(&id)), m);
        let removed = BTreeSet::from(gone);
        prop_assert_eq!(decode_membership(&encode_membership(&stored, &removed)).unwrap(), (stored, removed));
    }

    #[test]
    fn an_append_comes_back_through_a_frame(
        vote in vote(), prev in proptest::option::of(log_id()), entries in proptest::collection::vec(entry(), 0..4),
        group in 0u32..9, id in any::<u64>(),
    ) {
        let prev_log_id = prev.as_ref().map(to_raft);
        let was = AppendEntriesRequest { vote, prev_log_id, entries, leader_commit: prev_log_id };
        let request = Request::Append { stream: 7, append: wire::Append::of(&was) };
        let frame = wire::encode_frame(crate::storage::GroupId(group), id, &request, 1 << 20).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(wire::read_frame(&mut &frame[..], 1 << 20)).unwrap();
        prop_assert_eq!((got.group.0, got.id), (group, id));
        let Request::Append { stream: 7, append } = wire::decode(&got.body).unwrap() else { panic!("another request") };
        let back = append.into_request().unwrap();
        prop_assert_eq!(back.vote, was.vote);
        prop_assert_eq!(back.prev_log_id, was.prev_log_id);
        prop_assert_eq!(back.entries, was.entries);
        prop_assert_eq!(back.leader_commit, was.leader_commit);
    }

    #[test]
    fn answers_to_appends_come_back(id in log_id(), vote in vote(), kind in 0..4) {
        let was = match kind {
            0 => Ok(None),
            1 => Ok(Some(to_raft(&id))),
            2 => Err(StreamAppendError::Conflict(to_raft(&id))),
            _ => Err(StreamAppendError::HigherVote(vote)),
        };
        let bytes = codec::encode(&Answer::Appended(Appended::of(was.clone())));
        let Answer::Appended(back) = wire::decode(&bytes).unwrap() else { panic!("another answer") };
        prop_assert_eq!(back.into_result().unwrap(), was);
    }

    #[test]
    fn broken_bytes_are_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = wire::decode::<Request>(&bytes);
        let _ = wire::decode::<Answer>(&bytes);
        let _ = decode_vote(&bytes);
        let _ = decode_membership(&bytes);
        let _ = decode_entry(&LogId { term: 1, node_id: 1, index: 1 }, Bytes::from(bytes));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What version 1 wrote. Never change a line here: old logs look like this.
#[test]
fn bytes_written_by_version_one_are_still_read() {
    let id = LogId { term: 3, node_id: 2, index: 300 };
    let member = Member { api: "a".into(), peer: "p".into(), region: "r".into(), incarnation: Uuid::from_u128(5) };
    let m = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, member)])).unwrap();
    let entry = |payload| RaftEntry { log_id: to_raft(&id), payload };
    let tick = Proposal { stamp: Millis(300), body: ProposalBody::Tick };
    let tick = Payload::new(&codec::encode(&tick), Arc::new(tick));
    let stored = StoredMembership::new(Some(to_raft(&id)), m.clone());
    let gone = BTreeSet::from([9]);
    let uuid = "1000000000000000000000000000000005";
    let node = format!("01010161017001 72{uuid}").replace(' ', "");
    let golden = [
        (encode_payload(&entry(EntryPayload::Blank)), "0100".to_string()),
        (encode_payload(&entry(EntryPayload::Normal(tick))), "0101fb2c0102".into()),
        (encode_payload(&entry(EntryPayload::Membership(m))), format!("0102010101{node}")),
        (encode_vote(&RaftVote::new_committed(3, 2)), "01030201".into()),
        (encode_membership(&stored, &gone), format!("01010302fb2c01010101{node}0109")),
    ];
    for (bytes, expected) in &golden {
        assert_eq!(&hex(bytes), expected);
    }
    for (bytes, _) in &golden[..3] {
        decode_entry(&id, bytes.clone()).unwrap();
    }
    assert_eq!(decode_vote(&golden[3].0).unwrap(), RaftVote::new_committed(3, 2));
    assert_eq!(decode_membership(&golden[4].0).unwrap(), (stored, gone));
}

#[test]
fn another_version_is_refused_with_words() {
    let id = LogId { term: 1, node_id: 1, index: 8 };
    let e = decode_entry(&id, Bytes::from_static(&[2, 0])).unwrap_err();
    assert!(e.to_string().contains("log entry 8 has format version 2"), "{e}");
    assert!(decode_entry(&id, Bytes::from_static(&[1, 9])).unwrap_err().to_string().contains("unknown kind"));
    assert!(decode_vote(&[7]).is_err());
}
