//! A change stream with the bytes in sight, over any of the three transports.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::http::{Answer, Connection, Lost, Request};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sse,
    Lines,
    Socket,
}

pub const KINDS: [Kind; 3] = [Kind::Sse, Kind::Lines, Kind::Socket];

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub kind: String,
    /// The id of a Server-Sent Event, or `position`.
    pub position: Option<u64>,
    pub data: Value,
}

impl Said {
    pub fn number(&self, name: &str) -> u64 {
        self.data[name].as_u64().unwrap_or_else(|| panic!("{name} is no number in {self:?}"))
    }

    /// A change that is complete with this message.
    pub fn completes(&self) -> bool {
        self.kind == "change" && self.data.get("part") == self.data.get("parts")
    }
}

enum Inner {
    Body { stream: BufReader<TcpStream>, is_sse: bool, text: Vec<u8>, at: usize },
    Socket(Box<WebSocketStream<TcpStream>>),
}

pub struct Stream {
    inner: Inner,
    /// Code and reason of a WebSocket's close.
    pub closed: Option<(u16, String)>,
    /// `retry:` of Server-Sent Events, as it came.
    pub retries: Vec<u64>,
}

impl Stream {
    /// Opens a stream. `Err`: what was answered instead.
    pub async fn open(addr: SocketAddr, kind: Kind, path: &str) -> Result<Self, Result<Answer, Lost>> {
        Self::open_with(addr, kind, Request::get(path)).await
    }

    pub async fn open_with(addr: SocketAddr, kind: Kind, request: Request) -> Result<Self, Result<Answer, Lost>> {
        let lost = |e: std::io::Error| Err(Lost::NotSent(e.to_string()));
        let inner = match kind {
            Kind::Socket => {
                let stream = TcpStream::connect(addr).await.map_err(lost)?;
                let url = format!("ws://{addr}{}", request.path);
                match tokio_tungstenite::client_async(url, stream).await {
                    Ok((socket, _)) => Inner::Socket(Box::new(socket)),
                    Err(Error::Http(_)) => return Err(Self::refusal(addr, request).await),
                    Err(error) => return Err(Err(Lost::NoAnswer(error.to_string()))),
                }
            }
            Kind::Sse | Kind::Lines => {
                let accept = if kind == Kind::Sse { "text/event-stream" } else { "application/x-ndjson" };
                let request = request.header("accept", accept);
                let mut stream = BufReader::new(TcpStream::connect(addr).await.map_err(lost)?);
                stream.get_mut().write_all(&request.to_bytes()).await.map_err(lost)?;
                let (status, headers) = super::http::read_head(&mut stream).await.map_err(Err)?;
                if status != 200 {
                    return Err(Self::refusal(addr, request).await);
                }
                assert!(headers.contains(&("content-type".into(), accept.into())), "{headers:?}");
                Inner::Body { stream, is_sse: kind == Kind::Sse, text: Vec::new(), at: 0 }
            }
        };
        Ok(Self { inner, closed: None, retries: Vec::new() })
    }

    /// The same again as a plain request, to see the problem.
    async fn refusal(addr: SocketAddr, request: Request) -> Result<Answer, Lost> {
        Connection::to(addr).timeout(Duration::from_secs(8)).send(&request).await
    }

    /// The next message. `None`: the stream has ended.
    pub async fn next(&mut self) -> Option<Said> {
        match &mut self.inner {
            Inner::Body { .. } => loop {
                if let Some(said) = self.parse() {
                    return Some(said);
                }
                self.more().await?;
            },
            Inner::Socket(socket) => loop {
                match socket.next().await? {
                    Ok(Message::Text(text)) => return Some(line(text.as_str())),
                    Ok(Message::Close(frame)) => {
                        self.closed = frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                        return None;
                    }
                    Ok(Message::Ping(_) | Message::Pong(_)) => {}
                    Ok(other) => panic!("a frame of another kind: {other:?}"),
                    Err(_) => return None,
                }
            },
        }
    }

    /// The next message, which must come in time.
    #[track_caller]
    pub fn soon(&mut self) -> impl Future<Output = Said> {
        let caller = std::panic::Location::caller();
        async move {
            match tokio::time::timeout(Duration::from_secs(10), self.next()).await {
                Ok(Some(said)) => said,
                Ok(None) => panic!("the stream ended (from {caller})"),
                Err(_) => panic!("the stream is silent (from {caller})"),
            }
        }
    }

    /// The next message that is no bookmark.
    #[track_caller]
    pub fn news(&mut self) -> impl Future<Output = Said> {
        let caller = std::panic::Location::caller();
        async move {
            loop {
                match tokio::time::timeout(Duration::from_secs(10), self.next()).await {
                    Ok(Some(said)) if said.kind == "bookmark" => {}
                    Ok(Some(said)) => return said,
                    Ok(None) => panic!("the stream ended (from {caller})"),
                    Err(_) => panic!("the stream is silent (from {caller})"),
                }
            }
        }
    }

    /// Reads one chunk of the body. `None`: there are no more.
    async fn more(&mut self) -> Option<()> {
        let Inner::Body { stream, text, at, .. } = &mut self.inner else { return None };
        text.drain(..*at);
        *at = 0;
        let mut size = String::new();
        if stream.read_line(&mut size).await.ok()? == 0 {
            return None;
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or_else(|_| panic!("chunk size {size:?}"));
        let start = text.len();
        text.resize(start + size, 0);
        stream.read_exact(&mut text[start..]).await.ok()?;
        let mut end = [0; 2];
        stream.read_exact(&mut end).await.ok()?;
        (size > 0).then_some(())
    }

    /// A whole message from what was read.
    fn parse(&mut self) -> Option<Said> {
        let Inner::Body { is_sse, text, at, .. } = &mut self.inner else { return None };
        loop {
            let rest = std::str::from_utf8(&text[*at..]).expect("messages are UTF-8, and chunks hold whole ones");
            let end = if *is_sse { "\n\n" } else { "\n" };
            let (message, _) = rest.split_once(end)?;
            *at += message.len() + end.len();
            if !*is_sse {
                return Some(line(message));
            }
            let mut said = Said { kind: String::new(), position: None, data: Value::Null };
            for field in message.lines() {
                match field.split_once(": ") {
                    Some(("event", kind)) => said.kind = kind.to_owned(),
                    Some(("id", id)) => said.position = Some(id.parse().expect("an id is a position")),
                    Some(("data", data)) => said.data = serde_json::from_str(data).expect("data is JSON"),
                    Some(("retry", ms)) => self.retries.push(ms.parse().expect("milliseconds")),
                    Some(("", _)) => {}
                    _ => panic!("not a field of an event: {field:?}"),
                }
            }
            if !said.kind.is_empty() {
                return Some(said);
            }
        }
    }
}

fn line(text: &str) -> Said {
    let mut data: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("not JSON ({e}): {text}"));
    let fields = data.as_object_mut().expect("an object");
    let kind = fields.remove("type").and_then(|kind| Some(kind.as_str()?.to_owned())).expect("a type");
    let position = fields.remove("position").expect("a position, null in a snapshot").as_u64();
    Said { kind, position, data }
}
