//! The parameters of one call: those of its agent and its alias, as far as they say something about it.

use seaworthy_ports::ToolName;
use seaworthy_ports::model_provider::{Effort, Message, Parameters, ToolChoice};

use crate::agent::{Agent, Candidate};
use crate::descriptor::Support;
use crate::output::{ANSWER_TOOL, Way};

/// Those of the answer of `candidate` that continues these messages of the run.
pub(crate) fn of_answer(agent: &Agent, candidate: &Candidate, messages: &[Message]) -> Parameters {
    let own = agent.parameters.over(&candidate.settings.parameters);
    for_answer(own, !agent.tools.is_empty(), messages)
}

/// The same as `candidate` is asked for them: where it answers by a tool, it must call one if it can be made to. That is
/// no parameter of the agent, and not in the digest of the request, because it follows from the descriptor and the model.
pub(crate) fn as_asked(agent: &Agent, candidate: &Candidate, messages: &[Message]) -> Parameters {
    let parameters = of_answer(agent, candidate, messages);
    let can_be_made = candidate.supports().get("forced_calls") != Some(&Support::Absent);
    if agent.way(candidate) != Some(Way::Tool) || !can_be_made {
        return parameters;
    }
    let own = agent.parameters.over(&candidate.settings.parameters);
    let has_tools = !agent.tools.is_empty();
    Parameters {
        tool_choice: by_tool(own, has_tools, parameters.tool_choice.clone()),
        ..parameters
    }
}

/// Which tool a model calls that answers by one, where it can be made to call it. `otherwise` stays where it cannot.
fn by_tool(own: Parameters, has_tools: bool, otherwise: Option<ToolChoice>) -> Option<ToolChoice> {
    // Anthropic refuses to have a model that thinks call a tool, and nobody else needs to be told apart: the models that
    // reason keep to schemas.
    if own.reasoning.is_some_and(|effort| effort != Effort::None) {
        return otherwise;
    }
    let answer = || ToolName::new(ANSWER_TOOL).ok().map(ToolChoice::Tool);
    match own.tool_choice {
        // Nothing else can be called, or may be.
        _ if !has_tools => answer(),
        Some(ToolChoice::None) => answer(),
        // Whoever leaves it to the model has said so.
        Some(ToolChoice::Auto) => otherwise,
        None => Some(ToolChoice::Required),
        // A tool was called as it had to be; from then on any will do, and the answer ends it.
        Some(ToolChoice::Required | ToolChoice::Tool(_)) => match otherwise {
            Some(ToolChoice::Auto) => Some(ToolChoice::Required),
            still => still,
        },
    }
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
    fn a_model_that_answers_by_a_tool_must_call_one() {
        let read = || ToolChoice::Tool(ToolName::new("read").unwrap());
        let answer = || ToolChoice::Tool(ToolName::new(ANSWER_TOOL).unwrap());
        let asked = |own: Option<ToolChoice>, has_tools, messages: &[Message]| {
            let own = Parameters {
                tool_choice: own,
                ..Parameters::default()
            };
            let otherwise = for_answer(own.clone(), has_tools, messages).tool_choice;
            by_tool(own, has_tools, otherwise)
        };
        let started = [Message::user("go")];
        for (own, first, then) in [
            (None, ToolChoice::Required, ToolChoice::Required),
            (Some(ToolChoice::None), answer(), answer()),
            (Some(ToolChoice::Auto), ToolChoice::Auto, ToolChoice::Auto),
            (
                Some(ToolChoice::Required),
                ToolChoice::Required,
                ToolChoice::Required,
            ),
            (Some(read()), read(), ToolChoice::Required),
        ] {
            let place = format!("{own:?}");
            assert_eq!(asked(own.clone(), true, &started), Some(first), "{place}");
            assert_eq!(asked(own.clone(), true, &called()), Some(then), "{place}");
            assert_eq!(asked(own, false, &started), Some(answer()), "{place}");
        }
    }

    #[test]
    fn a_model_that_reasons_is_not_made_to_call_a_tool() {
        let asked = |effort| {
            let own = Parameters {
                reasoning: Some(effort),
                ..Parameters::default()
            };
            by_tool(own, true, None)
        };
        assert_eq!(asked(Effort::Low), None);
        assert_eq!(asked(Effort::None), Some(ToolChoice::Required));
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
