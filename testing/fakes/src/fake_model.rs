//! A model that says what a test wrote down, and to whom.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::model_provider::{
    Block, BlockKind, CountTokens, Directory, Embeddings, Finish, FinishReason, Kind,
    ModelCapabilities, ModelError, ModelEvent, ModelProvider, ModelRequest, Rerank, Role, Usage,
    check_history, check_parameters,
};
use seaworthy_ports::{AdapterInfo, BoxStream, PortError, Retry};
use serde_json::Value;

use crate::{ADAPTER, FakeClock, info, locked};

type Condition = dyn Fn(&ModelRequest) -> bool + Send + Sync;

/// One call that a test expects, and what is said to it.
#[derive(Clone)]
pub struct Step {
    expects: Vec<(String, Arc<Condition>)>,
    blocks: Vec<(BlockKind, String)>,
    end: End,
    delay: Option<(FakeClock, Duration)>,
}

#[derive(Clone, Debug)]
enum End {
    Finish(Option<FinishReason>),
    /// The connection breaks after so many events.
    Cut(usize),
    Error(Kind, Option<Retry>),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expectation())
    }
}

impl Step {
    const fn ending(end: End) -> Self {
        Self {
            expects: Vec::new(),
            blocks: Vec::new(),
            end,
            delay: None,
        }
    }

    /// Any call is answered with this text.
    pub fn says(text: impl Into<String>) -> Self {
        Self::ending(End::Finish(None)).and_says(text)
    }

    /// Any call is answered with the wish to call `tool`.
    pub fn calls(tool: impl Into<String>, arguments: &Value) -> Self {
        Self::ending(End::Finish(None)).and_calls(tool, arguments)
    }

    /// Any call fails.
    #[must_use]
    pub const fn fails(kind: Kind) -> Self {
        Self::ending(End::Error(kind, None))
    }

    /// Any call fails, and the provider asks to be left alone for so long.
    #[must_use]
    pub const fn asks_to_wait(kind: Kind, time: Duration) -> Self {
        Self::ending(End::Error(kind, Some(Retry::After(time))))
    }

    /// And the answer has this text.
    #[must_use]
    pub fn and_says(mut self, text: impl Into<String>) -> Self {
        self.blocks.push((BlockKind::Text, text.into()));
        self
    }

    /// And the answer wants `tool` called, at once with the calls before.
    #[must_use]
    pub fn and_calls(self, tool: impl Into<String>, arguments: &Value) -> Self {
        self.and_calls_with(tool, arguments.to_string())
    }

    /// And the answer wants `tool` called with arguments as the model wrote them, JSON or not.
    #[must_use]
    pub fn and_calls_with(mut self, tool: impl Into<String>, arguments: String) -> Self {
        let kind = BlockKind::ToolCall {
            id: String::new(),
            name: tool.into(),
        };
        self.blocks.push((kind, arguments));
        self
    }

    /// The answer ends for this reason, whatever it holds.
    #[must_use]
    pub fn finishing(mut self, reason: FinishReason) -> Self {
        self.end = End::Finish(Some(reason));
        self
    }

    /// The connection breaks after so many events of the answer: an error, with the response begun if there were any.
    #[must_use]
    pub fn cut_after(mut self, events: usize) -> Self {
        self.end = End::Cut(events);
        self
    }

    /// The answer comes after this time of `clock`, or not at all if the call is cancelled before.
    #[must_use]
    pub fn after(mut self, clock: &FakeClock, delay: Duration) -> Self {
        self.delay = Some((clock.clone(), delay));
        self
    }

    /// The call must be one of which `holds` is true; `what` says so in a failure.
    #[must_use]
    pub fn when(
        mut self,
        what: impl Into<String>,
        holds: impl Fn(&ModelRequest) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.expects.push((what.into(), Arc::new(holds)));
        self
    }

    /// The last message must hold this text: what the user said, or a result of a tool.
    #[must_use]
    pub fn when_told(self, text: impl Into<String>) -> Self {
        let text = text.into();
        let what = format!("the last message holds {text:?}");
        self.when(what, move |request| last_holds(request, &text))
    }

