//! The service as the handlers see it. In a build for use it is the service and nothing else; in this crate's unit tests
//! it can also be a single inventory in memory, without consensus.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::command::Command;
use crate::domain::inventory::Inventory;
use crate::raft::{MembershipError, NewMember};
use crate::service::{
    BatchLine, ClusterStatus, Context, NodeFacts, NotDecided, ReadError, ReadOptions, ReadPermit, Readiness, Service,
    Submitted, SubmittedBatch,
};
use crate::watch::Hub;

#[cfg(test)]
use super::tests::canned::Canned;

pub(crate) enum Backend {
    Live(Service),
    #[cfg(test)]
    Canned(Box<Canned>),
}

macro_rules! forward {
    ($($(#[$doc:meta])* $([$async:ident $await:ident])? fn $name:ident(&self $(, $arg:ident: $type:ty)*) $(-> $out:ty)?;)*) => {
        impl Backend {$(
            $(#[$doc])*
            pub(crate) $($async)? fn $name(&self $(, $arg: $type)*) $(-> $out)? {
                match self {
                    Self::Live(service) => service.$name($($arg),*)$(.$await)?,
                    #[cfg(test)]
                    Self::Canned(canned) => canned.$name($($arg),*),
                }
            }
        )*}
    };
}

forward! {
    [async await] fn submit(&self, context: Context, command: Command) -> Result<Submitted, NotDecided>;
    [async await] fn submit_batch(&self, context: Context, lines: Vec<BatchLine>) -> Result<SubmittedBatch, NotDecided>;
    [async await] fn read(&self, options: ReadOptions) -> Result<ReadPermit, ReadError>;
    fn facts(&self) -> NodeFacts;
    [async await] fn cluster(&self, deadline: Instant) -> ClusterStatus;
    fn readiness(&self) -> Readiness;
    [async await] fn init_cluster(&self, members: Vec<NewMember>) -> Result<uuid::Uuid, MembershipError>;
    [async await] fn add_member(&self, member: NewMember, deadline: Instant) -> Result<(), MembershipError>;
    [async await] fn remove_member(&self, id: u64, deadline: Instant) -> Result<(), MembershipError>;
    [async await] fn transfer_leader(&self, to: Option<u64>, deadline: Instant) -> Result<(), MembershipError>;
    fn refresh_metrics(&self);
    fn hub(&self) -> Arc<Hub>;
}

impl Backend {
    /// Looks at the state. Keep it short: apply waits.
    pub(crate) fn inspect<R>(&self, look: impl FnOnce(&Inventory) -> R) -> R {
        match self {
            Self::Live(service) => service.inspect(look),
            #[cfg(test)]
            Self::Canned(canned) => canned.inspect(look),
        }
    }

    /// The same, with the log index of exactly this state.
    pub(crate) fn inspect_at<R>(&self, look: impl FnOnce(u64, &Inventory) -> R) -> R {
        match self {
            Self::Live(service) => service.inspect_at(look),
            #[cfg(test)]
            Self::Canned(canned) => canned.inspect(|inventory| look(1, inventory)),
        }
    }
}
