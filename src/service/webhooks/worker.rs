//! One webhook's deliveries: one message after the other, each until it is delivered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::client::{Line, Post, Posted};
use super::feed::Next;
use super::report::Report;
use super::{ChangeMessage, Message, cut, sign};
use crate::domain::change::{ChangeSet, EventChanges};
use crate::domain::value::Millis;
use crate::domain::webhook::{Attempt, AttemptKind, AttemptResult, DeliveryError, MessageId, Webhook};
use crate::service::Service;
use crate::service::limits::{
    ANSWER_WITHIN, BACK_OFF_MAX, BACK_OFF_MIN, BIG_BODY_BYTES, LEADS_WITHIN_MS, LINE_IDLE_MAX,
};
use crate::service::stamp::random_below;

/// How often a worker that must wait for something looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Worker {
    pub service: Service,
    /// As it was when the work began; another one when people change it.
    pub webhook: Arc<Webhook>,
    pub report: Arc<Mutex<Report>>,
    pub line: Line,
    /// Attempts that failed since the last success.
    pub failures: u32,
}

/// What one message is about, for the log of attempts.
#[derive(Clone, Copy)]
struct About<'a> {
    set: &'a ChangeSet,
    event: &'a EventChanges,
    id: MessageId,
    part: u32,
}

impl Worker {
    /// Delivers until it is stopped.
    pub(super) async fn run(mut self) {
        let service = self.service.clone();
        loop {
            let from = self.report.lock().cursor().next().0;
            // A connection nobody needs for a while is not worth keeping.
            let next = match timeout(LINE_IDLE_MAX, service.hooks.feed.next(from)).await {
                Ok(next) => next,
                Err(_) => {
                    self.line.close();
                    continue;
                }
            };
            match next {
                Next::Gone { oldest } => {
                    let at = self.now().await;
                    tracing::warn!(webhook = %self.webhook.id, from, oldest, "changes for a webhook are no longer kept");
                    self.report.lock().skip_to(oldest, at);
                }
                Next::Sets(sets) => {
                    for set in sets {
                        self.deliver(&set).await;
                        self.report.lock().advance(set.revision);
                    }
                }
            }
        }
    }

    async fn deliver(&mut self, set: &ChangeSet) {
        for event in &set.events {
            if !self.webhook.config.wants(set.cause, &event.event) {
                continue;
            }
            let cut = cut::parts(&event.changes);
            let parts = u32::try_from(cut.len()).expect("a change set is limited");
            for (part, changes) in (1..).zip(cut) {
                let id = MessageId::of(&self.webhook.id, set.revision, &event.event, part);
                let message = ChangeMessage { id, set, event, changes: &event.changes[changes], part, parts };
                self.deliver_message(About { set, event, id, part }, &Message::Change(message)).await;
            }
        }
    }

    /// Again and again until the receiver takes it.
    async fn deliver_message(&mut self, about: About<'_>, message: &Message<'_>) {
        // What earlier leaders tried counts too.
        let before = self.webhook.attempts.iter().filter(|known| known.message == about.id);
        let mut attempt = before.map(|known| known.attempt).max().unwrap_or(0);
        loop {
            self.wait_for_room().await;
            let now = self.now().await;
            attempt = attempt.saturating_add(1);
            let service = self.service.clone();
            let posted = service.post(&mut self.line, &self.webhook, message, now, ANSWER_WITHIN).await;
            self.report.lock().tried(Attempt {
                kind: AttemptKind::Delivery,
                message: about.id,
                revision: about.set.revision,
                event: Some(about.event.event.clone()),
                part: about.part,
                at: now,
                attempt,
                result: posted.result,
                duration_ms: super::super::millis(posted.took),
            });
            if posted.result.is_delivered() {
                self.failures = 0;
                return;
            }
            if posted.result.is_gone() {
                // Reported, it disables the webhook, which stops this work.
                std::future::pending::<()>().await;
            }
            self.failures = self.failures.saturating_add(1);
            sleep(back_off(self.failures, posted.retry_after)).await;
        }
    }

