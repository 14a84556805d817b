//! Bytes to wire struct, with errors that name the field.

use serde::Deserialize;

use super::WireError;
use super::strict::Strict;

/// Longest part of a parser's message that is passed on: it quotes the client's own text.
const MESSAGE_CHARS_MAX: usize = 400;

/// Where and why a body is not of its shape.
#[derive(Debug)]
pub struct ShapeError {
    /// First list index in the path of the field, and the whole path.
    pub path: String,
    pub index: Option<usize>,
    pub message: String,
}

impl From<ShapeError> for WireError {
    fn from(error: ShapeError) -> Self {
        WireError::Malformed(error.message)
    }
}

/// Reads a whole body. Nothing may follow the value.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ShapeError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = T::deserialize(Strict(&mut reader)).and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| explain::<T>(body, &error))
}

/// The slow way, taken only by bodies that are refused: reads again, and keeps track of the field.
#[cold]
fn explain<'a, T: Deserialize<'a>>(body: &'a [u8], error: &serde_json::Error) -> ShapeError {
    if body.is_empty() {
        return whole("The body is empty; send a JSON object with Content-Type: application/json.".into());
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let tracked: Result<T, _> = serde_path_to_error::deserialize(Strict(&mut reader));
    let Err(tracked) = tracked else {
        return whole(format!("The body cannot be read: {}. Send one JSON object and nothing after it.", short(error)));
    };
    let index = tracked.path().iter().find_map(|segment| match segment {
        serde_path_to_error::Segment::Seq { index } => Some(*index),
        _ => None,
    });
    let path = tracked.path().to_string();
    let why = short(tracked.inner());
    let message = match tracked.inner().classify() {
        serde_json::error::Category::Data if path == "." => {
            format!("The body is not as expected: {why}. Correct it and send it again.")
        }
        serde_json::error::Category::Data => {
            format!("Field `{path}` is not as expected: {why}. Correct it and send it again.")
        }
        _ => format!("The body is not JSON that can be read: {why}. Correct it and send it again."),
    };
    ShapeError { path, index, message }
}

fn whole(message: String) -> ShapeError {
    ShapeError { path: ".".into(), index: None, message }
}

fn short(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}
