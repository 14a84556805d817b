//! Nodes die and stall under load: nothing acknowledged is lost, nothing is sold twice, sales go on.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::load::Load;
use support::settings::{self, FAILOVER, READY};
use support::{Cluster, Connection, Lost, Request, eventually, turn};

/// Who dies in a round.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Leader,
    Follower(usize),
    All,
}

const VICTIMS: [Victim; 4] = [Victim::Leader, Victim::Follower(0), Victim::All, Victim::Follower(1)];

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_booking_is_lost_whoever_dies() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    cluster.define_pool("show", 10_000_000).await;
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for round in 0..settings::rounds() {
        let victim = VICTIMS[round as usize % VICTIMS.len()];
        let addrs: Vec<_> = cluster.ids().into_iter().map(|id| cluster.api(id)).collect();
        let load = Load::start(&format!("r{round}"), "show", 16, &addrs);
        load.more(50, READY).await;

        let leader = cluster.leader().await;
        let followers: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
        let dead = match victim {
            Victim::Leader => vec![leader],
            Victim::Follower(which) => vec![followers[which]],
            Victim::All => cluster.ids(),
        };
        let died = Instant::now();
        match dead.as_slice() {
            [one] => cluster.kill(*one),
            _ => cluster.kill_all(),
        }
        if dead.len() == 1 {
            let order = format!("probe-{round}");
            let body = json!({ "items": [{ "pool": "floor" }], "order": order });
            cluster.settle(&Request::post("/v1/events/show/book", &body), &order).await.expect(201);
            let again = died.elapsed();
            eprintln!("round {round}, {victim:?}: writes again after {again:?}");
            assert!(again < FAILOVER, "writes again only after {again:?}");
            acknowledged.insert(order);
        }
        for id in &dead {
            cluster.spawn(*id);
        }
        for id in dead {
            cluster.ready(id).await;
        }
        load.more(50, READY).await;
        let tally = load.finish().await;
        eprintln!("round {round}, {victim:?}: {} booked, answers {:?}", tally.booked.len(), tally.answers);
        acknowledged.extend(tally.booked.into_iter().map(|booked| booked.order));

        cluster.agree().await;
        // Every booking became definite, so the count is exact: not one lost, not one doubled.
        assert_eq!(cluster.audit("show").await["booked"], json!(acknowledged.len()));
    }
    let kept = cluster.orders("show").await;
    assert_eq!(kept.len(), kept.iter().collect::<BTreeSet<_>>().len(), "an order is listed twice");
    assert_eq!(kept.into_iter().collect::<BTreeSet<_>>(), acknowledged);
}

/// What the readers of one node saw.
#[derive(Debug, Default)]
struct Reads {
    fresh: u64,
    refused: u64,
    lost: u64,
    stale: Vec<String>,
}

