//! The body of a batch.

use serde::Deserialize;
use utoipa::ToSchema;

use super::capped::Capped;
use super::item::WireItem;
use super::sale::{Best, Block, Book, Cancel, Extend, Release, Reserve, WireOnExpired, WireRest, on_event};
use super::{Name, Str, WireError, json, name};
use crate::api::problem::{self, Problem};
use crate::domain::command::{Command, SaleCommand, SaleOp};
use crate::domain::id::Key;
use crate::service::{BatchLine as ServiceLine, check};

/// Most commands of an atomic batch.
pub const ATOMIC_COMMANDS_MAX: usize = 1_000;
/// Most commands of an independent batch.
pub const INDEPENDENT_COMMANDS_MAX: usize = 10_000;
/// Largest body of an atomic batch, in bytes.
pub const ATOMIC_BYTES_MAX: usize = 1 << 20;

/// Commands that are decided together (`atomic`: all or none) or each by itself, in order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch<'a> {
    pub atomic: bool,
    #[serde(borrow)]
    #[schema(value_type = Vec<BatchLine>)]
    pub commands: Capped<BatchLine<'a>, INDEPENDENT_COMMANDS_MAX>,
}

/// One command: the body of its operation, with the event and the operation beside it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchLine<'a> {
    #[serde(borrow)]
    event: Name<'a>,
    op: Op,
    /// The command's own idempotency key; not in an atomic batch.
    #[serde(borrow, default)]
    key: Option<Name<'a>>,
    #[serde(borrow, default)]
    items: Option<Vec<WireItem<'a>>>,
    #[serde(borrow, default)]
    best: Option<Best<'a>>,
    #[serde(borrow, default)]
    customer: Option<Name<'a>>,
    ttl_ms: Option<u64>,
    #[serde(borrow, default)]
    token: Option<Name<'a>>,
    #[serde(borrow, default)]
    order: Option<Name<'a>>,
    rest: Option<WireRest>,
    on_expired: Option<WireOnExpired>,
    #[serde(borrow, default)]
    reason: Option<Str<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Reserve,
    Extend,
    Book,
    Release,
    Cancel,
    Block,
    Unblock,
}

/// What a batch asks for.
#[derive(Debug)]
pub enum Parsed {
    Atomic(Vec<SaleCommand>),
    Independent(Vec<ServiceLine>),
}

