//! The closed loop.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use hyper::{Method, StatusCode};
use uuid::Uuid;

use crate::connection::Connection;

/// Longest latency told apart, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;

#[derive(clap::Args, Clone)]
pub(crate) struct LoadOptions {
    /// API address of the node to send to; best the leader.
    #[arg(long, default_value = "http://127.0.0.1:7401")]
    server: String,
    /// Clients at once, each with a connection of its own.
    #[arg(long, default_value_t = 64)]
    clients: u32,
    /// Seconds to run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Stop after this many bookings.
    #[arg(long)]
    bookings: Option<u64>,
    /// The event to define and sell.
    #[arg(long, default_value = "bench")]
    event: String,
    /// Print a line each second.
    #[arg(long)]
    progress: bool,
}

pub(crate) struct Report {
    booked: u64,
    refused: u64,
    unknown: u64,
    took: Duration,
    latency_us: Histogram<u64>,
    counted_by_server: u64,
}

struct Tally {
    booked: Cell<u64>,
    refused: Cell<u64>,
    unknown: Cell<u64>,
    latency_us: RefCell<Histogram<u64>>,
}

pub(crate) async fn run(options: LoadOptions) -> Result<Report, String> {
    let mut control = Connection::open(&options.server).await?;
    define(&mut control, &options.event).await?;
    let before = booked(&mut control, &options.event).await?;
    let histogram = Histogram::new_with_max(LATENCY_US_MAX, 3).map_err(|e| e.to_string())?;
    let tally = Rc::new(Tally {
        booked: Cell::new(0),
        refused: Cell::new(0),
        unknown: Cell::new(0),
        latency_us: RefCell::new(histogram),
    });
    let mut connections = Vec::new();
    for _ in 0..options.clients {
        connections.push(Connection::open(&options.server).await?);
    }
    let started = Instant::now();
    let until = started + Duration::from_secs(options.seconds);
    let path: Rc<str> = format!("/v1/events/{}/book", options.event).into();
    let local = tokio::task::LocalSet::new();
    for connection in connections {
        local.spawn_local(client(connection, path.clone(), tally.clone(), until, options.bookings.unwrap_or(u64::MAX)));
    }
    if options.progress {
        local.spawn_local(progress(tally.clone(), until));
    }
    local.await;
    let took = started.elapsed();
    // The first connection has been idle for the whole run; the server may have closed it.
    let mut control = Connection::open(&options.server).await?;
    let counted_by_server = booked(&mut control, &options.event).await? - before;
    let latency_us = tally.latency_us.borrow().clone();
    let report = Report {
        booked: tally.booked.get(),
        refused: tally.refused.get(),
        unknown: tally.unknown.get(),
        took,
        latency_us,
        counted_by_server,
    };
    report.check()?;
    Ok(report)
}

pub(crate) async fn define(control: &mut Connection, event: &str) -> Result<(), String> {
    let body = serde_json::json!({
        "name": "Load", "pools": [{"id": "hot", "capacity": 900_000_000_000_u64}]
    });
    let path = format!("/v1/events/{event}");
    let (status, body) = control.send(Method::PUT, &path, Bytes::from(body.to_string())).await?;
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("defining {event}: {status} {}", String::from_utf8_lossy(&body)))
    }
}

/// Units booked, recounted by the server from its records.
async fn booked(control: &mut Connection, event: &str) -> Result<u64, String> {
    let (status, body) = control.send(Method::GET, &format!("/v1/events/{event}/audit"), Bytes::new()).await?;
    let audit: serde_json::Value = serde_json::from_slice(&body).map_err(|e| format!("audit: {status} {e}"))?;
    if audit["oversold"] != 0 || audit["violations"].as_array().is_none_or(|v| !v.is_empty()) {
        return Err(format!("the audit found a violation: {audit}"));
    }
    audit["booked"].as_u64().ok_or_else(|| format!("audit: {status} {audit}"))
}

async fn client(mut connection: Connection, path: Rc<str>, tally: Rc<Tally>, until: Instant, bookings_max: u64) {
    while Instant::now() < until && tally.booked.get() < bookings_max {
        let order = Uuid::now_v7();
        let body = format!(r#"{{"items":[{{"pool":"hot","quantity":1}}],"order":"{order}"}}"#);
        let sent = Instant::now();
        match connection.send(Method::POST, &path, Bytes::from(body)).await {
            Ok((StatusCode::CREATED, _)) => {
                let us = u64::try_from(sent.elapsed().as_micros()).unwrap_or(LATENCY_US_MAX);
                tally.latency_us.borrow_mut().saturating_record(us);
                tally.booked.set(tally.booked.get() + 1);
            }
            Ok((StatusCode::GATEWAY_TIMEOUT, _)) => tally.unknown.set(tally.unknown.get() + 1),
            Ok(_) => tally.refused.set(tally.refused.get() + 1),
            Err(broken) => {
                eprintln!("a connection broke: {broken}");
                tally.unknown.set(tally.unknown.get() + 1);
                return;
            }
        }
    }
}

async fn progress(tally: Rc<Tally>, until: Instant) {
    let mut last = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = tally.booked.get();
        eprintln!("{} bookings/s, {now} in all", now - last);
        last = now;
    }
}

impl Report {
    /// What the server counted must be what the clients were told, give or take what is unknown.
    fn check(&self) -> Result<(), String> {
        let told = self.booked;
        if (told..=told + self.unknown).contains(&self.counted_by_server) {
            return Ok(());
        }
        Err(format!(
            "the server counted {} bookings, the clients were told of {told} and of {} do not know",
            self.counted_by_server, self.unknown
        ))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |quantile| self.latency_us.value_at_quantile(quantile) as f64 / 1_000.0;
        let rate = self.booked as f64 / self.took.as_secs_f64();
        writeln!(f, "booked {} in {:.1} s: {rate:.0} bookings/s", self.booked, self.took.as_secs_f64())?;
        writeln!(f, "latency ms: p50 {:.2}  p90 {:.2}  p99 {:.2}  max {:.2}", ms(0.5), ms(0.9), ms(0.99), ms(1.0))?;
        write!(f, "refused {}, unknown {}; the server counted {}", self.refused, self.unknown, self.counted_by_server)
    }
}
