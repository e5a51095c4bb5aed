//! The line transport where its client does not behave.

use seaworthy_mcp_server::{MAX_LINE_BYTES, MAX_UNANSWERED, StdioError, serve_stdio};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};
use tokio::task::JoinHandle;

use crate::stage::{LONG, Stage};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"raw","version":"0"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
"#;

fn line(message: &Value) -> String {
    format!("{message}\n")
}

/// A client that writes and reads lines, and the server that it speaks to.
struct Talk {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    writes: WriteHalf<DuplexStream>,
    serving: JoinHandle<Result<(), StdioError>>,
}

impl Talk {
    /// Begins a conversation over a pipe that holds `room` bytes.
    fn begin(stage: &Stage, room: usize) -> Self {
        let (ours, theirs) = tokio::io::duplex(room);
        let (input, output) = tokio::io::split(theirs);
        let server = stage.server(&["clerk"]);
        let serving = tokio::spawn(serve_stdio(server, input, output, stage.stop.clone()));
        let (reads, writes) = tokio::io::split(ours);
        Self {
            lines: BufReader::new(reads).lines(),
            writes,
            serving,
        }
    }

    /// The same, with what the protocol begins with, and the server's answer to that.
    async fn greeted(stage: &Stage, room: usize) -> (Self, Value) {
        let mut talk = Self::begin(stage, room);
        talk.write(INITIALIZE).await;
        let answer = talk.answer().await;
        (talk, answer)
    }

    async fn write(&mut self, text: &str) {
        self.writes.write_all(text.as_bytes()).await.unwrap();
    }

    async fn answer(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

#[tokio::test]
async fn a_line_that_is_too_long_or_no_message_is_passed_over() {
    let stage = Stage::without_worker([]);
    let (mut talk, initialized) = Talk::greeted(&stage, 64 * 1024).await;
    assert_eq!(initialized["result"]["serverInfo"]["name"], "seaworthy");
    assert_eq!(initialized["result"]["protocolVersion"], "2025-11-25");
    talk.write("this is no message\n").await;
    talk.write(&format!("\"{}\"\n", "x".repeat(MAX_LINE_BYTES)))
        .await;
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    talk.write(&line(&ping)).await;
    let answer = talk.answer().await;
    assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
    // The end of the input is the end of the conversation.
    talk.writes.shutdown().await.unwrap();
    talk.serving.await.unwrap().unwrap();
    assert_eq!(talk.lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answers_gets_no_further() {
    let stage = Stage::without_worker([]);
    // So small that no answer fits.
    let (talk, _initialized) = Talk::greeted(&stage, 64).await;
    let (mut writes, mut lines) = (talk.writes, talk.lines);
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
        let (mut talk, _initialized) = Talk::greeted(&stage, 64 * 1024).await;
        let ask = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "clerk", "arguments": { "input": "?", "run_id": "r", "wait_seconds": LONG } },
        });
        talk.write(&line(&ask)).await;
        let run = seaworthy::ports::RunId::new("r").unwrap();
        crate::stage::until(async || stage.harness.view(&run).await.is_ok()).await;
        if leaves {
            talk.writes.shutdown().await.unwrap();
        } else {
            stage.end();
        }
        talk.serving.await.unwrap().unwrap();
    }
}
