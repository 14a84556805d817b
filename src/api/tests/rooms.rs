//! Large bodies and answers of all connections together have their room, and small ones need none.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::canned::{Got, applying, ask, get, post, send, unreached};
use crate::api::request::{BATCH_BYTES_MAX, BODY_BYTES_MAX, DEFINITION_BYTES_MAX};
use crate::api::room::{
    ANSWERS_BYTES_MAX, BATCHES_BYTES_MAX, BODIES_BYTES_MAX, BODY_FREE_BYTES, DEFINITIONS_BYTES_MAX,
};

const SMALL: &str = r#"{"items":[]}"#;

fn put(declared: Option<usize>, body: Body) -> Request<Body> {
    let request = Request::put("/v1/events/e").header("content-type", "application/json");
    let request = match declared {
        Some(bytes) => request.header("content-length", bytes),
        None => request,
    };
    request.body(body).expect("a valid request")
}

/// A body that begins and does not go on.
fn stalling(begin: usize) -> Body {
    let begin = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b' '; begin]))]);
    Body::from_stream(futures_util::StreamExt::chain(begin, futures_util::stream::pending()))
}

/// Requests that wait for the rest of their bodies until they are dropped.
async fn stall(
    router: &Router,
    count: usize,
    declared: Option<usize>,
    begin: usize,
) -> Vec<tokio::task::JoinHandle<Got>> {
    let mut stalled = Vec::new();
    for _ in 0..count {
        let router = router.clone();
        stalled.push(tokio::spawn(async move { ask(&router, put(declared, stalling(begin))).await }));
    }
    // Each runs until it waits for its body.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    stalled
}

#[tokio::test]
async fn definitions_that_do_not_come_to_an_end_are_bounded_and_keep_nothing_else_out() {
    for declared in [Some(DEFINITION_BYTES_MAX), None] {
        let router = unreached();
        let fit = DEFINITIONS_BYTES_MAX / DEFINITION_BYTES_MAX;
        let stalled = stall(&router, fit, declared, BODY_FREE_BYTES + 1).await;
        let more = ask(&router, put(declared, stalling(BODY_FREE_BYTES + 1))).await;
        assert_eq!(more.problem(), (429, "overloaded".into()));
        assert_eq!((more.json()["outcome"].as_str(), more.header("retry-after")), (Some("not_applied"), Some("1")));
        // A small one is read, and so is every other command.
        assert_eq!(send(&router, "PUT", "/v1/events/e", "{").await.status, 400);
        assert_eq!(post(&router, "/v1/events/e/reserve", SMALL).await.status, 422);
        assert_eq!(post(&router, "/v1/events/e/reserve", vec![b' '; BODY_BYTES_MAX]).await.status, 400);
        assert_eq!(post(&router, "/v1/batch", vec![b' '; BATCH_BYTES_MAX]).await.status, 400);
        for one in stalled {
            one.abort();
            assert!(one.await.is_err(), "it waits until the end");
        }
        let again = ask(&router, put(Some(DEFINITION_BYTES_MAX), vec![b' '; DEFINITION_BYTES_MAX].into())).await;
        assert_eq!(again.status, 400, "the room is given back: {}", again.text);
    }
}

#[tokio::test]
async fn a_small_body_of_unknown_length_needs_no_room() {
    let router = unreached();
    let stalled = stall(&router, DEFINITIONS_BYTES_MAX / DEFINITION_BYTES_MAX + 1, None, BODY_FREE_BYTES).await;
    assert!(stalled.iter().all(|one| !one.is_finished()), "none was refused");
}

#[test]
fn every_route_finds_room_for_its_largest_body() {
    const { assert!(BODIES_BYTES_MAX >= BODY_BYTES_MAX && BATCHES_BYTES_MAX >= BATCH_BYTES_MAX) };
}

#[tokio::test]
async fn answers_that_nobody_takes_are_bounded() {
    const SEATS: usize = 100_000;
    let router = applying();
    let seats: Vec<String> = (0..SEATS).map(|n| format!(r#"{{"id":"s-{n}"}}"#)).collect();
    let made = send(&router, "PUT", "/v1/events/e", format!(r#"{{"name":"e","seats":[{}]}}"#, seats.join(","))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let list = || {
        let request = Request::get("/v1/events/e/seats").header("request-timeout-ms", "2000");
        router.clone().oneshot(request.body(Body::empty()).expect("valid"))
    };
    let mut untaken = Vec::new();
    let mut bytes = 0;
    let refused = loop {
        let answer = list().await.expect("a router cannot fail");
        if answer.status() != 200 {
            break answer;
        }
        bytes += answer.body().size_hint().exact().expect("it is in memory");
        assert!(bytes <= ANSWERS_BYTES_MAX as u64, "{bytes} bytes wait for their clients");
        untaken.push(answer);
    };
    assert_eq!(refused.status(), 504, "it waited for room until its deadline");
    assert!(bytes > ANSWERS_BYTES_MAX as u64 / 4, "only {bytes} bytes were taken");
    // A page needs no room.
    assert_eq!(get(&router, "/v1/events/e/seats?limit=100").await.status, 200);
    // One that is taken to its end makes room.
    let one = untaken.pop().expect("some were answered");
    let waiting = tokio::spawn(list());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished());
    let taken = one.into_body().collect().await.expect("a body in memory").to_bytes();
    assert!(!waiting.is_finished(), "these bytes are not sent yet");
    drop(taken);
    assert_eq!(waiting.await.expect("it ends").expect("a router cannot fail").status(), 200);
}
