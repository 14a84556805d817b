//! Several commands in one request: all or none, or each by itself.

use super::Inventory;
use super::draft::Draft;
use super::results::{Results, SliceHead};
use super::sale::Tokens;
use crate::domain::change::Cause;
use crate::domain::command::{BatchCommand, BatchSlice, KeyMaker, Request, SaleCommand};
use crate::domain::outcome::{Answer, Decision, Outcome, Rejection, SliceAnswer, Verdict};
use crate::domain::record::RecordKey;
use crate::domain::value::Revision;

/// Items that the answers to one batch, or slice of a batch, may name. A request that names its items is far below it;
/// a thousand commands of *a thousand best seats* each, in one small request, would make an answer that no record holds.
const BATCH_ITEMS_MAX: usize = 100_000;

fn too_much_for_a_batch() -> Rejection {
    Rejection::invalid(format!("the commands before it took more than {BATCH_ITEMS_MAX} items; send fewer at a time"))
}

/// Items that an answer names.
fn items_in(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Reserved(hold) | Outcome::Extended(hold) => hold.items.len(),
        Outcome::Booked(order) | Outcome::BookedBefore(order) => order.items.len(),
        Outcome::Released { items }
        | Outcome::Cancelled { items }
        | Outcome::Blocked { items, .. }
        | Outcome::Unblocked { items, .. } => items.len(),
        Outcome::AtomicBatch(answers) => answers.iter().map(items_answered).sum(),
        Outcome::BatchSlice(answers) => answers.iter().map(items_of_slice).sum(),
        Outcome::NotVoided(answer) => items_answered(answer),
        Outcome::Defined { .. }
        | Outcome::Changed { .. }
        | Outcome::Deleted { .. }
        | Outcome::Voided
        | Outcome::Configured
        | Outcome::WebhookSet { .. }
        | Outcome::WebhookDeleted { .. }
        | Outcome::WebhookChanged { .. }
        | Outcome::WebhookRotated { .. }
        | Outcome::WebhookTried { .. } => 0,
    }
}

fn items_answered(answer: &Answer) -> usize {
    match &answer.verdict {
        Verdict::Applied(outcome) => items_in(outcome),
        Verdict::Rejected(rejection) => rejection.conflicts.len(),
    }
}

fn items_of_slice(answer: &SliceAnswer) -> usize {
    match answer {
        SliceAnswer::Decided(answer) => items_answered(answer),
        SliceAnswer::KeyReused | SliceAnswer::Refused(_) => 0,
    }
}

/// Whether an answer is too long to stand in a record once more, as the answer to a void.
pub(super) fn too_long_to_repeat(answer: &Answer) -> bool {
    items_answered(answer) > BATCH_ITEMS_MAX + super::checks::ITEMS_MAX
}

impl Inventory {
    /// All or none: one revision, one version for each event touched. Each command sees the effects of those before it.
    pub(super) fn atomic(&mut self, commands: &[SaleCommand], tokens: &mut Tokens<'_>) -> Result<Outcome, Rejection> {
        let mut draft = Draft::with_journal();
        let outcomes = self.sales(&mut draft, commands, tokens)?;
        self.commit(draft, Cause::Batch);
        let answer =
            |(outcome, command): (Outcome, &SaleCommand)| self.answer(Some(&command.event), Verdict::Applied(outcome));
        Ok(Outcome::AtomicBatch(outcomes.into_iter().zip(commands).map(answer).collect()))
    }

    /// Writes what the commands do into the draft; when one is refused, takes everything back.
    pub(super) fn sales(
        &mut self,
        draft: &mut Draft,
        commands: &[SaleCommand],
        tokens: &mut Tokens<'_>,
    ) -> Result<Vec<Outcome>, Rejection> {
        if commands.is_empty() || commands.len() > super::checks::ATOMIC_COMMANDS_MAX {
            let most = super::checks::ATOMIC_COMMANDS_MAX;
            return Err(Rejection::invalid(format!("{} commands; give 1 to {most} in one batch", commands.len())));
        }
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut answered = 0;
        for (index, command) in (0u32..).zip(commands) {
            let decided = match answered > BATCH_ITEMS_MAX {
                true => Err(too_much_for_a_batch()),
                false => self.sale(draft, tokens, command),
            };
            match decided {
                Ok(outcome) => {
                    answered += items_in(&outcome);
                    outcomes.push(outcome);
                }
                Err(mut rejection) => {
                    self.roll_back(draft);
                    rejection.facts.index = Some(index);
                    return Err(rejection);
                }
            }
        }
        Ok(outcomes)
    }

