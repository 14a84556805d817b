//! Answer → status and body.
//!
//! A pure function of the recorded answer: a replay is the same bytes, but for the `request_id` of a problem. Bodies are
//! written once, into one buffer, in a fixed order of fields.

use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{self, Problem};
use super::wire::item::{Items, WireItem};
use super::wire::views::{Event, Hold, Order, Time};
use super::wire::webhook::{DeletedWebhook, SecretText, Tried, Webhook, WithSecret};
use crate::domain::outcome::{Answer, Outcome, SliceAnswer, Verdict};

/// Room for the body of a usual booking, so that its buffer never grows.
pub const BODY_BYTES_USUAL: usize = 512;

/// What every 2xx body of a command begins with.
#[derive(Debug, Serialize, ToSchema)]
pub struct Head {
    #[schema(value_type = AppliedOutcome)]
    outcome: &'static str,
    /// The group's revision after the decision.
    revision: u64,
    /// The event's version after the decision; null where no single event is meant.
    version: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "the schema of a constant")]
pub enum AppliedOutcome {
    Applied,
}

/// The schema of a 2xx body: the head and the body's own fields side by side.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "only a schema: `write_applied` writes it")]
pub struct Applied<T> {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    body: T,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted<'a> {
    #[schema(value_type = super::wire::Name)]
    event: &'a str,
}

macro_rules! item_list {
    ($($(#[$doc:meta])* $name:ident $field:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Serialize, ToSchema)]
        pub struct $name<'a> {
            #[schema(value_type = Vec<WireItem>)]
            $field: Items<'a>,
        }
    )*};
}

