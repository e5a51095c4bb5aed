//! The line transport where its client does not behave.

use seaworthy_mcp_server::{MAX_LINE_BYTES, MAX_UNANSWERED, serve_stdio};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::stage::{LONG, Stage};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"raw","version":"0"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
"#;

fn line(message: &Value) -> String {
    format!("{message}\n")
}

#[tokio::test]
async fn a_line_that_is_too_long_or_no_message_is_passed_over() {
    let stage = Stage::without_worker([]);
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (input, output) = tokio::io::split(theirs);
    let serving = tokio::spawn(serve_stdio(
        stage.server(&["clerk"]),
        input,
        output,
        stage.stop.clone(),
    ));
    let (reads, mut writes) = tokio::io::split(ours);
    let mut lines = BufReader::new(reads).lines();
    writes.write_all(INITIALIZE.as_bytes()).await.unwrap();
    let initialized: Value =
        serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(initialized["result"]["serverInfo"]["name"], "seaworthy");
    assert_eq!(initialized["result"]["protocolVersion"], "2025-11-25");
    writes
        .write_all("this is no message\n".as_bytes())
        .await
        .unwrap();
    let long = format!("\"{}\"\n", "x".repeat(MAX_LINE_BYTES));
    writes.write_all(long.as_bytes()).await.unwrap();
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    writes.write_all(line(&ping).as_bytes()).await.unwrap();
    let answer: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
    // The end of the input is the end of the conversation.
    writes.shutdown().await.unwrap();
    serving.await.unwrap().unwrap();
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answers_gets_no_further() {
    let stage = Stage::without_worker([]);
    // So small that no answer fits.
    let (ours, theirs) = tokio::io::duplex(64);
    let (input, output) = tokio::io::split(theirs);
    tokio::spawn(serve_stdio(
        stage.server(&["clerk"]),
        input,
        output,
        stage.stop.clone(),
    ));
    let (reads, mut writes) = tokio::io::split(ours);
    let mut lines = BufReader::new(reads).lines();
    writes.write_all(INITIALIZE.as_bytes()).await.unwrap();
    lines.next_line().await.unwrap();
    let asked = 4 * MAX_UNANSWERED;
    let writing = tokio::spawn(async move {
        for id in 1..=asked {
            let ping = line(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" }));
            writes.write_all(ping.as_bytes()).await.unwrap();
        }
        writes
    });
    // Whoever begins to read gets every answer.
    tokio::task::yield_now().await;
    assert!(!writing.is_finished());
    for _answer in 0..asked {
        lines.next_line().await.unwrap().unwrap();
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn whoever_waits_is_let_go_when_the_client_leaves_or_the_server_stops() {
    for leaves in [true, false] {
        let stage = Stage::without_worker([]);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (input, output) = tokio::io::split(theirs);
        let serving = tokio::spawn(serve_stdio(
            stage.server(&["clerk"]),
            input,
            output,
            stage.stop.clone(),
        ));
        let (reads, mut writes) = tokio::io::split(ours);
        let mut lines = BufReader::new(reads).lines();
        writes.write_all(INITIALIZE.as_bytes()).await.unwrap();
        lines.next_line().await.unwrap();
        let ask = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "clerk", "arguments": { "input": "?", "run_id": "r", "wait_seconds": LONG } },
        });
        writes.write_all(line(&ask).as_bytes()).await.unwrap();
        let run = seaworthy::ports::RunId::new("r").unwrap();
        crate::stage::until(async || stage.harness.view(&run).await.is_ok()).await;
        if leaves {
            writes.shutdown().await.unwrap();
        } else {
            stage.end();
        }
        serving.await.unwrap().unwrap();
    }
}
