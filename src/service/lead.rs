//! The leader's side of one attempt: admission, then through the batcher into the log.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::time::timeout_at;

use super::batcher::{JobResult, QueueFull, Queued};
use super::intent::{Attempt, Decided, Intent, Work};
use super::limits::{ENTRY_BYTES_MAX, SLICE_COMMANDS_MAX, STAGE_PART_BYTES_MAX, STAGE_PARTS_IN_FLIGHT_MAX};
use super::stamp::{fresh_staging, fresh_token};
use super::{Service, admission};
use crate::domain::codec;
use crate::domain::command::{
    BatchCommand, BatchSlice, Command, Contents, Definition, ProposalBody, StagePart, StagingId,
};
use crate::domain::outcome::{Decision, Outcome, SliceAnswer, Verdict};
use crate::domain::value::{PoolDef, SeatDef};
use crate::storage::background::taking_long;

/// A result, or the attempt that failed.
type Tried<T> = Result<T, Attempt>;

impl Service {
    /// One attempt to get an intent decided by this node as the leader.
    pub(super) async fn lead(&self, intent: &Intent, deadline: Instant) -> Attempt {
        // A leader that stops takes nothing new; whoever asked waits for the next one.
        if !self.raft.view().is_leader || self.admission.draining() {
            return Attempt::NotLeader;
        }
        if let Some(full) = self.admission.refusal(intent) {
            return Attempt::Shed(full.to_owned());
        }
        let tried = match &intent.work {
            Work::Command(Command::Define { event, definition }) => {
                self.lead_definition(intent, event, definition, deadline).await
            }
            Work::Command(Command::Webhook(command)) => self.lead_webhook(intent, command, deadline).await,
            Work::Command(command) => self.lead_command(intent, command.clone(), deadline).await,
            Work::Batch(commands) => self.lead_batch(intent, commands, deadline).await,
        };
        tried.map_or_else(|failed| failed, Attempt::Decided)
    }

    pub(super) async fn lead_command(&self, intent: &Intent, command: Command, deadline: Instant) -> Tried<Decided> {
        let queued = self.batcher.request(intent.request(command, fresh_token)).map_err(full)?;
        decided(wait(queued, deadline).await?)
    }

    /// Slices go into the queue in order and all at once, or none of them: one leader's log keeps their order, and what a
    /// lost leader leaves decided is always a beginning of the batch.
    async fn lead_batch(&self, intent: &Intent, commands: &[BatchCommand], deadline: Instant) -> Tried<Decided> {
        let slices = slices(commands);
        let lengths: Vec<usize> = slices.iter().map(|slice| slice.commands.len()).collect();
        let request = |slice| intent.request(Command::BatchSlice(slice), fresh_token);
        let waiting = self.batcher.batch(slices.into_iter().map(request).collect()).map_err(full)?;
        let mut answers = Vec::with_capacity(commands.len());
        let mut all_replayed = true;
        for (len, queued) in lengths.into_iter().zip(waiting) {
            match decided(wait(queued, deadline).await?)? {
                Decided::Command { answer, replayed } => {
                    all_replayed &= replayed;
                    match answer.verdict {
                        Verdict::Applied(Outcome::BatchSlice(some)) => answers.extend(some),
                        // Refused as a whole (voided, past its `Not-After`): every command of the slice shares it.
                        Verdict::Applied(_) | Verdict::Rejected(_) => {
                            answers.extend(std::iter::repeat_n(SliceAnswer::Decided(answer), len));
                        }
                    }
                }
                other @ (Decided::KeyReused | Decided::Batch { .. }) => return Ok(other),
            }
        }
        Ok(Decided::Batch { answers, replayed: all_replayed })
    }

