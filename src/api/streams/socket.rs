//! The WebSocket around a feed: each line a text frame.

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures_util::SinkExt;

use super::super::Api;
use super::feed::Feed;
use super::meter::End;

/// A client has nothing to say here. What it says all the same is read up to this size and not looked at.
const CLIENT_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// What may wait to be written. A frame that is longer goes out by itself.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// Answers the handshake; the stream then runs on its own.
pub(super) fn accept(api: &Api, upgrade: WebSocketUpgrade, feed: Feed) -> Response {
    let open = api.options().sockets.token();
    upgrade
        .max_message_size(CLIENT_MESSAGE_BYTES_MAX)
        .max_frame_size(CLIENT_MESSAGE_BYTES_MAX)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .on_upgrade(async move |socket| {
            run(socket, feed).await;
            drop(open);
        })
}

async fn run(mut socket: WebSocket, mut feed: Feed) {
    loop {
        tokio::select! {
            // A peer that is gone, or breaks the protocol, ends its stream.
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                // The library answers pings by itself.
                Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
            },
            lines = feed.next() => {
                let sent = match lines {
                    Some(lines) => send(&mut socket, &lines).await,
                    None => {
                        let _ = socket.send(Message::Close(Some(goodbye(feed.end())))).await;
                        return;
                    }
                };
                if sent.is_err() {
                    return;
                }
            }
        }
    }
}

/// Sends each line as a frame, all of them in as few writes as possible.
async fn send(socket: &mut WebSocket, lines: &Bytes) -> Result<(), axum::Error> {
    let mut start = 0;
    while let Some(length) = lines[start..].iter().position(|byte| *byte == b'\n') {
        let line = lines.slice(start..start + length);
        let text = Utf8Bytes::try_from(line).map_err(axum::Error::new)?;
        socket.feed(Message::Text(text)).await?;
        start += length + 1;
    }
    socket.flush().await
}

fn goodbye(end: End) -> CloseFrame {
    let (code, reason) = match end {
        End::Client => (close_code::NORMAL, "done"),
        End::Deleted => (close_code::NORMAL, "the event was deleted"),
        End::Stopping => (close_code::AWAY, "the node stops; connect to another"),
        End::Lagged => (close_code::AGAIN, "too slow; connect again after your position"),
    };
    CloseFrame { code, reason: reason.into() }
}
