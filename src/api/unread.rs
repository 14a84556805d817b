//! What hyper refuses before any route sees it, answered like everything else: as a problem.
//!
//! ```text
//!   hyper ── write ──▶ ProblemIo ── write ──▶ TcpStream
//!              │ HTTP/1.1 400, 414 or 431 without a body
//!              └▶ dropped; the router is told, and what it answers is written instead, `Connection: close`
//! ```
//!
//! hyper has no hook for these. They are told apart without a doubt: every answer of the router has a `Request-Id`, and
//! hyper's own is always the last thing written on its connection.
//!
//! Not here: a head that does not arrive in time. There is nothing to answer, and the connection is closed.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode, Version};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::Service;

use super::front::Front;
use super::problem::{Problem, too_long_head};

/// More than the longest head that hyper writes by itself.
const OWN_HEAD_BYTES_MAX: usize = 256;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Marks the request that stands for one that could not be read, and says why it could not.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unread {
    /// With which status hyper refused it.
    Refused(StatusCode),
    /// Over HTTP/1.1, without its host or with several.
    NoHost,
}

impl Unread {
    /// No route has this path. The method makes no time series.
    pub(super) fn request(self) -> Request<Body> {
        let request = Request::builder().method("UNREAD").uri("/unread");
        let mut request = request.body(Body::empty()).expect("a valid request");
        request.extensions_mut().insert(self);
        request
    }
}

impl From<Unread> for Problem {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::NoHost => {
                Problem::malformed("The request must say once which host it is for; send exactly one Host header.")
            }
            Unread::Refused(StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => too_long_head(),
            Unread::Refused(_) => Problem::malformed(
                "The request line or a header cannot be read as HTTP; correct it and send it again on a new connection.",
            ),
        }
    }
}

/// A connection whose every refusal has a body.
pub(super) struct ProblemIo<I> {
    io: I,
    front: Front,
    /// What is to be written in place of hyper's own answer.
    answer: Bytes,
}

