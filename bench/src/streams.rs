//! Many readers of one event's stream while it is being sold, or many idle ones.
//!
//! Two delays are measured, both on this process's clock. *After the answer*: from the moment the writer of a booking had
//! its answer to the moment a reader had its change; 0 when the reader was first. *After the first*: from the moment any
//! reader had the change. Both include the time that this one thread takes to read for all readers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use tokio::task::LocalSet;
use uuid::Uuid;

use crate::connection::Connection;

/// Longest delay told apart, in microseconds.
const DELAY_US_MAX: u64 = 60_000_000;
/// Streams opened at the same time.
const OPEN_AT_ONCE: usize = 64;

#[derive(clap::Args, Clone)]
pub(crate) struct StreamOptions {
    /// API address of the node to read from and write to.
    #[arg(long, default_value = "http://127.0.0.1:7401")]
    server: String,
    /// Readers of the event that is sold.
    #[arg(long, default_value_t = 2_000)]
    readers: usize,
    /// Further readers of an event that nobody buys.
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Clients that sell.
    #[arg(long, default_value_t = 16)]
    writers: usize,
    /// Seconds to sell.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The event to define and sell.
    #[arg(long, default_value = "bench-streams")]
    event: String,
    /// Process id of the node, to see what a reader costs in memory.
    #[arg(long)]
    pid: Option<u32>,
}

/// What everybody saw.
struct Seen {
    /// When the writer of a version had its answer, and when the first reader had it.
    answered: Vec<Option<Instant>>,
    first: Vec<Option<Instant>>,
    after_answer_us: Histogram<u64>,
    after_first_us: Histogram<u64>,
    delivered: u64,
    booked: u64,
    broken: Vec<String>,
}

type Shared = Rc<RefCell<Seen>>;

pub(crate) async fn run(options: StreamOptions) -> Result<String, String> {
    let histogram = || Histogram::new_with_max(DELAY_US_MAX, 3).map_err(|e| e.to_string());
    let seen = Rc::new(RefCell::new(Seen {
        answered: Vec::new(),
        first: Vec::new(),
        after_answer_us: histogram()?,
        after_first_us: histogram()?,
        delivered: 0,
        booked: 0,
        broken: Vec::new(),
    }));
    let mut control = Connection::open(&options.server).await?;
    let quiet = format!("{}-quiet", options.event);
    for event in [&options.event, &quiet] {
        crate::load::define(&mut control, event).await?;
    }
    let before = options.pid.map(rss_bytes).transpose()?;
    let local = LocalSet::new();
    let report = local.run_until(async {
        let start = version(&mut control, &options.event).await?;
        open(&options, &options.event, options.readers, start, &seen).await?;
        open(&options, &quiet, options.idle, version(&mut control, &quiet).await?, &seen).await?;
        // Memory is looked at when the node has had time to settle.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = options.pid.map(rss_bytes).transpose()?;
        let until = Instant::now() + Duration::from_secs(options.seconds);
        let writers: Vec<_> = (0..if options.readers > 0 { options.writers } else { 0 })
            .map(|_| tokio::task::spawn_local(write(options.clone(), seen.clone(), until)))
            .collect();
        if writers.is_empty() {
            tokio::time::sleep_until(until.into()).await;
        }
        for writer in writers {
            writer.await.map_err(|e| e.to_string())??;
        }
        settle(&options, &seen).await?;
        report(&options, &seen.borrow(), before, after)
    });
    report.await
}

