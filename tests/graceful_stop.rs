//! SIGTERM under load: first not ready, then finished, then gone; no client gets half an answer.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::load::Load;
use support::settings::READY;
use support::{Cluster, Connection, Lost, Request, turn};

/// From the signal to exit 0.
const STOPPED: Duration = Duration::from_secs(10);

/// What somebody who polls `/readyz` sees until nobody answers any more.
async fn watch_readiness(addr: std::net::SocketAddr) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    let start = Instant::now();
    while start.elapsed() < STOPPED + Duration::from_secs(5) {
        let mut connection = Connection::to(addr).timeout(Duration::from_secs(2));
        let now = match connection.send(&Request::get("/readyz")).await {
            Ok(answer) if answer.status == 200 => "ready".to_owned(),
            Ok(answer) => format!("not ready ({})", answer.status),
            Err(Lost::NotSent(_)) => "gone".to_owned(),
            Err(Lost::Broken(what)) => format!("broken: {what}"),
            Err(_) => "closing".to_owned(),
        };
        if seen.last() != Some(&now) {
            seen.push(now.clone());
        }
        if now == "gone" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    seen
}

async fn stop_under_load(cluster: &mut Cluster, id: u64, round: u32) -> usize {
    // Every client starts at the node that stops.
    let mut addrs = vec![cluster.api(id)];
    addrs.extend(cluster.ids().into_iter().filter(|other| *other != id).map(|other| cluster.api(other)));
    let at_node = Load::start(&format!("at-{round}"), "show", 8, &addrs[..1]);
    let roaming = Load::start(&format!("roam-{round}"), "show", 8, &addrs);
    roaming.more(50, READY).await;
    let readiness = tokio::spawn(watch_readiness(cluster.api(id)));
    tokio::time::sleep(Duration::from_millis(50)).await;

    let start = Instant::now();
    let status = cluster.stop(id, STOPPED).await;
    eprintln!("node {id} ended with {status} after {:?}", start.elapsed());
    assert!(status.success(), "node {id} ended with {status}");
    let seen = readiness.await.unwrap();
    eprintln!("readiness: {seen:?}");
    assert_eq!(seen.first().map(String::as_str), Some("ready"), "{seen:?}");
    assert_eq!(seen.last().map(String::as_str), Some("gone"), "{seen:?}");
    assert!(seen.iter().any(|what| what.starts_with("not ready")), "it never said that it goes: {seen:?}");
    assert!(!seen.iter().any(|what| what.starts_with("broken")), "{seen:?}");

    // Sales went on elsewhere.
    roaming.more(50, READY).await;
    cluster.restart(id).await;
    // `finish` insists that no answer was broken.
    let (roaming, at_node) = (roaming.finish().await, at_node.finish().await);
    eprintln!("answers: roaming {:?}, at the node {:?}", roaming.answers, at_node.answers);
    roaming.booked.len() + at_node.booked.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_announced_finished_and_clean() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    cluster.define_pool("show", 10_000_000).await;
    let follower = cluster.follower().await;
    let mut booked = stop_under_load(&mut cluster, follower, 0).await;
    let leader = cluster.leader().await;
    booked += stop_under_load(&mut cluster, leader, 1).await;
    assert_eq!(cluster.audit("show").await["booked"], json!(booked));
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_finished() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(1).await;
    // Long enough to be under way when the signal comes.
    let seats: Vec<_> = (0..50_000).map(|n| json!({ "id": format!("S-{n}"), "row": "R", "section": "S" })).collect();
    let request = Request::put("/v1/events/big", &json!({ "name": "big", "seats": seats }));
    let mut connection = cluster.connection(1).timeout(Duration::from_secs(30));
    let under_way = tokio::spawn(async move { connection.send(&request).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(cluster.stop(1, STOPPED).await.success());
    let answer = under_way.await.unwrap().expect("a whole answer");
    eprintln!("the definition under way was answered {}", answer.status);
    cluster.restart(1).await;
    let there = cluster.get(1, "/v1/events/big").await.status;
    match answer.outcome().as_deref() {
        Some("applied") => assert_eq!(there, 200),
        Some("not_applied") => assert_eq!(there, 404),
        other => panic!("outcome {other:?}: {answer}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_cluster_stops_at_once_and_comes_back_as_it_was() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    cluster.define_row("show", 20).await;
    let before = cluster.agree().await;
    for id in cluster.ids() {
        assert!(cluster.stop(id, STOPPED).await.success());
    }
    for id in cluster.ids() {
        cluster.spawn(id);
    }
    for id in cluster.ids() {
        cluster.ready(id).await;
    }
    assert_eq!(cluster.agree().await, before);
}

/// The number of one plain metric of a node.
async fn metric(cluster: &Cluster, id: u64, name: &str) -> f64 {
    let page = cluster.get(id, "/metrics").await.expect(200);
    let text = String::from_utf8(page.body).unwrap();
    let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("no metric {name} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_restart_loads_from_disk_and_replays_almost_nothing() {
    const BOOKINGS: u64 = 300;
    let _turn = turn().await;
    let mut cluster = Cluster::of(1).await;
    cluster.define_pool("show", 1_000_000).await;
    for n in 0..BOOKINGS {
        let body = json!({ "items": [{ "pool": "floor" }], "order": format!("o-{n}") });
        cluster.post(1, "/v1/events/show/book", &body).await.expect(201);
    }
    let applied = metric(&cluster, 1, "lastseat_raft_applied_index").await;
    assert!(applied > BOOKINGS as f64, "one entry each, sent one after the other: {applied}");
    for histogram in ["lastseat_apply_seconds", "lastseat_wal_fsync_seconds", "lastseat_entry_commands"] {
        let count = metric(&cluster, 1, &format!("{histogram}_count")).await;
        assert!(count >= BOOKINGS as f64, "{histogram} counted {count}");
        metric(&cluster, 1, &format!("{histogram}_bucket")).await;
    }
    assert!(metric(&cluster, 1, "lastseat_results_remembered").await >= BOOKINGS as f64);
    assert!(metric(&cluster, 1, "lastseat_http_requests_total").await > 0.0);

    assert!(cluster.stop(1, STOPPED).await.success());
    cluster.restart(1).await;
    let replayed = metric(&cluster, 1, "lastseat_start_replayed_entries").await;
    // The clean stop persisted everything; what is left is what the new term itself puts into the log.
    assert!(replayed <= 10.0, "{replayed} entries were replayed after a clean stop");
    assert_eq!(cluster.audit("show").await["booked"], json!(BOOKINGS));
}
