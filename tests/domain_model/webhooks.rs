//! Webhooks, from the text of the contract: everything is a plain list or number, and is worked out when it is asked for.

use lastseat::domain::command::{WebhookCommand, WebhookOp};
use lastseat::domain::id::WebhookId;
use lastseat::domain::outcome::{Code, Outcome, Rejection};
use lastseat::domain::value::{Millis, Revision};
use lastseat::domain::webhook::{
    Attempt, AttemptResult, Disabled, Gap, Secret, SecretLife, Trouble, WebhookConfig, WebhookProgress, WebhookState,
    WebhookView,
};

use super::{Model, reject};

#[derive(Debug, Clone)]
pub struct Hook {
    config: WebhookConfig,
    made: Millis,
    paused: Option<Millis>,
    /// Every secret it ever had, oldest first, and when each was made and ends.
    secrets: Vec<(Secret, Millis, Option<Millis>)>,
    pub cursor: Revision,
    pub epoch: u64,
    gap: Option<Gap>,
    /// Attempts in order since people last set another url or resumed it, from the last that was delivered on.
    failing: Vec<(Millis, AttemptResult)>,
    disabled: Option<Disabled>,
    delivered: u64,
    failed: u64,
    /// All attempts there ever were.
    pub attempts: Vec<Attempt>,
}

impl Hook {
    pub fn view(&self, id: &WebhookId, clock: Millis) -> WebhookView {
        let live = self.secrets.iter().rev().filter(|(_, _, until)| until.is_none_or(|until| until > clock));
        let trouble = self.failing.first().zip(self.failing.last()).map(|(first, last)| Trouble {
            since: first.0,
            attempts: u32::try_from(self.failing.len()).unwrap(),
            last: last.1,
        });
        let state = if self.disabled.is_some() {
            WebhookState::Disabled
        } else if !self.config.enabled {
            WebhookState::Paused
        } else if trouble.is_some() {
            WebhookState::Failing
        } else {
            WebhookState::Active
        };
        WebhookView {
            webhook: id.clone(),
            config: self.config.clone(),
            state,
            created_at: self.made,
            paused_at: self.paused,
            trouble,
            disabled: self.disabled,
            cursor: self.cursor,
            gap: self.gap,
            delivered: self.delivered,
            failed: self.failed,
            secrets: live.map(|(_, made_at, until)| SecretLife { made_at: *made_at, until: *until }).collect(),
        }
    }

    /// The last hundred, oldest first.
    pub fn remembered(&self) -> &[Attempt] {
        &self.attempts[self.attempts.len().saturating_sub(100)..]
    }

    fn switch(&mut self, on: bool, clock: Millis) {
        self.config.enabled = on;
        self.paused = match (on, self.paused) {
            (true, _) => None,
            (false, since) => Some(since.unwrap_or(clock)),
        };
    }
}

impl Model {
    pub fn webhook(&mut self, command: &WebhookCommand) -> Result<Outcome, Rejection> {
        let (clock, revision) = (self.state.clock, self.state.revision);
        let id = &command.webhook;
        if let WebhookOp::Set { config, fresh } = &command.op {
            return self.set_webhook(id, config, fresh.clone());
        }
        if matches!(command.op, WebhookOp::Resume { from: Some(Revision(0)) }) {
            return reject(Code::Invalid);
        }
        let Some(hook) = self.state.webhooks.get_mut(id) else { return reject(Code::WebhookNotFound) };
        match &command.op {
            WebhookOp::Set { .. } => unreachable!("decided above"),
            WebhookOp::Delete => {
                self.state.webhooks.remove(id);
                return Ok(Outcome::WebhookDeleted { webhook: id.clone() });
            }
            WebhookOp::Rotate { overlap_ms, fresh } => {
                let secret = fresh.clone().expect("the generator brings one");
                let newest = hook.secrets.len() - 1;
                for (at, (_, _, until)) in hook.secrets.iter_mut().enumerate() {
                    let end = if at == newest { Millis(clock.0 + overlap_ms) } else { clock };
                    *until = Some(until.map_or(end, |known| known.min(end)));
                }
                hook.secrets.push((secret.clone(), clock, None));
                let webhook = Box::new(hook.view(id, clock));
                return Ok(Outcome::WebhookRotated { webhook, secret: Some(secret) });
            }
            WebhookOp::Pause => hook.switch(false, clock),
            WebhookOp::Resume { from } => {
                if from.is_some_and(|from| from > revision.next()) {
                    return reject(Code::Invalid);
                }
                hook.switch(true, clock);
                if let Some(from) = from {
                    hook.cursor = Revision(from.0 - 1);
                }
                if from.is_some() || !hook.failing.is_empty() || hook.disabled.is_some() {
                    hook.epoch = clock.0.max(hook.epoch + 1);
                }
                hook.failing.clear();
                (hook.disabled, hook.gap) = (None, None);
            }
            WebhookOp::Test { attempt: None } => return reject(Code::WebhookNotFound),
            WebhookOp::Redeliver { attempt: None, .. } => return reject(Code::DeliveryNotFound),
            WebhookOp::Test { attempt: Some(attempt) } | WebhookOp::Redeliver { attempt: Some(attempt), .. } => {
                hook.attempts.push(attempt.clone());
                return Ok(Outcome::WebhookTried { webhook: id.clone(), attempt: Box::new(attempt.clone()) });
            }
        }
        Ok(Outcome::WebhookChanged { webhook: Box::new(hook.view(id, clock)) })
    }

