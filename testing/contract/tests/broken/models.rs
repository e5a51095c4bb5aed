//! A model provider in memory that plays what a scenario writes down, and the same with a bug.

#![expect(
    clippy::indexing_slicing,
    reason = "a scenario that speaks of a call it never began is wrong"
)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt as _, stream};
use seaworthy_contract::model_provider::{
    Answer, Failure, Flood, Harness, Owner, RetryAfter, Said, Script, Step,
};
use seaworthy_ports::model_provider::{
    Block, BlockKind, CountTokens, Directory, Embeddings, Finish, FinishReason, Kind, ListedModel,
    ModelCapabilities, ModelError, ModelEvent, ModelProvider, ModelRequest, OpaqueItem, RateLimits,
    Rerank, Tokens, Usage, check_history, check_parameters,
};
use seaworthy_ports::{AdapterInfo, BoxStream, PortError, Retry, async_trait};
use serde_json::{Value, json};

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

const ADAPTER: &str = "broken";
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
        let call = Call {
            bug: self.bug,
            backend: Arc::clone(&self.backend),
            deadline: Instant::now() + request.idle_timeout,
            request,
            line: None,
            script: None,
            out: VecDeque::new(),
            is_over: false,
            blocks: 0,
            text: None,
            reasoning: None,
            calls: Vec::new(),
            said: String::new(),
            bytes: 0,
        };
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

/// A connection to the backend. Closing it before the backend is done is hanging up.
struct Line {
    bug: u8,
    backend: Arc<Backend>,
    is_done: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_done && self.bug != KEEPS_CONNECTION {
            self.backend.hang_ups.fetch_add(1, Ordering::SeqCst);
        }
    }
}

struct Call {
    bug: u8,
    backend: Arc<Backend>,
    deadline: Instant,
    request: ModelRequest,
    line: Option<Line>,
    /// From when the answer has begun.
    script: Option<Script>,
    out: VecDeque<Result<ModelEvent, ModelError>>,
    is_over: bool,
    blocks: u32,
    text: Option<u32>,
    reasoning: Option<u32>,
    /// Blocks and arguments.
    calls: Vec<(u32, String)>,
    said: String,
    bytes: usize,
}

