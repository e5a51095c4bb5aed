//! A model provider in memory that plays what a scenario writes down, and the same with a bug.

// Where it is, whoever names this file.
#[path = "models/call.rs"]
mod call;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use seaworthy_contract::model_provider::{
    Answer, Failure, Harness, RetryAfter, Said, Script, Step,
};
use seaworthy_ports::model_provider::{
    CountTokens, Directory, Embeddings, FinishReason, Kind, ListedModel, ModelCapabilities,
    ModelError, ModelEvent, ModelProvider, ModelRequest, Rerank, Tokens,
};
use seaworthy_ports::{AdapterInfo, BoxStream, PortError, Retry, async_trait};

use call::{Call, sent};

pub(crate) const NONE: u8 = 0;
pub(crate) const TWO_FINISHES: u8 = 1;
pub(crate) const STOPS_WHEN_CUT: u8 = 2;
pub(crate) const GOES_ON: u8 = 3;
pub(crate) const NO_RAW_REASON: u8 = 4;
pub(crate) const NEW_IS_STOP: u8 = 5;
pub(crate) const MISSING_IS_ZERO: u8 = 6;
pub(crate) const UNCACHED_INPUT: u8 = 7;
pub(crate) const NEWEST_CALL: u8 = 8;
pub(crate) const LOSSY_PIECES: u8 = 9;
pub(crate) const NULL_ARGUMENTS: u8 = 10;
pub(crate) const ANY_ARGUMENTS: u8 = 11;
pub(crate) const ENDS_EARLY: u8 = 12;
pub(crate) const SENDS_ALL_ITEMS: u8 = 13;
pub(crate) const ITEMS_AT_THE_END: u8 = 14;
pub(crate) const QUOTA_IS_RATE: u8 = 15;
pub(crate) const NO_CODE: u8 = 16;
pub(crate) const NEVER_STARTED: u8 = 17;
pub(crate) const NO_REQUEST_ID: u8 = 18;
pub(crate) const SECONDS_ALONE: u8 = 19;
pub(crate) const SKIPS_FAILURES: u8 = 20;
pub(crate) const NO_LIMITS: u8 = 21;
pub(crate) const WAITS_FOR_EVER: u8 = 22;
pub(crate) const TOTAL_TIMEOUT: u8 = 23;
pub(crate) const COUNTS_TEXT_ALONE: u8 = 24;
pub(crate) const SKIPS_MALFORMED: u8 = 25;
pub(crate) const UNKNOWN_IS_ERROR: u8 = 26;
pub(crate) const ANY_ANSWER: u8 = 27;
pub(crate) const SECRET_SCHEMA: u8 = 28;
pub(crate) const IGNORES_CANCEL: u8 = 29;
pub(crate) const KEEPS_CONNECTION: u8 = 30;
pub(crate) const REPEATS: u8 = 31;
pub(crate) const SHOWS_KEY: u8 = 32;
pub(crate) const QUOTES: u8 = 33;
pub(crate) const ANY_HISTORY: u8 = 34;
pub(crate) const VECTORS_AS_THEY_COME: u8 = 35;
pub(crate) const FIRST_VECTORS: u8 = 36;
pub(crate) const ANY_VECTORS: u8 = 37;
pub(crate) const ANY_LENGTH: u8 = 38;
pub(crate) const QUOTES_TEXTS: u8 = 39;
pub(crate) const SECRET_VECTORS: u8 = 40;
pub(crate) const SCORES_AS_THEY_COME: u8 = 41;
pub(crate) const ANY_SCORES: u8 = 42;
pub(crate) const DEAF_TO_SCORES: u8 = 43;
pub(crate) const COUNTS_MESSAGES_ALONE: u8 = 44;
pub(crate) const COUNTS_ARE_GUESSES: u8 = 45;
pub(crate) const DROPS_PARAMETERS: u8 = 46;
pub(crate) const ANY_PARAMETERS: u8 = 47;
pub(crate) const REFUSES_AFTERWARDS: u8 = 48;
pub(crate) const FIRST_PAGE_ALONE: u8 = 49;
pub(crate) const LONG_PAGES: u8 = 50;
pub(crate) const ANY_LIMIT: u8 = 51;
pub(crate) const UNKNOWN_IS_NOTHING: u8 = 52;
pub(crate) const UNKNOWN_IS_MISSING: u8 = 53;
pub(crate) const FINDS_ANY_MODEL: u8 = 54;
pub(crate) const DEAF_DIRECTORY: u8 = 55;
pub(crate) const DROPS_MEDIA: u8 = 56;
pub(crate) const MEDIA_FIRST: u8 = 57;
pub(crate) const REFUSES_MEDIA: u8 = 58;
pub(crate) const FORCES_NOTHING: u8 = 59;
pub(crate) const FORCES_ANY: u8 = 60;
pub(crate) const REFUSES_TO_FORCE: u8 = 61;
pub(crate) const FORCES_SECRETLY: u8 = 62;

/// Played, not broken: decorators are tried around it without a bug, and pages of conformance tell of it by this name.
const ADAPTER: &str = "played";
const KEY: &str = "key-0123456789";
/// The most bytes of an answer.
const CAP: usize = 1 << 20;

pub(crate) struct Broken(Model);

struct Backend {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<String>>,
    hang_ups: AtomicUsize,
    /// What it says of every request, unless it looks at it.
    count: Mutex<Option<u64>>,
    models: Mutex<Vec<ListedModel>>,
}

