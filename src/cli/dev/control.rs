//! The buttons of the console's cluster page: lets a person kill, pause and restart the nodes of a `dev` cluster.
//!
//! ```text
//! page ─▶ any node: /dev/nodes… ─▶ 127.0.0.1:port-base, here ─▶ keeper of that node ─▶ signal
//! ```
//!
//! A browser talks only to the node its page came from; that node passes the request on. Listens on loopback only, and
//! can do nothing but what the keepers do to their own children.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Place;
use crate::cli::exit::Failure;
use crate::cli::output;

/// Orders that wait for one keeper; more are refused.
const ORDERS_MAX: usize = 8;
/// Longest request.
const LINE_BYTES_MAX: u64 = 64;
/// A request is there, and its answer taken, within this.
const PATIENCE: Duration = Duration::from_secs(1);

/// What can be done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// `kill -9`; started again as `--restart-after` says.
    Kill,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Continue,
    /// Stopped in good order and started again; a dead one is started.
    Restart,
}

impl FromStr for Order {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "kill" => Ok(Self::Kill),
            "pause" => Ok(Self::Pause),
            "continue" => Ok(Self::Continue),
            "restart" => Ok(Self::Restart),
            _ => Err(()),
        }
    }
}

/// How a node's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Running,
    Paused,
    Dead,
}

impl Condition {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Dead => "dead",
        }
    }
}

/// The keeper's end.
pub(super) struct Handset {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) condition: watch::Sender<Condition>,
}

/// This module's end.
struct Line {
    api: String,
    orders: mpsc::Sender<Order>,
    condition: watch::Receiver<Condition>,
}

/// One line to each keeper.
#[derive(Default)]
pub(super) struct Switchboard(BTreeMap<u64, Line>);

impl Switchboard {
    pub(super) fn add(&mut self, place: &Place) -> Handset {
        let (to_keeper, orders) = mpsc::channel(ORDERS_MAX);
        let (condition, seen) = watch::channel(Condition::Dead);
        self.0.insert(place.id, Line { api: place.api(), orders: to_keeper, condition: seen });
        Handset { orders, condition }
    }
}

/// Listens on the port below those of the nodes. `None`, and a word about it: the port is taken, and the console has no
/// buttons.
pub(super) async fn listen(port: u16) -> Option<(TcpListener, SocketAddr)> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(addr).await {
        Ok(listener) => Some((listener, addr)),
        Err(error) => {
            output::complain(&format!("no buttons in the console: {addr} cannot be listened on: {error}"));
            None
        }
    }
}

/// Takes requests until the task is aborted. One line each: `nodes`, or an action and the number of a node. The answer is
/// what [`Switchboard::nodes`] says, or `done`, `busy` or `unknown`.
pub(super) fn serve(listener: TcpListener, board: Switchboard) -> JoinHandle<Failure> {
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                // One after the other: each is over in a moment, or cut off.
                Ok((stream, _)) => drop(tokio::time::timeout(PATIENCE, answer(stream, &board)).await),
                Err(error) => {
                    return Failure::failed(format!(
                        "the console's buttons stopped working: {error}; start `dev` again"
                    ));
                }
            }
        }
    })
}

/// A connection that breaks is the node's loss; it says so to the browser.
async fn answer(mut stream: TcpStream, board: &Switchboard) -> std::io::Result<()> {
    let mut line = String::new();
    let (read, mut write) = stream.split();
    BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    write.write_all(board.obey(line.trim()).as_bytes()).await?;
    write.shutdown().await
}

impl Switchboard {
    fn obey(&self, line: &str) -> String {
        if line == "nodes" {
            return self.nodes().to_string();
        }
        let parts = line.split_once(' ').and_then(|(action, id)| Some((action.parse().ok()?, id.parse().ok()?)));
        let known = parts.and_then(|(order, id): (Order, u64)| Some((order, self.0.get(&id)?)));
        let Some((order, line)) = known else { return "unknown".to_owned() };
        if line.orders.try_send(order).is_ok() { "done".to_owned() } else { "busy".to_owned() }
    }

    /// `{"nodes":[{"id","api","state"}]}`, as `GET /dev/nodes` gives it.
    fn nodes(&self) -> serde_json::Value {
        let node =
            |(id, line): (&u64, &Line)| json!({ "id": id, "api": line.api, "state": line.condition.borrow().name() });
        json!({ "nodes": self.0.iter().map(node).collect::<Vec<_>>() })
    }
}
