//! The connections that read: a bounded number, opened when they are needed, each used by one call at a time.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::connection::Opener;
use crate::error::{Class, Failure, classify};

#[derive(Clone, Debug)]
pub(crate) struct Readers {
    opener: Opener,
    most: u32,
    free: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(crate) fn new(opener: Opener, most: u32) -> Self {
        let most = most.max(1);
        Self {
            opener,
            most,
            free: Arc::new(Semaphore::new(most as usize)),
            idle: Arc::default(),
        }
    }

    /// Calls `read` with a connection, on a thread that may block. A dropped future lets it end in the background.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let free = Arc::clone(&self.free).acquire_owned().await;
        let permit = free.map_err(|_closed| Failure::closed())?;
        let (opener, idle) = (self.opener.clone(), Arc::clone(&self.idle));
        let result = tokio::task::spawn_blocking(move || {
            let connection = match take(&idle) {
                Some(connection) => connection,
                None => opener.open_reading()?,
            };
            let result = read(&connection);
            // A connection that failed may fail for ever; the next call opens another one.
            if result.as_ref().err().map(classify) != Some(Class::Broken) {
                give(&idle, connection);
            }
            drop(permit);
            result
        });
        match result.await {
            Ok(result) => Ok(result?),
            // The runtime is shutting down.
            Err(_gone) => Err(Failure::closed()),
        }
    }

    /// Closes all connections once nobody reads any more. Later calls fail.
    pub(crate) async fn close(&self) {
        // Never an error but where another call closed them before.
        let _all = self.free.acquire_many(self.most).await;
        self.free.close();
        while let Some(connection) = take(&self.idle) {
            drop(connection);
        }
    }
}

fn take(idle: &Mutex<Vec<Connection>>) -> Option<Connection> {
    idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn give(idle: &Mutex<Vec<Connection>>, connection: Connection) {
    idle.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(connection);
}
