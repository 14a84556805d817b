//! Definitions of events, from JSON to domain values.

use crate::api::wire::WireError;
use crate::api::wire::definition::{SEATS_MAX, change, define};
use crate::domain::command::{Command, Contents};
use crate::domain::outcome::Code;
use crate::domain::value::SeatNumber;

const HAMLET: &str = r#"{ "name": "Hamlet, 12 Dec 19:30",
  "seats": [ {"id":"A-1","section":"Stalls","row":"A","number":1,"category":"premium","x":10.5,"y":-0.0},
             {"id":"A-2","section":"Stalls","row":"A","number":"2a"} ],
  "pools": [ {"id":"standing","capacity":500,"category":"standard","name":"Standing"} ],
  "hold": {"ttl_ms":60000}, "limits": {"per_customer":6}, "labels": {"venue":"Globe"} }"#;

fn refused(result: Result<Command, WireError>) -> (String, String) {
    match result {
        Err(WireError::Malformed(detail)) => ("malformed".into(), detail),
        Err(WireError::Refused(rejection)) if rejection.code == Code::Invalid => {
            ("invalid".into(), rejection.facts.reason.unwrap_or_default())
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_definition_keeps_everything_and_fills_in_defaults() {
    let Ok(Command::Define { event, definition }) = define("hamlet", HAMLET.as_bytes()) else { panic!("refused") };
    let Contents::Inline { seats, pools } = &definition.contents else { panic!("staged") };
    assert_eq!(event.as_str(), "hamlet");
    assert!(definition.head.on_sale);
    assert_eq!((definition.head.hold.ttl_ms, definition.head.hold.max_ttl_ms), (60_000, 7_200_000));
    assert_eq!(definition.head.limits.per_customer, Some(6));
    assert_eq!(seats[0].number, Some(SeatNumber::Number(1)));
    assert_eq!(seats[1].number, Some(SeatNumber::Text("2a".into())));
    assert_eq!(seats[0].x.map(|c| f64::from_bits(c.0)), Some(10.5));
    assert_eq!(seats[0].y.map(|c| c.0), Some(0), "there is one zero");
    assert!(std::sync::Arc::ptr_eq(
        seats[0].section.as_ref().expect("has a section"),
        seats[1].section.as_ref().expect("has a section")
    ));
    assert_eq!(pools[0].capacity, 500);
}

#[test]
fn definitions_of_the_wrong_shape_are_malformed() {
    let cases = [
        ("{}", "name"),
        (r#"{"name":1}"#, "name"),
        (r#"{"name":"n","seats":[{"id":"A","colour":1}]}"#, "seats[0].colour"),
        (r#"{"name":"n","seats":[{"section":"A"}]}"#, "seats[0]"),
        (r#"{"name":"n","seats":[{"id":"A","number":1.5}]}"#, "seats[0].number"),
        (r#"{"name":"n","seats":[{"id":"A","x":"1"}]}"#, "seats[0].x"),
        (r#"{"name":"n","pools":[{"id":"p"}]}"#, "capacity"),
        (r#"{"name":"n","hold":{"ttl":1}}"#, "hold.ttl"),
        (r#"{"name":"n","labels":{"a":1}}"#, "labels.a"),
    ];
    for (body, says) in cases {
        let (code, detail) = refused(define("e", body.as_bytes()));
        assert_eq!(code, "malformed", "{body}");
        assert!(detail.contains(says), "{body}: {detail}");
    }
}

#[test]
fn values_of_a_definition_have_limits() {
    let long = format!(r#"{{"name":"{}"}}"#, "n".repeat(1_025));
    let labels: Vec<String> = (0..257).map(|n| format!(r#""l{n}":"""#)).collect();
    let labels = format!(r#"{{"name":"n","labels":{{{}}}}}"#, labels.join(","));
    let cases = [
        (r#"{"name":"n","seats":[{"id":"A/1"}]}"#, "seats[0].id"),
        (r#"{"name":"n","pools":[{"id":"p","capacity":9007199254740992}]}"#, "pools[0].capacity"),
        (r#"{"name":"n","hold":{"ttl_ms":0}}"#, "hold.ttl_ms"),
        (r#"{"name":"n","limits":{"per_customer":0}}"#, "limits.per_customer"),
        (&long, "name"),
        (&labels, "labels"),
    ];
    for (body, says) in cases {
        let (code, detail) = refused(define("e", body.as_bytes()));
        assert_eq!(code, "invalid", "{body}");
        assert!(detail.contains(says), "{body}: {detail}");
    }
    let (code, _) = refused(change("e", br#"{"pools":[{"id":"p/"}]}"#));
    assert_eq!(code, "invalid");
    let (code, _) = refused(change("e", br#"{"seats":[]}"#));
    assert_eq!(code, "malformed", "a change does not take seats");
}

#[test]
fn one_seat_too_many_is_refused_with_the_limit() {
    let mut body = String::from(r#"{"name":"n","seats":["#);
    for n in 0..=SEATS_MAX {
        body.push_str(if n == 0 { "" } else { "," });
        body.push_str(&format!(r#"{{"id":"{n}"}}"#));
    }
    body.push_str("]}");
    let (code, detail) = refused(define("e", body.as_bytes()));
    assert_eq!(code, "invalid");
    assert!(detail.contains("1000001") && detail.contains("1000000"), "{detail}");
}
