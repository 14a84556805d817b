//! One `lastseat serve` process: its folder, its ports, its log, its signals.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Lines of a node's log that a failing story shows.
const LOG_TAIL_LINES: usize = 40;

/// Ports come from below the range the kernel gives to outgoing connections: a node that was killed finds its own again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// A loopback port nobody listens on.
pub fn free_port() -> u16 {
    let span = PORTS.end - PORTS.start;
    let start = u16::try_from(std::process::id() % u32::from(span)).unwrap();
    for _ in 0..span {
        let step = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + (u32::from(start) + u32::from(step) * 7).rem_euclid(u32::from(span)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}

/// What a node is started with. Stays the same over restarts.
#[derive(Debug, Clone)]
pub struct Plan {
    pub id: u64,
    pub api: SocketAddr,
    pub peer: SocketAddr,
    pub data: PathBuf,
    pub log: PathBuf,
    /// What `libfaketime` is told, such as `+1d`. Only the wall clock; time that elapses stays true.
    pub clock: Option<String>,
    /// Further flags of `serve`.
    pub flags: Vec<String>,
}

impl Plan {
    pub fn new(id: u64, dir: &Path) -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            id,
            api: loopback(free_port()),
            peer: loopback(free_port()),
            data: dir.join(format!("node-{id}")),
            log: dir.join(format!("node-{id}.log")),
            clock: None,
            flags: Vec::new(),
        }
    }

    pub fn command(&self) -> Command {
        let mut command = lastseat();
        command.args(["serve", "--node-id", &self.id.to_string()]).arg("--data").arg(&self.data);
        command.args(["--listen", &self.api.to_string(), "--peer-listen", &self.peer.to_string()]);
        command.args(&self.flags);
        if let Some(clock) = &self.clock {
            command.env("LD_PRELOAD", faketime_library()).env("FAKETIME", clock).env("DONT_FAKE_MONOTONIC", "1");
        }
        command
    }

    /// Starts the process and does not wait for anything.
    pub fn spawn(&self) -> Process {
        Process::spawn(self.command(), &self.log)
    }

    /// Runs it until it ends by itself: `(status, everything it said)`. Panics when it goes on.
    pub fn run_to_end(&self, within: Duration) -> (ExitStatus, String) {
        let path = self.log.with_extension("once");
        let _ = std::fs::remove_file(&path);
        let mut process = Process::spawn(self.command(), &path);
        let said = || std::fs::read_to_string(&path).unwrap_or_default();
        match process.wait(within) {
            Some(status) => (status, said()),
            None => {
                process.kill();
                panic!("node {} should have refused to start; it said:\n{}", self.id, said());
            }
        }
    }

    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

/// The binary under test, with nothing of the test's own settings in its environment.
pub fn lastseat() -> Command {
    let program = env!("CARGO_BIN_EXE_lastseat");
    // A node must not outlive a test that was itself killed.
    let mut command = match find(&["/usr/bin/setpriv", "/bin/setpriv"]) {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--", program]);
            command
        }
        None => Command::new(program),
    };
    // The server reads LASTSEAT_… too.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LASTSEAT_")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

fn find(candidates: &[&'static str]) -> Option<&'static str> {
    candidates.iter().copied().find(|path| Path::new(path).exists())
}

fn faketime_library() -> &'static str {
    find(&[
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/faketime/libfaketime.so.1",
        "/usr/lib64/faketime/libfaketime.so.1",
    ])
    .expect("this story needs libfaketime: apt-get install libfaketime")
}

/// A running process, ended when dropped.
pub struct Process {
    child: Child,
    pub paused: bool,
}

impl Process {
    /// Starts a command whose output is appended to `log`.
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let out = log.try_clone().unwrap();
        let child = command.stdout(out).stderr(log).spawn().expect("the server's binary starts");
        Self { child, paused: false }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).expect("the process is ours and was not waited for");
    }

    pub fn kill(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.paused = true;
    }

    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.paused = false;
    }

    /// Asks it to stop; see [`Self::wait`].
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Its exit status, unless it goes on for longer. Blocks the thread.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.ended() {
                Some(status) => return Some(status),
                None if start.elapsed() > within => return None,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
