//! The registry of webhooks: what people set, what the leader reports.
//!
//! Nothing here makes a revision: who is told of changes is no change itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Inventory;
use super::checks::TEXT_BYTES_MAX;
use crate::domain::command::{WebhookCommand, WebhookOp};
use crate::domain::id::WebhookId;
use crate::domain::outcome::{Code, Outcome, Rejection};
use crate::domain::record::RecordKey;
use crate::domain::value::{Millis, Revision};
use crate::domain::webhook::{
    ATTEMPTS_KEPT, Attempt, Disabled, LiveSecret, SECRETS_MAX, Secret, Trouble, Webhook, WebhookConfig,
    WebhookProgress, WebhookView,
};

/// Most webhooks.
pub const WEBHOOKS_MAX: usize = 1_000;
/// Longest url, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;
/// Most events that one webhook names.
pub const WEBHOOK_EVENTS_MAX: usize = 1_000;
/// Longest life of an old secret: 30 days.
pub const OVERLAP_MS_MAX: u64 = 30 * 86_400_000;
/// A webhook may be told to fail for at least a second and at most 30 days.
pub const DISABLE_AFTER_MS_MIN: u64 = 1_000;
pub const DISABLE_AFTER_MS_MAX: u64 = 30 * 86_400_000;

/// By number.
pub(super) type WebhookMap = BTreeMap<u32, Arc<Webhook>>;

#[derive(Debug, Default)]
pub(super) struct Webhooks {
    stored: WebhookMap,
    numbers: BTreeMap<WebhookId, u32>,
    /// Goes up whenever something changes that who delivers must know. Counted by this node for itself.
    changes: u64,
}

impl Webhooks {
    /// Of these records. The error: which is broken, and why.
    pub(super) fn new(stored: WebhookMap) -> Result<Self, (u32, &'static str)> {
        let mut numbers = BTreeMap::new();
        for (number, webhook) in &stored {
            if numbers.insert(webhook.id.clone(), *number).is_some() {
                return Err((*number, "another webhook has its id"));
            }
            if webhook.secrets.is_empty() || webhook.secrets.len() > SECRETS_MAX {
                return Err((*number, "it has no secret, or too many"));
            }
        }
        Ok(Self { stored, numbers, changes: 0 })
    }

    pub(super) fn stored(&self) -> &WebhookMap {
        &self.stored
    }

    fn get(&self, id: &WebhookId) -> Option<&Arc<Webhook>> {
        self.stored.get(self.numbers.get(id)?)
    }

    /// The webhook and its number, to be changed.
    fn get_mut(&mut self, id: &WebhookId) -> Result<(u32, &mut Webhook), Rejection> {
        let number = self.numbers.get(id).copied();
        let found = number.and_then(|number| Some((number, self.stored.get_mut(&number)?)));
        let (number, webhook) = found.ok_or_else(|| Rejection::new(Code::WebhookNotFound))?;
        Ok((number, Arc::make_mut(webhook)))
    }

    /// The lowest number that is free: below [`WEBHOOKS_MAX`], unless all are taken.
    fn insert(&mut self, webhook: Webhook) -> u32 {
        let taken = (0u32..).zip(self.stored.keys()).take_while(|(number, key)| number == *key).count();
        let number = u32::try_from(taken).expect("webhooks are few");
        self.numbers.insert(webhook.id.clone(), number);
        self.stored.insert(number, Arc::new(webhook));
        number
    }

    fn remove(&mut self, id: &WebhookId) -> Option<u32> {
        let number = self.numbers.remove(id)?;
        self.stored.remove(&number);
        Some(number)
    }
}

impl Inventory {
    pub(super) fn webhook_command(&mut self, command: &WebhookCommand) -> Result<Outcome, Rejection> {
        check_webhook(command)?;
        let id = &command.webhook;
        match &command.op {
            WebhookOp::Set { config, fresh } => self.set_webhook(id, config, fresh.as_ref()),
            WebhookOp::Delete => {
                let number = self.webhooks.remove(id).ok_or_else(|| Rejection::new(Code::WebhookNotFound))?;
                self.webhooks.changes += 1;
                self.dirty.insert(RecordKey::Webhook { webhook: number });
                Ok(Outcome::WebhookDeleted { webhook: id.clone() })
            }
            WebhookOp::Rotate { overlap_ms, fresh } => {
                let secret = fresh.clone().ok_or_else(no_secret)?;
                let webhook = self.change_webhook(id, |webhook, clock| {
                    rotate(webhook, clock, *overlap_ms, secret.clone());
                })?;
                Ok(Outcome::WebhookRotated { webhook, secret: Some(secret) })
            }
            WebhookOp::Pause => {
                let webhook = self.change_webhook(id, |webhook, clock| enable(webhook, clock, false))?;
                Ok(Outcome::WebhookChanged { webhook })
            }
            WebhookOp::Resume { from } => self.resume_webhook(id, *from),
            WebhookOp::Test { attempt } => self.tried_webhook(id, Code::WebhookNotFound, attempt.as_ref()),
            WebhookOp::Redeliver { message: _, attempt } => {
                self.tried_webhook(id, Code::DeliveryNotFound, attempt.as_ref())
            }
        }
    }

