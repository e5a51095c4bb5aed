//! A session's log: the messages of its runs, in order.

use futures_util::StreamExt as _;
use seaworthy_ports::model_provider::Message;
use seaworthy_ports::state_store::{Append, Expected, Labels, Seq};
use seaworthy_ports::{AppendId, LogId, RunId, SessionId};
use serde::{Deserialize, Serialize};

use crate::log::{LogError, append_until_known, is_taken_over};
use crate::record::{self, Envelope, Link};
use crate::stack::Ports;

const MESSAGES_APPENDED: &str = "messages_appended";
/// How often another writer may be first.
const TRIES: u32 = 16;

/// The messages that one run adds to its session.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    run: RunId,
    messages: Vec<Message>,
}

/// A session as its log tells it.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// All messages, oldest first.
    pub(crate) messages: Vec<Message>,
    /// The runs that added them.
    pub(crate) runs: Vec<RunId>,
    link: Link,
}

impl Session {
    /// The position of the newest record.
    #[must_use]
    pub(crate) fn head(&self) -> Seq {
        self.link.seq
    }
}

/// Reads `session` up to `through`, or all of it.
///
/// # Errors
///
/// A log that cannot be read, or is corrupt.
pub(crate) async fn load(
    ports: &Ports,
    session: &SessionId,
    through: Option<Seq>,
) -> Result<Session, LogError> {
    let corrupt = |source| LogError::Record {
        run: session.to_string(),
        source,
    };
    let mut found = Session::default();
    let mut bodies = ports.state_store.read(&LogId::session(session), Seq::ZERO);
    while let Some(stored) = bodies.next().await {
        let stored = stored?;
        if through.is_some_and(|through| stored.seq > through) {
            break;
        }
        let (envelope, link) =
            record::open(found.link, stored.seq, &stored.body).map_err(corrupt)?;
        let Envelope { data, .. } = crate::log::resolve(ports, envelope).await?;
        let added = Added::deserialize(data).map_err(|error| {
            corrupt(record::RecordError::Damaged {
                seq: stored.seq,
                why: error.to_string(),
            })
        })?;
        found.messages.extend(added.messages);
        found.runs.push(added.run);
        found.link = link;
    }
    Ok(found)
}

/// Adds the messages of `run` to `session`, once however often it is called.
///
/// # Errors
///
/// A log that cannot be read or written, or is corrupt.
pub(crate) async fn add(
    ports: &Ports,
    session: &SessionId,
    run: &RunId,
    messages: &[Message],
    nonce: &str,
) -> Result<(), LogError> {
    let mut tried = 0_u32;
    loop {
        let found = load(ports, session, None).await?;
        if found.runs.contains(run) {
            return Ok(());
        }
        let added = Added {
            run: run.clone(),
            messages: messages.to_vec(),
        };
        let data = crate::log::store_large(ports, serde_json::to_value(added)?).await?;
        let sealed = record::seal(found.link, ports.clock.now(), 0, MESSAGES_APPENDED, &data)?;
        let head = found.link.seq;
        let append = Append {
            log: LogId::session(session),
            id: AppendId::new(format!("{nonce}.session.{head}"))
                .map_err(|error| LogError::Json(serde::ser::Error::custom(error)))?,
            expected: if head == Seq::ZERO {
                Expected::Absent
            } else {
                Expected::Head(head)
            },
            bodies: vec![sealed.body],
            labels: Labels::new(),
            seal: false,
        };
        tried = tried.saturating_add(1);
        match append_until_known(ports, &append).await {
            Err(error) if is_taken_over(&error) && tried < TRIES => {}
            outcome => return outcome,
        }
    }
}
