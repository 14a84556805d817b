//! The composition root: wires the rooms into one node, starts it, drains it.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What one node needs to know to start.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub node_id: u64,
    pub data: PathBuf,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the other nodes connect.
    pub peer_listen: SocketAddr,
    /// `host:port` that the other nodes are told.
    pub peer_advertise: String,
    /// URL that clients are told.
    pub api_advertise: String,
    pub region: String,
    /// Listening beyond loopback without protection was asked for.
    pub insecure: bool,
    /// Timers for links with the delay of a continent.
    pub wide_area: bool,
}

/// Runs the node until it is told to stop (SIGTERM, SIGINT). An error says what to do.
#[expect(clippy::todo, reason = "the wiring follows with the rooms")]
pub fn run(config: NodeConfig) -> Result<(), String> {
    let _ = config;
    todo!()
}
