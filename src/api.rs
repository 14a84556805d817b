//! The HTTP API.

/// The OpenAPI 3.1 document of the API, as JSON.
pub fn openapi_json() -> String {
    String::from("{}")
}
