//! Exchanges with a model in a JSON file.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seaworthy_ports::model_provider::ModelRequest;
use seaworthy_ports::{Digest, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exchange::{Exchange, Said};
use crate::question::{self, Difference};
use crate::scrub::Scrubber;

/// The version of the format.
const VERSION: u32 = 1;
/// The most bytes of a file that is read.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// The most exchanges that are kept.
const MAX_EXCHANGES: usize = 10_000;

/// Why a cassette cannot be read or written. No message holds content.
#[derive(Debug, thiserror::Error)]
pub enum CassetteError {
    /// The file cannot be read or written.
    #[error("the cassette {path} cannot be used: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is no cassette of a version that this program knows, or too large.
    #[error("{path} is no cassette: {why}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Something that looks like a secret is left in it, so it was not written.
    #[error(
        "exchange {number} holds {what}, so the cassette was not written; name the secret to `hiding`, or keep it out of \
         the conversation"
    )]
    Secret {
        /// Which exchange, from 0.
        number: usize,
        /// What was found, never the secret itself.
        what: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    exchanges: Vec<Exchange>,
}

#[derive(Default)]
struct State {
    exchanges: Vec<Exchange>,
    /// How often each question was answered from here.
    used: BTreeMap<Digest, usize>,
    left_out: u64,
}

/// Exchanges with a model. Cloning shares them.
#[derive(Clone, Default)]
pub struct Cassette {
    state: Arc<Mutex<State>>,
    scrubber: Scrubber,
}

impl fmt::Debug for Cassette {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cassette")
            .field("exchanges", &self.len())
            .finish_non_exhaustive()
    }
}

/// What is there for a question.
pub(crate) enum Found {
    Answer(Vec<Said>),
    /// It was recorded so often, and is asked once more.
    Exhausted(usize),
    /// It was not recorded; how the nearest recorded question differs.
    Unknown(Vec<Difference>),
}

impl Cassette {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The one in a file. A blocking call.
    ///
    /// # Errors
    ///
    /// [`CassetteError::File`], [`CassetteError::Format`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CassetteError> {
        let path = path.as_ref();
        let cannot = |source| CassetteError::File {
            path: path.to_owned(),
            source,
        };
        let no = |why: String| CassetteError::Format {
            path: path.to_owned(),
            why,
        };
        let length = std::fs::metadata(path).map_err(cannot)?.len();
        if length > MAX_FILE {
            return Err(no(format!(
                "it has {length} bytes, at most {MAX_FILE} are read"
            )));
        }
        let bytes = std::fs::read(path).map_err(cannot)?;
        // Where it breaks, not what stands there.
        let file: File = serde_json::from_slice(&bytes)
            .map_err(|error| no(format!("line {}, column {}", error.line(), error.column())))?;
        if file.version != VERSION {
            return Err(no(format!(
                "it has version {}, this program knows {VERSION}",
                file.version
            )));
        }
        for (number, exchange) in file.exchanges.iter().enumerate() {
            if question::digest(&exchange.question) != exchange.hash {
                return Err(no(format!(
                    "the hash of exchange {number} is not that of its question; record it anew"
                )));
            }
        }
        let cassette = Self::new();
        cassette.locked().exchanges = file.exchanges;
        Ok(cassette)
    }

    /// With a secret that is replaced wherever it appears.
    #[must_use]
    pub fn hiding(mut self, secret: Secret) -> Self {
        self.scrubber.hide(secret);
        self
    }

    /// With a text that differs between runs, such as a folder or a date: it is kept as `<name>`, and questions match
    /// whatever stands there.
    #[must_use]
    pub fn calling(mut self, text: impl Into<String>, name: &str) -> Self {
        self.scrubber.rename(text.into(), name);
        self
    }

    /// Writes it, whole or not at all, unless it holds what looks like a secret. A blocking call.
    ///
    /// # Errors
    ///
    /// [`CassetteError::Secret`], [`CassetteError::File`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), CassetteError> {
        let path = path.as_ref();
        let cannot = |source| CassetteError::File {
            path: path.to_owned(),
            source,
        };
        let exchanges = self.locked().exchanges.clone();
        if let Some((number, what)) = self.scrubber.suspicion(&exchanges) {
            return Err(CassetteError::Secret { number, what });
        }
        let file = File {
            version: VERSION,
            exchanges,
        };
        let mut text = serde_json::to_vec_pretty(&file).map_err(|error| cannot(error.into()))?;
        text.push(b'\n');
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.new", std::process::id()));
        let beside = PathBuf::from(beside);
        let written = std::fs::File::create(&beside)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&beside, path));
        written.map_err(|source| {
            // It may not be there.
            let _gone = std::fs::remove_file(&beside);
            cannot(source)
        })
    }

    /// How many exchanges it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locked().exchanges.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many exchanges were not kept, because there was no room.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.locked().left_out
    }

    /// Says all of it again from the start.
    pub fn rewind(&self) {
        self.locked().used.clear();
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What counts of a request here.
    pub(crate) fn question(&self, request: &ModelRequest) -> Value {
        self.scrubber.value(question::of(request))
    }

    pub(crate) fn leave_out(&self) {
        let mut state = self.locked();
        state.left_out = state.left_out.saturating_add(1);
    }

    /// Keeps an exchange.
    pub(crate) fn keep(&self, question: Value, said: Vec<Said>) {
        let Ok(said) = self.scrubber.said(said) else {
            return self.leave_out();
        };
        let mut state = self.locked();
        if state.exchanges.len() >= MAX_EXCHANGES {
            state.left_out = state.left_out.saturating_add(1);
            return;
        }
        state.exchanges.push(Exchange {
            hash: question::digest(&question),
            question,
            said,
        });
    }

    /// The answer to a question, each recorded one once and in the order of recording.
    pub(crate) fn find(&self, question: &Value) -> Found {
        let hash = question::digest(question);
        let mut state = self.locked();
        let used = state.used.get(&hash).copied().unwrap_or(0);
        let mut same = state.exchanges.iter().filter(|one| one.hash == hash);
        if let Some(next) = same.nth(used) {
            let said = next.said.clone();
            state.used.insert(hash, used.saturating_add(1));
            return Found::Answer(said);
        }
        if used > 0 {
            return Found::Exhausted(used);
        }
        let nearest = state
            .exchanges
            .iter()
            .map(|one| question::differences(&one.question, question))
            .min_by_key(Vec::len);
        Found::Unknown(nearest.unwrap_or_default())
    }
}
