//! The pure state machine: `Inventory::apply(proposal) -> decisions + changes`.
//!
//! ```text
//!   command ──▶ inventory ──▶ outcome   what the caller is told, recorded under its key
//!                  │    └───▶ change    what everybody is told, one change set a revision
//!                  └────────▶ record    what is written down, and the state hash
//!   id · value · webhook: the words they share     codec: the one way to bytes and back
//! ```
//!
//! Invariants: names and values are valid by construction; every command has an answer in every state; the same
//! proposals give the same state, answers and changes on every node. `inventory` says how.
//!
//! On purpose not here: async, clocks, randomness, floats, I/O, JSON, and anything a single node decides for itself.

pub mod change;
pub mod codec;
pub mod command;
pub mod id;
pub mod inventory;
pub mod outcome;
pub mod record;
pub mod value;
pub mod webhook;