    /// The model must be offered this tool.
    #[must_use]
    pub fn when_offered(self, tool: impl Into<String>) -> Self {
        let tool = tool.into();
        let what = format!("the tool {tool:?} is offered");
        self.when(what, move |request| {
            let mut tools = request.tools.iter();
            tools.any(|offered| offered.name.as_str() == tool)
        })
    }

    fn expectation(&self) -> String {
        if self.expects.is_empty() {
            return "any call".to_owned();
        }
        let whats: Vec<&str> = self.expects.iter().map(|(what, _)| what.as_str()).collect();
        format!("a call where {}", whats.join(" and "))
    }

    fn unmet(&self, request: &ModelRequest) -> Option<&str> {
        self.expects
            .iter()
            .find(|(_what, holds)| !holds(request))
            .map(|(what, _holds)| what.as_str())
    }

    fn events(&self, number: usize) -> Vec<Result<ModelEvent, ModelError>> {
        let mut events = vec![ModelEvent::Started {
            request_id: Some(format!("fake_{number}")),
            model: None,
        }];
        let mut asks = false;
        for (index, (kind, content)) in self.blocks.iter().enumerate() {
            let block = u32::try_from(index).unwrap_or(u32::MAX);
            let kind = match kind {
                BlockKind::ToolCall { name, .. } => {
                    asks = true;
                    let (id, name) = (format!("call_{number}_{index}"), name.clone());
                    BlockKind::ToolCall { id, name }
                }
                other => other.clone(),
            };
            let delta = content.clone();
            events.push(ModelEvent::BlockStarted { block, kind });
            events.push(ModelEvent::BlockDelta { block, delta });
            events.push(ModelEvent::BlockEnded { block });
        }
        let failed = |kind| PortError::new(kind, ADAPTER, "stream", "the step says so");
        let said = match (asks, &self.end) {
            (_, End::Finish(Some(reason))) => *reason,
            (true, _) => FinishReason::ToolCalls,
            (false, _) => FinishReason::Stop,
        };
        events.push(ModelEvent::Usage(Usage::default()));
        events.push(ModelEvent::Finish(Finish {
            reason: said,
            raw_reason: None,
        }));
        match &self.end {
            End::Finish(_) => events.into_iter().map(Ok).collect(),
            End::Cut(after) => {
                let mut cut = ModelError::from(failed(Kind::Network));
                cut.response_started = *after > 0;
                let mut events: Vec<_> = events.into_iter().take(*after).map(Ok).collect();
                events.push(Err(cut));
                events
            }
            End::Error(kind, retry) => {
                let mut error = failed(*kind);
                if let Some(retry) = retry {
                    error = error.with_retry(*retry);
                }
                vec![Err(error.into())]
            }
        }
    }
}

fn last_holds(request: &ModelRequest, text: &str) -> bool {
    let Some(last) = request.messages.last() else {
        return false;
    };
    last.blocks.iter().any(|block| match block {
        Block::Text { text: said, .. } => said.contains(text),
        Block::ToolResult(result) => result.content.contains(text),
        _ => false,
    })
}

#[derive(Debug, Default)]
struct Progress {
    used: usize,
    unexpected: Vec<String>,
}

/// A model for tests of an application: it expects the calls of its steps, in their order, and nothing else.
///
/// A call that is not the one its step expects fails as an invalid request that says which step was expected, and so
/// does one beyond the last step. [`assert_all_used`](Self::assert_all_used) tells at the end of a test of both, and of
/// steps that nobody asked for. As every provider does, it refuses a conversation that a real one would refuse.
///
/// A durable run that lost its worker repeats a model call whose answer had not reached the log; where a test kills
/// workers, [`TableModel`](crate::TableModel) answers each conversation the same way however often it is asked.
///
/// ```
/// use futures_util::FutureExt as _;
/// use seaworthy_fakes::{FakeModel, Step};
/// use seaworthy_ports::model_provider::{Message, ModelProvider, ModelRequest, assemble};
/// # use seaworthy_ports::Latch;
/// # use std::{sync::Arc, time::Duration};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = FakeModel::new([Step::says("4").when_told("2 + 2")]);
///
/// // The application under test asks:
/// let request = ModelRequest {
///     model: "any".to_owned(),
///     instructions: "Calculate.".into(),
///     messages: Arc::new(vec![Message::user("What is 2 + 2?")]),
///     tools: Arc::default(),
///     output_schema: None,
///     max_output_tokens: None,
///     parameters: Arc::default(),
///     idle_timeout: Duration::from_secs(60),
///     cancel: Latch::never(),
/// };
/// let reply = assemble(model.stream(request), |_event| {}).now_or_never().ok_or("it waits")??;
/// assert_eq!(reply.message.text(), "4");
/// model.assert_all_used();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FakeModel {
    steps: Arc<Vec<Step>>,
    capabilities: ModelCapabilities,
    progress: Arc<Mutex<Progress>>,
}

