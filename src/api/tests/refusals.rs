//! Bad input: refused at the edge, each with its own code, and nothing reaches the service.

use axum::body::{Body, Bytes};
use axum::http::Request;

use super::canned::{ask, get, post, send, unreached};

const RESERVE: &str = "/v1/events/e/reserve";
const BOOK: &str = "/v1/events/e/book";

#[tokio::test]
async fn bodies_of_the_wrong_shape_are_malformed() {
    let deep = format!("{{\"items\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_unknown = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: &[(&str, &str, &str)] = &[
        (RESERVE, "", "empty"),
        (RESERVE, "{", "not JSON"),
        (RESERVE, "[]", "expected"),
        (RESERVE, "{} {}", "nothing after it"),
        (RESERVE, "{}", "`items` or `best` is missing"),
        (RESERVE, r#"{"items":[{"seat":"A"}],"colour":"red"}"#, "colour"),
        (RESERVE, r#"{"items":[{"seat":"A","colour":"red"}]}"#, "items[0]"),
        (RESERVE, r#"{"items":[{"seat":"A"},{"seat":7}]}"#, "items[1].seat"),
        (RESERVE, r#"{"items":[{"seat":"A","pool":"p"}]}"#, "not both"),
        (RESERVE, r#"{"items":[{"seat":"A","quantity":1}]}"#, "quantity"),
        (RESERVE, r#"{"items":[{"quantity":1}]}"#, "`seat` or `pool`"),
        (RESERVE, r#"{"items":[{"pool":"p","quantity":"2"}]}"#, "items[0].quantity"),
        (RESERVE, r#"{"items":[{"pool":"p","quantity":-1}]}"#, "items[0].quantity"),
        (RESERVE, r#"{"items":[{"pool":"p","quantity":1.5}]}"#, "items[0].quantity"),
        (RESERVE, r#"{"items":[{"pool":"p","quantity":1e400}]}"#, "number out of range"),
        (RESERVE, r#"{"items":[{"pool":"p","quantity":99999999999999999999}]}"#, "items[0].quantity"),
        (RESERVE, r#"{"items":[{"pool":"p","quantity":NaN}]}"#, "not JSON"),
        (RESERVE, r#"{"items":"A"}"#, "items"),
        // A list is no object, and an object no choice, wherever it stands.
        (RESERVE, r#"[[{"seat":"A"}],null,null,null,null]"#, "sequence"),
        (RESERVE, r#"{"items":[["A",null,null]]}"#, "items[0]"),
        (RESERVE, r#"{"best":[1,null,null,true]}"#, "best"),
        (BOOK, r#"{"order":"o","token":"t","rest":{"keep":null}}"#, "rest"),
        ("/v1/cluster/init", r#"{"nodes":[[1,"http://a:1","a:1",null]]}"#, "nodes[0]"),
        (RESERVE, r#"{"items":[{"seat":"A"}],"best":{"quantity":1}}"#, "not both"),
        (RESERVE, r#"{"best":{"quantity":1,"row":"A"}}"#, "best.row"),
        (RESERVE, r#"{"items":[{"seat":"A"}],"items":[]}"#, "duplicate field"),
        (RESERVE, "{\"items\":[{\"seat\":\"\u{0}\"}]}", "not JSON"),
        (RESERVE, &deep, "items"),
        (RESERVE, &deep_unknown, "x"),
        (BOOK, r#"{"token":"t"}"#, "order"),
        (BOOK, r#"{"order":"o"}"#, "`token` or `items` is missing"),
        (BOOK, r#"{"order":"o","token":"t","customer":"c"}"#, "customer"),
        (BOOK, r#"{"order":"o","items":[{"seat":"A"}],"rest":"keep"}"#, "rest"),
        (BOOK, r#"{"order":"o","token":"t","rest":"sell"}"#, "rest"),
        ("/v1/events/e/extend", r#"{"token":"t"}"#, "ttl_ms"),
        ("/v1/events/e/release", "{}", "token"),
        ("/v1/events/e/cancel", r#"{"order":null}"#, "order"),
        ("/v1/events/e/block", "{}", "items"),
        ("/v1/outcomes/k/void", r#"{"a":1}"#, "no body"),
        ("/v1/cluster/init", r#"{"nodes":[{"id":"1"}]}"#, "nodes[0].id"),
        ("/v1/events/e/reserve?force=true", "{}", "force"),
        ("/v1/events/e/reserve?redirect=maybe", "{}", "maybe"),
    ];
    for (path, body, says) in cases {
        let got = post(&unreached(), path, (*body).to_owned()).await;
        let short: String = body.chars().take(80).collect();
        assert_eq!(got.problem(), (400, "malformed".into()), "{path} {short}");
        assert!(got.detail().contains(says), "{path} {short}: {:?} does not say {says:?}", got.detail());
    }
}

#[tokio::test]
async fn values_that_are_not_allowed_are_invalid() {
    let long = format!(r#"{{"items":[{{"seat":"{}"}}]}}"#, "a".repeat(129));
    let cases: &[(&str, &str, &str)] = &[
        (RESERVE, r#"{"items":[]}"#, "items is empty"),
        (RESERVE, r#"{"items":[{"seat":"A/1"}]}"#, "items[0].seat"),
        (RESERVE, r#"{"items":[{"seat":"Ä"}]}"#, "items[0].seat"),
        (RESERVE, r#"{"items":[{"seat":""}]}"#, "items[0].seat"),
        (RESERVE, &long, "129 characters"),
        (RESERVE, r#"{"items":[{"pool":"p","quantity":0}]}"#, "items[0].quantity is 0"),
        (RESERVE, r#"{"items":[{"pool":"p","quantity":9007199254740992}]}"#, "9007199254740991"),
        (RESERVE, r#"{"items":[{"pool":"p","quantity":9223372036854775808}]}"#, "9007199254740991"),
        (RESERVE, r#"{"items":[{"seat":"A"}],"ttl_ms":0}"#, "ttl_ms is 0"),
        (RESERVE, r#"{"items":[{"seat":"A"}],"token":"t","ttl_ms":5}"#, "leave ttl_ms out"),
        (RESERVE, r#"{"items":[{"seat":"A"}],"customer":"a b/c"}"#, "customer"),
        (RESERVE, r#"{"best":{"quantity":0}}"#, "best.quantity"),
        ("/v1/events/a%2Fb/reserve", r#"{"items":[{"seat":"A"}]}"#, "event in the path"),
        ("/v1/events/e/extend", r#"{"token":"t","ttl_ms":0}"#, "ttl_ms is 0"),
        ("/v1/events/e/block", r#"{"items":[]}"#, "items is empty"),
        ("/v1/outcomes/a%23b/void", "", "key in the path"),
        (&format!("/v1/outcomes/{}/void", "k".repeat(129)), "", "129 characters"),
        (&format!("/v1/outcomes/{}:0/void", "k".repeat(129)), "", "131 characters"),
        ("/v1/batch", r#"{"atomic":true,"commands":[]}"#, "commands is empty"),
        ("/v1/cluster/init", r#"{"nodes":[]}"#, "nodes"),
        ("/v1/cluster/members", r#"{"id":0,"api":"http://a:1","peer":"a:1"}"#, "id is 0"),
        ("/v1/cluster/members", r#"{"id":4,"api":"a:1","peer":"a:1"}"#, "api is no URL"),
        ("/v1/cluster/members", r#"{"id":4,"api":"http://a:1","peer":"a"}"#, "peer is no address"),
    ];
    for (path, body, says) in cases {
        let got = post(&unreached(), path, (*body).to_owned()).await;
        assert_eq!(got.problem(), (422, "invalid".into()), "{path} {body}: {}", got.text);
        assert_eq!(got.json()["outcome"], "not_applied");
        assert!(got.detail().contains(says), "{path} {body}: {:?} does not say {says:?}", got.detail());
    }
}

#[tokio::test]
async fn malformed_comes_before_invalid() {
    let body = r#"{"items":[{"pool":"/","quantity":0},{"seat":1}]}"#;
    assert_eq!(post(&unreached(), RESERVE, body).await.problem().1, "malformed");
}

#[tokio::test]
async fn the_same_seat_twice_is_a_duplicate_item() {
    let body = r#"{"items":[{"seat":"A"},{"seat":"A"}]}"#;
    let got = post(&unreached(), RESERVE, body).await;
    assert_eq!(got.problem(), (422, "duplicate_item".into()));
}

#[tokio::test]
async fn bodies_over_the_limit_of_their_route_are_too_large() {
    let blank = |bytes: usize| Bytes::from(vec![b' '; bytes]);
    let mib = 1 << 20;
    let cases =
        [("POST", RESERVE, 1), ("POST", "/v1/batch", 8), ("PUT", "/v1/events/e", 32), ("PATCH", "/v1/events/e", 1)];
    for (method, path, limit) in cases {
        // Declared, and found out while reading.
        let got = send(&unreached(), method, path, blank(limit * mib + 1)).await;
        assert_eq!(got.problem(), (413, "too_large".into()), "{method} {path}");
        assert!(got.detail().contains(&(limit * mib).to_string()));
        let frames = futures_util::stream::iter((0..=limit).map(move |_| Ok::<_, std::io::Error>(blank(mib))));
        let got = send(&unreached(), method, path, Body::from_stream(frames)).await;
        assert_eq!(got.problem(), (413, "too_large".into()), "{method} {path}");
        // What is no longer than the limit is read.
        let got = send(&unreached(), method, path, blank(limit * mib)).await;
        assert_eq!(got.problem(), (400, "malformed".into()), "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_malformed() {
    let frames = [Ok(Bytes::from("{\"items\":")), Err(std::io::Error::other("cut"))];
    let got = post(&unreached(), RESERVE, Body::from_stream(futures_util::stream::iter(frames))).await;
    assert_eq!(got.problem(), (400, "malformed".into()));
    assert!(got.detail().contains("complete"));
}

#[tokio::test]
async fn another_content_type_is_refused() {
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "json", ""] {
        let request =
            Request::post(RESERVE).header("content-type", content_type).body(Body::from("{}")).expect("valid");
        let got = ask(&unreached(), request).await;
        assert_eq!(got.problem(), (415, "unsupported_media_type".into()), "{content_type}");
    }
    // What is too large as well is too large.
    let large = Request::post(RESERVE).header("content-type", "text/plain").body(Body::from(vec![b' '; (1 << 20) + 1]));
    assert_eq!(ask(&unreached(), large.expect("valid")).await.problem(), (413, "too_large".into()));
    for content_type in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
        let request = Request::post(RESERVE).header("content-type", content_type).body(Body::from("{")).expect("valid");
        assert_eq!(ask(&unreached(), request).await.problem().0, 400, "{content_type}");
    }
}

#[tokio::test]
async fn reads_with_bad_queries_are_refused() {
    let cases = [
        ("/v1/events?colour=red", 400),
        ("/v1/events?limit=ten", 400),
        ("/v1/events?limit=0", 422),
        ("/v1/events?limit=1001", 422),
        ("/v1/events?after=%2F", 422),
        ("/v1/events/e?consistency=maybe", 400),
        ("/v1/events/e?min_revision=-1", 400),
        ("/v1/events/e/seats?status=gone", 400),
        ("/v1/events/e/seats?limit=0", 422),
        ("/v1/events/e/seats/%00", 422),
        ("/v1/events/%FF", 400),
        ("/v1/events/e/orders?limit=5000", 422),
        ("/v1/cluster?x=1", 400),
        ("/readyz?loud", 400),
    ];
    for (path, status) in cases {
        let got = get(&unreached(), path).await;
        assert_eq!(got.problem().0, status, "{path}: {}", got.text);
    }
}

#[tokio::test]
async fn a_malformed_command_refuses_the_whole_batch_and_says_which() {
    let good = r#"{"event":"e","op":"cancel","order":"o"}"#;
    let cases = [
        r#"{"event":"e","op":"sell"}"#,
        r#"{"event":"e","op":"extend","token":"t"}"#,
        r#"{"event":"e","op":"cancel","order":"o","token":"t"}"#,
        r#"{"event":"e","op":"cancel","order":"o","colour":"red"}"#,
        r#"{"event":"e","op":"reserve"}"#,
        r#"{"op":"cancel","order":"o"}"#,
        "7",
    ];
    for bad in cases {
        for atomic in [true, false] {
            let body = format!(r#"{{"atomic":{atomic},"commands":[{good},{bad},{good}]}}"#);
            let got = post(&unreached(), "/v1/batch", body).await;
            assert_eq!(got.problem(), (400, "malformed".into()), "{bad}: {}", got.text);
            assert_eq!(got.json()["index"], 1, "{bad}: {}", got.text);
        }
    }
}

#[tokio::test]
async fn batches_have_their_limits() {
    let many = |n: usize, atomic: bool| {
        let lines = vec![r#"{"event":"e","op":"cancel","order":"o"}"#; n].join(",");
        format!(r#"{{"atomic":{atomic},"commands":[{lines}]}}"#)
    };
    let got = post(&unreached(), "/v1/batch", many(1_001, true)).await;
    assert_eq!(got.problem(), (422, "invalid".into()));
    assert!(got.detail().contains("1000"));
    let got = post(&unreached(), "/v1/batch", many(10_001, false)).await;
    assert_eq!(got.problem(), (422, "invalid".into()));
    let wide = format!(r#"{{"atomic":true,"commands":[]{}}}"#, " ".repeat(1 << 20));
    assert_eq!(post(&unreached(), "/v1/batch", wide).await.problem(), (413, "too_large".into()));
    let twice = r#"{"event":"e","op":"release","token":"t","items":[{"seat":"A"},{"seat":"A"}]}"#;
    let zero = r#"{"event":"e","op":"extend","token":"t","ttl_ms":0}"#;
    for (lines, code, index) in [([twice, zero], "duplicate_item", 0), ([zero, twice], "invalid", 0)] {
        let body = format!(r#"{{"atomic":true,"commands":[{}]}}"#, lines.join(","));
        let got = post(&unreached(), "/v1/batch", body).await;
        assert_eq!((got.problem(), got.json()["index"].as_u64()), ((422, code.into()), Some(index)));
    }
    let keyed = r#"{"atomic":true,"commands":[{"event":"e","op":"cancel","order":"o","key":"k"}]}"#;
    let got = post(&unreached(), "/v1/batch", keyed).await;
    assert_eq!((got.problem(), got.json()["index"].as_u64()), ((422, "invalid".into()), Some(0)));
}

#[tokio::test]
async fn a_definition_written_as_lists_is_malformed() {
    let seat = r#"{"name":"n","seats":[{"id":"A"},["B",null,null,null,null,null,null]]}"#;
    let cases = [
        (r#"["n",true,null,null,null,null,null]"#, "sequence"),
        (seat, "seats[1]"),
        (r#"{"name":"n","pools":[["p",5,null,null]]}"#, "pools[0]"),
        (r#"{"name":"n","hold":[1,2]}"#, "hold"),
        (r#"{"name":"n","limits":[6]}"#, "limits"),
    ];
    for (body, says) in cases {
        let got = send(&unreached(), "PUT", "/v1/events/e", body).await;
        assert_eq!(got.problem(), (400, "malformed".into()), "{body}");
        assert!(got.detail().contains(says), "{body}: {}", got.detail());
    }
}

#[tokio::test]
async fn two_content_types_are_malformed() {
    let request = Request::post(RESERVE).header("content-type", "application/json");
    let request = request.header("content-type", "application/json").body(Body::from("{}")).expect("valid");
    let got = ask(&unreached(), request).await;
    assert_eq!(got.problem(), (400, "malformed".into()));
    assert!(got.detail().contains("Content-Type"), "{}", got.detail());
}
