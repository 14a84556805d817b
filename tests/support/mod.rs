//! Black-box harness: real `lastseat serve` processes, talked to over HTTP and by signals, and nothing else.
//!
//! ```text
//! story (tests/*.rs) ──▶ Cluster ── spawn, kill, pause, stop ──▶ serve processes on loopback, data in a temp folder
//!        │                  └── leader, state hashes, bookings that are repeated until they are definite
//!        └──▶ Load: clients that book until told to stop      all over Connection: raw HTTP/1.1, exact bytes
//! ```
//!
//! It knows nothing of the inside: no type of the server is used here. Stories of one test binary run one after the other
//! (each takes a [`turn`]), because they measure time.

#![allow(dead_code, unused_imports, unreachable_pub, clippy::print_stderr, clippy::unwrap_used)]

pub mod browser;
pub mod cluster;
pub mod dev;
pub mod files;
pub mod follow;
pub mod http;
pub mod load;
pub mod process;
pub mod receiver;
pub mod settings;
pub mod stream;

pub use cluster::Cluster;
pub use files::copy_folder;
pub use http::{Answer, Connection, Lost, Request};
pub use stream::{Kind, Said, Stream};

use std::time::{Duration, Instant};

static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Held by a story while it runs: two clusters at a time on two cores would measure each other.
pub async fn turn() -> tokio::sync::MutexGuard<'static, ()> {
    TURN.lock().await
}

/// Tries until `attempt` gives something, or panics with `what` and the last reason it gave.
#[track_caller]
pub fn eventually<T, F, Fut>(what: &str, within: Duration, mut attempt: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(why) if start.elapsed() > within => panic!("not within {within:?}: {what}: {why} (from {caller})"),
                Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
            }
        }
    }
}

/// Milliseconds since 1970 of an RFC 3339 text as the API writes it, checked for its form: UTC, milliseconds, `Z`.
#[track_caller]
pub fn millis(value: &serde_json::Value) -> i64 {
    let text = value.as_str().unwrap_or_else(|| panic!("a time, got {value}"));
    assert!(text.len() == 24 && text.ends_with('Z') && &text[19..20] == ".", "RFC 3339 UTC with milliseconds: {text}");
    text.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond()
}

/// This machine's wall clock, milliseconds since 1970.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
