//! A cluster of real processes, and what a story asks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{Answer, Connection, Lost, Request};
use super::process::{Plan, Process};
use super::settings::READY;
use super::{eventually, settings};

/// Nodes of one cluster, ended and their folders deleted when dropped. A story that fails shows the ends of their logs.
pub struct Cluster {
    pub plans: BTreeMap<u64, Plan>,
    pub running: BTreeMap<u64, Process>,
    dir: TempDir,
}

impl Cluster {
    /// Nodes that are laid out and not started.
    pub fn planned(ids: impl IntoIterator<Item = u64>) -> Self {
        let dir = tempfile::Builder::new().prefix("lastseat-test-").tempdir().unwrap();
        let plans = ids.into_iter().map(|id| (id, Plan::new(id, dir.path()))).collect();
        Self { plans, running: BTreeMap::new(), dir }
    }

    /// A formed cluster of nodes 1 to `count`, every one ready.
    pub async fn of(count: u64) -> Self {
        let mut cluster = Self::planned(1..=count);
        cluster.form().await;
        cluster
    }

    /// A formed cluster whose nodes got further flags.
    pub async fn with_flags(count: u64, flags: &[&str]) -> Self {
        let mut cluster = Self::planned(1..=count);
        for plan in cluster.plans.values_mut() {
            plan.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        }
        cluster.form().await;
        cluster
    }

    /// Starts every node and makes them one cluster.
    pub async fn form(&mut self) {
        for id in self.ids() {
            self.spawn(id);
        }
        for id in self.ids() {
            self.alive(id).await;
        }
        let first = self.ids()[0];
        self.send(first, &Request::post("/v1/cluster/init", &json!({ "nodes": self.members() })))
            .await
            .unwrap_or_else(|e| panic!("cluster init: {e:?}"))
            .fine();
        for id in self.ids() {
            self.ready(id).await;
        }
    }

    /// `[{"id","api","peer"}]`, as `cluster init` takes it.
    pub fn members(&self) -> Value {
        self.plans.keys().map(|id| self.member(*id)).collect()
    }

    pub fn member(&self, id: u64) -> Value {
        let plan = &self.plans[&id];
        json!({ "id": id, "api": format!("http://{}", plan.api), "peer": plan.peer.to_string() })
    }

    /// Lays out one more node. It is not started.
    pub fn add_plan(&mut self, id: u64) {
        self.plans.insert(id, Plan::new(id, self.dir.path()));
    }

    pub fn ids(&self) -> Vec<u64> {
        self.plans.keys().copied().collect()
    }

    /// Nodes that run and are not paused.
    pub fn up(&self) -> Vec<u64> {
        self.running.iter().filter(|(_, process)| !process.paused).map(|(id, _)| *id).collect()
    }

    pub fn api(&self, id: u64) -> SocketAddr {
        self.plans[&id].api
    }

    pub fn connection(&self, id: u64) -> Connection {
        Connection::to(self.api(id))
    }

    /// One request over a connection of its own.
    pub async fn send(&self, id: u64, request: &Request) -> Result<Answer, Lost> {
        self.connection(id).send(request).await
    }

    /// The same, for stories in which nothing may get lost.
    #[track_caller]
    pub fn call(&self, id: u64, request: Request) -> impl Future<Output = Answer> {
        let caller = std::panic::Location::caller();
        let mut connection = self.connection(id);
        async move {
            let answer = connection.send(&request).await;
            answer.unwrap_or_else(|e| panic!("{} {} at node {id}: {e:?} ({caller})", request.method, request.path))
        }
    }

    #[track_caller]
    pub fn get(&self, id: u64, path: &str) -> impl Future<Output = Answer> {
        self.call(id, Request::get(path))
    }

    #[track_caller]
    pub fn post(&self, id: u64, path: &str, body: &Value) -> impl Future<Output = Answer> {
        self.call(id, Request::post(path, body))
    }

