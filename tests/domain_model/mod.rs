//! A second, independent model of the domain, written from the text of the contract alone.
//!
//! It is as naive as can be, so that it is easy to see that it is right: maps of names, linear scans, and a clone of
//! the whole state before each command for "all or nothing". A seat has no state of its own: it is booked if some order
//! has it, held if some hold has it. Nothing is cached, nothing is counted up, no index is kept.
//!
//! ```text
//!   Proposal ──▶ Inventory::apply ──▶ decisions, change sets ──┐
//!        │                                                     ├─ compare::applied: must be the same
//!        └─────▶ Model::apply ──────▶ decisions, change sets ──┘
//! ```
//!
//! Lacks on purpose: forgetting of remembered results (the contract says "at least"), records, hashes.

#![allow(dead_code, unreachable_pub)]

mod best;
pub mod compare;
mod define;
mod sale;
mod state;
mod webhooks;

pub use state::{Bundle, Event, Hold, Line, Order, State, Thing, lines};

use std::collections::BTreeSet;

use lastseat::domain::change::{Cause, Change, ChangeSet, EventChanges};
use lastseat::domain::command::{
    BatchSlice, Command, Contents, Definition, Proposal, ProposalBody, Request, SaleCommand, SaleOp,
};
use lastseat::domain::id::{EventId, Key, Token};
use lastseat::domain::inventory::Applied;
use lastseat::domain::outcome::{Answer, Code, Conflict, Decision, Facts, Outcome, Rejection, SliceAnswer, Verdict};
use lastseat::domain::value::{Millis, PoolDef, SeatDef, SeatStatus, Version};

use state::{Remembered, RememberedSlice};

/// The second model: give it the proposals that the inventory gets.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub state: State,
}

/// Everything that stands in the way of one command. The code highest in the table of codes is the answer.
#[derive(Debug, Default)]
pub struct Nos {
    codes: BTreeSet<Code>,
    conflicts: Vec<Conflict>,
    facts: Facts,
}

impl Nos {
    pub fn no(&mut self, code: Code) {
        self.codes.insert(code);
    }

    pub fn conflict(&mut self, code: Code, conflict: Conflict) {
        self.codes.insert(code);
        self.conflicts.push(conflict);
    }

    pub fn limit(&mut self, limit: u64, current: u64) {
        self.codes.insert(Code::LimitExceeded);
        self.facts.limit = Some((limit, current));
    }

    pub fn moved(&mut self, now: Option<Version>) {
        self.codes.insert(Code::DefinitionMoved);
        self.facts.definition_version = now;
    }

    /// `Ok` when nothing stands in the way.
    pub fn verdict(self) -> Result<(), Rejection> {
        let Some(code) = self.codes.first().copied() else { return Ok(()) };
        let mut facts = Facts::default();
        if code == Code::LimitExceeded {
            facts.limit = self.facts.limit;
        }
        if code == Code::DefinitionMoved {
            facts.definition_version = self.facts.definition_version;
        }
        Err(Rejection { code, conflicts: self.conflicts, facts })
    }
}

pub fn reject<T>(code: Code) -> Result<T, Rejection> {
    Err(Rejection::new(code))
}

impl Model {
    pub fn new() -> Self {
        Self::default()
    }

    /// The contract, "Time" and "Commands".
    pub fn apply(&mut self, proposal: &Proposal) -> Applied {
        let mut out = Applied::default();
        self.state.clock = self.state.clock.max(proposal.stamp);
        self.expire(&mut out);
        match &proposal.body {
            ProposalBody::Tick => {}
            ProposalBody::Webhooks(reports) => reports.iter().for_each(|report| self.report(report)),
            ProposalBody::Stage(part) => {
                let staging = self.state.stagings.entry(part.staging).or_default();
                staging.insert(part.part, (part.seats.clone(), part.pools.clone()));
            }
            ProposalBody::Requests(requests) => {
                for request in requests {
                    self.expire(&mut out);
                    let decision = self.decide(request, &mut out);
                    out.decisions.push(decision);
                }
            }
        }
        // What the last command made due (an extend into the past) is left for the next command.
        out
    }

    /// Every hold that is due expires, by time, then token; each is a change set of its own.
    fn expire(&mut self, out: &mut Applied) {
        loop {
            let clock = self.state.clock;
            let due = self
                .state
                .events
                .iter()
                .flat_map(|(id, event)| event.holds.iter().map(move |(token, hold)| (hold.expires_at, token, id)))
                .filter(|(expires_at, _, _)| *expires_at <= clock)
                .min();
            let Some((_, token, id)) = due else { return };
            let (token, id) = (token.clone(), id.clone());
            let event = self.state.events.get_mut(&id).expect("just found");
            let hold = event.holds.remove(&token).expect("just found");
            let things = hold.items.things().map(|thing| (id.clone(), thing)).collect();
            event.lapsed.insert(token, hold);
            self.publish(Cause::Expire, things, out);
        }
    }

