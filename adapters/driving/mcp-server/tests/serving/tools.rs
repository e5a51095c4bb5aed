//! Agents and runs as tools, over both transports.

use rmcp::ServiceError;
use rmcp::model::{CallToolRequestParams, ErrorCode};
use seaworthy::ports::RunId;
use seaworthy_fakes::Step;
use seaworthy_mcp_server::{AgentServer, InvalidAgents, ServerSettings};
use serde_json::json;

use crate::stage::{
    Client, LONG, Stage, agent, call, notes, over_http, over_lines, refusal, report, says,
};

/// The same clients of the same agents, once over each transport.
async fn both(stage: &Stage, names: &[&str]) -> [Client; 2] {
    let server = stage.server(names);
    [
        over_lines(stage, server.clone()).await,
        over_http(stage, server).await,
    ]
}

#[tokio::test]
async fn each_agent_is_a_tool_beside_those_about_runs() {
    let stage = Stage::new([]);
    for client in both(&stage, &["clerk", "porter"]).await {
        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        let runs = [
            "run_status",
            "run_wait",
            "run_cancel",
            "run_approve",
            "run_deny",
            "run_answer",
        ];
        assert_eq!(names, [&["clerk", "porter"], &runs[..]].concat());
        let about = tools[0].description.as_deref().unwrap();
        assert!(about.contains("Note what clerk is told."), "{about}");
        for tool in &tools {
            let takes = &tool.input_schema;
            assert_eq!(takes["additionalProperties"], false, "{}", tool.name);
            let reads = tool.annotations.as_ref().unwrap().read_only_hint;
            let looks = ["run_status", "run_wait"].contains(&tool.name.as_ref());
            assert_eq!(reads, Some(looks), "{}", tool.name);
        }
    }
}

#[tokio::test]
async fn an_agent_that_is_called_answers() {
    let stage = Stage::new([says("One."), says("Two.")]);
    for (client, answer) in both(&stage, &["clerk"]).await.iter().zip(["One.", "Two."]) {
        let done = call(
            client,
            "clerk",
            json!({ "input": "?", "wait_seconds": LONG }),
        )
        .await;
        assert_eq!(done.is_error, Some(false));
        let report = report(&done);
        assert_eq!(report["status"], "succeeded");
        assert_eq!(report["answer"], answer);
        assert_eq!(report["agent"], "clerk");
    }
}

#[tokio::test]
async fn the_same_call_made_again_starts_nothing() {
    let stage = Stage::new([says("Once.")]);
    let ask = json!({ "input": "?", "run_id": "mine", "wait_seconds": LONG });
    for client in both(&stage, &["clerk"]).await {
        for _again in 0..2 {
            let done = report(&call(&client, "clerk", ask.clone()).await);
            assert_eq!(
                (&done["run_id"], &done["answer"]),
                (&json!("mine"), &json!("Once."))
            );
        }
        let other = json!({ "input": "something else", "run_id": "mine" });
        refusal(&call(&client, "clerk", other).await);
    }
}

#[tokio::test]
async fn a_call_returns_while_its_run_goes_on() {
    let mut stage = Stage::without_worker([says("Late.")]);
    let [lines, http] = both(&stage, &["clerk"]).await;
    let ask = json!({ "input": "?", "run_id": "slow", "wait_seconds": 0 });
    let begun = report(&call(&lines, "clerk", ask).await);
    assert_eq!(begun["status"], "queued");
    assert!(begun["next"].as_str().unwrap().contains("run_wait"));
    stage.work();
    let done = call(
        &http,
        "run_wait",
        json!({ "run_id": "slow", "wait_seconds": LONG }),
    )
    .await;
    assert_eq!(report(&done)["answer"], "Late.");
    let status = call(&lines, "run_status", json!({ "run_id": "slow" })).await;
    assert_eq!(report(&status), report(&done));
}

