//! What servers say of their own work, on its way to whoever watches a run. It is no part of the run's record.

use std::sync::Arc;

use seaworthy_ports::mcp::McpLogMessage;
use seaworthy_ports::observer::{Fact, Observer};
use seaworthy_ports::{RunId, ServerAlias};

/// Is told what a server says of its own work. It must not block.
pub type LogSink = Arc<dyn Fn(&ServerAlias, McpLogMessage) + Send + Sync>;

/// Tells the observer that a server of the run said something, and what only if it wants content: the words are the
/// server's, and may quote what it was called with.
pub(super) fn observing(observer: &Arc<dyn Observer>, run: &RunId) -> LogSink {
    let (observer, run) = (Arc::clone(observer), run.clone());
    Arc::new(move |server, message| {
        observer.observe(&Fact::ServerLogged {
            run: run.clone(),
            server: server.clone(),
            level: message.level,
            bytes: message.text.len(),
            dropped: message.dropped,
        });
        if observer.wants_content() {
            observer.observe(&Fact::ServerLogContent {
                run: run.clone(),
                server: server.clone(),
                message,
            });
        }
    })
}