impl Call {
    async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        loop {
            match self.out.pop_front() {
                Some(Err(error)) => {
                    let goes_on = self.bug == GOES_ON
                        && self.script.is_some()
                        && matches!(error.kind(), Kind::Decode | Kind::Server);
                    self.is_over = !goes_on;
                    if self.is_over {
                        self.out.clear();
                        self.line = None;
                    }
                    return Some(Err(error));
                }
                Some(event) => return Some(event),
                None if self.is_over => return None,
                None if self.request.cancel.is_set() && self.bug != IGNORES_CANCEL => {
                    self.fail(Kind::Cancelled);
                }
                None if self.bug == TOTAL_TIMEOUT && Instant::now() > self.deadline => {
                    self.fail(Kind::Timeout);
                }
                None if self.script.is_none() => self.begin().await,
                None => self.go_on().await,
            }
        }
    }

    /// The backend is done.
    fn close(&mut self) {
        if let Some(mut line) = self.line.take() {
            line.is_done = true;
        }
    }

    async fn begin(&mut self) {
        if self.bug != ANY_HISTORY && check_history(&self.request.messages).is_err() {
            return self.fail(Kind::InvalidRequest);
        }
        if self.bug != ANY_PARAMETERS && check_parameters(&self.request).is_err() {
            return self.fail(Kind::InvalidRequest);
        }
        // This backend has no seeds.
        let has_seed = self.request.parameters.seed.is_some();
        if has_seed && self.bug != REFUSES_AFTERWARDS {
            return self.fail(Kind::Unsupported);
        }
        let answer = self.backend.answer.lock().unwrap().clone();
        let sent = sent(self.bug, &self.request);
        let times = match &answer {
            Answer::Refuse(failure) if self.bug == REPEATS && failure.kind == Kind::Overloaded => 2,
            _ => 1,
        };
        for _time in 0..times {
            self.backend.requests.lock().unwrap().push(sent.clone());
        }
        self.line = Some(Line {
            bug: self.bug,
            backend: Arc::clone(&self.backend),
            is_done: false,
        });
        if has_seed {
            return self.fail(Kind::Unsupported);
        }
        match answer {
            Answer::Stream(script) => {
                if let Some(limits) = script.limits
                    && self.bug != NO_LIMITS
                    && limits != RateLimits::default()
                {
                    self.out.push_back(Ok(ModelEvent::RateLimits(limits)));
                }
                self.out.push_back(Ok(ModelEvent::Started {
                    request_id: script.request_id.clone(),
                    model: None,
                }));
                self.script = Some(script);
            }
            Answer::Refuse(failure) => self.fail_as(&failure),
            Answer::Silence => self.silence().await,
            _ => {
                self.close();
                self.fail(Kind::Network);
            }
        }
    }

    async fn silence(&mut self) {
        let idle = self.request.idle_timeout;
        let kind = tokio::select! {
            () = self.request.cancel.wait(), if self.bug != IGNORES_CANCEL => Kind::Cancelled,
            () = tokio::time::sleep(idle), if self.bug != WAITS_FOR_EVER => Kind::Timeout,
        };
        self.fail(kind);
    }

    async fn go_on(&mut self) {
        let Some(script) = &mut self.script else {
            return;
        };
        let pieces = script.pieces.unwrap_or(usize::MAX);
        if script.steps.is_empty() {
            let reason = if self.bug == STOPS_WHEN_CUT {
                FinishReason::Stop
            } else {
                FinishReason::Interrupted
            };
            return self.finish(reason, None);
        }
        match script.steps.remove(0) {
            Step::Text(text) => {
                self.said.push_str(&text);
                let block = self.block(|call| &mut call.text, BlockKind::Text);
                self.say(block, &text, pieces);
            }
            Step::Reasoning(text) => {
                let block = self.block(|call| &mut call.reasoning, BlockKind::Reasoning);
                self.say(block, &text, pieces);
            }
            Step::Decline(text) => {
                let block = self.open(BlockKind::Refusal);
                self.say(block, &text, pieces);
            }
            Step::Call { call, name } => {
                let id = format!("call-{call}");
                let block = self.open(BlockKind::ToolCall { id, name });
                self.calls.push((block, String::new()));
            }
            Step::Arguments { call, fragment } => {
                let last = self.calls.len() - 1;
                let at = if self.bug == NEWEST_CALL {
                    last
                } else {
                    call as usize
                };
                let (block, arguments) = &mut self.calls[at];
                arguments.push_str(&fragment);
                let block = *block;
                self.say(block, &fragment, pieces);
            }
            Step::Item { of, data } => {
                let block = match of {
                    Owner::Call(call) => self.calls[call as usize].0,
                    Owner::Reasoning => {
                        self.block(|call| &mut call.reasoning, BlockKind::Reasoning)
                    }
                };
                let item = OpaqueItem {
                    provider: ADAPTER.to_owned(),
                    data: json!(data),
                };
                self.out
                    .push_back(Ok(ModelEvent::BlockOpaque { block, item }));
            }
            Step::Usage(usage) => {
                self.out
                    .push_back(Ok(ModelEvent::Usage(counted(self.bug, usage))));
            }
            Step::Finish(reason) => {
                let raw = Some(raw(reason)).filter(|_raw| self.bug != NO_RAW_REASON);
                let is_done = matches!(reason, FinishReason::Stop | FinishReason::ToolCalls);
                let reason = match reason {
                    FinishReason::Other if self.bug == NEW_IS_STOP => FinishReason::Stop,
                    _ if is_done && self.is_malformed() => FinishReason::Malformed,
                    other => other,
                };
                self.finish(reason, raw);
            }
            Step::Unknown if self.bug == UNKNOWN_IS_ERROR => self.fail(Kind::Decode),
            Step::Malformed(text) if self.bug == QUOTES => {
                self.fail_with(Kind::Decode, &format!("{text} is no event"));
            }
            Step::Malformed(_) if self.bug != SKIPS_MALFORMED => self.fail(Kind::Decode),
            Step::Fail(failure) if self.bug != SKIPS_FAILURES => self.fail_as(&failure),
            Step::Cut => self.fail(Kind::Network),
            Step::Silence => self.silence().await,
            Step::Endless(flood) => {
                self.flood(flood).await;
            }
            _ => {}
        }
    }

    async fn flood(&mut self, flood: Flood) {
        let is_counted = flood == Flood::Text || self.bug != COUNTS_TEXT_ALONE;
        self.bytes += if is_counted { 1_000 } else { 0 };
        if self.bytes > CAP {
            return self.fail(Kind::Truncated);
        }
        if flood == Flood::Text {
            let block = self.block(|call| &mut call.text, BlockKind::Text);
            self.say(block, &"x".repeat(1_000), usize::MAX);
        }
        if is_counted {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if let Some(script) = &mut self.script {
            script.steps.insert(0, Step::Endless(flood));
        }
    }

    fn open(&mut self, kind: BlockKind) -> u32 {
        let block = self.blocks;
        self.blocks += 1;
        self.out
            .push_back(Ok(ModelEvent::BlockStarted { block, kind }));
        if self.bug == ENDS_EARLY {
            self.out.push_back(Ok(ModelEvent::BlockEnded { block }));
        }
        block
    }

    fn block(&mut self, place: fn(&mut Self) -> &mut Option<u32>, kind: BlockKind) -> u32 {
        match *place(self) {
            Some(block) => block,
            None => {
                let block = self.open(kind);
                *place(self) = Some(block);
                block
            }
        }
    }

    /// Text as it comes out of pieces of so many bytes.
    fn say(&mut self, block: u32, text: &str, pieces: usize) {
        let mut held = Vec::new();
        for piece in text.as_bytes().chunks(pieces) {
            held.extend_from_slice(piece);
            let delta = if self.bug == LOSSY_PIECES {
                String::from_utf8_lossy(&std::mem::take(&mut held)).into_owned()
            } else {
                let whole = match std::str::from_utf8(&held) {
                    Ok(all) => all.len(),
                    Err(cut) => cut.valid_up_to(),
                };
                String::from_utf8(held.drain(..whole).collect()).unwrap()
            };
            self.out
                .push_back(Ok(ModelEvent::BlockDelta { block, delta }));
        }
    }

    fn is_malformed(&self) -> bool {
        let is_json = |text: &str| text.is_empty() || serde_json::from_str::<Value>(text).is_ok();
        let is_wrong_call = self.calls.iter().any(|(_, text)| !is_json(text));
        let is_wrong_answer = self.request.output_schema.is_some()
            && self.calls.is_empty()
            && !serde_json::from_str::<Value>(&self.said)
                .is_ok_and(|answer| answer["n"].is_i64() && answer.as_object().unwrap().len() == 1);
        (is_wrong_call && self.bug != ANY_ARGUMENTS) || (is_wrong_answer && self.bug != ANY_ANSWER)
    }

    fn finish(&mut self, reason: FinishReason, raw_reason: Option<String>) {
        self.close();
        if self.bug == NULL_ARGUMENTS {
            let empty = self.calls.iter().filter(|(_, text)| text.is_empty());
            let delta = "null".to_owned();
            let deltas = empty.map(|(block, _)| ModelEvent::BlockDelta {
                block: *block,
                delta: delta.clone(),
            });
            self.out.extend(deltas.map(Ok));
        }
        if self.bug != ENDS_EARLY {
            let ends = (0..self.blocks).map(|block| ModelEvent::BlockEnded { block });
            self.out.extend(ends.map(Ok));
        }
        let finish = ModelEvent::Finish(Finish { reason, raw_reason });
        if self.bug == TWO_FINISHES {
            self.out.push_back(Ok(finish.clone()));
        }
        self.out.push_back(Ok(finish));
        self.is_over = true;
    }

    fn fail(&mut self, kind: Kind) {
        self.fail_with(kind, "it went wrong");
    }

    fn fail_with(&mut self, kind: Kind, why: &str) {
        let failed = PortError::new(kind, ADAPTER, "stream", why);
        let error = ModelError {
            response_started: self.blocks > 0 && self.bug != NEVER_STARTED,
            request_id: self.request_id(None),
            ..ModelError::from(failed)
        };
        self.out.push_back(Err(error));
    }

    fn fail_as(&mut self, failure: &Failure) {
        let kind = match failure.kind {
            Kind::QuotaExhausted if self.bug == QUOTA_IS_RATE => Kind::RateLimited,
            kind => kind,
        };
        let why = if self.bug == QUOTES {
            &failure.message
        } else {
            "the backend failed"
        };
        let mut failed = PortError::new(kind, ADAPTER, "stream", why);
        failed = match failure.retry_after {
            Some(RetryAfter::Seconds(seconds)) => {
                failed.with_retry(Retry::After(Duration::from_secs(seconds)))
            }
            Some(RetryAfter::Date(date)) if self.bug != SECONDS_ALONE => {
                let delay = date.duration_since(SystemTime::now()).unwrap_or_default();
                failed.with_retry(Retry::After(delay))
            }
            _ => failed,
        };
        let (status, code) = words(failure.kind);
        let error = ModelError {
            error: failed,
            status,
            code: code.filter(|_code| self.bug != NO_CODE),
            request_id: self.request_id(failure.request_id.as_deref()),
            response_started: self.blocks > 0 && self.bug != NEVER_STARTED,
        };
        self.out.push_back(Err(error));
    }

    fn request_id(&self, named: Option<&str>) -> Option<String> {
        let of_script = || self.script.as_ref()?.request_id.as_deref();
        let id = named.or_else(of_script)?;
        (self.bug != NO_REQUEST_ID && !id.contains(KEY)).then(|| id.to_owned())
    }
}

