//! One POST to a receiver: resolve, check every address, connect to one that was checked, send, read the status.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::address::is_public;
use crate::domain::inventory::split_url;
use crate::domain::webhook::{AttemptResult, DeliveryError};
use crate::service::limits::{CONNECT_WITHIN, LOOKUPS_AT_ONCE_MAX, RESPONSE_BYTES_MAX};

const CONTENT: &str = "application/cloudevents+json";
const AGENT: &str = concat!("lastseat/", env!("CARGO_PKG_VERSION"));

pub(super) struct Client {
    allow_private: bool,
    /// Made when the first receiver wants TLS: it reads the system's roots.
    tls: OnceCell<TlsConnector>,
    lookups: Arc<Semaphore>,
}

/// What is sent.
pub(super) struct Post {
    pub url: String,
    pub id: String,
    pub timestamp_s: u64,
    pub signatures: String,
    pub body: Bytes,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posted {
    pub result: AttemptResult,
    /// The receiver wants to be left alone for so long.
    pub retry_after: Option<Duration>,
    pub took: Duration,
}

/// A connection that is kept between messages to the same url. Closed when dropped.
#[derive(Default)]
pub(super) struct Line(Option<SendRequest<Full<Bytes>>>);

impl Line {
    pub(super) fn close(&mut self) {
        self.0 = None;
    }
}

impl Client {
    pub(super) fn new(allow_private: bool) -> Self {
        Self { allow_private, tls: OnceCell::new(), lookups: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE_MAX)) }
    }

    /// Sends once, within this time in all. A kept connection that turns out to be closed is replaced.
    pub(super) async fn post(&self, line: &mut Line, post: &Post, within: Duration) -> Posted {
        let started = Instant::now();
        let (result, retry_after) = match timeout(within, self.exchange(line, post)).await {
            Ok(Ok(answer)) => {
                let wait = retry_after(answer.headers());
                let status = AttemptResult::Status(answer.status().as_u16());
                // The status is what counts; the rest is read only to keep the connection.
                let left = within.saturating_sub(started.elapsed());
                if !timeout(left, is_short(answer.into_body())).await.unwrap_or(false) {
                    line.close();
                }
                (status, wait)
            }
            Ok(Err(error)) => {
                line.close();
                (AttemptResult::Failed(error), None)
            }
            Err(_) => {
                line.close();
                (AttemptResult::Failed(DeliveryError::Timeout), None)
            }
        };
        Posted { result, retry_after, took: started.elapsed() }
    }

    async fn exchange(&self, line: &mut Line, post: &Post) -> Result<Response<Incoming>, DeliveryError> {
        let uri: Uri = post.url.parse().map_err(|_| DeliveryError::Url)?;
        if let Some(mut kept) = line.0.take()
            && kept.ready().await.is_ok()
            && let Ok(answer) = kept.send_request(request(&uri, post)?).await
        {
            line.0 = Some(kept);
            return Ok(answer);
        }
        let mut fresh = self.connect(&post.url).await?;
        let answer = fresh.send_request(request(&uri, post)?).await.map_err(|_| DeliveryError::Broken)?;
        line.0 = Some(fresh);
        Ok(answer)
    }

    async fn connect(&self, url: &str) -> Result<SendRequest<Full<Bytes>>, DeliveryError> {
        let (tls, host, port) = split_url(url).map_err(|_| DeliveryError::Url)?;
        let addresses = self.resolve(host, port).await?;
        let stream = timeout(CONNECT_WITHIN, tcp(&addresses)).await.map_err(|_| DeliveryError::Connect)??;
        if !tls {
            return handshake(stream).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| DeliveryError::Url)?;
        let secured = self.tls().await?.connect(name, stream);
        let secured = timeout(CONNECT_WITHIN, secured).await.map_err(|_| DeliveryError::Tls)?;
        handshake(secured.map_err(|_| DeliveryError::Tls)?).await
    }

    /// The addresses of a host, if every one of them may be reached. These, and no others, are connected to.
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DeliveryError> {
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.look_up(host.to_owned(), port).await.map_err(|_| DeliveryError::Dns)?,
        };
        if found.is_empty() {
            return Err(DeliveryError::Dns);
        }
        if !self.allow_private && !found.iter().all(|address| is_public(address.ip())) {
            return Err(DeliveryError::Forbidden);
        }
        Ok(found)
    }

    /// On a thread, because the system's resolver blocks. The place is given back by the thread: one whose caller has
    /// given up still counts.
    async fn look_up(&self, host: String, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let place = Arc::clone(&self.lookups).acquire_owned().await.expect("the semaphore is never closed");
        let looking = tokio::task::spawn_blocking(move || {
            let found = (host, port).to_socket_addrs().map(Iterator::collect);
            drop(place);
            found
        });
        looking.await.map_err(std::io::Error::other)?
    }

    async fn tls(&self) -> Result<&TlsConnector, DeliveryError> {
        let make = || async {
            let made = tokio::task::spawn_blocking(connector).await;
            made.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        };
        self.tls.get_or_try_init(make).await.map_err(|why| {
            tracing::error!(%why, "webhooks cannot use TLS");
            DeliveryError::Tls
        })
    }
}

