//! Clients that book one unit after the other until they are told to stop, each booking repeated under its key until the
//! answer is definite.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use super::http::{Connection, Lost, Request};

/// One booking that was acknowledged.
#[derive(Debug, Clone)]
pub struct Booked {
    pub order: String,
    pub revision: u64,
    /// From the first byte of the first attempt to the definite answer.
    pub took: Duration,
    /// Attempts that it took; 1 when all went well.
    pub attempts: u32,
}

/// What all clients of a load saw.
#[derive(Debug, Default)]
pub struct Tally {
    pub booked: Vec<Booked>,
    /// Answers by what they were: `applied`, `not_applied`, `unknown`, `no answer`…
    pub answers: BTreeMap<String, u64>,
    /// What must never happen: half an answer, an unexpected status.
    pub broken: Vec<String>,
}

impl Tally {
    /// Latency below which this share (0 to 1) of the bookings stayed.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut took: Vec<Duration> = self.booked.iter().map(|booked| booked.took).collect();
        took.sort();
        let last = took.len().saturating_sub(1);
        took.get(((last as f64) * share).round() as usize).copied().unwrap_or_default()
    }

    fn count(&mut self, what: &str) {
        *self.answers.entry(what.to_owned()).or_default() += 1;
    }

    fn absorb(&mut self, other: Tally) {
        self.booked.extend(other.booked);
        self.broken.extend(other.broken);
        for (what, count) in other.answers {
            *self.answers.entry(what).or_default() += count;
        }
    }
}

pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: JoinSet<Tally>,
}

impl Load {
    /// Starts `clients` clients that book `event`'s pool `floor`. `name` keeps the orders of two loads apart. Client `i`
    /// starts at node `i` of `addrs` and goes on to the next when an answer is not definite.
    pub fn start(name: &str, event: &str, clients: usize, addrs: &[SocketAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut set = JoinSet::new();
        for index in 0..clients {
            let client = Client {
                name: format!("{name}-{index}"),
                path: format!("/v1/events/{event}/book"),
                nodes: addrs.iter().map(|addr| Connection::to(*addr).timeout(Duration::from_secs(5))).collect(),
                at: index % addrs.len(),
                stop: stop.clone(),
                acknowledged: acknowledged.clone(),
                tally: Tally::default(),
            };
            set.spawn(client.run());
        }
        Self { stop, acknowledged, clients: set }
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until this many more bookings were acknowledged.
    pub async fn more(&self, count: u64, within: Duration) {
        let (start, goal) = (Instant::now(), self.acknowledged() + count);
        while self.acknowledged() < goal {
            assert!(start.elapsed() < within, "{} of {goal} bookings within {within:?}", self.acknowledged());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets every client finish what it began, and insists that nothing was broken.
    pub async fn finish(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        while let Some(result) = self.clients.join_next().await {
            tally.absorb(result.expect("a client does not panic"));
        }
        assert!(tally.broken.is_empty(), "broken answers: {:#?}", tally.broken);
        tally
    }
}

/// A booking is definite within this, or the story fails.
const DEFINITE: Duration = Duration::from_secs(60);

struct Client {
    name: String,
    path: String,
    nodes: Vec<Connection>,
    at: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tally: Tally,
}

impl Client {
    async fn run(mut self) -> Tally {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) && self.tally.broken.is_empty() {
            number += 1;
            self.book(&format!("{}-{number}", self.name)).await;
        }
        self.tally
    }

    async fn book(&mut self, order: &str) {
        let body = json!({ "items": [{ "pool": "floor", "quantity": 1 }], "order": order });
        let request =
            Request::post(&self.path, &body).key(&format!("key-{order}")).header("request-timeout-ms", "2000");
        let start = Instant::now();
        let mut attempts = 0;
        while start.elapsed() < DEFINITE {
            attempts += 1;
            let at = self.at;
            match self.nodes[at].send(&request).await {
                Ok(answer) => {
                    let outcome = answer.outcome().unwrap_or_else(|| format!("status {}", answer.status));
                    self.tally.count(&outcome);
                    match (answer.status, outcome.as_str()) {
                        (201, "applied") => {
                            let revision = answer.number("/revision");
                            self.tally.booked.push(Booked {
                                order: order.to_owned(),
                                revision,
                                took: start.elapsed(),
                                attempts,
                            });
                            self.acknowledged.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                        (429 | 503, "not_applied") | (504, "unknown") => {}
                        _ => return self.tally.broken.push(format!("{order}: {answer}")),
                    }
                }
                Err(Lost::Broken(what)) => return self.tally.broken.push(format!("{order}: {what}")),
                Err(Lost::NotSent(_)) => self.tally.count("not sent"),
                Err(Lost::NoAnswer(_)) => self.tally.count("no answer"),
                Err(Lost::TimedOut) => self.tally.count("timed out"),
            }
            self.at = (at + 1) % self.nodes.len();
            // Not to hide a race: a node that is down refuses in microseconds, and there are other nodes to ask.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.tally.broken.push(format!("{order} did not become definite within {DEFINITE:?}"));
    }
}
