//! One connection to a peer, opened from this side: many requests in flight, answers matched by id.
//!
//! A link dies as a whole, at any error, and when requests wait and nothing comes back for [`idle_limit`]. Whoever waits
//! on it then learns that no answer comes. A [`Slot`] opens the next one on demand.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::peers::Me;
use super::wire::{self, Answer, Card, HELLO_BYTES_MAX, Hello, HelloReply, Lane, Request};
use super::{CallError, Timing};
use crate::storage::GROUP;

/// Frames queued for the socket.
const QUEUE_MAX: usize = 64;
/// Requests of one link without an answer.
const WAITING_MAX: usize = 4096;
/// Longest wait for a connection and the handshake on it.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// After a failed attempt nobody tries again for this long.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// The same complaint about a peer is logged once in this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// While requests wait on the forward lane, so often a sign of life is asked for.
const PING_EVERY: Duration = Duration::from_millis(500);
/// Id of frames that only show life.
const PING_ID: u64 = 0;
const SOCKET_BUFFER: usize = 64 << 10;

/// A link with requests waiting and nothing coming back for this long is given up.
pub(super) fn idle_limit(timing: &Timing) -> Duration {
    Duration::from_millis(timing.election_max_ms * 2).max(Duration::from_secs(2))
}

/// Whom to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) id: u64,
    /// `host:port`
    pub(super) peer: String,
    pub(super) incarnation: Uuid,
}

pub(super) struct Link {
    lane: Lane,
    outgoing: mpsc::Sender<Bytes>,
    waiting: Arc<Mutex<Waiting>>,
    next_id: AtomicU64,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Bytes>>,
    /// Since when something waits and nothing came.
    since: Option<Instant>,
    closed: bool,
}

/// An answer on its way.
pub(super) struct Pending(oneshot::Receiver<Bytes>);

impl Pending {
    /// The answer; an error when the link died first.
    pub(super) async fn answer(&mut self) -> io::Result<Answer> {
        match (&mut self.0).await {
            Ok(body) => wire::decode(&body),
            Err(_) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection ended")),
        }
    }
}

/// Connects and shakes hands.
pub(super) async fn open(me: &Me, lane: Lane, peer: &str, target: Option<&Target>) -> io::Result<(TcpStream, Card)> {
    let shake = async {
        let mut socket = TcpStream::connect(peer).await?;
        socket.set_nodelay(true)?;
        let hello = Hello::new(lane, &me.card(), target.map(|t| t.id));
        wire::write_frame(&mut socket, GROUP, 0, &hello, HELLO_BYTES_MAX).await?;
        let frame = wire::read_frame(&mut socket, HELLO_BYTES_MAX).await?;
        match wire::decode::<HelloReply>(&frame.body)? {
            HelloReply::Welcome(card) => Ok((socket, card)),
            HelloReply::Refused(why) => {
                if why == wire::removed_text(me.node_id) {
                    me.note_removed();
                }
                Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{peer} refused this node: {why}")))
            }
        }
    };
    let (socket, card) = match tokio::time::timeout(CONNECT_WITHIN, shake).await {
        Ok(result) => result?,
        Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{peer} did not answer in time"))),
    };
    if let Some(target) = target
        && (card.node_id, card.incarnation) != (target.id, target.incarnation)
    {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{peer} is node {} with incarnation {}, and the member there is node {} with {}: a wiped node needs a \
                 new id",
                card.node_id, card.incarnation, target.id, target.incarnation
            ),
        ));
    }
    Ok((socket, card))
}

impl Link {
    fn start(lane: Lane, socket: TcpStream, idle: Duration) -> Self {
        let (outgoing, queue) = mpsc::channel(QUEUE_MAX);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let task = tokio::spawn(run(lane, socket, queue, outgoing.downgrade(), Arc::clone(&waiting), idle));
        Self { lane, outgoing, waiting, next_id: AtomicU64::new(PING_ID + 1), task }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    /// Ends the link: its peer does not keep up.
    pub(super) fn give_up(&self) {
        self.task.abort();
        close(&self.waiting);
    }

    /// Queues a request. An error: it certainly did not leave.
    pub(super) async fn send(&self, request: &Request) -> io::Result<Pending> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = wire::encode_frame(GROUP, id, request, self.lane.frame_bytes_max())?;
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the connection is closed");
        let place = self.outgoing.reserve().await.map_err(|_| gone())?;
        let (tx, rx) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return Err(gone());
            }
            if waiting.answers.len() >= WAITING_MAX {
                return Err(io::Error::other(format!("{WAITING_MAX} requests wait on this connection already")));
            }
            waiting.answers.insert(id, tx);
            waiting.since.get_or_insert_with(Instant::now);
        }
        place.send(frame);
        Ok(Pending(rx))
    }

    /// Sends and waits.
    pub(super) async fn call(&self, request: &Request, deadline: Instant) -> Result<Answer, CallError> {
        let deadline = tokio::time::Instant::from_std(deadline);
        let mut pending = match tokio::time::timeout_at(deadline, self.send(request)).await {
            Ok(Ok(pending)) => pending,
            Ok(Err(e)) => return Err(CallError::NotSent(e.to_string())),
            Err(_) => return Err(CallError::NotSent("no room on the connection in time".into())),
        };
        match tokio::time::timeout_at(deadline, pending.answer()).await {
            Ok(Ok(Answer::Refused(why))) => Err(CallError::NotSent(why)),
            Ok(Ok(Answer::Failed(why))) => Err(CallError::NoAnswer(why)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) => Err(CallError::NoAnswer(e.to_string())),
            Err(_) => Err(CallError::NoAnswer("no answer in time".into())),
        }
    }
}

