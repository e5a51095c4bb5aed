//! Agents as prompts: the instructions of each, for a client that wants its own model to act on them.

use rmcp::ErrorData;
use rmcp::model::{
    GetPromptRequestParams, GetPromptResult, ListPromptsResult, Prompt, PromptArgument,
    PromptMessage, Role,
};
use serde_json::Value;

use crate::agents::Agents;
use crate::arguments;

/// What the prompt takes: the task.
const INPUT: &str = "input";

pub(crate) fn list(agents: &Agents) -> ListPromptsResult {
    let prompts = agents.names().map(|name| {
        let input = PromptArgument::new(INPUT)
            .with_description("What to ask")
            .with_required(true);
        let about = format!(
            "The instructions of agent {name}, for your own model. To have the agent itself do the work, durably, call the tool {name}."
        );
        Prompt::new(name, Some(about), Some(vec![input]))
    });
    ListPromptsResult::with_all_items(prompts.collect())
}

pub(crate) fn get(
    agents: &Agents,
    request: GetPromptRequestParams,
) -> Result<GetPromptResult, ErrorData> {
    let invalid = |why: String| ErrorData::invalid_params(why, None);
    let agent = agents.get(&request.name).ok_or_else(|| {
        invalid("there is no prompt of that name; `prompts/list` has those there are".to_owned())
    })?;
    let mut given = request.arguments.unwrap_or_default();
    let Some(Value::String(input)) = given.remove(INPUT) else {
        return Err(invalid(format!("the prompt takes `{INPUT}`, a text")));
    };
    if let Some(unknown) = given.keys().next() {
        return Err(invalid(format!(
            "the prompt takes `{INPUT}` alone, not {unknown:?}"
        )));
    }
    let input = arguments::input(input).map_err(|error| invalid(error.to_string()))?;
    Ok(GetPromptResult::new(vec![
        PromptMessage::new_text(Role::User, Agents::instructions(agent)),
        PromptMessage::new_text(Role::User, input),
    ]))
}
