//! Webhooks: who is told of changes by a call of ours.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::commands::{CommandQuery, is_set, with_key};
use super::events::PageQuery;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::reading::{ReadHeaders, ReadQuery, WireConsistency, page_limit};
use super::render::Applied;
use super::reply::{Reply, value};
use super::request::{BODY_BYTES_MAX, Call, CommandHeaders};
use super::wire::webhook::{
    self as wire, DeletedWebhook, DeliveryPage, MadeWebhook, Resume, Rotate, Tried, Webhook, WebhookDefinition,
    WebhookPage,
};
use super::wire::{Name, WireError};
use crate::domain::command::{Command, WebhookCommand, WebhookOp};
use crate::domain::id::WebhookId;
use crate::domain::webhook::{ATTEMPTS_KEPT, MessageId};

/// Most webhooks of a page, and how many if the client does not say.
const PAGE_MAX: usize = 1_000;
const PAGE_DEFAULT: usize = 100;

impl Api {
    /// A command on one webhook. `parse` gets no body where the route takes none.
    async fn webhook(
        &self,
        mut call: Call,
        takes_body: bool,
        parse: impl FnOnce(WebhookId, &[u8]) -> Result<Command, WireError> + Send,
    ) -> Reply {
        let reply = self.try_webhook(&mut call, takes_body, parse).await;
        reply.map_err(|problem| with_key(problem, &call))
    }

    async fn try_webhook(
        &self,
        call: &mut Call,
        takes_body: bool,
        parse: impl FnOnce(WebhookId, &[u8]) -> Result<Command, WireError> + Send,
    ) -> Reply {
        let query: CommandQuery = call.query()?;
        if let Some(redirect) = self.redirected(call, is_set(query.redirect)) {
            return Ok(redirect);
        }
        let command = if takes_body {
            let (body, _room) = call.json_body(self, BODY_BYTES_MAX).await?;
            parse(call.id("webhook")?, &body)?
        } else {
            call.no_body(self).await?;
            parse(call.id("webhook")?, &[])?
        };
        self.submit(call, false, command).await
    }
}

fn command(webhook: WebhookId, op: WebhookOp) -> Result<Command, WireError> {
    Ok(Command::Webhook(WebhookCommand { webhook, op }))
}

