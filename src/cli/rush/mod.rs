//! `rush`: a flash sale. Hundreds of buyers at once reserve and book until nothing is left, then the audit counts.
//!
//! ```text
//! round 1: buyer 1 … buyer n ─ each buys once, or is told "sold out" ─┐
//! round 2: the same buyers as new customers, if anything is left ─────┤ … until every target is sold out
//!          killer: kill -9 the leader now and then, only meanwhile ───┘
//! audit (linearizable): sold + held by others before = capacity, oversold 0, and the buyers' own receipts add up to the same
//! ```
//!
//! Invariants: an unknown answer is pursued under its key until it is definite, so a receipt is never guessed; "sold
//! out" is only believed when a single unit was refused *and* a linearizable read finds nothing free and nothing held
//! by a buyer of the rush, since such a hold may come back. Nothing is ever given back in a rush, so sold out then is for
//! good. What others hold or blocked before is not for sale; if such a hold ends in time, its units are sold too.
//!
//! Lacks on purpose: other traffic. Someone else who sells at the same time makes the receipts differ from the audit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lastseat_client::Audit;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::args::{Format, Global, RushArgs};
use super::exit::{self, Failure};
use super::output;

mod buyer;
mod killer;
mod progress;
mod report;
mod shop;

use buyer::Buyer;
use report::Report;
use shop::Shop;

/// The audit may have to wait for the leader after the last kill.
const AUDIT_DEADLINE: Duration = Duration::from_secs(60);

pub(super) async fn run(global: &Global, args: RushArgs) -> Result<(), Failure> {
    let shop = Arc::new(Shop::open(global, &args).await?);
    let killer = match args.kill_leader_every {
        Some(every) => Some(killer::Killer::new(global, &args, every)?),
        None => None,
    };
    let started = Instant::now();
    let (selling, sold_out) = watch::channel(true);
    let killing = killer.map(|killer| tokio::spawn(killer.run(shop.clone(), sold_out.clone())));
    let showing = tokio::spawn(progress::show(shop.clone(), sold_out));

    let mut report = sell(&shop, args.buyers).await;
    report.elapsed = started.elapsed();
    let _ = selling.send(false);
    let _ = showing.await;
    if let Some(killing) = killing {
        report.kills = killing.await.map_err(|error| Failure::failed(format!("the killer broke: {error}")))?;
    }
    let audit: Audit = exit::answered(shop.client().audit(&args.event).deadline(AUDIT_DEADLINE).send().await)?;
    finish(&report, &shop, &audit, global.output)
}

/// Rounds of buyers until every target is sold out, or a round in which a buyer failed.
async fn sell(shop: &Arc<Shop>, buyers: u32) -> Report {
    let mut report = Report::new(buyers);
    for round in 1.. {
        let mut crowd = JoinSet::new();
        for number in 0..buyers {
            let buyer = Buyer::new(shop.clone(), number, round);
            crowd.spawn(async move { (number, buyer.run().await) });
        }
        while let Some(ended) = crowd.join_next().await {
            match ended {
                Ok((number, ending)) => report.note(number, ending),
                Err(error) => report.broken(format!("a buyer's task broke: {error}")),
            }
        }
        if shop.sold_out() || report.has_failures() {
            break;
        }
    }
    report
}

fn finish(report: &Report, shop: &Shop, audit: &Audit, format: Format) -> Result<(), Failure> {
    let complaints = report.complaints(shop, audit);
    match format {
        Format::Table => output::raw(&report.text(shop, audit))?,
        Format::Json | Format::Ndjson => output::answer(&report.json(shop, audit, &complaints), format)?,
    }
    if complaints.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("the sale does not add up:\n  {}", complaints.join("\n  "))))
}

#[cfg(test)]
mod tests;
