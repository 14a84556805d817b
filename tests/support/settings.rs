//! How long and how often. Small by default, so that the whole suite stays within minutes; raised by the environment.
//!
//! | variable | default | for a release |
//! |---|---|---|
//! | `LASTSEAT_ROUNDS` | 4 | 20 rounds of kills under load, as the promise is stated |
//! | `LASTSEAT_KEYS` | 60 | 1,000 idempotency keys sent to all nodes at once |
//! | `LASTSEAT_DOWNTIME_S` | 3 | 30 seconds that the receiver of webhooks is away |
//! | `LASTSEAT_SEATS` | 100,000 | seats of the definition that must hold nothing up |

use std::time::Duration;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

pub fn rounds() -> u64 {
    number("LASTSEAT_ROUNDS", 4)
}

/// Kills of the leader while webhooks are delivered; fewer than other rounds by default.
pub fn webhook_rounds() -> u64 {
    number("LASTSEAT_ROUNDS", 3)
}

pub fn downtime() -> Duration {
    Duration::from_secs(number("LASTSEAT_DOWNTIME_S", 3))
}

pub fn keys() -> u64 {
    number("LASTSEAT_KEYS", 60)
}

pub fn seats() -> u64 {
    number("LASTSEAT_SEATS", 100_000)
}

/// Limits of time are promises of the release build. A debug build does the same in more time; this says how much.
pub fn patience(promised: Duration) -> Duration {
    if cfg!(debug_assertions) { promised * 4 } else { promised }
}

/// A node starts, or comes back, within this.
pub const READY: Duration = Duration::from_secs(30);

/// Writes are accepted again this soon after one node died. Not stretched in a debug build: it is made of timers.
pub const FAILOVER: Duration = Duration::from_secs(3);

/// No single answer takes longer; past it the client counts it as lost.
pub const ANSWER: Duration = Duration::from_secs(10);
