//! Definitions, holds, orders, limits and best seats, as a shop uses them.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use serde_json::{Value, json};
use support::{Answer, Cluster, Request, turn};

fn post(path: &str, body: Value) -> Request {
    Request::post(format!("/v1/events/show/{path}"), &body)
}

fn items(seats: &[&str]) -> Value {
    seats.iter().map(|seat| json!({ "seat": seat })).collect()
}

async fn one_node() -> Cluster {
    let cluster = Cluster::of(1).await;
    cluster.define_row("show", 10).await;
    cluster
}

/// Refused with 409 by either an early refusal or a decision.
#[track_caller]
fn is_conflict(answer: Answer, code: &str) -> Answer {
    assert_eq!((answer.status, answer.code().as_deref()), (409, Some(code)), "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_replaced_and_never_takes_what_is_sold() {
    let _turn = turn().await;
    let cluster = one_node().await;
    let seats = |ids: &[&str]| -> Value { ids.iter().map(|id| json!({ "id": id })).collect() };
    let define = |seats: Value, capacity: u64| json!({ "name": "show", "seats": seats, "pools": [{ "id": "floor", "capacity": capacity }] });
    let made = cluster.put(1, "/v1/events/show", &define(seats(&["A-1", "A-2", "A-3"]), 5)).await.expect(200);
    assert_eq!(made.number("/seats/total"), 3);
    let version = made.number("/version");
    let same = cluster.put(1, "/v1/events/show", &define(seats(&["A-1", "A-2", "A-3"]), 5)).await.expect(200);
    assert_eq!(same.number("/version"), version, "nothing changed, no version");

    cluster.call(1, post("book", json!({ "items": items(&["A-1"]), "order": "o-1" }))).await.expect(201);
    cluster
        .call(1, post("book", json!({ "items": [{ "pool": "floor", "quantity": 3 }], "order": "o-2" })))
        .await
        .expect(201);
    let gone = cluster.put(1, "/v1/events/show", &define(seats(&["A-2", "A-3"]), 5)).await;
    let gone = is_conflict(gone, "seat_booked");
    assert_eq!(gone.at("/conflicts"), json!([{ "seat": "A-1", "status": "booked" }]));
    is_conflict(cluster.put(1, "/v1/events/show", &define(seats(&["A-1"]), 2)).await, "capacity_below_committed");

    // If-Match speaks of the definition, which sales do not move.
    let definition = cluster.get(1, "/v1/events/show").await.number("/definition_version");
    let patch = |body: Value, version: u64| {
        Request::new("PATCH", "/v1/events/show").json(&body).header("if-match", format!("\"{version}\""))
    };
    let closed = cluster.call(1, patch(json!({ "on_sale": false }), definition)).await.expect(200);
    assert_eq!(closed.at("/on_sale"), json!(false));
    cluster.call(1, patch(json!({ "on_sale": true }), definition)).await.problem(412, "definition_moved", "rejected");
    is_conflict(cluster.call(1, post("reserve", json!({ "items": items(&["A-2"]) }))).await, "not_on_sale");
    let grown = patch(json!({ "pools": [{ "id": "floor", "capacity": 50 }] }), definition + 1);
    let grown = cluster.call(1, grown).await.expect(200);
    assert_eq!((grown.number("/pools/0/capacity"), grown.number("/pools/0/available")), (50, 47));

    is_conflict(cluster.call(1, Request::new("DELETE", "/v1/events/show")).await, "seat_booked");
    cluster.call(1, Request::new("DELETE", "/v1/events/show?force=true")).await.expect(200);
    cluster.get(1, "/v1/events/show").await.expect(404);
    let again = cluster.put(1, "/v1/events/show", &define(seats(&["A-1"]), 5)).await.expect(201);
    assert!(again.number("/version") > grown.number("/version"), "the version goes on: {again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_added_to_booked_in_parts_and_given_back() {
    let _turn = turn().await;
    let cluster = one_node().await;
    let hold =
        cluster.call(1, post("reserve", json!({ "items": items(&["A-1", "A-2"]), "customer": "c" }))).await.expect(201);
    let token = hold.text("/token");
    let more = post("reserve", json!({ "items": items(&["A-3"]), "token": token }));
    let more = cluster.call(1, more).await.expect(201);
    assert_eq!(more.at("/items"), items(&["A-1", "A-2", "A-3"]));
    assert_eq!(more.at("/expires_at"), hold.at("/expires_at"), "adding does not move the expiry");
    let with_ttl = post("reserve", json!({ "items": items(&["A-4"]), "token": token, "ttl_ms": 1_000 }));
    assert_eq!(cluster.call(1, with_ttl).await.code().as_deref(), Some("invalid"));
    let stranger = post("reserve", json!({ "items": items(&["A-4"]), "token": token, "customer": "d" }));
    is_conflict(cluster.call(1, stranger).await, "token_mismatch");

    let part = |order: &str, seats: &[&str], rest: &str| {
        post("book", json!({ "token": token, "order": order, "items": items(seats), "rest": rest }))
    };
    is_conflict(cluster.call(1, part("o-1", &["A-9"], "keep")).await, "token_mismatch");
    let first = cluster.call(1, part("o-1", &["A-1"], "keep").key("k-1")).await.expect(201);
    assert_eq!((first.at("/items"), first.text("/customer")), (items(&["A-1"]), "c".to_owned()));
    assert_eq!(cluster.get(1, &format!("/v1/events/show/holds/{token}")).await.at("/items"), items(&["A-2", "A-3"]));
    is_conflict(cluster.call(1, part("o-1", &["A-2"], "keep")).await, "order_exists");
    // The same order, token and items under another key is the same sale.
    let same = cluster.call(1, part("o-1", &["A-1"], "keep").key("k-2")).await.expect(200);
    assert_eq!(same.at("/items"), items(&["A-1"]));
    cluster.call(1, part("o-2", &["A-2"], "release")).await.expect(201);
    assert_eq!(cluster.get(1, "/v1/events/show/seats/A-3").await.text("/status"), "free");
    cluster.get(1, &format!("/v1/events/show/holds/{token}")).await.expect(404);
    cluster.audit("show").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_cancelled_by_its_id_and_stays_readable() {
    let _turn = turn().await;
    let cluster = one_node().await;
    let book = |seats: &[&str], order: &str| post("book", json!({ "items": items(seats), "order": order }));
    cluster.call(1, book(&["A-1", "A-2"], "o-1")).await.expect(201);
    cluster.call(1, book(&["A-3"], "o-2")).await.expect(201);
    let foreign = post("cancel", json!({ "order": "o-1", "items": items(&["A-3"]) }));
    is_conflict(cluster.call(1, foreign).await, "order_mismatch");
    let part = cluster.call(1, post("cancel", json!({ "order": "o-1", "items": items(&["A-1"]) }))).await.expect(200);
    assert_eq!(part.at("/cancelled"), items(&["A-1"]));
    let rest = cluster.call(1, post("cancel", json!({ "order": "o-1" }))).await.expect(200);
    assert_eq!(rest.at("/cancelled"), items(&["A-2"]));
    let version = cluster.get(1, "/v1/events/show").await.number("/version");
    let nothing = cluster.call(1, post("cancel", json!({ "order": "o-1" }))).await.expect(200);
    assert_eq!(nothing.at("/cancelled"), json!([]));
    let order = cluster.get(1, "/v1/events/show/orders/o-1").await.expect(200);
    assert_eq!(order.at("/items"), json!([]));
    is_conflict(cluster.call(1, book(&["A-5"], "o-1")).await, "order_exists");
    assert_eq!(cluster.get(1, "/v1/events/show").await.number("/version"), version);

    let block = |path: &str| post(path, json!({ "items": items(&["A-7"]), "reason": "camera" }));
    cluster.call(1, block("block")).await.expect(200);
    is_conflict(cluster.call(1, book(&["A-7"], "o-3")).await, "seat_blocked");
    cluster.call(1, block("unblock")).await.expect(200);
    is_conflict(cluster.call(1, block("unblock")).await, "not_blocked");
    cluster.call(1, book(&["A-7"], "o-3")).await.expect(201);
    cluster.audit("show").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn best_seats_are_neighbours_and_leave_no_orphan() {
    let _turn = turn().await;
    let cluster = one_node().await;
    let best = |quantity: u64| post("reserve", json!({ "best": { "quantity": quantity } }));
    // Row of ten, A-1 to A-10.
    let two = cluster.call(1, best(2)).await.expect(201);
    assert_eq!(two.at("/items"), items(&["A-1", "A-2"]));
    // Eight are left. Any seven of them leave one alone: where there is no better block, there is still a block.
    let seven = cluster.call(1, best(7)).await.expect(201);
    assert_eq!(seven.at("/items").as_array().unwrap().len(), 7, "{seven}");
    let lacking = is_conflict(cluster.call(1, best(2)).await, "insufficient");
    assert_eq!(lacking.at("/conflicts"), json!([{ "available": 1, "requested": 2 }]));

    cluster.put(1, "/v1/events/gaps", &json!({ "name": "gaps", "seats": [
        { "id": "1", "row": "A", "section": "S" }, { "id": "2", "row": "A", "section": "S" }, { "id": "3", "row": "A", "section": "S" },
        { "id": "4", "row": "B", "section": "S" }, { "id": "5", "row": "B", "section": "S" } ] })).await.expect(201);
    let gaps = |best: Value| Request::post("/v1/events/gaps/reserve", &json!({ "best": best }));
    // Row A has three: two of them would leave one alone, row B has exactly two.
    let pair = cluster.call(1, gaps(json!({ "quantity": 2 }))).await.expect(201);
    assert_eq!(pair.at("/items"), items(&["4", "5"]));
    is_conflict(cluster.call(1, gaps(json!({ "quantity": 4 }))).await, "insufficient");
    let body = json!({ "items": [{ "seat": "2" }], "order": "middle" });
    cluster.post(1, "/v1/events/gaps/book", &body).await.expect(201);
    is_conflict(cluster.call(1, gaps(json!({ "quantity": 2 }))).await, "not_contiguous");
    let apart = cluster.call(1, gaps(json!({ "quantity": 2, "contiguous": false }))).await.expect(201);
    assert_eq!(apart.at("/items"), items(&["1", "3"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_never_gets_more_than_the_limit() {
    let _turn = turn().await;
    let cluster = Cluster::of(3).await;
    let body =
        json!({ "name": "show", "pools": [{ "id": "floor", "capacity": 1_000 }], "limits": { "per_customer": 6 } });
    cluster.put(1, "/v1/events/show", &body).await.expect(201);
    let nobody = post("reserve", json!({ "items": [{ "pool": "floor" }] }));
    assert_eq!(cluster.call(1, nobody).await.code().as_deref(), Some("invalid"));
    // Twenty at a time, at all nodes.
    let tries: Vec<_> = (0..20_u64)
        .map(|n| {
            let mut connection = cluster.connection(1 + n % 3);
            let body = json!({ "items": [{ "pool": "floor" }], "customer": "eager" });
            tokio::spawn(async move { connection.send(&post("reserve", body)).await.unwrap() })
        })
        .collect();
    let mut held = 0;
    for attempt in tries {
        let answer = attempt.await.unwrap();
        if answer.status == 201 {
            held += 1;
        } else {
            let refused = is_conflict(answer, "limit_exceeded");
            assert_eq!((refused.number("/limit"), refused.number("/current")), (6, 6), "{refused}");
        }
    }
    assert_eq!(held, 6);
    let other =
        post("book", json!({ "items": [{ "pool": "floor", "quantity": 6 }], "order": "o", "customer": "other" }));
    cluster.call(1, other).await.expect(201);
    cluster.audit("show").await;
}
