//! `dev`: a real cluster on loopback, one `serve` process per node.
//!
//! ```text
//! dev ─┬─ control: the console's buttons, on the port below those of the nodes
//!      ├─ node task 1 ─ serve --node-id 1   dies → dev.json, pause, start again
//!      ├─ node task 2 ─ serve --node-id 2
//!      ├─ node task 3 ─ serve --node-id 3
//!      └─ setup: wait for health → form the cluster → demo events → `ready`
//! ```
//!
//! Invariants: `dev.json` is rewritten, atomically, before anything is waited for at each start and exit of a node; no
//! child outlives this process, however it ends (it holds the other end of each child's stdin); nothing is removed but
//! the temporary folder it made itself.
//!
//! Lacks on purpose: more than one machine, and any protection: it never listens beyond loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::args::DevArgs;
use super::exit::Failure;
use super::output;

mod control;
pub(super) mod file;
mod folder;
mod node;
mod setup;

use file::DevFile;
use folder::Folder;

/// Peer ports are this far above the API ports.
const PEER_OFFSET: u16 = 100;
/// The nodes of a `dev` that was killed are gone after this: they stop by themselves within 10 s.
const ORPHANS_GONE: Duration = Duration::from_secs(12);
const PORT_POLL: Duration = Duration::from_millis(50);

/// Where one node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: u64,
    pub(super) api_port: u16,
    pub(super) peer_port: u16,
}

impl Place {
    pub(super) fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.api_port)
    }

    pub(super) fn peer(&self) -> String {
        format!("127.0.0.1:{}", self.peer_port)
    }
}

fn places(args: &DevArgs) -> Vec<Place> {
    let place =
        |i: u16| Place { id: u64::from(i), api_port: args.port_base + i, peer_port: args.port_base + PEER_OFFSET + i };
    (1..=args.nodes).map(place).collect()
}

pub(super) async fn run(args: DevArgs) -> Result<(), Failure> {
    let mut stop = StopSignals::new()?;
    let places = places(&args);
    let folder = Folder::open(args.data.as_deref(), &places)?;
    let patience = if folder.may_have_orphans() { ORPHANS_GONE } else { Duration::ZERO };
    if let Err(failure) = ports_free(&places, patience).await {
        folder.close();
        return Err(failure);
    }
    let file = match DevFile::new(folder.path(), &places) {
        Ok(file) => file,
        Err(failure) => {
            folder.close();
            return Err(failure);
        }
    };
    let locator = file::Locator::publish(args.port_base, folder.path());

    let (stopping, stopped) = watch::channel(false);
    let buttons = control::listen(args.port_base).await;
    let mut board = control::Switchboard::default();
    let mut nodes = JoinSet::new();
    for place in places.clone() {
        let handset = board.add(&place);
        let control = buttons.as_ref().map(|(_, addr)| *addr);
        let (file, stopped) = (file.clone(), stopped.clone());
        let keeper = node::Keeper::new(place, folder.path(), file, args.restart_after, control, handset, stopped)?;
        nodes.spawn(keeper.run());
    }
    let mut buttons = buttons.map(|(listener, _)| control::serve(listener, board));
    let result = tokio::select! {
        result = serve_until_told(&args, &places, folder.path(), &mut nodes) => result,
        failure = buttons_failed(&mut buttons) => Err(failure),
        () = stop.wait() => Ok(()),
    };
    if let Some(buttons) = buttons {
        buttons.abort();
    }
    // Every keeper stops its child and waits for its end.
    let _ = stopping.send(true);
    while nodes.join_next().await.is_some() {}
    drop(locator);
    folder.close();
    result
}

/// Sets the cluster up, says `ready`, and then only returns if a keeper of a node fails.
async fn serve_until_told(
    args: &DevArgs,
    places: &[Place],
    folder: &Path,
    nodes: &mut JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    let setup = async {
        setup::healthy(places, folder).await?;
        setup::form(places, folder).await?;
        if !args.no_demo {
            setup::demo(places).await?;
        }
        announce(places, folder)
    };
    tokio::select! {
        result = setup => result?,
        failure = keeper_failed(nodes) => return Err(failure),
    }
    Err(keeper_failed(nodes).await)
}

/// They only end when they cannot work; where there are none, nothing ends.
async fn buttons_failed(buttons: &mut Option<JoinHandle<Failure>>) -> Failure {
    match buttons {
        Some(task) => {
            task.await.unwrap_or_else(|error| Failure::failed(format!("the console's buttons broke: {error}")))
        }
        None => std::future::pending().await,
    }
}

/// A keeper only ends before it is told to when it cannot do its work.
async fn keeper_failed(nodes: &mut JoinSet<Result<(), Failure>>) -> Failure {
    match nodes.join_next().await {
        Some(Ok(Err(failure))) => failure,
        Some(Ok(Ok(()))) | None => Failure::failed("the keeper of a node ended by itself; this is a bug"),
        Some(Err(error)) => Failure::failed(format!("the keeper of a node broke: {error}; this is a bug")),
    }
}

fn announce(places: &[Place], folder: &Path) -> Result<(), Failure> {
    let columns = ["node", "api", "peer", "data"].map(str::to_owned);
    let row = |place: &Place| {
        let data = file::node_data(folder, place.id).display().to_string();
        vec![place.id.to_string(), place.api(), place.peer(), data]
    };
    let rows: Vec<_> = places.iter().map(row).collect();
    let table = output::columns_text(&columns, &rows);
    let console = places.first().map_or_else(String::new, |place| format!("{}/console/", place.api()));
    output::raw(&format!("{table}console  {console}\nready\n"))
}

/// Every port can be listened on, if need be after a while.
async fn ports_free(places: &[Place], patience: Duration) -> Result<(), Failure> {
    let until = Instant::now() + patience;
    for port in places.iter().flat_map(|place| [place.api_port, place.peer_port]) {
        while let Err(failure) = check_port(port) {
            if Instant::now() >= until {
                return Err(failure);
            }
            tokio::time::sleep(PORT_POLL).await;
        }
    }
    Ok(())
}

/// Refuses a port that something else listens on, before anything is started.
fn check_port(port: u16) -> Result<(), Failure> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::failed(format!(
            "port {port} on 127.0.0.1 cannot be used: {error}; stop what listens there (another `lastseat dev`?), or \
             choose other ports by --port-base"
        ))),
    }
}

/// Ctrl-C, SIGTERM and the end of the terminal.
struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen =
            |kind| signal(kind).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
