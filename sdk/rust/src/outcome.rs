//! What an answer to a command promises.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The answer to one intent, all its attempts taken together.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "an intent that is not applied, or unknown, needs a decision of the caller"]
pub enum Outcome<T> {
    /// Committed by a quorum and applied; never lost.
    Applied(T),
    /// Decided no, recorded under the key. Asking again with the same key gives the same no.
    Rejected(Problem),
    /// No attempt under this key had an effect, nor will have. Safe to try again, with any key.
    NotApplied(Problem),
    /// May take effect once, or never. Ask again with the same key ([`crate::Call::send`] again), or void it
    /// ([`crate::Call::resolve`], [`crate::Client::void`]).
    Unknown {
        /// The idempotency key of the intent.
        key: String,
        /// What the last attempts met, for people.
        detail: String,
    },
}

impl<T> Outcome<T> {
    /// What was applied, if it was.
    pub fn applied(self) -> Option<T> {
        match self {
            Outcome::Applied(value) => Some(value),
            Outcome::Rejected(_) | Outcome::NotApplied(_) | Outcome::Unknown { .. } => None,
        }
    }

    /// The refusal, if it is a definite one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Outcome::Rejected(problem) | Outcome::NotApplied(problem) => Some(problem),
            Outcome::Applied(_) | Outcome::Unknown { .. } => None,
        }
    }

    /// The same answer about another type.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Outcome::Applied(value) => Outcome::Applied(f(value)),
            Outcome::Rejected(problem) => Outcome::Rejected(problem),
            Outcome::NotApplied(problem) => Outcome::NotApplied(problem),
            Outcome::Unknown { key, detail } => Outcome::Unknown { key, detail },
        }
    }
}

/// A refusal, as the server words it (`application/problem+json`), or as the client does for what never reached one
/// (status 0, code `not_sent`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// HTTP status; 0 when no server answered.
    pub status: u16,
    /// Stable name of the reason: `seat_held`, `insufficient`, `no_leader`, …
    pub code: String,
    pub title: String,
    /// What is wrong and what to do, for people.
    pub detail: String,
    /// `rejected`, `not_applied` or `unknown`.
    pub outcome: Option<String>,
    pub retryable: bool,
    pub request_id: Option<String>,
    /// Every item that stands in the way.
    pub conflicts: Vec<Conflict>,
    /// Further fields: `limit`, `current`, `index`, `revision`, …
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// One item that stands in the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conflict {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seat: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<u64>,
}

impl Problem {
    /// A problem that the client itself has to report.
    pub(crate) fn local(code: &str, detail: impl Into<String>) -> Self {
        Self { code: code.to_owned(), detail: detail.into(), retryable: true, ..Self::default() }
    }

    /// The code every later attempt of a voided key meets.
    pub(crate) fn voided(key: &str) -> Self {
        Self {
            status: 409,
            code: "voided".into(),
            title: "voided".into(),
            detail: format!("the result of key {key} was unknown, so the key was voided: it never takes effect"),
            outcome: Some("rejected".into()),
            ..Self::default()
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        if self.status != 0 {
            write!(f, " ({})", self.status)?;
        }
        let text = if self.detail.is_empty() { &self.title } else { &self.detail };
        if !text.is_empty() {
            write!(f, ": {text}")?;
        }
        for conflict in &self.conflicts {
            write!(f, "\n  {conflict}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.seat, &self.pool) {
            (Some(seat), _) => write!(f, "seat {seat}")?,
            (None, Some(pool)) => write!(f, "pool {pool}")?,
            (None, None) => f.write_str("seats")?,
        }
        if let Some(status) = &self.status {
            write!(f, " is {status}")?;
        }
        if let Some(available) = self.available {
            write!(f, ": {available} available")?;
        }
        if let Some(requested) = self.requested {
            write!(f, ", {requested} requested")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
