//! What every refusal looks like: one table of codes, one body.
//!
//! `TABLE` is the only place that knows which code has which status and outcome. A test compares it, row by row, with
//! the contract.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::detail;
use super::wire::views::ConflictView;
use crate::domain::id::Key;
use crate::domain::outcome::{Answer, Conflict, Rejection};
use crate::raft::MembershipError;
use crate::service::{NotDecided, ReadError, ServiceError};

/// What is certain about a command that got no 2xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemOutcome {
    /// Decided no, and recorded under the key.
    Rejected,
    /// This attempt never entered the log and had no effect.
    NotApplied,
    /// Ask again with the same key, or void it.
    Unknown,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub code: &'static str,
    pub status: u16,
    /// None: the code says nothing about a command (`compacted`).
    pub outcome: Option<ProblemOutcome>,
    /// The same request, sent again with the same key, may be answered differently.
    pub retryable: bool,
    pub title: &'static str,
}

macro_rules! problem_table {
    ($($variant:ident $code:literal $status:literal $outcome:tt $retry:tt $title:literal;)*) => {
        /// Everything a problem can be, in the order of precedence.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProblemCode { $($variant),* }

        /// In the order of [`ProblemCode`].
        pub const TABLE: &[Row] = &[$(Row {
            code: $code,
            status: $status,
            outcome: problem_table!(@outcome $outcome),
            retryable: problem_table!(@retry $retry),
            title: $title,
        }),*];
    };
    (@outcome N) => { Some(ProblemOutcome::NotApplied) };
    (@outcome R) => { Some(ProblemOutcome::Rejected) };
    (@outcome U) => { Some(ProblemOutcome::Unknown) };
    (@outcome -) => { None };
    (@retry retry) => { true };
    (@retry final) => { false };
}

// `invalid`, `duplicate_item` and `cross_group` may be found at the edge (N) or in `apply` (R): the table has the edge,
// a recorded rejection says `rejected` whatever its code.
problem_table! {
    TooLarge "too_large" 413 N final "The request is too large";
    Unauthorized "unauthorized" 401 N final "Credentials are missing or wrong";
    Forbidden "forbidden" 403 N final "The credentials do not allow this";
    Malformed "malformed" 400 N final "The request cannot be read";
    UnsupportedMediaType "unsupported_media_type" 415 N final "The body is not JSON";
    MethodNotAllowed "method_not_allowed" 405 N final "The route does not take this method";
    RouteNotFound "route_not_found" 404 N final "There is no such route";
    Overloaded "overloaded" 429 N retry "The cluster has more to do than it can take";
    NoLeader "no_leader" 503 N retry "No leader served the request";
    Unknown "unknown" 504 U retry "The result is not known";
    ReadTimeout "read_timeout" 504 N retry "The read was not confirmed in time";
    KeyReused "key_reused" 422 N final "The idempotency key belongs to another request";
    Invalid "invalid" 422 N final "A value is not allowed";
    DuplicateItem "duplicate_item" 422 N final "The same seat is named twice";
    CrossGroup "cross_group" 422 N final "The events of an atomic batch live in different groups";
    DeadlinePassed "deadline_passed" 409 R final "The request came after its own deadline";
    Voided "voided" 409 R final "The idempotency key was voided";
    EventNotFound "event_not_found" 404 R final "There is no such event";
    HoldNotFound "hold_not_found" 404 R final "There is no such hold";
    OrderNotFound "order_not_found" 404 R final "There is no such order";
    SeatNotFound "seat_not_found" 404 R final "The event has no such seat";
    PoolNotFound "pool_not_found" 404 R final "The event has no such pool";
    OutcomeNotFound "outcome_not_found" 404 N retry "Nothing is decided under this key so far";
    MemberNotFound "member_not_found" 404 N final "There is no such member";
    DefinitionMoved "definition_moved" 412 R final "The definition has changed since";
    NotOnSale "not_on_sale" 409 R final "The event is not on sale";
    HoldExpired "hold_expired" 409 R final "The hold has expired";
    TokenMismatch "token_mismatch" 409 R final "The hold does not own this";
    OrderMismatch "order_mismatch" 409 R final "The order does not own this";
    OrderExists "order_exists" 409 R final "The order id is taken";
    SeatBooked "seat_booked" 409 R final "A seat is booked";
    SeatHeld "seat_held" 409 R final "A seat is held";
    SeatBlocked "seat_blocked" 409 R final "A seat is blocked";
    Insufficient "insufficient" 409 R final "There are not enough units left";
    NotContiguous "not_contiguous" 409 R final "There is no such block of neighbouring seats";
    LimitExceeded "limit_exceeded" 409 R final "The customer's limit would be exceeded";
    CapacityBelowCommitted "capacity_below_committed" 409 R final "The capacity would be below what is committed";
    NotBlocked "not_blocked" 409 R final "What was to be unblocked is not blocked";
    MembershipRefused "membership_refused" 409 N final "The change of membership is refused";
    Compacted "compacted" 410 - final "The position is no longer kept";
    MembershipFailed "membership_failed" 503 U retry "The change of membership was not finished";
    Internal "internal" 500 U retry "The node failed on this request";
    WebhookNotFound "webhook_not_found" 404 R final "There is no such webhook";
    DeliveryNotFound "delivery_not_found" 404 R final "The webhook remembers no such message";
    TooManyWebhooks "too_many_webhooks" 409 R final "There are as many webhooks as there may be";
}

