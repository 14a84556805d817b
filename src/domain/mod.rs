//! The pure state machine: `Inventory::apply(proposal) -> decisions + changes`.

pub mod change;
pub mod codec;
pub mod command;
pub mod id;
pub mod inventory;
pub mod outcome;
pub mod record;
pub mod value;
