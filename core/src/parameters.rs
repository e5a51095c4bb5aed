//! The parameters of one call: those of its agent and its alias, as far as they say something about it.

use seaworthy_ports::model_provider::{Message, Parameters, ToolChoice};

use crate::agent::{Agent, Candidate};

/// Those of the answer of `candidate` that continues these messages of the run.
pub(crate) fn of_answer(agent: &Agent, candidate: &Candidate, messages: &[Message]) -> Parameters {
    let own = agent.parameters.over(&candidate.settings.parameters);
    for_answer(own, !agent.tools.is_empty(), messages)
}

/// A tool that must be called must be called once: from the first call of a tool in the run on the model decides, because
/// a model that must always call one never ends.
fn for_answer(own: Parameters, has_tools: bool, messages: &[Message]) -> Parameters {
    let demands = matches!(
        own.tool_choice,
        Some(ToolChoice::Required | ToolChoice::Tool(_))
    );
    let has_called = || {
        let mut calls = messages.iter().flat_map(Message::tool_calls);
        calls.next().is_some()
    };
    let tool_choice = if !has_tools {
        None
    } else if demands && has_called() {
        Some(ToolChoice::Auto)
    } else {
        own.tool_choice
    };
    Parameters { tool_choice, ..own }
}

/// Those of a summary: there are no tools, and what ends an answer must not cut the summary off.
pub(crate) fn for_summary(of_alias: &Parameters) -> Parameters {
    Parameters {
        parallel_tool_calls: None,
        stop: Vec::new(),
        tool_choice: None,
        ..of_alias.clone()
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_ports::ToolName;
    use seaworthy_ports::model_provider::{Block, Role, ToolCallBlock};

    use super::*;

    fn choosing(tool_choice: ToolChoice) -> Parameters {
        Parameters {
            tool_choice: Some(tool_choice),
            ..Parameters::default()
        }
    }

    fn called() -> Vec<Message> {
        let call = ToolCallBlock {
            id: "c1".to_owned(),
            name: "read".to_owned(),
            arguments: "{}".to_owned(),
            opaque: None,
        };
        let answer = Message {
            role: Role::Assistant,
            blocks: vec![Block::ToolCall(call)],
        };
        vec![Message::user("go"), answer]
    }

    #[test]
    fn a_tool_must_be_called_until_one_was() {
        let asked = [Message::user("go")];
        for demand in [
            ToolChoice::Required,
            ToolChoice::Tool(ToolName::new("read").unwrap()),
        ] {
            let chosen = |messages: &[Message]| {
                for_answer(choosing(demand.clone()), true, messages).tool_choice
            };
            assert_eq!(chosen(&asked), Some(demand.clone()));
            assert_eq!(chosen(&called()), Some(ToolChoice::Auto));
        }
    }

    #[test]
    fn a_model_that_must_call_none_never_does() {
        let parameters = for_answer(choosing(ToolChoice::None), true, &called());
        assert_eq!(parameters.tool_choice, Some(ToolChoice::None));
    }

    #[test]
    fn an_agent_without_tools_must_call_none() {
        let parameters = for_answer(choosing(ToolChoice::Required), false, &[]);
        assert_eq!(parameters.tool_choice, None);
    }

    #[test]
    fn a_summary_is_not_cut_off_and_calls_nothing() {
        let of_alias = Parameters {
            parallel_tool_calls: Some(true),
            stop: vec!["END".to_owned()],
            temperature: Some(0.5),
            ..choosing(ToolChoice::Required)
        };
        let expected = Parameters {
            temperature: Some(0.5),
            ..Parameters::default()
        };
        assert_eq!(for_summary(&of_alias), expected);
    }
}
