//! From a proposal to decisions: time, keys, and then the command.

use super::batch::too_long_to_repeat;
use super::checks::check_definition;
use super::draft::Draft;
use super::results::Results;
use super::sale::{Tokens, cause_of};
use super::webhooks::check_webhook;
use super::{Applied, Inventory};
use crate::domain::command::{
    Command, Contents, Definition, Fingerprint, KeyMaker, Proposal, ProposalBody, Request, SaleCommand, Settings,
};
use crate::domain::id::{EventId, Key};
use crate::domain::outcome::{Answer, Code, Decision, Outcome, Rejection, Verdict};
use crate::domain::record::{RecordKey, ResultClass};
use crate::domain::value::{Millis, PoolDef, SeatDef, Version};

/// Results and lapsed holds evicted at the start of a proposal, at most.
const EVICT_A_PROPOSAL: u32 = 64;
/// Results evicted after each one recorded, at most: more than one, so that a table that is too full shrinks.
pub(super) const EVICT_A_RESULT: u32 = 4;
/// Most results that can be remembered: the index numbers them in 30 bits.
const RESULTS_MAX: u64 = 1 << 29;

/// The parts of a definition are gone.
pub(super) struct StagingLost;

impl Inventory {
    /// Decides everything in the proposal. Total: every command has an answer in every state.
    pub fn apply(&mut self, proposal: &Proposal) -> Applied {
        self.clock = self.clock.max(proposal.stamp);
        self.dirty.insert(RecordKey::Header);
        self.expire_due();
        self.evict();
        let mut decisions = Vec::new();
        match &proposal.body {
            ProposalBody::Requests(requests) => {
                decisions.reserve_exact(requests.len());
                for request in requests {
                    // An extend can move the end of a hold to before now; then it ends before the next command.
                    self.expire_due();
                    decisions.push(self.request(request));
                }
            }
            ProposalBody::Stage(part) => {
                self.dirty.extend(self.staging.add(self.clock, part));
                self.dirty.extend(self.staging.evict(&self.settings, self.clock));
            }
            ProposalBody::Tick => {}
            ProposalBody::Webhooks(reports) => reports.iter().for_each(|report| self.webhook_progress(report)),
        }
        Applied { decisions, change_sets: std::mem::take(&mut self.change_sets) }
    }

    fn evict(&mut self) {
        self.evict_results(EVICT_A_PROPOSAL);
        self.dirty.extend(self.staging.evict(&self.settings, self.clock));
    }

    pub(super) fn evict_results(&mut self, budget: u32) {
        let Self { results, lapsed, dirty, settings, clock, .. } = self;
        results.evict(settings, *clock, budget, |class, first| {
            dirty.insert(RecordKey::Results { class, first });
        });
        dirty.extend(lapsed.evict(settings, *clock, budget).into_iter().map(|first| RecordKey::Lapsed { first }));
    }

    fn request(&mut self, request: &Request) -> Decision {
        if let Command::BatchSlice(slice) = &request.command {
            return self.slice(request, slice);
        }
        if let Some(decision) = self.decided(request.key.as_str(), Some(request.fingerprint)) {
            self.drop_staged(&request.command);
            return decision;
        }
        let verdict = match self.decide(request) {
            Ok(verdict) => verdict,
            Err(StagingLost) => return Decision::StagingLost,
        };
        self.drop_staged(&request.command);
        let mut answer = self.answer(event_of(&request.command), verdict);
        if let Verdict::Applied(Outcome::Deleted { event }) = &answer.verdict {
            answer.version = self.last_version(event);
        }
        self.record(request.key.clone(), request.fingerprint, request.key_made_by, answer.clone());
        Decision::Fresh(answer)
    }

    /// The parts of a definition that was decided, now or before, are of no more use.
    fn drop_staged(&mut self, command: &Command) {
        if let Command::Define { definition, .. } = command
            && let Contents::Staged { staging, .. } = &definition.contents
        {
            self.dirty.extend(self.staging.drop_staging(*staging));
        }
    }

