//! What servers say of their own work, on standard error: beside the result, and never in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use seaworthy::ports::ServerAlias;
use seaworthy::ports::mcp::McpLogMessage;
use seaworthy::servers::LogSink;
use serde_json::json;

use crate::error::CliError;
use crate::output::say;

/// How many messages wait to be written; what does not fit is dropped and counted.
const QUEUE: usize = 1024;
/// How long the last of them may take to be written.
const LAST: Duration = Duration::from_secs(2);

/// Writes what servers say, on a thread of its own: whoever reads standard error slowly holds no server up.
#[derive(Debug)]
pub(super) struct ServerLogs {
    queue: SyncSender<Told>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Told {
    Message(ServerAlias, McpLogMessage),
    /// Says when all before it is written.
    Flush(SyncSender<()>),
}

impl ServerLogs {
    /// Nothing was said yet. `json`: programs read.
    pub(super) fn start(json: bool) -> Result<Self, CliError> {
        let (queue, waiting) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("seaworthy-server-logs".to_owned())
            .spawn(move || write(&waiting, json))
            .map_err(|error| CliError::io("start a thread for log messages", error))?;
        Ok(Self {
            queue,
            dropped: Arc::default(),
        })
    }

    /// Where messages go.
    pub(super) fn sink(&self) -> LogSink {
        let (queue, dropped) = (self.queue.clone(), Arc::clone(&self.dropped));
        Arc::new(move |server, mut message| {
            message.dropped = message
                .dropped
                .saturating_add(dropped.swap(0, Ordering::Relaxed));
            let lost = message.dropped.saturating_add(1);
            if queue
                .try_send(Told::Message(server.clone(), message))
                .is_err()
            {
                dropped.fetch_add(lost, Ordering::Relaxed);
            }
        })
    }

    /// Waits for what was said to be written, for a short time.
    pub(super) fn finish(&self) {
        let (done, said) = sync_channel(1);
        if self.queue.try_send(Told::Flush(done)).is_ok() {
            let _late = said.recv_timeout(LAST);
        }
    }
}

fn write(waiting: &Receiver<Told>, json: bool) {
    for told in waiting {
        match told {
            Told::Message(server, message) => say(&line(&server, &message, json)),
            Told::Flush(done) => {
                // Whoever asked may be gone.
                let _told = done.send(());
            }
        }
    }
}

fn line(server: &ServerAlias, message: &McpLogMessage, json: bool) -> String {
    if json {
        let log = json!({
            "server": server,
            "level": message.level,
            "logger": message.logger,
            "text": message.text,
            "cut": message.is_cut,
            "dropped": message.dropped,
        });
        return format!("{}\n", json!({ "log": log }));
    }
    let logger = message.logger.as_deref().map(escaped);
    let logger = logger.map(|logger| format!(" ({logger})"));
    let dropped = match message.dropped {
        0 => String::new(),
        dropped => format!(" [{dropped} before it were dropped]"),
    };
    format!(
        "{server} {}{}: {}{}{dropped}\n",
        message.level,
        logger.unwrap_or_default(),
        escaped(&message.text),
        if message.is_cut { "… [cut]" } else { "" },
    )
}

/// `text` on one line, with what could steer a terminal written out.
fn escaped(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() {
                letter.escape_default().to_string()
            } else {
                letter.to_string()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use seaworthy::ports::mcp::McpLogLevel;

    use super::*;

    #[test]
    fn a_message_is_one_line_that_steers_nothing() {
        let server = ServerAlias::new("notes").unwrap();
        let said = "full\u{1b}[2J\nnotes error: forged";
        let message = McpLogMessage {
            dropped: 3,
            is_cut: true,
            ..McpLogMessage::new(McpLogLevel::Warning, Some("di\u{7}sk"), said)
        };
        assert_eq!(
            line(&server, &message, false),
            "notes warning (di\\u{7}sk): full\\u{1b}[2J\\nnotes error: forged… [cut] [3 before it were dropped]\n"
        );
        let written = line(&server, &message, true);
        assert_eq!(written.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read["log"]["text"], json!(said));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_holds_nobody_up() {
        let (queue, waiting) = sync_channel(1);
        let logs = ServerLogs {
            queue,
            dropped: Arc::default(),
        };
        let server = ServerAlias::new("notes").unwrap();
        let sink = logs.sink();
        let said = || McpLogMessage::new(McpLogLevel::Error, None, "said");
        (0..3).for_each(|_time| sink(&server, said()));
        assert!(matches!(waiting.recv(), Ok(Told::Message(_, first)) if first.dropped == 0));
        sink(&server, said());
        assert!(matches!(waiting.recv(), Ok(Told::Message(_, next)) if next.dropped == 2));
    }
}
