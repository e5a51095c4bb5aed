//! Wake-ups between processes. They are hints: several become one, they may be lost, and no call waits for them to be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seaworthy_polling::Hints;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::database::Database;

/// The shortest time between two notifications of one handle: what happens in between becomes one.
const PACE: Duration = Duration::from_millis(10);
/// How long to wait before listening again after the connection broke.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct News {
    due: AtomicBool,
    signal: AtomicBool,
    any: Notify,
}

/// Tells other processes.
#[derive(Debug)]
pub(crate) struct Announcer {
    news: Arc<News>,
    _task: AbortOnDropHandle<()>,
}

impl Announcer {
    /// Starts the task that sends. `handle` is whom the notifications are from.
    pub(crate) fn start(database: &Database, channel: String, handle: i64) -> Self {
        let news = Arc::<News>::default();
        let task = announce(database.clone(), Arc::clone(&news), channel, handle);
        Self {
            news,
            _task: AbortOnDropHandle::new(database.home.spawn(task)),
        }
    }

    /// A run may have become due.
    pub(crate) fn due(&self) {
        self.news.due.store(true, Ordering::Release);
        self.news.any.notify_one();
    }

    /// A signal was accepted. It may have made its run due.
    pub(crate) fn signal(&self) {
        self.news.signal.store(true, Ordering::Release);
        self.due();
    }
}

async fn announce(database: Database, news: Arc<News>, channel: String, handle: i64) {
    loop {
        news.any.notified().await;
        let mut words = handle.to_string();
        if news.due.swap(false, Ordering::AcqRel) {
            words.push_str(" due");
        }
        if news.signal.swap(false, Ordering::AcqRel) {
            words.push_str(" signal");
        }
        let statement = sqlx::query("SELECT pg_notify($1, $2)")
            .bind(channel.clone())
            .bind(words);
        if let Err(failure) = database.write(statement).await {
            tracing::debug!(
                ?failure,
                "other workers were not told; they ask by themselves"
            );
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Gives the hints that other handles send. Never returns.
pub(crate) async fn listen(pool: PgPool, channel: String, handle: i64, hints: Hints) {
    loop {
        if let Err(error) = listen_once(&pool, &channel, handle, &hints).await {
            tracing::debug!(%error, "notifications do not come in; due runs are asked for");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Until the connection breaks.
async fn listen_once(
    pool: &PgPool,
    channel: &str,
    handle: i64,
    hints: &Hints,
) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(channel).await?;
    // What was sent before may have been missed.
    hints.due.give();
    hints.signal.give();
    while let Some(notification) = listener.try_recv().await? {
        let mut words = notification.payload().split(' ');
        if words.next().and_then(|from| from.parse().ok()) == Some(handle) {
            continue;
        }
        for word in words {
            match word {
                "due" => hints.due.give(),
                "signal" => hints.signal.give(),
                // From a newer version.
                _ => {}
            }
        }
    }
    Ok(())
}
