//! `watch`: changes as they happen, until Ctrl-C. Comes back by itself when a node goes.

use lastseat_client::{Change, EventChange, ItemChange, Snapshot, Totals, WatchBody, WatchMessage};

use super::args::{Format, Global, WatchArgs};
use super::exit::{self, Failure};
use super::output;

pub(super) async fn run(global: &Global, args: WatchArgs) -> Result<(), Failure> {
    let client = global.client()?;
    let mut watch = match &args.event {
        Some(event) => client.watch(event),
        None => client.watch_all(),
    };
    if let Some(position) = args.after {
        watch = watch.after(position);
    }
    if args.snapshot {
        watch = watch.snapshot();
    }
    if let Some(interval) = args.latest {
        watch = watch.latest(interval);
    }
    let mut changes = watch.open();
    while let Some(message) = changes.next().await {
        show(&exit::answered(message)?, global.output)?;
    }
    Ok(())
}

fn show(message: &WatchMessage, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => output::line(&format!("{:#}", message.line)),
        Format::Ndjson => output::line(&message.line.to_string()),
        Format::Table => match text(message) {
            Some(text) => output::line(&text),
            None => Ok(()),
        },
    }
}

/// For people; what only programs need is left out.
fn text(message: &WatchMessage) -> Option<String> {
    match &message.body {
        WatchBody::Reset => Some("the state follows".into()),
        WatchBody::Snapshot(piece) => Some(snapshot(piece)),
        WatchBody::Synced => Some(format!("complete at {}", message.position?)),
        WatchBody::Change(it) => Some(it.events.iter().map(|event| change(it, event)).collect::<Vec<_>>().join("\n")),
        WatchBody::Bookmark => None,
    }
}

fn snapshot(piece: &Snapshot) -> String {
    let (seats, pools) = (piece.seats.len(), piece.pools.len());
    format!("{}  {}  {seats} seats, {pools} pools  {}", piece.event, piece.version, totals(&piece.totals))
}

fn change(change: &Change, event: &EventChange) -> String {
    let items: Vec<String> = event.changes.iter().map(item).collect();
    let (at, cause, totals) = (&change.at, &change.cause, totals(&event.totals));
    format!("{at}  {}  {}  {cause:<8}  {}  {totals}", event.event, event.version, items.join(", "))
}

fn item(change: &ItemChange) -> String {
    match change {
        ItemChange::Seat { seat, status } => format!("{seat} {status}"),
        ItemChange::Pool { pool, totals } => format!("{pool} {} left", totals.available),
        ItemChange::PoolRemoved { pool } => format!("{pool} removed"),
    }
}

fn totals(totals: &Totals) -> String {
    format!("({} of {} left)", totals.available, totals.capacity)
}
