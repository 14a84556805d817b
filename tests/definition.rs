//! A big definition holds nothing up: no election, and sales elsewhere go on at their pace.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::load::Load;
use support::settings::{self, READY, patience};
use support::{Cluster, Request, turn};

/// What a booking may take while a definition goes through, for all but one in a hundred.
const P99: Duration = Duration::from_millis(250);

fn hall(seats: u64) -> Value {
    let seats: Vec<Value> = (0..seats)
        .map(|n| {
            let (section, row, number) = (n / 5_000, n / 50 % 100, n % 50 + 1);
            json!({ "id": format!("S{section}-R{row}-{number}"), "section": format!("S{section}"), "row": format!("R{row}"),
                    "number": number, "category": "standard", "x": number as f64 * 0.5, "y": row as f64 })
        })
        .collect();
    json!({ "name": "Arena", "seats": seats })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_seats_are_defined_while_sales_go_on() {
    let _turn = turn().await;
    let cluster = Cluster::of(3).await;
    cluster.define_pool("elsewhere", 10_000_000).await;
    let seats = settings::seats();
    let body = hall(seats);
    let addrs: Vec<_> = cluster.ids().into_iter().map(|id| cluster.api(id)).collect();

    let calm = Load::start("calm", "elsewhere", 64, &addrs);
    calm.more(500, READY).await;
    let calm = calm.finish().await;

    let leader = cluster.leader().await;
    let term = cluster.view(leader).await.unwrap()["term"].clone();
    let busy = Load::start("busy", "elsewhere", 64, &addrs);
    busy.more(64, READY).await;
    let start = Instant::now();
    // At a follower, so that the whole of it is forwarded too.
    let follower = cluster.follower().await;
    let request = Request::put("/v1/events/arena", &body).header("request-timeout-ms", "30000");
    let mut connection = cluster.connection(follower).timeout(Duration::from_secs(60));
    let defined = connection.send(&request).await.unwrap().expect(201);
    let took = start.elapsed();
    let busy = busy.finish().await;
    assert_eq!(defined.number("/seats/total"), seats);

    eprintln!("{seats} seats ({} KiB of JSON) defined in {took:?}", request.body.unwrap().len() / 1024);
    for (name, tally) in [("calm", &calm), ("meanwhile", &busy)] {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| tally.percentile(share));
        eprintln!(
            "{name}: {} bookings, p50 {p50:?}, p99 {p99:?}, max {max:?}, {:?}",
            tally.booked.len(),
            tally.answers
        );
    }
    let after = cluster.leader().await;
    assert_eq!(cluster.view(after).await.unwrap()["term"], term, "there was an election");
    assert!(busy.percentile(0.99) < patience(P99), "p99 {:?}", busy.percentile(0.99));
    assert_eq!(cluster.audit("elsewhere").await["booked"], json!(calm.booked.len() + busy.booked.len()));

    // All of it is there, in order, everywhere.
    cluster.agree().await;
    let list = cluster.get(1, "/v1/events/arena/seats").await.expect(200);
    let ids: Vec<Value> = list.at("/seats").as_array().unwrap().iter().map(|seat| seat["id"].clone()).collect();
    let wanted: Vec<Value> = body["seats"].as_array().unwrap().iter().map(|seat| seat["id"].clone()).collect();
    assert!(ids == wanted, "{} seats, wanted {}", ids.len(), wanted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_definition_survives_the_death_of_every_node() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    let body = hall(settings::seats() / 5);
    cluster.put(1, "/v1/events/arena", &body).await.expect(201);
    let before = cluster.agree().await;
    cluster.kill_all();
    for id in cluster.ids() {
        cluster.spawn(id);
    }
    for id in cluster.ids() {
        cluster.ready(id).await;
    }
    assert_eq!(cluster.agree().await, before);
    // Sent again without a key, it changes nothing and makes no version.
    let again = cluster.put(2, "/v1/events/arena", &body).await.expect(200);
    assert_eq!(again.number("/version"), 1);
}
