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
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Place;
use crate::cli::exit::Failure;
use crate::cli::output;

/// Orders that wait for one keeper; more are refused.
const ORDERS_MAX: usize = 8;

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

/// Takes requests until the task is aborted.
pub(super) fn serve(listener: TcpListener, board: Switchboard) -> JoinHandle<Failure> {
    let router = Router::new()
        .route("/dev/nodes", get(nodes))
        .route("/dev/nodes/{id}/{action}", post(act))
        .with_state(Arc::new(board));
    tokio::spawn(async move {
        let ended = axum::serve(listener, router).await;
        Failure::failed(format!("the console's buttons stopped working: {ended:?}; this is a bug"))
    })
}

async fn nodes(State(board): State<Arc<Switchboard>>) -> axum::Json<serde_json::Value> {
    let node =
        |(id, line): (&u64, &Line)| json!({ "id": id, "api": line.api, "state": line.condition.borrow().name() });
    axum::Json(json!({ "nodes": board.0.iter().map(node).collect::<Vec<_>>() }))
}

async fn act(State(board): State<Arc<Switchboard>>, Path((id, action)): Path<(u64, String)>) -> StatusCode {
    let (Some(line), Ok(order)) = (board.0.get(&id), action.parse()) else { return StatusCode::NOT_FOUND };
    match line.orders.try_send(order) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::TOO_MANY_REQUESTS,
    }
}
