//! `webhook …`: who is told of changes.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::args::{Global, duration};
use super::exit::Failure;
use super::output;
use super::sale::millis;

/// Webhooks asked for at a time.
const PAGE: u64 = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Make a webhook, or change it: what is not said has its default
    Set(SetArgs),
    /// All webhooks
    List,
    /// One webhook
    Show { webhook: String },
    /// Delete a webhook
    Delete { webhook: String },
    /// Make a new secret
    Rotate {
        webhook: String,
        /// How long the old secret stays live beside it; 0s ends it at once [default: 1d]
        #[arg(long, value_name = "DURATION", value_parser = overlap)]
        overlap: Option<Duration>,
    },
    /// Deliver nothing until it is resumed
    Pause { webhook: String },
    /// Go on where it was
    Resume {
        webhook: String,
        /// Deliver again from this revision on
        #[arg(long, value_name = "REVISION")]
        from: Option<u64>,
    },
    /// Send a test message now
    Test { webhook: String },
    /// The newest attempts
    Deliveries {
        webhook: String,
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Send one of these messages once more
    Redeliver { webhook: String, message: String },
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    webhook: String,
    /// Where to deliver to: https:// or http://
    #[arg(long)]
    url: String,
    /// Only changes of this event; may be repeated
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// Only changes of this cause, such as book or cancel; may be repeated
    #[arg(long = "cause", value_name = "CAUSE")]
    causes: Vec<String>,
    #[arg(long)]
    description: Option<String>,
    /// Make it without delivering anything yet
    #[arg(long)]
    paused: bool,
    /// Disable it after failing for so long [default: 3d]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    disable_after: Option<Duration>,
}

/// A duration, or none.
fn overlap(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { duration(text) }
}

pub(super) async fn run(global: &Global, command: WebhookCommand) -> Result<(), Failure> {
    let client = global.client()?;
    match command {
        WebhookCommand::Set(args) => global.command(client.webhook_set(&args.webhook.clone(), &definition(args))).await,
        WebhookCommand::List => list(global).await,
        WebhookCommand::Show { webhook } => {
            output::answer(&global.read(client.webhook(&webhook)).await?, global.output)
        }
        WebhookCommand::Delete { webhook } => global.command(client.webhook_delete(&webhook)).await,
        WebhookCommand::Rotate { webhook, overlap } => {
            global.command(client.webhook_rotate(&webhook, overlap.map(millis))).await
        }
        WebhookCommand::Pause { webhook } => global.command(client.webhook_pause(&webhook)).await,
        WebhookCommand::Resume { webhook, from } => global.command(client.webhook_resume(&webhook, from)).await,
        WebhookCommand::Test { webhook } => tried(global, global.applied(client.webhook_test(&webhook)).await?),
        WebhookCommand::Deliveries { webhook, limit } => {
            let read = client.webhook_deliveries(&webhook).query("limit", limit);
            output::answer(&global.read(read).await?, global.output)
        }
        WebhookCommand::Redeliver { webhook, message } => {
            tried(global, global.applied(client.webhook_redeliver(&webhook, &message)).await?)
        }
    }
}

fn definition(args: SetArgs) -> Value {
    let mut body = Map::new();
    body.insert("url".into(), args.url.into());
    if !args.events.is_empty() {
        body.insert("events".into(), json!(args.events));
    }
    if !args.causes.is_empty() {
        body.insert("causes".into(), json!(args.causes));
    }
    if let Some(description) = args.description {
        body.insert("description".into(), description.into());
    }
    if args.paused {
        body.insert("enabled".into(), false.into());
    }
    if let Some(after) = args.disable_after {
        body.insert("disable_after_ms".into(), millis(after).into());
    }
    Value::Object(body)
}

async fn list(global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = global.read(client.webhooks(Some(PAGE), after.as_deref())).await?;
        all.extend(page["webhooks"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    output::answer(&json!({"webhooks": all}), global.output)
}

/// Prints what came of it; a failure if the receiver did not take it.
fn tried(global: &Global, answer: Value) -> Result<(), Failure> {
    output::answer(&answer, global.output)?;
    if answer["delivery"]["delivered"] == true {
        return Ok(());
    }
    Err(Failure::failed(
        "the receiver did not take the message\n  do: look at status or error above, and at its own log",
    ))
}
