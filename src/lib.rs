//! lastseat: the inventory store that never sells the last seat twice.

pub mod api;
pub mod cli;
#[cfg(doc)]
pub mod docs;
pub mod domain;
pub mod node;
pub mod raft;
pub mod service;
pub mod storage;
pub mod watch;
