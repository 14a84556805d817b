//! Webhooks: the body that sets one, and what goes out about them.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::capped::Capped;
use super::views::Time;
use super::{Name, Str, WireError, exact, json, name, text};
use crate::domain::change::Cause;
use crate::domain::command::{Command, WebhookCommand, WebhookOp};
use crate::domain::id::{EventId, WebhookId};
use crate::domain::inventory::WEBHOOK_EVENTS_MAX;
use crate::domain::value::Revision;
use crate::domain::webhook::{
    Attempt, AttemptKind, AttemptResult, DISABLE_AFTER_MS_DEFAULT, DeliveryError, Gap, OVERLAP_MS_DEFAULT, Secret,
    SecretLife, WebhookConfig, WebhookState, WebhookView,
};

/// What people say about a webhook. What is left out has its default, also when the webhook is there already.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookDefinition<'a> {
    /// `https://` or `http://`, without user name, password and fragment.
    #[serde(borrow)]
    #[schema(value_type = String, max_length = 2048, example = "https://shop.example/hooks/lastseat")]
    pub url: Str<'a>,
    /// Only changes of these events; of all if left out.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<Name>>, max_items = 1000)]
    pub events: Option<Capped<Name<'a>, WEBHOOK_EVENTS_MAX>>,
    /// Only changes of these causes; of all if left out.
    pub causes: Option<Vec<WireCause>>,
    /// False: paused. True if left out.
    #[schema(default = true)]
    pub enabled: Option<bool>,
    #[serde(borrow, default)]
    pub description: Option<Str<'a>>,
    /// Disabled after failing for so long; three days if left out.
    #[schema(minimum = 1000, maximum = 2592000000_u64, default = 259200000)]
    pub disable_after_ms: Option<u64>,
}

/// What a change came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = WebhookCause)]
#[serde(rename_all = "snake_case")]
pub enum WireCause {
    Define,
    Reserve,
    Book,
    Release,
    Expire,
    Cancel,
    Block,
    Unblock,
    Batch,
    Delete,
}

macro_rules! causes {
    ($($name:ident)*) => {
        impl From<WireCause> for Cause {
            fn from(cause: WireCause) -> Self {
                match cause { $(WireCause::$name => Cause::$name),* }
            }
        }

        impl From<Cause> for WireCause {
            fn from(cause: Cause) -> Self {
                match cause { $(Cause::$name => WireCause::$name),* }
            }
        }
    };
}

causes!(Define Reserve Book Release Expire Cancel Block Unblock Batch Delete);

/// A new secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// How long the old secret stays live beside the new one; a day if left out, 0 ends it at once.
    #[schema(maximum = 2592000000_u64, default = 86400000)]
    pub overlap_ms: Option<u64>,
}

/// Where to go on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// The first revision to be delivered (again); where it was if left out.
    #[schema(minimum = 1)]
    pub from: Option<u64>,
}

/// Body and name of a webhook as a command that sets it.
pub fn set(webhook: WebhookId, body: &[u8]) -> Result<Command, WireError> {
    let wire: WebhookDefinition<'_> = json::parse(body)?;
    let events = wire.events.map(events).transpose()?;
    let causes = wire.causes.map(|causes| causes.into_iter().map(Cause::from).collect());
    let disable_after_ms = wire.disable_after_ms.unwrap_or(DISABLE_AFTER_MS_DEFAULT);
    let config = WebhookConfig {
        url: wire.url.0.as_ref().into(),
        events,
        causes,
        enabled: wire.enabled.unwrap_or(true),
        description: wire.description.map(|said| text(&said.0, "description")).transpose()?,
        disable_after_ms: exact(disable_after_ms, "disable_after_ms")?,
    };
    let op = WebhookOp::Set { config: Box::new(config), fresh: None };
    Ok(Command::Webhook(WebhookCommand { webhook, op }))
}

fn events(wire: Capped<Name<'_>, WEBHOOK_EVENTS_MAX>) -> Result<BTreeSet<EventId>, WireError> {
    if wire.total > WEBHOOK_EVENTS_MAX {
        return Err(WireError::invalid(format!(
            "events names {} events; name at most {WEBHOOK_EVENTS_MAX}, or leave it out for all.",
            wire.total
        )));
    }
    wire.kept.iter().enumerate().map(|(at, event)| name(&event.0, format_args!("events[{at}]"))).collect()
}

/// An optional body.
fn parse_opt<'a, T: Default + Deserialize<'a>>(body: &'a [u8]) -> Result<T, WireError> {
    if body.trim_ascii().is_empty() { Ok(T::default()) } else { Ok(json::parse(body)?) }
}

