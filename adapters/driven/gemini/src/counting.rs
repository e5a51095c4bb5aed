//! Tokens: `countTokens`.

use seaworthy_http::Outgoing;
use seaworthy_http::client::Connection;
use seaworthy_http::counting::Counting;
use seaworthy_ports::model_provider::{ModelError, ModelRequest};
use serde::Deserialize;

use crate::config::GeminiConfig;
use crate::request::{counted_body, named};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    total_tokens: u64,
}

impl Counting for GeminiConfig {
    fn outgoing(
        &self,
        connection: &Connection,
        request: &ModelRequest,
    ) -> Result<Outgoing, ModelError> {
        let path = format!("{}:countTokens", named(&request.model));
        let segments: Vec<&str> = path.split('/').collect();
        Ok(Outgoing {
            url: connection.url(&segments),
            body: counted_body(request, self)?,
        })
    }

    fn read(&self, body: &[u8]) -> Option<u64> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        Some(answer.total_tokens)
    }
}
