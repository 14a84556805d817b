//! What is wrong is refused, as a problem that says whether anything happened, and nothing is half done.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use serde_json::{Value, json};
use support::{Cluster, Request, turn};

/// A bad request and the problem it must get. An empty code or outcome and a status of 0: any, as long as it is a refusal.
struct Bad {
    what: &'static str,
    request: Request,
    status: u16,
    code: &'static str,
    outcome: &'static str,
}

fn bad(what: &'static str, request: Request, status: u16, code: &'static str, outcome: &'static str) -> Bad {
    Bad { what, request, status, code, outcome }
}

fn raw(method: &str, path: &str, text: &str) -> Request {
    Request::new(method, path).bytes("application/json", text.as_bytes().to_vec())
}

fn reserve(body: Value) -> Request {
    Request::post("/v1/events/show/reserve", &body)
}

fn book(body: Value) -> Request {
    Request::post("/v1/events/show/book", &body)
}

/// Refused by form, before the log.
fn malformed() -> Vec<Bad> {
    let m = |what, request| bad(what, request, 400, "malformed", "not_applied");
    vec![
        m("no JSON", raw("POST", "/v1/events/show/reserve", "{items}")),
        m("an empty body", raw("POST", "/v1/events/show/reserve", "")),
        m("half a body", raw("POST", "/v1/events/show/reserve", "{\"items\":[")),
        m("two documents", raw("POST", "/v1/events/show/reserve", "{\"items\":[{\"seat\":\"A-1\"}]} {}")),
        m("no object", raw("POST", "/v1/events/show/reserve", "[1]")),
        m("an unknown field", reserve(json!({ "items": [{ "seat": "A-1" }], "vip": true }))),
        m("an unknown field inside", reserve(json!({ "items": [{ "seat": "A-1", "row": "A" }] }))),
        m("a wrong type", reserve(json!({ "items": "A-1" }))),
        m("a fraction", reserve(json!({ "items": [{ "pool": "floor", "quantity": 1.5 }] }))),
        m("a negative quantity", reserve(json!({ "items": [{ "pool": "floor", "quantity": -1 }] }))),
        m("seat and pool in one item", reserve(json!({ "items": [{ "seat": "A-1", "pool": "floor" }] }))),
        m("not UTF-8", Request::new("POST", "/v1/events/show/reserve").bytes("application/json", vec![0xff, 0xfe])),
        m("a field twice", raw("POST", "/v1/events/show/extend", "{\"token\":\"a\",\"token\":\"b\",\"ttl_ms\":1}")),
        m(
            "an unknown op",
            Request::post("/v1/batch", &json!({ "atomic": true, "commands": [{ "event": "show", "op": "steal" }] })),
        ),
        m("very deep", raw("POST", "/v1/events/show/reserve", &format!("{{\"items\":{}", "[".repeat(100_000)))),
    ]
}

/// Refused by value, before the log or by the state machine.
fn wrong_values() -> Vec<Bad> {
    let seat = json!([{ "seat": "A-1" }]);
    let long = "x".repeat(129);
    vec![
        bad(
            "the same seat twice",
            reserve(json!({ "items": [{ "seat": "A-1" }, { "seat": "A-1" }] })),
            422,
            "duplicate_item",
            "not_applied",
        ),
        bad("no items", reserve(json!({ "items": [] })), 422, "invalid", "not_applied"),
        bad(
            "quantity 0",
            reserve(json!({ "items": [{ "pool": "floor", "quantity": 0 }] })),
            422,
            "invalid",
            "not_applied",
        ),
        bad("an id too long", book(json!({ "items": seat, "order": long })), 422, "invalid", "not_applied"),
        bad("an id with a slash", book(json!({ "items": seat, "order": "a/b" })), 422, "invalid", "not_applied"),
        bad("an empty id", book(json!({ "items": seat, "order": "" })), 422, "invalid", "not_applied"),
        bad("a hold too long", reserve(json!({ "items": seat, "ttl_ms": 7_200_001 })), 422, "invalid", ""),
        bad(
            "no such event",
            Request::post("/v1/events/nowhere/reserve", &json!({ "items": seat })),
            404,
            "event_not_found",
            "rejected",
        ),
        bad("no such seat", reserve(json!({ "items": [{ "seat": "Z-99" }] })), 404, "seat_not_found", "rejected"),
        bad("no such pool", reserve(json!({ "items": [{ "pool": "roof" }] })), 404, "pool_not_found", "rejected"),
        bad(
            "more than there is",
            book(json!({ "items": [{ "pool": "floor", "quantity": 11 }], "order": "o" })),
            409,
            "insufficient",
            "",
        ),
        bad(
            "far more than there is",
            reserve(json!({ "items": [{ "pool": "floor", "quantity": 1_000_000 }] })),
            409,
            "insufficient",
            "",
        ),
        bad(
            "a sum that overflows",
            reserve(
                json!({ "items": [{ "pool": "floor", "quantity": u64::MAX }, { "pool": "floor", "quantity": 2 }] }),
            ),
            0,
            "",
            "",
        ),
        bad("no such hold", book(json!({ "token": "nobody", "order": "o" })), 404, "hold_not_found", "rejected"),
        bad(
            "no such order",
            Request::post("/v1/events/show/cancel", &json!({ "order": "nobody" })),
            404,
            "order_not_found",
            "rejected",
        ),
        bad(
            "unblocking what is free",
            Request::post("/v1/events/show/unblock", &json!({ "items": seat })),
            409,
            "not_blocked",
            "rejected",
        ),
    ]
}