pub fn rotate(webhook: WebhookId, body: &[u8]) -> Result<Command, WireError> {
    let wire: Rotate = parse_opt(body)?;
    let overlap_ms = exact(wire.overlap_ms.unwrap_or(OVERLAP_MS_DEFAULT), "overlap_ms")?;
    Ok(Command::Webhook(WebhookCommand { webhook, op: WebhookOp::Rotate { overlap_ms, fresh: None } }))
}

pub fn resume(webhook: WebhookId, body: &[u8]) -> Result<Command, WireError> {
    let wire: Resume = parse_opt(body)?;
    let from = wire.from.map(|from| exact(from, "from")).transpose()?.map(Revision);
    Ok(Command::Webhook(WebhookCommand { webhook, op: WebhookOp::Resume { from } }))
}

// --- what goes out ---

/// A webhook. Its secrets are never shown again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Webhook<'a> {
    #[schema(value_type = Name)]
    webhook: &'a str,
    url: &'a str,
    /// null: all.
    #[schema(value_type = Option<Vec<Name>>)]
    events: Option<Events<'a>>,
    /// null: all.
    causes: Option<Vec<WireCause>>,
    enabled: bool,
    description: Option<&'a str>,
    disable_after_ms: u64,
    state: WireState,
    /// Paused, failing or disabled since; null while it is active.
    #[schema(value_type = Option<Time>)]
    since: Option<Time>,
    /// What went wrong last, while it is failing or disabled.
    why: Option<Why>,
    /// Everything up to this revision was delivered, or was not for it.
    cursor: u64,
    /// Revisions behind the newest.
    lag: u64,
    /// Changes that it was never told of, because they were no longer kept when it was their turn; null: none.
    gap: Option<GapView>,
    /// Messages delivered.
    delivered: u64,
    /// Attempts that failed.
    failed: u64,
    /// The live ones, newest first.
    secrets: Vec<SecretView>,
    #[schema(value_type = Time)]
    created_at: Time,
}

#[derive(Debug)]
struct Events<'a>(&'a BTreeSet<EventId>);

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for event in self.0 {
            list.serialize_element(event.as_str())?;
        }
        list.end()
    }
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = WebhookState)]
#[serde(rename_all = "snake_case")]
pub enum WireState {
    Active,
    Paused,
    Failing,
    Disabled,
}

/// Why a webhook fails, or was disabled.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookTrouble)]
struct Why {
    #[schema(value_type = Time)]
    failing_since: Time,
    /// What the receiver answered; null if it did not.
    status: Option<u16>,
    /// Why there was no answer.
    error: Option<WireDeliveryError>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookGap)]
struct GapView {
    from: u64,
    to: u64,
    #[schema(value_type = Time)]
    at: Time,
}

/// When a secret was made and when it ends.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookSecret)]
struct SecretView {
    #[schema(value_type = Time)]
    made_at: Time,
    /// null: until the next rotation.
    #[schema(value_type = Option<Time>)]
    until: Option<Time>,
}

/// Why nothing came back: `forbidden_address` is one that webhooks may not reach.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = DeliveryError)]
#[serde(rename_all = "snake_case")]
enum WireDeliveryError {
    Dns,
    ForbiddenAddress,
    Connect,
    Tls,
    Timeout,
    Broken,
    Url,
}

impl From<DeliveryError> for WireDeliveryError {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Dns => Self::Dns,
            DeliveryError::Forbidden => Self::ForbiddenAddress,
            DeliveryError::Connect => Self::Connect,
            DeliveryError::Tls => Self::Tls,
            DeliveryError::Timeout => Self::Timeout,
            DeliveryError::Broken => Self::Broken,
            DeliveryError::Url => Self::Url,
        }
    }
}

fn status_and_error(result: AttemptResult) -> (Option<u16>, Option<WireDeliveryError>) {
    match result {
        AttemptResult::Status(status) => (Some(status), None),
        AttemptResult::Failed(error) => (None, Some(error.into())),
    }
}

