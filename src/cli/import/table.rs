//! CSV with the columns `seat,section,row,number,category,x,y`, in any order.

use std::collections::HashMap;

use csv::StringRecord;
use lastseat_client::{EventDefinition, SeatDefinition, SeatNumber};

use super::ImportError;
use crate::domain::id::SeatId;

const COLUMNS: [&str; 7] = ["seat", "section", "row", "number", "category", "x", "y"];

pub(super) fn read(text: &str, name: &str) -> Result<EventDefinition, ImportError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let columns = columns(reader.headers().map_err(|error| broken(&error))?)?;
    let mut seats = Vec::new();
    let mut lines: HashMap<String, u64> = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| broken(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let seat = seat(&record, &columns, line)?;
        if let Some(first) = lines.insert(seat.id.clone(), line) {
            return Err(ImportError::new(format!(
                "line {line}: seat {:?} is already on line {first}; give each seat an id of its own",
                seat.id
            )));
        }
        seats.push(seat);
    }
    if seats.is_empty() {
        return Err(ImportError::new("there is a header but no seat; add a line for each seat"));
    }
    Ok(EventDefinition { name: name.to_owned(), seats, ..EventDefinition::default() })
}

/// Where each of [`COLUMNS`] stands.
fn columns(header: &StringRecord) -> Result<[usize; 7], ImportError> {
    let help = format!("the first line has to be {}", COLUMNS.join(","));
    if let Some(other) = header.iter().find(|name| !COLUMNS.contains(name)) {
        return Err(ImportError::new(format!("line 1: column {other:?} is not known; {help}")));
    }
    let mut at = [0; 7];
    for (slot, name) in at.iter_mut().zip(COLUMNS) {
        let mut places = header.iter().enumerate().filter(|(_, column)| *column == name).map(|(place, _)| place);
        *slot = places.next().ok_or_else(|| ImportError::new(format!("line 1: column {name:?} is missing; {help}")))?;
        if places.next().is_some() {
            return Err(ImportError::new(format!("line 1: column {name:?} is there twice; {help}")));
        }
    }
    Ok(at)
}

fn seat(record: &StringRecord, columns: &[usize; 7], line: u64) -> Result<SeatDefinition, ImportError> {
    let [id, section, row, number, category, x, y] = columns.map(|at| record.get(at).unwrap_or_default());
    SeatId::parse(id).map_err(|error| {
        ImportError::new(format!("line {line}: {id:?} cannot be the id of a seat: {error}; change the column seat"))
    })?;
    Ok(SeatDefinition {
        id: id.to_owned(),
        section: text(section),
        row: text(row),
        number: text(number).map(seat_number),
        category: text(category),
        x: coordinate("x", x, id, line)?,
        y: coordinate("y", y, id, line)?,
    })
}

fn text(field: &str) -> Option<String> {
    (!field.is_empty()).then(|| field.to_owned())
}

/// An integer if the text is exactly how one is written (`12`, not `012`, which would lose its zero), else the text.
pub(super) fn seat_number(text: String) -> SeatNumber {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => SeatNumber::Number(number),
        Ok(_) | Err(_) => SeatNumber::Text(text),
    }
}

fn coordinate(column: &str, field: &str, seat: &str, line: u64) -> Result<Option<f64>, ImportError> {
    if field.is_empty() {
        return Ok(None);
    }
    match field.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Some(value)),
        Ok(_) | Err(_) => Err(ImportError::new(format!(
            "line {line}, seat {seat}: {column} is {field:?}; write a number such as 12.5, or leave it empty"
        ))),
    }
}

fn broken(error: &csv::Error) -> ImportError {
    if let csv::ErrorKind::UnequalLengths { pos, expected_len, len } = error.kind() {
        let line = pos.as_ref().map_or(0, csv::Position::line);
        return ImportError::new(format!(
            "line {line}: it has {len} values where the first line names {expected_len}; add or remove commas, and put \
             a value that has a comma in quotes"
        ));
    }
    ImportError::new(format!("not a CSV file: {error}"))
}
