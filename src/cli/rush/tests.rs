//! A rush against a shop of one process with the same answers as a node, which loses one answer in ten: half of them
//! after it did what was asked.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clap::Parser as _;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::super::args::{Cli, Command};
use super::*;

#[derive(Default)]
struct Counter {
    free: u64,
    held: u64,
    booked: u64,
    orders: u64,
    holds: HashMap<String, u64>,
    decided: HashMap<String, (u16, Value)>,
    requests: u64,
    /// Most units of one `best`: seats in two rows of this many.
    neighbours: u64,
    /// Sells one unit too many, to see whether anyone notices.
    oversells: bool,
}

type Shared = Arc<Mutex<Counter>>;

fn problem(status: u16, code: &str, outcome: &str, available: u64) -> (u16, Value) {
    let conflicts = json!([{"available": available}]);
    (status, json!({"status": status, "code": code, "outcome": outcome, "conflicts": conflicts}))
}

impl Counter {
    fn reserve(&mut self, key: &str, body: &Value) -> (u16, Value) {
        let wanted = body["best"]["quantity"].as_u64().or(body["items"][0]["quantity"].as_u64()).unwrap();
        assert!(body["customer"].is_string());
        if self.free < wanted {
            return problem(409, "insufficient", "not_applied", self.free);
        }
        if body["best"]["contiguous"] == true && wanted > self.neighbours {
            return problem(409, "not_contiguous", "rejected", self.free);
        }
        self.free -= wanted;
        self.held += wanted;
        self.holds.insert(key.to_owned(), wanted);
        let items = json!([{"pool": "p", "quantity": wanted}]);
        (201, json!({"token": key, "event": "e", "items": items, "customer": null, "expires_at": "", "created_at": ""}))
    }

    fn book(&mut self, body: &Value) -> (u16, Value) {
        let Some(units) = self.holds.remove(body["token"].as_str().unwrap()) else {
            return problem(404, "hold_not_found", "rejected", 0);
        };
        self.held -= units;
        self.booked += units;
        self.orders += 1;
        let items = json!([{"pool": "p", "quantity": units}]);
        (201, json!({"order": body["order"], "event": "e", "items": items, "customer": null, "booked_at": ""}))
    }
}

fn answer((status, body): (u16, Value)) -> Response {
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn command(
    State(counter): State<Shared>,
    Path(op): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let mut counter = counter.lock();
    counter.requests += 1;
    let unknown = || answer(problem(504, "unknown", "unknown", 0));
    if counter.requests % 20 == 7 {
        return unknown();
    }
    let decided = counter.decided.get(&key).cloned();
    let decision = decided.unwrap_or_else(|| match op.as_str() {
        "reserve" => counter.reserve(&key, &body),
        "book" => counter.book(&body),
        other => panic!("{other}"),
    });
    if decision.1["outcome"] != "not_applied" {
        counter.decided.insert(key, decision.clone());
    }
    if counter.requests % 20 == 17 { unknown() } else { answer(decision) }
}

async fn void(State(counter): State<Shared>, Path(key): Path<String>) -> Response {
    let mut counter = counter.lock();
    match counter.decided.get(&key) {
        Some((status, body)) => answer((200, json!({"voided": false, "status": status, "body": body}))),
        None => {
            counter.decided.insert(key, problem(409, "voided", "rejected", 0));
            answer((200, json!({"voided": true})))
        }
    }
}

async fn look(State(counter): State<Shared>) -> Response {
    let c = counter.lock();
    let total = c.free + c.held + c.booked;
    let seats = json!({"total": total, "free": c.free, "held": c.held, "booked": c.booked, "blocked": 0});
    answer((200, json!({"event": "e", "name": "e", "on_sale": true, "version": 1, "revision": 1, "seats": seats})))
}

async fn audit(State(counter): State<Shared>) -> Response {
    let c = counter.lock();
    let booked = c.booked + u64::from(c.oversells && c.free == 0);
    let capacity = c.free + c.held + c.booked;
    answer((
        200,
        json!({"version": 1, "capacity": capacity, "held": c.held, "booked": booked, "blocked": 0,
        "available": c.free, "orders": c.orders, "oversold": booked.saturating_sub(capacity), "violations": []}),
    ))
}

async fn rush(counter: Counter, flags: &[&str]) -> (Result<(), Failure>, Shared) {
    let counter = Arc::new(Mutex::new(counter));
    let router = Router::new()
        .route("/v1/events/e", get(look))
        .route("/v1/events/e/audit", get(audit))
        .route("/v1/events/e/{op}", post(command))
        .route("/v1/outcomes/{key}/void", post(void))
        .with_state(counter.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(hyper_serve(listener, router));
    let words: Vec<&str> =
        ["lastseat", "--server", &url, "rush", "--event", "e"].iter().chain(flags).copied().collect();
    let cli = Cli::try_parse_from(words).unwrap();
    let Command::Rush(args) = cli.command else { panic!("not a rush") };
    let result = run(&cli.global, args).await;
    server.abort();
    (result, counter)
}

async fn hyper_serve(listener: tokio::net::TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let io = hyper_util::rt::TokioIo::new(stream);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

#[tokio::test]
async fn everything_is_sold_although_answers_are_lost() {
    let counter = Counter { free: 329, neighbours: 2, ..Counter::default() };
    let (result, counter) = rush(counter, &["--buyers", "60"]).await;
    assert_eq!(result, Ok(()));
    let counter = counter.lock();
    assert_eq!((counter.free, counter.held, counter.booked), (0, 0, 329));
}

#[tokio::test]
async fn more_buyers_than_seats_are_all_told() {
    let counter = Counter { free: 10, neighbours: 4, ..Counter::default() };
    let (result, counter) = rush(counter, &["--buyers", "80", "--max-per-buyer", "3"]).await;
    assert_eq!(result, Ok(()));
    assert_eq!(counter.lock().booked, 10);
}

#[tokio::test]
async fn what_others_hold_is_left_to_them() {
    let counter = Counter { free: 40, held: 2, neighbours: 4, ..Counter::default() };
    let (result, counter) = rush(counter, &["--buyers", "30"]).await;
    assert_eq!(result, Ok(()));
    let counter = counter.lock();
    assert_eq!((counter.free, counter.held, counter.booked), (0, 2, 40));
}

#[tokio::test]
async fn an_oversell_fails_the_rush() {
    let counter = Counter { free: 20, neighbours: 4, oversells: true, ..Counter::default() };
    let (result, _) = rush(counter, &["--buyers", "10"]).await;
    let failure = result.unwrap_err();
    assert_eq!(failure.code, super::super::exit::FAILED);
    assert!(failure.text.contains("oversold 1") && failure.text.contains("receipts"), "{}", failure.text);
}

#[tokio::test]
async fn killing_leaders_needs_a_dev_cluster() {
    let counter = Counter { free: 1, neighbours: 1, ..Counter::default() };
    let (result, counter) = rush(counter, &["--kill-leader-every", "1s"]).await;
    assert_eq!(result.unwrap_err().code, super::super::exit::USAGE);
    assert_eq!(counter.lock().booked, 0, "nothing was sold");
}
