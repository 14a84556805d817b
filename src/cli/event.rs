//! `event …`: make, import and look at events.

use std::time::Duration;

use lastseat_client::{Event, EventDefinition, HoldPolicy, Limits, PoolDefinition, ReadError};
use serde_json::{Value, json};

use super::args::{CreateArgs, EventCommand, Format, Global, ImportArgs};
use super::exit::{self, Failure};
use super::import::{self, BODY_BYTES_MAX, Imported};
use super::output;
use super::sale::millis;
use crate::domain::id::EventId;

/// A big definition takes its time.
const IMPORT_DEADLINE: Duration = Duration::from_secs(60);
/// For what was there before, which need not be known.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);
const IMPORT_ATTEMPT: Duration = Duration::from_secs(30);
/// Events asked for at a time.
const PAGE: u64 = 1000;

pub(super) async fn run(global: &Global, command: EventCommand) -> Result<(), Failure> {
    match command {
        EventCommand::Create(args) => create(global, args).await,
        EventCommand::Import(args) => import(global, args).await,
        EventCommand::List => list(global).await,
        EventCommand::Show { event } => {
            let event = global.read(global.client()?.event(&event)).await?;
            show(&event, global.output)
        }
        EventCommand::Delete { event, force } => {
            let deleted = global.command(global.client()?.delete(&event, force)).await;
            deleted.map_err(|failure| match failure.refused_for() {
                Some("seat_held" | "seat_booked" | "capacity_below_committed") => {
                    failure.advise("release and cancel what is held and booked first, or add --force")
                }
                Some(_) | None => failure,
            })
        }
    }
}

async fn create(global: &Global, args: CreateArgs) -> Result<(), Failure> {
    check_event_id(&args.event, "EVENT")?;
    let client = global.client()?;
    if !args.replace && global.key.is_none() {
        // Only a courtesy: two who create the same event at once are not kept apart by it.
        match client.event(&args.event).send().await {
            Ok(_) => {
                return Err(Failure::new(
                    exit::REJECTED,
                    format!("event {:?} is there already; add --replace to replace its definition", args.event),
                ));
            }
            Err(ReadError::Refused(problem)) if problem.status == 404 => {}
            Err(error) => return exit::answered(Err(error)),
        }
    }
    let pool = |(id, capacity)| PoolDefinition { id, capacity, category: None, name: None };
    let definition = EventDefinition {
        name: args.name.unwrap_or_else(|| args.event.clone()),
        on_sale: Some(!args.off_sale),
        pools: args.pools.into_iter().map(pool).collect(),
        hold: args.hold_ttl.map(|ttl| HoldPolicy { ttl_ms: Some(millis(ttl)), max_ttl_ms: None }),
        limits: args.per_customer.map(|most| Limits { per_customer: Some(most) }),
        ..EventDefinition::default()
    };
    let event = global.applied(client.define(&args.event, &definition)).await?;
    show(&event, global.output)
}

async fn import(global: &Global, args: ImportArgs) -> Result<(), Failure> {
    let file = args.file.display().to_string();
    let stem = args.file.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
    let event = args.event.or(stem).ok_or_else(|| Failure::usage("the file's name cannot be an id; give --event"))?;
    check_event_id(&event, "--event")?;
    let bytes = std::fs::read(&args.file)
        .map_err(|error| Failure::usage(format!("cannot read {file}: {error}; check the path")))?;
    let mut imported =
        import::read(&bytes, &event).map_err(|error| Failure::usage(format!("{file}: {error}\n  nothing was sent")))?;
    if let Some(name) = args.name {
        imported.definition.name = name;
    }
    let size = serde_json::to_vec(&imported.definition).map_or(0, |body| body.len());
    if size > BODY_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{file}: as JSON it has {size} bytes, the server takes {BODY_BYTES_MAX}; split it into several events\n  \
             nothing was sent"
        )));
    }
    let client = global.client()?;
    // Only for what is said afterwards: who imports over it meanwhile is not seen.
    let before = client.event(&event).deadline(LOOK_DEADLINE).send().await.ok();
    let call = client.define(&event, &imported.definition);
    let answer = global.applied(call.deadline(IMPORT_DEADLINE).attempt_timeout(IMPORT_ATTEMPT)).await?;
    match global.output {
        Format::Table => output::line(&summary(&event, before.as_ref(), &imported, &answer)),
        Format::Json | Format::Ndjson => output::answer(&answer, global.output),
    }
}

/// What was replaced, in a few words.
fn was(before: &Event) -> String {
    let units: u64 = before.pools.iter().map(|pool| pool.capacity).sum();
    let (name, seats, pools) = (&before.name, before.seats.total, before.pools.len());
    format!(" (was: {name}, {seats} seats, {pools} pools of {units} units)")
}

fn summary(event: &str, before: Option<&Event>, imported: &Imported, answer: &Value) -> String {
    let definition = &imported.definition;
    let mut sections: Vec<_> = definition.seats.iter().filter_map(|seat| seat.section.as_deref()).collect();
    sections.sort_unstable();
    sections.dedup();
    let units: u64 = definition.pools.iter().map(|pool| pool.capacity).sum();
    format!(
        "{} {event}{} from {}: {} seats in {} sections, {} pools of {units} units (version {}, definition version {})",
        if before.is_some() { "replaced" } else { "imported" },
        before.map(was).unwrap_or_default(),
        imported.kind.name(),
        definition.seats.len(),
        sections.len(),
        definition.pools.len(),
        answer["version"],
        answer["definition_version"],
    )
}

async fn list(global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = global.read(client.events(Some(PAGE), after.as_deref())).await?;
        all.extend(page["events"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    output::answer(&json!({"events": all}), global.output)
}

/// An event's `seats` are counts, not a list; its pools are the rows.
fn show(event: &Value, format: Format) -> Result<(), Failure> {
    match format {
        Format::Table => output::raw(&output::event_table(event)),
        Format::Json | Format::Ndjson => output::answer(event, format),
    }
}

fn check_event_id(id: &str, flag: &str) -> Result<(), Failure> {
    EventId::parse(id).map(drop).map_err(|error| {
        Failure::usage(format!("{flag}: {id:?} cannot be the id of an event: {error}; give another by --event ID"))
    })
}