    /// What was decided under this key before, if anything. No fingerprint: whatever is there is another request.
    pub(super) fn decided(&self, key: &str, fingerprint: Option<Fingerprint>) -> Option<Decision> {
        let hits = self.results.find(key);
        if let Some((head, place)) = &hits.single {
            return Some(match head.fingerprint {
                // The mark of a void answers whatever the key is used for.
                None => Decision::Replayed(self.results.answer(*place)),
                known if known == fingerprint => Decision::Replayed(self.results.answer(*place)),
                Some(_) => Decision::KeyReused,
            });
        }
        let taken = !hits.slices.is_empty() || self.results.find_inside(key).is_some();
        taken.then_some(Decision::KeyReused)
    }

    pub(super) fn record(&mut self, key: Key, fingerprint: Fingerprint, maker: KeyMaker, answer: Answer) {
        let class = Results::class_of(maker, &answer);
        let first = self.results.record(class, key, Some(fingerprint), None, answer);
        self.dirty.insert(RecordKey::Results { class, first });
        self.evict_results(EVICT_A_RESULT);
    }

    /// An answer of now. `event`: the event it is about, if it is about one.
    pub(super) fn answer(&self, event: Option<&EventId>, verdict: Verdict) -> Answer {
        let version = event.and_then(|event| self.version_of(event));
        Answer { revision: self.revision, version, decided_at: self.clock, verdict }
    }

    fn version_of(&self, event: &EventId) -> Option<Version> {
        self.event_no(event).map(|no| self.live_event(no).core.info.version)
    }

    fn decide(&mut self, request: &Request) -> Result<Verdict, StagingLost> {
        if self.late(request.not_after) {
            return Ok(Verdict::Rejected(self.too_late(request)));
        }
        let decided = match &request.command {
            Command::Define { event, definition } => self.define_command(event, request.if_match, definition)?,
            Command::Change { event, patch } => self.change(event, request.if_match, patch),
            Command::Delete { event, force } => self.delete(event, *force),
            Command::Sale(command) => self.single(command, &mut Tokens(request.fresh_tokens.iter())),
            Command::AtomicBatch(commands) => self.atomic(commands, &mut Tokens(request.fresh_tokens.iter())),
            Command::Void { key } => self.void(key, &request.key),
            Command::Configure(settings) => self.configure(settings),
            Command::Webhook(command) => self.webhook_command(command),
            Command::BatchSlice(_) => unreachable!("slices are decided in `slice`"),
        };
        Ok(decided.map_or_else(Verdict::Rejected, Verdict::Applied))
    }

    /// What a request that came too late is told. What is wrong with the request itself stands above the deadline.
    fn too_late(&mut self, request: &Request) -> Rejection {
        let mut tokens = Tokens(request.fresh_tokens.iter());
        match &request.command {
            Command::Define { definition, .. } => or_late(self.check_request_of_define(definition)),
            Command::Change { event, patch } => or_late(self.check_request_of_change(event, patch)),
            Command::Sale(command) => self.too_late_for(command, &mut tokens),
            Command::AtomicBatch(commands) => {
                let mut draft = Draft::with_journal();
                let decided = self.sales(&mut draft, commands, &mut tokens);
                self.roll_back(&mut draft);
                or_late(decided)
            }
            Command::Void { key } => or_late(check_void(key, &request.key)),
            Command::Configure(settings) => or_late(check_settings(settings)),
            Command::Webhook(command) => or_late(check_webhook(command)),
            Command::Delete { .. } | Command::BatchSlice(_) => or_late(Ok(())),
        }
    }

    /// The same for one command: it is decided as usual, and whatever it did is taken back.
    pub(super) fn too_late_for(&mut self, command: &SaleCommand, tokens: &mut Tokens<'_>) -> Rejection {
        let mut draft = Draft::with_journal();
        let decided = self.sale(&mut draft, tokens, command);
        self.roll_back(&mut draft);
        or_late(decided)
    }

    fn check_request_of_define(&self, definition: &Definition) -> Result<(), Rejection> {
        match &definition.contents {
            Contents::Inline { seats, pools } => check_definition(&definition.head, seats, pools),
            Contents::Staged { staging, parts } => match self.staging.collect(*staging, *parts) {
                Some((seats, pools)) => check_definition(&definition.head, &seats, &pools),
                // Sending the parts again would only find it later still.
                None => check_definition(&definition.head, &[], &[]),
            },
        }
    }

