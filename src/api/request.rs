//! A request as the handlers see it: headers, path, query and body, each read once, each with an error that says what
//! to do.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::Api;
use super::problem::{Problem, ProblemCode, too_large};
use super::room::{BODY_FREE_BYTES, Room, Rooms};
use super::wire::{self, Name, ParseName};
use crate::domain::id::Key;
use crate::domain::value::{Millis, Version};
use crate::service::Context;

/// Largest body of most routes, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Largest body of `POST /v1/batch`.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// Largest body of `PUT /v1/events/{event}`.
pub const DEFINITION_BYTES_MAX: usize = 32 << 20;
/// Longest time a client may take to send a body.
pub const BODY_READ_MAX: Duration = Duration::from_secs(60);
/// How long a request may take if it does not say.
pub const TIMEOUT_MS_DEFAULT: u64 = 5_000;
/// The longest it may ask for.
pub const TIMEOUT_MS_MAX: u64 = 30_000;
/// Longest `Request-Id` that is taken over, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
pub const REQUEST_ID: &str = "request-id";
pub const REQUEST_TIMEOUT_MS: &str = "request-timeout-ms";
pub const NOT_AFTER: &str = "not-after";
pub const LAST_EVENT_ID: &str = "last-event-id";

/// The request's id: the client's, or made here. Put into the request by the edge.
#[derive(Debug, Clone)]
pub struct RequestId(pub axum::http::HeaderValue);

impl RequestId {
    /// Takes the client's over if it is printable and not too long.
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).filter(|value| {
            let bytes = value.as_bytes();
            (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
        });
        Self(given.cloned().unwrap_or_else(|| {
            axum::http::HeaderValue::from_str(
                crate::service::stamp::timely_uuid().hyphenated().encode_lower(&mut [0; 36]),
            )
            .expect("a UUID is hexadecimal digits and hyphens")
        }))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("only printable ASCII is taken over or made")
    }
}

/// Headers of every command.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only a schema: `Call::context` reads them")]
pub struct CommandHeaders<'a> {
    /// The client's name of this intent: the same key gives the same answer. Made by the node if left out, and always
    /// returned.
    #[param(rename = "Idempotency-Key", required = false)]
    idempotency_key: Option<Name<'a>>,
    /// Refused with `deadline_passed` when the cluster's clock is past it (RFC 3339).
    #[param(rename = "Not-After", required = false, format = DateTime)]
    not_after: Option<String>,
    /// How long to wait for the answer, 5,000 if left out.
    #[param(rename = "Request-Timeout-Ms", required = false, minimum = 1, maximum = 30000)]
    request_timeout_ms: Option<u64>,
    /// Returned as it is; made by the node if left out.
    #[param(rename = "Request-Id", required = false)]
    request_id: Option<String>,
}

/// One request.
pub struct Call {
    pub arrived: Instant,
    pub request_id: RequestId,
    parts: Parts,
    /// Never locked, only owned: a body alone cannot be seen from two threads, and so neither could the call.
    body: Mutex<Body>,
    path: Result<RawPathParams, ()>,
}

impl<S: Send + Sync> FromRequest<S> for Call {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let arrived = Instant::now();
        let (mut parts, body) = request.into_parts();
        let path = RawPathParams::from_request_parts(&mut parts, state).await.map_err(|_| ());
        let request_id = parts.extensions.remove::<RequestId>().unwrap_or_else(|| RequestId::of(&parts.headers));
        Ok(Self { arrived, request_id, parts, body: Mutex::new(body), path })
    }
}