/// An operation whose shape is right and whose values are not judged yet.
enum Shaped<'a> {
    Reserve(Reserve<'a>),
    Extend(Extend<'a>),
    Book(Book<'a>),
    Release(Release<'a>),
    Cancel(Cancel<'a>),
    Block(Block<'a>),
    Unblock(Block<'a>),
}

struct Line<'a> {
    event: Name<'a>,
    key: Option<Name<'a>>,
    op: Shaped<'a>,
}

/// Reads a whole batch. A malformed command refuses all of it, with its index; a static no refuses an atomic batch, and
/// is that command's own answer in an independent one.
pub fn parse(body: &[u8]) -> Result<Parsed, Problem> {
    let batch: Batch<'_> = json::parse(body).map_err(|error| {
        let in_commands = error.path.starts_with("commands[");
        let problem = Problem::malformed(error.message);
        match error.index {
            Some(index) if in_commands => problem.at_index(index),
            _ => problem,
        }
    })?;
    if batch.atomic && body.len() > ATOMIC_BYTES_MAX {
        return Err(problem::too_large(ATOMIC_BYTES_MAX));
    }
    let (atomic, total) = (batch.atomic, batch.commands.total);
    let lines = batch
        .commands
        .kept
        .into_iter()
        .enumerate()
        .map(|(at, line)| line.shape().map_err(|error| Problem::from(error).at_index(at)))
        .collect::<Result<Vec<_>, _>>()?;
    check_count(total, atomic)?;
    if atomic {
        return Ok(Parsed::Atomic(all_or_none(lines)?));
    }
    let commands = lines.into_iter().enumerate().map(|(at, line)| line.independent().map_err(|e| e.at_index(at)));
    Ok(Parsed::Independent(commands.collect::<Result<_, _>>()?))
}

fn all_or_none(lines: Vec<Line<'_>>) -> Result<Vec<SaleCommand>, Problem> {
    let mut commands = Vec::with_capacity(lines.len());
    for (at, line) in lines.into_iter().enumerate() {
        match line.atomic() {
            Ok(command) => commands.push(command),
            Err(problem) => {
                // The first failing command is the answer: one before this that the service would refuse goes first.
                check(&Command::AtomicBatch(commands)).map_err(|rejection| Problem::refused(&rejection))?;
                return Err(problem.at_index(at));
            }
        }
    }
    Ok(commands)
}

fn check_count(total: usize, atomic: bool) -> Result<(), Problem> {
    let max = if atomic { ATOMIC_COMMANDS_MAX } else { INDEPENDENT_COMMANDS_MAX };
    if total == 0 {
        return Err(Problem::invalid("commands is empty; give at least one command."));
    }
    if total > max {
        return Err(Problem::invalid(format!(
            "commands has {total} commands; at most {max} are taken: split the batch."
        )));
    }
    Ok(())
}

impl<'a> BatchLine<'a> {
    /// The body of its operation. A field of another operation is as unknown here as it is there.
    fn shape(mut self) -> Result<Line<'a>, WireError> {
        let op = match self.op {
            Op::Reserve => Shaped::Reserve(
                Reserve {
                    items: self.items.take(),
                    best: self.best.take(),
                    customer: self.customer.take(),
                    ttl_ms: self.ttl_ms.take(),
                    token: self.token.take(),
                }
                .shape()?,
            ),
            Op::Extend => Shaped::Extend(Extend {
                token: required(self.token.take(), "token")?,
                ttl_ms: required(self.ttl_ms.take(), "ttl_ms")?,
            }),
            Op::Book => Shaped::Book(
                Book {
                    token: self.token.take(),
                    order: required(self.order.take(), "order")?,
                    items: self.items.take(),
                    customer: self.customer.take(),
                    rest: self.rest.take(),
                    on_expired: self.on_expired.take(),
                }
                .shape()?,
            ),
            Op::Release => {
                Shaped::Release(Release { token: required(self.token.take(), "token")?, items: self.items.take() })
            }
            Op::Cancel => {
                Shaped::Cancel(Cancel { order: required(self.order.take(), "order")?, items: self.items.take() })
            }
            Op::Block => Shaped::Block(self.take_block()?),
            Op::Unblock => Shaped::Unblock(self.take_block()?),
        };
        self.nothing_left()?;
        Ok(Line { event: self.event, key: self.key, op })
    }

    fn take_block(&mut self) -> Result<Block<'a>, WireError> {
        Ok(Block { items: required(self.items.take(), "items")?, reason: self.reason.take() })
    }

    /// Every field has been taken by the operation.
    fn nothing_left(&self) -> Result<(), WireError> {
        let left = [
            ("items", self.items.is_some()),
            ("best", self.best.is_some()),
            ("customer", self.customer.is_some()),
            ("ttl_ms", self.ttl_ms.is_some()),
            ("token", self.token.is_some()),
            ("order", self.order.is_some()),
            ("rest", self.rest.is_some()),
            ("on_expired", self.on_expired.is_some()),
            ("reason", self.reason.is_some()),
        ];
        match left.iter().find(|(_, there)| *there) {
            Some((field, _)) => Err(WireError::malformed(format!(
                "Field `{field}` does not belong to the operation {:?}; leave it out.",
                self.op
            ))),
            None => Ok(()),
        }
    }
}

fn required<T>(field: Option<T>, name: &str) -> Result<T, WireError> {
    field.ok_or_else(|| WireError::malformed(format!("Field `{name}` is missing; this operation needs it.")))
}

impl Line<'_> {
    fn atomic(self) -> Result<SaleCommand, Problem> {
        if self.key.is_some() {
            return Err(Problem::invalid(
                "A command of an atomic batch has no key of its own: the batch is one command, with the key in \
                 Idempotency-Key. Leave `key` out.",
            ));
        }
        Ok(self.command()?)
    }

    fn independent(self) -> Result<ServiceLine, Problem> {
        let key: Option<Result<Key, WireError>> = self.key.as_ref().map(|key| name(&key.0, "key"));
        match (key.transpose(), self.command()) {
            (Ok(key), Ok(command)) => Ok(ServiceLine { key, command: Ok(command) }),
            (Ok(_), Err(WireError::Refused(rejection))) | (Err(WireError::Refused(rejection)), _) => {
                Ok(ServiceLine { key: None, command: Err(*rejection) })
            }
            (_, Err(WireError::Malformed(detail))) | (Err(WireError::Malformed(detail)), _) => {
                Err(Problem::malformed(detail))
            }
        }
    }

    fn command(self) -> Result<SaleCommand, WireError> {
        let op: SaleOp = match self.op {
            Shaped::Reserve(wire) => wire.reserve(),
            Shaped::Extend(wire) => wire.extend(),
            Shaped::Book(wire) => wire.book(),
            Shaped::Release(wire) => wire.release(),
            Shaped::Cancel(wire) => wire.cancel(),
            Shaped::Block(wire) => wire.block(),
            Shaped::Unblock(wire) => wire.unblock(),
        }?;
        on_event(&self.event.0, op)
    }
}