fn close(waiting: &Mutex<Waiting>) {
    let mut waiting = waiting.lock();
    waiting.closed = true;
    // Dropping the senders tells everybody who waits.
    waiting.answers.clear();
}

/// Runs a link to its end.
async fn run(
    lane: Lane,
    socket: TcpStream,
    queue: mpsc::Receiver<Bytes>,
    pings: mpsc::WeakSender<Bytes>,
    waiting: Arc<Mutex<Waiting>>,
    idle: Duration,
) {
    let (read, write) = socket.into_split();
    let ended = tokio::select! {
        e = read_answers(lane, BufReader::with_capacity(SOCKET_BUFFER, read), &waiting) => e,
        e = write_queue(BufWriter::with_capacity(SOCKET_BUFFER, write), queue) => e,
        e = watch_idle(lane, pings, &waiting, idle) => e,
    };
    if let Err(e) = ended {
        tracing::debug!(?lane, error = %e, "connection to a peer ended");
    }
    close(&waiting);
}

async fn read_answers(
    lane: Lane,
    mut from: BufReader<tokio::net::tcp::OwnedReadHalf>,
    waiting: &Mutex<Waiting>,
) -> io::Result<()> {
    loop {
        let frame = wire::read_frame(&mut from, lane.frame_bytes_max()).await?;
        let answer = {
            let mut waiting = waiting.lock();
            let answer = waiting.answers.remove(&frame.id);
            waiting.since = (!waiting.answers.is_empty()).then(Instant::now);
            answer
        };
        if let Some(answer) = answer {
            // Nobody may wait for it any longer.
            let _ = answer.send(frame.body);
        }
    }
}

pub(super) async fn write_queue(
    mut to: BufWriter<tokio::net::tcp::OwnedWriteHalf>,
    mut queue: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    while let Some(frame) = queue.recv().await {
        to.write_all(&frame).await?;
        while let Ok(frame) = queue.try_recv() {
            to.write_all(&frame).await?;
        }
        to.flush().await?;
    }
    Ok(())
}

async fn watch_idle(
    lane: Lane,
    pings: mpsc::WeakSender<Bytes>,
    waiting: &Mutex<Waiting>,
    idle: Duration,
) -> io::Result<()> {
    let ping = wire::encode_frame(GROUP, PING_ID, &Request::Ping, HELLO_BYTES_MAX)?;
    let mut beat = tokio::time::interval(PING_EVERY.min(idle / 4));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let since = waiting.lock().since;
        let Some(since) = since else { continue };
        if since.elapsed() > idle {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing came back for {idle:?}")));
        }
        if lane == Lane::Forward
            && let Some(pings) = pings.upgrade()
        {
            // A full queue is being written, or the idle limit ends it.
            let _ = pings.try_send(ping.clone());
        }
    }
}

/// Where the link to one peer on one lane lives, opened on demand.
pub(super) struct Slot {
    lane: Lane,
    inner: tokio::sync::Mutex<SlotInner>,
}

#[derive(Default)]
struct SlotInner {
    link: Option<(Target, Arc<Link>)>,
    failed: Option<(Instant, String)>,
    complained: Option<(Instant, String)>,
}

impl Slot {
    pub(super) fn new(lane: Lane) -> Self {
        Self { lane, inner: tokio::sync::Mutex::default() }
    }

    /// The live link, or a new one. An error: nobody was reached.
    pub(super) async fn get(&self, me: &Me, target: &Target) -> io::Result<Arc<Link>> {
        let mut inner = self.inner.lock().await;
        if let Some((to, link)) = &inner.link
            && to == target
            && !link.is_closed()
        {
            return Ok(Arc::clone(link));
        }
        inner.link = None;
        if let Some((at, why)) = &inner.failed
            && at.elapsed() < RETRY_AFTER
        {
            return Err(io::Error::other(why.clone()));
        }
        match open(me, self.lane, &target.peer, Some(target)).await {
            Ok((socket, _)) => {
                let link = Arc::new(Link::start(self.lane, socket, idle_limit(&me.timing)));
                inner.link = Some((target.clone(), Arc::clone(&link)));
                inner.failed = None;
                Ok(link)
            }
            Err(e) => {
                inner.complain(self.lane, target, &e);
                inner.failed = Some((Instant::now(), e.to_string()));
                Err(e)
            }
        }
    }

    /// Says what went wrong with a peer, the same only now and then.
    pub(super) async fn complain(&self, target: &Target, error: &io::Error) {
        self.inner.lock().await.complain(self.lane, target, error);
    }
}

impl SlotInner {
    fn complain(&mut self, lane: Lane, target: &Target, error: &io::Error) {
        let text = error.to_string();
        if let Some((at, said)) = &self.complained
            && *said == text
            && at.elapsed() < COMPLAIN_EVERY
        {
            return;
        }
        tracing::warn!(peer = target.id, addr = %target.peer, ?lane, error = %text, "cannot reach a peer");
        self.complained = Some((Instant::now(), text));
    }
}