impl Call {
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    pub fn path_and_query(&self) -> &str {
        self.parts.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// A segment of the path, decoded but not yet checked.
    pub fn segment(&self, name: &str) -> Result<&str, Problem> {
        let params = self.path.as_ref().map_err(|()| {
            Problem::malformed("The path is not UTF-8 after percent-decoding; percent-encode each segment as UTF-8.")
        })?;
        let found = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
        Ok(found.unwrap_or_default())
    }

    /// A segment of the path that is a name.
    pub fn id<T: ParseName>(&self, segment: &str) -> Result<T, Problem> {
        Ok(wire::name(self.segment(segment)?, format_args!("The {segment} in the path"))?)
    }

    /// The key in the path: also that of a command in an independent batch, which may be longer than a name.
    pub fn asked_key(&self) -> Result<Key, Problem> {
        Ok(wire::key_asked_for(self.segment("key")?, "The key in the path")?)
    }

    /// The whole query. Parameters that the route does not know are refused.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        axum::extract::Query::<T>::try_from_uri(&self.parts.uri).map(|query| query.0).map_err(|rejection| {
            let why = std::error::Error::source(&rejection).map_or_else(|| rejection.to_string(), ToString::to_string);
            Problem::malformed(format!("The query cannot be read: {why}. Correct or leave out that parameter."))
        })
    }

    /// When the answer must be there.
    pub fn deadline(&self) -> Result<Instant, Problem> {
        let timeout_ms = match self.header(REQUEST_TIMEOUT_MS)? {
            None => TIMEOUT_MS_DEFAULT,
            Some(text) => match text.parse() {
                Ok(ms @ 1..=TIMEOUT_MS_MAX) => ms,
                _ => {
                    return Err(Problem::invalid(format!(
                        "Header Request-Timeout-Ms is {text:?}; give whole milliseconds from 1 to {TIMEOUT_MS_MAX}."
                    )));
                }
            },
        };
        Ok(self.arrived + Duration::from_millis(timeout_ms))
    }

    /// The client's idempotency key.
    pub fn key(&self) -> Result<Option<Key>, Problem> {
        let Some(text) = self.header(IDEMPOTENCY_KEY)? else { return Ok(None) };
        Ok(Some(wire::name(text, "Header Idempotency-Key")?))
    }

    /// What comes with a command besides its body. `If-Match` is read only where there is a definition to match.
    pub fn context(&self, takes_if_match: bool) -> Result<Context, Problem> {
        Ok(Context {
            key: self.key()?,
            not_after: self.not_after()?,
            if_match: self.if_match(takes_if_match)?,
            deadline: self.deadline()?,
        })
    }

    fn not_after(&self) -> Result<Option<Millis>, Problem> {
        let Some(text) = self.header(NOT_AFTER)? else { return Ok(None) };
        let time = wire::time(text).ok_or_else(|| {
            Problem::invalid(format!(
                "Header Not-After is {text:?}; give a time in RFC 3339, such as 2026-12-12T19:30:00.000Z."
            ))
        })?;
        Ok(Some(time))
    }

    fn if_match(&self, taken: bool) -> Result<Option<Version>, Problem> {
        let Some(text) = self.header(header::IF_MATCH.as_str())? else { return Ok(None) };
        if !taken {
            return Err(Problem::invalid("Header If-Match is for PUT and PATCH of an event; leave it out here."));
        }
        if text == "*" {
            return Ok(None);
        }
        let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match quoted.and_then(|digits| digits.parse().ok()) {
            Some(version) => Ok(Some(Version(version))),
            None => Err(Problem::invalid(format!(
                "Header If-Match is {text:?}; give the definition version in quotes, such as \"3\", or *."
            ))),
        }
    }

    /// The position that a client of Server-Sent Events has seen last.
    pub fn last_event_id(&self) -> Result<Option<u64>, Problem> {
        let Some(text) = self.header(LAST_EVENT_ID)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Problem::invalid(format!("Header Last-Event-ID is {text:?}; give a position, which is a whole number."))
        })
    }

    /// Asks for a WebSocket.
    pub fn wants_socket(&self) -> bool {
        let upgrade = self.parts.headers.get_all(header::UPGRADE).iter().filter_map(|value| value.to_str().ok());
        upgrade.flat_map(|list| list.split(',')).any(|one| one.trim().eq_ignore_ascii_case("websocket"))
    }

    /// The handshake of a WebSocket.
    pub async fn socket(&mut self) -> Result<WebSocketUpgrade, Problem> {
        let upgrade = WebSocketUpgrade::from_request_parts(&mut self.parts, &()).await;
        upgrade.map_err(|rejection| {
            Problem::malformed(format!("This is no handshake of a WebSocket over HTTP/1.1: {}.", rejection.body_text()))
        })
    }

    fn header(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.parts.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Problem::invalid(format!("Header {name} is there more than once; give it once.")));
        }
        match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(Problem::invalid(format!("Header {name} is not plain ASCII; correct it."))),
        }
    }

    /// The whole body, which must be JSON by its content type. Reads it once; later calls find it empty.
    /// It is in its room until the command is answered.
    pub(super) async fn json_body(&mut self, api: &Api, limit_bytes: usize) -> Result<(Bytes, Room), Problem> {
        // In this order: `too_large` stands above a wrong content type.
        let body = self.body(api.rooms(), limit_bytes).await?;
        self.check_content_type()?;
        Ok(body)
    }

    /// For routes without a body: an empty one, or an empty object.
    pub(super) async fn no_body(&mut self, api: &Api) -> Result<(), Problem> {
        let (body, _room) = self.body(api.rooms(), BODY_BYTES_MAX).await?;
        match body.trim_ascii() {
            b"" | b"{}" => Ok(()),
            _ => Err(Problem::malformed("This route takes no body; send none.")),
        }
    }

    async fn body(&mut self, rooms: &Rooms, limit_bytes: usize) -> Result<(Bytes, Room), Problem> {
        let declared = self.parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let declared = declared.and_then(|text| text.parse::<u64>().ok());
        let declared = declared.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if declared.is_some_and(|bytes| bytes > limit_bytes) {
            return Err(too_large(limit_bytes));
        }
        let body = Limited::new(std::mem::take(self.body.get_mut()), limit_bytes);
        match tokio::time::timeout(BODY_READ_MAX, read(body, declared, rooms, limit_bytes)).await {
            Ok(read) => read,
            Err(_) => Err(Problem::malformed(format!(
                "The body did not arrive within {} s; send it faster or in smaller requests.",
                BODY_READ_MAX.as_secs()
            ))),
        }
    }

    /// JSON, or unsaid.
    fn check_content_type(&self) -> Result<(), Problem> {
        let mut values = self.parts.headers.get_all(header::CONTENT_TYPE).iter();
        let Some(value) = values.next() else { return Ok(()) };
        if values.next().is_some() {
            return Err(Problem::malformed("Header Content-Type is there more than once; give it once."));
        }
        let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is_json = essence.eq_ignore_ascii_case("application/json")
            || (essence.len() > 5
                && essence.is_char_boundary(essence.len() - 5)
                && essence[essence.len() - 5..].eq_ignore_ascii_case("+json"));
        if is_json {
            return Ok(());
        }
        Err(Problem::new(
            ProblemCode::UnsupportedMediaType,
            format!("The body is declared as {essence:?}; send JSON with Content-Type: application/json."),
        ))
    }
}

/// Reads to the end. What does not say its length takes room as soon as it is not small, for all that it may become.
async fn read(
    mut body: Limited<Body>,
    declared: Option<usize>,
    rooms: &Rooms,
    limit_bytes: usize,
) -> Result<(Bytes, Room), Problem> {
    let mut room = rooms.body(limit_bytes, declared.unwrap_or(0))?;
    let (mut first, mut all) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken_off(&error, limit_bytes))?.into_data() else { continue };
        let total = first.len().max(all.len()) + data.len();
        if declared.is_none() && total > BODY_FREE_BYTES && room.is_none() {
            room = rooms.body(limit_bytes, limit_bytes)?;
        }
        if total == data.len() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve_exact(declared.unwrap_or(total));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    let body = if all.is_empty() { first } else { all.into() };
    room.shrink_to(body.len());
    Ok((body, room))
}

fn broken_off(error: &axum::BoxError, limit_bytes: usize) -> Problem {
    if error.is::<LengthLimitError>() {
        return too_large(limit_bytes);
    }
    Problem::malformed("The body ended before it was complete; send all of it, with the right Content-Length.")
}