impl ProblemCode {
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// For answers that others made without a body of ours.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::RouteNotFound,
            405 => Self::MethodNotAllowed,
            413 => Self::TooLarge,
            415 => Self::UnsupportedMediaType,
            429 => Self::Overloaded,
            503 => Self::NoLeader,
            504 => Self::Unknown,
            400..=499 => Self::Malformed,
            _ => Self::Internal,
        }
    }
}

/// A refusal on its way out. The edge writes its body, because only the edge knows the request's id.
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    code: ProblemCode,
    outcome: Option<ProblemOutcome>,
    detail: Cow<'static, str>,
    conflicts: Vec<Conflict>,
    limit: Option<u64>,
    current: Option<u64>,
    index: Option<u32>,
    definition_version: Option<u64>,
    oldest: Option<u64>,
    revision: Option<u64>,
    retry_after_ms: Option<u64>,
    key: Option<Key>,
    replayed: bool,
}

/// The body of every answer that is not 2xx (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// A name of the kind of problem, as a URI.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:lastseat:problem:seat_held")]
    kind: ProblemType,
    title: &'static str,
    #[schema(example = 409)]
    status: u16,
    /// What is wrong with this request and what to do.
    detail: &'a str,
    #[schema(example = "seat_held")]
    code: &'static str,
    outcome: Option<ProblemOutcome>,
    /// The same request, sent again with the same key, may be answered differently.
    retryable: bool,
    request_id: &'a str,
    /// Every item that stands in the way.
    #[schema(value_type = Vec<ConflictView>)]
    conflicts: Conflicts<'a>,
    /// `limit_exceeded`: most units of one customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// `limit_exceeded`: what the customer has now.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<u64>,
    /// Batch: which command, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    /// `definition_moved`: the definition version as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    definition_version: Option<u64>,
    /// `compacted`: the lowest position one may still give as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<u64>,
    /// The revision at which it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
}

#[derive(Debug)]
struct ProblemType(&'static str);

impl Serialize for ProblemType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("urn:lastseat:problem:{}", self.0))
    }
}

#[derive(Debug)]
struct Conflicts<'a>(&'a [Conflict]);

impl Serialize for Conflicts<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ConflictView::from))
    }
}

impl Problem {
    /// `detail` is a full sentence that says what to do.
    pub fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code,
            outcome: code.row().outcome,
            detail: detail.into(),
            conflicts: Vec::new(),
            limit: None,
            current: None,
            index: None,
            definition_version: None,
            oldest: None,
            revision: None,
            retry_after_ms: None,
            key: None,
            replayed: false,
        }))
    }

    pub fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::Malformed, detail)
    }

    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::Invalid, detail)
    }

    /// What a reader asked for is not there; decided at `revision`, recorded nowhere.
    pub fn not_found(code: ProblemCode, revision: u64, detail: impl Into<Cow<'static, str>>) -> Self {
        let mut problem = Self::new(code, detail);
        problem.0.outcome = Some(ProblemOutcome::NotApplied);
        problem.0.revision = Some(revision);
        problem
    }

    /// A stream position that is no longer kept.
    pub fn compacted(oldest: u64) -> Self {
        let mut problem = Self::new(
            ProblemCode::Compacted,
            format!(
                "Changes up to {oldest} are no longer kept one by one; read a snapshot, then go on from its position."
            ),
        );
        problem.0.oldest = Some(oldest);
        problem
    }

    /// The same for a command, which had no effect.
    fn from_compacted(oldest: u64) -> Self {
        let detail = format!("Changes before revision {oldest} are no longer kept; go on from {oldest} or later.");
        let mut problem = Self::new(ProblemCode::Compacted, detail);
        problem.0.outcome = Some(ProblemOutcome::NotApplied);
        problem.0.oldest = Some(oldest);
        problem
    }

    /// A recorded no.
    pub fn rejected(answer: &Answer, rejection: &Rejection) -> Self {
        let mut problem = Self::of_rejection(rejection);
        problem.0.outcome = Some(ProblemOutcome::Rejected);
        problem.0.revision = Some(answer.revision.0);
        problem
    }

    /// A no that was never recorded: a static check, or an early refusal.
    pub fn refused(rejection: &Rejection) -> Self {
        let mut problem = Self::of_rejection(rejection);
        problem.0.outcome = Some(ProblemOutcome::NotApplied);
        problem
    }

    fn of_rejection(rejection: &Rejection) -> Self {
        let mut problem = Self::new(rejection.code.into(), detail::of_rejection(rejection));
        let parts = &mut *problem.0;
        parts.conflicts.clone_from(&rejection.conflicts);
        if let Some((limit, current)) = rejection.facts.limit {
            parts.limit = Some(limit);
            parts.current = Some(current);
        }
        parts.index = rejection.facts.index;
        parts.definition_version = rejection.facts.definition_version.map(|v| v.0);
        problem
    }

    /// Which command of a batch.
    #[must_use]
    pub fn at_index(mut self, index: usize) -> Self {
        self.0.index = u32::try_from(index).ok();
        self
    }

    /// Shown as `Idempotency-Key`.
    #[must_use]
    pub fn with_key(mut self, key: Option<Key>) -> Self {
        self.0.key = key.or(self.0.key);
        self
    }

    #[must_use]
    pub fn replayed(mut self, replayed: bool) -> Self {
        self.0.replayed = replayed;
        self
    }

    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.0.retry_after_ms = Some(ms);
        self
    }

    pub fn code(&self) -> ProblemCode {
        self.0.code
    }

    pub fn status(&self) -> u16 {
        self.0.code.row().status
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub(super) fn key(&self) -> Option<&Key> {
        self.0.key.as_ref()
    }

    pub(super) fn is_replayed(&self) -> bool {
        self.0.replayed
    }

    /// Whole seconds, rounded up, at least 1: what the `Retry-After` header can say.
    pub(super) fn retry_after_s(&self) -> Option<u64> {
        self.0.retry_after_ms.map(|ms| ms.div_ceil(1000).max(1))
    }

    /// Appends the body.
    pub fn write(&self, request_id: &str, out: &mut Vec<u8>) {
        let parts = &*self.0;
        let row = parts.code.row();
        let body = ProblemBody {
            kind: ProblemType(row.code),
            title: row.title,
            status: row.status,
            detail: &parts.detail,
            code: row.code,
            outcome: parts.outcome,
            retryable: row.retryable,
            request_id,
            conflicts: Conflicts(&parts.conflicts),
            limit: parts.limit,
            current: parts.current,
            index: parts.index,
            definition_version: parts.definition_version,
            oldest: parts.oldest,
            revision: parts.revision,
        };
        serde_json::to_writer(out, &body).expect("writing to memory does not fail, and every field has a JSON form");
    }
}

