//! Tokens: `count_tokens`.

use seaworthy_http::Outgoing;
use seaworthy_http::client::Connection;
use seaworthy_http::counting::Counting;
use seaworthy_ports::model_provider::{ModelError, ModelRequest};
use serde::Deserialize;

use crate::config::AnthropicConfig;
use crate::request::counted_body;

#[derive(Deserialize)]
struct Answer {
    input_tokens: u64,
}

impl Counting for AnthropicConfig {
    fn outgoing(
        &self,
        connection: &Connection,
        request: &ModelRequest,
    ) -> Result<Outgoing, ModelError> {
        Ok(Outgoing {
            url: connection.url(&["v1", "messages", "count_tokens"]),
            body: counted_body(request, self)?,
        })
    }

    fn read(&self, body: &[u8]) -> Option<u64> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        Some(answer.input_tokens)
    }
}