impl<'a> Webhook<'a> {
    /// At this revision of the group.
    pub fn at(view: &'a WebhookView, revision: u64) -> Self {
        let (state, since) = match view.state {
            WebhookState::Active => (WireState::Active, None),
            WebhookState::Paused => (WireState::Paused, view.paused_at),
            WebhookState::Failing => (WireState::Failing, view.trouble.map(|trouble| trouble.since)),
            WebhookState::Disabled => (WireState::Disabled, view.disabled.map(|disabled| disabled.at)),
        };
        let trouble = view.trouble.map(|trouble| (trouble.since, trouble.last));
        let why = view.disabled.map(|disabled| (disabled.failing_since, disabled.last)).or(trouble);
        let config = &view.config;
        Self {
            webhook: view.webhook.as_str(),
            url: &config.url,
            events: config.events.as_ref().map(Events),
            causes: config.causes.as_ref().map(|causes| causes.iter().map(|cause| (*cause).into()).collect()),
            enabled: config.enabled,
            description: config.description.as_deref(),
            disable_after_ms: config.disable_after_ms,
            state,
            since: since.map(Time),
            why: why.map(|(since, last)| {
                let (status, error) = status_and_error(last);
                Why { failing_since: Time(since), status, error }
            }),
            cursor: view.cursor.0,
            lag: revision.saturating_sub(view.cursor.0),
            gap: view.gap.map(|Gap { from, to, at }| GapView { from: from.0, to: to.0, at: Time(at) }),
            delivered: view.delivered,
            failed: view.failed,
            secrets: view.secrets.iter().map(SecretView::from).collect(),
            created_at: Time(view.created_at),
        }
    }
}

impl From<&SecretLife> for SecretView {
    fn from(life: &SecretLife) -> Self {
        Self { made_at: Time(life.made_at), until: life.until.map(Time) }
    }
}

/// `whsec_` and the base64 of the secret, as libraries of Standard Webhooks take it.
#[derive(Debug)]
pub struct SecretText<'a>(pub &'a Secret);

impl Serialize for SecretText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("whsec_{}", STANDARD.encode(self.0.0)))
    }
}

/// Shown once, to who made it.
#[derive(Debug, Serialize, ToSchema)]
pub struct WithSecret<'a> {
    /// `whsec_` and base64; null if none was made, and in everything that only tells of the command later.
    #[schema(value_type = Option<String>, example = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")]
    pub secret: Option<SecretText<'a>>,
}

/// The schema of a webhook with its secret.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only a schema: `write_outcome` writes it")]
pub struct MadeWebhook<'a> {
    #[serde(flatten)]
    webhook: Webhook<'a>,
    #[serde(flatten)]
    secret: WithSecret<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedWebhook<'a> {
    #[schema(value_type = Name)]
    pub webhook: &'a str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookPage<'a> {
    pub webhooks: Vec<Webhook<'a>>,
    /// Give it as `after` for the next page; null at the end.
    pub next: Option<&'a str>,
    pub revision: u64,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = DeliveryKind)]
#[serde(rename_all = "snake_case")]
enum WireKind {
    Delivery,
    Test,
    Redelivery,
}

/// One attempt to deliver one message.
#[derive(Debug, Serialize, ToSchema)]
pub struct Delivery<'a> {
    /// Id of the message: the same in every attempt.
    #[schema(example = "msg_0f8fad5bd9cb469fa16570867728950e")]
    message: String,
    kind: WireKind,
    /// null for a test.
    revision: Option<u64>,
    #[schema(value_type = Option<Name>)]
    event: Option<&'a str>,
    /// More than 1 only for a change that is too big for one message.
    part: u32,
    #[schema(value_type = Time)]
    at: Time,
    /// 1 for the first.
    attempt: u32,
    delivered: bool,
    /// What the receiver answered; null if it did not.
    status: Option<u16>,
    /// Why there was no answer.
    error: Option<WireDeliveryError>,
    duration_ms: u64,
}

impl<'a> From<&'a Attempt> for Delivery<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        let (status, error) = status_and_error(attempt.result);
        Self {
            message: attempt.message.to_string(),
            kind: match attempt.kind {
                AttemptKind::Delivery => WireKind::Delivery,
                AttemptKind::Test => WireKind::Test,
                AttemptKind::Redelivery => WireKind::Redelivery,
            },
            revision: Some(attempt.revision.0).filter(|revision| *revision > 0),
            event: attempt.event.as_ref().map(|event| event.as_str()),
            part: attempt.part,
            at: Time(attempt.at),
            attempt: attempt.attempt,
            delivered: attempt.result.is_delivered(),
            status,
            error,
            duration_ms: attempt.duration_ms,
        }
    }
}

/// What came of a message that was sent because somebody asked for it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tried<'a> {
    #[schema(value_type = Name)]
    pub webhook: &'a str,
    pub delivery: Delivery<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryPage<'a> {
    /// Newest first.
    pub deliveries: Vec<Delivery<'a>>,
    pub revision: u64,
}
