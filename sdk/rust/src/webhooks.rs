//! Webhooks: who is told of changes. Answers are JSON as the server gives it.

use http::Method;
use serde_json::{Value, json};

use crate::call::Call;
use crate::client::{Client, path_segment};
use crate::read::Read;

impl Client {
    /// Makes a webhook, or changes it. The answer to the call that makes it has its secret, and no later read has.
    pub fn webhook_set(&self, webhook: &str, definition: &Value) -> Call<Value> {
        self.command(Method::PUT, path(webhook, ""), Some(definition))
    }

    pub fn webhook_delete(&self, webhook: &str) -> Call<Value> {
        self.command(Method::DELETE, path(webhook, ""), None::<&()>)
    }

    /// A new secret; the old one stays live for `overlap_ms`, a day if `None`.
    pub fn webhook_rotate(&self, webhook: &str, overlap_ms: Option<u64>) -> Call<Value> {
        let body = overlap_ms.map_or_else(|| json!({}), |overlap_ms| json!({"overlap_ms": overlap_ms}));
        self.command(Method::POST, path(webhook, "/rotate"), Some(&body))
    }

    pub fn webhook_pause(&self, webhook: &str) -> Call<Value> {
        self.command(Method::POST, path(webhook, "/pause"), None::<&()>)
    }

    /// Goes on where it was, or delivers again from a revision on.
    pub fn webhook_resume(&self, webhook: &str, from: Option<u64>) -> Call<Value> {
        let body = from.map_or_else(|| json!({}), |from| json!({"from": from}));
        self.command(Method::POST, path(webhook, "/resume"), Some(&body))
    }

    /// Sends a test message now; the answer says what the receiver said.
    pub fn webhook_test(&self, webhook: &str) -> Call<Value> {
        self.command(Method::POST, path(webhook, "/test"), None::<&()>)
    }

    /// Sends a message that is among the deliveries once more.
    pub fn webhook_redeliver(&self, webhook: &str, message: &str) -> Call<Value> {
        let rest = format!("/deliveries/{}/redeliver", path_segment(message));
        self.command(Method::POST, path(webhook, &rest), None::<&()>)
    }

    pub fn webhooks(&self, limit: Option<u64>, after: Option<&str>) -> Read<Value> {
        self.read("/v1/webhooks").query("limit", limit).query("after", after)
    }

    pub fn webhook(&self, webhook: &str) -> Read<Value> {
        self.read(path(webhook, ""))
    }

    /// The newest attempts; how many by [`Read::query`] with `limit`.
    pub fn webhook_deliveries(&self, webhook: &str) -> Read<Value> {
        self.read(path(webhook, "/deliveries"))
    }
}

fn path(webhook: &str, rest: &str) -> String {
    format!("/v1/webhooks/{}{rest}", path_segment(webhook))
}
