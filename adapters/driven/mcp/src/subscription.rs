//! What a server tells of its lists, which on a connection without `initialize` it does as the answer to a request that
//! stays open. Where it does not, lists are good for as long as it says.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::connection::{Connection, Outbox, Wire, written};
use crate::error::Fault;
use crate::headers;
use crate::http::Link;
use crate::inbox::Inbox;

const LISTEN: &str = "subscriptions/listen";
/// How long a server has to say what it will tell before the connection is used.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait before a subscription that ended is opened again: the first time, and at most.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// A subscription has no end.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How often a list has changed.
#[derive(Debug, Default)]
pub(crate) struct Change {
    times: AtomicU64,
    is_told: AtomicBool,
}

impl Change {
    pub(crate) fn times(&self) -> u64 {
        self.times.load(Ordering::Acquire)
    }

    pub(crate) fn changed(&self) {
        self.times.fetch_add(1, Ordering::Release);
    }

    /// Whether the server has said that it tells of changes.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }

    /// From now on the server tells of changes, or no longer. What changed before, nobody has said.
    fn told(&self, is_told: bool) {
        if self.is_told.swap(is_told, Ordering::AcqRel) != is_told {
            self.changed();
        }
    }
}

/// How often each list has changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) tools: Change,
    pub(crate) resources: Change,
    pub(crate) prompts: Change,
    acknowledged: Notify,
}

#[derive(Deserialize)]
struct Acknowledged {
    notifications: Wanted,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    tools_list_changed: bool,
    resources_list_changed: bool,
    prompts_list_changed: bool,
}

impl Changes {
    /// The server says what it will tell.
    pub(crate) fn acknowledged(&self, params: Option<&RawValue>) {
        let said = params.and_then(|said| serde_json::from_str::<Acknowledged>(said.get()).ok());
        if let Some(said) = said {
            self.told(said.notifications);
            self.acknowledged.notify_one();
        }
    }

    fn told(&self, wanted: Wanted) {
        self.tools.told(wanted.tools_list_changed);
        self.resources.told(wanted.resources_list_changed);
        self.prompts.told(wanted.prompts_list_changed);
    }

    fn is_told(&self) -> bool {
        self.tools.is_told() || self.resources.is_told() || self.prompts.is_told()
    }
}

/// The way to a server, for as long as there is one.
enum Way {
    Queue(Weak<dyn Outbox>),
    Link(Weak<Link>),
}

struct Subscription {
    inbox: Weak<Inbox>,
    way: Way,
    /// What is asked for, with what every request says.
    params: Value,
}

/// Asks to be told of changes, if the server says that it tells, and waits until it has agreed.
pub(crate) async fn open(
    connection: &Connection,
    capabilities: &Map<String, Value>,
    until: Instant,
) {
    let tells = |what: &str| {
        let said = capabilities
            .get(what)
            .and_then(|has| has.get("listChanged"));
        said.and_then(Value::as_bool).unwrap_or(false)
    };
    let wanted: Map<String, Value> = ["tools", "resources", "prompts"]
        .into_iter()
        .filter(|what| tells(what))
        .map(|what| (format!("{what}ListChanged"), true.into()))
        .collect();
    let Some(modern) = connection.modern.get().filter(|_| !wanted.is_empty()) else {
        return;
    };
    let Ok(params) = modern.dressed(json!({"notifications": wanted}), false) else {
        return;
    };
    let inbox = connection.shared_inbox();
    let subscription = Subscription {
        inbox: Arc::downgrade(inbox),
        way: match connection.wire() {
            #[cfg(unix)]
            Wire::Stdio(_) => Way::Queue(Arc::downgrade(connection.outbox())),
            Wire::Http(link) => Way::Link(Arc::downgrade(link)),
        },
        params,
    };
    let mut keeping = tokio::spawn(subscription.keep());
    if let Wire::Http(link) = connection.wire() {
        link.hears_by(keeping.abort_handle());
    }
    tokio::select! {
        () = inbox.changes.acknowledged.notified() => {}
        _refused = &mut keeping => {}
        () = sleep_until(until.min(Instant::now() + PATIENCE)) => {}
    }
}

impl Subscription {
    /// Keeps it open until the connection ends, or the server does not want it.
    async fn keep(self) {
        let mut delay = FIRST_DELAY;
        loop {
            let ended = self.once().await;
            let Some(inbox) = self.inbox.upgrade() else {
                return;
            };
            if inbox.changes.is_told() {
                delay = FIRST_DELAY;
            }
            inbox.changes.told(Wanted::default());
            drop(inbox);
            match ended {
                Ok(()) | Err(Fault::Gone(_) | Fault::Unreachable(_) | Fault::Status(500..)) => {}
                Err(_final) => return,
            }
            sleep(delay).await;
            delay = delay.saturating_mul(2).min(LONGEST_DELAY);
        }
    }

    /// Opens it, and waits for its end.
    async fn once(&self) -> Result<(), Fault> {
        const ENDED: Fault = Fault::Cancelled;
        let inbox = self.inbox.upgrade().ok_or(ENDED)?;
        let entered = inbox.enter(None, Instant::now() + FOREVER);
        let (id, mut answer) = entered.map_err(|_ended| ENDED)?;
        let message = written(id, LISTEN, &self.params)?;
        match &self.way {
            Way::Queue(outbox) => {
                outbox.upgrade().ok_or(ENDED)?.send(message.into()).await?;
                // The inbox ends with its connection, and everybody who waits with it.
                drop(inbox);
                answer.await.map_err(|_ended| ENDED)?.map(drop)
            }
            Way::Link(link) => {
                let mut named = HeaderMap::new();
                headers::name(&mut named, LISTEN, &self.params)?;
                let link = link.upgrade().ok_or(ENDED)?;
                let heard = link.ask(message.into(), id, &named).await;
                match answer.try_recv() {
                    Ok(answer) => answer.map(drop),
                    Err(_none) => {
                        inbox.strike(id);
                        heard
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_nobody_watched_for_a_while_counts_as_changed() {
        let changes = Changes::default();
        let said = |text: &str| {
            let said: Box<RawValue> = serde_json::from_str(text).unwrap();
            changes.acknowledged(Some(&said));
        };
        said(r#"{"notifications": {"toolsListChanged": true}}"#);
        assert!(changes.tools.is_told() && !changes.prompts.is_told());
        assert_eq!((changes.tools.times(), changes.prompts.times()), (1, 0));
        said(r#"{"notifications": {"toolsListChanged": true}}"#);
        assert_eq!(changes.tools.times(), 1);
        changes.told(Wanted::default());
        assert!(!changes.is_told());
        assert_eq!(changes.tools.times(), 2);
        said(r#"{"notifications": 7}"#);
        assert!(!changes.is_told());
    }
}
