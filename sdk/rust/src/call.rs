//! A command: one intent under one idempotency key, pursued until its answer is definite or its deadline has passed.
//!
//! ```text
//! attempt ─▶ applied, rejected ───────────────▶ done: recorded, so it holds for every attempt under the key
//!    ▲   ├─▶ refused (409, 422 not_applied) ──▶ done: NotApplied, but Unknown if any attempt before was unknown
//!    │   ├─▶ 429, 503 ── wait Retry-After ──┐
//!    │   ├─▶ no connection ─────────────────┤
//!    │   └─▶ 504, connection lost: unknown ─┤
//!    └──────────────── next node ◀──────────┘
//! ```
//!
//! Invariant: once an attempt is unknown, only `applied` and `rejected` (which are recorded under the key) or a void
//! make the intent definite again.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;

use crate::client::{ATTEMPT_TIMEOUT, Client, DEADLINE};
use crate::outcome::{Outcome, Problem};
use crate::transport::{Answer, Failure};
use crate::types::Voided;

/// Longest `Request-Timeout-Ms` a server takes.
const SERVER_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// Wait after every node was tried in vain, doubled each round up to the maximum.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// One intent. Await it, or [`Call::send`] it to be able to ask again.
#[must_use = "a call does nothing until it is sent"]
pub struct Call<T> {
    client: Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    key: String,
    deadline: Duration,
    attempt_timeout: Duration,
    /// What made the intent unknown, if an attempt so far did.
    unknown: Option<String>,
    /// The key turned out to name another intent: what is recorded under it is not about this one.
    key_is_taken: bool,
    answer: PhantomData<fn() -> T>,
}

/// What one attempt says, by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Attempt<T> {
    Applied(T),
    Rejected(Problem),
    /// This attempt had no effect. After an earlier unknown that one is still unknown.
    NotApplied {
        problem: Problem,
        retry_after: Option<Duration>,
    },
    /// No connection: nothing was sent.
    NotSent(String),
    /// 504, or no whole answer.
    Unknown(String),
}

impl<T: DeserializeOwned> Call<T> {
    pub(crate) fn new(client: Client, method: Method, path: String, body: Option<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let call = Self {
            client,
            method,
            path,
            headers,
            body: body.unwrap_or_default(),
            key: String::new(),
            deadline: DEADLINE,
            attempt_timeout: ATTEMPT_TIMEOUT,
            unknown: None,
            key_is_taken: false,
            answer: PhantomData,
        };
        call.with_key(uuid::Uuid::now_v7().to_string())
    }

