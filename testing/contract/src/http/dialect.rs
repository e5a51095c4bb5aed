//! How a provider's server speaks: what its adapter's tests have to write, for both suites.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::model_provider::{FinishReason, Kind, ListedModel, ModelProvider, RateLimits};
use serde_json::{Value, json};

use super::{Act, Backend, chunked};
use crate::model_provider::{
    Answer, Failure, Flood, Harness, Numbers, RetryAfter, Said, Script, Step,
};

/// The most bytes of a frame and of an answer where a test is not about them.
pub(super) const FRAME: usize = 1 << 16;
pub(super) const STREAM: usize = 1 << 20;

/// How a provider's server speaks. A value of it writes one streamed answer.
pub trait Dialect: Default + Send + 'static {
    /// The key that providers are made with; nothing else may look like it.
    const KEY: &'static str;

    /// A provider that calls the server at `url` with the key, with caps on the bytes of a frame and of an answer.
    fn provider(url: &str, frame_bytes: usize, stream_bytes: usize) -> Arc<dyn ModelProvider>;

    /// The content type of a stream.
    fn content_type() -> &'static str;

    /// A whole recorded answer, two kilobytes or so, with a letter of more than one byte.
    fn whole() -> &'static [u8];

    /// The terminal frame of an answer, as often as anybody says it.
    fn terminal() -> &'static [u8];

    /// The beginning of an answer, with content.
    fn beginning() -> &'static [u8];

    /// Frames that report a failure, and what it is.
    fn failures() -> Vec<(Vec<u8>, Kind)>;

    /// Known frames with wrong types in them.
    fn wrong_types() -> Vec<Vec<u8>>;

    /// A frame that holds `bytes` where letters should be.
    fn frame_with(bytes: &[u8]) -> Vec<u8>;

    /// The body of a refusal because of too many calls.
    fn limited() -> String;

    /// How the server refuses a call. `None`: it has no words for that.
    fn refusal(failure: &Failure) -> Option<Refusal>;

    /// The headers that name a request and tell what is left of its limits. `None`: it has no words for that.
    fn headers(request_id: Option<&str>, limits: Option<&RateLimits>) -> Option<String>;

    /// Why a model stopped, in the server's words. `None`: it has none for that.
    fn reason(reason: FinishReason) -> Option<&'static str>;

    /// Adds a step to the answer that is being written. `None`: the server has no words for it. What breaks or never
    /// ends is no step of its.
    fn step(&mut self, step: &Step, body: &mut String) -> Option<()>;

    /// What is said again and again; `body` may be added to first.
    fn endless(&mut self, flood: Flood, body: &mut String) -> String;

    /// Nothing comes any more. `None`: the server has no words for what came.
    fn end(&mut self, body: &mut String) -> Option<()>;

    /// The texts whose vectors a request wants. `None`: it wants none, as everywhere where there are none.
    fn texts(request: &Value) -> Option<Vec<String>> {
        let _never = request;
        None
    }

    /// An answer with vectors, in any order that they can be told apart in.
    fn vectors(vectors: &[Vec<f32>], tokens: Option<u64>) -> Value {
        let _never = (vectors, tokens);
        Value::Null
    }

    /// The documents whose scores a request wants. `None`: it wants none, as everywhere where there are none.
    fn documents(request: &Value) -> Option<Vec<String>> {
        let _never = request;
        None
    }

    /// An answer with a count of tokens. `None`: the server counts none.
    fn counted(tokens: u64) -> Option<Value> {
        let _never = tokens;
        None
    }

    /// What a provider is told of a model that is looked up. `None`: the server tells of no models.
    fn told(model: &ListedModel) -> Option<ListedModel> {
        let _untold = model;
        None
    }

    /// The answer to a request for these models, or for one of them. `None`: it is not there.
    fn offering(asked: &Asked<'_>, models: &[ListedModel]) -> Option<Value> {
        let _unoffered = (asked, models);
        None
    }

    /// An answer with scores, in any order that they can be told apart in.
    fn scores(scores: &[f32], tokens: Option<u64>) -> Value {
        let _never = (scores, tokens);
        Value::Null
    }
}

/// A request, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The path, without its query.
    pub path: &'a str,
    /// The query, as it came.
    pub query: &'a str,
    /// The body.
    pub body: &'a str,
}

impl<'a> Asked<'a> {
    fn of(request: &'a str) -> Self {
        let (head, body) = request.split_once("\r\n\r\n").unwrap_or_default();
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self { path, query, body }
    }

    /// A value of the query that needs no unescaping.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The models of a page whose size and beginning these values of the query say, and whether more follow.
    #[must_use]
    pub fn page<'m>(
        &self,
        models: &'m [ListedModel],
        limit: &str,
        after: &str,
    ) -> (&'m [ListedModel], bool) {
        let after = self.value(after);
        let begin = after.and_then(|after| models.iter().position(|model| model.id == after));
        let begin = begin.map_or(0, |place| place.saturating_add(1));
        let rest = models.get(begin..).unwrap_or_default();
        let limit = self.value(limit).and_then(|limit| limit.parse().ok());
        let count = limit.unwrap_or(20).min(rest.len());
        let (page, more) = rest.split_at(count);
        (page, !more.is_empty())
    }
}

/// How a server refuses a call.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The code that the provider must pass on.
    pub code: Option<String>,
    /// Headers besides those that name the request, each with its end of line.
    pub headers: String,
    /// The body.
    pub body: String,
}

