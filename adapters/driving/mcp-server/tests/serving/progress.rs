//! What clients are told while they wait, and what becomes of a run when they do not wait any more.

use std::sync::{Arc, Mutex};

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CancelledNotificationParam, ClientRequest,
    ProgressNotificationParam, ServerResult,
};
use rmcp::service::{NotificationContext, PeerRequestOptions};
use rmcp::{ClientHandler, RoleClient, ServiceExt as _};
use seaworthy::ports::RunId;
use seaworthy::state::Status;
use seaworthy_mcp_server::serve_stdio;
use serde_json::json;

use crate::stage::{LONG, Stage, call, over_http, over_lines, report, says, until};

#[derive(Clone, Default)]
struct Listening(Arc<Mutex<Vec<(f64, String)>>>);

impl ClientHandler for Listening {
    async fn on_progress(
        &self,
        told: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let message = told.message.unwrap_or_default();
        self.0.lock().unwrap().push((told.progress, message));
    }
}

fn begin(run: &str) -> CallToolRequestParams {
    let arguments = json!({ "input": "?", "run_id": run, "wait_seconds": LONG });
    CallToolRequestParams::new("clerk").with_arguments(arguments.as_object().unwrap().clone())
}

#[tokio::test]
async fn a_client_that_wants_to_know_is_told_of_every_record() {
    let mut stage = Stage::without_worker([says("Done.")]);
    let server = stage.server(&["clerk"]);
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (input, output) = tokio::io::split(theirs);
    tokio::spawn(serve_stdio(server, input, output, stage.stop.clone()));
    let heard = Listening::default();
    let client = heard.clone().serve(ours).await.unwrap();
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(begin("r")));
    // This client of rmcp sends a progress token with every request.
    let handle = client
        .send_cancellable_request(request, PeerRequestOptions::no_options())
        .await
        .unwrap();
    let run = RunId::new("r").unwrap();
    until(async || stage.harness.view(&run).await.is_ok()).await;
    stage.work();
    let ServerResult::CallToolResult(done) = handle.await_response().await.unwrap() else {
        panic!("a tool's result");
    };
    assert_eq!(report(&done)["answer"], "Done.");
    // Notifications are handled beside the answer.
    until(async || heard.0.lock().unwrap().len() >= 3).await;
    let mut told = heard.0.lock().unwrap().clone();
    told.sort_by(|left, right| left.0.total_cmp(&right.0));
    let told: Vec<&str> = told
        .iter()
        .map(|(_seq, message)| message.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "a worker took it up, attempt 1",
            "the model answered",
            "run succeeded"
        ]
    );
}

#[tokio::test]
async fn a_client_that_waits_no_longer_does_not_end_the_run() {
    let mut stage = Stage::without_worker([says("All the same.")]);
    let server = stage.server(&["clerk"]);
    let run = RunId::new("r").unwrap();
    for client in [
        over_lines(&stage, server.clone()).await,
        over_http(&stage, server.clone()).await,
    ] {
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(begin("r")));
        let handle = client
            .send_cancellable_request(request, PeerRequestOptions::no_options())
            .await
            .unwrap();
        until(async || stage.harness.view(&run).await.is_ok()).await;
        client
            .notify_cancelled(CancelledNotificationParam::new(
                Some(handle.id.clone()),
                Some("the person went home".to_owned()),
            ))
            .await
            .unwrap();
        drop(handle);
        drop(client);
    }
    let view = stage.harness.view(&run).await.unwrap();
    assert_eq!(view.status(), Status::Queued);
    stage.work();
    let client = over_http(&stage, server).await;
    let wait = json!({ "run_id": "r", "wait_seconds": LONG });
    assert_eq!(
        report(&call(&client, "run_wait", wait).await)["answer"],
        "All the same."
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_place() {
    let stage = Stage::without_worker([]);
    let mut settings = seaworthy_mcp_server::ServerSettings::new("/workspace");
    settings.max_calls = 1;
    let server = stage.server_with(&["clerk"], settings);
    let url = stage.http(server.clone()).await;
    let ask = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "clerk", "arguments": { "input": "?", "run_id": "r", "wait_seconds": LONG } },
    });
    let hanging = crate::http::post(&url, &ask).send();
    // Long enough for the call to be in flight is until its run is there.
    let run = RunId::new("r").unwrap();
    let begun = until(async || stage.harness.view(&run).await.is_ok());
    tokio::select! {
        answered = hanging => panic!("{answered:?}"),
        () = begun => {}
    }
    // The place is free as soon as the server noticed.
    let client = over_lines(&stage, server).await;
    until(async || {
        let status = call(&client, "run_status", json!({ "run_id": "r" })).await;
        status.is_error == Some(false)
    })
    .await;
}
