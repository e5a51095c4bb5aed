//! MP-15: parameters of requests.

use std::sync::Arc;

use seaworthy_ports::ToolName;
use seaworthy_ports::model_provider::{
    Effort, FinishReason, Kind, ModelRequest, Parameters, PromptCache, ToolChoice, ToolSpec,
};
use serde_json::json;

use super::stage::{UNSEEN, call, request, set};
use super::{Answer, Harness, Step};
use crate::outcome::{Halt, Outcome, broken, holds, same};

/// A parameter, and what is to be seen of it in what is sent. `None`: that something else is sent than without it.
struct Asked {
    what: &'static str,
    mark: Option<&'static str>,
    parameters: Parameters,
}

fn marked(what: &'static str, mark: &'static str, parameters: Parameters) -> Asked {
    Asked {
        what,
        mark: Some(mark),
        parameters,
    }
}

fn other(what: &'static str, parameters: Parameters) -> Asked {
    Asked {
        what,
        mark: None,
        parameters,
    }
}

fn tool(name: &str) -> Option<ToolName> {
    ToolName::new(name).ok()
}

/// Every parameter. A cache that is kept for a short time and parallel calls are what providers do unasked.
fn all() -> Vec<Asked> {
    let nothing = Parameters::default;
    let choosing = |choice| Parameters {
        tool_choice: choice,
        ..Parameters::default()
    };
    vec![
        marked(
            "a temperature",
            "0.625",
            Parameters {
                temperature: Some(0.625),
                ..nothing()
            },
        ),
        marked(
            "a part of the likely tokens",
            "0.984375",
            Parameters {
                top_p: Some(0.984_375),
                ..nothing()
            },
        ),
        marked(
            "a seed",
            "918273",
            Parameters {
                seed: Some(918_273),
                ..nothing()
            },
        ),
        marked(
            "a text that ends the answer",
            "a-mark-at-the-end",
            Parameters {
                stop: vec!["a-mark-at-the-end".to_owned()],
                ..nothing()
            },
        ),
        other(
            "more texts that end the answer than providers take",
            Parameters {
                stop: (0..16).map(|number| format!("end {number}")).collect(),
                ..nothing()
            },
        ),
        other(
            "no cache",
            Parameters {
                cache: Some(PromptCache::Off),
                ..nothing()
            },
        ),
        other(
            "a cache for long",
            Parameters {
                cache: Some(PromptCache::Long),
                ..nothing()
            },
        ),
        other(
            "one call at a time",
            Parameters {
                parallel_tool_calls: Some(false),
                ..nothing()
            },
        ),
        other("no call", choosing(Some(ToolChoice::None))),
        other("a call", choosing(Some(ToolChoice::Required))),
        other(
            "a call of one tool",
            choosing(tool("write").map(ToolChoice::Tool)),
        ),
    ]
    .into_iter()
    .chain(Effort::ALL.map(|effort| {
        let parameters = Parameters {
            reasoning: Some(effort),
            ..nothing()
        };
        other(effort.as_str(), parameters)
    }))
    .collect()
}

/// A hello with two tools.
fn hello<H: Harness>(harness: &H, parameters: Parameters) -> ModelRequest {
    let tools = ["read", "write"].into_iter().filter_map(|name| {
        Some(ToolSpec {
            name: tool(name)?,
            description: "Does it.".to_owned(),
            input_schema: json!({"type": "object", "properties": {}}),
        })
    });
    ModelRequest {
        tools: Arc::new(tools.collect()),
        parameters: Arc::new(parameters),
        ..request(harness)
    }
}

fn sent<H: Harness>(harness: &H) -> Result<Vec<String>, Halt> {
    harness.requests().ok_or(UNSEEN)
}