#[tokio::test]
async fn a_question_of_a_server_waits_for_a_person_and_is_answered_once() {
    let books = || Step::calls("desk__book", &json!({}));
    for (reply, heard) in [
        (
            json!({ "action": "accept", "content": { "name": "Ada" } }),
            "Ada",
        ),
        (json!({ "action": "decline" }), "nobody"),
        (json!({ "action": "dismiss" }), "nobody"),
    ] {
        let stage = Stage::new([books(), says("Done.")]);
        let [lines, http] = both(&stage, &["booker"]).await;
        let ask = json!({ "input": "?", "run_id": "r", "wait_seconds": LONG });
        let waits = report(&call(&lines, "booker", ask).await);
        assert_eq!(waits["waiting_for"], "question", "{waits}");
        let asked = &waits["questions"][0];
        assert_eq!(asked["server"], "desk");
        assert_eq!(asked["wants"]["message"], "For whom?");

        let answer = |reply: &serde_json::Value| {
            let mut answer = reply.clone();
            answer["question_id"] = asked["question_id"].clone();
            answer["wait_seconds"] = LONG.into();
            answer
        };
        for wrong in [
            json!({ "action": "accept" }),
            json!({ "action": "accept", "content": { "name": 7 } }),
            json!({ "action": "decline", "content": {} }),
            json!({ "action": "shrug" }),
        ] {
            refusal(&call(&http, "run_answer", answer(&wrong)).await);
        }
        let done = report(&call(&http, "run_answer", answer(&reply)).await);
        assert_eq!(done["answer"], "Done.");
        refusal(&call(&lines, "run_answer", answer(&reply)).await);
        let view = stage.harness.view(&RunId::new("r").unwrap()).await.unwrap();
        let messages = serde_json::to_string(&*view.state.messages).unwrap();
        assert!(messages.contains(heard), "{messages}");
    }
}

#[tokio::test]
async fn a_call_that_needs_a_person_waits_for_one_and_is_made_once_approved() {
    for granted in [true, false] {
        let stage = Stage::new([notes(), says("Done.")]);
        let [lines, http] = both(&stage, &["clerk"]).await;
        let ask = json!({ "input": "?", "run_id": "r", "wait_seconds": LONG });
        let waits = report(&call(&lines, "clerk", ask).await);
        assert_eq!(
            (&waits["status"], &waits["waiting_for"]),
            (&json!("waiting"), &json!("approval"))
        );
        let asked = &waits["approvals"][0];
        assert_eq!(
            (&asked["tool"], &asked["arguments"]),
            (&json!("note"), &json!({ "text": "milk" }))
        );
        assert_eq!(stage.noted(), 0);

        let tool = if granted { "run_approve" } else { "run_deny" };
        let answer = json!({ "approval_id": asked["approval_id"], "reason": "because", "wait_seconds": LONG });
        let done = report(&call(&http, tool, answer.clone()).await);
        assert_eq!(
            (&done["status"], &done["answer"]),
            (&json!("succeeded"), &json!("Done."))
        );
        assert_eq!(stage.noted(), u32::from(granted));
        // Once is enough, whoever was first.
        refusal(&call(&lines, tool, answer).await);
        let state = stage
            .harness
            .view(&RunId::new("r").unwrap())
            .await
            .unwrap()
            .state;
        let by = state.calls[&1].approval.clone().unwrap().answer.unwrap();
        assert_eq!((by.granted, by.by.as_str()), (granted, "an MCP client"));
    }
}

#[tokio::test]
async fn a_client_that_said_its_name_is_on_record() {
    let stage = Stage::new([notes()]);
    let client = over_lines(&stage, stage.server(&["clerk"])).await;
    let ask = json!({ "input": "?", "run_id": "r", "wait_seconds": LONG });
    call(&client, "clerk", ask).await;
    let ended = call(
        &client,
        "run_cancel",
        json!({ "run_id": "r", "reason": "enough" }),
    )
    .await;
    let cancelled = &report(&ended)["cancelled"];
    assert_eq!(
        *cancelled,
        json!({ "by": "MCP client tester", "reason": "enough" })
    );
}

#[tokio::test]
async fn a_run_that_did_not_succeed_is_an_error_of_its_agents_call_alone() {
    let stage = Stage::without_worker([]);
    let client = over_lines(&stage, stage.server(&["clerk"])).await;
    let ask = json!({ "input": "?", "run_id": "r", "wait_seconds": 0 });
    call(&client, "clerk", ask.clone()).await;
    let cancel = json!({ "run_id": "r" });
    for _again in 0..2 {
        let ended = call(&client, "run_cancel", cancel.clone()).await;
        assert_eq!(
            (ended.is_error, &report(&ended)["status"]),
            (Some(false), &json!("cancelled"))
        );
    }
    assert_eq!(
        call(&client, "run_status", cancel).await.is_error,
        Some(false)
    );
    assert_eq!(call(&client, "clerk", ask).await.is_error, Some(true));
}

#[tokio::test]
async fn runs_of_agents_that_are_not_served_are_not_there() {
    let stage = Stage::new([notes()]);
    let owner = over_lines(&stage, stage.server(&["clerk"])).await;
    let ask = json!({ "input": "?", "run_id": "r", "wait_seconds": LONG });
    let waits = report(&call(&owner, "clerk", ask).await);
    let stranger = over_http(&stage, stage.server(&["porter"])).await;
    let approval = json!({ "approval_id": waits["approvals"][0]["approval_id"] });
    let run = json!({ "run_id": "r" });
    let nowhere = json!({ "run_id": "nowhere" });
    let unknown = refusal(&call(&stranger, "run_status", nowhere).await);
    for (tool, arguments) in [
        ("run_status", &run),
        ("run_wait", &run),
        ("run_cancel", &run),
        ("run_approve", &approval),
        ("run_deny", &approval),
    ] {
        let said = refusal(&call(&stranger, tool, arguments.clone()).await);
        assert_eq!(said.replace(" r ", " nowhere "), unknown, "{tool}");
    }
    assert_eq!(
        report(&call(&owner, "run_status", run).await)["status"],
        "waiting"
    );
}