fn counted(bug: u8, usage: Usage) -> Usage {
    match bug {
        MISSING_IS_ZERO => {
            let zero = |count: Option<u64>| count.or(Some(0));
            Usage {
                input_tokens: zero(usage.input_tokens),
                cache_read_tokens: zero(usage.cache_read_tokens),
                cache_write_tokens: zero(usage.cache_write_tokens),
                output_tokens: zero(usage.output_tokens),
                reasoning_tokens: zero(usage.reasoning_tokens),
            }
        }
        UNCACHED_INPUT => Usage {
            input_tokens: usage.input_tokens.map(|all| {
                let cached = [usage.cache_read_tokens, usage.cache_write_tokens];
                all - cached.into_iter().flatten().sum::<u64>()
            }),
            ..usage
        },
        _ => usage,
    }
}

/// What reaches the backend.
fn sent(bug: u8, request: &ModelRequest) -> String {
    let mut words = vec![request.instructions.to_string()];
    let mut last = Vec::new();
    for block in request.messages.iter().flat_map(|message| &message.blocks) {
        let (text, item) = match block {
            Block::Text { text, opaque } | Block::Reasoning { text, opaque } => {
                (text, opaque.as_ref())
            }
            Block::ToolCall(call) => (&call.arguments, call.opaque.as_ref()),
            Block::ToolResult(result) => (&result.content, None),
            Block::Refusal { text } => (text, None),
            Block::File(file) => (&file.data, None),
        };
        words.push(text.clone());
        let own = item.filter(|item| bug == SENDS_ALL_ITEMS || item.provider == ADAPTER);
        let data = own.map(|item| item.data.to_string());
        if bug == ITEMS_AT_THE_END {
            last.extend(data);
        } else {
            words.extend(data);
        }
    }
    words.extend(last);
    if bug != DROPS_PARAMETERS && !request.parameters.is_empty() {
        words.push(serde_json::to_string(&*request.parameters).unwrap());
    }
    words.join("\n")
}
