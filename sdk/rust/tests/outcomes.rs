//! What the client concludes from what nodes do.
#![allow(clippy::unwrap_used)]

mod script;

use std::time::{Duration, Instant};

use lastseat_client::{Attempt, Book, Client, Item, Outcome, ReadError, Reserve};
use script::{Node, Step, hold, nobody, problem, problem_with};

const SHORT: Duration = Duration::from_millis(400);

fn reserve() -> Reserve {
    Reserve::seats(["A-1"]).customer("ada")
}

#[tokio::test]
async fn a_hold_comes_back_typed_and_the_request_says_all_it_should() {
    let node = Node::start([hold()]).await;
    let client = Client::new([format!("{}/", node.url)]).unwrap();
    let mut call = client.reserve("an event", reserve()).attempt_timeout(Duration::from_secs(2));
    let key = call.key().to_owned();
    let Outcome::Applied(hold) = call.send().await else { panic!("not applied") };
    assert_eq!((hold.token.as_str(), hold.revision, hold.version), ("secret-7", Some(7), Some(3)));
    assert_eq!(hold.items, [Item::seat("A-1")]);
    assert!(!format!("{hold:?}").contains("secret-7"), "a token is a secret");

    let seen = &node.seen()[0];
    assert_eq!(seen.line, "POST /v1/events/an%20event/reserve HTTP/1.1");
    assert_eq!(seen.header("idempotency-key"), Some(key.as_str()));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("request-timeout-ms"), Some("1800"));
    assert_eq!(seen.body, r#"{"items":[{"seat":"A-1"}],"customer":"ada"}"#);
}

#[tokio::test]
async fn a_decided_no_is_final() {
    let node = Node::start([problem(409, "seat_held", "rejected")]).await;
    let client = Client::new([&node.url]).unwrap();
    let Outcome::Rejected(no) = client.reserve("e", reserve()).await else { panic!("not rejected") };
    assert_eq!((no.status, no.code.as_str()), (409, "seat_held"));
    assert_eq!(no.conflicts[0].status.as_deref(), Some("held"));
    assert_eq!(no.more["revision"], 5);
    assert_eq!(node.seen().len(), 1);
}

#[tokio::test]
async fn an_early_refusal_has_no_effect_and_is_not_repeated() {
    let node = Node::start([problem(409, "insufficient", "not_applied")]).await;
    let client = Client::new([&node.url]).unwrap();
    let outcome = client.reserve("e", reserve()).await;
    assert!(matches!(outcome, Outcome::NotApplied(no) if no.code == "insufficient"));
    assert_eq!(node.seen().len(), 1);
}

#[tokio::test]
async fn unknown_is_asked_again_on_the_next_node_with_the_same_key() {
    for first in [problem(504, "unknown", "unknown"), Step::HangUp, Step::HangUpMidAnswer] {
        let (one, two) = (Node::start([first]).await, Node::start([hold()]).await);
        let client = Client::new([&one.url, &two.url]).unwrap();
        let outcome = client.reserve("e", reserve()).await;
        assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
        let key = one.seen()[0].header("idempotency-key").unwrap().to_owned();
        assert_eq!(two.seen()[0].header("idempotency-key"), Some(key.as_str()));
        assert_eq!(one.seen()[0].body, two.seen()[0].body);
    }
}

