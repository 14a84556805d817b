//! Several commands in one request: all or none, or each by itself.

use super::Inventory;
use super::draft::Draft;
use super::results::{Results, SliceHead};
use super::sale::Tokens;
use crate::domain::change::Cause;
use crate::domain::command::{BatchCommand, BatchSlice, KeyMaker, Request, SaleCommand};
use crate::domain::outcome::{Answer, Code, Decision, Outcome, Rejection, SliceAnswer, Verdict};
use crate::domain::record::RecordKey;
use crate::domain::value::Revision;

impl Inventory {
    /// All or none: one revision, one version for each event touched. Each command sees the effects of those before it.
    pub(super) fn atomic(&mut self, commands: &[SaleCommand], tokens: &mut Tokens<'_>) -> Result<Outcome, Rejection> {
        if commands.is_empty() || commands.len() > super::checks::ATOMIC_COMMANDS_MAX {
            let most = super::checks::ATOMIC_COMMANDS_MAX;
            return Err(Rejection::invalid(format!("{} commands; give 1 to {most} in one batch", commands.len())));
        }
        let mut draft = Draft::with_journal();
        let mut outcomes = Vec::with_capacity(commands.len());
        for (index, command) in (0u32..).zip(commands) {
            match self.sale(&mut draft, tokens, command) {
                Ok(outcome) => outcomes.push(outcome),
                Err(mut rejection) => {
                    self.roll_back(&mut draft);
                    rejection.facts.index = Some(index);
                    return Err(rejection);
                }
            }
        }
        self.commit(draft, Cause::Batch);
        let answer =
            |(outcome, command): (Outcome, &SaleCommand)| self.answer(Some(&command.event), Verdict::Applied(outcome));
        Ok(Outcome::AtomicBatch(outcomes.into_iter().zip(commands).map(answer).collect()))
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
        for (index, command) in (slice.start..).zip(&slice.commands) {
            self.expire_due();
            answers.push(self.slice_command(request, index, command, &mut tokens));
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
        Decision::Fresh(answer)
    }

    fn slice_command(
        &mut self,
        request: &Request,
        index: u32,
        command: &BatchCommand,
        tokens: &mut Tokens<'_>,
    ) -> SliceAnswer {
        let before = match &command.own {
            Some((key, fingerprint)) => self.decided(key.as_str(), Some(*fingerprint)),
            None => self.decided(&format!("{}:{index}", request.key), None),
        };
        match before {
            Some(Decision::Replayed(answer)) => return SliceAnswer::Decided(answer),
            Some(Decision::KeyReused) => return SliceAnswer::KeyReused,
            Some(Decision::Fresh(_) | Decision::StagingLost) | None => {}
        }
        let late = self.late(request.not_after);
        let decided = match &command.command {
            Err(rejection) => Err(rejection.clone()),
            Ok(_) if late => Err(Rejection::new(Code::DeadlinePassed)),
            Ok(command) => self.single(command, tokens),
        };
        let event = command.command.as_ref().ok().map(|command| &command.event);
        let answer = self.answer(event, decided.map_or_else(Verdict::Rejected, Verdict::Applied));
        if let Some((key, fingerprint)) = &command.own {
            self.record(key.clone(), *fingerprint, KeyMaker::Client, answer.clone());
        }
        SliceAnswer::Decided(answer)
    }
}
