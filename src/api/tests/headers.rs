//! Headers, in and out.

use axum::http::Request;

use super::canned::{answer, ask, get, router, send, unreached, voiding, with};
use crate::domain::id::Key;
use crate::domain::outcome::{Code, Outcome, Rejection, Verdict};
use crate::domain::value::{Millis, Version};
use crate::service::{NoLeader, ServiceError};

const VOID: &str = "/v1/outcomes/k/void";

#[tokio::test]
async fn everything_under_v1_says_where_it_comes_from() {
    for path in ["/v1/cluster", "/v1/nowhere", "/v1/events?x=1"] {
        let got = get(&unreached(), path).await;
        assert_eq!(got.header("lastseat-revision"), Some("7"), "{path}");
        assert_eq!(got.header("lastseat-node"), Some("2"));
        assert_eq!(got.header("lastseat-leader"), Some("http://leader:7400"));
        assert_eq!(got.header("request-id").map(str::len), Some(36));
    }
}

#[tokio::test]
async fn a_sane_request_id_is_taken_over_and_another_is_not() {
    let got = with(&voiding(), "POST", VOID, "request-id", "abc-1").await;
    assert_eq!(got.header("request-id"), Some("abc-1"));
    for bad in ["", "a b", &"x".repeat(129)] {
        let got = with(&voiding(), "POST", VOID, "request-id", bad).await;
        assert_eq!(got.header("request-id").map(str::len), Some(36), "{bad}");
    }
}

#[tokio::test]
async fn a_command_shows_its_key_whoever_made_it() {
    let got = with(&voiding(), "POST", VOID, "idempotency-key", "mine").await;
    assert_eq!((got.status, got.header("idempotency-key")), (200, Some("mine")));
    assert_eq!(got.header("idempotency-replayed"), None);
    let got = send(&voiding(), "POST", VOID, "").await;
    assert_eq!(got.header("idempotency-key"), Some("made-here"));
    // Refused at the edge: the client's key, all the same.
    let request = Request::post("/v1/events/e/book").header("idempotency-key", "mine");
    let got = ask(&unreached(), request.body("{".into()).expect("valid")).await;
    assert_eq!((got.status, got.header("idempotency-key")), (400, Some("mine")));
}

#[tokio::test]
async fn a_replay_is_marked_and_otherwise_the_same() {
    for verdict in [Verdict::Applied(Outcome::Voided), Verdict::Rejected(Rejection::new(Code::EventNotFound))] {
        let fresh = {
            let verdict = verdict.clone();
            router(move |_, _| Ok((answer(verdict.clone()), false)))
        };
        let again = router(move |_, _| Ok((answer(verdict.clone()), true)));
        let fresh = with(&fresh, "POST", VOID, "request-id", "same").await;
        let again = with(&again, "POST", VOID, "request-id", "same").await;
        assert_eq!((fresh.status, &fresh.text), (again.status, &again.text));
        assert_eq!(fresh.header("idempotency-replayed"), None);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.header("idempotency-key"), Some("made-here"));
    }
}

#[tokio::test]
async fn headers_of_a_command_reach_the_service() {
    let router = router(|context, _| {
        assert_eq!(context.key, Key::parse("k 1").ok());
        assert_eq!(context.not_after, Some(Millis(1_700_000_000_500)));
        assert_eq!(context.if_match, None::<Version>);
        Ok((answer(Verdict::Applied(Outcome::Voided)), false))
    });
    let request = Request::post(VOID)
        .header("idempotency-key", "k 1")
        .header("not-after", "2023-11-14T22:13:20.500Z")
        .header("request-timeout-ms", "30000");
    let got = ask(&router, request.body("".into()).expect("valid")).await;
    assert_eq!(got.status, 200, "{}", got.text);
}

#[tokio::test]
async fn a_not_after_beyond_the_last_time_means_never() {
    let last = u64::try_from(jiff::Timestamp::MAX.as_millisecond()).expect("after 1970");
    let cases = [
        ("9999-12-31T23:59:59Z", last),
        ("9999-12-31T23:59:59.999999-23:59", last),
        ("9999-12-30T22:00:00Z", last - 999),
        ("9999-12-31T21:00:00+23:00", last - 999),
        ("0000-01-01T00:00:00Z", 0),
    ];
    for (text, millis) in cases {
        let router = router(move |context, _| {
            assert_eq!(context.not_after, Some(Millis(millis)));
            Ok((answer(Verdict::Applied(Outcome::Voided)), false))
        });
        assert_eq!(with(&router, "POST", VOID, "not-after", text).await.status, 200, "{text}");
    }
}

#[tokio::test]
async fn headers_that_cannot_be_used_are_invalid() {
    let long = "k".repeat(129);
    let cases = [
        ("idempotency-key", ""),
        ("idempotency-key", "a/b"),
        ("idempotency-key", long.as_str()),
        ("not-after", "tomorrow"),
        ("not-after", "9999-12-31T23:59:59"),
        ("not-after", "9999-12-31"),
        ("not-after", "9999-13-31T23:59:59Z"),
        ("not-after", "9999-12-31T23:59:59Z[UTC]"),
        ("not-after", "+010000-01-01T00:00:00Z"),
        ("request-timeout-ms", "0"),
        ("request-timeout-ms", "30001"),
        ("request-timeout-ms", "1.5"),
        ("request-timeout-ms", "-1"),
        ("if-match", "\"3\""),
    ];
    for (name, value) in cases {
        let got = with(&unreached(), "POST", VOID, name, value).await;
        assert_eq!(got.problem(), (422, "invalid".into()), "{name}: {value}");
    }
}