    /// One change set for all that was touched; nothing when nothing was.
    fn publish(&mut self, cause: Cause, touched: BTreeSet<(EventId, Thing)>, out: &mut Applied) {
        if touched.is_empty() {
            return;
        }
        self.state.revision = self.state.revision.next();
        let ids: BTreeSet<EventId> = touched.iter().map(|(id, _)| id.clone()).collect();
        let mut events = Vec::new();
        for id in ids {
            let event = self.state.events.get_mut(&id).expect("touched, so it is there");
            event.version = event.version.next();
            let event = &*event;
            let mine = touched.iter().filter(|(of, _)| *of == id).map(|(_, thing)| thing);
            let changes = mine.filter_map(|thing| event.change_of(thing)).collect();
            events.push(EventChanges { event: id, version: event.version, changes, totals: event.totals() });
        }
        let set = ChangeSet { revision: self.state.revision, at: self.state.clock, cause, events };
        out.change_sets.push(set);
    }

    /// Keys come before everything else.
    fn decide(&mut self, request: &Request, out: &mut Applied) -> Decision {
        if let Command::BatchSlice(slice) = &request.command {
            return self.slice(request, slice, out);
        }
        if let Some(known) = self.state.results.get(&request.key) {
            return match known.fingerprint {
                None => Decision::Replayed(known.answer.clone()),
                Some(print) if print == request.fingerprint => Decision::Replayed(known.answer.clone()),
                Some(_) => Decision::KeyReused,
            };
        }
        if self.state.slices.keys().any(|(batch, _)| *batch == request.key) {
            return Decision::KeyReused;
        }
        if let Command::Define { definition, .. } = &request.command
            && self.contents(definition).is_none()
        {
            return Decision::StagingLost;
        }
        let late = request.not_after.is_some_and(|limit| self.state.clock > limit);
        let result = self.all_or_nothing(late, out, |model, out| model.command(request, out));
        let version = self.version_after(&request.command, &result);
        let verdict = match result {
            Ok(outcome) => Verdict::Applied(outcome),
            Err(rejection) => Verdict::Rejected(rejection),
        };
        let answer = self.answer(version, verdict);
        let remembered = Remembered { fingerprint: Some(request.fingerprint), answer: answer.clone() };
        self.state.results.insert(request.key.clone(), remembered);
        Decision::Fresh(answer)
    }

    /// Runs a command; a refusal leaves nothing behind. `late`: it comes after its `Not-After`, which only what is wrong
    /// with the request itself goes before.
    fn all_or_nothing<T>(
        &mut self,
        late: bool,
        out: &mut Applied,
        run: impl FnOnce(&mut Self, &mut Applied) -> Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        let (state, sets) = (self.state.clone(), out.change_sets.len());
        let mut result = run(self, out);
        if late && result.as_ref().map_or_else(|no| no.code > Code::DeadlinePassed, |_| true) {
            result = reject(Code::DeadlinePassed);
        }
        if result.is_err() {
            self.state = state;
            out.change_sets.truncate(sets);
        }
        result
    }

    fn answer(&self, version: Option<Version>, verdict: Verdict) -> Answer {
        Answer { revision: self.state.revision, version, decided_at: self.state.clock, verdict }
    }

    /// The version of the one event a command means.
    fn version_after(&self, command: &Command, result: &Result<Outcome, Rejection>) -> Option<Version> {
        match command {
            Command::Define { event, .. } | Command::Change { event, .. } => self.state.version(event),
            Command::Delete { event, .. } if result.is_ok() => self.state.gone.get(event).map(|gone| gone.0),
            Command::Delete { event, .. } => self.state.version(event),
            Command::Sale(sale) => self.state.version(&sale.event),
            Command::AtomicBatch(_)
            | Command::BatchSlice(_)
            | Command::Void { .. }
            | Command::Configure(_)
            | Command::Webhook(_) => None,
        }
    }

