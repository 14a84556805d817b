//! What a worker did and the replicated state does not know yet.

use std::time::{Duration, Instant};

use crate::domain::id::WebhookId;
use crate::domain::value::{Millis, Revision};
use crate::domain::webhook::{Attempt, Gap, Webhook, WebhookProgress};
use crate::service::limits::{REPORT_DELIVERIES, REPORT_SKIPS_EVERY, UNREPORTED_MAX};

pub(super) struct Report {
    epoch: u64,
    cursor: Revision,
    gap: Option<Gap>,
    attempts: Vec<Attempt>,
    /// The cursor that was reported last, and when.
    reported: Revision,
    reported_at: Instant,
}

impl Report {
    /// Of a webhook as it is stored. `before`: of an earlier worker of the same webhook.
    pub(super) fn new(webhook: &Webhook, before: Option<&Report>) -> Self {
        let before = before.filter(|before| before.epoch == webhook.epoch);
        Self {
            epoch: webhook.epoch,
            cursor: before.map_or(webhook.cursor, |before| before.cursor.max(webhook.cursor)),
            gap: before.and_then(|before| before.gap),
            attempts: before.map(|before| before.attempts.clone()).unwrap_or_default(),
            reported: webhook.cursor,
            reported_at: Instant::now(),
        }
    }

    pub(super) fn cursor(&self) -> Revision {
        self.cursor
    }

    pub(super) fn advance(&mut self, cursor: Revision) {
        self.cursor = cursor;
    }

    /// Goes on at `oldest`, because what comes before is no longer kept.
    pub(super) fn skip_to(&mut self, oldest: u64, at: Millis) {
        let to = Revision(oldest.saturating_sub(1));
        self.gap = Some(Gap { from: self.cursor.next(), to, at });
        self.cursor = to;
    }

    pub(super) fn tried(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
    }

    /// So much was done that it has to be told before more is done.
    pub(super) fn is_full(&self) -> bool {
        self.attempts.len() >= UNREPORTED_MAX
    }

    pub(super) fn unreported(&self) -> usize {
        self.attempts.len()
    }

    /// Whether it is worth an entry: a delivery is after a second, or when there are many; moving on past changes that
    /// are not for this webhook is only now and then.
    pub(super) fn is_due(&self, every: Duration) -> bool {
        let waited = self.reported_at.elapsed();
        let told = self.attempts.is_empty() && self.gap.is_none();
        match () {
            () if told && self.cursor == self.reported => false,
            () if told => waited >= REPORT_SKIPS_EVERY,
            () => waited >= every || self.attempts.len() >= REPORT_DELIVERIES,
        }
    }

    pub(super) fn progress(&self, webhook: &WebhookId) -> WebhookProgress {
        WebhookProgress {
            webhook: webhook.clone(),
            epoch: self.epoch,
            cursor: self.cursor,
            gap: self.gap,
            attempts: self.attempts.clone(),
        }
    }

    /// It was applied. What was done meanwhile stays.
    pub(super) fn told(&mut self, progress: &WebhookProgress) {
        if progress.epoch != self.epoch {
            return;
        }
        self.attempts.drain(..progress.attempts.len().min(self.attempts.len()));
        if self.gap == progress.gap {
            self.gap = None;
        }
        self.reported = progress.cursor;
        self.reported_at = Instant::now();
    }
}
