//! Holds come back by time alone: in time, never early, whoever leads and whatever a clock says.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::settings::READY;
use support::{Answer, Cluster, Request, eventually, millis, now_ms, turn};

/// While there is a leader, an expiry is published at most this late; without one, this long after the next.
const LATE_MS: i64 = 1_000;
/// A follower learns of a commit with the next message of its leader.
const HEARTBEAT_MS: i64 = 200;
/// The stated slack for "never early", against true time.
const EARLY_MS: i64 = 500;

struct Held {
    token: String,
    expires_at: i64,
}

async fn reserve(cluster: &Cluster, seat: &str, ttl_ms: u64) -> Held {
    let body = json!({ "items": [{ "seat": seat }], "ttl_ms": ttl_ms });
    let hold = cluster.post(cluster.up()[0], "/v1/events/show/reserve", &body).await.expect(201);
    let lives = millis(&hold.at("/expires_at")) - millis(&hold.at("/created_at"));
    assert_eq!(lives, i64::try_from(ttl_ms).unwrap(), "{hold}");
    Held { token: hold.text("/token"), expires_at: millis(&hold.at("/expires_at")) }
}

/// Looks at a seat without making any traffic: from the node's own state, no log entry, no read round.
async fn stale_seat(cluster: &Cluster, id: u64, seat: &str) -> Result<Answer, String> {
    let path = format!("/v1/events/show/seats/{seat}?consistency=stale");
    match cluster.send(id, &Request::get(path)).await {
        Ok(answer) if answer.status == 200 => Ok(answer),
        Ok(answer) => Err(answer.to_string()),
        Err(e) => Err(format!("{e:?}")),
    }
}

/// Waits until node `id` shows the seat as free; gives the wall-clock time.
async fn freed_at(cluster: &Cluster, id: u64, seat: &str) -> i64 {
    eventually(&format!("{seat} is free at node {id}"), READY, || async {
        let answer = stale_seat(cluster, id, seat).await?;
        if answer.text("/status") == "free" { Ok(now_ms()) } else { Err(answer.to_string()) }
    })
    .await
}

