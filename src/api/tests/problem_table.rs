//! The table of problems against the contract.

use crate::api::problem::{ProblemOutcome, TABLE};

/// Code, status, outcome (N, R, U, -). First the contract's rows in its order, with what a reader may get among them.
const CONTRACT: &[(&str, u16, char)] = &[
    ("too_large", 413, 'N'),
    ("unauthorized", 401, 'N'),
    ("forbidden", 403, 'N'),
    ("malformed", 400, 'N'),
    ("unsupported_media_type", 415, 'N'),
    ("method_not_allowed", 405, 'N'),
    ("route_not_found", 404, 'N'),
    ("overloaded", 429, 'N'),
    ("no_leader", 503, 'N'),
    ("unknown", 504, 'U'),
    ("read_timeout", 504, 'N'),
    ("key_reused", 422, 'N'),
    ("invalid", 422, 'N'),
    ("duplicate_item", 422, 'N'),
    ("cross_group", 422, 'N'),
    ("deadline_passed", 409, 'R'),
    ("voided", 409, 'R'),
    ("event_not_found", 404, 'R'),
    ("hold_not_found", 404, 'R'),
    ("order_not_found", 404, 'R'),
    ("seat_not_found", 404, 'R'),
    ("pool_not_found", 404, 'R'),
    ("outcome_not_found", 404, 'N'),
    ("member_not_found", 404, 'N'),
    ("definition_moved", 412, 'R'),
    ("not_on_sale", 409, 'R'),
    ("hold_expired", 409, 'R'),
    ("token_mismatch", 409, 'R'),
    ("order_mismatch", 409, 'R'),
    ("order_exists", 409, 'R'),
    ("seat_booked", 409, 'R'),
    ("seat_held", 409, 'R'),
    ("seat_blocked", 409, 'R'),
    ("insufficient", 409, 'R'),
    ("not_contiguous", 409, 'R'),
    ("limit_exceeded", 409, 'R'),
    ("capacity_below_committed", 409, 'R'),
    ("not_blocked", 409, 'R'),
    ("membership_refused", 409, 'N'),
    ("compacted", 410, '-'),
    ("membership_failed", 503, 'U'),
    ("internal", 500, 'U'),
    ("webhook_not_found", 404, 'R'),
    ("delivery_not_found", 404, 'R'),
    ("too_many_webhooks", 409, 'R'),
];

#[test]
fn every_row_is_as_the_contract_says() {
    let rows: Vec<(&str, u16, char)> = TABLE
        .iter()
        .map(|row| {
            let outcome = match row.outcome {
                Some(ProblemOutcome::NotApplied) => 'N',
                Some(ProblemOutcome::Rejected) => 'R',
                Some(ProblemOutcome::Unknown) => 'U',
                None => '-',
            };
            (row.code, row.status, outcome)
        })
        .collect();
    assert_eq!(rows, CONTRACT);
}

#[test]
fn a_recorded_no_is_never_retryable_and_an_unknown_always_is() {
    for row in TABLE {
        match row.outcome {
            Some(ProblemOutcome::Rejected) => assert!(!row.retryable, "{}", row.code),
            Some(ProblemOutcome::Unknown) => assert!(row.retryable, "{}", row.code),
            Some(ProblemOutcome::NotApplied) | None => {}
        }
    }
}