#[tokio::test]
async fn what_was_not_decided_says_when_to_try_again() {
    let cases: [(ServiceError, u16, &str, Option<&str>, &str); 4] = [
        (
            ServiceError::Overloaded { retry_after_ms: 1_200, why: "the log is full".to_owned() },
            429,
            "overloaded",
            Some("2"),
            "not_applied",
        ),
        (
            ServiceError::NoLeader { retry_after_ms: 1, why: NoLeader::NoneKnown },
            503,
            "no_leader",
            Some("1"),
            "not_applied",
        ),
        (ServiceError::Unknown, 504, "unknown", None, "unknown"),
        (ServiceError::KeyReused, 422, "key_reused", None, "not_applied"),
    ];
    for (error, status, code, retry_after, outcome) in cases {
        let got = send(&router(move |_, _| Err(error.clone())), "POST", VOID, "").await;
        assert_eq!(got.problem(), (status, code.into()));
        assert_eq!(got.header("retry-after"), retry_after);
        assert_eq!(got.json()["outcome"], outcome);
        assert_eq!(got.header("idempotency-key"), Some("made-here"));
    }
}

#[tokio::test]
async fn redirect_sends_to_the_leader_with_path_and_query() {
    for query in ["?redirect", "?redirect=true"] {
        let path = format!("/v1/outcomes/a%20b/void{query}");
        let got = send(&unreached(), "POST", &path, "").await;
        assert_eq!(got.status, 307);
        assert_eq!(got.header("location"), Some(format!("http://leader:7400{path}").as_str()));
    }
    assert_eq!(send(&voiding(), "POST", "/v1/outcomes/k/void?redirect=false", "").await.status, 200);
}

#[tokio::test]
async fn a_panic_is_a_problem_and_its_outcome_is_unknown() {
    let got = send(&router(|_, _| panic!("a bug")), "POST", VOID, "").await;
    assert_eq!(got.problem(), (500, "internal".into()));
    assert_eq!(got.json()["outcome"], "unknown");
    assert!(!got.text.contains("a bug"));
}

#[tokio::test]
async fn health_is_text() {
    let router = unreached();
    let got = get(&router, "/livez").await;
    assert_eq!((got.status, got.text.as_str()), (200, "ok\n"));
    let got = get(&router, "/readyz").await;
    assert_eq!((got.status, got.text.as_str()), (503, "[-] leader: none is known\nnot ready\n"));
    let got = get(&router, "/readyz?verbose").await;
    assert_eq!(got.text, "[+] joined: yes\n[-] leader: none is known\nnot ready\n");
}

#[tokio::test]
async fn a_refused_change_of_membership_and_a_failed_one_differ() {
    let node = r#"{"id":4,"api":"http://a:7400","peer":"a:7500","region":"eu"}"#;
    let got = send(&unreached(), "POST", "/v1/cluster/members", node).await;
    assert_eq!(got.problem(), (409, "membership_refused".into()));
    let got = send(&unreached(), "DELETE", "/v1/cluster/members/4", "").await;
    assert_eq!(got.problem(), (503, "membership_failed".into()));
    assert_eq!(got.json()["outcome"], "unknown");
    let got = send(&unreached(), "POST", "/v1/cluster/transfer-leader", "").await;
    assert_eq!((got.status, got.text.as_str()), (200, r#"{"outcome":"applied"}"#));
}

#[tokio::test]
async fn a_not_after_is_a_time_of_rfc_3339_or_refused() {
    let good = [
        "2099-01-01T00:00:00Z",
        "2099-01-01t00:00:00z",
        "2099-01-01T00:00:00.123456Z",
        "2099-01-01T00:00:00+23:59",
        "2099-01-01T00:00:00.5-00:00",
    ];
    for text in good {
        assert_eq!(with(&voiding(), "POST", VOID, "not-after", text).await.status, 200, "{text}");
    }
    let bad = [
        "2099-01-01T00:00:00+25:00",
        "2099-01-01T00:00:00+24:00",
        "2099-01-01T00:00:00-01:60",
        "2099-01-01T00:00:00+01:00:00",
        "2099-01-01T00:00:00+0100",
        "2099-01-01T00:00:00+01",
        "2099-01-01 00:00:00Z",
        "2099-01-01T00:00:00",
        "2099-01-01T00:00Z",
        "2099-01-01T00:00:00.Z",
        "2099-01-01T00:00:00,5Z",
        "2099-01-01T00:00:00Z[UTC]",
        "20990101T000000Z",
        "+002099-01-01T00:00:00Z",
        "2099-13-01T00:00:00Z",
        "2099-02-29T00:00:00Z",
        "2099-01-01T24:00:00Z",
        "2099-01-01",
        "4070908800",
    ];
    for text in bad {
        let got = with(&unreached(), "POST", VOID, "not-after", text).await;
        assert_eq!(got.problem(), (422, "invalid".into()), "{text}");
    }
}