/// Refused by route, method, type or size.
fn wrong_places() -> Vec<Bad> {
    let big = format!("{{\"items\":[{{\"seat\":\"{}\"}}]}}", "x".repeat(1 << 20));
    let path = "/v1/events/show/reserve";
    vec![
        bad("no such route", Request::get("/v1/nothing"), 404, "route_not_found", "not_applied"),
        bad("a wrong method", Request::get(path), 405, "method_not_allowed", "not_applied"),
        bad("another wrong method", Request::new("DELETE", path), 405, "method_not_allowed", "not_applied"),
        bad(
            "not called JSON",
            Request::new("POST", path).bytes("text/plain", b"{}".to_vec()),
            415,
            "unsupported_media_type",
            "not_applied",
        ),
        bad("too large", raw("POST", path, &big), 413, "too_large", "not_applied"),
        bad(
            "a bad key",
            reserve(json!({ "items": [{ "seat": "A-1" }] })).key("no/slash"),
            422,
            "invalid",
            "not_applied",
        ),
        bad(
            "a key too long",
            reserve(json!({ "items": [{ "seat": "A-1" }] })).key(&"k".repeat(129)),
            422,
            "invalid",
            "not_applied",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_gets_its_problem_and_changes_nothing() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    let seats = json!([{ "id": "A-1" }, { "id": "A-2" }]);
    let body = json!({ "name": "show", "seats": seats, "pools": [{ "id": "floor", "capacity": 10 }] });
    cluster.put(1, "/v1/events/show", &body).await.expect(201);
    let event = cluster.get(1, "/v1/events/show").await.expect(200).json();
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let mut wrong = Vec::new();
    for case in malformed().into_iter().chain(wrong_values()).chain(wrong_places()) {
        for id in [leader, follower] {
            let answer = match cluster.send(id, &case.request).await {
                Ok(answer) => answer,
                Err(e) => {
                    wrong.push(format!("{}: no answer: {e:?}", case.what));
                    continue;
                }
            };
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
            let outcome = body["outcome"].as_str().unwrap_or_default();
            let outcome_fits =
                outcome == case.outcome || case.outcome.is_empty() && ["rejected", "not_applied"].contains(&outcome);
            let is_problem = answer.header("content-type") == Some("application/problem+json")
                && ["type", "title", "detail", "request_id"].iter().all(|field| body[field].is_string())
                && body["retryable"].is_boolean()
                && body["status"] == answer.status;
            let status_fits = answer.status == case.status || case.status == 0 && (400..500).contains(&answer.status);
            let code_fits = body["code"] == case.code || case.code.is_empty() && body["code"].is_string();
            if !(status_fits && code_fits && outcome_fits && is_problem) {
                wrong.push(format!(
                    "{} at node {id}: wanted {} {} {}, got {answer}",
                    case.what, case.status, case.code, case.outcome
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // No process fell over, and the event is as it was.
    for id in cluster.ids() {
        assert!(cluster.running.get_mut(&id).unwrap().ended().is_none(), "node {id} ended");
    }
    let after = cluster.get(follower, "/v1/events/show").await.expect(200).json();
    assert_eq!(
        (&after["version"], &after["seats"], &after["pools"]),
        (&event["version"], &event["seats"], &event["pools"])
    );
    cluster.audit("show").await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_in_the_way_is_listed_and_nothing_is_taken() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    let seats: Vec<Value> = (1..=5).map(|n| json!({ "id": format!("A-{n}") })).collect();
    let body = json!({ "name": "show", "seats": seats, "pools": [{ "id": "floor", "capacity": 3 }] });
    cluster.put(1, "/v1/events/show", &body).await.expect(201);
    cluster.call(1, book(json!({ "items": [{ "seat": "A-1" }], "order": "o-1" }))).await.expect(201);
    cluster.call(1, reserve(json!({ "items": [{ "seat": "A-2" }] }))).await.expect(201);
    let block = Request::post("/v1/events/show/block", &json!({ "items": [{ "seat": "A-3" }], "reason": "camera" }));
    cluster.call(1, block).await.expect(200);

    let all: Vec<Value> = (1..=5).map(|n| json!({ "seat": format!("A-{n}") })).collect();
    let refused = cluster.call(1, reserve(json!({ "items": all }))).await;
    // Several codes apply; the first of the table wins.
    assert_eq!((refused.status, refused.code().as_deref()), (409, Some("seat_booked")), "{refused}");
    let status = |seat: &str, status: &str| json!({ "seat": seat, "status": status });
    let wanted = json!([status("A-1", "booked"), status("A-2", "held"), status("A-3", "blocked")]);
    assert_eq!(refused.at("/conflicts"), wanted);
    // Lines of the same pool are added up before they are checked.
    let twice =
        json!({ "items": [{ "pool": "floor", "quantity": 2 }, { "pool": "floor", "quantity": 2 }, { "seat": "A-4" }] });
    let refused = cluster.call(1, reserve(twice)).await;
    assert_eq!((refused.status, refused.code().as_deref()), (409, Some("insufficient")), "{refused}");
    assert_eq!(refused.at("/conflicts"), json!([{ "pool": "floor", "available": 3, "requested": 4 }]));
    for seat in ["A-4", "A-5"] {
        let seat = cluster.get(1, &format!("/v1/events/show/seats/{seat}")).await.expect(200);
        assert_eq!(seat.text("/status"), "free", "{seat}");
    }
    cluster.audit("show").await;
}
