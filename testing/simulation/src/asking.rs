//! Tools of a server that ask something before they act.

use std::future::ready;
use std::sync::Arc;

use futures_util::future::select;
use seaworthy_core::servers::{Reply, Wants};
use seaworthy_core::state::Call;
use seaworthy_fakes::{FakeMcpTool, McpFault};
use seaworthy_ports::mcp::{Elicited, McpContent, Sampled};
use seaworthy_ports::model_provider::Role;
use serde_json::{Value, json};

/// The tools, as the server names them.
pub(crate) const TOOLS: [&str; 4] = ["survey", "vote", "phrase", "hurry"];

/// The server and its agent in a descriptor.
pub(crate) const SECTIONS: &str = r#"mcp_servers:
  desk:
    url: https://desk.invalid/mcp
    risk: medium
    elicitation: ask
    sampling: ask
    tools:
      survey: { side_effect: idempotent }
      phrase: { side_effect: idempotent }
agents:
  worker: { instructions: Work., model: main, tools: ["desk.*"] }
"#;

/// The tool `name`: asks, then has its key counted by `acts`, then says what it heard. `hurry` does not wait for an
/// answer.
pub(crate) fn tool(
    name: &'static str,
    acts: impl Fn(String) + Send + Sync + 'static,
) -> FakeMcpTool {
    let acts = Arc::new(acts);
    FakeMcpTool::new(name, move |call| {
        let acts = Arc::clone(&acts);
        async move {
            let heard = if name == "phrase" {
                let wish = McpContent::Text("Say it well.".to_owned());
                match call.sample(None, vec![(Role::User, wish)], 100).await {
                    Sampled::Answered {
                        content: McpContent::Text(text),
                        ..
                    } => json!(text),
                    Sampled::Answered { .. } | Sampled::Refused => json!("refused"),
                }
            } else {
                let schema = json!({
                    "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"],
                });
                let asked = call.elicit(format!("Who is it for {name}?"), schema);
                let asked = std::pin::pin!(asked);
                let heard = if name == "hurry" {
                    // It is asked, all the same.
                    select(asked, ready(())).await;
                    None
                } else {
                    asked.await
                };
                match heard {
                    Some(Elicited::Accepted(answer)) => answer,
                    Some(Elicited::Declined) => json!("declined"),
                    Some(Elicited::Cancelled) | None => json!("cancelled"),
                }
            };
            let key = call.meta.get("seaworthy/idempotency_key");
            let key = key.and_then(Value::as_str).unwrap_or_default();
            acts(format!("desk__{name} {key}"));
            Ok::<_, McpFault>(json!({ "heard": heard }))
        }
    })
    .with_description("Asks, then does it.")
}

/// What a friendly person answers to the open question of `call`.
pub(crate) fn reply(call: &Call) -> Reply {
    match call.open_question().map(|question| &question.wants) {
        Some(Wants::Input { .. }) => Reply::Given {
            content: json!({ "name": "Ada" }),
        },
        Some(Wants::Model { .. }) => Reply::Granted,
        None => Reply::Dismissed,
    }
}