    /// Changes one webhook; gives it as it is then.
    fn change_webhook(
        &mut self,
        id: &WebhookId,
        change: impl FnOnce(&mut Webhook, Millis),
    ) -> Result<Box<WebhookView>, Rejection> {
        let clock = self.clock;
        let (number, webhook) = self.webhooks.get_mut(id)?;
        webhook.secrets.retain(|secret| secret.is_live(clock));
        change(webhook, clock);
        let view = Box::new(webhook.view(clock));
        self.webhooks.changes += 1;
        self.dirty.insert(RecordKey::Webhook { webhook: number });
        Ok(view)
    }

    fn set_webhook(
        &mut self,
        id: &WebhookId,
        config: &WebhookConfig,
        fresh: Option<&Secret>,
    ) -> Result<Outcome, Rejection> {
        if self.webhooks.get(id).is_some() {
            let webhook = self.change_webhook(id, |webhook, clock| configure(webhook, clock, config))?;
            return Ok(Outcome::WebhookSet { created: false, webhook, secret: None });
        }
        if self.webhooks.stored.len() >= WEBHOOKS_MAX {
            return Err(Rejection::new(Code::TooManyWebhooks));
        }
        let secret = fresh.cloned().ok_or_else(no_secret)?;
        let made_at = self.clock;
        let webhook = Webhook {
            id: id.clone(),
            config: config.clone(),
            created_at: made_at,
            secrets: vec![LiveSecret { secret: secret.clone(), made_at, until: None }],
            paused_at: (!config.enabled).then_some(made_at),
            trouble: None,
            disabled: None,
            cursor: self.revision,
            epoch: made_at.0,
            gap: None,
            delivered: 0,
            failed: 0,
            attempts: Vec::new(),
        };
        let view = Box::new(webhook.view(made_at));
        let number = self.webhooks.insert(webhook);
        self.webhooks.changes += 1;
        self.dirty.insert(RecordKey::Webhook { webhook: number });
        Ok(Outcome::WebhookSet { created: true, webhook: view, secret: Some(secret) })
    }

    fn resume_webhook(&mut self, id: &WebhookId, from: Option<Revision>) -> Result<Outcome, Rejection> {
        let revision = self.revision;
        if let Some(from) = from.filter(|from| from.0 > revision.0.saturating_add(1)) {
            self.webhooks.get_mut(id)?;
            return Err(Rejection::invalid(format!("from is {from}, and the newest revision is {revision}")));
        }
        let webhook = self.change_webhook(id, |webhook, clock| {
            enable(webhook, clock, true);
            // Whoever waits to try again, or has given up, begins anew.
            let anew = from.is_some() || webhook.trouble.is_some() || webhook.disabled.is_some();
            (webhook.trouble, webhook.disabled, webhook.gap) = (None, None, None);
            webhook.cursor = from.map_or(webhook.cursor, |from| Revision(from.0 - 1));
            if anew {
                webhook.epoch = clock.0.max(webhook.epoch + 1);
            }
        })?;
        Ok(Outcome::WebhookChanged { webhook })
    }

    /// Remembers what was sent outside the order.
    fn tried_webhook(
        &mut self,
        id: &WebhookId,
        missing: Code,
        attempt: Option<&Attempt>,
    ) -> Result<Outcome, Rejection> {
        let (number, webhook) = self.webhooks.get_mut(id)?;
        let attempt = attempt.ok_or_else(|| Rejection::new(missing))?;
        remember(webhook, attempt);
        self.dirty.insert(RecordKey::Webhook { webhook: number });
        Ok(Outcome::WebhookTried { webhook: id.clone(), attempt: Box::new(attempt.clone()) })
    }

    /// Takes a report, unless it is of an earlier life or position, or of a webhook that is gone.
    pub(super) fn webhook_progress(&mut self, report: &WebhookProgress) {
        let (clock, revision) = (self.clock, self.revision);
        let Ok((number, webhook)) = self.webhooks.get_mut(&report.webhook) else { return };
        if webhook.epoch != report.epoch {
            return;
        }
        webhook.cursor = webhook.cursor.max(report.cursor.min(revision));
        webhook.gap = report.gap.or(webhook.gap);
        for attempt in &report.attempts {
            learn(webhook, attempt);
            remember(webhook, attempt);
        }
        if let Some(trouble) = webhook.trouble.filter(|_| webhook.disabled.is_none()) {
            let too_long = clock.0.saturating_sub(trouble.since.0) >= webhook.config.disable_after_ms;
            if too_long || trouble.last.is_gone() {
                let Trouble { since, last, .. } = trouble;
                webhook.disabled = Some(Disabled { at: clock, failing_since: since, last });
                self.webhooks.changes += 1;
            }
        }
        self.dirty.insert(RecordKey::Webhook { webhook: number });
    }

