//! Selling by hand: `reserve`, `book`, `release`, `extend`, `cancel`, `audit`.

use std::time::Duration;

use lastseat_client::{Best, Book, Call, Client, Read, Reserve};
use serde::de::DeserializeOwned;

use super::args::{BookArgs, CancelArgs, ExtendArgs, Global, ReleaseArgs, ReserveArgs};
use super::exit::{self, Failure};
use super::output;

impl Global {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.server).map_err(|error| Failure::usage(error.to_string()))
    }

    /// Sends a command under `--key` and prints the answer.
    pub(super) async fn command<T: DeserializeOwned>(&self, call: Call<T>) -> Result<(), Failure> {
        let answer = self.applied(call).await?;
        output::answer(&answer, self.output)
    }

    /// Sends a command under `--key`.
    pub(super) async fn applied<T: DeserializeOwned>(&self, call: Call<T>) -> Result<serde_json::Value, Failure> {
        let mut call = call.untyped();
        if let Some(timeout) = self.timeout {
            call = call.deadline(timeout);
        }
        if let Some(key) = &self.key {
            crate::domain::id::Key::parse(key).map_err(|error| Failure::usage(format!("--key: {error}")))?;
            call = call.with_key(key);
        }
        exit::applied(call.send().await).map_err(|mut failure| {
            if failure.code == exit::NOT_APPLIED && self.key.is_some() {
                failure.text.push_str("\n  if an earlier run with this --key was unknown, that one still is");
            }
            failure
        })
    }

    pub(super) async fn read<T: DeserializeOwned>(&self, read: Read<T>) -> Result<serde_json::Value, Failure> {
        let mut read = read.untyped();
        if let Some(timeout) = self.timeout {
            read = read.deadline(timeout);
        }
        exit::answered(read.send().await)
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) async fn reserve(global: &Global, args: ReserveArgs) -> Result<(), Failure> {
    let best = args.best.map(|quantity| Best {
        quantity,
        section: args.section,
        category: args.category,
        contiguous: !args.scattered,
    });
    let reserve = Reserve {
        items: args.items.items(),
        best,
        customer: args.customer,
        ttl_ms: args.ttl.map(millis),
        token: args.token,
    };
    global.command(global.client()?.reserve(&args.event, reserve)).await
}

pub(super) async fn book(global: &Global, args: BookArgs) -> Result<(), Failure> {
    let book = Book {
        token: args.token,
        order: args.order,
        items: args.items.items(),
        customer: args.customer,
        rest: args.rest,
        on_expired: args.on_expired,
    };
    global.command(global.client()?.book(&args.event, book)).await
}

pub(super) async fn release(global: &Global, args: ReleaseArgs) -> Result<(), Failure> {
    let items = args.items.items();
    global.command(global.client()?.release(&args.event, &args.token, items.as_deref())).await
}

pub(super) async fn extend(global: &Global, args: ExtendArgs) -> Result<(), Failure> {
    global.command(global.client()?.extend(&args.event, &args.token, millis(args.ttl))).await
}

pub(super) async fn cancel(global: &Global, args: CancelArgs) -> Result<(), Failure> {
    let items = args.items.items();
    global.command(global.client()?.cancel(&args.event, &args.order, items.as_deref())).await
}

pub(super) async fn audit(global: &Global, event: &str) -> Result<(), Failure> {
    let audit = global.read(global.client()?.audit(event)).await?;
    output::answer(&audit, global.output)?;
    let clean = audit["oversold"] == 0 && audit["violations"].as_array().is_some_and(Vec::is_empty);
    if clean { Ok(()) } else { Err(Failure::failed("the audit does not hold: stop selling and keep the data folders")) }
}
