//! One stream: what comes next, and when.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::super::Api;
use super::latest::Latest;
use super::message::{Format, put_change};
use super::meter::{End, StreamMeter};
use super::snapshot::Snapshot;
use super::wish::{From, Transport, Wish};
use crate::service::stamp;
use crate::watch::{Block, Next, Reader, Subject};

/// A stream that is silent for this long says where it is. The promise is 5 s.
const BOOKMARK_EVERY: Duration = Duration::from_secs(4);
/// A client of Server-Sent Events is told to reconnect after a time between these, so that not all come at once.
const RECONNECT_MS: std::ops::Range<u64> = 500..3_000;

/// One stream. `next` may be given up at any moment and called again: nothing is lost.
pub(super) struct Feed {
    api: Api,
    subject: Subject,
    format: Format,
    reader: Reader,
    stage: Stage,
    /// Read, and not given yet.
    ready: Option<Ready>,
    latest: Option<Latest>,
    /// Position that the client has.
    delivered: u64,
    /// The first thing to say is where it begins.
    says_where: bool,
    idle: Pin<Box<Sleep>>,
    stopping: CancellationToken,
    meter: StreamMeter,
}

enum Stage {
    Opening(Option<Box<Snapshot>>),
    Snapshot(Box<Snapshot>),
    Live,
    Ended,
}

struct Ready {
    block: Arc<Block>,
    from: usize,
    live: bool,
}

/// What happened first.
enum Step {
    Stop,
    Idle,
    Piece(Option<Bytes>),
    Read(Next),
    Speak,
}

impl Feed {
    pub(super) fn new(
        api: Api,
        subject: Subject,
        mut reader: Reader,
        snapshot: Option<Snapshot>,
        wish: &Wish,
        meter: StreamMeter,
    ) -> Self {
        if wish.latest.is_some() {
            reader.set_patient();
        }
        let stopping = api.options().stopping.clone();
        Self {
            api,
            subject,
            format: match wish.transport {
                Transport::Sse => Format::Sse,
                Transport::Lines | Transport::Socket => Format::Lines,
            },
            delivered: reader.position(),
            says_where: wish.from == From::Now,
            reader,
            stage: Stage::Opening(snapshot.map(Box::new)),
            ready: None,
            latest: wish.latest.map(Latest::new),
            idle: Box::pin(sleep(BOOKMARK_EVERY)),
            stopping,
            meter,
        }
    }

    pub(super) fn end(&self) -> End {
        self.meter.end
    }

    /// The next bytes: whole messages. `None`: the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let bytes = loop {
            match &mut self.stage {
                Stage::Opening(snapshot) => {
                    self.stage = snapshot.take().map_or(Stage::Live, Stage::Snapshot);
                    let greeting = self.greeting();
                    if !greeting.is_empty() {
                        break greeting;
                    }
                }
                Stage::Ended => return None,
                Stage::Snapshot(_) | Stage::Live => {
                    if let Some(bytes) = self.step().await {
                        break bytes;
                    }
                }
            }
        };
        self.idle.as_mut().reset(Instant::now() + BOOKMARK_EVERY);
        Some(bytes)
    }

    async fn step(&mut self) -> Option<Bytes> {
        if let Some(Ready { block, .. }) = &self.ready {
            let block = Arc::clone(block);
            return Some(self.give(&block).await);
        }
        match self.wait().await {
            Step::Stop => Some(self.goodbye()).filter(|bytes| !bytes.is_empty()),
            Step::Idle => Some(self.position("bookmark")),
            Step::Piece(Some(piece)) => Some(piece),
            Step::Piece(None) => {
                self.stage = Stage::Live;
                Some(self.position("synced"))
            }
            Step::Speak => self.speak(),
            Step::Read(Next::Lagged) => Some(self.lagged()),
            Step::Read(Next::Messages { block, from, live }) => self.take(block, from, live),
        }
    }

    async fn wait(&mut self) -> Step {
        let due = self.latest.as_mut().and_then(|latest| latest.due(|| self.reader.is_current()));
        match &mut self.stage {
            Stage::Snapshot(snapshot) => tokio::select! {
                biased;
                () = self.stopping.cancelled() => Step::Stop,
                piece = snapshot.next(&self.api, self.format) => Step::Piece(piece),
            },
            Stage::Opening(_) | Stage::Live | Stage::Ended => tokio::select! {
                biased;
                () = self.stopping.cancelled() => Step::Stop,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Step::Speak,
                next = self.reader.next() => Step::Read(next),
                () = &mut self.idle => Step::Idle,
            },
        }
    }

    /// Keeps what was read until it is given, or merges it.
    fn take(&mut self, block: Arc<Block>, from: usize, live: bool) -> Option<Bytes> {
        let Some(latest) = &mut self.latest else {
            self.ready = Some(Ready { block, from, live });
            return None;
        };
        block.messages()[from..].iter().for_each(|message| latest.merge(message));
        if !block.ends() {
            return None;
        }
        self.finish(End::Deleted);
        self.speak()
    }

    /// Gives what is ready.
    async fn give(&mut self, block: &Arc<Block>) -> Bytes {
        let encoded = block.encoded(self.format.slot(), self.format.encoder()).await;
        let Some(Ready { from, live, .. }) = self.ready.take() else { return Bytes::new() };
        self.delivered = self.reader.position();
        self.meter.count(block.messages().len() - from, live.then(|| block.applied()));
        if block.ends() {
            self.finish(End::Deleted);
        }
        encoded.from(from)
    }

    /// What was merged, as one change.
    fn speak(&mut self) -> Option<Bytes> {
        let message = self.latest.as_mut()?.take(&self.subject)?;
        self.delivered = message.position();
        self.meter.count(1, None);
        let mut out = Vec::new();
        put_change(self.format, &message, &mut out);
        Some(out.into())
    }

    fn lagged(&mut self) -> Bytes {
        self.finish(End::Lagged);
        self.position("lagged")
    }

    fn position(&self, kind: &str) -> Bytes {
        let mut out = Vec::new();
        self.format.put_position(kind, &self.subject, self.delivered, &mut out);
        out.into()
    }

    fn greeting(&self) -> Bytes {
        let mut out = Vec::new();
        if self.format == Format::Sse {
            out.extend_from_slice(format!(": lastseat\nretry: {}\n\n", reconnect_ms()).as_bytes());
        }
        if self.says_where {
            self.format.put_position("bookmark", &self.subject, self.delivered, &mut out);
        }
        out.into()
    }

    fn goodbye(&mut self) -> Bytes {
        self.finish(End::Stopping);
        match self.format {
            Format::Sse => format!(": the node stops\nretry: {}\n\n", reconnect_ms()).into(),
            Format::Lines => Bytes::new(),
        }
    }

    fn finish(&mut self, end: End) {
        self.stage = Stage::Ended;
        self.meter.end = end;
    }
}

fn reconnect_ms() -> u64 {
    let span = u128::from(RECONNECT_MS.end - RECONNECT_MS.start);
    RECONNECT_MS.start + u64::try_from(stamp::fresh_uuid().as_u128() % span).expect("below the span")
}
