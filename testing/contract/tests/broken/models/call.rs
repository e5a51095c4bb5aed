//! A call of the broken model provider, step by step as its scenario says.

#![expect(
    clippy::indexing_slicing,
    reason = "a scenario that speaks of a call it never began is wrong"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use seaworthy_contract::model_provider::{Answer, Failure, Flood, Owner, RetryAfter, Script, Step};
use seaworthy_ports::model_provider::{
    Block, BlockKind, FileBlock, Finish, FinishReason, Kind, ModelError, ModelEvent, ModelRequest,
    OpaqueItem, RateLimits, ToolChoice, Usage, check_history, check_parameters,
};
use seaworthy_ports::{PortError, Retry};
use serde_json::{Value, json};

use super::{
    ADAPTER, ANY_ANSWER, ANY_ARGUMENTS, ANY_HISTORY, ANY_PARAMETERS, Backend, CAP,
    COUNTS_TEXT_ALONE, DROPS_MEDIA, DROPS_PARAMETERS, ENDS_EARLY, FORCES_ANY, FORCES_NOTHING,
    GOES_ON, IGNORES_CANCEL, ITEMS_AT_THE_END, KEEPS_CONNECTION, KEY, LOSSY_PIECES, MEDIA_FIRST,
    MISSING_IS_ZERO, NEVER_STARTED, NEW_IS_STOP, NEWEST_CALL, NO_CODE, NO_LIMITS, NO_RAW_REASON,
    NO_REQUEST_ID, NULL_ARGUMENTS, QUOTA_IS_RATE, QUOTES, REFUSES_AFTERWARDS, REFUSES_MEDIA,
    REFUSES_TO_FORCE, REPEATS, SECONDS_ALONE, SENDS_ALL_ITEMS, SKIPS_FAILURES, SKIPS_MALFORMED,
    STOPS_WHEN_CUT, TOTAL_TIMEOUT, TWO_FINISHES, UNCACHED_INPUT, UNKNOWN_IS_ERROR, WAITS_FOR_EVER,
    raw, words,
};

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

/// One call, as far as it went.
pub(super) struct Call {
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
    pub(super) fn new(bug: u8, backend: Arc<Backend>, request: ModelRequest) -> Self {
        Self {
            bug,
            backend,
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
        }
    }

    pub(super) async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
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
        let choice = self.request.parameters.tool_choice.as_ref();
        let must_call = matches!(choice, Some(ToolChoice::Required | ToolChoice::Tool(_)));
        if must_call && self.bug == REFUSES_TO_FORCE {
            return self.fail(Kind::Unsupported);
        }
        // This backend has no seeds.
        let has_seed = self.request.parameters.seed.is_some();
        if has_seed && self.bug != REFUSES_AFTERWARDS {
            return self.fail(Kind::Unsupported);
        }
        let mut blocks = (self.request.messages.iter()).flat_map(|message| &message.blocks);
        let shows = blocks
            .any(|block| matches!(block, Block::ToolResult(result) if !result.media.is_empty()));
        if shows && self.bug == REFUSES_MEDIA {
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
pub(super) fn sent(bug: u8, request: &ModelRequest) -> String {
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
        let media: &[FileBlock] = match block {
            Block::ToolResult(result) if bug != DROPS_MEDIA => &result.media,
            _ => &[],
        };
        let media = media.iter().map(|file| file.data.clone());
        if bug == MEDIA_FIRST {
            words.extend(media);
            words.push(text.clone());
        } else {
            words.push(text.clone());
            words.extend(media);
        }
        let own = item.filter(|item| bug == SENDS_ALL_ITEMS || item.provider == ADAPTER);
        let data = own.map(|item| item.data.to_string());
        if bug == ITEMS_AT_THE_END {
            last.extend(data);
        } else {
            words.extend(data);
        }
    }
    words.extend(last);
    let mut parameters = (*request.parameters).clone();
    parameters.tool_choice = match parameters.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Tool(_)) if bug == FORCES_NOTHING => None,
        Some(ToolChoice::Tool(_)) if bug == FORCES_ANY => Some(ToolChoice::Required),
        choice => choice,
    };
    if bug != DROPS_PARAMETERS && !parameters.is_empty() {
        words.push(serde_json::to_string(&parameters).unwrap());
    }
    words.join("\n")
}