#[async_trait]
impl Harness for Broken {
    async fn start() -> Self {
        let backend = Backend {
            answer: Mutex::new(Answer::HangUp),
            requests: Mutex::default(),
            hang_ups: AtomicUsize::new(0),
            count: Mutex::default(),
            models: Mutex::default(),
        };
        Self(Model {
            bug: super::chosen(),
            backend: Arc::new(backend),
        })
    }

    fn provider(&self) -> Arc<dyn ModelProvider> {
        Arc::new(self.0.clone())
    }

    async fn answer(&self, answer: &Answer) -> Option<Said> {
        *self.0.backend.answer.lock().unwrap() = answer.clone();
        let mut said = Said::default();
        let steps = match answer {
            Answer::Stream(script) => script.steps.as_slice(),
            Answer::Refuse(failure) => {
                (said.status, said.code) = words(failure.kind);
                &[]
            }
            _ => &[],
        };
        for step in steps {
            match step {
                Step::Finish(reason) => said.finish = Some(raw(*reason)),
                Step::Fail(failure) => (said.status, said.code) = words(failure.kind),
                _ => {}
            }
        }
        Some(said)
    }

    async fn count(&self, tokens: u64) -> Option<()> {
        *self.0.backend.count.lock().unwrap() = Some(tokens);
        Some(())
    }

    async fn offers(&self, models: &[ListedModel]) -> Option<Vec<ListedModel>> {
        let offers = Answer::Stream(Script::default());
        *self.0.backend.answer.lock().unwrap() = offers;
        *self.0.backend.models.lock().unwrap() = models.to_vec();
        Some(models.to_vec())
    }

    fn requests(&self) -> Option<Vec<String>> {
        Some(self.0.backend.requests.lock().unwrap().clone())
    }

    fn hang_ups(&self) -> Option<usize> {
        Some(self.0.backend.hang_ups.load(Ordering::SeqCst))
    }

    fn secrets(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }
}

/// A harness of which its author wrote no more than must be.
pub(crate) struct Mute(Broken);

#[async_trait]
impl Harness for Mute {
    async fn start() -> Self {
        Self(Broken::start().await)
    }

    fn provider(&self) -> Arc<dyn ModelProvider> {
        self.0.provider()
    }
}

/// The backend's words for a finish.
fn raw(reason: FinishReason) -> String {
    format!("because {reason:?}").to_lowercase()
}

/// The backend's words for a failure.
fn words(kind: Kind) -> (Option<u16>, Option<String>) {
    (Some(400 + kind as u16), Some(format!("{kind:?}")))
}

#[derive(Clone)]
pub(crate) struct Model {
    bug: u8,
    backend: Arc<Backend>,
}

impl Model {
    pub(crate) const fn bug(&self) -> u8 {
        self.bug
    }

    /// What the backend offers.
    pub(crate) fn models(&self) -> Vec<ListedModel> {
        self.backend.models.lock().unwrap().clone()
    }

    /// Sends a call for vectors or scores; what the backend does with it.
    pub(crate) fn called(&self, text: String) -> Answer {
        self.backend.requests.lock().unwrap().push(text);
        self.backend.answer.lock().unwrap().clone()
    }
}

/// An error that no response belongs to.
pub(crate) fn error_of(kind: Kind, why: &str) -> ModelError {
    PortError::new(kind, ADAPTER, "call", why).into()
}

/// What a backend's refusal comes to.
pub(crate) fn refused_by(failure: &Failure) -> ModelError {
    let mut failed = PortError::new(failure.kind, ADAPTER, "call", "the backend failed");
    if let Some(RetryAfter::Seconds(seconds)) = failure.retry_after {
        failed = failed.with_retry(Retry::After(Duration::from_secs(seconds)));
    }
    failed.into()
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.bug == SHOWS_KEY { KEY } else { "…" };
        write!(f, "Model({key})")
    }
}

#[async_trait]
impl ModelProvider for Model {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: ADAPTER,
            package: ADAPTER,
            version: "0",
        }
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        let capabilities = ModelCapabilities::NONE.with_tool_use().with_rerank();
        let capabilities = if self.bug == FORCES_SECRETLY {
            capabilities
        } else {
            capabilities.with_forced_calls()
        };
        let capabilities = if self.bug == SECRET_VECTORS {
            capabilities
        } else {
            capabilities.with_embeddings()
        };
        if self.bug == SECRET_SCHEMA {
            return capabilities;
        }
        capabilities.with_structured_output()
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let call = Call::new(self.bug, Arc::clone(&self.backend), request);
        stream::unfold(call, |mut call| async move {
            call.next().await.map(|item| (item, call))
        })
        .boxed()
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        Some(self)
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        Some(self)
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        Some(self)
    }

    fn directory(&self) -> Option<&dyn Directory> {
        Some(self)
    }
}

#[async_trait]
impl CountTokens for Model {
    async fn count(&self, request: &ModelRequest) -> Result<Tokens, ModelError> {
        let mut words = sent(self.bug, request);
        if self.bug != COUNTS_MESSAGES_ALONE {
            for tool in request.tools.iter() {
                words.push_str(&tool.description);
            }
        }
        let guess = u64::try_from(words.len()).unwrap();
        self.backend.requests.lock().unwrap().push(words);
        let told = *self.backend.count.lock().unwrap();
        Ok(Tokens {
            count: told.unwrap_or(guess),
            estimated: self.bug == COUNTS_ARE_GUESSES,
        })
    }
}
