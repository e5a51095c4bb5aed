//! Tokens in files of their user's alone.

mod file;
mod form;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ring::digest::{SHA256, digest};
use seaworthy_ports::mcp::{Kind, McpError, OAuthTokenLock, OAuthTokenStore, OAuthTokens};
use tokio::time::{Instant, sleep};

use crate::error::ADAPTER;
use file::Unread;

/// How long to wait for whoever gets new tokens, and how often to look whether they have.
const LONGEST_WAIT: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A folder of tokens: a file for each name, which only its user can read, replaced as a whole. Processes that share it take
/// turns at getting new ones.
#[derive(Clone, Debug)]
pub struct TokenFolder(Arc<Path>);

impl TokenFolder {
    /// The folder at `path`, which is made when it is first written to. No I/O.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into().into())
    }

    /// The tokens called `name`. No I/O.
    #[must_use]
    pub fn tokens(&self, name: &str) -> FileTokens {
        let digest = digest(&SHA256, name.as_bytes());
        let stem: String = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        FileTokens {
            name: name.into(),
            folder: Arc::clone(&self.0),
            file: self.0.join(format!("{stem}.json")).into(),
            lock: self.0.join(format!("{stem}.lock")).into(),
        }
    }
}

/// The tokens of one name in a [`TokenFolder`].
#[derive(Clone)]
pub struct FileTokens {
    name: Arc<str>,
    folder: Arc<Path>,
    file: Arc<Path>,
    lock: Arc<Path>,
}

impl fmt::Debug for FileTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileTokens").field(&self.file).finish()
    }
}

impl FileTokens {
    /// Throws them away, with what processes that died have left of them. `false`: there were none.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] where a file cannot be removed, or somebody takes too long to get new tokens, which would be
    /// kept after these were thrown away.
    pub async fn forget(&self) -> Result<bool, McpError> {
        if !self.folder.exists() {
            return Ok(false);
        }
        let _alone = self.lock().await?;
        let this = self.clone();
        apart("forget", move || {
            file::forget(&this.folder, &this.file)
                .map_err(|_error| unavailable("forget", "the file cannot be removed"))
        })
        .await
    }
}

/// Does what blocks where that disturbs nobody. What was begun is finished, whoever waits.
async fn apart<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, McpError> + Send + 'static,
) -> Result<T, McpError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_ended) => Err(unavailable(operation, "the program is ending")),
    }
}

fn unavailable(operation: &'static str, why: &'static str) -> McpError {
    McpError::new(Kind::Unavailable, ADAPTER, operation, why)
}

#[async_trait]
impl OAuthTokenStore for FileTokens {
    async fn load(&self) -> Result<Option<OAuthTokens>, McpError> {
        let (file, name) = (Arc::clone(&self.file), Arc::clone(&self.name));
        apart("load_tokens", move || {
            let unfit = |why| McpError::new(Kind::Malformed, ADAPTER, "load_tokens", why);
            let text = file::read(&file).map_err(|error| match error {
                Unread::NotItsUsersAlone => unfit(
                    "the file of the tokens is not its user's alone; throw it away and log in again",
                ),
                Unread::NoText => {
                    unfit("the file of the tokens is none; throw it away and log in again")
                }
                Unread::Unreadable => {
                    unavailable("load_tokens", "the file of the tokens cannot be read")
                }
            })?;
            let Some(text) = text else { return Ok(None) };
            form::read(&name, &text).map(Some).ok_or_else(|| {
                unfit("the file of the tokens holds none; throw it away and log in again")
            })
        })
        .await
    }

    async fn save(&self, tokens: OAuthTokens) -> Result<(), McpError> {
        let this = self.clone();
        apart("save_tokens", move || {
            let text = form::written(&this.name, &tokens);
            file::replace(&this.folder, &this.file, text.as_bytes())
                .map_err(|_error| unavailable("save_tokens", "the tokens cannot be written"))
        })
        .await
    }

    async fn lock(&self) -> Result<OAuthTokenLock, McpError> {
        let until = Instant::now() + LONGEST_WAIT;
        loop {
            let this = self.clone();
            let held = apart("lock_tokens", move || {
                file::lock(&this.folder, &this.lock)
                    .map_err(|_error| unavailable("lock_tokens", "the lock cannot be written"))
            });
            if let Some(held) = held.await? {
                return Ok(OAuthTokenLock::new(held));
            }
            if Instant::now() >= until {
                return Err(unavailable(
                    "lock_tokens",
                    "another process takes too long to get tokens",
                ));
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}