/// Waits until every reader has had every version, but not long.
async fn settle(options: &StreamOptions, seen: &Shared) -> Result<(), String> {
    let give_up = Instant::now() + Duration::from_secs(10);
    let wanted = seen.borrow().booked * options.readers as u64;
    while seen.borrow().delivered < wanted {
        if Instant::now() > give_up {
            return Err(format!("{} of {wanted} messages were delivered", seen.borrow().delivered));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match seen.borrow().broken.first() {
        Some(first) => Err(format!("{} streams broke; the first: {first}", seen.borrow().broken.len())),
        None => Ok(()),
    }
}

fn report(options: &StreamOptions, seen: &Seen, before: Option<u64>, after: Option<u64>) -> Result<String, String> {
    let ms = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    let line = |name: &str, histogram: &Histogram<u64>| {
        let (p50, p99, max) = (ms(histogram, 0.5), ms(histogram, 0.99), ms(histogram, 1.0));
        format!("{name} ms: p50 {p50:.2}  p99 {p99:.2}  max {max:.2}")
    };
    let seconds = options.seconds as f64;
    let mut lines = vec![
        format!("{} readers, {} idle; {} changes in {seconds} s", options.readers, options.idle, seen.booked),
        format!("delivered {}: {:.0}/s, every reader every version", seen.delivered, seen.delivered as f64 / seconds),
    ];
    if seen.booked > 0 {
        lines.push(line("after the answer", &seen.after_answer_us));
        lines.push(line("after the first ", &seen.after_first_us));
    }
    if let (Some(before), Some(after)) = (before, after) {
        let readers = (options.readers + options.idle).max(1) as u64;
        let (mb, each) = ((after >> 20), after.saturating_sub(before) / readers / 1024);
        lines.push(format!("memory of the node: {} MiB before, {mb} MiB with readers: {each} KiB each", before >> 20));
    }
    Ok(lines.join("\n"))
}

fn rss_bytes(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/statm");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let pages: Option<u64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.map(|pages| pages * 4096).ok_or(format!("{path} is not understood"))
}

async fn version(control: &mut Connection, event: &str) -> Result<u64, String> {
    let (status, body) = control.send(Method::GET, &format!("/v1/events/{event}"), Bytes::new()).await?;
    let body: serde_json::Value = serde_json::from_slice(&body).map_err(|e| format!("{event}: {status} {e}"))?;
    body["version"].as_u64().ok_or_else(|| format!("{event}: {status} {body}"))
}

async fn open(options: &StreamOptions, event: &str, count: usize, start: u64, seen: &Shared) -> Result<(), String> {
    let path = format!("/v1/events/{event}/changes?after={start}&consistency=stale");
    for batch in (0..count).collect::<Vec<_>>().chunks(OPEN_AT_ONCE) {
        let opening: Vec<_> = batch
            .iter()
            .map(|_| {
                let (server, path) = (options.server.clone(), path.clone());
                tokio::task::spawn_local(async move { Connection::open(&server).await?.stream(&path).await })
            })
            .collect();
        for opened in opening {
            let body = opened.await.map_err(|e| e.to_string())??;
            let seen = seen.clone();
            tokio::task::spawn_local(async move {
                if let Err(broken) = read(body, start, &seen).await {
                    seen.borrow_mut().broken.push(broken);
                }
            });
        }
    }
    Ok(())
}

/// Reads for as long as the stream goes; insists on the next version each time.
async fn read(mut body: Incoming, mut position: u64, seen: &Shared) -> Result<(), String> {
    let mut text = BytesMut::new();
    loop {
        let frame = body.frame().await.ok_or("the stream ended")?.map_err(|e| e.to_string())?;
        text.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        let now = Instant::now();
        let mut seen = seen.borrow_mut();
        while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
            let message = text.split_to(end + 2);
            let Some(rest) = message.strip_prefix(b"event: change\nid: ") else { continue };
            let digits: Vec<u8> = rest.iter().copied().take_while(u8::is_ascii_digit).collect();
            let next: u64 = String::from_utf8_lossy(&digits).parse().map_err(|e| format!("no position: {e}"))?;
            if next != position + 1 {
                return Err(format!("position {next} came after {position}"));
            }
            position = next;
            seen.note(next, now);
        }
    }
}

impl Seen {
    fn note(&mut self, version: u64, now: Instant) {
        let at = usize::try_from(version).expect("versions of one run fit");
        if self.first.len() <= at {
            self.first.resize(at + 1, None);
        }
        let first = *self.first[at].get_or_insert(now);
        let answered = self.answered.get(at).copied().flatten().unwrap_or(now);
        let us = |since: Instant| u64::try_from(now.saturating_duration_since(since).as_micros()).unwrap_or(u64::MAX);
        self.after_first_us.saturating_record(us(first));
        self.after_answer_us.saturating_record(us(answered));
        self.delivered += 1;
    }

    fn answer(&mut self, version: u64) {
        let at = usize::try_from(version).expect("versions of one run fit");
        if self.answered.len() <= at {
            self.answered.resize(at + 1, None);
        }
        self.answered[at] = Some(Instant::now());
        self.booked += 1;
    }
}

async fn write(options: StreamOptions, seen: Shared, until: Instant) -> Result<(), String> {
    let mut connection = Connection::open(&options.server).await?;
    let path = format!("/v1/events/{}/book", options.event);
    while Instant::now() < until {
        let body = format!(r#"{{"items":[{{"pool":"hot","quantity":1}}],"order":"{}"}}"#, Uuid::now_v7());
        let (status, body) = connection.send(Method::POST, &path, Bytes::from(body)).await?;
        if status != StatusCode::CREATED {
            return Err(format!("a booking was answered with {status} {}", String::from_utf8_lossy(&body)));
        }
        let body: serde_json::Value = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        seen.borrow_mut().answer(body["version"].as_u64().ok_or("a booking without a version")?);
    }
    Ok(())
}
