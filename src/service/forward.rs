//! One hop to the leader over the peer port, and the leader's end of it. Never a second hop.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Service;
use super::intent::{Attempt, Intent};
use crate::domain::codec;
use crate::raft::{CallError, ForwardHandler, MembershipError, NewMember, NodeStatus};
use crate::storage::background::taking_long;

/// Version of these messages, the first byte of each.
const FORWARD_VERSION: u8 = 1;
/// A longer request is a definition of many seats, which takes long to read.
const BIG_BYTES: usize = 256 << 10;

#[derive(Debug, Serialize, Deserialize)]
enum Call {
    Decide(Box<Intent>),
    Nodes,
    AddMember(NewMember),
    RemoveMember(u64),
    TransferLeader(Option<u64>),
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Decided(Attempt),
    Nodes(Vec<NodeStatus>),
    Membership(Result<(), MembershipError>),
    /// The node does not lead, or cannot read the call.
    NotLed(String),
}

impl Service {
    /// One attempt to get an intent decided by the leader, elsewhere.
    pub(super) async fn forward(&self, intent: &Intent, deadline: Instant) -> Attempt {
        let pack_intent = || pack(&Call::Decide(Box::new(intent.clone())));
        let request = if intent.is_definition() { taking_long(pack_intent) } else { pack_intent() };
        match self.send(request, deadline).await {
            Ok(Reply::Decided(attempt)) => attempt,
            Ok(Reply::NotLed(_)) | Err(CallError::NotSent(_)) => Attempt::NotLeader,
            Ok(Reply::Nodes(_) | Reply::Membership(_)) | Err(CallError::NoAnswer(_)) => Attempt::Lost,
        }
    }

    pub(super) async fn leaders_nodes(&self, deadline: Instant) -> Option<Vec<NodeStatus>> {
        match self.call(&Call::Nodes, deadline).await {
            Ok(Reply::Nodes(nodes)) => Some(nodes),
            Ok(Reply::Decided(_) | Reply::Membership(_) | Reply::NotLed(_)) | Err(_) => None,
        }
    }

    pub(super) async fn leader_adds(&self, member: NewMember, deadline: Instant) -> Result<(), MembershipError> {
        self.leader_changes(Call::AddMember(member), deadline).await
    }

    pub(super) async fn leader_removes(&self, id: u64, deadline: Instant) -> Result<(), MembershipError> {
        self.leader_changes(Call::RemoveMember(id), deadline).await
    }

    pub(super) async fn leader_transfers(&self, to: Option<u64>, deadline: Instant) -> Result<(), MembershipError> {
        self.leader_changes(Call::TransferLeader(to), deadline).await
    }

    async fn leader_changes(&self, call: Call, deadline: Instant) -> Result<(), MembershipError> {
        match self.call(&call, deadline).await {
            Ok(Reply::Membership(result)) => result,
            Ok(Reply::NotLed(why)) => Err(MembershipError::Failed(why)),
            Ok(Reply::Decided(_) | Reply::Nodes(_)) => {
                Err(MembershipError::Failed("the leader answered something else; look at its log".to_owned()))
            }
            Err(failed) => Err(MembershipError::Failed(format!("{failed}; see `cluster status` and try again"))),
        }
    }

    async fn call(&self, call: &Call, deadline: Instant) -> Result<Reply, CallError> {
        self.send(pack(call), deadline).await
    }

    async fn send(&self, request: Bytes, deadline: Instant) -> Result<Reply, CallError> {
        let answer = self.raft.call_leader(request, deadline).await?;
        unpack(&answer).map_err(CallError::NoAnswer)
    }

    async fn answer(&self, request: &Bytes, deadline: Instant) -> Reply {
        let unpacked = if request.len() > BIG_BYTES { taking_long(|| unpack(request)) } else { unpack(request) };
        let call = match unpacked {
            Ok(call) => call,
            Err(why) => return Reply::NotLed(why),
        };
        if !self.raft.view().is_leader {
            return Reply::NotLed("this node does not lead".to_owned());
        }
        match call {
            Call::Decide(intent) => Reply::Decided(self.lead(&intent, deadline).await),
            Call::Nodes => Reply::Nodes(self.raft.nodes().await),
            Call::AddMember(member) => Reply::Membership(self.raft.add_member(member).await),
            Call::RemoveMember(id) => Reply::Membership(self.raft.remove_member(id).await),
            Call::TransferLeader(to) => Reply::Membership(self.raft.transfer_leader(to).await),
        }
    }
}

impl ForwardHandler for Service {
    fn handle(self: Arc<Self>, request: Bytes, deadline: Instant) -> Pin<Box<dyn Future<Output = Bytes> + Send>> {
        Box::pin(async move { pack(&self.answer(&request, deadline).await) })
    }
}

fn pack<T: Serialize>(message: &T) -> Bytes {
    let mut bytes = vec![FORWARD_VERSION];
    codec::encode_into(message, &mut bytes);
    Bytes::from(bytes)
}

fn unpack<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&FORWARD_VERSION, rest)) => codec::decode(rest).map_err(|e| e.to_string()),
        Some((version, _)) => Err(format!("forwarded message of version {version}; this node reads {FORWARD_VERSION}")),
        None => Err("an empty forwarded message".to_owned()),
    }
}
