//! The keeper of one node's process: starts it, notes its pid, starts it again when it dies, stops it in the end.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::Place;
use super::control::{Condition, Handset, Order};
use super::file::{DevFile, node_data, node_folder, node_log};
use crate::cli::args::RestartAfter;
use crate::cli::exit::Failure;
use crate::cli::output;

/// Time a node has between SIGTERM and SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(10);

pub(super) struct Keeper {
    place: Place,
    program: PathBuf,
    data: PathBuf,
    log: PathBuf,
    file: DevFile,
    restart_after: RestartAfter,
    /// Where the console's orders come from, if they can.
    control: Option<SocketAddr>,
    handset: Handset,
    stopped: watch::Receiver<bool>,
}

impl Keeper {
    pub(super) fn new(
        place: Place,
        folder: &std::path::Path,
        file: DevFile,
        restart_after: RestartAfter,
        control: Option<SocketAddr>,
        handset: Handset,
        stopped: watch::Receiver<bool>,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("cannot find this program's own file: {error}")))?;
        let own = node_folder(folder, place.id);
        fs::create_dir_all(&own)
            .map_err(|error| Failure::failed(format!("cannot make {}: {error}; check the folder", own.display())))?;
        let (data, log) = (node_data(folder, place.id), node_log(folder, place.id));
        Ok(Self { place, program, data, log, file, restart_after, control, handset, stopped })
    }

    /// Until told to stop. An error: this node cannot be kept, and why.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        loop {
            let mut child = self.start()?;
            self.file.set_pid(self.place.id, child.id())?;
            // Waiting would close it, and with it the node.
            let _lifeline = child.stdin.take();
            let ended = self.watch(&mut child).await;
            let Some(status) = ended else {
                stop(&mut child).await;
                return self.file.set_pid(self.place.id, None);
            };
            self.handset.condition.send_replace(Condition::Dead);
            self.file.set_pid(self.place.id, None)?;
            let status = status.map_err(|error| Failure::failed(format!("lost sight of a node: {error}")))?;
            let pause = self.report(status);
            let again = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = again => {}
                () = told_to_start(&mut self.handset) => {}
                () = told_to_stop(&mut self.stopped) => return Ok(()),
            }
        }
    }

    /// Carries out orders until the process ends. `None`: told to stop.
    async fn watch(&mut self, child: &mut Child) -> Option<std::io::Result<ExitStatus>> {
        self.handset.condition.send_replace(Condition::Running);
        loop {
            let order = tokio::select! {
                status = child.wait() => return Some(status),
                () = told_to_stop(&mut self.stopped) => return None,
                Some(order) = self.handset.orders.recv() => order,
            };
            match order {
                Order::Kill => signal(child, Signal::KILL),
                Order::Pause => {
                    signal(child, Signal::STOP);
                    self.handset.condition.send_replace(Condition::Paused);
                }
                Order::Continue => {
                    signal(child, Signal::CONT);
                    self.handset.condition.send_replace(Condition::Running);
                }
                Order::Restart => {
                    // A paused process would not hear the other signal.
                    signal(child, Signal::CONT);
                    signal(child, Signal::TERM);
                }
            }
        }
    }

    fn start(&self) -> Result<Child, Failure> {
        let failed = |what: &str, error: std::io::Error| Failure::failed(format!("cannot {what}: {error}"));
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| failed(&format!("write {}", self.log.display()), error))?;
        let out = log.try_clone().map_err(|error| failed("share the log", error))?;
        let mut command = Command::new(&self.program);
        command
            .args(["serve", "--exit-with-parent", "--webhook-allow-private", "--node-id", &self.place.id.to_string()])
            .args(["--listen", &format!("127.0.0.1:{}", self.place.api_port)])
            .args(["--peer-listen", &self.place.peer()])
            .args(["--api-advertise", &self.place.api(), "--peer-advertise", &self.place.peer()])
            .arg("--data")
            .arg(&self.data);
        if let Some(control) = self.control {
            command.args(["--dev-control", &control.to_string()]);
        }
        // What the caller has set for a server of its own must not leak into these.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LASTSEAT_")) {
            if name != "LASTSEAT_LOG_LEVEL" && name != "LASTSEAT_LOG_FORMAT" {
                command.env_remove(name);
            }
        }
        // stdin: its other end closes with this process, see `serve --exit-with-parent`. A group of its own: Ctrl-C
        // reaches only `dev`, which then stops the nodes in order.
        command.stdin(Stdio::piped()).stdout(out).stderr(log).process_group(0).kill_on_drop(true);
        command.spawn().map_err(|error| failed(&format!("start {}", self.program.display()), error))
    }

    /// Says that the node ended, and returns when to start it again.
    fn report(&self, status: ExitStatus) -> Option<Duration> {
        let id = self.place.id;
        let log = self.log.display();
        match self.restart_after {
            RestartAfter::Never => {
                output::complain(&format!("node {id} ended ({status}) and stays down; its log is {log}"));
                None
            }
            RestartAfter::After(pause) => {
                let ms = pause.as_millis();
                output::complain(&format!("node {id} ended ({status}), starting again in {ms} ms; its log is {log}"));
                Some(pause)
            }
        }
    }
}

/// Returns once told to; if the teller is gone, that is telling too.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Returns once ordered to; what else is ordered of a dead process has no meaning.
async fn told_to_start(handset: &mut Handset) {
    loop {
        match handset.orders.recv().await {
            Some(Order::Restart) => return,
            Some(Order::Kill | Order::Pause | Order::Continue) => {}
            None => std::future::pending().await,
        }
    }
}

async fn stop(child: &mut Child) {
    // A paused process would not hear the other signal.
    signal(child, Signal::CONT);
    signal(child, Signal::TERM);
    if tokio::time::timeout(STOP_GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

fn signal(child: &Child, signal: Signal) {
    // `id` is there until the child was waited for, so the number cannot belong to another process yet.
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}
