//! The router and the OpenAPI document are the same list.

use std::collections::BTreeSet;

use serde_json::Value;

use super::canned::{get, send, unreached};
use crate::api::openapi;

/// Every call of the contract, the calls of the command line, and those of the console.
const CONTRACT: &[(&str, &str)] = &[
    ("delete", "/v1/cluster/members/{id}"),
    ("delete", "/v1/events/{event}"),
    ("delete", "/v1/webhooks/{webhook}"),
    ("get", "/"),
    ("get", "/console"),
    ("get", "/console/"),
    ("get", "/console/{file}"),
    ("get", "/dev/nodes"),
    ("get", "/docs"),
    ("get", "/docs/"),
    ("get", "/docs/{file}"),
    ("get", "/livez"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
    ("get", "/readyz"),
    ("get", "/v1/changes"),
    ("get", "/v1/cluster"),
    ("get", "/v1/cluster/state-hash"),
    ("get", "/v1/events"),
    ("get", "/v1/events/{event}"),
    ("get", "/v1/events/{event}/audit"),
    ("get", "/v1/events/{event}/changes"),
    ("get", "/v1/events/{event}/holds/{token}"),
    ("get", "/v1/events/{event}/orders"),
    ("get", "/v1/events/{event}/orders/{order}"),
    ("get", "/v1/events/{event}/seats"),
    ("get", "/v1/events/{event}/seats/{seat}"),
    ("get", "/v1/outcomes/{key}"),
    ("get", "/v1/webhooks"),
    ("get", "/v1/webhooks/{webhook}"),
    ("get", "/v1/webhooks/{webhook}/deliveries"),
    ("patch", "/v1/events/{event}"),
    ("post", "/dev/nodes/{id}/{action}"),
    ("post", "/v1/batch"),
    ("post", "/v1/cluster/init"),
    ("post", "/v1/cluster/members"),
    ("post", "/v1/cluster/transfer-leader"),
    ("post", "/v1/events/{event}/block"),
    ("post", "/v1/events/{event}/book"),
    ("post", "/v1/events/{event}/cancel"),
    ("post", "/v1/events/{event}/extend"),
    ("post", "/v1/events/{event}/release"),
    ("post", "/v1/events/{event}/reserve"),
    ("post", "/v1/events/{event}/unblock"),
    ("post", "/v1/outcomes/{key}/void"),
    ("post", "/v1/webhooks/{webhook}/deliveries/{message}/redeliver"),
    ("post", "/v1/webhooks/{webhook}/pause"),
    ("post", "/v1/webhooks/{webhook}/resume"),
    ("post", "/v1/webhooks/{webhook}/rotate"),
    ("post", "/v1/webhooks/{webhook}/test"),
    ("put", "/v1/events/{event}"),
    ("put", "/v1/webhooks/{webhook}"),
];

const METHODS: &[&str] = &["get", "put", "post", "patch", "delete", "options", "trace"];

fn document() -> Value {
    serde_json::to_value(openapi()).expect("the document is plain data")
}

fn documented() -> BTreeSet<(String, String)> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths").clone();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("an item").keys().filter(|key| METHODS.contains(&key.as_str()));
        methods.map(|method| (method.clone(), path.clone())).collect::<Vec<_>>()
    });
    operations.collect()
}

#[test]
fn the_document_has_every_call_of_the_contract_and_no_other() {
    let contract = CONTRACT.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(documented(), contract);
}

/// The methods that the router takes on a path are in `Allow` when asked with one that no route takes.
#[tokio::test]
async fn the_router_takes_exactly_what_the_document_has() {
    let documented = documented();
    let paths: BTreeSet<&String> = documented.iter().map(|(_, path)| path).collect();
    for path in paths {
        let got = send(&unreached(), "TRACE", &path.replace(['{', '}'], ""), "").await;
        assert_eq!(got.problem(), (405, "method_not_allowed".into()), "{path}");
        let allow = got.header("allow").unwrap_or_else(|| panic!("no Allow on {path}")).to_lowercase();
        let taken: BTreeSet<&str> = allow.split(',').filter(|method| *method != "head").collect();
        let here: BTreeSet<&str> =
            documented.iter().filter(|(_, p)| p == path).map(|(method, _)| method.as_str()).collect();
        assert_eq!(taken, here, "{path}");
    }
}

#[tokio::test]
async fn what_is_no_route_is_a_problem() {
    for path in ["/unread", "/v1", "/v2/events", "/v1/events/e/fly", "/docs/none.js"] {
        let got = get(&unreached(), path).await;
        assert_eq!(got.problem(), (404, "route_not_found".into()), "{path}");
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut left = vec![&document];
    let mut seen = 0;
    while let Some(value) = left.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("a reference within the document");
                    assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                    seen += 1;
                }
                left.extend(map.values());
            }
            Value::Array(list) => left.extend(list),
            _ => {}
        }
    }
    assert!(seen > 50, "only {seen} references");
}

#[tokio::test]
async fn the_page_of_the_document_needs_nothing_from_elsewhere() {
    let router = unreached();
    let page = get(&router, "/docs").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("<base href=\"/docs/\">"), "{}", page.text);
    let slash = get(&router, "/docs/").await;
    assert_eq!((slash.status, slash.header("location")), (308, Some("/docs")));
    assert!(!page.text.contains("https://") && !page.text.contains("http://"), "{}", page.text);
    let files: Vec<&str> =
        page.text.split(['"', '\'']).filter(|part| part.starts_with("./") || part.ends_with(".css")).collect();
    assert!(files.len() > 2, "{files:?}");
    for file in files {
        let got = get(&router, &format!("/docs/{}", file.trim_start_matches("./"))).await;
        assert_eq!(got.status, 200, "{file}");
    }
    let initializer = get(&router, "/docs/swagger-initializer.js").await;
    assert!(initializer.text.contains("/openapi.json"));
    assert_eq!(get(&router, "/openapi.json").await.json()["info"]["title"], "lastseat");
}
