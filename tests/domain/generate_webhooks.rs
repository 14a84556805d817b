//! Random commands on webhooks, and reports of what was delivered: three webhooks, three urls, receivers of all kinds.

use std::collections::BTreeSet;

use lastseat::domain::change::Cause;
use lastseat::domain::command::{Command, ProposalBody, WebhookCommand, WebhookOp};
use lastseat::domain::id::{EventId, WebhookId};
use lastseat::domain::value::{Millis, Revision, Text};
use lastseat::domain::webhook::{
    Attempt, AttemptKind, AttemptResult, DeliveryError, Gap, MessageId, Secret, WebhookConfig, WebhookProgress,
};

use super::Generator;
use crate::domain_model::Model;

impl Generator {
    fn webhook_id(&mut self) -> WebhookId {
        WebhookId::parse(*self.random.pick(&["w1", "w2", "w3"])).unwrap()
    }

    pub(super) fn webhook(&mut self, model: &Model) -> Command {
        let webhook = self.webhook_id();
        let there = model.state.webhooks.contains_key(&webhook);
        let op = match self.random.between(0, 99) {
            0..30 => WebhookOp::Set { config: Box::new(self.config()), fresh: Some(self.secret()) },
            30..38 => WebhookOp::Delete,
            38..55 => {
                let overlap_ms = *self.random.pick(&[0, 1, 500, 5_000, 86_400_000]);
                WebhookOp::Rotate { overlap_ms, fresh: Some(self.secret()) }
            }
            55..62 => WebhookOp::Pause,
            62..78 => {
                let from = self.random.chance(50).then(|| self.random.between(0, model.state.revision.0 + 2));
                WebhookOp::Resume { from: from.map(Revision) }
            }
            78..90 => {
                let attempt = (there && self.random.chance(90)).then(|| self.attempt(AttemptKind::Test));
                WebhookOp::Test { attempt }
            }
            _ => {
                let attempt = (there && self.random.chance(70)).then(|| self.attempt(AttemptKind::Redelivery));
                WebhookOp::Redeliver { message: MessageId(u128::from(self.random.next())), attempt }
            }
        };
        Command::Webhook(WebhookCommand { webhook, op })
    }

    fn config(&mut self) -> WebhookConfig {
        let event = |name: &&str| EventId::parse(name).unwrap();
        WebhookConfig {
            url: Text::from(*self.random.pick(&["https://a.example/", "http://a.example/x", "https://b.example/"])),
            events: self.random.chance(30).then(|| BTreeSet::from([event(self.random.pick(&["e1", "e2"]))])),
            causes: match self.random.between(0, 19) {
                0 => Some(BTreeSet::new()),
                1..5 => Some(BTreeSet::from([Cause::Book, Cause::Cancel])),
                _ => None,
            },
            enabled: self.random.chance(85),
            description: self.random.chance(20).then(|| Text::from("mail")),
            disable_after_ms: *self.random.pick(&[1_000, 3_000, 86_400_000]),
        }
    }

    fn secret(&mut self) -> Secret {
        Secret([u8::try_from(self.random.between(0, 255)).unwrap(); 32])
    }

    fn attempt(&mut self, kind: AttemptKind) -> Attempt {
        let result = match self.random.between(0, 9) {
            0..5 => AttemptResult::Status(204),
            5..8 => AttemptResult::Status(*self.random.pick(&[302, 404, 500, 503])),
            8 => AttemptResult::Failed(*self.random.pick(&[DeliveryError::Timeout, DeliveryError::Connect])),
            _ => AttemptResult::Status(if self.random.chance(30) { 410 } else { 500 }),
        };
        Attempt {
            kind,
            message: MessageId(u128::from(self.random.next())),
            revision: Revision(self.random.between(0, 50)),
            event: self.random.chance(80).then(|| EventId::parse("e1").unwrap()),
            part: 1,
            at: Millis(self.now - self.random.between(0, 2_000)),
            attempt: 1,
            result,
            duration_ms: self.random.between(0, 15_000),
        }
    }

    /// What a leader says now and then; sometimes one that does not know of a newer life of the webhook.
    pub(super) fn reports(&mut self, model: &Model) -> ProposalBody {
        let count = self.random.between(1, 2);
        let reports = (0..count).map(|_| {
            let webhook = self.webhook_id();
            let known = model.state.webhooks.get(&webhook);
            let (epoch, cursor) = known.map_or((0, 0), |hook| (hook.epoch, hook.cursor.0));
            let epoch = if self.random.chance(85) { epoch } else { epoch.saturating_sub(1) };
            let ahead = self.random.between(0, 6);
            let gap = Gap { from: Revision(1), to: Revision(2), at: Millis(self.now) };
            let attempts = if self.random.chance(5) { 120 } else { self.random.between(0, 3) };
            WebhookProgress {
                webhook,
                epoch,
                cursor: Revision((cursor + ahead).saturating_sub(1)),
                gap: self.random.chance(5).then_some(gap),
                attempts: (0..attempts).map(|_| self.attempt(AttemptKind::Delivery)).collect(),
            }
        });
        ProposalBody::Webhooks(reports.collect())
    }
}