    fn set_webhook(
        &mut self,
        id: &WebhookId,
        config: &WebhookConfig,
        fresh: Option<Secret>,
    ) -> Result<Outcome, Rejection> {
        let (clock, revision) = (self.state.clock, self.state.revision);
        let bad = |list: Option<usize>| list == Some(0);
        if !config.url.starts_with("http")
            || config.url.contains('@')
            || bad(config.events.as_ref().map(|list| list.len()))
            || bad(config.causes.as_ref().map(|list| list.len()))
            || config.disable_after_ms < 1_000
        {
            return reject(Code::Invalid);
        }
        if let Some(hook) = self.state.webhooks.get_mut(id) {
            if hook.config.url != config.url {
                hook.failing.clear();
                hook.disabled = None;
            }
            hook.config = config.clone();
            hook.switch(config.enabled, clock);
            let webhook = Box::new(hook.view(id, clock));
            return Ok(Outcome::WebhookSet { created: false, webhook, secret: None });
        }
        let secret = fresh.expect("the generator brings one");
        let hook = Hook {
            config: config.clone(),
            made: clock,
            paused: (!config.enabled).then_some(clock),
            secrets: vec![(secret.clone(), clock, None)],
            cursor: revision,
            epoch: clock.0,
            gap: None,
            failing: Vec::new(),
            disabled: None,
            delivered: 0,
            failed: 0,
            attempts: Vec::new(),
        };
        let webhook = Box::new(hook.view(id, clock));
        self.state.webhooks.insert(id.clone(), hook);
        Ok(Outcome::WebhookSet { created: true, webhook, secret: Some(secret) })
    }

    /// What the leader says it did; void if it is about an earlier life or position.
    pub fn report(&mut self, report: &WebhookProgress) {
        let (clock, revision) = (self.state.clock, self.state.revision);
        let Some(hook) = self.state.webhooks.get_mut(&report.webhook).filter(|hook| hook.epoch == report.epoch) else {
            return;
        };
        if report.cursor > hook.cursor {
            hook.cursor = report.cursor.min(revision).max(hook.cursor);
        }
        if report.gap.is_some() {
            hook.gap = report.gap;
        }
        for attempt in &report.attempts {
            hook.attempts.push(attempt.clone());
            if matches!(attempt.result, AttemptResult::Status(200..=299)) {
                hook.delivered += 1;
                hook.failing.clear();
            } else {
                hook.failed += 1;
                hook.failing.push((attempt.at, attempt.result));
            }
        }
        let Some((first, last)) = hook.failing.first().zip(hook.failing.last()) else { return };
        let too_long = clock.0 - first.0.0.min(clock.0) >= hook.config.disable_after_ms;
        if hook.disabled.is_none() && (too_long || last.1 == AttemptResult::Status(410)) {
            hook.disabled = Some(Disabled { at: clock, failing_since: first.0, last: last.1 });
        }
    }
}
