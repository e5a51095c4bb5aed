//! Reads the events of a response.

use seaworthy_http::frames::Frame;
use seaworthy_http::{Complaint, Fault, Progress, Reader, Reply};
use seaworthy_ports::model_provider::{BlockKind, FinishReason, Kind, Usage};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::complaint;

/// The most items of one response.
const MAX_ITEMS: usize = 4096;
/// The members of a message that are read here or that the provider gives anew.
const OF_MESSAGE: [&str; 5] = ["type", "id", "status", "role", "content"];
/// The same of a call.
const OF_CALL: [&str; 6] = ["type", "id", "status", "call_id", "name", "arguments"];

/// An answer as it comes in.
#[derive(Default)]
pub(crate) struct Answer {
    items: Vec<Item>,
}

/// An item of the response. Some servers leave out what tells items apart.
struct Item {
    index: Option<u64>,
    id: Option<String>,
    call_id: Option<String>,
    content: Content,
}

enum Content {
    Message {
        text: Option<u32>,
        refusal: Option<u32>,
    },
    Reasoning {
        block: u32,
        /// The part that the last fragment belonged to.
        part: Option<(bool, u64)>,
    },
    Call {
        block: u32,
    },
    /// An item that nobody here knows.
    Unknown,
}

/// What kind of item a fragment belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Message,
    Reasoning,
    Call,
    Unknown,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow)]
    sort: std::borrow::Cow<'a, str>,
}

/// Where something belongs.
#[derive(Deserialize)]
struct Place {
    output_index: Option<u64>,
    item_id: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    output_index: Option<u64>,
    item_id: Option<String>,
    summary_index: Option<u64>,
    content_index: Option<u64>,
    delta: String,
}

#[derive(Deserialize)]
struct Arguments {
    output_index: Option<u64>,
    item_id: Option<String>,
    arguments: String,
}

#[derive(Deserialize)]
struct OfItem {
    output_index: Option<u64>,
    item: Value,
}

