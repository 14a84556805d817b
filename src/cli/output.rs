//! Everything this program prints, in three shapes: tables for people, JSON as the server answered, a JSON line each.

use std::io::{self, Write as _};

use serde_json::{Map, Value};

use super::args::Format;
use super::exit::Failure;

/// Fields of an answer that hold a list of rows.
const LISTS: [&str; 10] =
    ["events", "seats", "orders", "nodes", "results", "released", "cancelled", "settings", "webhooks", "deliveries"];

/// Text as it is, to stdout.
pub(crate) fn raw(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `| head` has seen enough; that is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::failed(format!("cannot write to stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// A line to stdout.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    raw(&format!("{text}\n"))
}

/// To stderr. Nothing can be done if that fails.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "lastseat: {text}");
}

/// An answer to stdout.
pub(crate) fn answer(value: &Value, format: Format) -> Result<(), Failure> {
    raw(&render(value, format))
}

fn render(value: &Value, format: Format) -> String {
    match format {
        Format::Json => format!("{value:#}\n"),
        Format::Ndjson => match list_of(value) {
            Some((_, rows)) => rows.iter().map(|row| format!("{row}\n")).collect(),
            None => format!("{value}\n"),
        },
        Format::Table => table(value),
    }
}

/// The list in an answer that is about one. A list of plain names, such as the events of a webhook, is a fact.
fn list_of(value: &Value) -> Option<(&'static str, &Vec<Value>)> {
    let rows = |name| value.get(name)?.as_array().filter(|rows| rows.iter().all(Value::is_object));
    LISTS.iter().find_map(|name| Some((*name, rows(name)?)))
}

fn table(value: &Value) -> String {
    let Some(fields) = value.as_object() else { return format!("{}\n", cell(value)) };
    let list = list_of(value);
    let facts =
        fields.iter().filter(|(name, value)| list.is_none_or(|(list, _)| list != name.as_str()) && !value.is_null());
    let facts: Vec<(&str, String)> = facts.map(|(name, value)| (name.as_str(), cell(value))).collect();
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in facts {
        text.push_str(&format!("{name:<width$}  {value}\n"));
    }
    if let Some((name, rows)) = list {
        if rows.is_empty() {
            text.push_str(&format!("no {name}\n"));
        } else {
            text.push_str(&rows_table(rows));
        }
    }
    text
}

/// Fields of an event in the order in which people ask for them; what is not named here follows.
const EVENT_FIELDS: [&str; 7] = ["name", "event", "on_sale", "seats", "hold", "limits", "labels"];

/// An event: its fields, and its pools as a table below.
pub(crate) fn event_table(event: &Value) -> String {
    let empty = Map::new();
    let fields = event.as_object().unwrap_or(&empty);
    let shown = |value: &Value| !value.is_null() && !value.as_object().is_some_and(Map::is_empty);
    let mut facts: Vec<_> = fields.iter().filter(|(name, value)| *name != "pools" && shown(value)).collect();
    // Stable: the rest stays in the order of its names.
    facts.sort_by_key(|(name, _)| EVENT_FIELDS.iter().position(|field| field == name).unwrap_or(EVENT_FIELDS.len()));
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text: String = facts.iter().map(|(name, value)| format!("{name:<width$}  {}\n", cell(value))).collect();
    if let Some(pools) = fields.get("pools").and_then(Value::as_array).filter(|pools| !pools.is_empty()) {
        text.push_str("\npools\n");
        text.push_str(&rows_table(pools));
    }
    text
}

fn rows_table(rows: &[Value]) -> String {
    let mut columns: Vec<String> = Vec::new();
    let empty = Map::new();
    for row in rows {
        for name in row.as_object().unwrap_or(&empty).keys() {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
    }
    put_first(&mut columns);
    let cells = |row: &Value| columns.iter().map(|name| row.get(name).map_or(String::new(), cell)).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    columns_text(&columns, &rows)
}

/// What names a row stands first; JSON objects have no order of their own.
fn put_first(columns: &mut [String]) {
    let names = ["id", "message", "webhook", "event", "order", "seat", "pool", "name"];
    columns.sort_by_key(|column| names.iter().position(|name| name == column).unwrap_or(names.len()));
}

/// Columns as wide as their widest cell.
pub(crate) fn columns_text(columns: &[String], rows: &[Vec<String>]) -> String {
    let chars = |text: &String| text.chars().count();
    let width = |at: usize| rows.iter().map(|row| chars(&row[at])).chain([chars(&columns[at])]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    let heads: Vec<String> = columns.iter().map(|name| name.to_uppercase()).collect();
    for row in std::iter::once(&heads).chain(rows) {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A value in one cell: items by name, small objects as `name=value`.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            if let (Some(seat), 1) = (fields.get("seat"), fields.len()) {
                return cell(seat);
            }
            if let (Some(pool), Some(quantity), 2) = (fields.get("pool"), fields.get("quantity"), fields.len()) {
                return format!("{} × {}", cell(quantity), cell(pool));
            }
            fields.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hold_is_a_short_list_of_facts() {
        let hold =
            json!({"token": "t", "items": [{"seat": "A-1"}, {"pool": "standing", "quantity": 2}], "customer": null});
        assert_eq!(render(&hold, Format::Table), "items  A-1, 2 × standing\ntoken  t\n");
    }

    #[test]
    fn an_event_begins_with_its_name_and_ends_with_its_pools() {
        let event = json!({"version": 1, "name": "Hamlet", "event": "h", "labels": {}, "limits": null,
            "pools": [{"capacity": 9, "id": "floor"}, {"capacity": 5, "id": "box"}]});
        let expected = "name     Hamlet\nevent    h\nversion  1\n\npools\nID     CAPACITY\nfloor  9\nbox    5\n";
        assert_eq!(event_table(&event), expected);
    }

    #[test]
    fn a_list_is_a_table_or_a_line_each() {
        let page =
            json!({"events": [{"name": "Hamlet", "event": "h"}, {"name": "Lear", "event": "lear"}], "next": null});
        assert_eq!(render(&page, Format::Table), "EVENT  NAME\nh      Hamlet\nlear   Lear\n");
        assert_eq!(
            render(&page, Format::Ndjson),
            "{\"event\":\"h\",\"name\":\"Hamlet\"}\n{\"event\":\"lear\",\"name\":\"Lear\"}\n"
        );
        assert_eq!(render(&json!({"events": []}), Format::Table), "no events\n");
    }
}
