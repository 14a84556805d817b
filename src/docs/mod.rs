//! Guides, compiled into the documentation of the code so that a dead link breaks the build.
//!
//! The files are Markdown and read well on their own. Each ends with definitions of its links as files; here, the same
//! names are defined first as items of the code, and the first definition counts.

macro_rules! guide {
    ($(#[$title:meta])* $name:ident, $file:literal) => {
        $(#[$title])*
        ///
        /// [semantics]: crate::docs::semantics
        /// [http-api]: crate::docs::http_api
        /// [operations]: crate::docs::operations
        /// [architecture]: crate::docs::architecture
        /// [decisions]: crate::docs::adr
        /// [domain]: crate::domain
        /// [storage]: crate::storage
        /// [watch]: crate::watch
        /// [hub_append]: crate::watch::Hub::append
        /// [hub_publish]: crate::watch::Hub::publish
        /// [reader]: crate::watch::Reader
        /// [raft]: crate::raft
        /// [service]: crate::service
        /// [api]: crate::api
        /// [cli]: crate::cli
        /// [codec]: crate::domain::codec
        /// [wal]: crate::storage::wal
        /// [state]: crate::storage::state
        /// [identity]: crate::storage::identity
        /// [apply]: crate::domain::inventory::Inventory::apply
        /// [take_dirty]: crate::domain::inventory::Inventory::take_dirty
        /// [freeze]: crate::domain::inventory::Inventory::freeze
        /// [submit]: crate::service::Service::submit
        /// [read]: crate::service::Service::read
        /// [call_leader]: crate::raft::RaftNode::call_leader
        /// [handle]: crate::raft::ForwardHandler::handle
        /// [propose]: crate::raft::RaftNode::propose
        /// [read_barrier]: crate::raft::RaftNode::read_barrier
        /// [early_refusal]: crate::domain::inventory::Inventory::early_refusal
        /// [append]: crate::storage::wal::WalGroup::append
        /// [encode]: crate::domain::codec::encode
        /// [Proposal]: crate::domain::command::Proposal
        /// [Settings]: crate::domain::command::Settings
        /// [write]: crate::storage::state::StateStore::write
        /// [history]: crate::storage::state::StateStore::history
        /// [write_snapshot]: crate::storage::state::StateStore::write_snapshot
        ///
        #[doc = include_str!($file)]
        pub mod $name {}
    };
}

guide! {
    /// What the words mean and what an answer promises.
    semantics, "semantics.md"
}
guide! {
    /// Every call.
    http_api, "http-api.md"
}
guide! {
    /// Running a cluster, and what to do when something fails.
    operations, "operations.md"
}
guide! {
    /// The rooms of the code and the way of a booking through them.
    architecture, "architecture.md"
}

/// Decisions, one page each: context, choice, cost, when to revisit.
pub mod adr {
    #![doc = include_str!("adr/0001-one-root-package.md")]
    #![doc = include_str!("adr/0002-openraft-alpha.md")]
    #![doc = include_str!("adr/0003-own-write-ahead-log.md")]
    #![doc = include_str!("adr/0004-sled-as-materialised-state.md")]
    #![doc = include_str!("adr/0005-state-in-memory.md")]
    #![doc = include_str!("adr/0006-bincode-in-one-file.md")]
    #![doc = include_str!("adr/0007-packed-chunks.md")]
    #![doc = include_str!("adr/0008-forwarding-over-the-peer-port.md")]
    #![doc = include_str!("adr/0009-change-streams.md")]
    #![doc = include_str!("adr/0010-webhooks.md")]
}