    pub(super) fn late(&self, not_after: Option<Millis>) -> bool {
        not_after.is_some_and(|limit| self.clock > limit)
    }

    /// One command by itself: one change set if it changes anything.
    pub(super) fn single(&mut self, command: &SaleCommand, tokens: &mut Tokens<'_>) -> Result<Outcome, Rejection> {
        let mut draft = Draft::default();
        let outcome = self.sale(&mut draft, tokens, command)?;
        self.commit(draft, cause_of(&command.op));
        Ok(outcome)
    }

    fn define_command(
        &mut self,
        event: &EventId,
        if_match: Option<Version>,
        definition: &Definition,
    ) -> Result<Result<Outcome, Rejection>, StagingLost> {
        let staged: (Vec<SeatDef>, Vec<PoolDef>);
        let (seats, pools) = match &definition.contents {
            Contents::Inline { seats, pools } => (seats, pools),
            Contents::Staged { staging, parts } => {
                staged = self.staging.collect(*staging, *parts).ok_or(StagingLost)?;
                (&staged.0, &staged.1)
            }
        };
        Ok(self.define(event, if_match, &definition.head, seats, pools))
    }

    fn void(&mut self, key: &Key, own: &Key) -> Result<Outcome, Rejection> {
        check_void(key, own)?;
        let hits = self.results.find(key.as_str());
        if hits.single.as_ref().is_some_and(|(head, _)| head.fingerprint.is_none()) {
            return Ok(Outcome::Voided);
        }
        if let Some(answer) = self.results.recorded(key.as_str()) {
            if too_long_to_repeat(&answer) {
                let reason = "all of this batch was decided, and its answer is too long to be given twice";
                return Err(Rejection::invalid(format!("{reason}: nothing was voided; ask for the outcome of {key}")));
            }
            return Ok(Outcome::NotVoided(Box::new(answer)));
        }
        let mut rejection = Rejection::new(Code::Voided);
        rejection.facts.key = Some(key.clone());
        let answer = self.answer(None, Verdict::Rejected(rejection));
        // Kept as firmly as an applied result: a flood of rejections must not undo the promise that the key never works.
        let class = ResultClass::Applied;
        let first = self.results.record(class, key.clone(), None, None, answer);
        self.dirty.insert(RecordKey::Results { class, first });
        Ok(Outcome::Voided)
    }

    fn configure(&mut self, settings: &Settings) -> Result<Outcome, Rejection> {
        check_settings(settings)?;
        self.settings = *settings;
        Ok(Outcome::Configured)
    }
}

fn check_void(key: &Key, own: &Key) -> Result<(), Rejection> {
    if key == own {
        return Err(Rejection::invalid("a void needs a key of its own, not the key it voids"));
    }
    Ok(())
}

/// `deadline_passed`, unless the request is refused for something that stands above it.
fn or_late<T>(decided: Result<T, Rejection>) -> Rejection {
    let above = decided.err().filter(|rejection| rejection.code < Code::DeadlinePassed);
    above.unwrap_or_else(|| Rejection::new(Code::DeadlinePassed))
}

fn check_settings(settings: &Settings) -> Result<(), Rejection> {
    let Settings { results_max, rejections_max, .. } = *settings;
    if results_max > RESULTS_MAX {
        return Err(Rejection::invalid(format!("results_max is {results_max}; at most {RESULTS_MAX} are possible")));
    }
    if rejections_max >= results_max {
        // Rejections must not take the room of what was applied.
        let reason = format!("rejections_max is {rejections_max}; it must be below results_max, {results_max}");
        return Err(Rejection::invalid(reason));
    }
    Ok(())
}

/// The one event a command is about.
fn event_of(command: &Command) -> Option<&EventId> {
    match command {
        Command::Define { event, .. } | Command::Change { event, .. } | Command::Delete { event, .. } => Some(event),
        Command::Sale(command) => Some(&command.event),
        Command::AtomicBatch(_)
        | Command::BatchSlice(_)
        | Command::Void { .. }
        | Command::Configure(_)
        | Command::Webhook(_) => None,
    }
}
