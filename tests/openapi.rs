//! The served OpenAPI document lists every call of the contract, and the server answers as the document says.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{Cluster, Request, turn};

/// Every call there is: method, path, and a body that works on a fresh event where one is needed.
fn calls() -> Vec<(&'static str, &'static str, Option<Value>)> {
    let floor = json!([{ "pool": "floor" }]);
    let event = json!({ "name": "again", "pools": [{ "id": "floor", "capacity": 100 }], "seats": [{ "id": "A-1" }] });
    vec![
        ("PUT", "/v1/events/{event}", Some(event)),
        ("PATCH", "/v1/events/{event}", Some(json!({ "name": "renamed" }))),
        ("POST", "/v1/events/{event}/reserve", Some(json!({ "items": floor }))),
        ("POST", "/v1/events/{event}/extend", Some(json!({ "token": "none", "ttl_ms": 1_000 }))),
        ("POST", "/v1/events/{event}/book", Some(json!({ "items": floor, "order": "o-1" }))),
        ("POST", "/v1/events/{event}/release", Some(json!({ "token": "none" }))),
        ("POST", "/v1/events/{event}/cancel", Some(json!({ "order": "o-1" }))),
        ("POST", "/v1/events/{event}/block", Some(json!({ "items": floor }))),
        ("POST", "/v1/events/{event}/unblock", Some(json!({ "items": floor }))),
        (
            "POST",
            "/v1/batch",
            Some(json!({ "atomic": false, "commands": [{ "event": "show", "op": "reserve", "items": floor }] })),
        ),
        ("POST", "/v1/outcomes/{key}/void", None),
        ("GET", "/v1/outcomes/{key}", None),
        ("GET", "/v1/events", None),
        ("GET", "/v1/events/{event}", None),
        ("GET", "/v1/events/{event}/seats", None),
        ("GET", "/v1/events/{event}/seats/{seat}", None),
        ("GET", "/v1/events/{event}/holds/{token}", None),
        ("GET", "/v1/events/{event}/orders", None),
        ("GET", "/v1/events/{event}/orders/{order}", None),
        ("GET", "/v1/events/{event}/audit", None),
        // Of an event that is not there: a stream would not end.
        ("GET", "/v1/events/{key}/changes", None),
        ("PUT", "/v1/webhooks/{webhook}", Some(json!({ "url": "https://hooks.invalid/x" }))),
        ("GET", "/v1/webhooks", None),
        ("GET", "/v1/webhooks/{webhook}", None),
        ("POST", "/v1/webhooks/{webhook}/rotate", Some(json!({ "overlap_ms": 0 }))),
        ("POST", "/v1/webhooks/{webhook}/pause", None),
        ("POST", "/v1/webhooks/{webhook}/resume", Some(json!({ "from": 1 }))),
        ("POST", "/v1/webhooks/{webhook}/test", None),
        ("GET", "/v1/webhooks/{webhook}/deliveries", None),
        ("POST", "/v1/webhooks/{webhook}/deliveries/{message}/redeliver", None),
        ("DELETE", "/v1/webhooks/{webhook}", None),
        ("GET", "/v1/cluster", None),
        ("GET", "/v1/cluster/state-hash", None),
        ("GET", "/livez", None),
        ("GET", "/readyz", None),
        ("GET", "/metrics", None),
        // Last, because nothing is left after it.
        ("DELETE", "/v1/events/{event}", None),
    ]
}

/// `/v1/events/{id}` and `/v1/events/{event}` are the same path.
fn shape(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let methods = ["get", "put", "post", "patch", "delete"];
    let paths = document["paths"].as_object().expect("paths");
    let each = paths.iter().flat_map(|(path, item)| {
        let known = methods.iter().filter(|method| item.get(**method).is_some());
        known.map(|method| (method.to_uppercase(), shape(path)))
    });
    each.collect()
}

fn operation<'a>(document: &'a Value, method: &str, path: &str) -> Option<&'a Value> {
    let paths = document["paths"].as_object()?;
    let (_, item) = paths.iter().find(|(known, _)| shape(known) == shape(path))?;
    item.get(method.to_lowercase())
}

/// Is this status among the documented ones (`404`, `4XX`, `default`)?
fn documents(operation: &Value, status: u16) -> bool {
    let class = format!("{}XX", status / 100);
    let known = operation["responses"].as_object().expect("responses");
    [status.to_string(), class.clone(), class.to_lowercase(), "default".to_owned()]
        .iter()
        .any(|key| known.contains_key(key))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_documented_and_answers_as_documented() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    let answer = cluster.get(1, "/openapi.json").await.expect(200);
    assert_eq!(answer.header("content-type").map(|kind| kind.starts_with("application/json")), Some(true));
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let there = operations(&document);
    let missing: Vec<_> =
        calls().into_iter().filter(|(method, path, _)| !there.contains(&(method.to_string(), shape(path)))).collect();
    assert!(missing.is_empty(), "not in the document: {missing:?}\nthere: {there:?}");

    let mut wrong = Vec::new();
    for (method, path, body) in calls() {
        let concrete = path
            .replace("{event}", "show")
            .replace("{seat}", "A-1")
            .replace("{token}", "none")
            .replace("{order}", "o-1")
            .replace("{webhook}", "mail")
            .replace("{message}", "msg_00000000000000000000000000000000")
            .replace("{key}", "asked");
        let force = if method == "DELETE" { "?force=true" } else { "" };
        let mut request = Request::new(method, format!("{concrete}{force}"));
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = cluster.call(1, request).await;
        let documented = operation(&document, method, path).is_some_and(|known| documents(known, answer.status));
        if !documented || answer.status >= 500 {
            wrong.push(format!("{method} {path}: {answer}"));
        }
        let problem = answer.header("content-type") == Some("application/problem+json");
        if problem != (answer.status >= 400) {
            wrong.push(format!("{method} {path}: a problem document exactly when it is one: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every `$ref` leads somewhere inside the document.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_whole_and_its_page_works_offline() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    let document = cluster.get(1, "/openapi.json").await.expect(200).json();
    let mut open = vec![&document];
    let mut references = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    references += 1;
                    let pointer = reference.strip_prefix('#').expect("a reference inside the document");
                    assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(references > 0, "a document without schemas says little");
    let mut docs = cluster.get(1, "/docs").await;
    if let Some(location) = docs.header("location").map(str::to_owned) {
        docs = cluster.get(1, &location).await;
    }
    let page = String::from_utf8_lossy(&docs.expect(200).body).into_owned();
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "the page loads from elsewhere");
}
