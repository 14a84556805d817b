//! Webhooks: who is told of changes, with which secrets, how far they were told, and what came of it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::change::Cause;
use super::id::{EventId, WebhookId};
use super::value::{Millis, Revision, Text};

/// How long a webhook may fail before it is disabled, if it does not say: three days.
pub const DISABLE_AFTER_MS_DEFAULT: u64 = 3 * 86_400_000;
/// How long the old secret stays live after a rotation, if the rotation does not say: a day.
pub const OVERLAP_MS_DEFAULT: u64 = 86_400_000;
/// Attempts remembered of each webhook.
pub const ATTEMPTS_KEPT: usize = 100;
/// Secrets that may be live at a time.
pub const SECRETS_MAX: usize = 2;

/// What signatures are made with. Never shown by `Debug`, so that it reaches no log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What people say about a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookConfig {
    pub url: Text,
    /// Only changes of these events; `None`: of all.
    pub events: Option<BTreeSet<EventId>>,
    /// Only changes of these causes; `None`: of all.
    pub causes: Option<BTreeSet<Cause>>,
    /// False: paused.
    pub enabled: bool,
    pub description: Option<Text>,
    /// After failing for this long it is disabled.
    pub disable_after_ms: u64,
}

impl WebhookConfig {
    /// Whether a change of this event and cause is for it.
    pub fn wants(&self, cause: Cause, event: &EventId) -> bool {
        self.causes.as_ref().is_none_or(|causes| causes.contains(&cause))
            && self.events.as_ref().is_none_or(|events| events.contains(event))
    }
}

/// A secret and how long it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSecret {
    pub secret: Secret,
    pub made_at: Millis,
    /// Set by a rotation: not live any more from then on.
    pub until: Option<Millis>,
}

impl LiveSecret {
    pub fn is_live(&self, clock: Millis) -> bool {
        self.until.is_none_or(|until| clock < until)
    }
}

/// Names one message: the same for the same webhook, revision, event and part, so that receivers can tell a repeat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageId(pub u128);

impl MessageId {
    const PREFIX: &str = "msg_";
    const DIGITS: usize = 32;

    /// Of part `part` (from 1) of what `revision` did to `event`.
    pub fn of(webhook: &WebhookId, revision: Revision, event: &EventId, part: u32) -> Self {
        // No name has a line feed: what is hashed is unambiguous.
        let hash = blake3::hash(format!("{webhook}\n{revision}\n{event}\n{part}").as_bytes());
        let mut half = [0u8; 16];
        half.copy_from_slice(&hash.as_bytes()[..16]);
        Self(u128::from_be_bytes(half))
    }

    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(Self::PREFIX)?;
        let plain = digits.len() == Self::DIGITS && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| u128::from_str_radix(digits, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:0width$x}", Self::PREFIX, self.0, width = Self::DIGITS)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One try to deliver one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub kind: AttemptKind,
    pub message: MessageId,
    /// What the message tells of; 0 and no event for a test.
    pub revision: Revision,
    pub event: Option<EventId>,
    /// From 1; more than 1 only for a change set too big for one message.
    pub part: u32,
    /// When it began, by the leader's clock.
    pub at: Millis,
    /// How many times this message was tried, this one included.
    pub attempt: u32,
    pub result: AttemptResult,
    pub duration_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AttemptKind {
    /// In the order of changes; moves the cursor.
    Delivery,
    /// Asked for by people, outside the order.
    Test,
    Redelivery,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AttemptResult {
    /// The receiver answered with this status.
    Status(u16),
    Failed(DeliveryError),
}

impl AttemptResult {
    pub fn is_delivered(self) -> bool {
        matches!(self, Self::Status(200..=299))
    }

    /// The receiver says that it will never want this again.
    pub fn is_gone(self) -> bool {
        self == Self::Status(410)
    }
}

/// Why no status came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeliveryError {
    /// The name has no address.
    Dns,
    /// The address is not one that webhooks may reach.
    Forbidden,
    Connect,
    Tls,
    /// Nothing, or not all of the answer, in time.
    Timeout,
    /// The connection ended, or what came is not HTTP.
    Broken,
    /// The url cannot be used.
    Url,
}

/// Failing since, without a success between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub since: Millis,
    pub attempts: u32,
    pub last: AttemptResult,
}