impl IntoResponse for Problem {
    /// Status only; the edge adds the body.
    fn into_response(self) -> Response {
        let mut response = Response::default();
        *response.status_mut() =
            axum::http::StatusCode::from_u16(self.status()).expect("the table has only real status codes");
        response.extensions_mut().insert(self);
        response
    }
}

impl From<NotDecided> for Problem {
    fn from(not: NotDecided) -> Self {
        Self::from(not.why).with_key(not.key)
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Overloaded { retry_after_ms, why } => Self::new(
                ProblemCode::Overloaded,
                format!(
                    "Shed before it was proposed: {why}. Try again after the time in Retry-After, with the same key."
                ),
            )
            .retry_after_ms(retry_after_ms),
            ServiceError::NoLeader { retry_after_ms, why } => {
                Self::new(ProblemCode::NoLeader, detail::of_command_without_leader(why)).retry_after_ms(retry_after_ms)
            }
            ServiceError::Unknown => Self::new(
                ProblemCode::Unknown,
                "The command was proposed, but its result was not known in time. Send it again with the same \
                 Idempotency-Key, on any node, or void the key: then the answer is definite.",
            ),
            ServiceError::KeyReused => key_reused(),
            ServiceError::Refused(rejection) => Self::refused(&rejection),
            ServiceError::CrossGroup => Self::new(
                ProblemCode::CrossGroup,
                "An atomic batch works on events of one group; split it by group, or send it with \"atomic\": false.",
            ),
            ServiceError::TooLarge { limit_bytes } => too_large(limit_bytes),
            ServiceError::Compacted { oldest } => Self::from_compacted(oldest),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NoLeader { retry_after_ms, why } => {
                Self::new(ProblemCode::NoLeader, detail::of_read_without_leader(why)).retry_after_ms(retry_after_ms)
            }
            ReadError::Timeout => read_timeout(),
        }
    }
}

impl From<MembershipError> for Problem {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::Refused(why) => Self::new(ProblemCode::MembershipRefused, why),
            MembershipError::Failed(why) => Self::new(
                ProblemCode::MembershipFailed,
                format!("{why}. It may still take effect: look at GET /v1/cluster before trying again."),
            ),
        }
    }
}

pub fn key_reused() -> Problem {
    Problem::new(
        ProblemCode::KeyReused,
        "This Idempotency-Key was used with another request; this one had no effect. Use a new key for each new intent.",
    )
}

pub fn read_timeout() -> Problem {
    Problem::new(
        ProblemCode::ReadTimeout,
        "The read could not be answered in time. Try again, give it longer with Request-Timeout-Ms, or read with \
         consistency=stale.",
    )
}

pub fn too_large(limit_bytes: usize) -> Problem {
    Problem::new(
        ProblemCode::TooLarge,
        format!("The request is larger than the {limit_bytes} bytes taken here; split it into smaller ones."),
    )
}

/// The request line or the headers, which hyper takes only up to its own limits.
pub fn too_long_head() -> Problem {
    Problem::new(
        ProblemCode::TooLarge,
        "The path and query or the headers of the request are too long or too many; shorten them.",
    )
}
