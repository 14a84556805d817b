//! A reader: a position that moves on without a gap.
//!
//! ```text
//!  joined ── start ─▶ behind ── history, ring ─▶ in its topic ── the next block ─▶ …
//!                        ▲                            │ its block was trimmed: lagged
//!                        └── another state in place ──┘
//! ```

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::hub::Hub;
use super::limits::CATCH_UP_CHANGES;
use super::topic::{Block, Found, Message, Topic};
use super::{Point, StartError};
use crate::domain::change::ChangeSet;
use crate::storage::state::StateError;

/// Membership in a topic, given up when dropped.
struct Presence {
    hub: Arc<Hub>,
    topic: Arc<Topic>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.hub.leave(&self.topic);
    }
}

/// In a topic, and nowhere in it yet.
pub struct Joined {
    presence: Presence,
    sealed: watch::Receiver<u64>,
}

impl Joined {
    pub(super) fn new(hub: Arc<Hub>, topic: Arc<Topic>, sealed: watch::Receiver<u64>) -> Self {
        Self { presence: Presence { hub, topic }, sealed }
    }

    /// Whether [`Joined::start`] would do.
    pub fn check(&self, after: u64, now: Point) -> Result<(), StartError> {
        self.presence.hub.locate(&self.presence.topic.subject, after, now).map(|_| ())
    }

    /// Begins after a position. `now`: where the subject stands, looked at after joining.
    pub fn start(self, after: u64, now: Point) -> Result<Reader, StartError> {
        let Self { presence, sealed } = self;
        let scanned = presence.hub.locate(&presence.topic.subject, after, now)?;
        let era = presence.topic.era();
        Ok(Reader { presence, sealed, position: after, scanned, arrived: false, era, patient: false, reading: None })
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// Messages from index `from` of this block on. `live`: the reader had everything before.
    Messages { block: Arc<Block>, from: usize, live: bool },
    /// What comes next is no longer kept. Nothing else follows.
    Lagged,
}

type Fetched = Result<Vec<Arc<ChangeSet>>, StateError>;

/// See the module.
pub struct Reader {
    presence: Presence,
    sealed: watch::Receiver<u64>,
    /// Of the last message given.
    position: u64,
    /// Everything about the subject up to this revision was given.
    scanned: u64,
    /// It has been in its topic: from now on it has to keep up.
    arrived: bool,
    era: u64,
    patient: bool,
    /// Kept here, so that a call that is given up loses nothing.
    reading: Option<(u64, JoinHandle<Fetched>)>,
}

impl Reader {
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Never lags as long as history has what it lacks. For readers that make few messages of many.
    pub fn set_patient(&mut self) {
        self.patient = true;
    }

    /// It has everything there is to have now.
    pub fn is_current(&self) -> bool {
        matches!(self.presence.topic.find(self.scanned), Found::Nothing)
    }

    /// What comes after this revision can still be had from the topic.
    #[cfg(test)]
    pub(super) fn can_go_on(&self) -> bool {
        !matches!(self.presence.topic.find(self.scanned), Found::Behind { .. })
    }

    /// The next messages. May be given up at any moment and called again.
    pub async fn next(&mut self) -> Next {
        loop {
            self.sealed.borrow_and_update();
            match self.presence.topic.find(self.scanned) {
                Found::Block(block) => {
                    let live = std::mem::replace(&mut self.arrived, true);
                    let from = block.after(self.position);
                    self.scanned = block.last_revision();
                    if from < block.messages().len() {
                        return self.give(block, from, live);
                    }
                }
                Found::Nothing => {
                    self.arrived = true;
                    if self.sealed.changed().await.is_err() {
                        return Next::Lagged;
                    }
                }
                Found::Behind { upto, era } => {
                    if self.arrived && era == self.era && !self.patient {
                        return Next::Lagged;
                    }
                    self.arrived = false;
                    self.era = era;
                    match self.catch_up(upto).await {
                        Ok(Some(block)) => return self.give(block, 0, false),
                        Ok(None) => {}
                        Err(Gone) => return Next::Lagged,
                    }
                }
            }
        }
    }

    fn give(&mut self, block: Arc<Block>, from: usize, live: bool) -> Next {
        let next = block.messages()[from].position();
        if next != self.position + 1 {
            tracing::error!(position = self.position, next, "a stream would have had a gap; it is ended instead");
            return Next::Lagged;
        }
        self.position = block.last_position();
        Next::Messages { block, from, live }
    }

    /// One step towards `upto`. Gives the messages it found.
    async fn catch_up(&mut self, upto: u64) -> Result<Option<Arc<Block>>, Gone> {
        let _ = self.presence.hub.when_ready().wait_for(|ready| *ready).await;
        let window = self.presence.hub.window(&self.presence.topic.subject, self.scanned, upto);
        let Some((start, end)) = window else {
            self.scanned = upto;
            return Ok(None);
        };
        let sets = self.fetch(start, end).await?;
        let Some(last) = sets.last().map(|set| set.revision.0.min(end)) else { return Err(Gone) };
        let subject = &self.presence.topic.subject;
        let about = sets.iter().take_while(|set| set.revision.0 <= end).filter_map(|set| Message::about(subject, set));
        let mut messages: Vec<Message> = about.filter(|message| message.position() > self.position).collect();
        self.scanned = last;
        // What comes after the end of a life is for those who come back for it.
        if let Some(end) = messages.iter().position(Message::is_last) {
            messages.truncate(end + 1);
        }
        Ok((!messages.is_empty()).then(|| Block::new(messages, Instant::now())))
    }

    /// Change sets from `start` on, at least one.
    async fn fetch(&mut self, start: u64, end: u64) -> Result<Vec<Arc<ChangeSet>>, Gone> {
        if self.reading.as_ref().is_none_or(|(from, _)| *from != start) {
            let max = usize::try_from((end - start + 1).min(CATCH_UP_CHANGES)).expect("a thousand at most");
            let recent = self.presence.hub.recent(start, max);
            if !recent.is_empty() {
                metrics::counter!("lastseat_stream_catch_up_reads_total", "from" => "memory").increment(1);
                return Ok(recent);
            }
            metrics::counter!("lastseat_stream_catch_up_reads_total", "from" => "history").increment(1);
            self.reading = Some((start, tokio::spawn(read_history(Arc::clone(&self.presence.hub), start, max))));
        }
        let Some((_, reading)) = &mut self.reading else { return Err(Gone) };
        let fetched = reading.await;
        self.reading = None;
        match fetched {
            Ok(Ok(sets)) if !sets.is_empty() => Ok(sets),
            Ok(Ok(_)) => Err(Gone),
            Ok(Err(error)) => {
                tracing::warn!(%error, "history could not be read for a stream");
                Err(Gone)
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// What is to be read is no longer kept.
struct Gone;

async fn read_history(hub: Arc<Hub>, start: u64, max: usize) -> Fetched {
    let turn = Arc::clone(&hub.history_reads).acquire_owned().await.expect("nobody closes this semaphore");
    let reading = tokio::task::spawn_blocking(move || {
        let sets = hub.history.read(start, max)?;
        drop(turn);
        Ok(sets.into_iter().map(Arc::new).collect())
    });
    reading.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
