//! Bodies, to the byte.

use super::canned::answer;
use crate::api::render::{status, write_answer, write_batch, write_recorded};
use crate::domain::command::{Command, SaleOp, Want};
use crate::domain::id::{CustomerId, EventId, OrderId, PoolId, SeatId, Token};
use crate::domain::outcome::{Answer, Code, Conflict, Outcome, Rejection, SliceAnswer, Verdict};
use crate::domain::value::{
    EventHead, EventView, HoldPolicy, HoldView, Item, Limits, Millis, OrderView, PoolCounts, PoolView, Revision,
    SeatCounts, SeatStatus, Version,
};

fn items() -> Vec<Item> {
    let pool = PoolId::parse("standing").expect("valid");
    vec![Item::Seat(SeatId::parse("A-1").expect("valid")), Item::Pool { pool, quantity: 2 }]
}

fn hold() -> HoldView {
    HoldView {
        token: Token::parse("t-1").expect("valid"),
        event: EventId::parse("e").expect("valid"),
        items: items(),
        customer: CustomerId::parse("c").ok(),
        created_at: Millis(1_700_000_000_123),
        expires_at: Millis(1_700_000_600_123),
    }
}

fn order() -> OrderView {
    OrderView {
        order: OrderId::parse("o-1").expect("valid"),
        event: EventId::parse("e").expect("valid"),
        items: items(),
        customer: None,
        booked_at: Millis(1_700_000_000_000),
    }
}

fn event() -> EventView {
    let counts = PoolCounts { capacity: 500, held: 2, booked: 1, blocked: 0 };
    EventView {
        event: EventId::parse("e").expect("valid"),
        head: EventHead {
            name: "Hamlet".into(),
            on_sale: true,
            hold: HoldPolicy::default(),
            limits: Limits::default(),
            labels: [("venue".to_owned(), "Globe".to_owned())].into(),
        },
        version: Version(3),
        revision: Revision(5),
        definition_version: Version(1),
        created_at: Millis(0),
        seats: SeatCounts { total: 2, free: 1, held: 1, booked: 0, blocked: 0 },
        pools: vec![PoolView { id: PoolId::parse("standing").expect("valid"), category: None, name: None, counts }],
    }
}

fn applied(outcome: Outcome) -> Answer {
    answer(Verdict::Applied(outcome))
}

fn text(answer: &Answer) -> String {
    let mut out = Vec::new();
    write_answer(answer, "r-1", &mut out);
    let text = String::from_utf8(out).expect("JSON is UTF-8");
    let _: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
    text
}

const HEAD: &str = r#"{"outcome":"applied","revision":5,"version":3"#;
const ITEMS: &str = r#"[{"seat":"A-1"},{"pool":"standing","quantity":2}]"#;

