//! What could be written for an argument, as the server suggests it.

use rmcp::model as wire;
use seaworthy_ports::mcp::{McpCompleted, McpCompleting, McpCompletion};
use serde::Deserialize;
use serde_json::{Number, Value, json};

use crate::answers;
use crate::error::Fault;
use crate::session::Session;

/// Whether the server that said this of itself suggests anything.
pub(crate) fn is_offered(capabilities: &wire::ServerCapabilities) -> bool {
    capabilities.completions.is_some()
}

#[derive(Deserialize)]
struct Answer {
    completion: Suggested,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Suggested {
    values: Vec<String>,
    #[serde(default)]
    total: Option<Number>,
    #[serde(default)]
    has_more: Option<bool>,
}

fn params(asked: &McpCompletion) -> Value {
    let whose = match &asked.of {
        McpCompleting::Prompt(name) => json!({"type": "ref/prompt", "name": name}),
        McpCompleting::Template(uri) => json!({"type": "ref/resource", "uri": uri}),
    };
    let mut params = json!({
        "ref": whose,
        "argument": {"name": asked.argument, "value": asked.value},
    });
    // Versions before 2025-06-18 do not know it.
    if let (Some(params), false) = (params.as_object_mut(), asked.given.is_empty()) {
        params.insert("context".to_owned(), json!({"arguments": asked.given}));
    }
    params
}

impl Session {
    pub(crate) async fn completed(&self, asked: &McpCompletion) -> Result<McpCompleted, Fault> {
        self.with(|_connection| {
            Box::pin(async move {
                if self.info().completions {
                    return Ok(());
                }
                Err(Fault::Unsupported(
                    "the server does not say that it completes arguments",
                ))
            })
        })
        .await?;
        let answer = self.ask("completion/complete", params(asked)).await?;
        let Answer { completion } = answers::read(&answer)?;
        Ok(McpCompleted::bounded(
            completion.values,
            completion.total.and_then(|total| total.as_u64()),
            completion.has_more.unwrap_or_default(),
        ))
    }
}