#[tokio::test]
async fn unknown_followed_by_not_applied_stays_unknown() {
    for then in [problem(409, "seat_held", "not_applied"), problem(422, "key_reused", "not_applied")] {
        let node = Node::start([Step::HangUpMidAnswer, then]).await;
        let client = Client::new([&node.url]).unwrap();
        let mut call = client.reserve("e", reserve());
        let outcome = call.send().await;
        let Outcome::Unknown { key, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(key, call.key());
    }
}

#[tokio::test]
async fn unknown_then_no_leader_until_the_deadline_stays_unknown() {
    let no_leader = || problem(503, "no_leader", "not_applied");
    let steps = std::iter::once(Step::HangUp).chain((0..1000).map(|_| no_leader()));
    let node = Node::start(steps).await;
    let client = Client::new([&node.url]).unwrap();
    let outcome = client.reserve("e", reserve()).deadline(SHORT).await;
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_call_sent_again_remembers_that_it_is_unknown() {
    let node = Node::start([Step::Sleep(SHORT), problem(409, "seat_held", "not_applied"), hold()]).await;
    let client = Client::new([&node.url]).unwrap();
    let mut call = client.reserve("e", reserve()).deadline(Duration::from_millis(100));
    assert!(matches!(call.send().await, Outcome::Unknown { .. }));
    call = call.deadline(Duration::from_secs(5));
    assert!(matches!(call.send().await, Outcome::Unknown { .. }), "no effect now says nothing about then");
    assert!(matches!(call.send().await, Outcome::Applied(_)));
    let keys: Vec<_> = node.seen().iter().map(|seen| seen.header("idempotency-key").unwrap().to_owned()).collect();
    assert!(keys.iter().all(|key| key == call.key()), "{keys:?}");
}

#[tokio::test]
async fn nothing_sent_is_not_applied_and_the_next_node_is_asked() {
    let node = Node::start([hold()]).await;
    let client = Client::new([nobody().await, nobody().await, node.url.clone()]).unwrap();
    assert!(matches!(client.reserve("e", reserve()).await, Outcome::Applied(_)));

    let client = Client::new([nobody().await]).unwrap();
    let outcome = client.reserve("e", reserve()).deadline(SHORT).await;
    assert!(matches!(&outcome, Outcome::NotApplied(no) if no.code == "not_sent" && no.status == 0), "{outcome:?}");
}

#[tokio::test]
async fn retry_after_is_honoured_within_the_deadline() {
    let busy = || problem_with(429, "retry-after: 1\r\n", "overloaded", "not_applied");
    let node = Node::start([busy(), hold()]).await;
    let client = Client::new([&node.url]).unwrap();
    let started = Instant::now();
    assert!(matches!(client.reserve("e", reserve()).await, Outcome::Applied(_)));
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(3), "{waited:?}");

    let node = Node::start([busy()]).await;
    let client = Client::new([&node.url]).unwrap();
    let started = Instant::now();
    let outcome = client.reserve("e", reserve()).deadline(SHORT).await;
    assert!(matches!(outcome, Outcome::NotApplied(no) if no.code == "overloaded"));
    assert!(started.elapsed() < Duration::from_secs(1), "to wait past the deadline is no use");
}

#[tokio::test]
async fn resolve_makes_an_unknown_definite_by_voiding_it() {
    let node = Node::start([
        Step::HangUp,
        problem(409, "seat_held", "not_applied"),
        Step::Answer(200, "", r#"{"outcome":"applied","revision":9,"voided":true}"#.into()),
    ])
    .await;
    let client = Client::new([&node.url]).unwrap();
    let mut call = client.reserve("e", reserve());
    let outcome = call.resolve().await;
    assert!(matches!(&outcome, Outcome::Rejected(no) if no.code == "voided"), "{outcome:?}");
    assert_eq!(node.seen()[2].line, format!("POST /v1/outcomes/{}/void HTTP/1.1", call.key()));
}

#[tokio::test]
async fn resolve_finds_what_happened() {
    let recorded = r#"{"voided":false,"status":201,"body":{"outcome":"applied","revision":7,"order":"o","event":"e",
        "items":[{"pool":"p","quantity":2}],"customer":null,"booked_at":"2027-01-01T00:00:00.000Z"}}"#;
    let node = Node::start([
        Step::HangUp,
        problem(409, "insufficient", "not_applied"),
        Step::Answer(200, "", recorded.into()),
    ])
    .await;
    let client = Client::new([&node.url]).unwrap();
    let outcome = client.book("e", Book::direct([Item::pool("p", 2)], "o")).resolve().await;
    let Outcome::Applied(order) = outcome else { panic!("{outcome:?}") };
    assert_eq!(order.items[0].units(), 2);
}