    /// A definition too big for one entry travels as staged parts and one small committing entry.
    async fn lead_definition(
        &self,
        intent: &Intent,
        event: &crate::domain::id::EventId,
        definition: &Definition,
        deadline: Instant,
    ) -> Tried<Decided> {
        let Contents::Inline { seats, pools } = &definition.contents else {
            return Err(Attempt::Shed("a definition arrived without its contents".to_owned()));
        };
        let contents = if taking_long(|| codec::encoded_len(definition)) <= ENTRY_BYTES_MAX {
            definition.contents.clone()
        } else if self.raft.inspect(|inventory| inventory.recorded(&intent.key)).is_some() {
            // Decided before: nothing needs to travel to hear the answer again.
            Contents::Staged { staging: StagingId(0), parts: 0 }
        } else {
            let _one_of_few = timeout_at(deadline.into(), self.definitions.acquire())
                .await
                .map_err(|_| Attempt::Shed(admission::DEFINITIONS_FULL.to_owned()))?
                .expect("the semaphore is never closed");
            self.stage(seats, pools, deadline).await?
        };
        let definition = Box::new(Definition { head: definition.head.clone(), contents });
        self.lead_command(intent, Command::Define { event: event.clone(), definition }, deadline).await
    }

    /// Sends the parts, few at a time so that sales pass between them. Staged parts have no effect by themselves: what
    /// fails here is certainly not applied.
    async fn stage(&self, seats: &[SeatDef], pools: &[PoolDef], deadline: Instant) -> Tried<Contents> {
        let staging = fresh_staging();
        let mut waiting = VecDeque::new();
        let mut parts = 0;
        for part in taking_long(|| stage_parts(staging, seats, pools)) {
            if waiting.len() == STAGE_PARTS_IN_FLIGHT_MAX {
                staged(waiting.pop_front(), deadline).await?;
            }
            let entry = ProposalBody::Stage(part);
            waiting.push_back(self.batcher.entry(entry).map_err(full)?);
            parts += 1;
        }
        while !waiting.is_empty() {
            staged(waiting.pop_front(), deadline).await?;
        }
        Ok(Contents::Staged { staging, parts })
    }
}

/// Waits for one staged part. Nothing was applied whatever comes: a lost part only means to begin again, one that comes
/// too late that there is no time to.
async fn staged(queued: Option<Queued>, deadline: Instant) -> Tried<()> {
    let Some(queued) = queued else { return Ok(()) };
    match timeout_at(deadline.into(), queued).await {
        Ok(Ok(JobResult::Applied)) => Ok(()),
        Ok(Ok(JobResult::Decided(_) | JobResult::NotLeader) | Err(_)) => Err(Attempt::NotLeader),
        Err(_) => Err(Attempt::Shed(admission::DEFINITION_SLOW.to_owned())),
    }
}

fn full(_: QueueFull) -> Attempt {
    Attempt::Shed(admission::QUEUE_FULL.to_owned())
}

async fn wait(queued: Queued, deadline: Instant) -> Tried<JobResult> {
    match timeout_at(deadline.into(), queued).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) | Err(_) => Err(Attempt::Lost),
    }
}

fn decided(result: JobResult) -> Tried<Decided> {
    match result {
        JobResult::Decided(Decision::Fresh(answer)) => Ok(Decided::Command { answer, replayed: false }),
        JobResult::Decided(Decision::Replayed(answer)) => Ok(Decided::Command { answer, replayed: true }),
        JobResult::Decided(Decision::KeyReused) => Ok(Decided::KeyReused),
        // Nothing was done: as good as not led, begin again.
        JobResult::Decided(Decision::StagingLost) | JobResult::NotLeader => Err(Attempt::NotLeader),
        JobResult::Applied => Err(Attempt::Lost),
    }
}