/// Disabled by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    pub at: Millis,
    pub failing_since: Millis,
    pub last: AttemptResult,
}

/// Changes that were no longer kept when it was their turn. Both ends are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub from: Revision,
    pub to: Revision,
    pub at: Millis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WebhookState {
    Active,
    /// By people.
    Paused,
    /// The newest attempt failed; it goes on trying.
    Failing,
    /// By itself, after failing for too long or because the receiver is gone.
    Disabled,
}

/// One webhook, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    pub id: WebhookId,
    pub config: WebhookConfig,
    pub created_at: Millis,
    /// Newest first; one or two.
    pub secrets: Vec<LiveSecret>,
    pub paused_at: Option<Millis>,
    pub trouble: Option<Trouble>,
    pub disabled: Option<Disabled>,
    /// Everything up to here was delivered, or was not for it.
    pub cursor: Revision,
    /// Tells reports about this cursor from late ones about an earlier life, position or trouble. Grows.
    pub epoch: u64,
    pub gap: Option<Gap>,
    /// Messages delivered in order, and attempts of these that failed, since it was made.
    pub delivered: u64,
    pub failed: u64,
    /// Oldest first; at most [`ATTEMPTS_KEPT`].
    pub attempts: Vec<Attempt>,
}

impl Webhook {
    pub fn state(&self) -> WebhookState {
        match () {
            () if self.disabled.is_some() => WebhookState::Disabled,
            () if !self.config.enabled => WebhookState::Paused,
            () if self.trouble.is_some() => WebhookState::Failing,
            () => WebhookState::Active,
        }
    }

    /// Whether changes are to be delivered to it.
    pub fn is_on(&self) -> bool {
        self.config.enabled && self.disabled.is_none()
    }

    /// The secrets that count now, newest first.
    pub fn live_secrets(&self, clock: Millis) -> impl Iterator<Item = &LiveSecret> {
        self.secrets.iter().filter(move |secret| secret.is_live(clock))
    }

    /// As a reader sees it: without secrets and without attempts.
    pub fn view(&self, clock: Millis) -> WebhookView {
        let life = |secret: &LiveSecret| SecretLife { made_at: secret.made_at, until: secret.until };
        WebhookView {
            webhook: self.id.clone(),
            config: self.config.clone(),
            state: self.state(),
            created_at: self.created_at,
            paused_at: self.paused_at,
            trouble: self.trouble,
            disabled: self.disabled,
            cursor: self.cursor,
            gap: self.gap,
            delivered: self.delivered,
            failed: self.failed,
            secrets: self.live_secrets(clock).map(life).collect(),
        }
    }
}

/// When a secret was made and when it ends; never the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretLife {
    pub made_at: Millis,
    pub until: Option<Millis>,
}

/// A webhook, as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookView {
    pub webhook: WebhookId,
    pub config: WebhookConfig,
    pub state: WebhookState,
    pub created_at: Millis,
    pub paused_at: Option<Millis>,
    pub trouble: Option<Trouble>,
    pub disabled: Option<Disabled>,
    pub cursor: Revision,
    pub gap: Option<Gap>,
    pub delivered: u64,
    pub failed: u64,
    /// Newest first.
    pub secrets: Vec<SecretLife>,
}

/// What the leader has done for one webhook since it last said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookProgress {
    pub webhook: WebhookId,
    /// Of the webhook when the work began; of another one: void.
    pub epoch: u64,
    pub cursor: Revision,
    pub gap: Option<Gap>,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_one_id_and_the_id_can_be_read_back() {
        let (webhook, event) = (WebhookId::parse("w").expect("a name"), EventId::parse("e").expect("a name"));
        let id = MessageId::of(&webhook, Revision(7), &event, 1);
        assert_eq!(MessageId::parse(&id.to_string()), Some(id));
        assert_eq!(id, MessageId::of(&webhook, Revision(7), &event, 1));
        for other in [MessageId::of(&webhook, Revision(8), &event, 1), MessageId::of(&webhook, Revision(7), &event, 2)]
        {
            assert_ne!(id, other);
        }
        for text in ["", "msg_", "msg_0", &format!("{id}0"), &id.to_string().to_uppercase()] {
            assert_eq!(MessageId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret([7; 32])), "Secret(…)");
    }
}