    // --- reads ---

    pub fn webhook(&self, id: &WebhookId) -> Option<WebhookView> {
        self.webhooks.get(id).map(|webhook| webhook.view(self.clock))
    }

    /// All there is of it, secrets included: for who delivers.
    pub fn webhook_stored(&self, id: &WebhookId) -> Option<Arc<Webhook>> {
        self.webhooks.get(id).cloned()
    }

    /// The same of all, in the order of their numbers.
    pub fn webhooks_stored(&self) -> Vec<Arc<Webhook>> {
        self.webhooks.stored.values().cloned().collect()
    }

    /// Differs after each change of webhooks that who delivers must know.
    pub fn webhooks_changes(&self) -> u64 {
        self.webhooks.changes
    }

    /// Up to `limit` webhooks after `after`, by id.
    pub fn webhooks(&self, after: Option<&WebhookId>, limit: usize) -> Vec<WebhookView> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let numbers = self.webhooks.numbers.range::<WebhookId, _>((from, Unbounded)).map(|(_, number)| number);
        let found = numbers.filter_map(|number| self.webhooks.stored.get(number));
        found.take(limit).map(|webhook| webhook.view(self.clock)).collect()
    }
}

fn no_secret() -> Rejection {
    Rejection::invalid("the command came without the secret that the leader makes; send it again with a new key")
}

fn enable(webhook: &mut Webhook, clock: Millis, enabled: bool) {
    webhook.config.enabled = enabled;
    webhook.paused_at = if enabled { None } else { webhook.paused_at.or(Some(clock)) };
}

/// What failed before was another receiver, if the url is another one.
fn configure(webhook: &mut Webhook, clock: Millis, config: &WebhookConfig) {
    if webhook.config.url != config.url {
        (webhook.trouble, webhook.disabled) = (None, None);
    }
    webhook.config = config.clone();
    enable(webhook, clock, config.enabled);
}

/// The newest secret stays live for a while; any older one ends now.
fn rotate(webhook: &mut Webhook, clock: Millis, overlap_ms: u64, secret: Secret) {
    webhook.secrets.truncate(SECRETS_MAX - 1);
    for old in &mut webhook.secrets {
        let until = clock.plus(overlap_ms);
        old.until = Some(old.until.map_or(until, |known| known.min(until)));
    }
    webhook.secrets.retain(|old| old.is_live(clock));
    webhook.secrets.insert(0, LiveSecret { secret, made_at: clock, until: None });
}

/// What an attempt in the order of changes says about the receiver.
fn learn(webhook: &mut Webhook, attempt: &Attempt) {
    if attempt.result.is_delivered() {
        webhook.delivered += 1;
        webhook.trouble = None;
        return;
    }
    webhook.failed += 1;
    let since = webhook.trouble.map_or(attempt.at, |trouble| trouble.since);
    let attempts = webhook.trouble.map_or(0, |trouble| trouble.attempts).saturating_add(1);
    webhook.trouble = Some(Trouble { since, attempts, last: attempt.result });
}

fn remember(webhook: &mut Webhook, attempt: &Attempt) {
    if webhook.attempts.len() >= ATTEMPTS_KEPT {
        webhook.attempts.drain(..=webhook.attempts.len() - ATTEMPTS_KEPT);
    }
    webhook.attempts.push(attempt.clone());
}

/// Checks that need no state.
pub fn check_webhook(command: &WebhookCommand) -> Result<(), Rejection> {
    match &command.op {
        WebhookOp::Set { config, fresh: _ } => check_config(config),
        WebhookOp::Rotate { overlap_ms, fresh: _ } if *overlap_ms > OVERLAP_MS_MAX => {
            Err(Rejection::invalid(format!("overlap_ms is {overlap_ms}; at most {OVERLAP_MS_MAX} is possible")))
        }
        WebhookOp::Resume { from: Some(Revision(0)) } => {
            Err(Rejection::invalid("from is 0; the first revision there can be is 1"))
        }
        WebhookOp::Rotate { .. }
        | WebhookOp::Resume { .. }
        | WebhookOp::Delete
        | WebhookOp::Pause
        | WebhookOp::Test { .. }
        | WebhookOp::Redeliver { .. } => Ok(()),
    }
}

