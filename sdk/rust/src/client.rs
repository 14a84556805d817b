//! The client: which nodes there are, and a constructor for each command and read.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::Call;
use crate::read::Read;
use crate::requests::{Batch, Book, EventDefinition, EventPatch, NewNode, Reserve};
use crate::transport::Transport;
use crate::types::{
    Audit, BatchResults, Blocked, Cancelled, Cluster, Deleted, Event, EventPage, Hold, Item, Order, OrderPage,
    RecordedOutcome, Released, Seat, SeatPage, StateHash, Voided,
};

/// How long an intent is pursued unless the call says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// How long one attempt on one node may take unless the call says otherwise.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    #[error("no server given; give at least one URL such as http://127.0.0.1:7401")]
    NoServer,
    #[error("{url:?} is not the URL of a server ({why}); give one such as http://127.0.0.1:7401")]
    BadUrl { url: String, why: String },
}

/// Talks to a cluster through any of its nodes. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) transport: Transport,
    /// Base URLs without a slash at the end.
    pub(crate) nodes: Vec<String>,
    /// Index of the node to ask first: the leader, as far as known.
    preferred: AtomicUsize,
}

impl Client {
    /// A client of the cluster whose nodes have these URLs. One is enough, more survive its death.
    ///
    /// Nothing is sent yet. Refuses what is not an `http://` URL.
    pub fn new<S: AsRef<str>>(urls: impl IntoIterator<Item = S>) -> Result<Self, ClientError> {
        let nodes = urls.into_iter().map(|url| base_url(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() {
            return Err(ClientError::NoServer);
        }
        let inner = Inner { transport: Transport::new(), nodes, preferred: AtomicUsize::new(0) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The nodes' URLs, as given.
    pub fn urls(&self) -> &[String] {
        &self.inner.nodes
    }

    /// Makes an event, or replaces the definition of the one there is.
    pub fn define(&self, event: &str, definition: &EventDefinition) -> Call<Event> {
        self.command(Method::PUT, event_path(event, ""), Some(definition))
    }

    pub fn change(&self, event: &str, patch: &EventPatch) -> Call<Event> {
        self.command(Method::PATCH, event_path(event, ""), Some(patch))
    }

    /// `force`: also when something is held or booked.
    pub fn delete(&self, event: &str, force: bool) -> Call<Deleted> {
        let query = if force { "?force=true" } else { "" };
        self.command(Method::DELETE, event_path(event, query), None::<&()>)
    }

    pub fn reserve(&self, event: &str, reserve: Reserve) -> Call<Hold> {
        self.command(Method::POST, event_path(event, "/reserve"), Some(&reserve))
    }

    pub fn extend(&self, event: &str, token: &str, ttl_ms: u64) -> Call<Hold> {
        let body = serde_json::json!({"token": token, "ttl_ms": ttl_ms});
        self.command(Method::POST, event_path(event, "/extend"), Some(&body))
    }

    pub fn book(&self, event: &str, book: Book) -> Call<Order> {
        self.command(Method::POST, event_path(event, "/book"), Some(&book))
    }

    /// `items: None`: all of the hold.
    pub fn release(&self, event: &str, token: &str, items: Option<&[Item]>) -> Call<Released> {
        let body = with_items(serde_json::json!({"token": token}), items);
        self.command(Method::POST, event_path(event, "/release"), Some(&body))
    }

    /// `items: None`: all of the order.
    pub fn cancel(&self, event: &str, order: &str, items: Option<&[Item]>) -> Call<Cancelled> {
        let body = with_items(serde_json::json!({"order": order}), items);
        self.command(Method::POST, event_path(event, "/cancel"), Some(&body))
    }

    pub fn block(&self, event: &str, items: &[Item], reason: Option<&str>) -> Call<Blocked> {
        self.command(Method::POST, event_path(event, "/block"), Some(&staff_body(items, reason)))
    }

    pub fn unblock(&self, event: &str, items: &[Item], reason: Option<&str>) -> Call<Blocked> {
        self.command(Method::POST, event_path(event, "/unblock"), Some(&staff_body(items, reason)))
    }

    pub fn batch(&self, batch: &Batch) -> Call<BatchResults> {
        self.command(Method::POST, "/v1/batch".into(), Some(batch))
    }

    /// Makes an unknown definite: what happened under `key`, or never.
    pub fn void(&self, key: &str) -> Call<Voided> {
        self.command(Method::POST, format!("/v1/outcomes/{}/void", path_segment(key)), None::<&()>)
    }

    /// Forms a cluster of nodes that wait for it. Sent to the first of the client's nodes that answers.
    pub fn cluster_init(&self, nodes: &[NewNode]) -> Call<serde_json::Value> {
        let body = serde_json::json!({"nodes": nodes});
        self.command(Method::POST, "/v1/cluster/init".into(), Some(&body)).without_key()
    }

    /// Adds a node that waits on an empty folder.
    pub fn cluster_join(&self, node: &NewNode) -> Call<serde_json::Value> {
        self.command(Method::POST, "/v1/cluster/members".into(), Some(node)).without_key()
    }

    /// Removes a node for ever.
    pub fn cluster_leave(&self, id: u64) -> Call<serde_json::Value> {
        self.command(Method::DELETE, format!("/v1/cluster/members/{id}"), None::<&()>).without_key()
    }

    /// `to: None`: to whichever node is best.
    pub fn transfer_leader(&self, to: Option<u64>) -> Call<serde_json::Value> {
        let body = to.map_or_else(|| serde_json::json!({}), |id| serde_json::json!({"to": id}));
        self.command(Method::POST, "/v1/cluster/transfer-leader".into(), Some(&body)).without_key()
    }

    pub fn events(&self, limit: Option<u64>, after: Option<&str>) -> Read<EventPage> {
        self.read("/v1/events").query("limit", limit).query("after", after)
    }

    pub fn event(&self, event: &str) -> Read<Event> {
        self.read(event_path(event, ""))
    }

    /// Every seat at one version. To filter or page: [`Read::query`] with `status`, `section`, `category`, `limit`,
    /// `after`.
    pub fn seats(&self, event: &str) -> Read<SeatPage> {
        self.read(event_path(event, "/seats"))
    }

    pub fn seat(&self, event: &str, seat: &str) -> Read<Seat> {
        self.read(event_path(event, &format!("/seats/{}", path_segment(seat))))
    }

    pub fn hold(&self, event: &str, token: &str) -> Read<Hold> {
        self.read(event_path(event, &format!("/holds/{}", path_segment(token))))
    }

    pub fn order(&self, event: &str, order: &str) -> Read<Order> {
        self.read(event_path(event, &format!("/orders/{}", path_segment(order))))
    }

    /// Filter and page by [`Read::query`] with `customer`, `limit`, `after`.
    pub fn orders(&self, event: &str) -> Read<OrderPage> {
        self.read(event_path(event, "/orders"))
    }

    /// Counts recomputed from the records.
    pub fn audit(&self, event: &str) -> Read<Audit> {
        self.read(event_path(event, "/audit"))
    }

    /// What is recorded under a key; 404 `outcome_not_found`: not decided so far.
    pub fn outcome(&self, key: &str) -> Read<RecordedOutcome> {
        self.read(format!("/v1/outcomes/{}", path_segment(key)))
    }

    pub fn cluster(&self) -> Read<Cluster> {
        self.read("/v1/cluster")
    }

    /// The state hash of whichever node answers; make a client of one URL to ask a certain one.
    pub fn state_hash(&self) -> Read<StateHash> {
        self.read("/v1/cluster/state-hash")
    }

    /// Any other read.
    pub fn read<T: DeserializeOwned>(&self, path: impl Into<String>) -> Read<T> {
        Read::new(self.clone(), path.into())
    }

    /// Any other command.
    pub fn command<T: DeserializeOwned>(&self, method: Method, path: String, body: Option<&impl Serialize>) -> Call<T> {
        let body = body.map(|value| serde_json::to_vec(value).expect("plain values always serialize"));
        Call::new(self.clone(), method, path, body.map(Bytes::from))
    }

    /// Asks the first node once for `path`, such as `/livez`: the status and text it answers.
    pub async fn probe(&self, path: &str, within: Duration) -> Result<(u16, String), String> {
        let uri = self.inner.uri(0, path).map_err(|error| error.to_string())?;
        let sent = self.inner.transport.send(&Method::GET, uri, &HeaderMap::new(), Bytes::new(), within).await;
        match sent {
            Ok(answer) => Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned())),
            Err(crate::transport::Failure::NotSent(why) | crate::transport::Failure::Lost(why)) => Err(why),
        }
    }
}

impl Inner {
    pub(crate) fn uri(&self, node: usize, path: &str) -> Result<Uri, http::uri::InvalidUri> {
        format!("{}{path}", self.nodes[node % self.nodes.len()]).parse()
    }

    pub(crate) fn first_node(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// `node` answered. From now on it is asked first, or the leader it names if that is one of ours.
    pub(crate) fn answered(&self, node: usize, headers: &HeaderMap) {
        let leader = headers.get("lastseat-leader").and_then(|value| value.to_str().ok());
        let named = leader.and_then(|url| self.nodes.iter().position(|known| known == url.trim_end_matches('/')));
        self.preferred.store(named.unwrap_or(node % self.nodes.len()), Ordering::Relaxed);
    }
}

fn base_url(url: &str) -> Result<String, ClientError> {
    let bad = |why: &str| ClientError::BadUrl { url: url.to_owned(), why: why.to_owned() };
    let trimmed = url.trim().trim_end_matches('/');
    let uri: Uri = trimmed.parse().map_err(|error: http::uri::InvalidUri| bad(&error.to_string()))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(bad("TLS is not supported yet")),
        Some(_) | None => return Err(bad("it has to begin with http://")),
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(bad("it has no host"));
    }
    if uri.query().is_some() {
        return Err(bad("it has a query"));
    }
    Ok(trimmed.to_owned())
}

/// Percent-encodes an id for use as one segment of a path.
pub fn path_segment(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    // `.` and `..` alone are no names to a path, only directions.
    let dots = id == "." || id == "..";
    for byte in id.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'~') || (byte == b'.' && !dots);
        if plain {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    out
}

pub(crate) fn event_path(event: &str, rest: &str) -> String {
    format!("/v1/events/{}{rest}", path_segment(event))
}

fn with_items(mut body: serde_json::Value, items: Option<&[Item]>) -> serde_json::Value {
    if let Some(items) = items {
        body["items"] = serde_json::json!(items);
    }
    body
}

fn staff_body(items: &[Item], reason: Option<&str>) -> serde_json::Value {
    let mut body = serde_json::json!({"items": items});
    if let Some(reason) = reason {
        body["reason"] = reason.into();
    }
    body
}