    /// The intent's idempotency key. Write it down before sending what must not be lost.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Goes on with an intent of before. Since that may have taken effect, the caller has to judge a `NotApplied` by
    /// what it knows; see [`Call::after_unknown`].
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        // A key that no header can carry is refused by the server for want of one it can read.
        match HeaderValue::from_str(&self.key) {
            Ok(value) => self.headers.insert("idempotency-key", value),
            Err(_) => self.headers.insert("idempotency-key", HeaderValue::from_static("")),
        };
        self
    }

    /// An attempt under this key, before this call was made, is unknown.
    pub fn after_unknown(mut self) -> Self {
        self.unknown = Some("an earlier attempt under this key is unknown".into());
        self
    }

    /// How long the intent is pursued, all attempts together. Default 15 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long one attempt may take; told to the server as `Request-Timeout-Ms`. Default 5 s, at most 30 s.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout.min(SERVER_TIMEOUT_MAX);
        self
    }

    /// `apply` refuses it with `deadline_passed` after this time (RFC 3339).
    pub fn not_after(self, time: &str) -> Self {
        self.header("not-after", time)
    }

    /// Refused with `definition_moved` unless this is the definition version.
    pub fn if_match(self, definition_version: u64) -> Self {
        self.header("if-match", &format!("\"{definition_version}\""))
    }

    /// The same call, answered as JSON.
    pub fn untyped(self) -> Call<serde_json::Value> {
        Call {
            client: self.client,
            method: self.method,
            path: self.path,
            headers: self.headers,
            body: self.body,
            key: self.key,
            deadline: self.deadline,
            attempt_timeout: self.attempt_timeout,
            unknown: self.unknown,
            key_is_taken: self.key_is_taken,
            answer: PhantomData,
        }
    }

    pub(crate) fn without_key(mut self) -> Self {
        self.headers.remove("idempotency-key");
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Tries node after node under the one key until the answer is definite or the deadline has passed. May be called
    /// again after an unknown; it then remembers.
    pub async fn send(&mut self) -> Outcome<T> {
        let until = Instant::now() + self.deadline;
        let mut node = self.client.inner.first_node();
        let mut tried = 0;
        let mut refusal = Problem::local("deadline_too_short", "the deadline passed before anything was sent");
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.conclude(refusal);
            }
            tried += 1;
            let wait = match self.attempt_on(node, left).await {
                Attempt::Applied(value) => return Outcome::Applied(value),
                Attempt::Rejected(problem) => return Outcome::Rejected(problem),
                Attempt::NotApplied { problem, retry_after } if matches!(problem.status, 429 | 503) => {
                    refusal = problem;
                    jittered(retry_after.unwrap_or(BACKOFF_MIN).max(BACKOFF_MIN))
                }
                Attempt::NotApplied { problem, .. } => return self.conclude(problem),
                Attempt::NotSent(why) => {
                    refusal = Problem::local("not_sent", format!("no node took the connection; last: {why}"));
                    self.backoff(tried)
                }
                Attempt::Unknown(_) => self.backoff(tried),
            };
            // To wait past the deadline would only delay the same answer.
            if wait >= until.saturating_duration_since(Instant::now()) {
                return self.conclude(refusal);
            }
            tokio::time::sleep(wait).await;
            node += 1;
        }
    }

    /// Like [`Call::send`], and voids the key of what is still unknown after the deadline: then the answer is what
    /// happened, or `Rejected` with code `voided`. `Unknown` only if no node could be asked for another such time.
    pub async fn resolve(&mut self) -> Outcome<T> {
        let sent = self.send().await;
        let Outcome::Unknown { key, detail } = sent else { return sent };
        if self.key_is_taken || !self.headers.contains_key("idempotency-key") {
            return Outcome::Unknown { key, detail };
        }
        match self.client.void(&key).deadline(self.deadline).send().await {
            Outcome::Applied(voided) => self.voided(voided),
            Outcome::Rejected(problem) | Outcome::NotApplied(problem) => {
                Outcome::Unknown { key, detail: format!("{detail}; could not void it: {problem}") }
            }
            Outcome::Unknown { detail: void, .. } => {
                Outcome::Unknown { key, detail: format!("{detail}; could not void it: {void}") }
            }
        }
    }

    /// One attempt, on the node of this index (wrapping around), taking at most `within`. For callers with a retry
    /// plan of their own.
    pub async fn attempt_on(&mut self, node: usize, within: Duration) -> Attempt<T> {
        let inner = self.client.inner.clone();
        let uri = match inner.uri(node, &self.path) {
            Ok(uri) => uri,
            Err(error) => return Attempt::NotSent(format!("{}: {error}", self.path)),
        };
        let within = within.min(self.attempt_timeout);
        let mut headers = self.headers.clone();
        headers.insert("request-timeout-ms", HeaderValue::from(server_timeout_ms(within)));
        let sent = inner.transport.send(&self.method, uri, &headers, self.body.clone(), within).await;
        let attempt = match sent {
            Ok(answer) => {
                inner.answered(node, &answer.headers);
                judge(&answer)
            }
            Err(Failure::NotSent(why)) => Attempt::NotSent(why),
            Err(Failure::Lost(why)) => Attempt::Unknown(why),
        };
        match &attempt {
            Attempt::Applied(_) | Attempt::Rejected(_) => self.unknown = None,
            Attempt::Unknown(why) => self.unknown = Some(why.clone()),
            Attempt::NotApplied { problem, .. } => self.key_is_taken |= problem.code == "key_reused",
            Attempt::NotSent(_) => {}
        }
        attempt
    }

    /// The honest sum: this attempt had no effect, but an earlier one may have.
    fn conclude(&self, refusal: Problem) -> Outcome<T> {
        match &self.unknown {
            Some(detail) => Outcome::Unknown { key: self.key.clone(), detail: detail.clone() },
            None => Outcome::NotApplied(refusal),
        }
    }

    fn voided(&mut self, voided: Voided) -> Outcome<T> {
        let (Some(status), Some(body)) = (voided.status, voided.body) else {
            self.unknown = None;
            return Outcome::Rejected(Problem::voided(&self.key));
        };
        let body = Bytes::from(body.to_string());
        match judge(&Answer { status, headers: HeaderMap::new(), body }) {
            Attempt::Applied(value) => {
                self.unknown = None;
                Outcome::Applied(value)
            }
            Attempt::Rejected(problem) => {
                self.unknown = None;
                Outcome::Rejected(problem)
            }
            Attempt::NotApplied { problem, .. } => self.conclude(problem),
            Attempt::NotSent(detail) | Attempt::Unknown(detail) => Outcome::Unknown { key: self.key.clone(), detail },
        }
    }

    /// None while there are nodes not tried yet, then longer each round.
    fn backoff(&self, tried: usize) -> Duration {
        let nodes = self.client.inner.nodes.len();
        if !tried.is_multiple_of(nodes) {
            return Duration::ZERO;
        }
        let rounds = u32::try_from(tried / nodes).unwrap_or(u32::MAX).min(8);
        jittered((BACKOFF_MIN * (1 << (rounds - 1))).min(BACKOFF_MAX))
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for Call<T> {
    type Output = Outcome<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Outcome<T>> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move { self.send().await })
    }
}

