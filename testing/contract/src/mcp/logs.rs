//! MC-12: what a server says of its own work.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seaworthy_ports::mcp::{
    MAX_LOGS_IN_A_SECOND, McpLog, McpLogLevel, McpLogMessage, McpServer, McpSession,
};
use serde_json::json;
use tokio::time::Instant;

use super::Harness;
use super::script::{LONG_WORD, Seen};
use super::stage::{Stage, call, is_usable, made, reached_again};
use crate::outcome::{Halt, Outcome, broken, holds, ok, patience, same};

const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// What was heard so far.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<McpLogMessage>>>);

impl Heard {
    fn so_far(&self) -> Vec<McpLogMessage> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn log(&self, level: McpLogLevel) -> McpLog {
        let heard = Arc::clone(&self.0);
        McpLog {
            level,
            sink: Arc::new(move |message| {
                heard
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(message);
            }),
        }
    }

    /// How many were heard, and how many of them and before them were left out.
    fn counted(&self) -> (usize, u64) {
        let heard = self.so_far();
        let dropped = heard.iter().map(|message| message.dropped);
        (heard.len(), dropped.sum())
    }
}

fn listening<H: Harness>(stage: &Stage<H>, level: McpLogLevel) -> Result<(McpServer, Heard), Halt> {
    let heard = Heard::default();
    let mut server = stage.server()?;
    server.log = Some(heard.log(level));
    Ok((server, heard))
}

async fn calls(session: &Arc<dyn McpSession>, tool: &str) -> Outcome {
    let did = format!("called {tool}");
    ok(did, made(session, call(tool, json!({}))).await?).map(drop)
}

/// What was heard must be this, and the session go on.
async fn hears(
    session: &Arc<dyn McpSession>,
    heard: &Heard,
    tool: &str,
    expected: &[McpLogMessage],
) -> Outcome {
    calls(session, tool).await?;
    let seen = heard.so_far();
    let words = |messages: &[McpLogMessage]| -> Vec<_> {
        let each = messages.iter().map(|message| {
            let McpLogMessage {
                level,
                logger,
                text,
                is_cut,
                dropped,
            } = message.clone();
            (level, logger, text, is_cut, dropped)
        });
        each.collect()
    };
    same(
        format!("called {tool}, which logs"),
        words(&seen),
        words(expected),
    )?;
    is_usable(session, "log messages").await
}

/// MC-12.
pub async fn log_messages_arrive_as_the_server_wrote_them<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "logs").await?;
    let (server, heard) = listening(&stage, McpLogLevel::Debug)?;
    let session = stage.session_with(server).await?;
    holds(
        session.server().logging,
        "connected to a server that logs",
        "that it says so",
        session.server(),
    )?;
    let mut expected: Vec<McpLogMessage> = McpLogLevel::ALL
        .iter()
        .map(|level| McpLogMessage::new(*level, Some("disk"), &format!("it is {level}")))
        .collect();
    expected.extend([
        McpLogMessage::new(McpLogLevel::Info, None, "\u{1b}[2J\u{7}\n\u{1f980}"),
        McpLogMessage::new(McpLogLevel::Info, None, &json!({"free": 0}).to_string()),
    ]);
    hears(&session, &heard, "speaks", &expected).await?;
    // Whoever wants none hears none, and nothing else changes.
    let session = stage.session().await?;
    hears(&session, &heard, "speaks", &expected).await
}

/// MC-12.
pub async fn the_level_is_told_where_it_is_wanted_and_the_server_logs<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "logs").await?;
    let (server, _heard) = listening(&stage, McpLogLevel::Warning)?;
    let told = Seen::LogLevel("warning".to_owned());
    let session = stage.session_with(server).await?;
    calls(&session, "echo").await?;
    stage.until(&told, 1).await?;
    reached_again(&session).await?;
    stage.until(&told, 2).await?;
    let before = stage.count(&told)?;
    let session = stage.session().await?;
    calls(&session, "echo").await?;
    same(
        "connected without wanting log messages, and counted the levels that the server was told",
        stage.count(&told)?,
        before,
    )
}

/// MC-12.
pub async fn a_server_that_does_not_log_is_told_no_level<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let (server, _heard) = listening(&stage, McpLogLevel::Warning)?;
    let session = stage.session_with(server).await?;
    is_usable(&session, "wanting log messages of a server that has none").await?;
    let told = stage.count(&Seen::LogLevel("warning".to_owned()))?;
    same("counted the levels that the server was told", told, 0)
}

/// MC-12.
pub async fn log_messages_that_matter_less_or_are_none_are_left_out<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "logs").await?;
    let (server, heard) = listening(&stage, McpLogLevel::Error)?;
    let session = stage.session_with(server).await?;
    let important = ["error", "critical", "alert", "emergency"];
    let important = important
        .iter()
        .filter_map(|word| word.parse::<McpLogLevel>().ok());
    let mut expected: Vec<McpLogMessage> = important
        .map(|level| McpLogMessage::new(level, Some("disk"), &format!("it is {level}")))
        .collect();
    hears(&session, &heard, "speaks", &expected).await?;
    expected.push(McpLogMessage::new(McpLogLevel::Alert, None, "after all"));
    hears(&session, &heard, "babbles", &expected).await
}

/// MC-12.
pub async fn a_long_log_message_is_cut_and_says_so<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "logs").await?;
    let (server, heard) = listening(&stage, McpLogLevel::Debug)?;
    let session = stage.session_with(server).await?;
    let long = LONG_WORD.repeat(50_000);
    let cut = McpLogMessage::new(McpLogLevel::Error, Some(&long), &long);
    holds(
        cut.is_cut,
        "made a message of 100 kB",
        "that it is cut",
        &cut,
    )?;
    hears(&session, &heard, "speaks_at_length", &[cut]).await
}

/// MC-12.
pub async fn a_flood_of_log_messages_is_bounded_and_counted<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "logs").await?;
    let (server, heard) = listening(&stage, McpLogLevel::Debug)?;
    let session = stage.session_with(server).await?;
    let began = Instant::now();
    calls(&session, "floods").await?;
    let mut written = FLOOD;
    let (before, _dropped) = heard.counted();
    let seconds = began.elapsed().as_secs() + 2;
    let most = usize::try_from(seconds * u64::from(MAX_LOGS_IN_A_SECOND)).unwrap_or(usize::MAX);
    holds(
        before <= most,
        format!("called a tool that logs {FLOOD} messages at once"),
        format!("at most {most} of them"),
        before,
    )?;
    let deadline = Instant::now() + patience();
    // Room comes with time; what is heard then tells how many there was none for.
    while heard.counted().0 == before {
        if Instant::now() >= deadline {
            return Err(broken(
                "called a tool that logs a message, again and again after the flood",
                "the message",
                heard.counted(),
            ));
        }
        calls(&session, "speaks_once").await?;
        written += 1;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let (arrived, dropped) = heard.counted();
    same(
        "added those that were dropped to those that arrived",
        u64::try_from(arrived).unwrap_or_default() + dropped,
        written,
    )?;
    is_usable(&session, "a flood of log messages").await
}

/// How many messages a flood has.
pub(super) const FLOOD: u64 = 5_000;

/// MC-12.
pub async fn a_server_that_sets_no_level_is_used_all_the_same<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "deaf").await?;
    let (server, heard) = listening(&stage, McpLogLevel::Error)?;
    let session = stage.session_with(server).await?;
    calls(&session, "speaks").await?;
    same(
        "called a tool that logs at every level, and counted what was heard",
        heard.so_far().len(),
        4,
    )
}