    #[track_caller]
    pub fn put(&self, id: u64, path: &str, body: &Value) -> impl Future<Output = Answer> {
        self.call(id, Request::put(path, body))
    }

    // --- processes ------------------------------------------------------------------------------------------------

    pub fn spawn(&mut self, id: u64) {
        let before = self.running.insert(id, self.plans[&id].spawn());
        assert!(before.is_none(), "node {id} runs already");
    }

    /// Starts a node that had ended and waits until it is ready.
    pub async fn restart(&mut self, id: u64) {
        self.spawn(id);
        self.ready(id).await;
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: u64) {
        self.running.remove(&id).expect("it runs").kill();
    }

    /// `kill -9` of several, as near to the same moment as it gets.
    pub fn kill_all(&mut self) {
        // Dropping kills and waits; the kills come first so that no node sees another die and reacts at leisure.
        let mut all: Vec<Process> = std::mem::take(&mut self.running).into_values().collect();
        std::thread::scope(|scope| {
            for process in &mut all {
                scope.spawn(|| process.kill());
            }
        });
    }

    pub fn pause(&mut self, id: u64) {
        self.running.get_mut(&id).expect("it runs").pause();
    }

    pub fn resume(&mut self, id: u64) {
        self.running.get_mut(&id).expect("it runs").resume();
    }

    /// SIGTERM, and the exit status.
    pub async fn stop(&mut self, id: u64, within: Duration) -> ExitStatus {
        let mut process = self.running.remove(&id).expect("it runs");
        process.terminate();
        let start = Instant::now();
        loop {
            if let Some(status) = process.ended() {
                return status;
            }
            assert!(start.elapsed() < within, "node {id} goes on {within:?} after SIGTERM");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the process answers `/livez`.
    pub async fn lives(&self, id: u64) {
        self.status_of(id, "/livez").await;
    }

    /// Waits until the process has opened its data folder: until then it answers `/livez`, and nothing of the API.
    pub async fn alive(&self, id: u64) {
        self.status_of(id, "/v1/cluster").await;
    }

    /// Waits until `/readyz` says yes.
    pub async fn ready(&self, id: u64) {
        self.status_of(id, "/readyz").await;
    }

    async fn status_of(&self, id: u64, path: &str) {
        let request = Request::get(path);
        eventually(&format!("node {id} says 200 to {path}"), READY, || async {
            match self.send(id, &request).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.to_string()),
                Err(e) => Err(format!("{e:?}")),
            }
        })
        .await;
    }

    // --- what the cluster says of itself ----------------------------------------------------------------------------

    /// `GET /v1/cluster` of one node.
    pub async fn view(&self, id: u64) -> Result<Value, String> {
        match self.connection(id).timeout(Duration::from_secs(2)).send(&Request::get("/v1/cluster")).await {
            Ok(answer) if answer.status == 200 => Ok(answer.json()),
            Ok(answer) => Err(answer.to_string()),
            Err(e) => Err(format!("{e:?}")),
        }
    }

    /// The leader: a node that is up, and says so itself.
    pub async fn leader(&self) -> u64 {
        eventually("there is a leader", READY, || async {
            let mut seen = Vec::new();
            for id in self.up() {
                match self.view(id).await {
                    Ok(view) if leads(&view, id) => return Ok(id),
                    Ok(view) => seen.push(format!("{id}: {view}")),
                    Err(e) => seen.push(format!("{id}: {e}")),
                }
            }
            Err(seen.join("; "))
        })
        .await
    }

