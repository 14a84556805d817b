//! Our own JSON: the body of `PUT /v1/events/{event}`, to the letter.

use lastseat_client::EventDefinition;

use super::ImportError;

/// Unknown fields are refused: a misspelt `capactiy` must not become a pool of nothing.
pub(super) fn read(text: &str) -> Result<EventDefinition, ImportError> {
    serde_json::from_str(text).map_err(|error| {
        ImportError::new(format!(
            "{error}; an event has name, on_sale, seats, pools, hold, limits and labels, see `lastseat openapi`"
        ))
    })
}
