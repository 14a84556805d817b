//! A node in a bad place: nobody takes its log, or its data folder takes long to open.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use support::settings::READY;
use support::{Cluster, Connection, Request, eventually, turn};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_ends_no_node() {
    let _turn = turn().await;
    let cluster = Cluster::planned([1]);
    let plan = &cluster.plans[&1];
    for format in ["text", "json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = plan.command();
        command.args(["--log-level", "debug", "--log-format", format]).stdout(Stdio::null()).stderr(writer);
        let mut node = Gone(command.spawn().unwrap());
        cluster.alive(1).await;
        let mut api = Connection::to(plan.api);
        for _ in 0..20 {
            // Every refusal is logged.
            let refused = api.send(&Request::get("/v1/nowhere")).await.unwrap();
            refused.problem(404, "route_not_found", "not_applied");
        }
        let metrics = api.send(&Request::get("/metrics")).await.unwrap().expect(200);
        let metrics = String::from_utf8(metrics.body).unwrap();
        let lost = metrics.lines().find_map(|line| line.strip_prefix("lastseat_log_lines_lost_total "));
        assert!(lost.unwrap().parse::<u64>().unwrap() >= 20, "{metrics}");
        node.0.kill().unwrap();
        assert_eq!(node.0.wait().unwrap().signal(), Some(9), "it went on until it was killed");
    }
}

/// A process that does not outlive its story.
struct Gone(std::process::Child);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_data_folder_opens_the_node_is_alive_and_not_ready() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(1).await;
    cluster.put(1, "/v1/events/show", &json!({ "name": "show", "seats": [{ "id": "A-1" }] })).await.expect(201);
    cluster.kill(1);
    // Who reads a FIFO waits for who writes it: the folder opens when this story wants.
    let identity = cluster.plans[&1].data.join("node.json");
    let content = std::fs::read(&identity).unwrap();
    std::fs::remove_file(&identity).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&identity).status().unwrap().success());
    cluster.spawn(1);
    let mut kept = cluster.connection(1);
    cluster.lives(1).await;
    kept.send(&Request::get("/livez")).await.unwrap().expect(200);
    let ready = kept.send(&Request::get("/readyz")).await.unwrap().expect(503);
    assert!(String::from_utf8_lossy(&ready.body).contains("data folder"), "{ready}");
    for request in [Request::get("/v1/events/show"), Request::new("DELETE", "/v1/events/show")] {
        let refused = kept.send(&request).await.unwrap().problem(503, "no_leader", "not_applied");
        assert_eq!(refused.header("retry-after"), Some("1"), "{refused}");
    }

    // Every answer from here on is a whole one, on this connection and on new ones, until the API has taken over.
    let opener = tokio::task::spawn_blocking(move || std::fs::write(identity, content).unwrap());
    let kept = tokio::sync::Mutex::new(kept);
    eventually("the event is read", READY, || async {
        let new = cluster.get(1, "/v1/events/show").await;
        let kept = kept.lock().await.send(&Request::get("/v1/events/show")).await.unwrap();
        match (new.status, kept.status) {
            (200, 200) => Ok(()),
            (200 | 503, 200 | 503) => Err(format!("{new} {kept}")),
            other => panic!("{other:?}: {new} {kept}"),
        }
    })
    .await;
    opener.await.unwrap();
    cluster.ready(1).await;
    tokio::time::timeout(Duration::from_secs(30), cluster.audit("show")).await.unwrap();
}
