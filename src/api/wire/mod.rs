//! The JSON twins of the domain's values.
//!
//! ```text
//!   bytes ──json::parse──▶ wire struct ──explicit function──▶ domain value (valid by construction)
//!           malformed, 400               invalid, 422
//! ```
//!
//! Invariants: a body is read as a whole before any value in it is judged, so `malformed` always comes before
//! `invalid`; unknown fields are refused everywhere; every struct here is also its own OpenAPI schema.
//!
//! On purpose not here: what needs the state, and the checks of whole commands, which the service makes.

pub mod batch;
pub mod capped;
pub mod change;
pub mod definition;
pub mod item;
pub mod json;
pub mod message;
pub mod nodes;
pub mod sale;
mod strict;
pub mod views;
pub mod webhook;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Visitor};
use utoipa::ToSchema;

use super::problem::Problem;
use crate::domain::id::{CustomerId, EventId, IdError, Key, OrderId, PoolId, SeatId, Token, WebhookId};
use crate::domain::outcome::Rejection;
use crate::domain::value::{Millis, Text};

/// Largest number that every JSON reader keeps exactly: 2^53 − 1.
pub const NUMBER_MAX: u64 = 9_007_199_254_740_991;
/// Longest free text (a name, a section, a label, a reason), in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Why a body is not a command.
#[derive(Debug, Clone)]
pub enum WireError {
    /// Its shape is wrong: 400.
    Malformed(String),
    /// Its shape is right and a value is not allowed: 422.
    Refused(Box<Rejection>),
}

impl WireError {
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::Malformed(detail.into())
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::from(Rejection::invalid(detail))
    }
}

impl From<Rejection> for WireError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(Box::new(rejection))
    }
}

impl From<WireError> for Problem {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Malformed(detail) => Problem::malformed(detail),
            WireError::Refused(rejection) => Problem::refused(&rejection),
        }
    }
}

/// A name as it came: not yet checked, borrowed from the body where it has no escapes.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(
    as = Id, value_type = String, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._:~ -]+$", example = "A-1"
)]
pub struct Name<'a>(pub Cow<'a, str>);

/// A key in a path: a name, or `{batch key}:{index}` of a command in an independent batch that brought no key.
#[derive(Debug, ToSchema)]
#[schema(
    as = AskedKey, value_type = String, min_length = 1, max_length = 134, pattern = "^[A-Za-z0-9._:~ -]+$",
    example = "batch-1:0"
)]
#[allow(dead_code, reason = "only a schema: `Call::asked_key` reads it")]
pub struct AskedKey<'a>(Cow<'a, str>);

/// A free text as it came.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(as = Text, value_type = String, max_length = 1024)]
pub struct Str<'a>(pub Cow<'a, str>);

struct CowVisitor;

impl<'de> Visitor<'de> for CowVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(CowVisitor).map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(CowVisitor).map(Self)
    }
}

/// The kinds of names, so that one function reads them all.
pub trait ParseName: Sized {
    fn parse_name(text: &str) -> Result<Self, IdError>;
}

macro_rules! parse_name {
    ($($name:ident)*) => {$(
        impl ParseName for $name {
            fn parse_name(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
    )*};
}

parse_name!(EventId SeatId PoolId OrderId CustomerId Token Key WebhookId);

/// A checked name; `field` says where it stood.
pub fn name<T: ParseName>(text: &str, field: impl fmt::Display) -> Result<T, WireError> {
    T::parse_name(text).map_err(|error| WireError::invalid(format!("{field} is not a valid id: {error}.")))
}

/// The same for a key to ask for.
pub fn key_asked_for(text: &str, field: impl fmt::Display) -> Result<Key, WireError> {
    Key::parse_asked(text).map_err(|error| WireError::invalid(format!("{field} is not a valid id: {error}.")))
}

/// An RFC 3339 time. What is later than the last one that can be told counts as that one: it means *never*.
pub fn time(text: &str) -> Option<Millis> {
    if !is_rfc3339(text) {
        return None;
    }
    let time = jiff::Timestamp::from_str(text).ok().or_else(|| after_the_last(text))?;
    // Before 1970 is as good as then.
    Some(Millis(u64::try_from(time.as_millisecond()).unwrap_or(0)))
}

/// Whether `text` has the form of RFC 3339. The reader behind it takes much more, and judges days and hours.
fn is_rfc3339(text: &str) -> bool {
    let has_form = |text: &[u8], form: &[u8]| {
        text.len() == form.len()
            && text.iter().zip(form).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                b'T' => byte.eq_ignore_ascii_case(&b'T'),
                _ => byte == form,
            })
    };
    let Some((time, rest)) = text.as_bytes().split_at_checked("0000-00-00T00:00:00".len()) else { return false };
    let offset = match rest.strip_prefix(b".") {
        None => rest,
        Some(rest) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &rest[digits..]
        }
    };
    let is_offset = match offset {
        b"Z" | b"z" => true,
        [b'+' | b'-', offset @ ..] => {
            has_form(offset, b"00:00") && offset < b"24".as_slice() && &offset[3..] < b"60".as_slice()
        }
        _ => false,
    };
    has_form(time, b"0000-00-00T00:00:00") && is_offset
}

/// The last time there is, if `text` is a later one of a year of four digits.
fn after_the_last(text: &str) -> Option<jiff::Timestamp> {
    let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
    let local = pieces.date().to_datetime(pieces.time()?);
    let offset = pieces.to_numeric_offset().filter(|_| pieces.time_zone_annotation().is_none())?;
    let is_later = local.year() == 9999 && offset.to_timestamp(local).is_err();
    is_later.then_some(jiff::Timestamp::MAX)
}

/// The same for a name that may be left out.
pub fn name_opt<T: ParseName>(text: Option<&Name<'_>>, field: &str) -> Result<Option<T>, WireError> {
    text.map(|text| name(&text.0, field)).transpose()
}

/// A checked text.
pub fn text(text: &str, field: impl fmt::Display) -> Result<Text, WireError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(WireError::invalid(format!(
            "{field} has {} bytes; at most {TEXT_BYTES_MAX} are allowed: shorten it.",
            text.len()
        )));
    }
    Ok(Arc::from(text))
}

/// A count of at least 1.
pub fn positive(number: u64, field: impl fmt::Display) -> Result<u64, WireError> {
    if number == 0 {
        return Err(WireError::invalid(format!("{field} is 0; give at least 1.")));
    }
    exact(number, field)
}

/// A number that every JSON reader keeps exactly.
pub fn exact(number: u64, field: impl fmt::Display) -> Result<u64, WireError> {
    if number > NUMBER_MAX {
        return Err(WireError::invalid(format!("{field} is {number}; at most {NUMBER_MAX} is allowed.")));
    }
    Ok(number)
}