/// MP-15.
pub async fn a_parameter_is_asked_for_or_refused<H: Harness>(harness: H) -> Outcome {
    let steps = [Step::text("well"), Step::Finish(FinishReason::Stop)];
    set(&harness, &Answer::of(steps)).await?;
    call(&harness, hello(&harness, Parameters::default()))
        .await?
        .well("called without parameters")?;
    let plain = sent(&harness)?.pop().unwrap_or_default();
    for Asked {
        what,
        mark,
        parameters,
    } in all()
    {
        let did = format!("asked for {what}");
        let before = sent(&harness)?.len();
        let seen = call(&harness, hello(&harness, parameters)).await?;
        let now = sent(&harness)?;
        if let Some(error) = &seen.error {
            same(&did, error.kind(), Kind::Unsupported)?;
            same(format!("{did}, which was refused"), now.len(), before)?;
            continue;
        }
        let Some(newest) = now.last().filter(|_newest| now.len() > before) else {
            return Err(broken(did, "a call", "none"));
        };
        match mark {
            Some(mark) => holds(newest.contains(mark), did, mark, newest)?,
            None => holds(
                *newest != plain,
                did,
                "something else sent than without it, or a refusal",
                newest,
            )?,
        }
    }
    Ok(())
}

/// MP-15.
pub async fn a_call_that_must_be_made_is_asked_for_where_it_is_declared<H: Harness>(
    harness: H,
) -> Outcome {
    let declared = harness.provider().capabilities(&harness.model());
    let steps = [Step::text("well"), Step::Finish(FinishReason::Stop)];
    set(&harness, &Answer::of(steps)).await?;
    call(&harness, hello(&harness, Parameters::default()))
        .await?
        .well("called without parameters")?;
    let mut all = sent(&harness)?;
    for (what, choice) in [
        ("a call", Some(ToolChoice::Required)),
        ("a call of one tool", tool("read").map(ToolChoice::Tool)),
        ("a call of another", tool("write").map(ToolChoice::Tool)),
    ] {
        let did = format!("asked for {what}");
        let parameters = Parameters {
            tool_choice: choice,
            ..Parameters::default()
        };
        let before = all;
        let seen = call(&harness, hello(&harness, parameters)).await?;
        all = sent(&harness)?;
        if !declared.forced_calls {
            seen.failed_as(&did, Kind::Unsupported)?;
            same(did, all.len(), before.len())?;
            continue;
        }
        seen.well(&did)?;
        let newest = all.get(before.len()..).and_then(<[String]>::last);
        let Some(newest) = newest else {
            return Err(broken(did, "a call", "none"));
        };
        holds(
            !before.contains(newest),
            did,
            "something that was not sent before",
            newest,
        )?;
    }
    Ok(())
}

/// MP-15.
pub async fn a_parameter_that_does_not_exist_is_never_sent<H: Harness>(harness: H) -> Outcome {
    let nothing = Parameters::default;
    let choosing = |choice| Parameters {
        tool_choice: Some(choice),
        ..Parameters::default()
    };
    let mut wrong: Vec<(&str, ModelRequest)> = [
        (
            "a temperature below 0",
            Parameters {
                temperature: Some(-0.5),
                ..nothing()
            },
        ),
        (
            "a temperature that is no number",
            Parameters {
                temperature: Some(f64::NAN),
                ..nothing()
            },
        ),
        (
            "more than all of the likely tokens",
            Parameters {
                top_p: Some(1.5),
                ..nothing()
            },
        ),
        (
            "a seed beyond all seeds",
            Parameters {
                seed: Some(u32::MAX),
                ..nothing()
            },
        ),
        (
            "an answer that ends before it begins",
            Parameters {
                stop: vec![String::new()],
                ..nothing()
            },
        ),
    ]
    .map(|(what, parameters)| (what, hello(&harness, parameters)))
    .into();
    if let Some(unknown) = tool("unknown") {
        let request = hello(&harness, choosing(ToolChoice::Tool(unknown)));
        wrong.push(("a call of a tool that is not there", request));
    }
    let without_tools = ModelRequest {
        tools: Arc::default(),
        ..hello(&harness, choosing(ToolChoice::Required))
    };
    wrong.push(("a call, without tools", without_tools));
    for (what, request) in wrong {
        let did = format!("asked for {what}");
        call(&harness, request)
            .await?
            .failed_as(&did, Kind::InvalidRequest)?;
        same(did, sent(&harness)?.len(), 0)?;
    }
    Ok(())
}
