//! A process that writes to a log until it is killed, and the check of what it left behind.
//!
//! The child is the test binary itself, started again with [`FOLDER`] set. It says on stderr, a pipe to the parent,
//! what it is about to drop and what was acknowledged; a line is one write, so it is there whole or not at all.
//!
//! | line | meaning |
//! |---|---|
//! | `E i t` | entry `i` of term `t` was acknowledged |
//! | `T i t` | about to truncate: entries after `i` of terms up to `t` may be gone |
//! | `P i` / `p i` | about to purge up to `i` / acknowledged |
//! | `V n` / `v n` | about to save vote `n` / acknowledged |
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "files.rs"]
pub mod files;

use std::collections::BTreeMap;
use std::io;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use lastseat::storage::wal::{Done, Wal, WalEntry, WalOptions};
use lastseat::storage::{GROUP, LogId};

pub const FOLDER: &str = "LASTSEAT_TEST_WAL_FOLDER";
pub const SEED: &str = "LASTSEAT_TEST_WAL_SEED";
/// Small, so that the child goes through many.
pub const SEGMENT_BYTES: u64 = 64 << 10;
/// Appends the child keeps under way.
const UNDER_WAY_MAX: u64 = 64;
/// Entries the child keeps when it purges.
const KEEP: u64 = 200;

/// splitmix64: small, and the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// The only content an entry of this index and term can have.
pub fn entry(index: u64, term: u64) -> WalEntry {
    let mut rng = Rng(index << 20 ^ term);
    let bytes = if rng.below(20) == 0 { 2000 + rng.below(6000) } else { rng.below(400) };
    let payload = (0..bytes).map(|_| rng.next() as u8).collect::<Vec<u8>>();
    WalEntry { id: LogId { term, node_id: 1, index }, payload: Bytes::from(payload) }
}

pub fn options() -> WalOptions {
    WalOptions {
        segment_bytes: SEGMENT_BYTES,
        cache_bytes: 16 << 10,
        kept: false,
        on_fatal: Arc::new(|why| {
            say(&format!("# {why}\n"));
            std::process::exit(3);
        }),
    }
}

fn say(line: &str) {
    let _ = io::stderr().write_all(line.as_bytes());
}

fn tell(line: String) -> Done {
    Box::new(move |result| {
        if result.is_ok() {
            say(&line);
        }
    })
}

/// To be called by the test that plays the child. Returns at once in the parent's own run of it.
pub fn play_child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut rng = Rng(std::env::var(SEED).unwrap().parse().unwrap());
    let wal = Wal::open(Path::new(&folder), options()).unwrap_or_else(|e| {
        say(&format!("! {e}\n"));
        std::process::exit(4);
    });
    say("open\n");
    let log = wal.group(GROUP);
    let state = log.state();
    let mut next = state.last.map_or(0, |l| l.index + 1);
    let mut term = state.last.map_or(1, |l| l.term) + 1;
    let mut vote = state.vote.map_or(0, |v| u64::from_le_bytes(v[..].try_into().unwrap()));
    let finished = Arc::new(AtomicU64::new(0));
    let (wake, woken) = mpsc::channel();
    let mut started = 0;
    loop {
        while started - finished.load(Ordering::SeqCst) >= UNDER_WAY_MAX {
            woken.recv().unwrap();
        }
        match rng.below(100) {
            0 => {
                vote += 1;
                say(&format!("V {vote}\n"));
                log.save_vote(Bytes::copy_from_slice(&vote.to_le_bytes()), tell(format!("v {vote}\n")));
            }
            1 => {
                let purged = log.state().last_purged.map_or(0, |p| p.index);
                let last = next.saturating_sub(1 + rng.below(30)).max(purged);
                if let Some(id) = log.log_id(last) {
                    say(&format!("T {last} {term}\n"));
                    log.truncate_after(Some(id), Box::new(|_| {}));
                    next = last + 1;
                    term += 1;
                }
            }
            2 => {
                if let Some(id) = next.checked_sub(KEEP).and_then(|i| log.log_id(i)) {
                    say(&format!("P {}\n", id.index));
                    log.purge(id, tell(format!("p {}\n", id.index)));
                }
            }
            3 => log.save_committed(next.checked_sub(100).and_then(|i| log.log_id(i))),
            // A pause, so that marks are written too.
            4 if rng.below(4) == 0 => thread::sleep(std::time::Duration::from_millis(15)),
            _ => {
                let many = 1 + rng.below(8);
                let lines = (next..next + many).map(|i| format!("E {i} {term}\n")).collect::<String>();
                let (wake, finished) = (wake.clone(), finished.clone());
                started += 1;
                let entries = (next..next + many).map(|i| entry(i, term)).collect();
                log.append(
                    entries,
                    Box::new(move |result| {
                        tell(lines)(result);
                        finished.fetch_add(1, Ordering::SeqCst);
                        let _ = wake.send(());
                    }),
                );
                next += many;
            }
        }
    }
}