#[derive(Deserialize)]
struct OfResponse {
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    status: Option<String>,
    model: Option<String>,
    output: Option<Vec<Value>>,
    usage: Option<WireUsage>,
    error: Option<Value>,
    incomplete_details: Option<Incomplete>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct WireUsage {
    input_tokens: Option<u64>,
    input_tokens_details: Option<InputDetails>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

/// The items' own shapes, as far as they are read.
#[derive(Deserialize)]
struct WireMessage {
    content: Option<Vec<Part>>,
}

#[derive(Deserialize)]
struct WireCall {
    call_id: String,
    name: String,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct WireReasoning {
    summary: Option<Vec<Part>>,
    content: Option<Vec<Part>>,
    encrypted_content: Option<String>,
}

enum Whole {
    Message(WireMessage),
    Call(WireCall),
    Reasoning(WireReasoning),
    Unknown,
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
    refusal: Option<String>,
}

impl Reader for Answer {
    fn frame(&mut self, frame: Frame<'_>, reply: &mut Reply) -> Result<Progress, Fault> {
        let data = frame.data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Ok(Progress::More);
        }
        match frame.name {
            // Not every server names its events, but the name is what allows to skip data of any form.
            "" | "message" => {
                let typed: Typed<'_> = parsed(data)?;
                self.event(&typed.sort, data, reply)
            }
            name => self.event(name, data, reply),
        }
    }

    fn whole(&mut self, text: &str, reply: &mut Reply) -> Result<(), Fault> {
        let body: Value = parsed(text)?;
        let is_failure = body.get("error").is_some_and(|error| !error.is_null());
        if is_failure && body.get("object").and_then(Value::as_str) != Some("response") {
            return Err(Fault::Complaint(complaint(&body, None)));
        }
        let response: Response = serde_json::from_value(body).map_err(|_error| Fault::Malformed)?;
        let status = response.status.clone().ok_or(Fault::Malformed)?;
        self.ended(&status, response, reply)
    }

    fn end(&mut self, _reply: &mut Reply) {}
}

fn parsed<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, Fault> {
    serde_json::from_str(data).map_err(|_error| Fault::Malformed)
}

fn shaped<T: for<'de> Deserialize<'de>>(item: &Value) -> Result<T, Fault> {
    T::deserialize(item).map_err(|_error| Fault::Malformed)
}

impl Answer {
    fn event(&mut self, sort: &str, data: &str, reply: &mut Reply) -> Result<Progress, Fault> {
        match sort {
            "response.output_text.delta" => self.said(parsed(data)?, false, reply)?,
            "response.refusal.delta" => self.said(parsed(data)?, true, reply)?,
            "response.reasoning_summary_text.delta" => self.thought(parsed(data)?, true, reply)?,
            "response.reasoning_text.delta" => self.thought(parsed(data)?, false, reply)?,
            "response.function_call_arguments.delta" => {
                let Delta {
                    output_index,
                    item_id,
                    delta,
                    ..
                } = parsed(data)?;
                let place = Place {
                    output_index,
                    item_id,
                };
                reply.delta(self.call(&place)?, delta);
            }
            "response.function_call_arguments.done" => {
                let Arguments {
                    output_index,
                    item_id,
                    arguments,
                } = parsed(data)?;
                let place = Place {
                    output_index,
                    item_id,
                };
                let block = self.call(&place)?;
                if reply.arguments(block) == Some("") {
                    reply.delta(block, arguments);
                }
            }
            "response.output_item.added" => {
                let OfItem { output_index, item } = parsed(data)?;
                self.begin(output_index, &item, reply)?;
            }
            "response.output_item.done" => {
                let OfItem { output_index, item } = parsed(data)?;
                self.close(output_index, item, reply)?;
            }
            "response.created" | "response.queued" | "response.in_progress" => {
                let OfResponse { response } = parsed(data)?;
                reply.start(response.model.as_deref());
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let OfResponse { response } = parsed(data)?;
                let status = sort.strip_prefix("response.").unwrap_or(sort);
                self.ended(status, response, reply)?;
                return Ok(Progress::Done);
            }
            "error" => {
                let body: Value = parsed(data)?;
                return Err(Fault::Complaint(complaint(&body, None)));
            }
            // What these say was said in fragments before.
            "response.content_part.added"
            | "response.content_part.done"
            | "response.output_text.done"
            | "response.output_text.annotation.added"
            | "response.refusal.done"
            | "response.reasoning_text.done"
            | "response.reasoning_summary_part.added"
            | "response.reasoning_summary_part.done"
            | "response.reasoning_summary_text.done" => {}
            _ => reply.skip(),
        }
        Ok(Progress::More)
    }

    /// An item of this sort: the one of the index, or of the id, or the newest where a server names neither.
    fn find(&self, sort: Sort, place: &Place) -> Option<usize> {
        let of_sort = |item: &Item| item.content.sort() == sort;
        let Place {
            output_index,
            item_id,
        } = place;
        let by = |named: &dyn Fn(&Item) -> bool| {
            self.items
                .iter()
                .rposition(|item| of_sort(item) && named(item))
        };
        match (output_index, item_id) {
            (None, None) => by(&|_item| true),
            _ => output_index
                .and_then(|index| by(&|item| item.index == Some(index)))
                .or_else(|| {
                    let id = item_id.as_deref()?;
                    by(&|item| {
                        item.id.as_deref() == Some(id) || item.call_id.as_deref() == Some(id)
                    })
                }),
        }
    }

    fn add(&mut self, item: Item) -> Result<usize, Fault> {
        if self.items.len() >= MAX_ITEMS {
            return Err(Fault::TooMany);
        }
        self.items.push(item);
        Ok(self.items.len().saturating_sub(1))
    }

    /// Text for the user, or the model's words where it declines.
    fn said(&mut self, fragment: Delta, is_refusal: bool, reply: &mut Reply) -> Result<(), Fault> {
        let place = Place {
            output_index: fragment.output_index,
            item_id: fragment.item_id,
        };
        let at = match self.find(Sort::Message, &place) {
            Some(at) => at,
            None => self.add(Item {
                index: place.output_index,
                id: place.item_id,
                call_id: None,
                content: Content::Message {
                    text: None,
                    refusal: None,
                },
            })?,
        };
        if let Some(Item {
            content: Content::Message { text, refusal },
            ..
        }) = self.items.get_mut(at)
        {
            let (place, kind) = if is_refusal {
                (refusal, BlockKind::Refusal)
            } else {
                (text, BlockKind::Text)
            };
            reply.extend(place, kind, fragment.delta)?;
        }
        Ok(())
    }

    /// Reasoning, as it is or as a summary, whose parts are paragraphs.
    fn thought(
        &mut self,
        fragment: Delta,
        is_summary: bool,
        reply: &mut Reply,
    ) -> Result<(), Fault> {
        let place = Place {
            output_index: fragment.output_index,
            item_id: fragment.item_id,
        };
        let at = match self.find(Sort::Reasoning, &place) {
            Some(at) => at,
            None => {
                let block = reply.open(BlockKind::Reasoning)?;
                self.add(Item {
                    index: place.output_index,
                    id: place.item_id,
                    call_id: None,
                    content: Content::Reasoning { block, part: None },
                })?
            }
        };
        if let Some(Item {
            content: Content::Reasoning { block, part },
            ..
        }) = self.items.get_mut(at)
        {
            let index = fragment.summary_index.or(fragment.content_index);
            let now = Some((is_summary, index.unwrap_or(0)));
            let is_next = part.is_some() && *part != now;
            *part = now;
            let before = if is_next { "\n\n" } else { "" };
            reply.delta(*block, format!("{before}{}", fragment.delta));
        }
        Ok(())
    }

    /// The block of a call that has begun.
    fn call(&self, place: &Place) -> Result<u32, Fault> {
        let at = self.find(Sort::Call, place).ok_or(Fault::Malformed)?;
        match self.items.get(at).map(|item| &item.content) {
            Some(Content::Call { block }) => Ok(*block),
            _ => Err(Fault::Malformed),
        }
    }

    fn begin(
        &mut self,
        index: Option<u64>,
        item: &Value,
        reply: &mut Reply,
    ) -> Result<usize, Fault> {
        let name = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
        let content = match sort(item)? {
            Sort::Message => Content::Message {
                text: None,
                refusal: None,
            },
            Sort::Reasoning => Content::Reasoning {
                block: reply.open(BlockKind::Reasoning)?,
                part: None,
            },
            Sort::Call => {
                let WireCall { call_id, name, .. } = shaped(item)?;
                let kind = BlockKind::ToolCall { id: call_id, name };
                Content::Call {
                    block: reply.open(kind)?,
                }
            }
            Sort::Unknown => {
                reply.skip();
                Content::Unknown
            }
        };
        self.add(Item {
            index,
            id: name("id"),
            call_id: name("call_id"),
            content,
        })
    }

    /// An item is whole. What it holds counts where no fragments of it came.
    fn close(
        &mut self,
        output_index: Option<u64>,
        item: Value,
        reply: &mut Reply,
    ) -> Result<(), Fault> {
        let name = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
        let place = Place {
            output_index,
            item_id: name("id").or_else(|| name("call_id")),
        };
        // What is damaged must not have begun.
        let whole = Whole::of(&item)?;
        let at = match self.find(sort(&item)?, &place) {
            Some(at) => at,
            None => self.begin(output_index, &item, reply)?,
        };
        match (self.items.get_mut(at).map(|item| &mut item.content), whole) {
            (Some(Content::Message { text, refusal }), Whole::Message(whole)) => {
                if text.is_none() && refusal.is_none() {
                    for part in whole.content.into_iter().flatten() {
                        let said = part.text.unwrap_or_default();
                        reply.extend(text, BlockKind::Text, said)?;
                        let declined = part.refusal.unwrap_or_default();
                        reply.extend(refusal, BlockKind::Refusal, declined)?;
                    }
                }
                if let (Some(text), Some(rest)) = (*text, rest(item, &OF_MESSAGE)) {
                    reply.opaque(text, rest);
                }
                for block in [*text, *refusal].into_iter().flatten() {
                    reply.close(block);
                }
            }
            (Some(Content::Call { block }), Whole::Call(whole)) => {
                if reply.arguments(*block) == Some("") {
                    reply.delta(*block, whole.arguments.unwrap_or_default());
                }
                if let Some(rest) = rest(item, &OF_CALL) {
                    reply.opaque(*block, rest);
                }
                reply.close(*block);
            }
            (Some(Content::Reasoning { block, part }), Whole::Reasoning(whole)) => {
                if part.is_none() {
                    reply.delta(*block, whole.text());
                }
                // Only what is not kept at the provider can return: its id alone would name nothing there.
                if whole.can_return() {
                    reply.opaque(*block, item);
                }
                reply.close(*block);
            }
            _ => {}
        }
        Ok(())
    }

    /// The response has come to its end, with this status.
    fn ended(&mut self, status: &str, response: Response, reply: &mut Reply) -> Result<(), Fault> {
        reply.start(response.model.as_deref());
        if let Some(usage) = &response.usage {
            reply.usage(normalised(usage));
        }
        let (reason, raw) = match status {
            "completed" => (FinishReason::Stop, "completed"),
            "incomplete" => {
                let details = response.incomplete_details.as_ref();
                let raw = details.and_then(|details| details.reason.as_deref());
                (
                    raw.map_or(FinishReason::Other, incomplete),
                    raw.unwrap_or(status),
                )
            }
            _ => {
                let error = response.error.unwrap_or(Value::Null);
                return Err(Fault::Complaint(if error.is_null() {
                    Complaint::of(Kind::Server)
                } else {
                    complaint(&error, None)
                }));
            }
        };
        if self.items.is_empty() {
            for (index, item) in (0..).zip(response.output.into_iter().flatten()) {
                self.close(Some(index), item, reply)?;
            }
        }
        reply.finish(reason, raw);
        Ok(())
    }
}

impl Content {
    const fn sort(&self) -> Sort {
        match self {
            Self::Message { .. } => Sort::Message,
            Self::Reasoning { .. } => Sort::Reasoning,
            Self::Call { .. } => Sort::Call,
            Self::Unknown => Sort::Unknown,
        }
    }
}

impl Whole {
    fn of(item: &Value) -> Result<Self, Fault> {
        Ok(match sort(item)? {
            Sort::Message => Self::Message(shaped(item)?),
            Sort::Call => Self::Call(shaped(item)?),
            Sort::Reasoning => Self::Reasoning(shaped(item)?),
            Sort::Unknown => Self::Unknown,
        })
    }
}

impl WireReasoning {
    fn text(&self) -> String {
        let parts = self.summary.iter().chain(&self.content).flatten();
        let texts: Vec<&str> = parts.filter_map(|part| part.text.as_deref()).collect();
        texts.join("\n\n")
    }

    fn can_return(&self) -> bool {
        let is_encrypted = self
            .encrypted_content
            .as_deref()
            .is_some_and(|text| !text.is_empty());
        is_encrypted || self.content.as_ref().is_some_and(|parts| !parts.is_empty())
    }
}

/// An item must say what it is.
fn sort(item: &Value) -> Result<Sort, Fault> {
    let sort = item.get("type").and_then(Value::as_str);
    Ok(match sort.ok_or(Fault::Malformed)? {
        "message" => Sort::Message,
        "reasoning" => Sort::Reasoning,
        "function_call" => Sort::Call,
        _ => Sort::Unknown,
    })
}

/// What an item holds besides the `known`: the provider may want it back.
fn rest(item: Value, known: &[&str]) -> Option<Value> {
    let Value::Object(item) = item else {
        return None;
    };
    let rest: Map<String, Value> = item
        .into_iter()
        .filter(|(name, value)| !known.contains(&name.as_str()) && !value.is_null())
        .collect();
    (!rest.is_empty()).then_some(Value::Object(rest))
}

fn incomplete(raw: &str) -> FinishReason {
    match raw {
        "max_output_tokens" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}

/// Input holds what came from a cache and went into one already, output the reasoning.
fn normalised(usage: &WireUsage) -> Usage {
    let input = usage.input_tokens_details.as_ref();
    let output = usage.output_tokens_details.as_ref();
    Usage {
        input_tokens: usage.input_tokens,
        cache_read_tokens: input.and_then(|details| details.cached_tokens),
        cache_write_tokens: input.and_then(|details| details.cache_write_tokens),
        output_tokens: usage.output_tokens,
        reasoning_tokens: output.and_then(|details| details.reasoning_tokens),
    }
}
