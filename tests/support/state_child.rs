//! A process that works on a state store until it is killed, and the parent that listens to what it acknowledged.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::model;

const FOLDER: &str = "LASTSEAT_TEST_STATE_FOLDER";
const SCRATCH: &str = "LASTSEAT_TEST_STATE_SCRATCH";
const SEED: &str = "LASTSEAT_TEST_STATE_SEED";
const FIRST: &str = "LASTSEAT_TEST_STATE_FIRST";

/// Small and repeatable.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Runs for ever in the child; returns at once anywhere else.
pub fn play_child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let scratch = PathBuf::from(std::env::var_os(SCRATCH).unwrap());
    let mut rng = Rng(number(SEED));
    let (store, mut n, source) = model::open(&folder, number(FIRST), model::BOOT).unwrap();
    say(&format!("opened {n} {source:?}"));
    for round in 0.. {
        match rng.below(30) {
            0 => {
                let (frozen, at) = (store.clone(), n);
                let snapshot = thread::spawn(move || model::snapshot(&frozen, at).map(drop));
                for _ in 0..rng.below(10) {
                    n += 1;
                    model::write(&store, n).unwrap();
                    say(&format!("wrote {n}"));
                }
                snapshot.join().unwrap().unwrap();
                say(&format!("snapshot {at}"));
            }
            1 => {
                let at = n + 1 + rng.below(20);
                let foreign = model::foreign_snapshot(&scratch.join(format!("foreign-{round}")), at);
                say("installing");
                n = model::install(&store, &foreign.path).unwrap();
                say(&format!("snapshot {n}"));
                say(&format!("wrote {n}"));
            }
            _ => {
                n += 1;
                model::write(&store, n).unwrap();
                say(&format!("wrote {n}"));
            }
        }
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "#{line}").and_then(|()| out.flush()).unwrap();
}

/// What a child acknowledged.
#[derive(Debug, Default, Clone, Copy)]
pub struct Heard {
    /// Last batch that was in the database.
    pub wrote: u64,
    /// Last entry with a durable snapshot.
    pub snapshot: u64,
    /// Lines in all.
    pub lines: u64,
}

pub struct Running {
    child: Child,
    lines: Receiver<String>,
    /// Sends when the child says that it has opened the store.
    pub opened: Receiver<()>,
    _scratch: tempfile::TempDir,
}

impl Running {
    /// Starts this test binary again, as the test named `child`.
    pub fn start(folder: &Path, first_log_index: u64, seed: u64) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .env(SCRATCH, scratch.path())
            .env(SEED, seed.to_string())
            .env(FIRST, first_log_index.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        let (open, opened) = channel();
        thread::spawn(move || {
            // The test runner writes before the first line of the child on the same line.
            for line in out.lines().map_while(Result::ok) {
                let Some((_, said)) = line.split_once('#') else { continue };
                if said.starts_with("opened") {
                    let _ = open.send(());
                }
                let _ = send.send(said.to_owned());
            }
        });
        Self { child, lines, opened, _scratch: scratch }
    }

    /// Kills it with SIGKILL, waits for its end, and adds what it said before.
    pub fn kill(mut self, heard: &mut Heard) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        for line in self.lines.iter() {
            heard.lines += 1;
            let number = || line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
            match line.split(' ').next().unwrap() {
                "wrote" => heard.wrote = heard.wrote.max(number()),
                "snapshot" => heard.snapshot = heard.snapshot.max(number()),
                _ => {}
            }
        }
    }
}
