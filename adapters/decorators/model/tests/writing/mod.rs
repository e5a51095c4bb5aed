//! Around the decorator that calls tools by a schema: a model that writes JSON where a schema wants it, and a caller that
//! always has tools.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use seaworthy_ports::model_provider::{
    BlockKind, CountTokens, Directory, Embeddings, Finish, FinishReason, ModelCapabilities,
    ModelError, ModelEvent, ModelProvider, ModelRequest, Rerank, ToolSpec,
};
use seaworthy_ports::{AdapterInfo, BoxStream, ToolName, async_trait};
use serde_json::{Value, json};

type Item = Result<ModelEvent, ModelError>;

macro_rules! as_the_inner {
    () => {
        fn info(&self) -> AdapterInfo {
            self.0.info()
        }

        fn capabilities(&self, model: &str) -> ModelCapabilities {
            self.0.capabilities(model)
        }

        fn embeddings(&self) -> Option<&dyn Embeddings> {
            self.0.embeddings()
        }

        fn rerank(&self) -> Option<&dyn Rerank> {
            self.0.rerank()
        }

        fn tokens(&self) -> Option<&dyn CountTokens> {
            self.0.tokens()
        }

        fn directory(&self) -> Option<&dyn Directory> {
            self.0.directory()
        }
    };
}

/// A caller that has tools in every request.
#[derive(Debug)]
pub(crate) struct WithTools(pub(crate) Arc<dyn ModelProvider>);

#[async_trait]
impl ModelProvider for WithTools {
    as_the_inner!();

    fn stream(&self, mut request: ModelRequest) -> BoxStream<'static, Item> {
        if request.tools.is_empty() && request.parameters.tool_choice.is_none() {
            let tools = ["read", "list", "write", "now", "today"].map(|name| ToolSpec {
                name: ToolName::new(name).unwrap(),
                description: String::new(),
                input_schema: json!({"type": "object"}),
            });
            request.tools = Arc::new(tools.into());
        }
        self.0.stream(request)
    }
}

/// A model that is held to a schema: what it would say or call it writes as the schema wants it.
#[derive(Debug)]
pub(crate) struct Writes(pub(crate) Arc<dyn ModelProvider>);

#[async_trait]
impl ModelProvider for Writes {
    as_the_inner!();

    fn stream(&self, mut request: ModelRequest) -> BoxStream<'static, Item> {
        let Some(schema) = request.output_schema.take() else {
            return self.0.stream(request);
        };
        let mut writing = Writing {
            is_quoted: says_text(&schema),
            schema,
            written: String::new(),
            open: None,
        };
        let events = self.0.stream(request);
        events
            .flat_map(move |item| stream::iter(writing.hear(item)))
            .boxed()
    }
}

/// Whether the answer is a text, not any JSON.
fn says_text(schema: &Value) -> bool {
    let forms = schema.get("anyOf").and_then(Value::as_array).cloned();
    let forms = forms.unwrap_or_else(|| vec![schema.clone()]);
    let text = json!({"type": "string"});
    forms
        .iter()
        .any(|form| form.pointer("/properties/answer") == Some(&text))
}

struct Writing {
    schema: Arc<Value>,
    is_quoted: bool,
    written: String,
    /// The block, what it ends with, and what stands for nothing in it.
    open: Option<(u32, &'static str, &'static str)>,
}

impl Writing {
    fn hear(&mut self, item: Item) -> Vec<Item> {
        let Ok(event) = item else { return vec![item] };
        match event {
            ModelEvent::BlockStarted { block, kind } => self.begin(block, kind),
            ModelEvent::BlockDelta { block, delta } => match self.open {
                Some((open, end, _)) if open == block => {
                    self.open = Some((block, end, ""));
                    let quoted = end.starts_with('"');
                    self.write(if quoted { inside(&delta) } else { delta })
                }
                _ => vec![Ok(ModelEvent::BlockDelta { block, delta })],
            },
            ModelEvent::BlockEnded { block } if self.is_open(block) => Vec::new(),
            ModelEvent::Finish(finish) => self.finish(finish),
            other => vec![Ok(other)],
        }
    }

    fn is_open(&self, block: u32) -> bool {
        self.open.is_some_and(|(open, ..)| open == block)
    }

    fn begin(&mut self, block: u32, kind: BlockKind) -> Vec<Item> {
        let text = match &kind {
            BlockKind::Text if self.is_quoted => {
                self.open = Some((block, "\"}", ""));
                "{\"answer\": \"".to_owned()
            }
            BlockKind::Text => {
                self.open = Some((block, "}", ""));
                "{\"answer\": ".to_owned()
            }
            BlockKind::ToolCall { name, .. } => {
                self.open = Some((block, "}", "{}"));
                format!("{{\"name\": \"{name}\", \"parameters\": ")
            }
            BlockKind::Reasoning | BlockKind::Refusal => {
                return vec![Ok(ModelEvent::BlockStarted { block, kind })];
            }
        };
        let kind = BlockKind::Text;
        let mut items = vec![Ok(ModelEvent::BlockStarted { block, kind })];
        items.extend(self.write(text));
        items
    }

    fn write(&mut self, delta: String) -> Vec<Item> {
        self.written.push_str(&delta);
        let block = self.open.map_or(0, |(block, ..)| block);
        vec![Ok(ModelEvent::BlockDelta { block, delta })]
    }

    fn finish(&mut self, finish: Finish) -> Vec<Item> {
        let Some((block, end, nothing)) = self.open else {
            return vec![Ok(ModelEvent::Finish(finish))];
        };
        let mut items = Vec::new();
        let mut reason = finish.reason;
        let is_done = matches!(
            reason,
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Malformed
        );
        if is_done {
            items.extend(self.write(format!("{nothing}{end}")));
            let fits = serde_json::from_str(&self.written)
                .is_ok_and(|written: Value| jsonschema::is_valid(&self.schema, &written));
            reason = if fits {
                FinishReason::Stop
            } else {
                FinishReason::Malformed
            };
        }
        items.push(Ok(ModelEvent::BlockEnded { block }));
        items.push(Ok(ModelEvent::Finish(Finish { reason, ..finish })));
        items
    }
}

/// The text as it stands in a JSON text.
fn inside(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    let inside = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap().to_owned()
}
