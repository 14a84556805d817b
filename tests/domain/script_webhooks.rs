//! Webhooks in scripts: their words, and what is seen of them.

use lastseat::domain::change::Cause;
use lastseat::domain::command::{Command, WebhookCommand, WebhookOp};
use lastseat::domain::id::WebhookId;
use lastseat::domain::value::{Millis, Revision, Text};
use lastseat::domain::webhook::{
    Attempt, AttemptKind, AttemptResult, DISABLE_AFTER_MS_DEFAULT, DeliveryError, Gap, MessageId, OVERLAP_MS_DEFAULT,
    Secret, WebhookConfig, WebhookProgress, WebhookView,
};

use super::script_parse::{Words, duration, event, time};

pub fn id(text: &str) -> WebhookId {
    WebhookId::parse(text).unwrap()
}

fn cause(word: &str) -> Cause {
    match word {
        "book" => Cause::Book,
        "cancel" => Cause::Cancel,
        "expire" => Cause::Expire,
        other => panic!("cause {other}"),
    }
}

/// `200` or the name of an error.
fn result(word: &str) -> AttemptResult {
    match word {
        "timeout" => AttemptResult::Failed(DeliveryError::Timeout),
        "forbidden" => AttemptResult::Failed(DeliveryError::Forbidden),
        status => AttemptResult::Status(status.parse().unwrap()),
    }
}

/// `REVISION:EVENT:RESULT`, at `at`.
fn attempt(webhook: &WebhookId, word: &str, kind: AttemptKind, at: Millis) -> Attempt {
    let parts: Vec<&str> = word.split(':').collect();
    let (revision, on) = (Revision(parts[0].parse().unwrap()), event(parts[1]));
    Attempt {
        kind,
        message: MessageId::of(webhook, revision, &on, 1),
        revision,
        event: Some(on),
        part: 1,
        at,
        attempt: 1,
        result: result(parts[2]),
        duration_ms: 7,
    }
}

/// `webhook OP W …`, after its first word.
pub fn command(words: &mut Words) -> Command {
    let op = words.next();
    let webhook = id(&words.next());
    let fresh = words.after("secret").map(|byte| Secret([byte.parse().unwrap(); 32])).unwrap_or(Secret([7; 32]));
    let at = words.after("sent").map_or(Millis(time("12:00:00")), |text| Millis(time(&text)));
    let op = match op.as_str() {
        "set" => {
            let list = |words: &mut Words, name: &str| words.after(name).map(|text| text.replace(',', " "));
            WebhookOp::Set {
                config: Box::new(WebhookConfig {
                    events: list(words, "events").map(|text| text.split_whitespace().map(event).collect()),
                    causes: list(words, "causes").map(|text| text.split_whitespace().map(cause).collect()),
                    enabled: !words.has("paused"),
                    description: words.after("description").map(Text::from),
                    disable_after_ms: words
                        .after("disable-after")
                        .map_or(DISABLE_AFTER_MS_DEFAULT, |text| duration(&text)),
                    url: Text::from(words.next()),
                }),
                fresh: Some(fresh),
            }
        }
        "delete" => WebhookOp::Delete,
        "rotate" => {
            let overlap_ms = words.after("overlap").map_or(OVERLAP_MS_DEFAULT, |text| duration(&text));
            WebhookOp::Rotate { overlap_ms, fresh: Some(fresh) }
        }
        "pause" => WebhookOp::Pause,
        "resume" => WebhookOp::Resume { from: words.after("from").map(|text| Revision(text.parse().unwrap())) },
        "test" => {
            let answered = words.after("answered").map(|text| Attempt {
                revision: Revision(0),
                event: None,
                ..attempt(&webhook, &format!("0:x:{text}"), AttemptKind::Test, at)
            });
            WebhookOp::Test { attempt: answered }
        }
        "redeliver" => {
            let tried = words.after("tried").map(|text| attempt(&webhook, &text, AttemptKind::Redelivery, at));
            let message = tried.as_ref().map_or(MessageId(1), |tried| tried.message);
            WebhookOp::Redeliver { message, attempt: tried }
        }
        other => panic!("what means webhook {other}?"),
    };
    Command::Webhook(WebhookCommand { webhook, op })
}

/// `report W cursor N [gap A-B] [late] [tried REVISION:EVENT:RESULT]…`
pub fn report(words: &mut Words, now: u64, epoch_of: impl Fn(&WebhookId) -> Option<u64>) -> WebhookProgress {
    let webhook = id(&words.next());
    let epoch = epoch_of(&webhook).unwrap_or(0);
    let gap = words.after("gap").map(|text| {
        let (from, to) = text.split_once('-').expect("gap A-B");
        Gap { from: Revision(from.parse().unwrap()), to: Revision(to.parse().unwrap()), at: Millis(now) }
    });
    let cursor = Revision(words.after("cursor").expect("cursor N").parse().unwrap());
    let epoch = if words.has("late") { epoch.saturating_sub(1) } else { epoch };
    let mut attempts = Vec::new();
    while let Some(text) = words.after("tried") {
        attempts.push(attempt(&webhook, &text, AttemptKind::Delivery, Millis(now)));
    }
    WebhookProgress { webhook, epoch, cursor, gap, attempts }
}

// --- what is seen ---

fn answer(result: AttemptResult) -> String {
    match result {
        AttemptResult::Status(status) => status.to_string(),
        AttemptResult::Failed(error) => format!("{error:?}").to_lowercase(),
    }
}

pub fn secret(secret: &Option<Secret>) -> String {
    secret.as_ref().map_or(String::new(), |secret| format!(" with secret {}", secret.0[0]))
}

pub fn view(view: &WebhookView, time: impl Fn(Millis) -> String) -> String {
    let mut text = format!("{} {} cursor {}", view.webhook, format!("{:?}", view.state).to_lowercase(), view.cursor);
    if let Some(at) = view.paused_at {
        text.push_str(&format!(" paused at {}", time(at)));
    }
    if let Some(trouble) = view.trouble {
        let (since, last) = (time(trouble.since), answer(trouble.last));
        text.push_str(&format!(" failing since {since} after {} with {last}", trouble.attempts));
    }
    if let Some(disabled) = view.disabled {
        text.push_str(&format!(" disabled at {} with {}", time(disabled.at), answer(disabled.last)));
    }
    if let Some(gap) = view.gap {
        text.push_str(&format!(" gap {}-{}", gap.from, gap.to));
    }
    text.push_str(&format!(" delivered {} failed {}", view.delivered, view.failed));
    for secret in &view.secrets {
        let until = secret.until.map_or("rotated".to_owned(), &time);
        text.push_str(&format!(", secret of {} until {until}", time(secret.made_at)));
    }
    text
}

pub fn tried(attempt: &Attempt) -> String {
    let about = match &attempt.event {
        Some(event) => format!("revision {} {event}", attempt.revision),
        None => "a test".to_owned(),
    };
    format!("{} of {about}: {}", format!("{:?}", attempt.kind).to_lowercase(), answer(attempt.result))
}