    /// A part of an independent batch. Decided before → the same again, as a whole.
    pub(super) fn slice(&mut self, request: &Request, slice: &BatchSlice) -> Decision {
        let hits = self.results.find(request.key.as_str());
        if let Some((head, _, place)) = hits.slices.iter().find(|(_, known, _)| known.start == slice.start) {
            return match head.fingerprint == Some(request.fingerprint) {
                true => Decision::Replayed(self.results.answer(*place)),
                false => Decision::KeyReused,
            };
        }
        if let Some((head, place)) = &hits.single {
            return match head.fingerprint {
                None => Decision::Replayed(self.results.answer(*place)),
                Some(_) => Decision::KeyReused,
            };
        }
        if hits.slices.iter().any(|(head, _, _)| head.fingerprint != Some(request.fingerprint))
            || self.results.find_inside(request.key.as_str()).is_some()
        {
            return Decision::KeyReused;
        }
        let mut tokens = Tokens(request.fresh_tokens.iter());
        let mut answers = Vec::with_capacity(slice.commands.len());
        let mut answered = 0;
        for (index, command) in (slice.start..).zip(&slice.commands) {
            self.expire_due();
            let room = answered <= BATCH_ITEMS_MAX;
            let answer = self.slice_command(request, index, command, &mut tokens, room);
            answered += items_of_slice(&answer);
            answers.push(answer);
        }
        self.record_slice(request, slice, answers)
    }

    fn record_slice(&mut self, request: &Request, slice: &BatchSlice, answers: Vec<SliceAnswer>) -> Decision {
        let own = (slice.start..).zip(&slice.commands).filter(|(_, command)| command.own.is_some());
        let head = SliceHead {
            start: slice.start,
            total: slice.total,
            len: u32::try_from(slice.commands.len()).expect("a slice fits an entry"),
            own: own.map(|(index, _)| index).collect(),
        };
        let revision: Revision = self.revision;
        let verdict = Verdict::Applied(Outcome::BatchSlice(answers));
        let answer = Answer { revision, version: None, decided_at: self.clock, verdict };
        let class = Results::class_of(request.key_made_by, &answer);
        let fingerprint = Some(request.fingerprint);
        let first = self.results.record(class, request.key.clone(), fingerprint, Some(head), answer.clone());
        self.dirty.insert(RecordKey::Results { class, first });
        self.evict_results(super::apply::EVICT_A_RESULT);
        Decision::Fresh(answer)
    }

    fn slice_command(
        &mut self,
        request: &Request,
        index: u32,
        command: &BatchCommand,
        tokens: &mut Tokens<'_>,
        room: bool,
    ) -> SliceAnswer {
        let sale = match &command.command {
            Ok(sale) => sale,
            Err(rejection) => return SliceAnswer::Refused(rejection.clone()),
        };
        let before = match &command.own {
            Some((key, fingerprint)) => self.decided(key.as_str(), Some(*fingerprint)),
            None => self.decided(&format!("{}:{index}", request.key), None),
        };
        match before {
            Some(Decision::Replayed(answer)) => return SliceAnswer::Decided(answer),
            Some(Decision::KeyReused) => return SliceAnswer::KeyReused,
            Some(Decision::Fresh(_) | Decision::StagingLost) | None => {}
        }
        let decided = match self.late(request.not_after) {
            _ if !room => Err(too_much_for_a_batch()),
            true => Err(self.too_late_for(sale, tokens)),
            false => self.single(sale, tokens),
        };
        let answer = self.answer(Some(&sale.event), decided.map_or_else(Verdict::Rejected, Verdict::Applied));
        if let Some((key, fingerprint)) = &command.own {
            self.record(key.clone(), *fingerprint, KeyMaker::Client, answer.clone());
        }
        SliceAnswer::Decided(answer)
    }
}
