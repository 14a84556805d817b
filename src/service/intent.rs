//! One client's intent on its way to a decision: what it is, and what an attempt to get it decided can come to.

use serde::{Deserialize, Serialize};

use crate::domain::codec;
use crate::domain::command::{BatchCommand, Command, Fingerprint, KeyMaker, Request, SaleCommand, SaleOp};
use crate::domain::id::{Key, Token};
use crate::domain::outcome::{Answer, SliceAnswer};
use crate::domain::value::{Millis, Version};

/// What a client wants decided, once, under one key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Intent {
    pub key: Key,
    pub key_made_by: KeyMaker,
    pub fingerprint: Fingerprint,
    pub not_after: Option<Millis>,
    pub if_match: Option<Version>,
    pub work: Work,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Work {
    Command(Command),
    /// An independent batch.
    Batch(Vec<BatchCommand>),
}

/// A decision, as the client will see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Decided {
    Command { answer: Answer, replayed: bool },
    Batch { answers: Vec<SliceAnswer>, replayed: bool },
    KeyReused,
}

/// What one attempt came to. Says always whether it can have had an effect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Attempt {
    Decided(Decided),
    /// Certainly no effect: the node does not lead.
    NotLeader,
    /// Certainly no effect: shed before propose. Says what is full.
    Shed(String),
    /// May have been, or may yet be, applied.
    Lost,
    /// Certainly no effect: what it asks for is no longer kept.
    Compacted {
        oldest: u64,
    },
}

/// Hash of a request as parsed, for telling a repeated key from a reused one.
pub(super) fn fingerprint(command: &Command) -> Fingerprint {
    hash(&codec::encode(command))
}

/// The same for a whole independent batch.
pub(super) fn batch_fingerprint(commands: &[BatchCommand]) -> Fingerprint {
    hash(&codec::encode(commands))
}

/// The fingerprint of what encodes to these bytes.
pub(super) fn hash(encoded: &[u8]) -> Fingerprint {
    let mut half = [0u8; 16];
    half.copy_from_slice(&blake3::hash(encoded).as_bytes()[..16]);
    Fingerprint(u128::from_le_bytes(half))
}

impl Intent {
    /// The request as it enters the log, for `command`, which is this intent's own or a slice of its batch.
    pub(super) fn request(&self, command: Command, mut fresh_token: impl FnMut() -> Token) -> Request {
        let holds = holds_made(&command);
        Request {
            key: self.key.clone(),
            key_made_by: self.key_made_by,
            fingerprint: self.fingerprint,
            not_after: self.not_after,
            if_match: self.if_match,
            fresh_tokens: (0..holds).map(|_| fresh_token()).collect(),
            command,
        }
    }

    /// Whether handling it can take as long as an event is big.
    pub(super) fn is_definition(&self) -> bool {
        matches!(self.work, Work::Command(Command::Define { .. }))
    }

    /// Makes room where room is short: `book`, `release` and `cancel` have a reserved share of the results.
    pub(super) fn reserves(&self) -> bool {
        match &self.work {
            Work::Command(Command::Sale(sale)) => is_reserve(sale),
            Work::Command(Command::AtomicBatch(sales)) => sales.iter().any(is_reserve),
            Work::Command(_) => false,
            Work::Batch(commands) => commands.iter().any(|c| c.command.as_ref().is_ok_and(is_reserve)),
        }
    }
}

fn is_reserve(sale: &SaleCommand) -> bool {
    matches!(sale.op, SaleOp::Reserve { .. })
}

/// How many holds a command can make: one for each reserve that does not add to another.
fn holds_made(command: &Command) -> usize {
    match command {
        Command::Sale(sale) => usize::from(is_reserve(sale)),
        Command::AtomicBatch(sales) => sales.iter().filter(|sale| is_reserve(sale)).count(),
        Command::BatchSlice(slice) => {
            slice.commands.iter().filter(|c| c.command.as_ref().is_ok_and(is_reserve)).count()
        }
        Command::Define { .. }
        | Command::Change { .. }
        | Command::Delete { .. }
        | Command::Void { .. }
        | Command::Configure(_)
        | Command::Webhook(_) => 0,
    }
}
