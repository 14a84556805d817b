//! A read: safe to repeat, so it is tried on every node until one answers or the deadline has passed.

use std::fmt::Display;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;

use crate::call::{jittered, problem_of, retry_after, server_timeout_ms};
use crate::client::{ATTEMPT_TIMEOUT, Client, DEADLINE, path_segment};
use crate::outcome::Problem;
use crate::transport::{Answer, Failure};

/// Wait before a node is asked again that did not answer.
const PAUSE: Duration = Duration::from_millis(50);

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The cluster answered, and it was a no.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// No node answered in time.
    #[error("no node answered in time; last: {0}")]
    Unreachable(String),
}

impl ReadError {
    /// The status of the refusal; `None`: no node answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            ReadError::Refused(problem) => Some(problem.status),
            ReadError::Unreachable(_) => None,
        }
    }
}

/// One read. Linearizable unless [`Read::stale`] says otherwise.
#[must_use = "a read does nothing until it is sent"]
pub struct Read<T> {
    client: Client,
    path: String,
    deadline: Duration,
    attempt_timeout: Duration,
    answer: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Read<T> {
    pub(crate) fn new(client: Client, path: String) -> Self {
        Self { client, path, deadline: DEADLINE, attempt_timeout: ATTEMPT_TIMEOUT, answer: PhantomData }
    }

    /// Adds a parameter if there is a value.
    pub fn query(mut self, name: &str, value: Option<impl Display>) -> Self {
        if let Some(value) = value {
            let sign = if self.path.contains('?') { '&' } else { '?' };
            self.path.push_str(&format!("{sign}{name}={}", path_segment(&value.to_string())));
        }
        self
    }

    /// From the asked node's own state, however old.
    pub fn stale(self) -> Self {
        self.query("consistency", Some("stale"))
    }

    /// Not older than this revision.
    pub fn min_revision(self, revision: u64) -> Self {
        self.query("min_revision", Some(revision))
    }

    /// All attempts together. Default 15 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// One attempt. Default 5 s.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// The same read, answered as JSON.
    pub fn untyped(self) -> Read<serde_json::Value> {
        Read {
            client: self.client,
            path: self.path,
            deadline: self.deadline,
            attempt_timeout: self.attempt_timeout,
            answer: PhantomData,
        }
    }

    pub async fn send(&self) -> Result<T, ReadError> {
        let inner = &self.client.inner;
        let until = Instant::now() + self.deadline;
        let mut node = inner.first_node();
        let mut last = ReadError::Unreachable("nothing was sent".into());
        let mut tried = 0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(last);
            }
            tried += 1;
            let mut wait = if tried % inner.nodes.len() == 0 { jittered(PAUSE) } else { Duration::ZERO };
            match self.attempt(node, left.min(self.attempt_timeout)).await? {
                Ok(answer) => {
                    inner.answered(node, &answer.headers);
                    match answer.status {
                        200..300 => return parse(&answer.body),
                        429 | 503 | 504 => {
                            wait = wait.max(jittered(retry_after(&answer.headers).unwrap_or_default()));
                            last = ReadError::Refused(Box::new(problem_of(&answer)));
                        }
                        _ => return Err(ReadError::Refused(Box::new(problem_of(&answer)))),
                    }
                }
                Err(Failure::NotSent(why) | Failure::Lost(why)) => last = ReadError::Unreachable(why),
            }
            if wait >= until.saturating_duration_since(Instant::now()) {
                return Err(last);
            }
            tokio::time::sleep(wait).await;
            node += 1;
        }
    }

    async fn attempt(&self, node: usize, within: Duration) -> Result<Result<Answer, Failure>, ReadError> {
        let inner = &self.client.inner;
        let uri = inner.uri(node, &self.path).map_err(|error| ReadError::Unreachable(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert("request-timeout-ms", HeaderValue::from(server_timeout_ms(within)));
        Ok(inner.transport.send(&Method::GET, uri, &headers, Bytes::new(), within).await)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(body).map_err(|error| ReadError::Unreachable(format!("the answer makes no sense: {error}")))
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for Read<T> {
    type Output = Result<T, ReadError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.send().await })
    }
}