#[tokio::test]
async fn what_cannot_be_meant_is_said_to_whoever_calls() {
    let stage = Stage::without_worker([]);
    let client = over_lines(&stage, stage.server(&["clerk"])).await;
    for (tool, arguments) in [
        ("clerk", json!({})),
        ("clerk", json!({ "input": 1 })),
        ("clerk", json!({ "input": "?", "colour": "red" })),
        ("clerk", json!({ "input": "?", "run_id": "not an id" })),
        ("clerk", json!({ "input": "?", "session": "" })),
        ("clerk", json!({ "input": "?", "wait_seconds": 301 })),
        ("clerk", json!({ "input": "?", "wait_seconds": -1 })),
        ("clerk", json!({ "input": "x".repeat(1024 * 1024 + 1) })),
        ("run_status", json!({})),
        ("run_approve", json!({ "approval_id": "none" })),
        ("run_approve", json!({ "approval_id": "r.c1" })),
        (
            "run_cancel",
            json!({ "run_id": "r", "reason": "x".repeat(4097) }),
        ),
    ] {
        assert!(
            !refusal(&call(&client, tool, arguments.clone()).await).is_empty(),
            "{tool} {arguments}"
        );
    }
    let unknown = client.call_tool(CallToolRequestParams::new("nobody")).await;
    let Err(ServiceError::McpError(error)) = unknown else {
        panic!("{unknown:?}");
    };
    assert_eq!(error.code, ErrorCode::INVALID_PARAMS);
    assert!(
        stage
            .harness
            .runs(Default::default(), std::num::NonZeroU32::MIN, None)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn where_clients_do_not_decide_there_are_no_tools_for_it() {
    let stage = Stage::without_worker([]);
    let mut settings = ServerSettings::new("/workspace");
    settings.decides = false;
    let client = over_lines(&stage, stage.server_with(&["clerk"], settings)).await;
    let tools = client.list_all_tools().await.unwrap();
    assert!(
        tools
            .iter()
            .all(|tool| !["run_approve", "run_deny"].contains(&tool.name.as_ref()))
    );
    for tool in ["run_approve", "run_deny"] {
        let called = client.call_tool(CallToolRequestParams::new(tool)).await;
        assert!(
            matches!(called, Err(ServiceError::McpError(_))),
            "{called:?}"
        );
    }
}

#[tokio::test]
async fn more_calls_than_there_are_places_are_refused() {
    let stage = Stage::without_worker([]);
    let mut settings = ServerSettings::new("/workspace");
    settings.max_calls = 1;
    let client = over_lines(&stage, stage.server_with(&["clerk"], settings)).await;
    let run = json!({ "run_id": "r" });
    let ask = json!({ "input": "?", "run_id": "r", "wait_seconds": LONG });
    let waiting = call(&client, "clerk", ask);
    let refused = async {
        // Its place is taken before its run is there.
        let r = RunId::new("r").unwrap();
        crate::stage::until(async || stage.harness.view(&r).await.is_ok()).await;
        let refused = refusal(&call(&client, "run_status", run.clone()).await);
        stage.end();
        refused
    };
    let (waited, refused) = futures_util::future::join(waiting, refused).await;
    assert!(refused.contains('1'), "{refused}");
    // The server stops, so nobody waits any longer; the run is as it was.
    assert_eq!(report(&waited)["status"], "queued");
}

#[test]
fn agents_that_cannot_be_told_apart_are_not_served() {
    let stage = Stage::without_worker([]);
    let serve = |names: &[&str]| {
        let agents = names.iter().map(|name| agent(name)).collect();
        let settings = ServerSettings::new("/workspace");
        AgentServer::new(stage.harness.clone(), agents, settings, stage.stop.clone()).err()
    };
    assert_eq!(serve(&["a", "b"]), None);
    assert_eq!(serve(&[]), Some(InvalidAgents::None));
    assert_eq!(
        serve(&["a", "a"]),
        Some(InvalidAgents::Twice("a".to_owned()))
    );
    let reserved = "run_wait".to_owned();
    assert_eq!(
        serve(&["run_wait"]),
        Some(InvalidAgents::Reserved(reserved))
    );
}