    fn command(&mut self, request: &Request, out: &mut Applied) -> Result<Outcome, Rejection> {
        let mut tokens = request.fresh_tokens.clone();
        match &request.command {
            Command::Define { event, definition } => {
                let (seats, pools) = self.contents(definition).expect("checked before");
                if let Contents::Staged { staging, .. } = &definition.contents {
                    self.state.stagings.remove(staging);
                }
                self.define(event, definition, seats, pools, request.if_match, out)
            }
            Command::Change { event, patch } => self.change(event, patch, request.if_match, out),
            Command::Delete { event, force } => self.delete(event, *force, out),
            Command::Sale(sale) => {
                let mut touched = BTreeSet::new();
                let outcome = self.sale(sale, &mut tokens, &mut touched)?;
                self.publish(cause(&sale.op), touched, out);
                Ok(outcome)
            }
            Command::AtomicBatch(commands) => self.atomic(commands, &mut tokens, out),
            Command::BatchSlice(_) => unreachable!("decided elsewhere"),
            Command::Void { key } if *key == request.key => reject(Code::Invalid),
            Command::Void { key } => Ok(self.void(key)),
            Command::Webhook(command) => self.webhook(command),
            Command::Configure(settings) if settings.rejections_max >= settings.results_max => reject(Code::Invalid),
            Command::Configure(settings) => {
                self.state.settings = Some(*settings);
                Ok(Outcome::Configured)
            }
        }
    }

    /// All or none; one change set; the first that is refused gives its reason and its place.
    fn atomic(
        &mut self,
        commands: &[SaleCommand],
        tokens: &mut Vec<Token>,
        out: &mut Applied,
    ) -> Result<Outcome, Rejection> {
        let mut touched = BTreeSet::new();
        let mut outcomes = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            match self.sale(command, tokens, &mut touched) {
                Ok(outcome) => outcomes.push((command.event.clone(), outcome)),
                Err(mut no) => {
                    no.facts.index = Some(u32::try_from(index).expect("few commands"));
                    return Err(no);
                }
            }
        }
        self.publish(Cause::Batch, touched, out);
        let answer = |(event, outcome)| self.answer(self.state.version(&event), Verdict::Applied(outcome));
        Ok(Outcome::AtomicBatch(outcomes.into_iter().map(answer).collect()))
    }

    /// Decided → what happened; else never.
    fn void(&mut self, key: &Key) -> Outcome {
        if self.state.results.get(key).is_some_and(|known| known.fingerprint.is_none()) {
            return Outcome::Voided;
        }
        if let Some(answer) = self.recorded(key) {
            return Outcome::NotVoided(Box::new(answer));
        }
        let mut rejection = Rejection::new(Code::Voided);
        rejection.facts.key = Some(key.clone());
        let answer = self.answer(None, Verdict::Rejected(rejection));
        self.state.results.insert(key.clone(), Remembered { fingerprint: None, answer });
        Outcome::Voided
    }

    /// What is recorded under a key: of a single request, of a whole batch, or of a command inside a batch.
    pub fn recorded(&self, key: &Key) -> Option<Answer> {
        let single = || self.state.results.get(key).map(|known| known.answer.clone());
        self.whole_batch(key).or_else(single).or_else(|| self.inside_batch(key))
    }

    /// The answers of a batch, once all its slices are decided.
    fn whole_batch(&self, key: &Key) -> Option<Answer> {
        let slices: Vec<_> = self.state.slices.iter().filter(|((batch, _), _)| batch == key).collect();
        let mut answers = Vec::new();
        for ((_, start), slice) in &slices {
            if *start as usize != answers.len() {
                return None;
            }
            answers.extend(slice.answers().iter().cloned());
        }
        let (_, last) = slices.last()?;
        let verdict = Verdict::Applied(Outcome::BatchSlice(answers.clone()));
        (answers.len() == last.total as usize).then(|| Answer { verdict, ..last.answer.clone() })
    }

    /// `{batch key}:{index}`, for a command without a key of its own.
    fn inside_batch(&self, key: &Key) -> Option<Answer> {
        let (batch, index) = key.as_str().rsplit_once(':')?;
        let index: u32 = index.parse().ok()?;
        for ((known, start), slice) in &self.state.slices {
            let at = index.checked_sub(*start).map(|at| at as usize);
            if known.as_str() == batch
                && let Some(at) = at
                && let Some(SliceAnswer::Decided(answer)) = slice.answers().get(at)
                && !slice.own[at]
            {
                return Some(answer.clone());
            }
        }
        None
    }

    /// Each by itself, in order.
    fn slice(&mut self, request: &Request, slice: &BatchSlice, out: &mut Applied) -> Decision {
        let of_batch = self.state.slices.iter().filter(|((key, _), _)| *key == request.key);
        if of_batch.clone().any(|(_, known)| known.fingerprint != request.fingerprint) {
            return Decision::KeyReused;
        }
        if let Some(known) = self.state.slices.get(&(request.key.clone(), slice.start)) {
            return Decision::Replayed(known.answer.clone());
        }
        if let Some(known) = self.state.results.get(&request.key) {
            return match known.fingerprint {
                None => Decision::Replayed(known.answer.clone()),
                Some(_) => Decision::KeyReused,
            };
        }
        let late = request.not_after.is_some_and(|limit| self.state.clock > limit);
        let mut tokens = request.fresh_tokens.clone();
        let mut answers = Vec::new();
        for command in &slice.commands {
            self.expire(out);
            let sale = match &command.command {
                Ok(sale) => sale,
                Err(at_the_edge) => {
                    // Seen before the key is looked up, and not recorded under it.
                    answers.push(SliceAnswer::Refused(at_the_edge.clone()));
                    continue;
                }
            };
            if let Some((key, print)) = &command.own
                && let Some(known) = self.state.results.get(key)
            {
                let same = known.fingerprint.is_none() || known.fingerprint == Some(*print);
                answers.push(if same { SliceAnswer::Decided(known.answer.clone()) } else { SliceAnswer::KeyReused });
                continue;
            }
            if let Some((key, _)) = &command.own
                && self.state.slices.keys().any(|(batch, _)| batch == key)
            {
                answers.push(SliceAnswer::KeyReused);
                continue;
            }
            let result = self.all_or_nothing(late, out, |model, out| {
                let mut touched = BTreeSet::new();
                let outcome = model.sale(sale, &mut tokens, &mut touched)?;
                model.publish(cause(&sale.op), touched, out);
                Ok(outcome)
            });
            let verdict = match result {
                Ok(outcome) => Verdict::Applied(outcome),
                Err(rejection) => Verdict::Rejected(rejection),
            };
            let answer = self.answer(self.state.version(&sale.event), verdict);
            if let Some((key, print)) = &command.own {
                let remembered = Remembered { fingerprint: Some(*print), answer: answer.clone() };
                self.state.results.insert(key.clone(), remembered);
            }
            answers.push(SliceAnswer::Decided(answer));
        }
        let answer = self.answer(None, Verdict::Applied(Outcome::BatchSlice(answers)));
        let own = slice.commands.iter().map(|command| command.own.is_some()).collect();
        let fingerprint = request.fingerprint;
        let remembered = RememberedSlice { fingerprint, answer: answer.clone(), total: slice.total, own };
        self.state.slices.insert((request.key.clone(), slice.start), remembered);
        Decision::Fresh(answer)
    }

    /// The seats and pools of a definition; `None` when parts of it are missing.
    fn contents(&self, definition: &Definition) -> Option<(Vec<SeatDef>, Vec<PoolDef>)> {
        match &definition.contents {
            Contents::Inline { seats, pools } => Some((seats.clone(), pools.clone())),
            Contents::Staged { staging, parts } => {
                let staged = self.state.stagings.get(staging)?;
                let (mut seats, mut pools) = (Vec::new(), Vec::new());
                for part in 0..*parts {
                    let (more_seats, more_pools) = staged.get(&part)?;
                    seats.extend(more_seats.iter().cloned());
                    pools.extend(more_pools.iter().cloned());
                }
                Some((seats, pools))
            }
        }
    }

    /// When the next hold is due.
    pub fn next_due(&self) -> Option<Millis> {
        self.state.events.values().flat_map(|event| event.holds.values().map(|hold| hold.expires_at)).min()
    }
}

