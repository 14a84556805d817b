//! The messages that webhooks send: CloudEvents 1.0, structured JSON, around what the event's stream says.

use serde::Serialize;

use super::change;
use super::views::{Counts, GROUP, Time};
use super::webhook::WireCause;
use crate::service::{ChangeMessage, Message};

/// Room for a usual message.
const MESSAGE_BYTES_USUAL: usize = 640;

#[derive(Serialize)]
struct Envelope<'a, T> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: &'a str,
    subject: &'a str,
    time: Time,
    datacontenttype: &'static str,
    /// Texts, because integers of CloudEvents end at 31 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    lastseatversion: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lastseatrevision: Option<String>,
    data: T,
}

#[derive(Serialize)]
struct TestData<'a> {
    webhook: &'a str,
    test: bool,
}

/// The body of a message.
pub fn body(message: &Message<'_>) -> Vec<u8> {
    match message {
        Message::Change(change) => change_body(change),
        Message::Test { id, webhook, at } => write(&Envelope {
            specversion: "1.0",
            id: id.to_string(),
            source: source(),
            kind: "com.lastseat.test",
            subject: webhook.as_str(),
            time: Time(*at),
            datacontenttype: "application/json",
            lastseatversion: None,
            lastseatrevision: None,
            data: TestData { webhook: webhook.as_str(), test: true },
        }),
    }
}

fn change_body(change: &ChangeMessage<'_>) -> Vec<u8> {
    let ChangeMessage { set, event, .. } = *change;
    let several = change.parts > 1;
    let cause = WireCause::from(set.cause);
    write(&Envelope {
        specversion: "1.0",
        id: change.id.to_string(),
        source: source(),
        kind: kind(cause),
        subject: event.event.as_str(),
        time: Time(set.at),
        datacontenttype: "application/json",
        lastseatversion: Some(event.version.to_string()),
        lastseatrevision: Some(set.revision.to_string()),
        data: change::ChangeMessage {
            event: event.event.as_str(),
            version: event.version.0,
            revision: set.revision.0,
            at: Time(set.at),
            cause: change::cause_name(set.cause),
            changes: change::ChangeList(change.changes),
            totals: Counts::from(&event.totals),
            part: several.then_some(change.part as usize),
            parts: several.then_some(change.parts as usize),
        },
    })
}

fn source() -> String {
    format!("/v1/groups/{GROUP}")
}

fn kind(cause: WireCause) -> &'static str {
    match cause {
        WireCause::Define => "com.lastseat.change.define",
        WireCause::Reserve => "com.lastseat.change.reserve",
        WireCause::Book => "com.lastseat.change.book",
        WireCause::Release => "com.lastseat.change.release",
        WireCause::Expire => "com.lastseat.change.expire",
        WireCause::Cancel => "com.lastseat.change.cancel",
        WireCause::Block => "com.lastseat.change.block",
        WireCause::Unblock => "com.lastseat.change.unblock",
        WireCause::Batch => "com.lastseat.change.batch",
        WireCause::Delete => "com.lastseat.change.delete",
    }
}

fn write<T: Serialize>(envelope: &Envelope<'_, T>) -> Vec<u8> {
    let mut out = Vec::with_capacity(MESSAGE_BYTES_USUAL);
    serde_json::to_writer(&mut out, envelope)
        .expect("writing to memory does not fail, and every field has a JSON form");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::change::Change;
    use crate::domain::change::{Cause, ChangeSet, EventChanges};
    use crate::domain::id::{EventId, PoolId, SeatId, WebhookId};
    use crate::domain::value::{Millis, Revision, Version};
    use crate::domain::value::{PoolCounts, SeatStatus};
    use crate::domain::webhook::MessageId;

    #[test]
    fn a_change_is_told_as_on_the_stream_of_its_event() {
        let counts = PoolCounts { capacity: 500, held: 2, booked: 0, blocked: 0 };
        let pool = |name: &str| PoolId::parse(name).expect("a name");
        let event = EventChanges {
            event: EventId::parse("e").expect("a name"),
            version: Version(3),
            changes: vec![
                Change::Seat { seat: SeatId::parse("A-1").expect("a name"), status: SeatStatus::Held },
                Change::Pool { pool: pool("standing"), counts },
                Change::PoolRemoved { pool: pool("vip") },
            ],
            totals: counts,
        };
        let set =
            ChangeSet { revision: Revision(5), at: Millis(1_700_000_000_123), cause: Cause::Batch, events: vec![] };
        let whole =
            ChangeMessage { id: MessageId(1), set: &set, event: &event, changes: &event.changes, part: 1, parts: 1 };
        let head = r#"{"specversion":"1.0","id":"msg_00000000000000000000000000000001","source":"/v1/groups/0","type":"com.lastseat.change.batch","subject":"e","time":"2023-11-14T22:13:20.123Z","datacontenttype":"application/json","lastseatversion":"3","lastseatrevision":"5","data":{"event":"e","version":3,"revision":5,"at":"2023-11-14T22:13:20.123Z","cause":"batch","changes":["#;
        let totals = r#"],"totals":{"capacity":500,"held":2,"booked":0,"blocked":0,"available":498}"#;
        let text = |message: ChangeMessage<'_>| String::from_utf8(body(&Message::Change(message))).expect("UTF-8");
        assert_eq!(
            text(whole),
            format!(
                "{head}{},{},{}{totals}}}}}",
                r#"{"seat":"A-1","status":"held"}"#,
                r#"{"pool":"standing","capacity":500,"held":2,"booked":0,"blocked":0,"available":498}"#,
                r#"{"pool":"vip","status":"removed"}"#
            )
        );
        let part = ChangeMessage { changes: &event.changes[..1], part: 1, parts: 2, ..whole };
        assert_eq!(
            text(part),
            format!("{head}{}{totals},\"part\":1,\"parts\":2}}}}", r#"{"seat":"A-1","status":"held"}"#)
        );
    }

    #[test]
    fn a_test_message_is_none_that_could_be_taken_for_a_change() {
        let webhook = WebhookId::parse("w").expect("a name");
        let text = String::from_utf8(body(&Message::Test { id: MessageId(1), webhook: &webhook, at: Millis(0) }));
        assert!(text.expect("UTF-8").contains(r#""type":"com.lastseat.test","subject":"w","#));
    }
}