    /// Repeats after a change of leader stay few: what was done must be told before much more is done.
    async fn wait_for_room(&self) {
        while self.report.lock().is_full() {
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The leader's time. Waits while this node may have been deposed without knowing: another one delivers then.
    async fn now(&self) -> Millis {
        loop {
            let confirmed = self.service.raft.staleness_ms().is_some_and(|age_ms| age_ms <= LEADS_WITHIN_MS);
            match self.service.stamp_now() {
                Some(now) if confirmed => return now,
                Some(_) | None => sleep(LOOK_AGAIN).await,
            }
        }
    }
}

impl Service {
    /// Renders, signs and sends one message once.
    pub(super) async fn post(
        &self,
        line: &mut Line,
        webhook: &Webhook,
        message: &Message<'_>,
        now: Millis,
        within: Duration,
    ) -> Posted {
        let id = match message {
            Message::Change(change) => change.id,
            Message::Test { id, .. } => *id,
        };
        let body = Bytes::from((self.hooks.render)(message));
        let _one_of_few = match body.len() > BIG_BODY_BYTES {
            true => Some(self.hooks.big_bodies.acquire().await.expect("the semaphore is never closed")),
            false => None,
        };
        let (id, timestamp_s) = (id.to_string(), now.0 / 1_000);
        let secrets = webhook.live_secrets(now).map(|live| &live.secret);
        let signatures = sign::signatures(secrets, &id, timestamp_s, &body);
        let post = Post { url: webhook.config.url.to_string(), id, timestamp_s, signatures, body };
        let posted = self.hooks.client.post(line, &post, within).await;
        metrics::counter!("lastseat_webhook_attempts_total", "result" => word(posted.result)).increment(1);
        metrics::histogram!("lastseat_webhook_attempt_seconds").record(posted.took);
        tracing::debug!(webhook = %webhook.id, message = post.id, result = ?posted.result, "webhook attempt");
        posted
    }
}

/// A few words only, so that receivers cannot make up time series.
fn word(result: AttemptResult) -> &'static str {
    match result {
        AttemptResult::Status(200..=299) => "delivered",
        AttemptResult::Status(300..=399) => "redirect",
        AttemptResult::Status(400..=499) => "4xx",
        AttemptResult::Status(_) => "5xx",
        AttemptResult::Failed(error) => match error {
            DeliveryError::Dns => "dns",
            DeliveryError::Forbidden => "forbidden_address",
            DeliveryError::Connect => "connect",
            DeliveryError::Tls => "tls",
            DeliveryError::Timeout => "timeout",
            DeliveryError::Broken => "broken",
            DeliveryError::Url => "url",
        },
    }
}

/// Up to 1 s after the first failure, twice as much after each further one, at most 1 h; a random part of it, so that
/// receivers that come back are not asked by all at once. The receiver may ask for more, up to the same hour.
fn back_off(failures: u32, retry_after: Option<Duration>) -> Duration {
    let longest = BACK_OFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(BACK_OFF_MAX);
    let jittered = Duration::from_millis(random_below(super::super::millis(longest)) + 1);
    jittered.max(retry_after.unwrap_or_default().min(BACK_OFF_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_to_an_hour_and_honours_the_receiver_within_that() {
        for (failures, longest) in [(1, 1_000), (2, 2_000), (5, 16_000), (13, 3_600_000), (u32::MAX, 3_600_000)] {
            let waits: Vec<_> = (0..200).map(|_| back_off(failures, None)).collect();
            let (least, most) = (waits.iter().min().expect("some"), waits.iter().max().expect("some"));
            assert!(*most <= Duration::from_millis(longest), "{failures}: {most:?}");
            assert!(*most > Duration::from_millis(longest / 2) && *least < Duration::from_millis(longest / 2));
        }
        assert!(back_off(1, Some(Duration::from_secs(30))) >= Duration::from_secs(30));
        assert_eq!(back_off(1, Some(Duration::from_secs(1 << 40))), BACK_OFF_MAX);
    }
}