impl<I: AsyncWrite + Unpin> ProblemIo<I> {
    pub(super) fn new(io: I, front: Front) -> Self {
        Self { io, front, answer: Bytes::new() }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.answer.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.answer))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(self.answer.split_to(written)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ProblemIo<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(cx))?;
        match own_head(bytes) {
            None => Pin::new(&mut self.io).poll_write(cx, bytes),
            // What stands before it belongs to another answer. The head then comes again, whole, with nothing before it.
            Some((at @ 1.., _)) => Pin::new(&mut self.io).poll_write(cx, &bytes[..at]),
            Some((0, status)) => match answer(&mut self.front, status, bytes) {
                Some(answer) => {
                    self.answer = answer;
                    Poll::Ready(Ok(bytes.len()))
                }
                None => Pin::new(&mut self.io).poll_write(cx, bytes),
            },
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(cx))?;
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        match filled.clone().next_back().and_then(|last| own_head(last)) {
            None => Pin::new(&mut self.io).poll_write_vectored(cx, slices),
            // One slice at a time, until that head stands alone.
            Some(_) => {
                let first = filled.next().expect("the last one is one of them");
                self.poll_write(cx, first)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ProblemIo<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

/// Where hyper's own refusal begins in these bytes, if they end with one, and its status. Costs a comparison of four
/// bytes for all that ends with a body.
fn own_head(bytes: &[u8]) -> Option<(usize, StatusCode)> {
    let before_end = bytes.strip_suffix(HEAD_END)?;
    let tail = &before_end[before_end.len().saturating_sub(OWN_HEAD_BYTES_MAX)..];
    let at = tail.windows(9).rposition(|some| some.starts_with(b"HTTP/1.") && some[8] == b' ')?;
    let mut lines = std::str::from_utf8(&tail[at..]).ok()?.split("\r\n");
    let status = lines.next()?.get(9..12)?.parse().ok()?;
    let is_refusal = matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    let (mut is_empty, mut is_own) = (false, true);
    for line in lines {
        match line.split_once(": ") {
            Some(("content-length", length)) => is_empty = length == "0",
            Some(("date" | "connection", _)) => {}
            _ => is_own = false,
        }
    }
    (is_refusal && is_empty && is_own).then(|| (before_end.len() - tail.len() + at, status))
}

/// The router's answer to a request that could not be read, as it goes over the wire.
fn answer(front: &mut Front, status: StatusCode, own: &[u8]) -> Option<Bytes> {
    // This one is asked for no host.
    let mut request = Unread::Refused(status).request();
    *request.version_mut() = Version::HTTP_10;
    // Nothing on this way waits for anything.
    let response: Response<Body> = front.call(request).now_or_never()?.unwrap_or_else(|never| match never {});
    let (parts, body) = response.into_parts();
    let body = body.collect().now_or_never()?.ok()?.to_bytes();
    let mut wire = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    let mut line = |name: &[u8], value: &[u8]| wire.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
    for (name, value) in &parts.headers {
        line(name.as_ref(), value.as_bytes());
    }
    line(b"content-length", body.len().to_string().as_bytes());
    line(b"connection", b"close");
    let date = std::str::from_utf8(own).ok()?.split("\r\n").find_map(|line| line.strip_prefix("date: "));
    if let Some(date) = date {
        line(b"date", date.as_bytes());
    }
    wire.extend_from_slice(b"\r\n");
    wire.extend_from_slice(&body);
    Some(Bytes::from(wire))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::api::tests::canned::unreached;

    const EARLIER: &[u8] = b"HTTP/1.1 304 Not Modified\r\nrequest-id: a\r\ncontent-length: 0\r\n\r\n";
    const OWN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";

    /// Takes a few bytes at a time, and makes everyone wait before each.
    struct Slow {
        taken: Vec<u8>,
        at_once: usize,
        ready: bool,
    }

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.ready = !self.ready;
            if self.ready {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let some = &bytes[..bytes.len().min(self.at_once)];
            self.taken.extend_from_slice(some);
            Poll::Ready(Ok(some.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What arrives when all of `slices` is written as hyper writes: what was not taken is given again.
    async fn written(slices: &[&[u8]], at_once: usize) -> String {
        let io = Slow { taken: Vec::new(), at_once, ready: false };
        let mut io = ProblemIo::new(io, unreached().into());
        let mut left: Vec<&[u8]> = slices.to_vec();
        while left.iter().any(|slice| !slice.is_empty()) {
            let now: Vec<_> = left.iter().map(|slice| IoSlice::new(slice)).collect();
            let mut taken = poll_fn(|cx| Pin::new(&mut io).poll_write_vectored(cx, &now)).await.expect("it takes");
            assert!(taken > 0);
            for slice in &mut left {
                let some = taken.min(slice.len());
                *slice = &slice[some..];
                taken -= some;
            }
        }
        poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await.expect("it closes");
        String::from_utf8(io.io.taken).expect("text")
    }

    #[tokio::test]
    async fn however_it_is_written_only_the_own_head_is_replaced() {
        let earlier = std::str::from_utf8(EARLIER).expect("text");
        let joined = [EARLIER, OWN].concat();
        let ways: [&[&[u8]]; 4] = [&[OWN], &[EARLIER, OWN], &[&joined], &[b"", EARLIER, &joined, b""]];
        for (slices, before) in ways.into_iter().zip([0, 1, 1, 2]) {
            for at_once in [1, 7, 64, 10_000] {
                let text = written(slices, at_once).await;
                let rest = text.strip_prefix(&earlier.repeat(before)).unwrap_or_else(|| panic!("{text}"));
                assert!(rest.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
                assert!(rest.contains("date: now\r\n") && rest.ends_with('}'), "{text}");
                assert_eq!(rest.matches("HTTP/1.1").count(), 1, "{text}");
            }
        }
    }

    #[tokio::test]
    async fn everything_else_passes_as_it_is() {
        let own = std::str::from_utf8(OWN).expect("text");
        let others = [
            std::str::from_utf8(EARLIER).expect("text").to_owned(),
            own.replace("date", "request-id"),
            own.replace("400", "200"),
            own.replace("content-length: 0", "content-length: 9"),
            format!("{own}{{}}"),
            "\r\n\r\n".to_owned(),
            format!("a body\r\n{}\r\n\r\n", "x".repeat(500)),
        ];
        for text in others {
            assert_eq!(written(&[text.as_bytes()], 64).await, text);
        }
    }
}