/// When to come back, as most servers say it.
#[must_use]
pub fn retry_after(failure: &Failure) -> String {
    match failure.retry_after {
        Some(RetryAfter::Seconds(seconds)) => format!("retry-after: {seconds}\r\n"),
        Some(RetryAfter::Date(date)) => {
            format!("retry-after: {}\r\n", httpdate::fmt_http_date(date))
        }
        None => String::new(),
    }
}

/// A provider behind a server that says in its dialect what a scenario writes down: the harness of the contract suite.
#[derive(Debug)]
pub struct Spoken<D> {
    provider: Arc<dyn ModelProvider>,
    backend: Backend,
    dialect: PhantomData<fn() -> D>,
}

#[async_trait]
impl<D: Dialect> Harness for Spoken<D> {
    async fn start() -> Self {
        let backend = Backend::start().await;
        Self {
            provider: D::provider(backend.url(), FRAME, STREAM),
            backend,
            dialect: PhantomData,
        }
    }

    fn provider(&self) -> Arc<dyn ModelProvider> {
        Arc::clone(&self.provider)
    }

    async fn answer(&self, answer: &Answer) -> Option<Said> {
        let (acts, said) = match answer {
            Answer::Stream(script) => streamed::<D>(script)?,
            Answer::Refuse(failure) => refused::<D>(failure)?,
            Answer::Silence => (vec![Act::Wait], Said::default()),
            Answer::HangUp => (Vec::new(), Said::default()),
            Answer::Numbers(numbers) => {
                let numbers = *numbers;
                self.backend
                    .respond(move |body| calculated::<D>(numbers, body));
                return Some(Said::default());
            }
        };
        self.backend.perform(acts);
        Some(said)
    }

    async fn count(&self, tokens: u64) -> Option<()> {
        let answer = D::counted(tokens)?.to_string();
        self.backend.respond(move |_request| document(&answer));
        Some(())
    }

    async fn offers(&self, models: &[ListedModel]) -> Option<Vec<ListedModel>> {
        let told = models.iter().map(D::told).collect::<Option<Vec<_>>>()?;
        let models = models.to_vec();
        let missing = D::refusal(&Failure::of(Kind::NotFound))?.body;
        self.backend.respond_to(
            move |request| match D::offering(&Asked::of(request), &models) {
                Some(answer) => document(&answer.to_string()),
                None => answered(404, &missing),
            },
        );
        Some(told)
    }

    fn requests(&self) -> Option<Vec<String>> {
        Some(self.backend.bodies())
    }

    fn hang_ups(&self) -> Option<usize> {
        Some(self.backend.hang_ups())
    }

    fn secrets(&self) -> Vec<String> {
        vec![D::KEY.to_owned()]
    }
}

/// The vectors or scores that a request wants.
fn calculated<D: Dialect>(numbers: Numbers, request: &str) -> Vec<Act> {
    let request = serde_json::from_str(request).unwrap_or(Value::Null);
    let answer = if let Some(documents) = D::documents(&request) {
        let scores = numbers.scores(&documents);
        scores.map(|scores| D::scores(&scores, numbers.tokens))
    } else {
        let texts = D::texts(&request).unwrap_or_default();
        let vectors = numbers.vectors(&texts);
        vectors.map(|vectors| D::vectors(&vectors, numbers.tokens))
    };
    let body = answer
        .unwrap_or_else(|| json!([{"new_thing": 3}]))
        .to_string();
    document(&body)
}

/// An answer that is one document.
fn document(body: &str) -> Vec<Act> {
    answered(200, body)
}

fn answered(status: u16, body: &str) -> Vec<Act> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    vec![Act::Say((head + body).into_bytes())]
}

fn refused<D: Dialect>(failure: &Failure) -> Option<(Vec<Act>, Said)> {
    let Refusal {
        status,
        code,
        headers,
        body,
    } = D::refusal(failure)?;
    let named = D::headers(failure.request_id.as_deref(), None)?;
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n{named}{headers}content-length: {length}\r\n\r\n{body}"
    );
    let said = Said {
        status: Some(status),
        code,
        ..Said::default()
    };
    Some((vec![Act::Say(answer.into_bytes())], said))
}

fn streamed<D: Dialect>(script: &Script) -> Option<(Vec<Act>, Said)> {
    let headers = D::headers(script.request_id.as_deref(), script.limits.as_ref())?;
    let (mut dialect, mut said, mut body) = (D::default(), Said::default(), String::new());
    let mut last = Some(Act::Say(b"0\r\n\r\n".to_vec()));
    for step in &script.steps {
        match step {
            Step::Cut => last = None,
            Step::Silence => last = Some(Act::Wait),
            Step::Endless(flood) => {
                let bytes = dialect.endless(*flood, &mut body);
                last = Some(Act::Repeat(chunked(bytes.as_bytes(), FRAME)));
            }
            _ => {
                dialect.step(step, &mut body)?;
                match step {
                    Step::Finish(reason) => said.finish = Some(D::reason(*reason)?.to_owned()),
                    Step::Fail(failure) => {
                        said.status = Some(200);
                        said.code = D::refusal(failure)?.code;
                    }
                    _ => {}
                }
                continue;
            }
        }
        break;
    }
    dialect.end(&mut body)?;
    let content_type = D::content_type();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n{headers}transfer-encoding: chunked\r\n\r\n"
    );
    let pieces = script.pieces.unwrap_or(FRAME);
    let mut acts = vec![
        Act::Say(head.into_bytes()),
        Act::Say(chunked(body.as_bytes(), pieces)),
    ];
    acts.extend(last);
    Some((acts, said))
}