    /// A node that is up and does not lead.
    pub async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        self.up().into_iter().find(|id| *id != leader).expect("there is another node")
    }

    /// Waits until all that are up stand at the same log index, and insists on equal hashes there. Gives the hash.
    pub async fn agree(&self) -> String {
        let hashes = eventually("all nodes stand at the same log index", READY, || async {
            let mut hashes = Vec::new();
            for id in self.up() {
                let answer = self.get(id, "/v1/cluster/state-hash").await;
                if answer.status != 200 {
                    return Err(answer.to_string());
                }
                assert_eq!(answer.number("/node"), id);
                hashes.push((answer.number("/log_index"), answer.text("/hash"), answer.number("/revision")));
            }
            let indexes: BTreeSet<u64> = hashes.iter().map(|(index, ..)| *index).collect();
            if indexes.len() == 1 { Ok(hashes) } else { Err(format!("{hashes:?}")) }
        })
        .await;
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "same log index, other state: {hashes:?}");
        hashes[0].1.clone()
    }

    /// Sends a command under `key` to one node after the other until its answer is definite.
    pub async fn settle(&self, request: &Request, key: &str) -> Answer {
        let request = request.clone().key(key).header("request-timeout-ms", "500");
        let mut turn = 0;
        eventually(&format!("{key} becomes definite"), settings::READY, || {
            let up = self.up();
            let id = up[turn % up.len()];
            turn += 1;
            let request = &request;
            async move {
                match self.connection(id).timeout(Duration::from_millis(1500)).send(request).await {
                    Ok(answer) if is_definite(&answer) => Ok(answer),
                    Ok(answer) => Err(answer.to_string()),
                    Err(e) => Err(format!("{e:?}")),
                }
            }
        })
        .await
    }

    // --- events -----------------------------------------------------------------------------------------------------

    /// Defines an event that has one pool, `floor`.
    pub async fn define_pool(&self, event: &str, capacity: u64) {
        let body = json!({ "name": event, "pools": [{ "id": "floor", "capacity": capacity }] });
        self.put(self.up()[0], &format!("/v1/events/{event}"), &body).await.expect(201);
    }

    /// Defines an event with seats `A-1`, `A-2` … in one row.
    pub async fn define_row(&self, event: &str, seats: u64) {
        let seats: Vec<Value> = (1..=seats)
            .map(|n| json!({ "id": format!("A-{n}"), "section": "Stalls", "row": "A", "number": n }))
            .collect();
        let body = json!({ "name": event, "seats": seats });
        self.put(self.up()[0], &format!("/v1/events/{event}"), &body).await.expect(201);
    }

    /// Ids of all orders of an event, over all pages.
    pub async fn orders(&self, event: &str) -> Vec<String> {
        let mut orders: Vec<String> = Vec::new();
        loop {
            let after = orders.last().map(|last| format!("&after={last}")).unwrap_or_default();
            let page =
                self.get(self.up()[0], &format!("/v1/events/{event}/orders?limit=1000{after}")).await.expect(200);
            let rows = page.at("/orders");
            orders.extend(rows.as_array().unwrap().iter().map(|order| order["order"].as_str().unwrap().to_owned()));
            if page.at("/next").is_null() {
                return orders;
            }
        }
    }

    /// The audit of an event holds; gives it.
    pub async fn audit(&self, event: &str) -> Value {
        let audit = self.get(self.up()[0], &format!("/v1/events/{event}/audit")).await.expect(200).json();
        assert_eq!(audit["oversold"], 0, "{audit}");
        assert_eq!(audit["violations"], json!([]), "{audit}");
        audit
    }
}

/// Does this view of node `id` say that `id` leads?
pub fn leads(view: &Value, id: u64) -> bool {
    let nodes = view["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = view["leader"] == json!(id);
    named && nodes.iter().any(|node| node["id"] == json!(id) && node["role"] == "leader")
}

/// Decided: applied, or rejected by the state machine.
pub fn is_definite(answer: &Answer) -> bool {
    matches!(answer.outcome().as_deref(), Some("applied" | "rejected"))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (id, plan) in &self.plans {
                let state = match self.running.get(id) {
                    Some(process) if process.paused => "paused",
                    Some(_) => "running",
                    None => "not running",
                };
                eprintln!("--- node {id} ({state}), end of its log:\n{}\n", plan.log_tail());
            }
        }
        self.kill_all();
    }
}
