//! An event is sold over the API, on the real state machine.

use axum::Router;
use axum::http::Request;
use serde_json::{Value, json};

use super::canned::{Got, applying, ask, get, post, send};

const PLAY: &str = r#"{"name":"Play","seats":[
    {"id":"A-1","section":"S","row":"A","number":1,"category":"premium","x":1.5,"y":2},
    {"id":"A-2","section":"S","row":"A","number":"2a"},
    {"id":"B-1","section":"T","row":"B"}],
  "pools":[{"id":"standing","capacity":5,"name":"Standing"}],"labels":{"venue":"Globe"}}"#;

async fn play() -> Router {
    let router = applying();
    let got = send(&router, "PUT", "/v1/events/play", PLAY).await;
    assert_eq!(got.status, 201, "{}", got.text);
    router
}

async fn with_key(router: &Router, key: &str, path: &str, body: &str) -> Got {
    let request = Request::post(path).header("idempotency-key", key).header("request-id", "r");
    ask(router, request.body(body.to_owned().into()).expect("valid")).await
}

async fn put(router: &Router, if_match: &str, body: &str) -> Got {
    let request = Request::put("/v1/events/play").header("if-match", if_match);
    ask(router, request.body(body.to_owned().into()).expect("valid")).await
}

#[tokio::test]
async fn a_seat_is_held_booked_and_given_back() {
    let router = play().await;
    let held = post(
        &router,
        "/v1/events/play/reserve",
        r#"{"items":[{"seat":"A-1"},{"pool":"standing","quantity":2}],"customer":"c"}"#,
    )
    .await;
    assert_eq!(held.status, 201, "{}", held.text);
    let hold = held.json();
    assert_eq!(hold["expires_in_ms"], 600_000);
    let token = hold["token"].as_str().expect("a token");

    let read = get(&router, &format!("/v1/events/play/holds/{token}")).await;
    assert_eq!((read.status, read.header("lastseat-staleness-ms")), (200, Some("-1")));
    assert_eq!((&read.json()["items"], &read.json()["revision"]), (&hold["items"], &hold["revision"]));
    let seat = get(&router, "/v1/events/play/seats/A-1").await.json();
    assert_eq!((&seat["status"], &seat["token"], &seat["customer"]), (&json!("held"), &json!(token), &json!("c")));

    let body = format!(r#"{{"token":"{token}","order":"o 1"}}"#);
    let booked = with_key(&router, "k-1", "/v1/events/play/book", &body).await;
    assert_eq!(booked.status, 201, "{}", booked.text);
    let again = with_key(&router, "k-1", "/v1/events/play/book", &body).await;
    assert_eq!((again.status, &again.text, again.header("idempotency-replayed")), (201, &booked.text, Some("true")));

    let recorded = get(&router, "/v1/outcomes/k-1").await.json();
    assert_eq!((&recorded["status"], &recorded["body"]), (&json!(201), &booked.json()));
    let voided = post(&router, "/v1/outcomes/k-1/void", "").await.json();
    assert_eq!((&voided["voided"], &voided["body"]), (&json!(false), &booked.json()));

    let order = get(&router, "/v1/events/play/orders/o%201").await.json();
    assert_eq!(order["items"], hold["items"]);
    let gone = get(&router, &format!("/v1/events/play/holds/{token}")).await;
    assert_eq!(gone.problem(), (404, "hold_not_found".into()));
    assert_eq!(gone.json()["outcome"], "not_applied");

    let cancelled = post(&router, "/v1/events/play/cancel", r#"{"order":"o 1","items":[{"seat":"A-1"}]}"#).await.json();
    assert_eq!(cancelled["cancelled"], json!([{"seat":"A-1"}]));
    let audit = get(&router, "/v1/events/play/audit").await.json();
    assert_eq!(
        (&audit["capacity"], &audit["booked"], &audit["available"], &audit["oversold"], &audit["violations"]),
        (&json!(8), &json!(2), &json!(6), &json!(0), &json!([]))
    );
    assert_eq!(audit["pools"]["standing"], json!({"capacity":5,"held":0,"booked":2,"blocked":0,"available":3}));
}

#[tokio::test]
async fn a_taken_seat_is_named_and_the_no_is_kept() {
    let router = play().await;
    post(&router, "/v1/events/play/book", r#"{"items":[{"seat":"A-1"}],"order":"o"}"#).await;
    let body = r#"{"items":[{"seat":"A-1"},{"pool":"standing","quantity":9}]}"#;
    let no = with_key(&router, "k-no", "/v1/events/play/reserve", body).await;
    assert_eq!(no.problem(), (409, "seat_booked".into()));
    let conflicts = no.json()["conflicts"].clone();
    assert_eq!(conflicts, json!([{"seat":"A-1","status":"booked"},{"pool":"standing","available":5,"requested":9}]));
    assert_eq!((&no.json()["outcome"], &no.json()["revision"]), (&json!("rejected"), &json!(2)));
    let again = with_key(&router, "k-no", "/v1/events/play/reserve", body).await;
    assert_eq!((again.text, again.headers.get("idempotency-replayed").is_some()), (no.text, true));
}

#[tokio::test]
async fn an_event_has_an_etag_and_a_definition_version() {
    let router = play().await;
    let got = get(&router, "/v1/events/play").await;
    assert_eq!(got.header("etag"), Some("\"1\""));
    let event = got.json();
    assert_eq!(event["seats"], json!({"total":3,"free":3,"held":0,"booked":0,"blocked":0}));
    assert_eq!((&event["revision"], &event["definition_version"], &event["group"]), (&json!(1), &json!(1), &json!(0)));
    for tag in ["\"1\"", "W/\"1\"", "\"0\", \"1\"", "*"] {
        let request = Request::get("/v1/events/play").header("if-none-match", tag);
        let same = ask(&router, request.body("".into()).expect("valid")).await;
        assert_eq!((same.status, same.text.as_str(), same.header("etag")), (304, "", Some("\"1\"")), "{tag}");
    }
    let request = Request::get("/v1/events/play").header("if-none-match", "\"2\"");
    assert_eq!(ask(&router, request.body("".into()).expect("valid")).await.status, 200);

    let moved = put(&router, "\"9\"", PLAY).await;
    assert_eq!(moved.problem(), (412, "definition_moved".into()));
    assert_eq!(moved.json()["definition_version"], 1);
    for if_match in ["\"1\"", "*"] {
        assert_eq!(put(&router, if_match, PLAY).await.status, 200);
    }
    assert_eq!(put(&router, "3", PLAY).await.problem(), (422, "invalid".into()));
    let patched = send(&router, "PATCH", "/v1/events/play", r#"{"on_sale":false}"#).await.json();
    assert_eq!(
        (&patched["on_sale"], &patched["version"], &patched["definition_version"]),
        (&json!(false), &json!(2), &json!(2))
    );
    let no = post(&router, "/v1/events/play/reserve", r#"{"best":{"quantity":1}}"#).await;
    assert_eq!(no.problem(), (409, "not_on_sale".into()));
}

fn ids(page: &Value) -> Vec<&str> {
    page["seats"].as_array().expect("a list").iter().map(|seat| seat["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn seats_are_listed_filtered_and_paged_in_definition_order() {
    let router = play().await;
    post(&router, "/v1/events/play/block", r#"{"items":[{"seat":"A-2"}],"reason":"sight"}"#).await;
    let whole = get(&router, "/v1/events/play/seats").await.json();
    assert_eq!((ids(&whole), &whole["next"], &whole["version"]), (vec!["A-1", "A-2", "B-1"], &Value::Null, &json!(2)));
    assert_eq!(
        whole["seats"][0],
        json!({"id":"A-1","status":"free","section":"S","row":"A","number":1,"category":"premium","x":1.5,"y":2.0})
    );
    assert_eq!((&whole["seats"][1]["number"], &whole["seats"][1]["status"]), (&json!("2a"), &json!("blocked")));
    for (query, expected, next) in [
        ("limit=2", vec!["A-1", "A-2"], json!("A-2")),
        ("limit=2&after=A-2", vec!["B-1"], Value::Null),
        ("limit=3", vec!["A-1", "A-2", "B-1"], Value::Null),
        ("status=free&limit=1", vec!["A-1"], json!("A-1")),
        ("status=blocked", vec!["A-2"], Value::Null),
        ("section=T", vec!["B-1"], Value::Null),
        ("category=premium", vec!["A-1"], Value::Null),
        ("status=held", vec![], Value::Null),
    ] {
        let page = get(&router, &format!("/v1/events/play/seats?{query}")).await.json();
        assert_eq!((ids(&page), &page["next"]), (expected, &next), "{query}");
    }
    assert_eq!(get(&router, "/v1/events/play/seats?after=Z").await.problem(), (404, "seat_not_found".into()));
    assert_eq!(get(&router, "/v1/events/none/seats").await.problem(), (404, "event_not_found".into()));
    assert_eq!(get(&router, "/v1/events/play/seats/Z").await.problem(), (404, "seat_not_found".into()));
}

#[tokio::test]
async fn events_and_orders_come_in_pages() {
    let router = play().await;
    send(&router, "PUT", "/v1/events/other", r#"{"name":"Other"}"#).await;
    let page = get(&router, "/v1/events?limit=1").await.json();
    assert_eq!((&page["events"][0]["event"], &page["next"]), (&json!("other"), &json!("other")));
    let page = get(&router, "/v1/events?limit=1&after=other").await.json();
    assert_eq!(
        (&page["events"], &page["next"]),
        (&json!([{"event":"play","name":"Play","on_sale":true,"version":1}]), &Value::Null)
    );
    for (order, customer) in [("z", "c"), ("y", "d"), ("x", "c")] {
        let body = format!(r#"{{"items":[{{"pool":"standing"}}],"order":"{order}","customer":"{customer}"}}"#);
        assert_eq!(post(&router, "/v1/events/play/book", body).await.status, 201);
    }
    let orders = |page: Value| -> Vec<String> {
        page["orders"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|o| o["order"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(orders(get(&router, "/v1/events/play/orders").await.json()), ["z", "y", "x"]);
    let page = get(&router, "/v1/events/play/orders?limit=1&after=z").await.json();
    assert_eq!((&page["next"], orders(page.clone())), (&json!("y"), vec!["y".to_owned()]));
    assert_eq!(orders(get(&router, "/v1/events/play/orders?customer=c").await.json()), ["z", "x"]);
    assert_eq!(get(&router, "/v1/events/play/orders?after=none").await.problem(), (404, "order_not_found".into()));
}

#[tokio::test]
async fn an_atomic_batch_is_all_or_none_and_names_the_first_that_fails() {
    let router = play().await;
    let batch = |second: &str| {
        format!(
            r#"{{"atomic":true,"commands":[
              {{"event":"play","op":"book","items":[{{"seat":"A-1"}}],"order":"o-{second}"}},
              {{"event":"play","op":"block","items":[{{"seat":"{second}"}}]}}]}}"#
        )
    };
    let no = post(&router, "/v1/batch", batch("A-1")).await;
    assert_eq!((no.problem(), &no.json()["index"]), ((409, "seat_booked".into()), &json!(1)));
    let yes = post(&router, "/v1/batch", batch("B-1")).await;
    let body = yes.json();
    assert_eq!(
        (yes.status, &body["outcome"], &body["results"][0]["status"], &body["results"][1]["status"]),
        (200, &json!("applied"), &json!(201), &json!(200))
    );
    assert_eq!(body["results"][1]["blocked"], json!([{"seat":"B-1"}]));
}

#[tokio::test]
async fn what_was_never_decided_can_be_voided_for_ever() {
    let router = play().await;
    assert_eq!(get(&router, "/v1/outcomes/k-9").await.problem(), (404, "outcome_not_found".into()));
    assert_eq!(post(&router, "/v1/outcomes/k-9/void", "{}").await.json()["voided"], true);
    let late = with_key(&router, "k-9", "/v1/events/play/reserve", r#"{"items":[{"seat":"A-1"}]}"#).await;
    assert_eq!(late.problem(), (409, "voided".into()));
}

#[tokio::test]
async fn deleting_needs_force_when_something_is_sold() {
    let router = play().await;
    post(&router, "/v1/events/play/book", r#"{"items":[{"seat":"A-1"}],"order":"o"}"#).await;
    assert_eq!(send(&router, "DELETE", "/v1/events/play", "").await.problem(), (409, "seat_booked".into()));
    let gone = send(&router, "DELETE", "/v1/events/play?force=true", "").await;
    assert_eq!((gone.status, &gone.json()["event"]), (200, &json!("play")));
    assert_eq!(get(&router, "/v1/events/play").await.problem(), (404, "event_not_found".into()));
}

#[tokio::test]
async fn the_hash_of_the_state_names_its_position_and_its_version() {
    let hash = get(&play().await, "/v1/cluster/state-hash").await.json();
    let text = hash["hash"].as_str().expect("a text");
    let (version, digits) = text.split_once(':').expect("a version");
    assert!(version.starts_with('v') && digits.len() == 64, "{text}");
    assert_eq!((&hash["node"], &hash["log_index"], &hash["revision"]), (&json!(2), &json!(1), &json!(1)));
}

#[tokio::test]
async fn a_webhook_is_set_and_read_and_what_is_wrong_is_told() {
    let router = applying();
    let cases: &[(&str, u16, &str, &str)] = &[
        (r#"{}"#, 400, "malformed", "url"),
        (r#"{"url":"https://a/","secret":"x"}"#, 400, "malformed", "secret"),
        (r#"{"url":"https://a/","causes":["sell"]}"#, 400, "malformed", "causes[0]"),
        (r#"{"url":"ftp://a/"}"#, 422, "invalid", "https://"),
        (r#"{"url":"https://u:p@a/"}"#, 422, "invalid", "user name"),
        (r#"{"url":"https://a/","events":[]}"#, 422, "invalid", "events"),
        (r#"{"url":"https://a/","events":["a/b"]}"#, 422, "invalid", "events[0]"),
        (r#"{"url":"https://a/","disable_after_ms":1}"#, 422, "invalid", "disable_after_ms"),
    ];
    for (body, status, code, says) in cases {
        let got = send(&router, "PUT", "/v1/webhooks/w", *body).await;
        assert_eq!(got.problem(), (*status, (*code).to_owned()), "{body}");
        assert!(got.detail().contains(says), "{body}: {}", got.detail());
    }
    // Without a leader nobody makes the secret.
    let got = send(&router, "PUT", "/v1/webhooks/w", r#"{"url":"https://a/"}"#).await;
    assert_eq!(got.problem(), (422, "invalid".to_owned()));
    assert_eq!(get(&router, "/v1/webhooks").await.json()["webhooks"], json!([]));
    assert_eq!(get(&router, "/v1/webhooks/w").await.problem(), (404, "webhook_not_found".to_owned()));
    assert_eq!(get(&router, "/v1/webhooks/w/deliveries").await.problem(), (404, "webhook_not_found".to_owned()));
    let got = post(&router, "/v1/webhooks/w/pause", "").await;
    assert_eq!(got.problem(), (404, "webhook_not_found".to_owned()));
    let got = post(&router, "/v1/webhooks/w/deliveries/nonsense/redeliver", "").await;
    assert_eq!(got.problem(), (422, "invalid".to_owned()));
}