/// Sets a webhook: makes it, with a secret that is shown in this answer only, or changes it.
#[utoipa::path(
    put, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = Name, Path), CommandQuery, CommandHeaders),
    request_body = WebhookDefinition,
    responses(
        (status = 200, description = "Changed", body = Applied<MadeWebhook>),
        (status = 201, description = "Made", body = Applied<MadeWebhook>),
        (status = "default", description = "Not applied, rejected, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn set(State(api): State<Api>, call: Call) -> Reply {
    api.webhook(call, true, wire::set).await
}

/// Deletes a webhook and what is remembered of its deliveries.
#[utoipa::path(
    delete, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = Name, Path), CommandQuery, CommandHeaders),
    responses(
        (status = 200, description = "Deleted", body = Applied<DeletedWebhook>),
        (status = "default", description = "Not applied, rejected, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn delete(State(api): State<Api>, call: Call) -> Reply {
    api.webhook(call, false, |webhook, _| command(webhook, WebhookOp::Delete)).await
}

/// Makes a new secret. The old one stays live for a while; a secret older than that ends at once.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook}/rotate", tag = "webhooks",
    params(("webhook" = Name, Path), CommandQuery, CommandHeaders),
    request_body(content = Rotate, description = "May be left out"),
    responses(
        (status = 200, description = "The webhook with its new secret", body = Applied<MadeWebhook>),
        (status = "default", description = "Not applied, rejected, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn rotate(State(api): State<Api>, call: Call) -> Reply {
    api.webhook(call, true, wire::rotate).await
}

/// Delivers nothing until it is resumed.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook}/pause", tag = "webhooks",
    params(("webhook" = Name, Path), CommandQuery, CommandHeaders),
    responses(
        (status = 200, description = "The webhook", body = Applied<Webhook>),
        (status = "default", description = "Not applied, rejected, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn pause(State(api): State<Api>, call: Call) -> Reply {
    api.webhook(call, false, |webhook, _| command(webhook, WebhookOp::Pause)).await
}

/// Goes on, paused or disabled, where it was; or delivers again from a revision on.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook}/resume", tag = "webhooks",
    params(("webhook" = Name, Path), CommandQuery, CommandHeaders),
    request_body(content = Resume, description = "May be left out"),
    responses(
        (status = 200, description = "The webhook", body = Applied<Webhook>),
        (status = "default", description = "Not applied, rejected, or unknown; 410 `compacted`: `from` is no longer kept",
         body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn resume(State(api): State<Api>, call: Call) -> Reply {
    api.webhook(call, true, wire::resume).await
}

/// Sends a test message now, whatever the state of the webhook, and says what the receiver answered.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook}/test", tag = "webhooks",
    params(("webhook" = Name, Path), CommandQuery, CommandHeaders),
    responses(
        (status = 200, description = "What came of it", body = Applied<Tried>),
        (status = "default", description = "Not applied, rejected, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn test(State(api): State<Api>, call: Call) -> Reply {
    api.webhook(call, false, |webhook, _| command(webhook, WebhookOp::Test { attempt: None })).await
}

/// Sends a message that is among the deliveries once more now, under its old id.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook}/deliveries/{message}/redeliver", tag = "webhooks",
    params(("webhook" = Name, Path), ("message" = String, Path, description = "Id of the message"), CommandQuery,
           CommandHeaders),
    responses(
        (status = 200, description = "What came of it", body = Applied<Tried>),
        (status = "default", description = "Not applied, rejected, or unknown", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn redeliver(State(api): State<Api>, call: Call) -> Reply {
    let message = call.segment("message").map(MessageId::parse);
    api.webhook(call, false, |webhook, _| {
        let message = message.ok().flatten().ok_or_else(|| {
            WireError::invalid("The message in the path is not the id of a message; take one from the deliveries.")
        })?;
        command(webhook, WebhookOp::Redeliver { message, attempt: None })
    })
    .await
}

/// All webhooks, by id, a page at a time.
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "webhooks", params(PageQuery, ReadHeaders),
    responses(
        (status = 200, description = "A page", body = WebhookPage),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn list(State(api): State<Api>, call: Call) -> Reply {
    let query: PageQuery = call.query()?;
    let limit = page_limit(query.limit, PAGE_DEFAULT, PAGE_MAX)?;
    let after: Option<WebhookId> =
        query.after.as_deref().map(|id| super::wire::name(id, "Query parameter after")).transpose()?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, mut webhooks) =
        api.service().inspect(|inventory| (inventory.revision().0, inventory.webhooks(after.as_ref(), limit + 1)));
    let more = webhooks.len() > limit;
    webhooks.truncate(limit);
    let next = webhooks.last().filter(|_| more).map(|webhook| webhook.webhook.as_str());
    let rows = webhooks.iter().map(|webhook| Webhook::at(webhook, revision)).collect();
    Ok(permit.on(value(&WebhookPage { webhooks: rows, next, revision })))
}

/// A webhook, without its secrets.
#[utoipa::path(
    get, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = Name, Path), ReadQuery, ReadHeaders),
    responses(
        (status = 200, description = "The webhook", body = super::orders::At<Webhook>),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn show(State(api): State<Api>, call: Call) -> Reply {
    let query: ReadQuery = call.query()?;
    let webhook: WebhookId = call.id("webhook")?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, found) = api.service().inspect(|inventory| (inventory.revision().0, inventory.webhook(&webhook)));
    let view = found.ok_or_else(|| no_webhook(&webhook, revision))?;
    Ok(permit.on(super::orders::seen(&Webhook::at(&view, revision), revision)))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    /// 1 to 100; all there are if left out.
    limit: Option<usize>,
    #[param(inline)]
    consistency: Option<WireConsistency>,
    /// Waits until the node has applied this revision.
    min_revision: Option<u64>,
}

/// The newest attempts of a webhook, at most 100, newest first. What the leader did in the last second may be missing.
#[utoipa::path(
    get, path = "/v1/webhooks/{webhook}/deliveries", tag = "webhooks",
    params(("webhook" = Name, Path), DeliveriesQuery, ReadHeaders),
    responses(
        (status = 200, description = "The attempts", body = DeliveryPage),
        (status = "default", description = "Not answered", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn deliveries(State(api): State<Api>, call: Call) -> Reply {
    let query: DeliveriesQuery = call.query()?;
    let webhook: WebhookId = call.id("webhook")?;
    let limit = page_limit(query.limit, ATTEMPTS_KEPT, ATTEMPTS_KEPT)?;
    let permit = api.permit(&call, query.consistency, query.min_revision).await?;
    let (revision, found) =
        api.service().inspect(|inventory| (inventory.revision().0, inventory.webhook_stored(&webhook)));
    let stored = found.ok_or_else(|| no_webhook(&webhook, revision))?;
    let deliveries = stored.attempts.iter().rev().take(limit).map(Into::into).collect();
    Ok(permit.on(value(&DeliveryPage { deliveries, revision })))
}

fn no_webhook(webhook: &WebhookId, revision: u64) -> Problem {
    let detail = format!("There is no webhook {webhook}; check its id, or set it with PUT.");
    Problem::not_found(ProblemCode::WebhookNotFound, revision, detail)
}
