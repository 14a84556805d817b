//! A data folder that is not what it should be: refused with a sentence that says what to do, never served, never counted.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use support::settings::READY;
use support::{Cluster, Request, copy_folder, eventually, turn};

/// A start that must be refused is refused within this.
const REFUSED: Duration = Duration::from_secs(20);

fn book(order: &str) -> Request {
    Request::post("/v1/events/show/book", &json!({ "items": [{ "pool": "floor" }], "order": order }))
}

/// Node 2 is an impostor: with node 3 away there is no quorum, and no booking may be acknowledged.
async fn impostor_does_not_count(cluster: &mut Cluster) {
    cluster.kill(3);
    for n in 0..3 {
        let order = format!("without-quorum-{n}");
        if let Ok(answer) = cluster.send(1, &book(&order).key(&order)).await {
            assert!(answer.status >= 500, "acknowledged without a quorum: {answer}");
        }
    }
    cluster.restart(3).await;
    for n in 0..3 {
        let order = format!("without-quorum-{n}");
        cluster.running.retain(|id, _| *id != 2);
        cluster.settle(&book(&order), &order).await.expect(201);
    }
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn emptied_folder_under_a_known_id_never_votes() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    cluster.define_pool("show", 1_000).await;
    cluster.kill(2);
    fs::remove_dir_all(&cluster.plans[&2].data).unwrap();
    cluster.spawn(2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    impostor_does_not_count(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_of_another_cluster_never_counts() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    cluster.define_pool("show", 1_000).await;
    let mut other = Cluster::planned([2]);
    other.form().await;
    other.define_pool("elsewhere", 5).await;
    assert!(other.stop(2, READY).await.success());

    cluster.kill(2);
    let data = cluster.plans[&2].data.clone();
    fs::remove_dir_all(&data).unwrap();
    copy_folder(&other.plans[&2].data, &data);
    cluster.spawn(2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    impostor_does_not_count(&mut cluster).await;
    let nowhere = cluster.get(1, "/v1/events/elsewhere").await;
    assert_eq!((nowhere.status, nowhere.code().as_deref()), (404, Some("event_not_found")), "{nowhere}");
}

/// Starts node 1 on what `spoil` left of its folder, and expects one refusal that holds all of `words`.
async fn refused(spoil: impl FnOnce(&mut Cluster), words: &[&str]) {
    let mut cluster = Cluster::of(1).await;
    assert!(cluster.stop(1, READY).await.success());
    spoil(&mut cluster);
    let (status, said) = cluster.plans[&1].run_to_end(REFUSED);
    assert!(!status.success(), "it started: {said}");
    for word in words {
        assert!(said.contains(word), "nothing about {word:?} in:\n{said}");
    }
    assert!(!said.contains("panicked"), "a refusal is not a panic:\n{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_of_a_newer_format_is_refused() {
    let _turn = turn().await;
    let newer = |cluster: &mut Cluster| {
        let path = cluster.plans[&1].data.join("node.json");
        let mut identity: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        identity["format"] = json!(999);
        fs::write(&path, identity.to_string()).unwrap();
    };
    refused(newer, &["node.json", "format 999", "newer"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_of_another_node_is_refused() {
    let _turn = turn().await;
    let other_id = |cluster: &mut Cluster| cluster.plans.get_mut(&1).unwrap().id = 7;
    refused(other_id, &["belongs to node 1", "--node-id"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_without_its_identity_is_refused() {
    let _turn = turn().await;
    let lost = |cluster: &mut Cluster| fs::remove_file(cluster.plans[&1].data.join("node.json")).unwrap();
    refused(lost, &["node.json"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_without_its_log_is_refused() {
    let _turn = turn().await;
    let lost = |cluster: &mut Cluster| fs::remove_dir_all(cluster.plans[&1].data.join("wal")).unwrap();
    refused(lost, &["write-ahead log", "is missing", "under a new node id"]).await;
    let all_but_its_identity = |cluster: &mut Cluster| {
        let data = &cluster.plans[&1].data;
        fs::remove_dir_all(data.join("wal")).unwrap();
        fs::remove_dir_all(data.join("state")).unwrap();
        fs::remove_file(data.join("wal.newest")).unwrap();
    };
    refused(all_but_its_identity, &["write-ahead log", "is missing", "under a new node id"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_in_use_is_refused() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    // Other ports, same folder.
    let mut second = support::process::Plan::new(1, cluster.plans[&1].data.parent().unwrap());
    second.log = second.log.with_extension("second.log");
    let (status, said) = second.run_to_end(REFUSED);
    assert!(!status.success() && !said.contains("panicked"), "{said}");
    cluster.define_pool("show", 1).await;
}

/// The file of the log with the most written in it, and where its last written byte is.
fn fullest_log_file(data: &Path) -> (PathBuf, usize) {
    let files =
        fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let used = |path: PathBuf| {
        let last = fs::read(&path).unwrap().iter().rposition(|byte| *byte != 0).unwrap_or(0);
        (path, last)
    };
    files.map(used).max_by_key(|(_, last)| *last).expect("there is a log")
}

/// Flips every bit of 64 bytes in the middle of what was written.
fn corrupt(data: &Path) {
    let (file, last) = fullest_log_file(data);
    let at = last / 2;
    let flipped: Vec<u8> = fs::read(&file).unwrap()[at..].iter().take(64).map(|byte| !byte).collect();
    fs::OpenOptions::new().write(true).open(file).unwrap().write_all_at(&flipped, at as u64).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupted_log_is_refused_or_repaired_and_never_served() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    cluster.define_pool("show", 10_000).await;
    for n in 0..200 {
        cluster.settle(&book(&format!("o-{n}")), &format!("o-{n}")).await.expect(201);
    }
    cluster.kill(2);
    corrupt(&cluster.plans[&2].data);
    cluster.spawn(2);
    let ended = eventually("node 2 refuses or is repaired", READY, || {
        let ended = cluster.running.get_mut(&2).unwrap().ended();
        let ready = cluster.connection(2);
        async move {
            let mut ready = ready;
            match (ended, ready.send(&Request::get("/readyz")).await) {
                (Some(status), _) => Ok(Some(status)),
                (None, Ok(answer)) if answer.status == 200 => Ok(None),
                (None, other) => Err(format!("{other:?}")),
            }
        }
    })
    .await;
    match ended {
        Some(status) => {
            let said = cluster.plans[&2].log_tail();
            assert!(!status.success() && !said.contains("panicked"), "{said}");
            assert!(said.contains("wal") && said.contains("new"), "it names the file and the way out:\n{said}");
            cluster.running.remove(&2);
        }
        None => eprintln!("node 2 took its log for torn and was repaired by the others"),
    }
    cluster.agree().await;
    assert_eq!(cluster.audit("show").await["booked"], json!(200));
}
