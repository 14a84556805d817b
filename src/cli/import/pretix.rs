//! A pretix seating plan. `seat_guid` becomes the id, the zone the section; positions add up zone + row + seat. All
//! that lastseat has no word for (colours, areas, `uuid`, `row_label`, …) is ignored.

use lastseat_client::{EventDefinition, SeatDefinition, SeatNumber};
use serde::Deserialize;

use super::ImportError;
use super::table::seat_number;

#[derive(Deserialize)]
struct Plan {
    name: Option<String>,
    zones: Vec<Zone>,
}

#[derive(Deserialize)]
struct Zone {
    name: Option<String>,
    #[serde(default)]
    position: Option<Position>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    row_number: Option<Label>,
    #[serde(default)]
    position: Option<Position>,
    #[serde(default)]
    seats: Vec<Seat>,
}

#[derive(Deserialize)]
struct Seat {
    seat_guid: Option<String>,
    seat_number: Option<Label>,
    #[serde(default)]
    position: Option<Position>,
    category: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Position {
    #[serde(default)]
    x: f64,
    #[serde(default)]
    y: f64,
}

impl std::ops::Add<Option<Position>> for Position {
    type Output = Self;

    /// A missing position adds nothing.
    fn add(self, other: Option<Position>) -> Self {
        let other = other.unwrap_or_default();
        Self { x: self.x + other.x, y: self.y + other.y }
    }
}

/// pretix writes texts; plans made by other tools sometimes write bare numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Number(i64),
    Text(String),
}

impl Label {
    fn text(self) -> Option<String> {
        let text = match self {
            Label::Number(number) => number.to_string(),
            Label::Text(text) => text,
        };
        (!text.is_empty()).then_some(text)
    }
}

/// Is there a `zones` at the top? Only a plan has one.
pub(super) fn looks_like(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Top {
        #[serde(default)]
        zones: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Top>(text).is_ok_and(|top| top.zones.is_some())
}

pub(super) fn read(text: &str, fallback_name: &str) -> Result<EventDefinition, ImportError> {
    let plan: Plan = serde_json::from_str(text).map_err(|error| {
        ImportError::new(format!("not a pretix seating plan: {error}; export the plan from pretix again"))
    })?;
    let mut seats = Vec::new();
    for zone in plan.zones {
        let zone_at = Position::default() + zone.position;
        let section = zone.name.filter(|name| !name.is_empty());
        for row in zone.rows {
            let row_at = zone_at + row.position;
            let label = row.row_number.and_then(Label::text);
            for (index, seat) in row.seats.into_iter().enumerate() {
                let at = row_at + seat.position;
                let place = || {
                    let (zone, row) = (section.as_deref().unwrap_or("?"), label.as_deref().unwrap_or("?"));
                    format!("zone {zone}, row {row}, seat {}", index + 1)
                };
                let id = seat
                    .seat_guid
                    .filter(|id| !id.is_empty())
                    .ok_or_else(|| ImportError::new(format!("{}: it has no seat_guid; give each seat one", place())))?;
                let number: Option<SeatNumber> = seat.seat_number.and_then(Label::text).map(seat_number);
                seats.push(SeatDefinition {
                    id,
                    section: section.clone(),
                    row: label.clone(),
                    number,
                    category: seat.category.filter(|name| !name.is_empty()),
                    x: Some(at.x),
                    y: Some(at.y),
                });
            }
        }
    }
    if seats.is_empty() {
        return Err(ImportError::new("the seating plan has no seat; export a plan with zones, rows and seats"));
    }
    let name = plan.name.filter(|name| !name.is_empty()).unwrap_or_else(|| fallback_name.to_owned());
    Ok(EventDefinition { name, seats, ..EventDefinition::default() })
}