/// Cuts a batch. The same batch is always cut the same way: a slice sent again must find its record.
fn slices(commands: &[BatchCommand]) -> Vec<BatchSlice> {
    let total = u32::try_from(commands.len()).expect("a batch is limited to 10,000 commands");
    let mut slices = Vec::new();
    let mut current: Vec<BatchCommand> = Vec::new();
    let (mut start, mut bytes) = (0u32, 0usize);
    for (index, command) in commands.iter().enumerate() {
        let size = codec::encoded_len(command);
        if !current.is_empty() && (current.len() == SLICE_COMMANDS_MAX || bytes + size > ENTRY_BYTES_MAX) {
            slices.push(BatchSlice { start, total, commands: std::mem::take(&mut current) });
            start = u32::try_from(index).expect("a batch is limited to 10,000 commands");
            bytes = 0;
        }
        bytes += size;
        current.push(command.clone());
    }
    if !current.is_empty() {
        slices.push(BatchSlice { start, total, commands: current });
    }
    slices
}

fn stage_parts(staging: StagingId, seats: &[SeatDef], pools: &[PoolDef]) -> Vec<StagePart> {
    let mut parts = vec![StagePart { staging, part: 0, seats: Vec::new(), pools: Vec::new() }];
    let mut bytes = 0;
    let mut room = |parts: &mut Vec<StagePart>, size: usize| {
        if bytes > 0 && bytes + size > STAGE_PART_BYTES_MAX {
            let part = u32::try_from(parts.len()).expect("a definition is limited to 32 MiB");
            parts.push(StagePart { staging, part, seats: Vec::new(), pools: Vec::new() });
            bytes = 0;
        }
        bytes += size;
    };
    for seat in seats {
        room(&mut parts, codec::encoded_len(seat));
        parts.last_mut().expect("there is always a part").seats.push(seat.clone());
    }
    for pool in pools {
        room(&mut parts, codec::encoded_len(pool));
        parts.last_mut().expect("there is always a part").pools.push(pool.clone());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::command::{SaleCommand, SaleOp};
    use crate::domain::id::{EventId, OrderId, PoolId, SeatId};
    use crate::domain::value::Item;

    fn command(n: usize) -> BatchCommand {
        let pool = PoolId::parse("standing").expect("a good name");
        let sale = SaleCommand {
            event: EventId::parse("e").expect("a good name"),
            op: SaleOp::BookDirect {
                items: vec![Item::Pool { pool, quantity: 1 }],
                order: OrderId::parse(&format!("order-{n}")).expect("a good name"),
                customer: None,
            },
        };
        BatchCommand { own: None, command: Ok(sale) }
    }

    #[test]
    fn slices_keep_order_and_limits_and_are_the_same_each_time() {
        let commands: Vec<_> = (0..10_000).map(command).collect();
        let cut = slices(&commands);
        assert_eq!(cut, slices(&commands));
        let mut next = 0;
        for slice in &cut {
            assert_eq!(slice.start, next);
            assert_eq!(slice.total, 10_000);
            assert!(slice.commands.len() <= SLICE_COMMANDS_MAX && !slice.commands.is_empty());
            assert!(codec::encoded_len(&slice.commands) <= ENTRY_BYTES_MAX + 8);
            next += u32::try_from(slice.commands.len()).expect("small");
        }
        assert_eq!(next, 10_000);
        assert!(slices(&[]).is_empty());
    }

    #[test]
    fn staged_parts_hold_every_seat_once_and_stay_small() {
        let seats: Vec<_> = (0..100_000)
            .map(|n| SeatDef {
                id: SeatId::parse(&format!("seat-{n}")).expect("a good name"),
                section: Some("Stalls".into()),
                row: None,
                number: None,
                category: None,
                x: None,
                y: None,
            })
            .collect();
        let parts = stage_parts(StagingId(7), &seats, &[]);
        assert!(parts.len() > 1);
        for (index, part) in parts.iter().enumerate() {
            assert_eq!(part.part as usize, index);
            assert!(codec::encoded_len(part) <= STAGE_PART_BYTES_MAX + 64);
        }
        let joined: Vec<_> = parts.into_iter().flat_map(|p| p.seats).collect();
        assert_eq!(joined, seats);
    }
}