#[tokio::test]
async fn resolve_never_voids_a_key_that_belongs_to_another_intent() {
    let node = Node::start([Step::HangUp, problem(422, "key_reused", "not_applied")]).await;
    let client = Client::new([&node.url]).unwrap();
    let outcome = client.reserve("e", reserve()).with_key("mine").resolve().await;
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert_eq!(node.seen().len(), 2);
}

#[tokio::test]
async fn what_no_node_of_ours_said_is_unknown() {
    for strange in [
        Step::Answer(502, "", "bad gateway".into()),
        Step::Answer(201, "", "not json".into()),
        Step::Answer(503, "", "<html>".into()),
    ] {
        let node = Node::start([strange]).await;
        let client = Client::new([&node.url]).unwrap();
        let attempt = client.reserve("e", reserve()).attempt_on(0, SHORT).await;
        assert!(matches!(attempt, Attempt::Unknown(_)), "{attempt:?}");
    }
}

#[tokio::test]
async fn connections_are_kept_and_the_leader_is_preferred() {
    let leader = Node::start([hold(), hold()]).await;
    let header: &'static str = Box::leak(format!("lastseat-leader: {}\r\n", leader.url).into_boxed_str());
    let follower = Node::start([problem_with(409, header, "seat_held", "rejected")]).await;
    let client = Client::new([&follower.url, &leader.url]).unwrap();
    assert!(matches!(client.reserve("e", reserve()).await, Outcome::Rejected(_)));
    assert!(matches!(client.reserve("e", reserve()).await, Outcome::Applied(_)));
    assert!(matches!(client.reserve("e", reserve()).await, Outcome::Applied(_)));
    assert_eq!((follower.seen().len(), leader.seen().len()), (1, 2));
}

#[tokio::test]
async fn reads_are_tried_on_every_node() {
    let cluster = r#"{"cluster_id":"c","leader":2,"term":1,"revision":4,"nodes":[{"id":2,"role":"leader"}]}"#;
    let one = Node::start([problem(503, "no_leader", "not_applied")]).await;
    let two = Node::start([Step::HangUpMidAnswer]).await;
    let three = Node::start([Step::Answer(200, "", cluster.into())]).await;
    let client = Client::new([&one.url, &two.url, &three.url]).unwrap();
    assert_eq!(client.cluster().stale().await.unwrap().leader, Some(2));
    assert_eq!(three.seen()[0].line, "GET /v1/cluster?consistency=stale HTTP/1.1");

    let node = Node::start([problem(404, "event_not_found", "rejected")]).await;
    let client = Client::new([&node.url]).unwrap();
    let error = client.event("nothing").await.unwrap_err();
    assert!(matches!(&error, ReadError::Refused(no) if no.code == "event_not_found"), "{error}");

    let client = Client::new([nobody().await]).unwrap();
    let error = client.event("nothing").deadline(SHORT).await.unwrap_err();
    assert!(matches!(error, ReadError::Unreachable(_)));
}

#[tokio::test]
async fn keys_are_made_once_per_intent() {
    let client = Client::new(["http://127.0.0.1:1"]).unwrap();
    let (one, two) = (client.reserve("e", reserve()), client.reserve("e", reserve()));
    assert_ne!(one.key(), two.key());
    assert_eq!(one.key().len(), 36);
}

#[test]
fn urls_are_checked() {
    for (url, why) in
        [("127.0.0.1:7401", "http://"), ("https://x", "TLS"), ("http://", "http://"), ("ftp://x", "http://")]
    {
        let error = Client::new([url]).err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(Client::new(Vec::<String>::new()).is_err());
    assert_eq!(lastseat_client::path_segment("A 1/é:."), "A%201%2F%C3%A9%3A.");
    assert_eq!(lastseat_client::path_segment(".."), "%2E%2E");
}
