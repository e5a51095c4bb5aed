//! Runs and records as resources, agents as prompts.

use rmcp::ServiceError;
use rmcp::model::{
    ErrorCode, GetPromptRequestParams, PaginatedRequestParams, ReadResourceRequestParams,
    ResourceContents,
};
use serde_json::{Value, json};

use crate::stage::{Client, LONG, Stage, call, over_http, over_lines, says};

async fn read(client: &Client, uri: &str) -> Result<Value, ErrorCode> {
    match client
        .read_resource(ReadResourceRequestParams::new(uri))
        .await
    {
        Ok(read) => match &read.contents[0] {
            ResourceContents::TextResourceContents {
                text, mime_type, ..
            } => {
                assert_eq!(mime_type.as_deref(), Some("application/json"));
                Ok(serde_json::from_str(text).unwrap())
            }
            other => panic!("{other:?}"),
        },
        Err(ServiceError::McpError(error)) => Err(error.code),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_run_of_a_served_agent_is_listed_once_page_by_page() {
    let stage = Stage::without_worker([]);
    let client = over_lines(&stage, stage.server(&["clerk", "porter"])).await;
    for number in 0..60 {
        let ask = json!({ "input": "?", "run_id": format!("run_{number:02}"), "wait_seconds": 0 });
        let agent = if number % 4 == 0 { "porter" } else { "clerk" };
        call(&client, agent, ask).await;
    }
    let one = over_http(&stage, stage.server(&["porter"])).await;
    for (client, runs) in [(&client, 60), (&one, 15)] {
        let (mut uris, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = PaginatedRequestParams::default().with_cursor(cursor);
            let listed = client.list_resources(Some(page)).await.unwrap();
            assert!(listed.resources.len() <= 50);
            uris.extend(listed.resources.into_iter().map(|resource| resource.uri));
            pages += 1;
            cursor = listed.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert!(pages <= 3, "{pages}");
        uris.sort();
        uris.dedup();
        assert_eq!(uris.len(), runs);
    }
    let made_up = PaginatedRequestParams::default().with_cursor(Some("9.x".to_owned()));
    assert!(client.list_resources(Some(made_up)).await.is_err());
}

#[tokio::test]
async fn a_run_and_all_its_records_can_be_read() {
    let stage = Stage::new([says("Done.")]);
    let server = stage.server(&["clerk"]);
    for (client, run) in [
        (over_lines(&stage, server.clone()).await, "r"),
        (over_http(&stage, server.clone()).await, "r"),
    ] {
        let ask = json!({ "input": "?", "run_id": run, "wait_seconds": LONG });
        call(&client, "clerk", ask).await;
        let shown = read(&client, "seaworthy://runs/r").await.unwrap();
        assert_eq!(shown["answer"], "Done.");
        let page = read(&client, shown["records_uri"].as_str().unwrap())
            .await
            .unwrap();
        let records = page["records"].as_array().unwrap();
        assert_eq!(page["next"], Value::Null);
        assert_eq!(json!(records.len()), shown["records"]);
        assert_eq!(records[0]["type"], "run_submitted");
        assert_eq!(records[0]["data"]["input"], "?");
        let rest = read(&client, "seaworthy://runs/r/records?after=2")
            .await
            .unwrap();
        assert_eq!(rest["records"].as_array().unwrap(), &records[2..]);
    }
}

#[tokio::test]
async fn records_come_in_pages_that_can_be_followed() {
    let stage = Stage::without_worker([]);
    let client = over_lines(&stage, stage.server(&["clerk"])).await;
    // Each record has most of a page.
    let input = "x".repeat(400 * 1024);
    let ask = json!({ "input": input, "run_id": "r", "wait_seconds": 0 });
    call(&client, "clerk", ask).await;
    let reason = "y".repeat(4000);
    call(
        &client,
        "run_cancel",
        json!({ "run_id": "r", "reason": reason }),
    )
    .await;
    let first = read(&client, "seaworthy://runs/r/records").await.unwrap();
    assert_eq!(first["records"].as_array().unwrap().len(), 2);
    // One that is larger than a page says so, and the rest can be read.
    let input = "x".repeat(600 * 1024);
    let ask = json!({ "input": input, "run_id": "s", "wait_seconds": 0 });
    call(&client, "clerk", ask).await;
    call(&client, "run_cancel", json!({ "run_id": "s" })).await;
    let page = read(&client, "seaworthy://runs/s/records").await.unwrap();
    let records = page["records"].as_array().unwrap();
    assert!(records[0]["data"]["$left_out"].is_string());
    assert_eq!(records.len(), 2);
}

#[tokio::test]
async fn what_is_not_there_cannot_be_read() {
    let stage = Stage::without_worker([]);
    let owner = over_lines(&stage, stage.server(&["clerk"])).await;
    call(
        &owner,
        "clerk",
        json!({ "input": "?", "run_id": "r", "wait_seconds": 0 }),
    )
    .await;
    let stranger = over_lines(&stage, stage.server(&["porter"])).await;
    for uri in [
        "seaworthy://runs/r",
        "seaworthy://runs/r/records",
        "seaworthy://runs/nowhere",
    ] {
        assert_eq!(
            read(&stranger, uri).await,
            Err(ErrorCode::RESOURCE_NOT_FOUND),
            "{uri}"
        );
    }
    let wrong = format!(
        "seaworthy://runs/r/records?after=1.sha256:{}",
        "0".repeat(64)
    );
    for uri in [
        "file:///etc/passwd",
        "seaworthy://runs/../r",
        wrong.as_str(),
    ] {
        // A link behind the last record is only found out to be wrong where there is another record.
        let read = read(&owner, uri).await;
        assert!(
            read == Err(ErrorCode::INVALID_PARAMS)
                || read.is_ok_and(|page| page["records"] == json!([])),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn there_are_templates_for_runs_and_their_records() {
    let stage = Stage::without_worker([]);
    let client = over_http(&stage, stage.server(&["clerk"])).await;
    let templates = client.list_all_resource_templates().await.unwrap();
    let uris: Vec<&str> = templates
        .iter()
        .map(|each| each.uri_template.as_str())
        .collect();
    assert_eq!(
        uris,
        [
            "seaworthy://runs/{run_id}",
            "seaworthy://runs/{run_id}/records{?after}"
        ]
    );
}

#[tokio::test]
async fn an_agents_prompt_is_its_instructions_and_the_task() {
    let stage = Stage::without_worker([]);
    let client = over_http(&stage, stage.server(&["clerk"])).await;
    let prompts = client.list_all_prompts().await.unwrap();
    assert_eq!(prompts.len(), 1);
    let ask = |arguments: Value| {
        let request = GetPromptRequestParams::new("clerk");
        client.get_prompt(request.with_arguments(arguments.as_object().unwrap().clone()))
    };
    let got = ask(json!({ "input": "Milk." })).await.unwrap();
    let texts = got
        .messages
        .iter()
        .map(|message| message.content.as_text().unwrap().text.as_str());
    assert_eq!(
        texts.collect::<Vec<_>>(),
        ["Note what clerk is told.", "Milk."]
    );
    for wrong in [
        json!({}),
        json!({ "input": 1 }),
        json!({ "input": "a", "b": "c" }),
    ] {
        assert!(ask(wrong).await.is_err());
    }
    assert!(
        client
            .get_prompt(GetPromptRequestParams::new("nobody"))
            .await
            .is_err()
    );
}
