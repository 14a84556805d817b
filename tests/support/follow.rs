//! Following streams: opening them, adding up their changes, coming back when they break.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Cluster;
use super::http::{Answer, Request};
use super::stream::{Kind, Said, Stream};

pub async fn open(cluster: &Cluster, id: u64, kind: Kind, path: &str) -> Stream {
    match Stream::open(cluster.api(id), kind, path).await {
        Ok(stream) => stream,
        Err(Ok(answer)) => panic!("no stream at {path}: {answer}"),
        Err(Err(lost)) => panic!("no stream at {path}: {lost:?}"),
    }
}

/// What is answered instead of a stream.
pub async fn refused(cluster: &Cluster, kind: Kind, path: &str) -> Answer {
    match Stream::open(cluster.api(1), kind, path).await {
        Ok(_) => panic!("a stream at {path}"),
        Err(answer) => answer.unwrap_or_else(|lost| panic!("{path}: {lost:?}")),
    }
}

/// Sells one unit of the pool; gives the version.
pub async fn sell(cluster: &Cluster, id: u64, event: &str, order: &str) -> u64 {
    let body = json!({ "items": [{ "pool": "floor" }], "order": order });
    cluster.post(id, &format!("/v1/events/{event}/book"), &body).await.expect(201).number("/version")
}

/// Sells many single units in few requests, each a version of its own.
pub async fn sell_many(cluster: &Cluster, event: &str, name: &str, count: usize) {
    for (batch, start) in (0..count).step_by(500).enumerate() {
        let commands: Vec<Value> = (start..count.min(start + 500))
            .map(
                |n| json!({"event": event, "op": "book", "items": [{"pool": "floor"}], "order": format!("{name}-{n}")}),
            )
            .collect();
        let body = json!({ "atomic": false, "commands": commands });
        cluster.call(1, Request::post("/v1/batch", &body).key(&format!("{name}-{batch}"))).await.expect(200);
    }
}

/// Seats and pools as the changes so far leave them.
#[derive(Default, PartialEq, Debug)]
pub struct Fold {
    pub seats: BTreeMap<String, String>,
    pub pools: BTreeMap<String, Value>,
    pub totals: Value,
}

impl Fold {
    pub fn change(&mut self, changes: &Value, totals: &Value) {
        let name = |value: &Value| value.as_str().unwrap().to_owned();
        for change in changes.as_array().unwrap() {
            let removed = change["status"] == "removed";
            match (change.get("seat"), change.get("pool")) {
                (Some(seat), None) if removed => drop(self.seats.remove(&name(seat))),
                (Some(seat), None) => drop(self.seats.insert(name(seat), name(&change["status"]))),
                (None, Some(pool)) if removed => drop(self.pools.remove(&name(pool))),
                (None, Some(pool)) => drop(self.pools.insert(name(pool), numbers(change))),
                _ => panic!("neither a seat nor a pool: {change}"),
            }
            for secret in ["token", "customer", "order"] {
                assert!(change.get(secret).is_none(), "{secret} is not public: {change}");
            }
        }
        self.totals = totals.clone();
    }

    pub fn snapshot(&mut self, said: &Said) {
        for seat in said.data["seats"].as_array().unwrap() {
            self.seats.insert(seat["id"].as_str().unwrap().into(), seat["status"].as_str().unwrap().into());
        }
        for pool in said.data["pools"].as_array().unwrap() {
            self.pools.insert(pool["id"].as_str().unwrap().into(), numbers(pool));
        }
        self.totals = said.data["totals"].clone();
    }
}

fn numbers(pool: &Value) -> Value {
    ["capacity", "held", "booked", "blocked", "available"]
        .map(|name| (name.to_owned(), pool[name].clone()))
        .into_iter()
        .collect()
}

/// The same as a reader of the state sees it, with the version.
pub async fn state(cluster: &Cluster, event: &str) -> (u64, Fold) {
    loop {
        let whole = cluster.get(1, &format!("/v1/events/{event}")).await.expect(200);
        let seats = cluster.get(1, &format!("/v1/events/{event}/seats")).await.expect(200);
        if whole.number("/version") != seats.number("/version") {
            continue;
        }
        let mut fold = Fold::default();
        for seat in seats.at("/seats").as_array().unwrap() {
            fold.seats.insert(seat["id"].as_str().unwrap().into(), seat["status"].as_str().unwrap().into());
        }
        for pool in whole.at("/pools").as_array().unwrap() {
            fold.pools.insert(pool["id"].as_str().unwrap().into(), numbers(pool));
        }
        return (whole.number("/version"), fold);
    }
}

/// Reads on as a client does: from where it was, at whichever node takes it. Insists on dense positions.
pub struct Follower {
    pub kind: Kind,
    pub path: String,
    pub addrs: Vec<std::net::SocketAddr>,
    pub at: usize,
    pub position: u64,
    pub fold: Fold,
    pub streams: usize,
}

impl Follower {
    pub async fn read_to(&mut self, until: impl Fn() -> u64) {
        let start = Instant::now();
        while self.position < until() {
            assert!(start.elapsed() < Duration::from_secs(120), "{:?} hangs at {}", self.kind, self.position);
            let path = format!("{}?after={}", self.path, self.position);
            let opened = Stream::open(self.addrs[self.at % self.addrs.len()], self.kind, &path);
            self.at += 1;
            match tokio::time::timeout(Duration::from_secs(8), opened).await {
                Ok(Ok(mut stream)) => {
                    self.streams += 1;
                    self.read(&mut stream, &until).await;
                }
                Ok(Err(Ok(answer))) => assert!(matches!(answer.status, 429 | 503 | 504), "{answer}"),
                Ok(Err(Err(_))) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn read(&mut self, stream: &mut Stream, until: &impl Fn() -> u64) {
        // Silence for longer than a bookmark may take, and a little, is a node that hangs.
        while self.position < until() {
            let Ok(Some(said)) = tokio::time::timeout(Duration::from_secs(7), stream.next()).await else { return };
            match said.kind.as_str() {
                "change" => {
                    assert_eq!(said.number("version"), self.position + 1, "{:?}: {said:?}", self.kind);
                    self.fold.change(&said.data["changes"], &said.data["totals"]);
                    if said.completes() {
                        assert_eq!(said.position, Some(self.position + 1));
                        self.position += 1;
                    }
                }
                "bookmark" => assert_eq!(said.position, Some(self.position), "{:?}: {said:?}", self.kind),
                "lagged" => return,
                other => panic!("{other} here: {said:?}"),
            }
        }
    }
}
