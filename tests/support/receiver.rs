//! A receiver of webhooks, written for the stories: it answers as it is told, keeps what it got, and checks signatures
//! with an implementation of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::process::free_port;

/// One message as it came.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub raw: Vec<u8>,
    pub body: Value,
    /// It was answered 2xx.
    pub taken: bool,
}

impl Got {
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn revision(&self) -> u64 {
        self.body["data"]["revision"].as_u64().unwrap_or(0)
    }

    /// Which of these secrets (`whsec_…`) have signed it. Every signature must be of one of them.
    #[track_caller]
    pub fn signed_by(&self, secrets: &[String]) -> Vec<usize> {
        let signed =
            [self.id().as_bytes(), b".", self.header("webhook-timestamp").as_bytes(), b".", &self.raw].concat();
        let known: Vec<String> = secrets
            .iter()
            .map(|secret| {
                let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("whsec_…")).expect("base64");
                format!("v1,{}", STANDARD.encode(hmac_sha256(&key, &signed)))
            })
            .collect();
        let place = |signature: &str| known.iter().position(|one| one == signature);
        let signatures = self.header("webhook-signature").split(' ');
        signatures.map(|signature| place(signature).unwrap_or_else(|| panic!("signed by nobody: {self:?}"))).collect()
    }
}

/// RFC 2104, straight from its text.
fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |byte: u8| block.map(|k| k ^ byte);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

/// How it answers.
#[derive(Debug, Clone)]
pub enum Mode {
    Status(u16),
    /// With one more header.
    Header(u16, String),
    /// 200 after this long.
    Slow(Duration),
}

#[derive(Debug)]
struct Shared {
    mode: Mode,
    got: Vec<Got>,
    connections: u64,
}

pub struct Receiver {
    pub addr: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    /// None: it is down.
    server: Option<tokio::task::JoinHandle<()>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let shared = Arc::new(Mutex::new(Shared { mode: Mode::Status(200), got: Vec::new(), connections: 0 }));
        let mut receiver = Self { addr, shared, server: None };
        receiver.up().await;
        receiver
    }

    pub async fn up(&mut self) {
        let listener = TcpListener::bind(self.addr).await.expect("the port is still free");
        self.server = Some(tokio::spawn(serve(listener, Arc::clone(&self.shared))));
    }

    /// Refuses connections, and cuts those there are.
    pub async fn down(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    pub fn answer(&self, mode: Mode) {
        self.shared.lock().mode = mode;
    }

    pub fn got(&self) -> Vec<Got> {
        self.shared.lock().got.clone()
    }

    /// Only what it said yes to.
    pub fn taken(&self) -> Vec<Got> {
        self.got().into_iter().filter(|got| got.taken).collect()
    }

    pub fn connections(&self) -> u64 {
        self.shared.lock().connections
    }

    /// Waits until `enough` is true of what it has taken.
    #[track_caller]
    pub fn until(
        &self,
        what: &str,
        within: Duration,
        enough: impl Fn(&[Got]) -> bool,
    ) -> impl Future<Output = Vec<Got>> {
        let caller = std::panic::Location::caller();
        async move {
            let start = Instant::now();
            loop {
                let taken = self.taken();
                if enough(&taken) {
                    return taken;
                }
                assert!(start.elapsed() < within, "not within {within:?}: {what}; {} taken ({caller})", taken.len());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.lock().connections += 1;
        connections.spawn(talk(BufReader::new(stream), Arc::clone(&shared)));
    }
}

/// Requests of one connection, until it ends.
async fn talk(mut stream: BufReader<TcpStream>, shared: Arc<Mutex<Shared>>) {
    while let Some(mut got) = read_request(&mut stream).await {
        let mode = shared.lock().mode.clone();
        let (status, header) = match &mode {
            Mode::Status(status) => (*status, String::new()),
            Mode::Header(status, header) => (*status, format!("{header}\r\n")),
            Mode::Slow(pause) => {
                tokio::time::sleep(*pause).await;
                (200, String::new())
            }
        };
        got.taken = (200..300).contains(&status);
        // Kept before it is answered: what was answered was certainly seen.
        shared.lock().got.push(got);
        let answer = format!("HTTP/1.1 {status} x\r\n{header}content-length: 2\r\n\r\nok");
        if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Got> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let first = lines.first()?.clone();
    assert!(first.starts_with("POST "), "{first}");
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut raw = vec![0; length];
    stream.read_exact(&mut raw).await.ok()?;
    let body = serde_json::from_slice(&raw).expect("messages are JSON");
    Some(Got { path: first.split(' ').nth(1)?.to_owned(), headers, raw, body, taken: false })
}
