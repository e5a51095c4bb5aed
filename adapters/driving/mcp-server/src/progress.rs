//! What happens in a run, told to a client that asked for it.

use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use seaworthy_core::record::Envelope;
use serde_json::Value;

use crate::report::cut;

/// The most bytes of a message.
const MAX_MESSAGE_BYTES: usize = 200;

/// Notifications for the token that came with a request.
pub(crate) struct Progress {
    peer: Peer<RoleServer>,
    token: ProgressToken,
}

impl Progress {
    /// `None`: nobody wants to be told.
    pub(crate) fn asked_for(context: &RequestContext<RoleServer>) -> Option<Self> {
        Some(Self {
            token: context.meta.get_progress_token()?,
            peer: context.peer.clone(),
        })
    }

    /// Tells of a record: its number is the progress. Whether the client can still be told.
    pub(crate) async fn tell(&self, envelope: &Envelope) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "no log has 2^53 records")]
        let progress = envelope.seq.0 as f64;
        let told = ProgressNotificationParam::new(self.token.clone(), progress)
            .with_message(message(envelope));
        self.peer.notify_progress(told).await.is_ok()
    }
}

/// A record in a few words, without what was said or passed.
fn message(envelope: &Envelope) -> String {
    let text = |name: &str| envelope.data.get(name).and_then(Value::as_str);
    let said = match envelope.kind.as_str() {
        "attempt_started" => format!("a worker took it up, attempt {}", envelope.attempt),
        "model_called" => "the model answered".to_owned(),
        "tool_proposed" => format!("the model calls {}", text("tool").unwrap_or("a tool")),
        "approval_requested" => "a call waits for an approval".to_owned(),
        "run_waiting" => format!("it waits: {}", text("reason").unwrap_or("for something")),
        other => other.replace('_', " "),
    };
    cut(&said, MAX_MESSAGE_BYTES)
}