item_list! {
    /// What is free again.
    Released released;
    /// What is free again.
    Cancelled cancelled;
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Blocked<'a> {
    #[schema(value_type = Vec<WireItem>)]
    blocked: Items<'a>,
    reason: Option<&'a str>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Unblocked<'a> {
    #[schema(value_type = Vec<WireItem>)]
    unblocked: Items<'a>,
    reason: Option<&'a str>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Nothing {}

/// Whether the key was voided; if not, what was recorded under it.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "only a schema: `write_voided` writes it")]
pub struct Voided {
    voided: bool,
    #[schema(example = 201)]
    status: Option<u16>,
    #[schema(value_type = Option<Object>)]
    body: Option<()>,
}

/// The body or problem of each command, in order, with `status` beside its fields.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "only a schema: `write_results` writes it")]
pub struct Results {
    results: Vec<BatchResult>,
}

#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "only a schema: `write_result` writes it")]
pub struct BatchResult {
    #[schema(example = 201)]
    status: u16,
    outcome: String,
    revision: Option<u64>,
    version: Option<u64>,
}

/// What was recorded under a key.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "only a schema: `write_recorded` writes it")]
pub struct Recorded {
    #[schema(example = 201)]
    status: u16,
    #[schema(value_type = Object)]
    body: (),
    decided_at: Time,
    revision: u64,
}

/// The status of an answer.
pub fn status(answer: &Answer) -> u16 {
    match &answer.verdict {
        Verdict::Applied(outcome) => match outcome {
            Outcome::Defined { created: true, .. }
            | Outcome::Reserved(_)
            | Outcome::Booked(_)
            | Outcome::WebhookSet { created: true, .. } => 201,
            Outcome::Defined { created: false, .. }
            | Outcome::Changed { .. }
            | Outcome::Deleted { .. }
            | Outcome::Extended(_)
            | Outcome::BookedBefore(_)
            | Outcome::Released { .. }
            | Outcome::Cancelled { .. }
            | Outcome::Blocked { .. }
            | Outcome::Unblocked { .. }
            | Outcome::AtomicBatch(_)
            | Outcome::BatchSlice(_)
            | Outcome::Voided
            | Outcome::NotVoided(_)
            | Outcome::Configured
            | Outcome::WebhookSet { created: false, .. }
            | Outcome::WebhookDeleted { .. }
            | Outcome::WebhookChanged { .. }
            | Outcome::WebhookRotated { .. }
            | Outcome::WebhookTried { .. } => 200,
        },
        Verdict::Rejected(rejection) => problem::ProblemCode::from(rejection.code).row().status,
    }
}

/// Appends the body of an answer, applied or rejected.
pub fn write_answer(answer: &Answer, request_id: &str, out: &mut Vec<u8>) {
    match &answer.verdict {
        Verdict::Applied(outcome) => write_outcome(answer, outcome, request_id, out),
        Verdict::Rejected(rejection) => Problem::rejected(answer, rejection).write(request_id, out),
    }
}

/// Appends a 2xx body.
pub fn write_outcome(answer: &Answer, outcome: &Outcome, request_id: &str, out: &mut Vec<u8>) {
    match outcome {
        Outcome::Defined { event, .. } | Outcome::Changed { event } => {
            // The event has a revision and a version of its own, and they are the same.
            write_json(&Lone { outcome: "applied" }, out);
            append_fields(&Event::at(event, answer.revision.0), out);
        }
        Outcome::Deleted { event } => write_applied(answer, &Deleted { event: event.as_str() }, out),
        Outcome::Reserved(hold) | Outcome::Extended(hold) => {
            write_applied(answer, &Hold::at(hold, answer.decided_at), out);
        }
        Outcome::Booked(order) | Outcome::BookedBefore(order) => write_applied(answer, &Order::from(order), out),
        Outcome::Released { items } => write_applied(answer, &Released { released: Items(items) }, out),
        Outcome::Cancelled { items } => write_applied(answer, &Cancelled { cancelled: Items(items) }, out),
        Outcome::Blocked { items, reason } => {
            write_applied(answer, &Blocked { blocked: Items(items), reason: reason.as_deref() }, out);
        }
        Outcome::Unblocked { items, reason } => {
            write_applied(answer, &Unblocked { unblocked: Items(items), reason: reason.as_deref() }, out);
        }
        Outcome::AtomicBatch(answers) => {
            write_applied(answer, &Nothing {}, out);
            write_results(answers.iter().map(Result::Ok), request_id, out);
        }
        Outcome::BatchSlice(answers) => write_batch(answers, request_id, out),
        Outcome::Voided => write_voided(answer, None, request_id, out),
        Outcome::NotVoided(recorded) => write_voided(answer, Some(recorded), request_id, out),
        Outcome::Configured => write_applied(answer, &Nothing {}, out),
        Outcome::WebhookSet { webhook, secret, .. } | Outcome::WebhookRotated { webhook, secret } => {
            write_applied(answer, &Webhook::at(webhook, answer.revision.0), out);
            append_fields(&WithSecret { secret: secret.as_ref().map(SecretText) }, out);
        }
        Outcome::WebhookChanged { webhook } => {
            write_applied(answer, &Webhook::at(webhook, answer.revision.0), out);
        }
        Outcome::WebhookDeleted { webhook } => {
            write_applied(answer, &DeletedWebhook { webhook: webhook.as_str() }, out);
        }
        Outcome::WebhookTried { webhook, attempt } => {
            let delivery = (&**attempt).into();
            write_applied(answer, &Tried { webhook: webhook.as_str(), delivery }, out);
        }
    }
}

/// Appends the body of an independent batch. Its revision is the newest of its commands.
pub fn write_batch(answers: &[SliceAnswer], request_id: &str, out: &mut Vec<u8>) {
    let revisions = answers.iter().filter_map(|answer| match answer {
        SliceAnswer::Decided(answer) => Some(answer.revision.0),
        SliceAnswer::KeyReused | SliceAnswer::Refused(_) => None,
    });
    write_json(&Head { outcome: "applied", revision: revisions.max().unwrap_or(0), version: None }, out);
    let results = answers.iter().map(|answer| match answer {
        SliceAnswer::Decided(answer) => Ok(answer),
        SliceAnswer::KeyReused => Err(problem::key_reused()),
        SliceAnswer::Refused(rejection) => Err(Problem::refused(rejection)),
    });
    write_results(results, request_id, out);
}

/// Appends `{"status","body","decided_at","revision"}` of a recorded answer.
pub fn write_recorded(answer: &Answer, revision: u64, request_id: &str, out: &mut Vec<u8>) {
    out.push(b'{');
    write_status_and_body(answer, request_id, out);
    out.extend_from_slice(b",\"decided_at\":");
    write_json(&Time(answer.decided_at), out);
    out.extend_from_slice(b",\"revision\":");
    write_json(&revision, out);
    out.push(b'}');
}

#[derive(Serialize)]
struct Lone {
    outcome: &'static str,
}

fn write_applied<T: Serialize>(answer: &Answer, body: &T, out: &mut Vec<u8>) {
    let version = answer.version.map(|v| v.0);
    write_json(&Head { outcome: "applied", revision: answer.revision.0, version }, out);
    append_fields(body, out);
}

fn write_voided(answer: &Answer, recorded: Option<&Answer>, request_id: &str, out: &mut Vec<u8>) {
    write_applied(answer, &Nothing {}, out);
    reopen(out);
    match recorded {
        None => out.extend_from_slice(b"\"voided\":true"),
        Some(recorded) => {
            out.extend_from_slice(b"\"voided\":false,");
            write_status_and_body(recorded, request_id, out);
        }
    }
    out.push(b'}');
}

/// `"status":201,"body":{…}`. A secret in it is only for who sends the command itself.
fn write_status_and_body(answer: &Answer, request_id: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"status\":");
    write_json(&status(answer), out);
    out.extend_from_slice(b",\"body\":");
    write_answer(&answer.without_secret(), request_id, out);
}

/// Adds `"results":[…]` to the object just written.
fn write_results<'a>(answers: impl Iterator<Item = Result<&'a Answer, Problem>>, request_id: &str, out: &mut Vec<u8>) {
    reopen(out);
    out.extend_from_slice(b"\"results\":[");
    for (at, answer) in answers.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match answer {
            Ok(answer) => write_result(answer, request_id, out),
            Err(problem) => problem.write(request_id, out),
        }
    }
    out.extend_from_slice(b"]}");
}

/// A problem has its status among its fields; a body gets it in front of them.
fn write_result(answer: &Answer, request_id: &str, out: &mut Vec<u8>) {
    if matches!(answer.verdict, Verdict::Rejected(_)) {
        return write_answer(answer, request_id, out);
    }
    out.extend_from_slice(b"{\"status\":");
    write_json(&status(answer), out);
    let start = out.len();
    write_answer(answer, request_id, out);
    out[start] = b',';
}

/// Appends one value.
pub fn write_json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("writing to memory does not fail, and every field has a JSON form");
}

/// Adds the fields of `body` to the object just written. Cheaper than serde's `flatten`, which goes through a map.
pub fn append_fields<T: Serialize>(body: &T, out: &mut Vec<u8>) {
    let end = out.len() - 1;
    write_json(body, out);
    // …"a":1}{"b":2} becomes …"a":1,"b":2}; without fields the second object just goes.
    if out.len() == end + 3 {
        out.truncate(end + 1);
    } else {
        out.remove(end);
        out[end] = b',';
    }
}

/// Makes the object just written take more fields: `}` becomes `,`.
fn reopen(out: &mut [u8]) {
    if let Some(last) = out.last_mut() {
        *last = b',';
    }
}