fn check_config(config: &WebhookConfig) -> Result<(), Rejection> {
    split_url(&config.url).map_err(|why| Rejection::invalid(format!("url {why}")))?;
    if let Some(events) = &config.events
        && (events.is_empty() || events.len() > WEBHOOK_EVENTS_MAX)
    {
        let count = events.len();
        let reason = format!("events names {count} events; name 1 to {WEBHOOK_EVENTS_MAX}, or leave it out for all");
        return Err(Rejection::invalid(reason));
    }
    if config.causes.as_ref().is_some_and(|causes| causes.is_empty()) {
        return Err(Rejection::invalid("causes is empty; name at least one, or leave it out for all"));
    }
    if let Some(text) = &config.description
        && text.len() > TEXT_BYTES_MAX
    {
        let bytes = text.len();
        return Err(Rejection::invalid(format!("description has {bytes} bytes; at most {TEXT_BYTES_MAX} are allowed")));
    }
    if !(DISABLE_AFTER_MS_MIN..=DISABLE_AFTER_MS_MAX).contains(&config.disable_after_ms) {
        let ms = config.disable_after_ms;
        let reason = format!("disable_after_ms is {ms}; give {DISABLE_AFTER_MS_MIN} to {DISABLE_AFTER_MS_MAX}");
        return Err(Rejection::invalid(reason));
    }
    Ok(())
}

/// Host (an IPv6 address without its brackets) and port of a url that webhooks may have, and whether it is `https`. The
/// error ends a sentence that begins with the name of the field.
pub fn split_url(url: &str) -> Result<(bool, &str, u16), String> {
    if url.len() > URL_BYTES_MAX {
        return Err(format!("has {} bytes; at most {URL_BYTES_MAX} are allowed", url.len()));
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('#') || url.contains('\\') {
        return Err("has characters that a URL has not; percent-encode them, and leave out the fragment".to_owned());
    }
    let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err("must begin with https:// or http://".to_owned()),
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("has a user name or password; leave them out, signatures say who calls".to_owned());
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some(""))),
        None => authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some("") if !authority.ends_with(':') => Some(if tls { 443 } else { 80 }),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0)
        }
        Some(_) | None => None,
    };
    let bad_host = host.is_empty() || host.contains(['[', ']', ':', '%']) && !authority.starts_with('[');
    match port {
        Some(port) if !bad_host => Ok((tls, host, port)),
        Some(_) | None => Err("has no host and port that can be used; write https://host/path".to_owned()),
    }
}

/// What must hold of all webhooks.
pub(super) fn audit(webhooks: &WebhookMap, revision: Revision) -> Vec<String> {
    let mut violations = Vec::new();
    let mut say = |webhook: &Webhook, what: &str| violations.push(format!("webhook {}: {what}", webhook.id));
    let mut seen = std::collections::BTreeSet::new();
    for webhook in webhooks.values() {
        if !seen.insert(&webhook.id) {
            say(webhook, "is there twice");
        }
        if webhook.secrets.is_empty() || webhook.secrets.len() > SECRETS_MAX {
            say(webhook, "has no secret, or too many");
        }
        if webhook.secrets.iter().filter(|secret| secret.until.is_none()).count() != 1 {
            say(webhook, "has not exactly one secret that lasts");
        }
        if webhook.cursor > revision {
            say(webhook, "was told of changes that were not made yet");
        }
        if webhook.attempts.len() > ATTEMPTS_KEPT {
            say(webhook, "remembers too many attempts");
        }
        if webhook.config.enabled == webhook.paused_at.is_some() {
            say(webhook, "is paused and not paused");
        }
    }
    if webhooks.len() > WEBHOOKS_MAX {
        violations.push(format!("there are {} webhooks", webhooks.len()));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_or_refused() {
        for (url, parts) in [
            ("https://a.example/x?y=1", (true, "a.example", 443)),
            ("http://a.example", (false, "a.example", 80)),
            ("http://127.0.0.1:9000/hook", (false, "127.0.0.1", 9000)),
            ("https://[2001:db8::1]:8443/", (true, "2001:db8::1", 8443)),
            ("https://[::1]?q", (true, "::1", 443)),
        ] {
            assert_eq!(split_url(url), Ok(parts), "{url}");
        }
        for url in [
            "",
            "ftp://a/",
            "https://",
            "https:///x",
            "https://u@a/",
            "https://u:p@a/",
            "https://a:0/",
            "https://a:70000/",
            "https://a:/",
            "https://a:x/",
            "https://a/ b",
            "https://a/#f",
            "https://a\\@b/",
            "https://::1/",
            "https://[::1]x/",
            "https://[::1",
            "HTTPS://a/",
            "https://\u{e4}/",
            &format!("https://a/{}", "x".repeat(URL_BYTES_MAX)),
        ] {
            assert!(split_url(url).is_err(), "{url}");
        }
    }
}