impl FakeModel {
    /// A model that expects `steps`. Clones share what is used.
    #[must_use]
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: Arc::new(steps.into_iter().collect()),
            capabilities: ModelCapabilities::NONE.with_tool_use(),
            progress: Arc::default(),
        }
    }

    /// The same model, which says that it can do this and nothing else. It calls tools unless told otherwise. It still says
    /// what its steps say: an answer that does not fit an output schema is one that a step lets finish as
    /// [`FinishReason::Malformed`].
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: ModelCapabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// How many steps were used so far.
    #[must_use]
    pub fn used(&self) -> usize {
        locked(&self.progress).used
    }

    /// What is wrong so far: calls that no step expected, and steps that no call used. Empty: nothing.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let progress = locked(&self.progress);
        let mut faults = progress.unexpected.clone();
        let unused = self.steps.iter().enumerate().skip(progress.used);
        faults.extend(unused.map(|(index, step)| {
            let number = index.saturating_add(1);
            format!("step {number} was not used: it expects {step:?}")
        }));
        faults
    }

    /// Fails the test unless every step was used and no other call was made.
    ///
    /// # Panics
    ///
    /// With [`faults`](Self::faults), if there are any.
    #[track_caller]
    pub fn assert_all_used(&self) {
        let faults = self.faults();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    fn take(&self, request: &ModelRequest) -> Result<(usize, Step), ModelError> {
        let refuse = |why: String| {
            ModelError::from(PortError::new(Kind::InvalidRequest, ADAPTER, "stream", why))
        };
        let mut progress = locked(&self.progress);
        if let Err(fault) = check_history(&request.messages) {
            let wrong = format!("a call has a conversation that every provider refuses: {fault}");
            progress.unexpected.push(wrong.clone());
            return Err(refuse(wrong));
        }
        if let Err(fault) = check_parameters(request) {
            let wrong = format!("a call has parameters that every provider refuses: {fault}");
            progress.unexpected.push(wrong.clone());
            return Err(refuse(wrong));
        }
        let (index, count) = (progress.used, self.steps.len());
        let number = index.saturating_add(1);
        let turns = request.messages.iter();
        let said = turns.filter(|message| message.role == Role::Assistant);
        let call = format!("a call after {} answers of the conversation", said.count());
        let wrong = match self.steps.get(index) {
            None => format!("{call} was not expected: all {count} steps are used"),
            Some(step) => match step.unmet(request) {
                None => {
                    progress.used = number;
                    return Ok((number, step.clone()));
                }
                Some(unmet) => format!(
                    "{call} is not what step {number} of {count} expects, {step:?}: it is not so that {unmet}"
                ),
            },
        };
        progress.unexpected.push(wrong.clone());
        Err(refuse(wrong))
    }
}

#[async_trait]
impl ModelProvider for FakeModel {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        self.capabilities
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let (number, step) = match self.take(&request) {
            Ok(taken) => taken,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let answer = async move {
            let waited = async {
                if let Some((clock, delay)) = &step.delay {
                    clock.sleep_until(clock.now().plus(*delay)).await;
                }
            };
            let cancelled = std::pin::pin!(request.cancel.wait());
            match select(std::pin::pin!(waited), cancelled).await {
                Either::Left(_) => step.events(number),
                Either::Right(_) => {
                    let why = "the caller ended the call";
                    let error = PortError::new(Kind::Cancelled, ADAPTER, "stream", why);
                    vec![Err(error.into())]
                }
            }
        };
        answer.into_stream().flat_map(stream::iter).boxed()
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        None
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        None
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        None
    }

    fn directory(&self) -> Option<&dyn Directory> {
        None
    }
}
