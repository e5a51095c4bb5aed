//! What the model is asked instead.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use seaworthy_ports::model_provider::{
    Block, Kind, Message, ModelCapabilities, ModelRequest, Parameters, ToolCallBlock,
    ToolResultBlock, check_history, check_parameters,
};
use serde_json::{Value, json};

use super::forms::{ANSWER, Answer, Forms, NAME, PARAMETERS};

/// A request as the model gets it.
pub(super) struct Told {
    pub(super) request: ModelRequest,
    /// How its answer is read. `None`: as it is.
    pub(super) forms: Option<Forms>,
    /// The id of the call in the answer, should there be one.
    pub(super) call_id: String,
}

impl Told {
    /// # Errors
    ///
    /// Why this cannot be asked.
    pub(super) fn new(
        request: ModelRequest,
        capabilities: ModelCapabilities,
    ) -> Result<Self, (Kind, String)> {
        let has_calls = request.messages.iter().any(is_told);
        if request.tools.is_empty() && !has_calls {
            return Ok(Self {
                request,
                forms: None,
                call_id: String::new(),
            });
        }
        // In what is sent nobody could see these faults any more.
        let invalid = |fault: String| (Kind::InvalidRequest, fault);
        check_history(&request.messages).map_err(|fault| invalid(fault.to_string()))?;
        check_parameters(&request).map_err(|fault| invalid(fault.to_string()))?;
        let forms = Forms::of(&request);
        if forms.is_some() {
            if !capabilities.structured_output {
                let why = "the model keeps to no output schema, so it cannot call tools by one";
                return Err((Kind::Unsupported, why.to_owned()));
            }
            if !request.parameters.stop.is_empty() {
                let why = "a model that calls tools by a schema cannot be stopped by the parameter `stop`, which would \
                           cut the JSON of its answers";
                return Err((Kind::Unsupported, why.to_owned()));
            }
        }
        let call_id = new_id(&request.messages);
        let messages = if has_calls {
            Arc::new(request.messages.iter().map(message).collect())
        } else {
            Arc::clone(&request.messages)
        };
        let (instructions, output_schema) = match &forms {
            None => (
                Arc::clone(&request.instructions),
                request.output_schema.clone(),
            ),
            Some(forms) => (
                instructions(&request, forms).into(),
                Some(Arc::new(forms.schema(&request))),
            ),
        };
        let parameters = Parameters {
            tool_choice: None,
            ..(*request.parameters).clone()
        };
        Ok(Self {
            request: ModelRequest {
                instructions,
                messages,
                tools: Arc::default(),
                output_schema,
                parameters: Arc::new(parameters),
                ..request
            },
            forms,
            call_id,
        })
    }
}

/// An id that no call of the conversation has, the same whenever it is continued here.
fn new_id(messages: &[Message]) -> String {
    let used: BTreeSet<&str> = messages
        .iter()
        .flat_map(Message::tool_calls)
        .map(|call| call.id.as_str())
        .collect();
    // One more than there are: at least one of them is free.
    let mut ids =
        (used.len()..=used.len().saturating_mul(2)).map(|number| format!("call_{number}"));
    ids.find(|id| !used.contains(id.as_str()))
        .unwrap_or_else(|| "call".to_owned())
}

fn instructions(request: &ModelRequest, forms: &Forms) -> String {
    let mut told = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a text cannot fail.
        let _written = writeln!(told, "{line}");
    };
    let own = request.instructions.trim_end();
    if !own.is_empty() {
        line(format_args!("{own}\n"));
    }
    line(format_args!("There are tools that you can have called:\n"));
    for tool in request.tools.iter() {
        if forms.tools.contains(&tool.name) {
            let description = tool.description.trim();
            line(format_args!("- {}: {description}", tool.name));
            line(format_args!("  Its parameters: {}", tool.input_schema));
        }
    }
    line(format_args!(
        "\nYou say nothing but one JSON object. To have a tool called, and be given its result:\n\n\
         {{\"{NAME}\": the tool, \"{PARAMETERS}\": {{...}}}}"
    ));
    match (forms.answer, &request.output_schema) {
        (Answer::Never, _) => line(format_args!("\nA tool has to be called now.")),
        (Answer::Json, Some(schema)) => line(format_args!(
            "\nTo answer when you have what you need, with an answer that fits the JSON schema {schema}:\n\n\
             {{\"{ANSWER}\": ...}}"
        )),
        _ => line(format_args!(
            "\nTo answer when you have what you need:\n\n{{\"{ANSWER}\": \"...\"}}"
        )),
    }
    told
}

fn is_told(message: &Message) -> bool {
    let is_told = |block: &Block| matches!(block, Block::ToolCall(_) | Block::ToolResult(_));
    message.blocks.iter().any(is_told)
}

/// The message with its calls and results as text. Providers put texts of a message side by side, so they are kept apart
/// here.
fn message(message: &Message) -> Message {
    if !is_told(message) {
        return message.clone();
    }
    let mut blocks: Vec<Block> = Vec::with_capacity(message.blocks.len());
    for block in &message.blocks {
        let mut next = match block {
            Block::ToolCall(call) => Block::Text {
                text: of_call(call),
                opaque: call.opaque.clone(),
            },
            Block::ToolResult(result) => Block::Text {
                text: of_result(result),
                opaque: None,
            },
            other => other.clone(),
        };
        if let (Some(Block::Text { .. }), Block::Text { text, .. }) = (blocks.last(), &mut next) {
            text.insert_str(0, "\n\n");
        }
        blocks.push(next);
        if let Block::ToolResult(result) = block {
            blocks.extend(result.media.iter().cloned().map(Block::File));
        }
    }
    Message {
        role: message.role,
        blocks,
    }
}

/// What the model said, or would have said.
fn of_call(call: &ToolCallBlock) -> String {
    let name = Value::from(call.name.as_str());
    let arguments = match call.arguments.trim() {
        "" => "{}".to_owned(),
        written if serde_json::from_str::<serde::de::IgnoredAny>(written).is_ok() => {
            written.to_owned()
        }
        // As it was written, in what is JSON all the same.
        written => json!(written).to_string(),
    };
    format!("{{\"{NAME}\": {name}, \"{PARAMETERS}\": {arguments}}}")
}

fn of_result(result: &ToolResultBlock) -> String {
    let (name, content) = (&result.name, &result.content);
    if result.is_error {
        format!("The call of {name} failed:\n{content}")
    } else {
        format!("The result of {name}:\n{content}")
    }
}
