//! What our client adds to a call of a server's tool, and what the gateway and everything else of a run add to that,
//! against the client of the `rmcp` crate.
//!
//! All of them start the same server, list its tools once and call one of them a thousand times over that connection, one
//! call after the other. Their computing time is that of this process; the server has one of its own.

pub(crate) mod server;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use seaworthy::mcp::{McpClient, McpConfig};
use seaworthy::ports::mcp::{Beginning, Mcp as _, McpCall, McpServer, StdioCommand, Transport};
use seaworthy::ports::{Latch, ServerAlias};
use serde_json::{Value, json};

use crate::Failure;
use crate::meter::cpu;
use crate::model::{Steady, Wish};
use crate::report::{Cost, Goal, Raw, Report, Row, median, micros};
use crate::stack::Stack;

/// What is called.
const TOOL: &str = "look_up_117";
const WISH: Wish = Wish {
    tool: "many__look_up_117",
    arguments: r#"{"quarter":"third","year":2026}"#,
};
/// Calls in a turn of the run.
const A_TURN: u32 = 20;
const LONG: Duration = Duration::from_secs(30);

/// Measures.
pub(crate) async fn measure(quick: bool, report: &mut Report) -> Result<(), Failure> {
    let (rounds, calls) = if quick { (2, 200) } else { (7, 1_000) };
    let (mut bare, mut adapter, mut run) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up what all of them share.
    for round in 0..=rounds {
        let began = cpu();
        by_rmcp(calls).await?;
        let first = cpu();
        by_adapter(calls).await?;
        let second = cpu();
        in_a_run(calls).await?;
        let third = cpu();
        if round > 0 {
            let each =
                |from: Duration, to: Duration| micros(to.saturating_sub(from)) / calls as f64;
            bare.push(each(began, first));
            adapter.push(each(first, second));
            run.push(each(second, third));
        }
    }
    let middle = |times| median(times).ok_or("nothing was called");
    let (bare, adapter, run) = (middle(bare)?, middle(adapter)?, middle(run)?);
    let beside = |ours| Raw::of("the client of rmcp", ours, bare);
    report.add(
        Row::new(
            format!(
                "server with {} tools, {calls} calls: computing time a call, adapter",
                server::TOOLS
            ),
            adapter,
            "us",
        )
        .beside(beside(adapter)),
    );
    report.add(
        Row::new(
            "  the same in a run: adapter, gateway, log in memory",
            run,
            "us",
        )
        .beside(beside(run)),
    );
    report.add(
        Row::new("  the same: what a call takes above that of rmcp", run - bare, "us")
            .goal(Goal::Most(300.0))
            .costs(Cost {
                cpu: Duration::from_secs_f64(run.max(0.0) / 1e6),
                ..Cost::default()
            })
            .note(format!(
                "connecting, listing and everything of the run included; {A_TURN} calls a turn, medians of {rounds} rounds"
            )),
    );
    Ok(())
}

/// The command that is the server.
fn command() -> Result<Vec<String>, Failure> {
    let this = std::env::current_exe()?;
    let this = this.to_str().ok_or("the benchmark's own path is no text")?;
    Ok([this, "--part", "mcp-server"].map(str::to_owned).to_vec())
}

fn arguments() -> Result<Value, Failure> {
    Ok(serde_json::from_str(WISH.arguments)?)
}

async fn by_rmcp(calls: usize) -> Result<(), Failure> {
    let words = command()?;
    let (program, rest) = words.split_first().ok_or("there is no program")?;
    let mut child = tokio::process::Command::new(program)
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let pipes = (output.ok_or("no output")?, input.ok_or("no input")?);
    let client = ().serve(pipes).await?;
    let listed = client.list_all_tools().await?.len();
    counted(listed)?;
    let arguments = arguments()?;
    for _call in 0..calls {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let params = CallToolRequestParams::new(TOOL).with_arguments(arguments);
        let result = client.call_tool(params).await?;
        answered(result.content.len())?;
    }
    client.cancel().await?;
    child.wait().await?;
    Ok(())
}

async fn by_adapter(calls: usize) -> Result<(), Failure> {
    let server = McpServer {
        alias: ServerAlias::new("many")?,
        transport: Transport::Stdio(StdioCommand {
            argv: command()?,
            cwd: std::env::temp_dir(),
            env: BTreeMap::new(),
            sandbox: None,
        }),
        connect_timeout: LONG,
        request_timeout: LONG,
        host: None,
        roots: Vec::new(),
        log: None,
        beginning: Beginning::default(),
    };
    let session = McpClient::new(McpConfig::default()).connect(server).await?;
    counted(session.tools().await?.len())?;
    let arguments = arguments()?;
    for _call in 0..calls {
        let call = McpCall {
            tool: TOOL.to_owned(),
            arguments: arguments.clone(),
            meta: BTreeMap::new(),
            timeout: LONG,
            cancel: Latch::never(),
            on_progress: None,
        };
        answered(session.call(call).await?.content.len())?;
    }
    session.close().await?;
    Ok(())
}

async fn in_a_run(calls: usize) -> Result<(), Failure> {
    let turns = calls / usize::try_from(A_TURN)?;
    let model = Steady {
        // The last one answers.
        turns: turns + 1,
        calls: A_TURN,
        wish: WISH,
    };
    let agent = json!({
        "version": "seaworthy.agent_graph.v1",
        "metadata": { "name": "calling" },
        "runtime": { "entry_agent": "calling" },
        "models": { "main": { "provider": "openai", "model": "steady" } },
        "mcp_servers": { "many": {
            "command": command()?, "side_effect": "read_only", "risk": "low", "approval": "none",
        } },
        "agents": { "calling": { "instructions": "Go on.", "model": "main", "tools": ["many.*"] } },
    });
    let mcp = Arc::new(McpClient::new(McpConfig::default()));
    let stack = Stack::in_memory_with_servers(model, &agent.to_string(), mcp)?;
    let run = stack.start("calling".to_owned()).await?;
    stack.finish(&run).await?;
    let done = stack.harness.view(&run).await?.state.calls.len();
    stack.close().await;
    if done == calls {
        Ok(())
    } else {
        Err(format!("{done} of {calls} calls were made").into())
    }
}

fn counted(listed: usize) -> Result<(), Failure> {
    if listed == server::TOOLS {
        Ok(())
    } else {
        Err(format!("{listed} tools were listed").into())
    }
}

fn answered(pieces: usize) -> Result<(), Failure> {
    if pieces == 1 {
        Ok(())
    } else {
        Err(format!("an answer of {pieces} pieces").into())
    }
}
