//! Files of seats → an event definition. Pure: bytes in, a definition or an error out; nothing is sent from here.
//!
//! ```text
//! bytes ─▶ looks like JSON? ─ yes ─▶ has "zones"? ─ yes ─▶ pretix seating plan
//!                │ no                     └─ no ─▶ our own JSON
//!                └─▶ CSV
//! ```
//!
//! Invariants: the format is told by content, never by the file's name; seats keep the order of the file; no seat or
//! pool id occurs twice and every id is one the server takes; an error names the line or the seat and what to do.

use std::collections::HashMap;

use lastseat_client::EventDefinition;

use crate::domain::id::{PoolId, SeatId};

mod own;
mod pretix;
mod table;

/// Largest definition the server takes.
pub(crate) const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Own,
    Csv,
    Pretix,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Own => "lastseat JSON",
            Kind::Csv => "CSV",
            Kind::Pretix => "pretix seating plan",
        }
    }
}

/// A definition ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Imported {
    pub(crate) kind: Kind,
    pub(crate) definition: EventDefinition,
}

/// What is wrong with a file, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ImportError(String);

impl ImportError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Reads a file's bytes. `fallback_name` names the event where the file does not.
pub(crate) fn read(bytes: &[u8], fallback_name: &str) -> Result<Imported, ImportError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ImportError::new(format!("byte {} is not UTF-8; save the file as UTF-8", error.valid_up_to() + 1))
    })?;
    let text = text.trim_start_matches('\u{feff}');
    let first = text.trim_start().chars().next();
    let (kind, definition) = match first {
        None => return Err(ImportError::new("the file is empty; give JSON, CSV, or a pretix seating plan")),
        Some('{') if pretix::looks_like(text) => (Kind::Pretix, pretix::read(text, fallback_name)?),
        Some('{') => (Kind::Own, own::read(text)?),
        Some('[') => {
            return Err(ImportError::new("the file is a JSON list; give an object with name, seats and pools"));
        }
        Some(_) => (Kind::Csv, table::read(text, fallback_name)?),
    };
    check_ids(&definition)?;
    Ok(Imported { kind, definition })
}

/// Every id is valid and there once. CSV says it by line on its own; this is for the JSON formats.
fn check_ids(definition: &EventDefinition) -> Result<(), ImportError> {
    let mut seats = HashMap::with_capacity(definition.seats.len());
    for (index, seat) in definition.seats.iter().enumerate() {
        SeatId::parse(&seat.id).map_err(|error| {
            let place = place_of(index, seat);
            ImportError::new(format!("{place}: its id {:?} cannot be used: {error}; change the id", seat.id))
        })?;
        if let Some(first) = seats.insert(seat.id.as_str(), index) {
            return Err(ImportError::new(format!(
                "seat {:?} is there twice: {} and {}; give each seat an id of its own",
                seat.id,
                place_of(first, &definition.seats[first]),
                place_of(index, seat),
            )));
        }
    }
    let mut pools = HashMap::new();
    for (index, pool) in definition.pools.iter().enumerate() {
        let place = index + 1;
        PoolId::parse(&pool.id).map_err(|error| {
            ImportError::new(format!("pool {place}: its id cannot be used: {error}; change the id"))
        })?;
        if let Some(first) = pools.insert(pool.id.as_str(), place) {
            return Err(ImportError::new(format!(
                "pool {:?} is there twice, as number {first} and {place}; give each pool an id of its own",
                pool.id
            )));
        }
    }
    Ok(())
}

fn place_of(index: usize, seat: &lastseat_client::SeatDefinition) -> String {
    use lastseat_client::SeatNumber;
    let mut place = format!("seat {} of the file", index + 1);
    let number = seat.number.as_ref().map(|number| match number {
        SeatNumber::Number(number) => number.to_string(),
        SeatNumber::Text(text) => text.clone(),
    });
    let parts = [("section", seat.section.clone()), ("row", seat.row.clone()), ("number", number)];
    let known: Vec<String> = parts.into_iter().filter_map(|(name, is)| Some(format!("{name} {}", is?))).collect();
    if !known.is_empty() {
        place.push_str(&format!(" ({})", known.join(", ")));
    }
    place
}

#[cfg(test)]
mod tests;
