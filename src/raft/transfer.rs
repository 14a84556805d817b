//! Snapshots on their way to another node: straight from file to file, in chunks, on a connection of their own.
//!
//! ```text
//! SnapshotStart → Taken     SnapshotChunk … → Taken …     SnapshotEnd → Working … → Installed
//! ```
//! There is no deadline on the whole, only on each sign of life. What arrives damaged is refused and removed, and the
//! sender tries again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::agreement;
use super::core::Core;
use super::entry::decode_vote;
use super::link::{Target, open};
use super::peers::Me;
use super::snapshot::{Snapshot, SnapshotHandle};
use super::types::{RaftVote, SnapshotMeta};
use super::wire::{self, Answer, CHUNK_BYTES_MAX, Covers, Lane, Request, vote_bytes};
use crate::storage::GROUP;

/// Longest silence while a snapshot moves or is being installed.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Chunks under way without an answer.
const CHUNKS_IN_FLIGHT_MAX: u64 = 4;
/// While it installs, the receiver shows life this often.
const WORKING_EVERY: Duration = Duration::from_secs(2);

async fn alive<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(SILENCE_MAX, what).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing moved for {SILENCE_MAX:?}"))),
    }
}

async fn say(socket: &mut TcpStream, request: &Request) -> io::Result<()> {
    alive(wire::write_frame(socket, GROUP, 0, request, Lane::Snapshot.frame_bytes_max())).await
}

async fn hear(socket: &mut TcpStream) -> io::Result<Answer> {
    let frame = alive(wire::read_frame(socket, Lane::Snapshot.frame_bytes_max())).await?;
    match wire::decode(&frame.body)? {
        Answer::Refused(why) => Err(io::Error::other(why)),
        answer => Ok(answer),
    }
}

async fn hear_taken(socket: &mut TcpStream) -> io::Result<()> {
    match hear(socket).await? {
        Answer::Taken => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(what: &impl std::fmt::Debug) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a message out of order: {what:?}"))
}

/// Sends a snapshot and waits until it is installed. Returns the receiver's vote.
pub(super) async fn send(me: &Me, target: &Target, vote: &RaftVote, snapshot: &Snapshot) -> io::Result<RaftVote> {
    // Opened first: a newer snapshot may remove the name, not the open file.
    let mut file = tokio::fs::File::open(&snapshot.snapshot.path).await?;
    let (mut socket, _) = open(me, Lane::Snapshot, &target.peer, Some(target)).await?;
    let start = Request::SnapshotStart {
        vote: vote_bytes(vote),
        covers: Covers::of(&snapshot.meta),
        bytes: snapshot.snapshot.bytes,
    };
    say(&mut socket, &start).await?;
    hear_taken(&mut socket).await?;
    let mut unanswered = 0;
    loop {
        let mut data = Vec::with_capacity(CHUNK_BYTES_MAX);
        (&mut file).take(CHUNK_BYTES_MAX as u64).read_to_end(&mut data).await?;
        if data.is_empty() {
            break;
        }
        if unanswered == CHUNKS_IN_FLIGHT_MAX {
            hear_taken(&mut socket).await?;
            unanswered -= 1;
        }
        say(&mut socket, &Request::SnapshotChunk { data: Bytes::from(data) }).await?;
        unanswered += 1;
    }
    for _ in 0..unanswered {
        hear_taken(&mut socket).await?;
    }
    say(&mut socket, &Request::SnapshotEnd).await?;
    loop {
        match hear(&mut socket).await? {
            Answer::Working => {}
            Answer::Installed { vote } => return decode_vote(&vote),
            other => return Err(unexpected(&other)),
        }
    }
}

async fn answer(socket: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    alive(wire::write_frame(socket, GROUP, 0, answer, Lane::Snapshot.frame_bytes_max())).await
}

async fn next(socket: &mut TcpStream) -> io::Result<Request> {
    let frame = alive(wire::read_frame(socket, Lane::Snapshot.frame_bytes_max())).await?;
    wire::decode(&frame.body)
}

/// Removes a received file that did not become a snapshot.
struct Received(std::path::PathBuf);

impl Drop for Received {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.0) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => tracing::warn!(path = %self.0.display(), error = %e, "a received file could not be removed"),
        }
    }
}

/// Receives one snapshot and installs it.
pub(super) async fn receive(core: &Arc<Core>, socket: &mut TcpStream) -> io::Result<()> {
    // A second sender is a sign of a change of leadership; it tries again.
    let Ok(one) = Arc::clone(&core.receiving).try_acquire_owned() else {
        return answer(socket, &Answer::Refused("another snapshot is being received".into())).await;
    };
    let Request::SnapshotStart { vote, covers, bytes } = next(socket).await? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a snapshot has to start with its start"));
    };
    let (vote, meta) = (decode_vote(&vote)?, covers.into_meta()?);
    let (file, path) = core.state.store.incoming_snapshot()?;
    let received = Received(path);
    let mut file = tokio::fs::File::from_std(file);
    answer(socket, &Answer::Taken).await?;
    let mut length = 0;
    loop {
        match next(socket).await? {
            Request::SnapshotChunk { data } if length + data.len() as u64 <= bytes => {
                length += data.len() as u64;
                file.write_all(&data).await?;
                answer(socket, &Answer::Taken).await?;
            }
            Request::SnapshotEnd if length == bytes => break,
            _ => return Err(unexpected(&"neither a chunk nor the end of the announced length")),
        }
    }
    file.flush().await?;
    drop(file);
    tracing::info!(bytes, last = ?meta.last_log_id, "snapshot received");
    let core = Arc::clone(core);
    // Goes on to its end even when the sender is gone: the file must not vanish under it.
    let mut install = tokio::spawn(async move {
        let installed = install(&core, vote, meta, SnapshotHandle { path: received.0.clone(), bytes }).await;
        drop((received, one));
        installed
    });
    let mut beat = tokio::time::interval(WORKING_EVERY);
    let installed = loop {
        tokio::select! {
            installed = &mut install => break installed,
            _ = beat.tick() => answer(socket, &Answer::Working).await?,
        }
    };
    match installed {
        Ok(Ok(vote)) => answer(socket, &Answer::Installed { vote: vote_bytes(&vote) }).await,
        Ok(Err(why)) => answer(socket, &Answer::Refused(why)).await,
        Err(e) => answer(socket, &Answer::Refused(e.to_string())).await,
    }
}

/// Hands a received file to openraft once it is certain that it is what was sent. Returns this node's vote.
async fn install(
    core: &Core,
    vote: RaftVote,
    meta: SnapshotMeta,
    received: SnapshotHandle,
) -> Result<RaftVote, String> {
    if let Err(e) = super::snapshot::check(Arc::clone(&core.state), meta.clone(), received.clone()).await {
        tracing::warn!(error = %e, "a received snapshot is refused");
        return Err(e.to_string());
    }
    let apart = agreement::apart(core, &meta.last_log_id);
    agreement::check(core, &vote, apart).await.map_err(|e| e.to_string())?;
    let installed = core.raft.install_full_snapshot(vote, Snapshot { meta, snapshot: received }).await;
    installed.map(|response| response.vote).map_err(|e| e.to_string())
}