/// Booking under a token that lapsed is refused, for ever, and says so.
async fn never_bookable(cluster: &Cluster, held: &Held, order: &str) {
    for id in cluster.up() {
        let body = json!({ "token": held.token, "order": format!("{order}-{id}") });
        let answer = cluster.post(id, "/v1/events/show/book", &body).await;
        answer.problem(409, "hold_expired", "rejected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_comes_back_in_time_without_traffic() {
    let _turn = turn().await;
    let cluster = Cluster::of(3).await;
    cluster.define_row("show", 3).await;
    let before = cluster.get(1, "/v1/events/show").await.expect(200).number("/version");
    let held = reserve(&cluster, "A-1", 2_000).await;
    for id in cluster.ids() {
        // One after the other: a node asked later has had more time, which hides nothing for the first.
        let freed = freed_at(&cluster, id, "A-1").await;
        eprintln!("node {id} shows it free {} ms after expiry", freed - held.expires_at);
        assert!(freed >= held.expires_at - EARLY_MS, "early by {} ms", held.expires_at - freed);
        assert!(freed <= held.expires_at + LATE_MS + HEARTBEAT_MS, "late by {} ms", freed - held.expires_at);
    }
    never_bookable(&cluster, &held, "late").await;
    // One version for the hold, one for its end, none for the refusals.
    assert_eq!(cluster.get(1, "/v1/events/show").await.number("/version"), before + 2);
    cluster.audit("show").await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_expires_while_the_leader_is_away() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    cluster.define_row("show", 3).await;
    let held = reserve(&cluster, "A-1", 2_000).await;
    let longer = reserve(&cluster, "A-2", 60_000).await;
    let dead = cluster.leader().await;
    while now_ms() < held.expires_at - 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.kill(dead);
    cluster.leader().await;
    let led_again = now_ms();
    let latest = led_again.max(held.expires_at) + LATE_MS + HEARTBEAT_MS;
    for id in cluster.up() {
        let freed = freed_at(&cluster, id, "A-1").await;
        eprintln!(
            "node {id}: free {} ms after expiry, {} ms after the election",
            freed - held.expires_at,
            freed - led_again
        );
        assert!(freed >= held.expires_at - EARLY_MS && freed <= latest, "freed at {freed}, at the latest {latest}");
    }
    never_bookable(&cluster, &held, "late").await;
    // The election neither extended nor ended the other hold.
    let path = format!("/v1/events/show/holds/{}", longer.token);
    let still = cluster.get(cluster.up()[0], &path).await.expect(200);
    assert_eq!(millis(&still.at("/expires_at")), longer.expires_at);
    cluster.restart(dead).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn extended_and_released_holds_follow_their_owner() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    cluster.define_row("show", 3).await;
    let held = reserve(&cluster, "A-1", 1_500).await;
    let body = json!({ "token": held.token, "ttl_ms": 4_000 });
    let extended = cluster.post(1, "/v1/events/show/extend", &body).await.expect(200);
    let until = millis(&extended.at("/expires_at"));
    assert!(until >= held.expires_at + 2_000, "{extended}");
    let freed = freed_at(&cluster, 1, "A-1").await;
    assert!(freed >= until - EARLY_MS && freed <= until + LATE_MS + HEARTBEAT_MS, "freed {} ms late", freed - until);

    let held = reserve(&cluster, "A-2", 60_000).await;
    let body = json!({ "token": held.token });
    let released = cluster.post(1, "/v1/events/show/release", &body).await.expect(200);
    assert_eq!(released.at("/released"), json!([{ "seat": "A-2" }]));
    let again = cluster.post(1, "/v1/events/show/release", &body).await;
    again.problem(404, "hold_not_found", "rejected");
    reserve(&cluster, "A-2", 60_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_one_day_ahead_joins_and_leads_and_no_hold_ends_early() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    cluster.define_row("show", 3).await;
    cluster.add_plan(4);
    cluster.plans.get_mut(&4).unwrap().clock = Some("+1d".to_owned());
    let held = reserve(&cluster, "A-1", 15_000).await;

    cluster.spawn(4);
    cluster.alive(4).await;
    // It answers when the node has caught up and votes.
    let join = Request::post("/v1/cluster/members", &cluster.member(4)).header("request-timeout-ms", "30000");
    cluster.connection(1).timeout(READY).send(&join).await.expect("an answer").fine();
    // A node that far off must say that it is not fit, and where.
    let skewed = eventually("node 4 reports its clock", READY, || async {
        let answer = cluster.get(4, "/readyz?verbose").await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status != 200 && text.contains("clock") { Ok(text) } else { Err(answer.to_string()) }
    })
    .await;
    eprintln!("node 4 says: {skewed}");

    let mut led = 0;
    let start = Instant::now();
    while now_ms() < held.expires_at - EARLY_MS - 500 && start.elapsed() < Duration::from_secs(20) {
        // Refused, or granted and given away again at once: either way the shelves must stay as they are.
        let _ = cluster.send(1, &Request::post("/v1/cluster/transfer-leader", &json!({ "to": 4 }))).await;
        if let Ok(view) = cluster.view(4).await {
            led += u32::from(view["leader"] == json!(4));
        }
        for id in cluster.up() {
            let Ok(seat) = stale_seat(&cluster, id, "A-1").await else { continue };
            if now_ms() < held.expires_at - EARLY_MS {
                assert_eq!(seat.text("/status"), "held", "freed early at node {id}: {seat}");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("node 4 was seen leading {led} times");
    // It ends in time all the same.
    let freed = freed_at(&cluster, cluster.up()[0], "A-1").await;
    assert!(freed >= held.expires_at - EARLY_MS, "early by {} ms", held.expires_at - freed);
    cluster.leader().await;
    // True to this machine's clock still: the new hold lives as long as it says, by everybody's clock but node 4's.
    let next = reserve(&cluster, "A-2", 5_000).await;
    let off = next.expires_at - 5_000 - now_ms();
    assert!(off.abs() < 2_000, "the replicated clock is {off} ms off true time");
    never_bookable(&cluster, &held, "late").await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_payment_is_saved_when_everything_is_free_again() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    cluster.define_row("show", 3).await;
    let held = reserve(&cluster, "A-1", 300).await;
    freed_at(&cluster, 1, "A-1").await;
    let book = |order: &str, on_expired: &str| -> Value {
        json!({ "token": held.token, "order": order, "on_expired": on_expired })
    };
    cluster.post(1, "/v1/events/show/book", &book("o-1", "reject")).await.problem(409, "hold_expired", "rejected");
    let saved = cluster.post(1, "/v1/events/show/book", &book("o-1", "rebook")).await.expect(201);
    assert_eq!(saved.at("/items"), json!([{ "seat": "A-1" }]));

    let held = reserve(&cluster, "A-2", 300).await;
    freed_at(&cluster, 1, "A-2").await;
    reserve(&cluster, "A-2", 60_000).await;
    let body = json!({ "token": held.token, "order": "o-2", "on_expired": "rebook" });
    let refused = cluster.post(1, "/v1/events/show/book", &body).await;
    assert_eq!(refused.status, 409, "another has it now: {refused}");
    assert!(["hold_expired", "seat_held"].contains(&refused.code().unwrap().as_str()), "{refused}");
}
