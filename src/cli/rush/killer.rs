//! Kills the leader's process while the sale goes on. Only on a `dev` cluster, whose `dev.json` knows the processes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lastseat_client::{Client, Cluster};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::shop::Shop;
use crate::cli::args::{Global, RushArgs};
use crate::cli::dev::file::{DevState, locate};
use crate::cli::exit::Failure;
use crate::cli::output;

const POLL: Duration = Duration::from_millis(20);
const STATUS_DEADLINE: Duration = Duration::from_secs(2);

pub(super) struct Killer {
    client: Client,
    folder: PathBuf,
    every: Duration,
}

impl Killer {
    /// Refuses when there is no `dev` cluster at `--server`.
    pub(super) fn new(global: &Global, args: &RushArgs, every: Duration) -> Result<Self, Failure> {
        let folder = args.dev.clone().or_else(|| locate(&global.server)).ok_or_else(|| {
            Failure::usage(
                "--kill-leader-every needs a cluster started by `lastseat dev` on this machine, and none runs at \
                 --server; start one, or name its folder by --dev DIR",
            )
        })?;
        DevState::read(&folder).map_err(|error| {
            Failure::usage(format!("{}/dev.json cannot be read: {error}; check --dev", folder.display()))
        })?;
        Ok(Self { client: global.client()?, folder, every })
    }

    /// Until the sale ends; the number of leaders killed.
    pub(super) async fn run(self, shop: Arc<Shop>, mut selling: watch::Receiver<bool>) -> u64 {
        let for_sale = shop.before.available;
        let mut kills = 0;
        let mut last = Instant::now();
        loop {
            tokio::select! {
                _ = selling.wait_for(|selling| !selling) => return kills,
                () = tokio::time::sleep(POLL) => {}
            }
            // A fast sale may be over before the first interval is: a fifth sold is soon enough.
            let early = kills == 0 && shop.booked() >= (for_sale / 5).max(1);
            if !early && last.elapsed() < self.every {
                continue;
            }
            if let Some(node) = self.kill_leader(&selling).await {
                kills += 1;
                last = Instant::now();
                tracing::debug!(node, "killed the leader");
            }
        }
    }

    /// The node killed; `None`: no leader is known now, or its process is down already.
    async fn kill_leader(&self, selling: &watch::Receiver<bool>) -> Option<u64> {
        let status: Cluster = self.client.cluster().deadline(STATUS_DEADLINE).send().await.ok()?;
        let leader = status.leader?;
        // Read right before the kill: the truth may have changed while we asked.
        let state = DevState::read(&self.folder).ok()?;
        let node = state.nodes.iter().find(|node| node.id == leader)?;
        let raw = i32::try_from(node.pid?).ok()?;
        if !*selling.borrow() || !is_that_node(raw, leader, &node.data) {
            return None;
        }
        match kill_process(Pid::from_raw(raw)?, Signal::KILL) {
            Ok(()) => Some(leader),
            Err(error) => {
                output::complain(&format!("cannot kill node {leader} (pid {raw}): {error}"));
                None
            }
        }
    }
}

/// A `dev` that was killed itself leaves an old `dev.json`, and its pids may be others' by now.
fn is_that_node(pid: i32, id: u64, data: &str) -> bool {
    let Ok(line) = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")) else {
        // No /proc to check against: trust the file.
        return !Path::new("/proc/self").exists();
    };
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let has = |word: &str| words.contains(&word.as_bytes());
    has("serve") && has(&id.to_string()) && has(data)
}
