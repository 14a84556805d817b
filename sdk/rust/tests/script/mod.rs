//! A node that follows a script: one step for each request, whatever is asked. It speaks raw HTTP/1.1, so that it can
//! do what no proper server does, such as to hang up in the middle of an answer.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub enum Step {
    /// Status, further header lines (each ending in `\r\n`), body.
    Answer(u16, &'static str, String),
    /// Reads the request, then hangs up.
    HangUp,
    /// Promises more of an answer than it sends.
    HangUpMidAnswer,
    /// Answers nothing for so long.
    Sleep(Duration),
}

#[derive(Debug, Clone)]
pub struct Seen {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub struct Node {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    pub async fn start(steps: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let steps = Arc::new(Mutex::new(steps.into_iter().collect::<VecDeque<_>>()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, steps.clone(), record.clone()));
            }
        });
        Self { url, seen, task }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, steps: Arc<Mutex<VecDeque<Step>>>, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await {
        seen.lock().unwrap().push(request);
        let step = steps.lock().unwrap().pop_front().expect("the script is longer than the story");
        match step {
            Step::Answer(status, headers, body) => {
                let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
            Step::HangUp => return,
            Step::HangUpMidAnswer => {
                stream.write_all(b"HTTP/1.1 201 X\r\ncontent-length: 100\r\n\r\n{\"outcome\":").await.unwrap();
                return;
            }
            Step::Sleep(pause) => tokio::time::sleep(pause).await,
        }
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen { line: line.trim().to_owned(), headers, body: String::from_utf8(body).unwrap() })
}

pub fn hold() -> Step {
    let body = r#"{"outcome":"applied","revision":7,"version":3,"token":"secret-7","event":"e","items":[{"seat":"A-1"}],
        "customer":"ada","expires_at":"2027-01-01T00:00:00.000Z","expires_in_ms":600000,
        "created_at":"2026-12-31T23:50:00.000Z","a_field_of_tomorrow":1}"#;
    Step::Answer(201, "", body.into())
}

pub fn problem(status: u16, code: &str, outcome: &str) -> Step {
    problem_with(status, "", code, outcome)
}

pub fn problem_with(status: u16, headers: &'static str, code: &str, outcome: &str) -> Step {
    let body = format!(
        r#"{{"type":"about:blank","title":"t","status":{status},"detail":"d","code":"{code}","outcome":"{outcome}",
            "retryable":true,"request_id":"r","conflicts":[{{"seat":"A-1","status":"held"}}],"revision":5}}"#
    );
    Step::Answer(status, headers, body)
}

/// A URL that refuses connections: bound once, then given up.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