/// What a change set of this operation says it came from.
pub fn cause(op: &SaleOp) -> Cause {
    match op {
        SaleOp::Reserve { .. } => Cause::Reserve,
        SaleOp::Extend { .. } => Cause::Reserve,
        SaleOp::BookHold { .. } | SaleOp::BookDirect { .. } => Cause::Book,
        SaleOp::Release { .. } => Cause::Release,
        SaleOp::Cancel { .. } => Cause::Cancel,
        SaleOp::Block { .. } => Cause::Block,
        SaleOp::Unblock { .. } => Cause::Unblock,
    }
}

impl Event {
    /// The absolute state of a thing now; `None` for the head, which is no seat or pool.
    pub fn change_of(&self, thing: &Thing) -> Option<Change> {
        match thing {
            Thing::Head => None,
            Thing::Seat(seat) if self.seat_def(seat).is_none() => {
                Some(Change::Seat { seat: seat.clone(), status: SeatStatus::Removed })
            }
            Thing::Seat(seat) => Some(Change::Seat { seat: seat.clone(), status: self.status(seat) }),
            Thing::Pool(pool) => Some(match self.counts(pool) {
                Some(counts) => Change::Pool { pool: pool.clone(), counts },
                None => Change::PoolRemoved { pool: pool.clone() },
            }),
        }
    }
}
