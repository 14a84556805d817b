//! HTTP/1.1 with the bytes in sight: keep-alive, content-length and chunked bodies, no retries, no redirects.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::settings::ANSWER;

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self { method: method.to_owned(), path: path.into(), headers: Vec::new(), body: None }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new("POST", path).json(body)
    }

    pub fn put(path: impl Into<String>, body: &Value) -> Self {
        Self::new("PUT", path).json(body)
    }

    pub fn json(self, body: &Value) -> Self {
        self.bytes("application/json", serde_json::to_vec(body).unwrap())
    }

    pub fn bytes(mut self, content_type: &str, body: Vec<u8>) -> Self {
        self.body = Some(body);
        self.header("content-type", content_type)
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With this idempotency key.
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let length = self.body.as_ref().map(Vec::len);
        if length.is_some() || !matches!(self.method.as_str(), "GET" | "HEAD") {
            out.extend_from_slice(format!("content-length: {}\r\n", length.unwrap_or(0)).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body.as_deref().unwrap_or_default());
        out
    }
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self}"))
    }

    /// A field of the JSON body, by pointer (`/pools/0/booked`).
    #[track_caller]
    pub fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {self}")).clone()
    }

    #[track_caller]
    pub fn number(&self, pointer: &str) -> u64 {
        self.at(pointer).as_u64().unwrap_or_else(|| panic!("{pointer} is not a whole number in {self}"))
    }

    #[track_caller]
    pub fn text(&self, pointer: &str) -> String {
        self.at(pointer).as_str().unwrap_or_else(|| panic!("{pointer} is not a text in {self}")).to_owned()
    }

    /// `outcome` of a command's answer, if the body has one.
    pub fn outcome(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get("outcome")?.as_str()?.to_owned())
    }

    pub fn code(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get("code")?.as_str()?.to_owned())
    }

    /// Insists on a status; gives itself back.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Insists on a 2xx; gives itself back.
    #[track_caller]
    pub fn fine(self) -> Self {
        assert!((200..300).contains(&self.status), "{self}");
        self
    }

    /// Insists on a problem document with everything a problem has.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str, outcome: &str) -> Self {
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self}");
        let body = self.json();
        assert_eq!(body["code"], code, "{self}");
        assert_eq!(body["outcome"], outcome, "{self}");
        assert_eq!(body["status"], status, "{self}");
        for field in ["type", "title", "detail", "request_id"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {self}");
        }
        assert!(body["retryable"].is_boolean(), "no retryable: {self}");
        self
    }

    pub fn replayed(&self) -> bool {
        self.header("idempotency-replayed") == Some("true")
    }

    /// The body as it must be on every replay: to the byte, but for a problem's `request_id`.
    #[track_caller]
    pub fn lasting_body(&self) -> Vec<u8> {
        if self.status < 400 {
            return self.body.clone();
        }
        let mut body = self.json();
        let id = body["request_id"].as_str().unwrap_or_else(|| panic!("no request_id: {self}")).to_owned();
        body["request_id"] = Value::Null;
        // Compared as text with the id cut out, so that the order of the fields counts too.
        String::from_utf8(self.body.clone()).unwrap().replacen(&id, "", 1).into_bytes()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        let shown: String = body.chars().take(1500).collect();
        write!(f, "{} {:?} {shown}", self.status, self.headers)
    }
}

/// No answer, or not a whole one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// The connection was refused: certainly not received.
    NotSent(String),
    /// Sent, and the connection ended without one byte of an answer.
    NoAnswer(String),
    /// Nothing, or not all, came in time.
    TimedOut,
    /// The answer began and did not end, or is not HTTP.
    Broken(String),
}

/// One client's connection to one node; made anew when it was closed.
pub struct Connection {
    pub addr: SocketAddr,
    pub timeout: Duration,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    pub fn to(addr: SocketAddr) -> Self {
        Self { addr, timeout: ANSWER, stream: None }
    }

    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub async fn send(&mut self, request: &Request) -> Result<Answer, Lost> {
        let result = tokio::time::timeout(self.timeout, self.exchange(request)).await.unwrap_or(Err(Lost::TimedOut));
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    async fn exchange(&mut self, request: &Request) -> Result<Answer, Lost> {
        if self.stream.as_ref().is_some_and(|stream| is_closed(stream.get_ref())) {
            self.stream = None;
        }
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.addr).await.map_err(|e| Lost::NotSent(e.to_string()))?;
            stream.set_nodelay(true).map_err(|e| Lost::NotSent(e.to_string()))?;
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut().expect("just made");
        // A server may answer and close before it read a body that is too large: what it said counts, not the write.
        let written = stream.get_mut().write_all(&request.to_bytes()).await;
        let answer = read_answer(stream, request.method == "HEAD").await;
        if let (Err(e), Err(Lost::NoAnswer(_))) = (&written, &answer) {
            return Err(Lost::NoAnswer(e.to_string()));
        }
        let answer = answer?;
        if written.is_err() || answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.stream = None;
        }
        Ok(answer)
    }
}

/// The other side closed an idle connection.
fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 1]) {
        Ok(_) => true,
        Err(e) => e.kind() != std::io::ErrorKind::WouldBlock,
    }
}

async fn read_answer(stream: &mut BufReader<TcpStream>, no_body: bool) -> Result<Answer, Lost> {
    loop {
        let first = match stream.fill_buf().await {
            Ok([]) => return Err(Lost::NoAnswer("closed".into())),
            Ok(bytes) => bytes.len(),
            Err(e) => return Err(Lost::NoAnswer(e.to_string())),
        };
        assert!(first > 0);
        let (status, headers) = read_head(stream).await?;
        if (100..200).contains(&status) {
            continue;
        }
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let body = if no_body || status == 204 || status == 304 {
            Vec::new()
        } else if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            read_chunks(stream).await?
        } else {
            let length = header("content-length").ok_or_else(|| Lost::Broken("no content-length".into()))?;
            let length = length.parse().map_err(|_| Lost::Broken(format!("content-length: {length}")))?;
            read_exactly(stream, length).await?
        };
        return Ok(Answer { status, headers, body });
    }
}

pub async fn read_head(stream: &mut BufReader<TcpStream>) -> Result<(u16, Vec<(String, String)>), Lost> {
    let first = read_line(stream).await?;
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| Lost::Broken(format!("status line: {first}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream).await?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| Lost::Broken(format!("header: {line}")))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Result<String, Lost> {
    let mut line = Vec::new();
    let read = stream.read_until(b'\n', &mut line).await.map_err(|e| Lost::Broken(e.to_string()))?;
    if read == 0 || !line.ends_with(b"\r\n") {
        return Err(Lost::Broken("closed inside the head".into()));
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).map_err(|_| Lost::Broken("the head is not UTF-8".into()))
}

async fn read_exactly(stream: &mut BufReader<TcpStream>, length: usize) -> Result<Vec<u8>, Lost> {
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(|e| Lost::Broken(format!("closed inside the body: {e}")))?;
    Ok(body)
}

async fn read_chunks(stream: &mut BufReader<TcpStream>) -> Result<Vec<u8>, Lost> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream).await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| Lost::Broken(format!("chunk size: {line}")))?;
        if size == 0 {
            while !read_line(stream).await?.is_empty() {}
            return Ok(body);
        }
        body.extend(read_exactly(stream, size).await?);
        read_line(stream).await?;
    }
}
