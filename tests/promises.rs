//! What an answer promises: keys, unknowns, deadlines, batches and reads, word by word of the contract.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Answer, Cluster, Request, millis, now_ms, turn};

fn post(path: &str, body: Value) -> Request {
    Request::post(format!("/v1/events/show/{path}"), &body)
}

fn book(seat: &str, order: &str) -> Request {
    post("book", json!({ "items": [{ "seat": seat }], "order": order }))
}

fn reserve(seats: &[&str]) -> Request {
    let items: Vec<Value> = seats.iter().map(|seat| json!({ "seat": seat })).collect();
    post("reserve", json!({ "items": items }))
}

/// One node with the event `show` of seats A-1 to A-10.
async fn one_node() -> Cluster {
    let cluster = Cluster::of(1).await;
    cluster.define_row("show", 10).await;
    cluster
}

/// Results of a batch as they are on every replay.
fn without_request_ids(mut results: Value) -> Value {
    for result in results.as_array_mut().unwrap() {
        result.as_object_mut().unwrap().remove("request_id");
    }
    results
}

fn is_applied(answer: &Answer) {
    assert_eq!(answer.outcome().as_deref(), Some("applied"), "{answer}");
    assert!(answer.number("/revision") > 0 && answer.number("/version") > 0, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_names_one_intent_for_good() {
    let _turn = turn().await;
    let cluster = one_node().await;
    let first = cluster.call(1, book("A-1", "o-1").key("k-1")).await.expect(201);
    is_applied(&first);
    assert!(!first.replayed());
    let again = cluster.call(1, book("A-1", "o-1").key("k-1")).await.expect(201);
    assert!(again.replayed());
    assert_eq!(again.body, first.body);
    // Written in another order and with other spaces it is the same request: what counts is what it says.
    let spaced = r#" { "order" : "o-1" , "items":[ {"seat":"A-1"} ] } "#;
    let same = Request::new("POST", "/v1/events/show/book").bytes("application/json", spaced.into()).key("k-1");
    assert_eq!(cluster.call(1, same).await.expect(201).body, first.body);

    cluster.call(1, book("A-2", "o-1").key("k-1")).await.problem(422, "key_reused", "not_applied");
    let elsewhere = post("release", json!({ "token": "t" })).key("k-1");
    cluster.call(1, elsewhere).await.problem(422, "key_reused", "not_applied");

    // A node makes a key where the client has none, says which, and stands by it.
    let unnamed = cluster.call(1, book("A-3", "o-3")).await.expect(201);
    let made = unnamed.header("idempotency-key").expect("the node names its key").to_owned();
    let again = cluster.call(1, book("A-3", "o-3").key(&made)).await.expect(201);
    assert!(again.replayed());
    assert_eq!(again.body, unnamed.body);
    cluster.audit("show").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_no_stays_no() {
    let _turn = turn().await;
    let cluster = one_node().await;
    let refused = cluster.call(1, post("cancel", json!({ "order": "o-1" })).key("k-1")).await;
    let refused = refused.problem(404, "order_not_found", "rejected");
    cluster.call(1, book("A-1", "o-1")).await.expect(201);
    let again = cluster.call(1, post("cancel", json!({ "order": "o-1" })).key("k-1")).await;
    assert!(again.replayed());
    assert_eq!(again.lasting_body(), refused.lasting_body());
    assert_ne!(again.text("/request_id"), refused.text("/request_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_can_be_asked_for_and_made_definite() {
    let _turn = turn().await;
    let cluster = one_node().await;
    let ask = |key: &str| Request::get(format!("/v1/outcomes/{key}"));
    let void = |key: &str| Request::new("POST", format!("/v1/outcomes/{key}/void"));

    let none = cluster.call(1, ask("k-1")).await;
    assert_eq!((none.status, none.code().as_deref()), (404, Some("outcome_not_found")), "{none}");
    let before = now_ms();
    let booked = cluster.call(1, book("A-1", "o-1").key("k-1")).await.expect(201);
    let recorded = cluster.call(1, ask("k-1")).await.expect(200);
    assert_eq!(recorded.number("/status"), 201);
    assert_eq!(recorded.at("/body"), booked.json());
    assert!((millis(&recorded.at("/decided_at")) - before).abs() < 5_000, "{recorded}");

    // Decided: voiding comes too late, and says what happened.
    let late = cluster.call(1, void("k-1")).await.expect(200);
    assert_eq!((late.at("/voided"), late.number("/status")), (json!(false), 201));
    assert_eq!(late.at("/body"), booked.json());

    // Not decided: never.
    let voided = cluster.call(1, void("k-2")).await.expect(200);
    assert_eq!(voided.at("/voided"), json!(true));
    cluster.call(1, book("A-2", "o-2").key("k-2")).await.problem(409, "voided", "rejected");
    cluster.call(1, book("A-2", "o-2").key("k-2")).await.problem(409, "voided", "rejected");
    let seat = cluster.get(1, "/v1/events/show/seats/A-2").await.expect(200);
    assert_eq!(seat.text("/status"), "free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_a_batch_with_the_longest_key_can_be_asked_for_and_voided() {
    let _turn = turn().await;
    let mut cluster = one_node().await;
    let take = |n: u64| json!({ "event": "show", "op": "book", "items": [{ "seat": format!("A-{n}") }], "order": format!("o-{n}") });
    let batch = Request::post("/v1/batch", &json!({ "atomic": false, "commands": [take(1), take(2)] }));
    let key = "k".repeat(128);
    let void = |index: u64| Request::new("POST", format!("/v1/outcomes/{key}:{index}/void"));

    cluster.call(1, void(1)).await.expect(200);
    let answer = cluster.call(1, batch.key(&key)).await.expect(200);
    assert_eq!(
        (&answer.at("/results/0/status"), &answer.at("/results/1/code")),
        (&json!(201), &json!("voided")),
        "{answer}"
    );
    let late = cluster.call(1, void(0)).await.expect(200);
    assert_eq!((late.at("/voided"), late.number("/status")), (json!(false), 201));
    // The void is read back from the log.
    cluster.kill(1);
    cluster.restart(1).await;
    let recorded = cluster.get(1, &format!("/v1/outcomes/{key}:0")).await.expect(200);
    assert_eq!(recorded.at("/body/order"), json!("o-1"));
    let recorded = cluster.get(1, &format!("/v1/outcomes/{key}:1")).await.expect(200);
    assert_eq!(recorded.at("/body/code"), json!("voided"));
    // As a key of its own it is as long as ever.
    let own = cluster.call(1, book("A-3", "o-3").key(&format!("{key}:2"))).await;
    own.problem(422, "invalid", "not_applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_past_its_own_deadline_is_refused() {
    let _turn = turn().await;
    let cluster = one_node().await;
    let at = |ms: i64| jiff::Timestamp::from_millisecond(now_ms() + ms).unwrap().to_string();
    let late = cluster.call(1, book("A-1", "o-1").header("not-after", at(-5_000))).await;
    late.problem(409, "deadline_passed", "rejected");
    let timely = book("A-1", "o-1").header("not-after", at(60_000));
    cluster.call(1, timely).await.expect(201);
    let nonsense = cluster.call(1, book("A-2", "o-2").header("not-after", "tomorrow")).await;
    assert!(matches!(nonsense.status, 400 | 422), "{nonsense}");
    assert_eq!(nonsense.outcome().as_deref(), Some("not_applied"), "{nonsense}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_buyers_of_one_seat_make_one_sale() {
    let _turn = turn().await;
    let cluster = Cluster::of(3).await;
    cluster.define_row("show", 10).await;
    for seat in ["A-1", "A-2", "A-3"] {
        let buyers: Vec<_> = (0..64)
            .map(|n| {
                let mut connection = cluster.connection(1 + n % 3);
                tokio::spawn(async move { connection.send(&book(seat, &format!("{seat}-{n}"))).await.unwrap() })
            })
            .collect();
        let mut sold = 0;
        for buyer in buyers {
            let answer = buyer.await.unwrap();
            match answer.status {
                201 => sold += 1,
                409 => {
                    assert_eq!(answer.code().as_deref(), Some("seat_booked"), "{answer}");
                    assert_eq!(answer.at("/conflicts"), json!([{ "seat": seat, "status": "booked" }]));
                }
                _ => panic!("{answer}"),
            }
        }
        assert_eq!(sold, 1, "{seat}");
    }
    cluster.audit("show").await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_is_all_or_nothing() {
    let _turn = turn().await;
    let cluster = one_node().await;
    let batch = |commands: Value| Request::post("/v1/batch", &json!({ "atomic": true, "commands": commands }));
    cluster.call(1, book("A-1", "o-1")).await.expect(201);
    cluster.call(1, book("A-2", "o-2")).await.expect(201);
    let version = cluster.get(1, "/v1/events/show").await.number("/version");

    // A swap: each command sees what those before it did.
    let cancel = |order: &str| json!({ "event": "show", "op": "cancel", "order": order });
    let take =
        |seat: &str, order: &str| json!({ "event": "show", "op": "book", "items": [{ "seat": seat }], "order": order });
    let swap = json!([cancel("o-1"), cancel("o-2"), take("A-1", "o-3"), take("A-2", "o-4")]);
    let swapped = cluster.call(1, batch(swap.clone()).key("swap")).await.expect(200);
    let statuses: Vec<Value> =
        swapped.at("/results").as_array().unwrap().iter().map(|result| result["status"].clone()).collect();
    assert_eq!(statuses, [200, 200, 201, 201].map(Value::from));
    // One change set.
    assert_eq!(cluster.get(1, "/v1/events/show").await.number("/version"), version + 1);
    let again = cluster.call(1, batch(swap).key("swap")).await.expect(200);
    assert!(again.replayed());
    assert_eq!(again.body, swapped.body);

    let half = json!([take("A-5", "o-5"), take("A-1", "o-6")]);
    let refused = cluster.call(1, batch(half)).await;
    assert_eq!((refused.status, refused.code().as_deref()), (409, Some("seat_booked")), "{refused}");
    assert_eq!(refused.number("/index"), 1);
    assert_eq!(cluster.get(1, "/v1/events/show/seats/A-5").await.text("/status"), "free");

    let mut keyed = take("A-6", "o-7");
    keyed["key"] = json!("own");
    cluster.call(1, batch(json!([keyed]))).await.problem(422, "invalid", "not_applied");
    cluster.audit("show").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_batch_decides_each_command_by_itself() {
    let _turn = turn().await;
    let cluster = one_node().await;
    cluster.define_pool("floor-only", 1_000).await;
    let batch = |commands: Value| Request::post("/v1/batch", &json!({ "atomic": false, "commands": commands }));
    let take =
        |seat: &str, order: &str| json!({ "event": "show", "op": "book", "items": [{ "seat": seat }], "order": order });
    let mut keyed = take("A-2", "o-3");
    keyed["key"] = json!("own");
    let commands =
        json!([take("A-1", "o-1"), take("A-1", "o-2"), keyed, { "event": "show", "op": "reserve", "items": [] }]);
    let answer = cluster.call(1, batch(commands.clone()).key("b-1")).await.expect(200);
    let results = answer.at("/results");
    let statuses: Vec<u64> =
        results.as_array().unwrap().iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 409, 201, 422], "{answer}");
    assert_eq!(results[1]["code"], "seat_booked");
    assert_eq!(results[3]["code"], "invalid");
    // A command's own key stands for it outside the batch too.
    let own = cluster.call(1, book("A-2", "o-3").key("own")).await.expect(201);
    assert!(own.replayed(), "{own}");
    // The same batch again: the same results.
    let again = cluster.call(1, batch(commands).key("b-1")).await.expect(200);
    assert_eq!(without_request_ids(again.at("/results")), without_request_ids(results));

    // Many entries long: results in order, none missing.
    let many: Vec<Value> = (0..2_000)
        .map(|n| json!({ "event": "floor-only", "op": "book", "items": [{ "pool": "floor" }], "order": format!("m-{n}") }))
        .collect();
    let answer = cluster.call(1, batch(json!(many)).key("b-2").header("request-timeout-ms", "30000")).await.expect(200);
    let results = answer.at("/results");
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 2_000);
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result["status"], if n < 1_000 { 201 } else { 409 }, "{n}: {result}");
        assert!(n >= 1_000 || result["order"] == format!("m-{n}"), "{n}: {result}");
    }
    assert_eq!(cluster.audit("floor-only").await["booked"], json!(1_000));

    let malformed = json!([take("A-7", "o-7"), { "event": "show", "op": "steal" }]);
    let refused = cluster.call(1, batch(malformed)).await.problem(400, "malformed", "not_applied");
    assert_eq!(refused.number("/index"), 1);
    assert_eq!(cluster.get(1, "/v1/events/show/seats/A-7").await.text("/status"), "free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_at_any_node_sees_what_was_acknowledged_before_it() {
    let _turn = turn().await;
    let cluster = Cluster::of(3).await;
    cluster.define_row("show", 200).await;
    for n in 1..=60_u64 {
        let writer = 1 + n % 3;
        let booked = cluster.call(writer, book(&format!("A-{n}"), &format!("o-{n}"))).await.expect(201);
        for id in cluster.ids() {
            let event = cluster.get(id, "/v1/events/show").await.expect(200);
            assert_eq!(event.number("/seats/booked"), n, "read at {id} after a write at {writer}");
            assert!(event.number("/revision") >= booked.number("/revision"));
        }
        let order = cluster.get(1 + (n + 1) % 3, &format!("/v1/events/show/orders/o-{n}")).await.expect(200);
        assert_eq!(order.at("/items"), json!([{ "seat": format!("A-{n}") }]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_say_who_answers_how_old_and_whether_it_changed() {
    let _turn = turn().await;
    let cluster = Cluster::of(3).await;
    cluster.define_row("show", 10).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let event = cluster.get(follower, "/v1/events/show").await.expect(200);
    assert_eq!(event.header("lastseat-node"), Some(follower.to_string().as_str()), "{event}");
    assert_eq!(event.header("lastseat-leader"), Some(format!("http://{}", cluster.api(leader)).as_str()), "{event}");
    assert!(event.header("request-id").is_some_and(|id| !id.is_empty()), "{event}");
    assert!(event.header("lastseat-revision").unwrap().parse::<u64>().unwrap() >= 1, "{event}");

    let stale = cluster.get(follower, "/v1/events/show?consistency=stale").await.expect(200);
    let age: i64 = stale.header("lastseat-staleness-ms").expect("how old").parse().unwrap();
    assert!((0..2_000).contains(&age), "{stale}");

    let tag = event.header("etag").expect("an ETag").to_owned();
    assert_eq!(tag, format!("\"{}\"", event.number("/version")));
    let same = Request::get("/v1/events/show").header("if-none-match", tag.as_str());
    let unchanged = cluster.call(follower, same.clone()).await.expect(304);
    assert!(unchanged.body.is_empty());
    let booked = cluster.call(leader, book("A-1", "o-1")).await.expect(201);
    cluster.call(follower, same).await.expect(200);

    // A revision that is there, and one that is not yet.
    let revision = booked.number("/revision");
    for id in cluster.ids() {
        let path = format!("/v1/events/show?consistency=stale&min_revision={revision}");
        assert_eq!(cluster.get(id, &path).await.expect(200).number("/seats/booked"), 1);
    }
    let ahead = format!("/v1/events/show?min_revision={}", revision + 1);
    let waiting = {
        let mut connection = cluster.connection(follower);
        tokio::spawn(async move { connection.send(&Request::get(ahead)).await.unwrap() })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "it must wait");
    cluster.call(leader, book("A-2", "o-2")).await.expect(201);
    assert_eq!(waiting.await.unwrap().expect(200).number("/seats/booked"), 2);
    let never =
        Request::get(format!("/v1/events/show?min_revision={}", revision + 1_000)).header("request-timeout-ms", "300");
    let never = cluster.call(follower, never).await;
    assert!(
        matches!((never.status, never.code().as_deref()), (504, Some("read_timeout")) | (503, Some("no_leader"))),
        "{never}"
    );

    // Redirected to the leader on request, forwarded otherwise.
    let redirect = post("book?redirect", json!({ "items": [{ "seat": "A-3" }], "order": "o-3" }));
    let redirected = cluster.call(follower, redirect).await.expect(307);
    assert_eq!(redirected.header("location").map(|url| url.contains(&cluster.api(leader).to_string())), Some(true));
    assert_eq!(cluster.get(follower, "/v1/events/show/seats/A-3").await.text("/status"), "free");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_by_filter() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    let seats: Vec<Value> = (0..25)
        .map(|n| json!({ "id": format!("S-{n:02}"), "section": if n < 10 { "Left" } else { "Right" }, "category": if n % 2 == 0 { "even" } else { "odd" } }))
        .collect();
    for event in ["show", "second", "third"] {
        cluster.put(1, &format!("/v1/events/{event}"), &json!({ "name": event, "seats": seats })).await.expect(201);
    }
    cluster.call(1, book("S-03", "o-1")).await.expect(201);
    cluster.call(1, reserve(&["S-04"])).await.expect(201);
    let ids = |answer: &Answer, list: &str, id: &str| -> Vec<String> {
        let rows = answer.at(list);
        rows.as_array().unwrap().iter().map(|row| row[id].as_str().unwrap().to_owned()).collect()
    };
    let page = cluster.get(1, "/v1/events?limit=2").await.expect(200);
    assert_eq!(ids(&page, "/events", "event"), ["second", "show"]);
    let next = page.text("/next");
    let page = cluster.get(1, &format!("/v1/events?limit=2&after={next}")).await.expect(200);
    assert_eq!(ids(&page, "/events", "event"), ["third"]);
    assert!(page.at("/next").is_null(), "{page}");

    let all = cluster.get(1, "/v1/events/show/seats").await.expect(200);
    assert_eq!(ids(&all, "/seats", "id").len(), 25);
    let page = cluster.get(1, "/v1/events/show/seats?limit=10").await.expect(200);
    let rest = format!("/v1/events/show/seats?limit=100&after={}", page.text("/next"));
    let rest = cluster.get(1, &rest).await.expect(200);
    let together = [ids(&page, "/seats", "id"), ids(&rest, "/seats", "id")].concat();
    assert_eq!(together, ids(&all, "/seats", "id"));
    let taken = |status: &str| format!("/v1/events/show/seats?status={status}");
    assert_eq!(ids(&cluster.get(1, &taken("booked")).await, "/seats", "id"), ["S-03"]);
    assert_eq!(ids(&cluster.get(1, &taken("held")).await, "/seats", "id"), ["S-04"]);
    let some = cluster.get(1, "/v1/events/show/seats?section=Left&category=even&status=free").await;
    assert_eq!(ids(&some, "/seats", "id"), ["S-00", "S-02", "S-06", "S-08"]);
    // Who has it is not in the public list, and is in the seat's own page.
    assert!(!String::from_utf8_lossy(&all.body).contains("o-1"));
    assert_eq!(cluster.get(1, "/v1/events/show/seats/S-03").await.text("/order"), "o-1");
}