/// Reads `show` at one node until told to stop. Each read must see every booking acknowledged before it was sent.
async fn read_on(addr: std::net::SocketAddr, floor: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Reads {
    let mut reads = Reads::default();
    let mut connection = Connection::to(addr).timeout(Duration::from_secs(20));
    while !stop.load(Ordering::SeqCst) {
        read_once(&mut connection, &floor, &mut reads).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    reads
}

async fn read_once(connection: &mut Connection, floor: &AtomicU64, reads: &mut Reads) {
    let at_least = floor.load(Ordering::SeqCst);
    match connection.send(&Request::get("/v1/events/show")).await {
        Ok(answer) if answer.status == 200 => {
            let seen = answer.number("/pools/0/booked");
            if seen < at_least {
                reads.stale.push(format!("{} bookings were acknowledged, {} saw {seen}", at_least, connection.addr));
            }
            reads.fresh += 1;
        }
        Ok(answer) if matches!(answer.status, 503 | 504) => reads.refused += 1,
        Ok(answer) => panic!("a read was answered {answer}"),
        Err(Lost::Broken(what)) => panic!("a read broke: {what}"),
        Err(_) => reads.lost += 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_slept_through_its_deposition_serves_no_stale_read() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    cluster.define_pool("show", 1_000_000).await;
    let (floor, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = cluster
        .ids()
        .into_iter()
        .flat_map(|id| [id, id])
        .map(|id| (id, tokio::spawn(read_on(cluster.api(id), floor.clone(), stop.clone()))))
        .collect();
    let mut slept = Vec::new();
    let mut sequence = 0;
    for _ in 0..settings::rounds().min(5) {
        let old = cluster.leader().await;
        cluster.pause(old);
        // Reads that reach the sleeper while it sleeps, and are answered when it wakes up.
        let addr = cluster.api(old);
        let spanning = (0..20).map(|n| {
            let floor = floor.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(n * 100)).await;
                let mut reads = Reads::default();
                let mut connection = Connection::to(addr).timeout(Duration::from_secs(20));
                read_once(&mut connection, &floor, &mut reads).await;
                reads
            })
        });
        let spanning: Vec<_> = spanning.collect();
        // The new leader sells: each acknowledged booking lifts the floor for every read sent after it.
        let asleep = Instant::now();
        while asleep.elapsed() < Duration::from_millis(2500) {
            sequence += 1;
            let body = json!({ "items": [{ "pool": "floor" }], "order": format!("s-{sequence}") });
            let request = Request::post("/v1/events/show/book", &body);
            cluster.settle(&request, &format!("s-{sequence}")).await.expect(201);
            floor.store(sequence, Ordering::SeqCst);
        }
        cluster.resume(old);
        for read in spanning {
            slept.push(read.await.unwrap());
        }
        cluster.ready(old).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut fresh_at: BTreeMap<u64, u64> = BTreeMap::new();
    for (id, reader) in readers {
        let reads = reader.await.unwrap();
        assert!(reads.stale.is_empty(), "stale at node {id}: {:#?}", reads.stale);
        *fresh_at.entry(id).or_default() += reads.fresh;
    }
    let stale: Vec<_> = slept.iter().flat_map(|reads| &reads.stale).collect();
    assert!(stale.is_empty(), "stale at the leader that slept: {stale:#?}");
    let answered: u64 = slept.iter().map(|reads| reads.fresh + reads.refused).sum();
    assert!(answered > 0, "no read was answered by a leader that woke up: the story tells nothing");
    assert!(fresh_at.values().all(|count| *count > 0), "a node served no read at all: {fresh_at:?}");
    eprintln!("fresh reads by node {fresh_at:?}; {answered} reads waited for a sleeper; {sequence} bookings");
    cluster.agree().await;
}

/// Sends the same request under the same key to all nodes at the same time; gives the definite answers.
async fn to_all_at_once(cluster: &Cluster, request: &Request, key: &str) -> Vec<support::Answer> {
    let sends: Vec<_> = cluster
        .ids()
        .into_iter()
        .map(|id| {
            let (mut connection, request) = (cluster.connection(id), request.clone().key(key));
            tokio::spawn(async move { connection.send(&request).await })
        })
        .collect();
    let mut answers = Vec::new();
    for send in sends {
        match send.await.unwrap() {
            Ok(answer) if support::cluster::is_definite(&answer) => answers.push(answer),
            // Not decided: no leader, not known in time, or an early refusal, which is not recorded.
            Ok(answer) if matches!(answer.status, 409 | 429 | 503 | 504) => {}
            Ok(answer) => panic!("{key}: {answer}"),
            Err(Lost::Broken(what)) => panic!("{key}: {what}"),
            Err(_) => {}
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_at_all_nodes_at_once_is_one_booking_for_ever() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    let count = settings::keys();
    // Room for two thirds: the last third must be refused, and refused alike.
    let capacity = count * 2 / 3;
    cluster.define_pool("show", capacity).await;
    let intent = |n: u64| {
        let body = json!({ "items": [{ "pool": "floor" }], "order": format!("o-{n}"), "customer": format!("c-{n}") });
        (Request::post("/v1/events/show/book", &body), format!("k-{n}"))
    };
    // Status, and the body where the answer was a decision.
    let mut first: BTreeMap<u64, (u16, Option<Vec<u8>>)> = BTreeMap::new();
    let mut together = 0;
    for n in 0..count {
        if n == count / 2 {
            let leader = cluster.leader().await;
            cluster.kill(leader);
            let (request, key) = intent(n);
            to_all_at_once(&cluster, &request, &key).await;
            cluster.restart(leader).await;
        }
        let (request, key) = intent(n);
        let answers = to_all_at_once(&cluster, &request, &key).await;
        together += usize::from(answers.len() > 1);
        let wanted = if n < capacity { 201 } else { 409 };
        for answer in &answers {
            assert_eq!(answer.status, wanted, "{key}: {answer}");
            assert_eq!(answer.lasting_body(), answers[0].lasting_body(), "{key}: {answer}");
        }
        if answers.is_empty() {
            eventually_answered(&cluster, &request, &key).await.expect(wanted);
        }
        first.insert(n, (wanted, answers.first().map(support::Answer::lasting_body)));
    }
    assert!(together as u64 > count / 4, "too few keys had several answers: {together} of {count}");

    let replay_everywhere = async |cluster: &Cluster| {
        for (n, (status, body)) in &first {
            let (request, key) = intent(*n);
            let recorded = cluster.get(1, &format!("/v1/outcomes/{key}")).await;
            for id in cluster.ids() {
                let answer = cluster.send(id, &request.clone().key(&key)).await.unwrap();
                assert_eq!(answer.status, *status, "{key} at node {id}: {answer}");
                if let Some(body) = body {
                    assert_eq!(&answer.lasting_body(), body, "{key} at node {id}: {answer}");
                    assert!(answer.replayed(), "{key} at node {id}: {answer}");
                    recorded.clone().expect(200);
                }
            }
        }
        assert_eq!(cluster.audit("show").await["booked"], json!(capacity));
    };
    replay_everywhere(&cluster).await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    cluster.restart(leader).await;
    replay_everywhere(&cluster).await;
    cluster.kill_all();
    for id in cluster.ids() {
        cluster.spawn(id);
    }
    for id in cluster.ids() {
        cluster.ready(id).await;
    }
    replay_everywhere(&cluster).await;
    cluster.agree().await;
}

/// Asks until some node says yes or no.
async fn eventually_answered(cluster: &Cluster, request: &Request, key: &str) -> support::Answer {
    eventually(&format!("{key} is answered"), READY, || async {
        for id in cluster.up() {
            if let Ok(answer) = cluster.send(id, &request.clone().key(key)).await
                && matches!(answer.status, 201 | 409)
            {
                return Ok(answer);
            }
        }
        Err("no node answers".to_owned())
    })
    .await
}
