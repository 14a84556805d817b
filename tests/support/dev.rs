//! A cluster as a person starts it: `lastseat dev`.

use std::net::TcpListener;

use serde_json::Value;
use tempfile::TempDir;

use super::eventually;
use super::process::{Process, free_port, lastseat};
use super::settings::READY;

/// A base such that base itself, base+1…3 and base+101…103 are free.
fn free_base() -> u16 {
    loop {
        let base = free_port() - 1;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(base) && (1..=3).all(|i| free(base + i) && free(base + 100 + i)) {
            return base;
        }
    }
}

/// A cluster that `lastseat dev` keeps, ended when dropped.
pub struct Dev {
    /// Node `i` has its API at this port + `i`.
    pub base: u16,
    pub dir: TempDir,
    pub process: Process,
}

impl Dev {
    pub async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("lastseat-dev-").tempdir().unwrap();
        let base = free_base();
        let mut command = lastseat();
        command.args(["dev", "--port-base", &base.to_string(), "--data"]).arg(dir.path().join("data"));
        let log = dir.path().join("dev.log");
        let process = Process::spawn(command, &log);
        eventually("`dev` says `ready`", READY, || async {
            let said = std::fs::read_to_string(&log).unwrap();
            if said.lines().any(|line| line == "ready") { Ok(()) } else { Err(said) }
        })
        .await;
        Self { base, dir, process }
    }

    pub fn pids(&self) -> Vec<u64> {
        self.pids_if_all_run().expect("every node runs")
    }

    /// `None`: a node is down at the moment.
    pub fn pids_if_all_run(&self) -> Option<Vec<u64>> {
        let file = self.dir.path().join("data/dev.json");
        let file: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        file["nodes"].as_array().unwrap().iter().map(|node| node["pid"].as_u64()).collect()
    }
}