/// What an answer says about the effect. What is not clearly an answer of a lastseat node is unknown.
fn judge<T: DeserializeOwned>(answer: &Answer) -> Attempt<T> {
    if (200..300).contains(&answer.status) {
        return match serde_json::from_slice(&answer.body) {
            Ok(value) => Attempt::Applied(value),
            Err(error) => Attempt::Unknown(format!("{} with a body not understood: {error}", answer.status)),
        };
    }
    let problem = problem_of(answer);
    match problem.outcome.as_deref() {
        Some("rejected") => Attempt::Rejected(problem),
        Some("not_applied") => Attempt::NotApplied { retry_after: retry_after(&answer.headers), problem },
        Some(_) => Attempt::Unknown(problem.to_string()),
        // Something between us and the node: only a plain refusal of the request is certain.
        None if matches!(answer.status, 400..=499) && answer.status != 408 => {
            Attempt::NotApplied { retry_after: retry_after(&answer.headers), problem }
        }
        None => Attempt::Unknown(problem.to_string()),
    }
}

/// The problem in an answer that is no 2xx, or one made from its status.
pub(crate) fn problem_of(answer: &Answer) -> Problem {
    let mut problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_else(|_| Problem {
        code: format!("http_{}", answer.status),
        detail: String::from_utf8_lossy(&answer.body).chars().take(200).collect(),
        ..Problem::default()
    });
    problem.status = answer.status;
    problem
}

pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// A little less than we wait, so that the server's own 504 still arrives.
pub(crate) fn server_timeout_ms(within: Duration) -> u64 {
    let margin = (within / 10).min(Duration::from_millis(250));
    u64::try_from((within - margin).as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Between `wait` and a half more, so that clients refused together do not come back together.
pub(crate) fn jittered(wait: Duration) -> Duration {
    // The low bits of a v7 UUID are random: good enough to spread, and no dependency more.
    let random = uuid::Uuid::now_v7().as_u128() & 0xffff;
    wait + wait / 2 * u32::try_from(random).expect("16 bits fit") / 0x10000
}
