//! The checks that need no state: made here once, at the edge, and once more by `apply`, which must be total.
//!
//! What fails here has had no effect, is never looked up under a key and never recorded.

use super::ServiceError;
use super::intent::fingerprint;
use super::limits::{ATOMIC_BATCH_BYTES_MAX, COMMAND_BYTES_MAX};
use crate::domain::codec;
use crate::domain::command::{BatchCommand, Command, Contents, SaleCommand};
use crate::domain::id::Key;
use crate::domain::inventory::{check_definition, check_patch, check_sale, check_webhook};
use crate::domain::outcome::Rejection;

/// One command of an independent batch, as a client sent it.
#[derive(Debug, Clone)]
pub struct BatchLine {
    /// The command's own key.
    pub key: Option<Key>,
    /// Or why its values are not a command.
    pub command: Result<SaleCommand, Rejection>,
}

/// `invalid` or `duplicate_item`; in an atomic batch with the index of the first such command.
pub fn check(command: &Command) -> Result<(), Rejection> {
    match command {
        Command::Define { definition, .. } => match &definition.contents {
            Contents::Inline { seats, pools } => check_definition(&definition.head, seats, pools),
            Contents::Staged { .. } => Ok(()),
        },
        Command::Change { patch, .. } => check_patch(patch),
        Command::Sale(sale) => check_sale(sale),
        Command::AtomicBatch(sales) => {
            for (index, sale) in sales.iter().enumerate() {
                check_sale(sale).map_err(|mut rejection| {
                    rejection.facts.index = u32::try_from(index).ok();
                    rejection
                })?;
            }
            Ok(())
        }
        Command::Webhook(command) => check_webhook(command),
        Command::Delete { .. } | Command::BatchSlice(_) | Command::Void { .. } | Command::Configure(_) => Ok(()),
    }
}

/// The commands of an independent batch. One that fails stays in its place, as its own answer, and without its key.
pub fn checked_lines(lines: Vec<BatchLine>) -> Vec<BatchCommand> {
    lines.into_iter().map(BatchLine::checked).collect()
}

impl BatchLine {
    fn checked(self) -> BatchCommand {
        let command = self.command.and_then(|sale| check_sale(&sale).map(|()| sale));
        let own = match (self.key, &command) {
            (Some(key), Ok(sale)) => Some((key, fingerprint(&Command::Sale(sale.clone())))),
            (Some(_), Err(_)) | (None, _) => None,
        };
        BatchCommand { own, command }
    }
}

pub(super) fn check_size(command: &Command, encoded_bytes: usize) -> Result<(), ServiceError> {
    match command {
        // Bounded by the body limit of its route; it travels in staged parts.
        Command::Define { .. } => Ok(()),
        Command::AtomicBatch(_) => within(ATOMIC_BATCH_BYTES_MAX, encoded_bytes),
        Command::Change { .. }
        | Command::Delete { .. }
        | Command::Sale(_)
        | Command::BatchSlice(_)
        | Command::Void { .. }
        | Command::Configure(_)
        | Command::Webhook(_) => within(COMMAND_BYTES_MAX, encoded_bytes),
    }
}

/// The same for the commands of an independent batch.
pub(super) fn check_sizes(commands: &[BatchCommand]) -> Result<(), ServiceError> {
    commands.iter().try_for_each(|command| within(COMMAND_BYTES_MAX, codec::encoded_len(command)))
}

fn within(limit_bytes: usize, bytes: usize) -> Result<(), ServiceError> {
    if bytes > limit_bytes { Err(ServiceError::TooLarge { limit_bytes }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::command::SaleOp;
    use crate::domain::id::{EventId, OrderId, SeatId};
    use crate::domain::outcome::Code;
    use crate::domain::value::Item;

    fn book(seats: &[&str]) -> SaleCommand {
        let seat = |name: &&str| Item::Seat(SeatId::parse(name).expect("a good name"));
        SaleCommand {
            event: EventId::parse("e").expect("a good name"),
            op: SaleOp::BookDirect {
                items: seats.iter().map(seat).collect(),
                order: OrderId::parse("o").expect("a good name"),
                customer: None,
            },
        }
    }

    #[test]
    fn the_first_command_of_an_atomic_batch_that_cannot_be_is_named() {
        let refused = check(&Command::AtomicBatch(vec![book(&["A"]), book(&["B", "B"]), book(&[])]));
        let refused = refused.expect_err("a seat is named twice");
        assert_eq!((refused.code, refused.facts.index), (Code::DuplicateItem, Some(1)));
    }

    #[test]
    fn a_line_that_fails_stays_in_its_place_and_loses_its_key() {
        let key = Key::parse("own").ok();
        let line = |command| BatchLine { key: key.clone(), command };
        let shape = Rejection::invalid("no such quantity");
        let lines = checked_lines(vec![line(Ok(book(&["A", "A"]))), line(Err(shape)), line(Ok(book(&["A"])))]);
        let codes: Vec<_> = lines.iter().map(|line| line.command.as_ref().err().map(|no| no.code)).collect();
        assert_eq!(codes, [Some(Code::DuplicateItem), Some(Code::Invalid), None]);
        let own: Vec<_> = lines.iter().map(|line| line.own.is_some()).collect();
        assert_eq!(own, [false, false, true]);
        // Its key names the same intent as outside the batch.
        let print = fingerprint(&Command::Sale(book(&["A"])));
        assert_eq!(lines[2].own.as_ref().map(|own| own.1), Some(print));
    }
}
