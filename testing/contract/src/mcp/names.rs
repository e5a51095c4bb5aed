//! MC-4: names, hints and schemas.

use seaworthy_ports::mcp::{Kind, tool_name};
use seaworthy_ports::{Effect, ServerAlias};
use serde_json::{Value, json};

use super::serve::echoed;
use super::stage::{CANARY, Stage, call, fails, is_usable, made};
use super::{ALIAS, Harness};
use crate::outcome::{Outcome, id, ok, refused, same, within};

/// MC-4.
pub async fn tools_are_named_by_alias_and_called_by_their_own_names<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "names").await?;
    let session = stage.session().await?;
    let alias = id(ServerAlias::new(ALIAS))?;
    let tools = ok("asked for tools with unusual names", session.tools().await)?;
    same("counted the tools", tools.len(), stage.script.tools.len())?;
    for (tool, expected) in tools.iter().zip(&stage.script.tools) {
        same(
            "asked for the server's name of a tool",
            &tool.remote,
            &expected.name,
        )?;
        let name = id(tool_name(&alias, &expected.name))?;
        same(
            format!("asked for the name of {:?}", expected.name),
            &tool.name,
            &name,
        )?;
        let arguments = json!({"name": expected.name});
        let did = "called a tool by the server's own name for it";
        let answer = made(&session, call(&tool.remote, arguments.clone())).await?;
        same(did, ok(did, answer)?, echoed(&arguments, &json!({})))?;
        stage.called(&expected.name, 1)?;
    }
    Ok(())
}

async fn is_malformed<H: Harness>(harness: H, name: &str, did: &str) -> Outcome {
    let stage = Stage::of(harness, name).await?;
    let session = stage.session().await?;
    // Again as well: a list that was refused once is not good the next time.
    for _time in 0..2 {
        refused(did, within(did, session.tools()).await?, Kind::Malformed)?;
    }
    Ok(())
}

/// MC-4.
pub async fn two_tools_of_one_name_are_malformed<H: Harness>(harness: H) -> Outcome {
    is_malformed(
        harness,
        "twins",
        "asked for tools of which two have one name",
    )
    .await
}

/// MC-4.
pub async fn two_tools_that_come_out_with_one_name_are_malformed<H: Harness>(
    harness: H,
) -> Outcome {
    let did = "asked for tools of which one has the name that another is given";
    is_malformed(harness, "lookalikes", did).await
}

/// MC-4.
pub async fn a_tool_without_a_name_is_malformed<H: Harness>(harness: H) -> Outcome {
    is_malformed(
        harness,
        "nameless",
        "asked for tools of which one has no name",
    )
    .await
}

/// MC-4.
pub async fn hints_arrive_as_the_server_gave_them<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let tools = ok("asked for the tools", session.tools().await)?;
    for (seen, expected) in tools.iter().zip(&stage.script.tools) {
        same(
            format!("asked for the hints of {}", expected.name),
            seen.hints,
            expected.hints,
        )?;
    }
    Ok(())
}

/// MC-4.
pub async fn arguments_that_do_not_fit_never_reach_the_server<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let wrong = [
        json!({}),
        json!({"path": 7}),
        json!({"path": "a", "more": 1}),
        json!(["a"]),
        json!("a"),
        Value::Null,
    ];
    for arguments in wrong {
        let did = format!("called a tool with {arguments}, which its schema forbids");
        let answer = made(&session, call("strict", arguments)).await?;
        fails(&did, answer, &[Kind::InvalidArguments], Effect::None)?;
    }
    stage.called("strict", 0)?;
    let arguments = json!({"path": "a"});
    let did = "called a tool with arguments that fit";
    let answer = made(&session, call("strict", arguments.clone())).await?;
    same(did, ok(did, answer)?, echoed(&arguments, &json!({})))?;
    stage.called("strict", 1)
}

/// MC-4. Nothing is known of such arguments, so none of them fits.
pub async fn a_schema_that_points_elsewhere_lets_no_arguments_through<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "elsewhere").await?;
    let session = stage.session().await?;
    let pointing = stage.script.tools.iter().map(|tool| tool.name.as_str());
    for tool in pointing.filter(|name| *name != "echo") {
        let did = format!("called {tool}, whose schema points to something outside itself");
        let answer = made(&session, call(tool, json!({"path": "a"}))).await?;
        let kinds = [Kind::Malformed, Kind::InvalidArguments];
        fails(&did, answer, &kinds, Effect::None)?;
        stage.called(tool, 0)?;
    }
    is_usable(&session, "calls of tools with such schemas").await
}

/// MC-4.
pub async fn data_that_do_not_fit_are_malformed<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    for tool in ["miscounts", "forgets_to_count"] {
        let did = format!("called {tool}, whose answer breaks its output schema");
        let answer = made(&session, call(tool, json!({"note": CANARY}))).await?;
        fails(&did, answer, &[Kind::Malformed], Effect::Unknown)?;
        stage.called(tool, 1)?;
    }
    is_usable(&session, "answers that break their schema").await
}

/// MC-4.
pub async fn a_tool_that_nobody_listed_is_not_found<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    // The name that a model knows a tool by is not the server's.
    for tool in ["nothing", "Echo", "scripted__echo", ""] {
        let did = format!("called the tool {tool:?}, which there is not");
        let answer = made(&session, call(tool, json!({}))).await?;
        fails(&did, answer, &[Kind::NotFound], Effect::None)?;
    }
    is_usable(&session, "calls of tools that there are not").await
}
