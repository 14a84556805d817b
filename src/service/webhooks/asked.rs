//! Commands on webhooks, at the leader: what has to be made or sent before they enter the log.

use std::time::Instant;

use tokio::time::timeout_at;

use super::client::Line;
use super::{ChangeMessage, Message, cut};
use crate::domain::command::{Command, WebhookCommand, WebhookOp};
use crate::domain::id::WebhookId;
use crate::domain::value::Revision;
use crate::domain::webhook::{Attempt, AttemptKind, AttemptResult, DeliveryError, MessageId, Webhook};
use crate::service::Service;
use crate::service::intent::{Attempt as Tried, Decided, Intent};
use crate::service::limits::{ANSWER_WITHIN, DECIDE_WITHIN};
use crate::service::stamp::{fresh_secret, fresh_uuid};

const TOO_MANY: &str = "too many test messages are under way; try again shortly";
const NO_HISTORY: &str = "the history could not be read; try again shortly";

impl Service {
    /// A command that was decided before goes as it came: it gets its answer again, and nothing is sent.
    pub(in crate::service) async fn lead_webhook(
        &self,
        intent: &Intent,
        command: &WebhookCommand,
        deadline: Instant,
    ) -> Result<Decided, Tried> {
        let mut command = command.clone();
        if self.raft.inspect(|inventory| inventory.recorded(&intent.key)).is_none() {
            self.prepare(&mut command, deadline).await?;
        }
        self.lead_command(intent, Command::Webhook(command), deadline).await
    }

    async fn prepare(&self, command: &mut WebhookCommand, deadline: Instant) -> Result<(), Tried> {
        let id = &command.webhook;
        match &mut command.op {
            WebhookOp::Set { fresh, .. } | WebhookOp::Rotate { fresh, .. } => *fresh = Some(fresh_secret()),
            WebhookOp::Resume { from: Some(from) } => {
                let oldest = self.raft.store().history_oldest();
                if from.0 < oldest {
                    return Err(Tried::Compacted { oldest });
                }
            }
            WebhookOp::Test { attempt } => *attempt = self.test_webhook(id, deadline).await?,
            WebhookOp::Redeliver { message, attempt } => *attempt = self.redeliver(id, *message, deadline).await?,
            WebhookOp::Resume { from: None } | WebhookOp::Delete | WebhookOp::Pause => {}
        }
        Ok(())
    }

    async fn test_webhook(&self, id: &WebhookId, deadline: Instant) -> Result<Option<Attempt>, Tried> {
        let Some(webhook) = self.raft.inspect(|inventory| inventory.webhook_stored(id)) else { return Ok(None) };
        let at = self.stamp_now().ok_or(Tried::NotLeader)?;
        let message = MessageId(fresh_uuid().as_u128());
        let test = Message::Test { id: message, webhook: id, at };
        let attempt = Attempt {
            kind: AttemptKind::Test,
            message,
            revision: Revision(0),
            event: None,
            part: 1,
            at,
            attempt: 1,
            result: AttemptResult::Failed(DeliveryError::Timeout),
            duration_ms: 0,
        };
        self.send_asked(&webhook, &test, attempt, deadline).await.map(Some)
    }

    /// Sends a message that is in the log of attempts once more, under its old id.
    async fn redeliver(&self, id: &WebhookId, message: MessageId, deadline: Instant) -> Result<Option<Attempt>, Tried> {
        let Some(webhook) = self.raft.inspect(|inventory| inventory.webhook_stored(id)) else { return Ok(None) };
        let mut known = webhook.attempts.iter().filter(|known| known.message == message).collect::<Vec<_>>();
        let Some(newest) = known.pop() else { return Ok(None) };
        let tried = known.iter().map(|known| known.attempt).chain([newest.attempt]).max().unwrap_or(0);
        let at = self.stamp_now().ok_or(Tried::NotLeader)?;
        let attempt = Attempt { kind: AttemptKind::Redelivery, at, attempt: tried.saturating_add(1), ..newest.clone() };
        let Some(event) = &newest.event else {
            let test = Message::Test { id: message, webhook: id, at };
            return self.send_asked(&webhook, &test, attempt, deadline).await.map(Some);
        };
        let read = self.hooks.feed.read(newest.revision.0, 1).await;
        let sets = read.map_err(|_| Tried::Shed(NO_HISTORY.to_owned()))?;
        let Some(set) = sets.first() else {
            return Err(Tried::Compacted { oldest: self.raft.store().history_oldest() });
        };
        let found = set.events.iter().find(|part| part.event == *event).map(|part| (part, cut::parts(&part.changes)));
        let Some((event, parts)) = found else { return Ok(None) };
        let Some(changes) = parts.get(newest.part.saturating_sub(1) as usize).cloned() else { return Ok(None) };
        let change = Message::Change(ChangeMessage {
            id: message,
            set,
            event,
            changes: &event.changes[changes],
            part: newest.part,
            parts: u32::try_from(parts.len()).expect("a change set is limited"),
        });
        self.send_asked(&webhook, &change, attempt, deadline).await.map(Some)
    }

    /// Sends now, and leaves enough of the time to have it decided. Gives the attempt with what came of it.
    async fn send_asked(
        &self,
        webhook: &Webhook,
        message: &Message<'_>,
        attempt: Attempt,
        deadline: Instant,
    ) -> Result<Attempt, Tried> {
        let turn = timeout_at(deadline.into(), self.hooks.asked.acquire()).await;
        let _one_of_few = turn.map_err(|_| Tried::Shed(TOO_MANY.to_owned()))?.expect("the semaphore is never closed");
        let left = deadline.saturating_duration_since(Instant::now());
        let within = left.saturating_sub(DECIDE_WITHIN.min(left / 2)).min(ANSWER_WITHIN);
        let posted = self.post(&mut Line::default(), webhook, message, attempt.at, within).await;
        Ok(Attempt { result: posted.result, duration_ms: super::super::millis(posted.took), ..attempt })
    }
}