/// TLS with ring and the system's roots.
fn connector() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(format!("no root certificates were found; install ca-certificates: {:?}", found.errors));
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

async fn tcp(addresses: &[SocketAddr]) -> Result<TcpStream, DeliveryError> {
    for address in addresses {
        if let Ok(stream) = TcpStream::connect(address).await {
            stream.set_nodelay(true).map_err(|_| DeliveryError::Connect)?;
            return Ok(stream);
        }
    }
    Err(DeliveryError::Connect)
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, DeliveryError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(RESPONSE_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| DeliveryError::Broken)?;
    // Ends with the connection or with the sender; whoever sends sees an error then, and that is all there is to notice.
    tokio::spawn(connection);
    Ok(sender)
}

fn request(uri: &Uri, post: &Post) -> Result<Request<Full<Bytes>>, DeliveryError> {
    let authority = uri.authority().ok_or(DeliveryError::Url)?.as_str();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, CONTENT)
        .header("webhook-id", &post.id)
        .header("webhook-timestamp", post.timestamp_s)
        .header("webhook-signature", &post.signatures)
        .body(Full::new(post.body.clone()))
        .map_err(|_| DeliveryError::Url)
}

/// Reads what the receiver says and drops it. False: it says too much, or broke off.
async fn is_short(mut body: Incoming) -> bool {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > RESPONSE_BYTES_MAX {
            return false;
        }
    }
    true
}

/// Seconds only: a date would be compared with a clock that nobody vouches for.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(url: &str) -> Post {
        let (id, signatures) = ("msg_1".to_owned(), "v1,x".to_owned());
        Post { url: url.to_owned(), id, timestamp_s: 1, signatures, body: Bytes::new() }
    }

    async fn failure(allow_private: bool, url: &str) -> AttemptResult {
        let client = Client::new(allow_private);
        client.post(&mut Line::default(), &post(url), Duration::from_secs(5)).await.result
    }

    #[tokio::test]
    async fn private_addresses_are_refused_by_number_and_by_name() {
        for url in [
            "http://127.0.0.1:1/",
            "http://[::1]:1/",
            "http://localhost:1/",
            "http://169.254.169.254/",
            "http://0x7f.1/",
        ] {
            assert_eq!(failure(false, url).await, AttemptResult::Failed(DeliveryError::Forbidden), "{url}");
        }
        assert_eq!(failure(true, "http://127.0.0.1:1/").await, AttemptResult::Failed(DeliveryError::Connect));
        assert_eq!(failure(true, "http://no-such-host.invalid/").await, AttemptResult::Failed(DeliveryError::Dns));
    }
}
