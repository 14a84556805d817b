//! Exit codes: what a script may conclude.
//!
//! | code | |
//! |---|---|
//! | 0 | applied; a read was answered |
//! | 1 | failed on this side, or an audit that does not hold |
//! | 2 | usage |
//! | 3 | rejected: a decided no |
//! | 4 | not applied: no effect, may be tried again |
//! | 5 | unknown: ask again with the same `--key` |

use lastseat_client::{Outcome, Problem, ReadError};
use serde_json::Value;

pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const REJECTED: u8 = 3;
pub(crate) const NOT_APPLIED: u8 = 4;
pub(crate) const UNKNOWN: u8 = 5;

/// Stands before what to do.
const ADVICE: &str = "\n  do: ";

/// Why a command ends without success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// For stderr; says what to do.
    pub(crate) text: String,
    /// The server's problem, for programs that asked for JSON.
    pub(crate) problem: Option<Value>,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), problem: None }
    }

    fn refused(code: u8, word: &str, problem: &Problem) -> Self {
        let value = serde_json::to_value(problem).expect("a problem came from JSON");
        Self { code, text: refusal(word, problem), problem: Some(value) }
    }

    /// The problem's code, if a server refused.
    pub(crate) fn refused_for(&self) -> Option<&str> {
        self.problem.as_ref()?["code"].as_str()
    }

    /// The same, with better advice than the code alone gives.
    pub(crate) fn advise(mut self, what_to_do: &str) -> Self {
        let end = self.text.find(ADVICE).unwrap_or(self.text.len());
        self.text.truncate(end);
        self.text.push_str(&format!("{ADVICE}{what_to_do}"));
        self
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(FAILED, text)
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, text)
    }
}

/// What was applied, or the failure that says what was promised.
pub(crate) fn applied<T>(outcome: Outcome<T>) -> Result<T, Failure> {
    match outcome {
        Outcome::Applied(value) => Ok(value),
        Outcome::Rejected(problem) => Err(Failure::refused(REJECTED, "rejected", &problem)),
        Outcome::NotApplied(problem) => Err(Failure::refused(NOT_APPLIED, "not applied", &problem)),
        Outcome::Unknown { key, detail } => Err(Failure::new(
            UNKNOWN,
            format!(
                "unknown: it may take effect once, or never ({detail})\n  do: run the same command again with --key {key}"
            ),
        )),
    }
}

/// The answer of a read.
pub(crate) fn answered<T>(answer: Result<T, ReadError>) -> Result<T, Failure> {
    answer.map_err(|error| match &error {
        ReadError::Refused(problem) if matches!(problem.status, 429 | 500..=599) => {
            Failure::refused(NOT_APPLIED, "no answer", problem)
        }
        ReadError::Refused(problem) => Failure::refused(REJECTED, "refused", problem),
        ReadError::Unreachable(_) => Failure::new(NOT_APPLIED, format!("{error}\n  do: {}", advice("not_sent"))),
    })
}

fn refusal(word: &str, problem: &Problem) -> String {
    let mut text = format!("{word}: {problem}");
    for name in ["limit", "current", "index", "definition_version"] {
        if let Some(value) = problem.more.get(name) {
            text.push_str(&format!("\n  {name}: {value}"));
        }
    }
    text.push_str(&format!("{ADVICE}{}", advice(&problem.code)));
    text
}

/// What to do about a refusal.
fn advice(code: &str) -> &'static str {
    match code {
        "not_sent" => "check --server (or LASTSEAT_SERVER) and that the nodes run",
        "no_leader" => "wait for the cluster to elect a leader, or check `lastseat cluster status`",
        "overloaded" | "deadline_too_short" => "try again later, or with a longer --timeout",
        "event_not_found" => "see `lastseat event list`",
        "webhook_not_found" => "see `lastseat webhook list`",
        "delivery_not_found" => {
            "see `lastseat webhook deliveries`; `webhook resume --from` delivers older changes again"
        }
        "too_many_webhooks" => "delete a webhook that nobody needs",
        "compacted" => "take a later revision: what is older is no longer kept",
        "hold_not_found" | "hold_expired" => "the hold has ended: reserve again",
        "order_exists" => "take another --order",
        "order_not_found" | "order_mismatch" => "check the order and what it owns",
        "token_mismatch" => "check the token, the customer, and which items the hold owns",
        "seat_booked" | "seat_held" | "seat_blocked" | "insufficient" | "not_contiguous" => {
            "choose other items, or fewer"
        }
        "seat_not_found" => "see `GET /v1/events/{event}/seats` for the seats of the event",
        "pool_not_found" => "see `lastseat event show` for the pools of the event",
        "limit_exceeded" => "this customer may not have more in this event",
        "not_on_sale" => "wait until the event is on sale",
        "key_reused" => "this --key was used for another request; leave --key out",
        "voided" | "deadline_passed" => "it never takes effect; start anew, without --key",
        "definition_moved" => "someone changed the event meanwhile: look at it again",
        "capacity_below_committed" => "cancel or release first, or keep more capacity",
        "unauthorized" | "forbidden" => "check your credentials",
        _ => "correct what it says, then try again",
    }
}