/// A running child, and what it says.
pub struct Running {
    pub child: Child,
    reader: JoinHandle<Vec<String>>,
    pub opened: mpsc::Receiver<()>,
}

impl Running {
    /// Starts the test `name` of this binary as the child.
    pub fn start(name: &str, folder: &Path, seed: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .env(SEED, seed.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = BufReader::new(child.stderr.take().unwrap());
        let (tell_open, opened) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut lines = Vec::new();
            for line in pipe.lines() {
                let line = line.unwrap();
                if line == "open" {
                    let _ = tell_open.send(());
                }
                lines.push(line);
            }
            lines
        });
        Self { child, reader, opened }
    }

    /// Kills it with SIGKILL, and returns what it said. It must not have ended by itself.
    pub fn kill_alive(mut self) -> Vec<String> {
        let ended = self.child.try_wait().unwrap();
        let said = self.kill();
        assert_eq!(ended, None, "the child ended by itself: {:#?}", &said[said.len().saturating_sub(20)..]);
        said
    }

    /// Kills it with SIGKILL, and returns what it said.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.join().unwrap()
    }
}

/// What must be in the log.
#[derive(Default)]
pub struct Expected {
    entries: BTreeMap<u64, u64>,
    truncated: Vec<(u64, u64)>,
    purge_started: Option<u64>,
    pub purged: Option<u64>,
    vote_started: u64,
    vote: u64,
    pub acknowledged: u64,
}

impl Expected {
    pub fn hear(&mut self, lines: &[String]) {
        for line in lines {
            let mut words = line.split(' ');
            let kind = words.next().unwrap_or_default();
            let numbers = words.map_while(|w| w.parse().ok()).collect::<Vec<u64>>();
            match (kind, &numbers[..]) {
                ("E", &[index, term]) => {
                    self.acknowledged += 1;
                    let truncated = self.truncated.iter().any(|&(after, upto)| index > after && term <= upto);
                    if !truncated && self.purge_started.is_none_or(|p| index > p) {
                        self.entries.insert(index, term);
                    }
                }
                ("T", &[after, upto]) => {
                    self.truncated.push((after, upto));
                    self.entries.retain(|index, term| *index <= after || *term > upto);
                }
                ("P", &[index]) => {
                    self.purge_started = Some(index);
                    self.entries = self.entries.split_off(&(index + 1));
                }
                ("p", &[index]) => self.purged = Some(index),
                ("V", &[vote]) => self.vote_started = vote,
                ("v", &[vote]) => self.vote = vote,
                ("!" | "#", _) => panic!("the child failed: {line}"),
                _ => {}
            }
        }
    }

    /// Opens a copy of the folder, so that the next child finds it as it was left, and compares.
    pub fn check(&mut self, folder: &Path) {
        let copy = files::copy_log(folder);
        let wal = Wal::open(copy.path(), options()).unwrap_or_else(|e| panic!("refused after a crash: {e}"));
        let log = wal.group(GROUP);
        let state = log.state();
        let vote = state.vote.as_ref().map_or(0, |v| u64::from_le_bytes(v[..].try_into().unwrap()));
        assert!((self.vote..=self.vote_started).contains(&vote), "vote {vote}, acknowledged {}", self.vote);
        let purged = state.last_purged.map(|p| p.index);
        assert!(purged >= self.purged && purged <= self.purge_started, "{purged:?}, acknowledged {:?}", self.purged);
        assert!(state.committed <= state.last, "committed {:?} is behind the last {:?}", state.committed, state.last);
        let found = log.read(0, u64::MAX, usize::MAX).unwrap();
        for pair in found.windows(2) {
            assert_eq!(pair[0].id.index + 1, pair[1].id.index);
            assert!(pair[0].id.term <= pair[1].id.term);
        }
        assert_eq!(found.last().map(|e| e.id).or(state.last_purged), state.last);
        for there in &found {
            assert_eq!(there, &entry(there.id.index, there.id.term), "another entry than was written");
        }
        for (&index, &term) in &self.entries {
            let id = log.log_id(index);
            assert_eq!(id.map(|id| id.term), Some(term), "entry {index} was acknowledged; the log is at {state:?}");
        }
        wal.close().unwrap();
    }
}