#[test]
fn every_outcome_has_its_status_and_body() {
    let hold_fields = format!(
        r#""token":"t-1","event":"e","items":{ITEMS},"customer":"c","expires_at":"2023-11-14T22:23:20.123Z","expires_in_ms":600000,"created_at":"2023-11-14T22:13:20.123Z""#
    );
    let order_fields =
        format!(r#""order":"o-1","event":"e","items":{ITEMS},"customer":null,"booked_at":"2023-11-14T22:13:20.000Z""#);
    let cases = [
        (Outcome::Reserved(hold()), 201, format!("{HEAD},{hold_fields}}}")),
        (Outcome::Extended(hold()), 200, format!("{HEAD},{hold_fields}}}")),
        (Outcome::Booked(order()), 201, format!("{HEAD},{order_fields}}}")),
        (Outcome::BookedBefore(order()), 200, format!("{HEAD},{order_fields}}}")),
        (Outcome::Released { items: items() }, 200, format!("{HEAD},\"released\":{ITEMS}}}")),
        (Outcome::Cancelled { items: vec![] }, 200, format!("{HEAD},\"cancelled\":[]}}")),
        (
            Outcome::Blocked { items: items(), reason: Some("x".into()) },
            200,
            format!("{HEAD},\"blocked\":{ITEMS},\"reason\":\"x\"}}"),
        ),
        (
            Outcome::Unblocked { items: items(), reason: None },
            200,
            format!("{HEAD},\"unblocked\":{ITEMS},\"reason\":null}}"),
        ),
        (Outcome::Deleted { event: EventId::parse("e").expect("valid") }, 200, format!("{HEAD},\"event\":\"e\"}}")),
        (Outcome::Voided, 200, format!("{HEAD},\"voided\":true}}")),
        (Outcome::Configured, 200, format!("{HEAD}}}")),
    ];
    for (outcome, expected_status, expected) in cases {
        let answer = applied(outcome);
        assert_eq!((status(&answer), text(&answer)), (expected_status, expected));
    }
}

#[test]
fn a_defined_event_is_as_get_gives_it_with_the_outcome_in_front() {
    let made = applied(Outcome::Defined { created: true, event: Box::new(event()) });
    assert_eq!(status(&made), 201);
    assert_eq!(
        text(&made),
        r#"{"outcome":"applied","event":"e","name":"Hamlet","on_sale":true,"version":3,"revision":5,"seats":{"total":2,"free":1,"held":1,"booked":0,"blocked":0},"pools":[{"id":"standing","capacity":500,"held":2,"booked":1,"blocked":0,"available":497,"category":null,"name":null}],"hold":{"ttl_ms":600000,"max_ttl_ms":7200000},"limits":{"per_customer":null},"labels":{"venue":"Globe"},"definition_version":1,"group":0,"created_at":"1970-01-01T00:00:00.000Z"}"#
    );
    assert_eq!(status(&applied(Outcome::Defined { created: false, event: Box::new(event()) })), 200);
    assert_eq!(status(&applied(Outcome::Changed { event: Box::new(event()) })), 200);
}

fn held() -> Rejection {
    let seat = |id: &str, status| Conflict::Seat { seat: SeatId::parse(id).expect("valid"), status };
    let mut rejection = Rejection::new(Code::SeatHeld);
    rejection.conflicts = vec![
        seat("A-1", SeatStatus::Held),
        seat("A-2", SeatStatus::Booked),
        Conflict::Pool { pool: PoolId::parse("p").expect("valid"), available: 1, requested: 2 },
        Conflict::Best { available: 3, requested: 4 },
    ];
    rejection
}

#[test]
fn a_rejection_lists_every_conflict_in_a_fixed_order_of_fields() {
    let answer = answer(Verdict::Rejected(held()));
    assert_eq!(status(&answer), 409);
    assert_eq!(
        text(&answer),
        r#"{"type":"urn:lastseat:problem:seat_held","title":"A seat is held","status":409,"detail":"Not every seat is free: seat A-1 is held, seat A-2 is booked, pool p: 2 requested, 1 available and 1 more; choose other seats, or try again when the hold ends.","code":"seat_held","outcome":"rejected","retryable":false,"request_id":"r-1","conflicts":[{"seat":"A-1","status":"held"},{"seat":"A-2","status":"booked"},{"pool":"p","available":1,"requested":2},{"available":3,"requested":4}],"revision":5}"#
    );
}

#[test]
fn facts_of_a_rejection_are_fields_of_the_problem() {
    let mut rejection = Rejection::new(Code::LimitExceeded);
    rejection.facts.limit = Some((6, 5));
    rejection.facts.index = Some(2);
    let body: serde_json::Value = serde_json::from_str(&text(&answer(Verdict::Rejected(rejection)))).expect("JSON");
    assert_eq!((&body["limit"], &body["current"], &body["index"]), (&6.into(), &5.into(), &2.into()));
    assert_eq!(body["conflicts"], serde_json::json!([]));
    let body: serde_json::Value =
        serde_json::from_str(&text(&answer(Verdict::Rejected(Rejection::invalid("Say less."))))).expect("JSON");
    assert_eq!((&body["detail"], &body["outcome"]), (&"Say less.".into(), &"rejected".into()));
}

#[test]
fn batch_results_have_a_status_once() {
    let rejected = answer(Verdict::Rejected(held()));
    let booked = applied(Outcome::Booked(order()));
    let atomic = Answer { version: None, ..applied(Outcome::AtomicBatch(vec![booked.clone(), rejected.clone()])) };
    let body = text(&atomic);
    assert!(body.starts_with(r#"{"outcome":"applied","revision":5,"version":null,"results":[{"status":201,"outcome":"applied","revision":5,"version":3,"order":"o-1""#), "{body}");
    let mut out = Vec::new();
    let refused = SliceAnswer::Refused(Rejection::invalid("Say less."));
    write_batch(
        &[SliceAnswer::Decided(booked), SliceAnswer::Decided(rejected), SliceAnswer::KeyReused, refused],
        "r-1",
        &mut out,
    );
    let text = String::from_utf8(out).expect("UTF-8");
    assert_eq!(text.matches(r#""status":409"#).count(), 1, "{text}");
    let body: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let statuses: Vec<_> =
        body["results"].as_array().expect("a list").iter().map(|one| one["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(201), Some(409), Some(422), Some(422)]);
    let outcomes: Vec<_> = body["results"].as_array().expect("a list").iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["applied", "rejected", "not_applied", "not_applied"]);
    assert_eq!((&body["revision"], &body["version"]), (&5.into(), &serde_json::Value::Null));
}

#[test]
fn a_recorded_answer_is_shown_as_it_was_given() {
    let booked = applied(Outcome::Booked(order()));
    let mut out = Vec::new();
    write_recorded(&booked, 9, "r-1", &mut out);
    let shown = String::from_utf8(out).expect("UTF-8");
    let given = text(&booked);
    assert_eq!(
        shown,
        format!(r#"{{"status":201,"body":{given},"decided_at":"2023-11-14T22:13:20.123Z","revision":9}}"#)
    );
    let not_voided = Answer { version: None, ..applied(Outcome::NotVoided(Box::new(booked))) };
    assert_eq!(
        text(&not_voided),
        format!(r#"{{"outcome":"applied","revision":5,"version":null,"voided":false,"status":201,"body":{given}}}"#)
    );
}

#[test]
fn a_reserve_is_parsed_into_the_command_it_means() {
    let body = br#"{"best":{"quantity":4,"section":"Stalls"},"customer":"c","ttl_ms":1000}"#;
    let command = crate::api::wire::sale::reserve("e", body).expect("valid");
    let SaleOp::Reserve { want, customer, ttl_ms, add_to } = &command.op else { panic!("{command:?}") };
    assert_eq!((customer.as_ref().map(|c| c.as_str()), *ttl_ms, add_to), (Some("c"), Some(1000), &None));
    let best = Want::Best { quantity: 4, section: Some("Stalls".into()), category: None, contiguous: true };
    assert_eq!(want, &best);
    let body = "{\"items\":[{\"seat\":\"A\\u002d1\"},{\"pool\":\"standing\"}],\"order\":\"o\"}";
    let command = crate::api::wire::sale::book("e", body.as_bytes()).expect("valid");
    let SaleOp::BookDirect { items, .. } = &command.op else { panic!("{:?}", Command::Sale(command)) };
    let pool = PoolId::parse("standing").expect("valid");
    assert_eq!(items, &[Item::Seat(SeatId::parse("A-1").expect("valid")), Item::Pool { pool, quantity: 1 }]);
}

#[test]
fn the_secret_of_a_webhook_is_in_its_answer_and_in_nothing_that_tells_of_it_later() {
    use crate::domain::webhook::{Secret, WebhookConfig, WebhookState, WebhookView};
    let view = WebhookView {
        webhook: crate::domain::id::WebhookId::parse("w").expect("valid"),
        config: WebhookConfig {
            url: "https://a.example/".into(),
            events: Some([EventId::parse("e").expect("valid")].into()),
            causes: Some([crate::domain::change::Cause::Book].into()),
            enabled: true,
            description: None,
            disable_after_ms: 1_000,
        },
        state: WebhookState::Active,
        created_at: Millis(0),
        paused_at: None,
        trouble: None,
        disabled: None,
        cursor: Revision(3),
        gap: None,
        delivered: 2,
        failed: 1,
        secrets: vec![],
    };
    let secret = Some(Secret(std::array::from_fn(|at| at as u8)));
    let made = Answer { version: None, ..applied(Outcome::WebhookSet { created: true, webhook: view.into(), secret }) };
    let shown = r#""secret":"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}"#;
    let body = text(&made);
    assert_eq!(status(&made), 201);
    assert!(body.starts_with(r#"{"outcome":"applied","revision":5,"version":null,"webhook":"w","url":"https://a.example/","events":["e"],"causes":["book"],"enabled":true,"#), "{body}");
    assert!(body.contains(r#""state":"active","since":null,"why":null,"cursor":3,"lag":2,"gap":null,"#), "{body}");
    assert!(body.ends_with(shown), "{body}");
    let mut recorded = Vec::new();
    write_recorded(&made, 9, "r-1", &mut recorded);
    let recorded = String::from_utf8(recorded).expect("UTF-8");
    let not_voided = text(&applied(Outcome::NotVoided(Box::new(made))));
    for told in [recorded, not_voided] {
        assert!(told.contains(r#""secret":null"#) && !told.contains("whsec_"), "{told}");
    }
}
