//! The servers of the scenarios, by name: a process that serves one is told the name alone.

use bytes::Bytes;
use seaworthy_ports::mcp::{
    Hints, MAX_COMPLETION_BYTES, MAX_COMPLETIONS, MAX_LISTED, MAX_MESSAGE_BYTES, McpCallResult,
    McpContent, McpLogLevel, McpPrompt, McpPromptArgument, McpPromptMessage, McpPromptResult,
    McpResource, McpResourceContents, McpResourceTemplate, ResourceData, TaskStatus, TaskSupport,
};
use seaworthy_ports::model_provider::Role;
use seaworthy_ports::{Digest, ServerAlias};
use serde_json::json;

use super::ALIAS;
use super::logs::FLOOD;
use super::script::{
    Access, Begins, Completes, Does, LONG_WORD, Levels, PREVIOUS_PROTOCOL, Poll,
    STATELESS_PROTOCOL, Said, Script, Start, Stubborn, Task, Then, Tool,
};
use super::stage::CANARY;

/// How much less than the bound a text is that fits into a message.
const ENVELOPE: usize = 4 * 1024;

/// What the names of scripts begin with that begin without `initialize`.
const STATELESS: &str = "stateless:";
/// What such a protocol version knows nothing of: sessions.
const OF_OTHERS: [&str; 2] = ["forgets", "always_forgets"];

/// The script that is like the one of this name, and begins without `initialize`.
pub(crate) fn stateless(name: &str) -> String {
    format!("{STATELESS}{}", name.trim_start_matches(STATELESS))
}

/// The script of this name for servers that speak `protocol` where a script does not say otherwise.
pub(crate) fn speaking(protocol: &str, name: &str) -> String {
    if protocol == STATELESS_PROTOCOL && name != "previous" && !OF_OTHERS.contains(&name) {
        stateless(name)
    } else {
        name.to_owned()
    }
}

/// The script of this name.
pub(crate) fn script(name: &str) -> Option<Script> {
    if let Some(like) = name.strip_prefix(STATELESS) {
        return Some(Script {
            name: name.to_owned(),
            protocol: Some(STATELESS_PROTOCOL.to_owned()),
            ..script(like)?
        });
    }
    let script = match name {
        "usual" => usual(),
        "bare" => Script::default(),
        "previous" => Script {
            protocol: Some(PREVIOUS_PROTOCOL.to_owned()),
            ..usual()
        },
        "names" => of_tools(NAMES),
        "twins" => of_tools(&["twin", "other", "twin"]),
        "lookalikes" => lookalikes(),
        "nameless" => of_tools(&["fine", ""]),
        "elsewhere" => elsewhere(),
        "endless" => Script {
            is_endless: true,
            page: 500,
            ..full(500)
        },
        "full" => full(MAX_LISTED),
        "exits" => Script {
            start: Start::Exits,
            ..usual()
        },
        "silent" => Script {
            start: Start::Silent,
            ..usual()
        },
        "stays" => stubborn(Stubborn::Stays),
        "leaves_child" => stubborn(Stubborn::LeavesChild),
        "complains" => stubborn(Stubborn::Complains),
        "tasks" => Script {
            keeps_tasks: true,
            ..of_tasks()
        },
        "undeclared" => of_tasks(),
        "completes" => completes(),
        "logs" => logs(Levels::Set),
        "deaf" => logs(Levels::Unanswered),
        "expired" => guarded(Access::Expired),
        "short_lived" => guarded(Access::ShortLived),
        "revoked" => guarded(Access::Revoked),
        "forbidden" => guarded(Access::NeverAllowed),
        "forgets" => guarded(Access::ForgetsOnce),
        "always_forgets" => guarded(Access::AlwaysForgets),
        _ => return None,
    };
    Some(Script {
        name: name.to_owned(),
        ..script
    })
}

/// Names as servers should not choose them.
pub(crate) const NAMES: &[&str] = &[
    "read_file",
    "Read-File",
    "read.file",
    "a__b",
    "../../etc/passwd",
    "line\nbreak",
    "\u{1b}[2Jclear",
    "nul\0nul",
    "right\u{202e}left",
    "читать",
    "0",
    "_",
    " ",
    "a name that is longer than any provider takes, with words of which the last ones must tell it apart: one",
    "a name that is longer than any provider takes, with words of which the last ones must tell it apart: two",
];

fn of_tools(names: &[&str]) -> Script {
    Script {
        tools: names
            .iter()
            .map(|name| Tool::new(*name, Does::Echoes))
            .collect(),
        ..Script::default()
    }
}

/// What the task of a tool came to.
pub(crate) fn researched() -> McpCallResult {
    counted(&json!({"count": 7}))
}

/// What servers say of their tasks.
pub(crate) const SAID: &str = "Gathering sources…";
/// How many milliseconds they want to be left alone.
pub(crate) const LEFT_ALONE: f64 = 250.0;

/// A server whose tools have a task of each behaviour.
fn of_tasks() -> Script {
    use TaskStatus::{Cancelled, Completed, Failed, InputRequired, Working};
    let task = |polls: &[Poll]| Task {
        support: TaskSupport::Required,
        begins: Begins::Asked,
        polls: polls.to_vec(),
        message: SAID.to_owned(),
        poll_interval: LEFT_ALONE,
    };
    let tool = |name: &str, task: Task| Tool {
        output_schema: Some(count_schema()),
        task: Some(task),
        ..Tool::new(name, Does::Answers(researched()))
    };
    let ends = |status| [Poll::Stands(Working), Poll::Stands(status)];
    let begins = |begins| Task {
        begins,
        support: TaskSupport::Optional,
        ..task(&ends(Completed))
    };
    let fails = |name: &str, does| Tool {
        does,
        ..tool(name, task(&ends(Failed)))
    };
    let consults = |name: &str, does| Tool {
        does,
        output_schema: None,
        ..tool(name, task(&[Poll::Stands(InputRequired)]))
    };
    let long = Task {
        message: "é".repeat(100_000),
        poll_interval: 1e300,
        ..task(&ends(Working))
    };
    let tools = vec![
        Tool::new("echo", Does::Echoes),
        tool("research", task(&ends(Completed))),
        tool("kept", task(&[Poll::Stands(Completed)])),
        fails("fails", Does::Answers(failed())),
        fails("breaks", Does::Refuses(-32_603)),
        tool("is_cancelled", task(&ends(Cancelled))),
        tool("asks", task(&ends(InputRequired))),
        consults("consults", asks_a_name()),
        consults("consults_twice", asks_twice()),
        consults("drafts", wants_words()),
        tool("works", task(&[Poll::Stands(Working)])),
        tool("long", long),
        tool("another", task(&[Poll::Another])),
        tool("garbage", task(&[Poll::Garbage])),
        tool("at_once", begins(Begins::Never)),
        tool("nameless", begins(Begins::Nameless)),
        tool("endless", begins(Begins::Endless)),
        tool("unasked", begins(Begins::Unasked)),
        Tool {
            does: Does::Answers(counted(&json!({"count": CANARY}))),
            ..tool("miscounts", task(&ends(Completed)))
        },
    ];
    Script {
        tools,
        ..Script::default()
    }
}

fn asks_a_name() -> Does {
    Does::Elicits {
        message: QUESTION.to_owned(),
        schema: json!({
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        }),
    }
}

/// Asks the same twice, at once.
fn asks_twice() -> Does {
    Does::Asks {
        questions: vec![QUESTION.to_owned(); 2],
        then: Then::Answers,
    }
}

fn wants_words() -> Does {
    Does::Samples {
        instructions: "Be brief.".to_owned(),
        text: QUESTION.to_owned(),
        max_tokens: 99,
    }
}

/// A server that suggests something for each argument.
fn completes() -> Script {
    let values = |values, bytes| Completes::With { values, bytes };
    let completes = [
        ("who", Completes::Echoes),
        ("most", values(MAX_COMPLETIONS, 3)),
        ("too_many", values(MAX_COMPLETIONS + 1, 3)),
        ("longest", values(1, MAX_COMPLETION_BYTES)),
        ("too_long", values(1, MAX_COMPLETION_BYTES + 1)),
        ("wrongly", Completes::Wrongly),
        ("never", Completes::Never),
    ];
    Script {
        completes: completes
            .map(|(argument, does)| (argument.to_owned(), does))
            .into(),
        ..usual()
    }
}

/// A server that says what it does.
fn logs(levels: Levels) -> Script {
    let message = |level, logger: Option<&str>, data| Said::Message {
        level,
        logger: logger.map(str::to_owned),
        data,
    };
    let info = |data| message(McpLogLevel::Info, None, data);
    let alert = || message(McpLogLevel::Alert, None, json!("after all"));
    let every = McpLogLevel::ALL.iter().map(|level| {
        let text = format!("it is {level}");
        message(*level, Some("disk"), text.into())
    });
    let strange = [
        info("\u{1b}[2J\u{7}\n\u{1f980}".into()),
        info(json!({"free": 0})),
    ];
    let noise = [
        json!(null),
        json!([]),
        json!({}),
        json!({"level": "loud", "data": CANARY}),
        json!({"level": 7, "data": CANARY}),
        json!({"level": "alert"}),
        json!({"level": "alert", "logger": {}, "data": CANARY}),
        json!({"data": CANARY}),
    ];
    let noise = noise.into_iter().map(Said::Noise);
    let long = LONG_WORD.repeat(50_000);
    let flood = (0..FLOOD).map(|number| message(McpLogLevel::Error, None, number.into()));
    let says = |name: &str, said: Vec<Said>| Tool::new(name, Does::Logs(said));
    Script {
        tools: vec![
            Tool::new("echo", Does::Echoes),
            Tool::new("dies", Does::Dies),
            says("speaks", every.chain(strange).collect()),
            says("babbles", noise.chain([alert()]).collect()),
            says(
                "speaks_at_length",
                vec![message(
                    McpLogLevel::Error,
                    Some(&long),
                    long.clone().into(),
                )],
            ),
            says("floods", flood.collect()),
            says("speaks_once", vec![alert()]),
        ],
        levels: Some(levels),
        ..Script::default()
    }
}

/// A name that must be changed, and the name that it is changed to.
fn lookalikes() -> Script {
    let changed = "Read-File";
    let name = ServerAlias::new(ALIAS)
        .and_then(|alias| seaworthy_ports::mcp::tool_name(&alias, changed))
        .map(|name| name.as_str().to_owned())
        .unwrap_or_default();
    let same = name.strip_prefix(&format!("{ALIAS}__")).unwrap_or_default();
    of_tools(&[changed, same])
}

/// Tools whose arguments look as something outside of their schema says, and one that needs nothing of the kind.
fn elsewhere() -> Script {
    let pointing = ELSEWHERE.iter().enumerate().map(|(at, place)| Tool {
        input_schema: json!({"type": "object", "properties": {"path": {"$ref": place}}}),
        ..Tool::new(format!("pointing_{at}"), Does::Echoes)
    });
    Script {
        tools: pointing.chain([Tool::new("echo", Does::Echoes)]).collect(),
        ..Script::default()
    }
}

/// Places outside of a schema.
pub(crate) const ELSEWHERE: &[&str] = &[
    "http://127.0.0.1:9/schema.json",
    "file:///etc/hostname",
    "another.json#/$defs/path",
];

fn stubborn(stubborn: Stubborn) -> Script {
    Script {
        stubborn,
        ..usual()
    }
}

fn guarded(access: Access) -> Script {
    Script { access, ..usual() }
}

/// So many tools and resources, and nothing else.
fn full(many: usize) -> Script {
    Script {
        tools: (0..many)
            .map(|number| Tool::new(format!("tool_{number}"), Does::Echoes))
            .collect(),
        resources: (0..many)
            .map(|number| resource(&number.to_string()))
            .collect(),
        page: 1_000,
        ..Script::default()
    }
}

fn text(text: &str) -> McpContent {
    McpContent::Text(text.to_owned())
}

pub(crate) fn result(content: Vec<McpContent>) -> McpCallResult {
    McpCallResult {
        is_error: false,
        structured: None,
        content,
    }
}

/// Bytes of every value, so that no text can carry them.
fn picture() -> Bytes {
    (0..=u8::MAX).collect::<Vec<u8>>().into()
}

fn resource(name: &str) -> (McpResource, Vec<McpResourceContents>) {
    let uri = format!("contract:{name}");
    let contents = vec![
        McpResourceContents {
            uri: uri.clone(),
            media_type: Some("text/plain".to_owned()),
            data: ResourceData::Text(format!("the text of {name}\n")),
        },
        McpResourceContents {
            uri: uri.clone(),
            media_type: None,
            data: ResourceData::Bytes(picture()),
        },
    ];
    let resource = McpResource {
        uri,
        name: name.to_owned(),
        title: Some(format!("Resource {name}")),
        description: (name != "0").then(|| format!("What {name} is")),
        media_type: Some("text/plain".to_owned()),
        size: (name != "1").then_some(7),
    };
    (resource, contents)
}

/// A tool's answer with a piece of each kind.
pub(crate) fn pieces() -> McpCallResult {
    let (linked, contents) = resource("linked");
    let media = |media_type: &str| (media_type.to_owned(), picture());
    let (image, image_bytes) = media("image/png");
    let (audio, audio_bytes) = media("audio/wav");
    let mut content = vec![
        text("first"),
        McpContent::Image {
            media_type: image,
            bytes: image_bytes,
        },
        McpContent::Audio {
            media_type: audio,
            bytes: audio_bytes,
        },
    ];
    content.extend(contents.into_iter().map(McpContent::Resource));
    content.push(McpContent::ResourceLink(linked));
    content.push(text("last\0\u{7}\u{1f980}"));
    result(content)
}

/// A server with a tool of each behaviour, and a few of everything else, in small pages.
fn usual() -> Script {
    let with_data = |name: &str, result: McpCallResult| Tool {
        output_schema: Some(count_schema()),
        ..Tool::new(name, Does::Answers(result))
    };
    let tools = vec![
        Tool::new("echo", Does::Echoes),
        Tool::new("pieces", Does::Answers(pieces())),
        Tool {
            output_schema: Some(count_schema()),
            ..Tool::new("fails", Does::Answers(failed()))
        },
        with_data("counts", counted(&json!({"count": 3}))),
        with_data("miscounts", counted(&json!({"count": CANARY}))),
        with_data("forgets_to_count", result(vec![text("three")])),
        Tool {
            title: Some("Strict".to_owned()),
            input_schema: json!({
                "type": "object",
                "properties": {"path": {"type": "string"}},
                "required": ["path"],
                "additionalProperties": false,
            }),
            hints: Hints {
                read_only: Some(false),
                destructive: Some(true),
                idempotent: None,
                open_world: Some(false),
            },
            ..Tool::new("strict", Does::Echoes)
        },
        Tool {
            hints: Hints {
                read_only: Some(true),
                destructive: None,
                idempotent: Some(true),
                open_world: None,
            },
            ..Tool::new("dies", Does::Dies)
        },
        Tool::new("never", Does::NeverAnswers),
        Tool::new("too_late", Does::AnswersTooLate),
        Tool::new("too_often", Does::AnswersTooOften),
        Tool::new("in_reverse", Does::AnswersInReverse(IN_REVERSE)),
        Tool::new("wrongly", Does::AnswersWrongly),
        Tool::new("noise", Does::WritesNoise),
        Tool::new("long", Does::AnswersAtLength(MAX_MESSAGE_BYTES - ENVELOPE)),
        Tool::new("too_long", Does::AnswersAtLength(MAX_MESSAGE_BYTES + 1)),
        Tool::new("huge", Does::AnswersAtLength(10 * MAX_MESSAGE_BYTES)),
        Tool::new(
            "progress",
            Does::ReportsProgress {
                steps: STEPS.to_vec(),
                total: TOTAL,
            },
        ),
        Tool::new("change", Does::ChangesTools),
        Tool::new("elicit", asks_a_name()),
        Tool::new("sample", wants_words()),
        Tool::new("roots", Does::AsksRoots),
        asks("asks_in_turn", IN_TURN.len(), Then::Answers),
        asks("asks_and_dies", 1, Then::Dies),
        asks("asks_forever", 10_000, Then::Answers),
        Tool::new("may_ask", Does::TellsWhatItMayAsk),
        Tool::new("refuses", Does::Refuses(-32_603)),
        Tool::new("refuses_arguments", Does::Refuses(-32_602)),
    ];
    Script {
        instructions: Some("Use with care.".to_owned()),
        later_tools: vec![
            Tool::new("echo", Does::Echoes),
            Tool::new("new", Does::Echoes),
        ],
        tools,
        resources: ["0", "1", "2", "3", "4"].map(resource).into(),
        templates: ["a", "b", "c"].map(template).into(),
        prompts: ["x", "y", "z"].map(prompt).into(),
        page: 2,
        ..Script::default()
    }
}

/// A tool that asks so many questions, those of [`IN_TURN`] again and again.
fn asks(name: &str, many: usize, then: Then) -> Tool {
    let questions = IN_TURN.iter().cycle().take(many);
    let questions = questions.map(|&question| question.to_owned()).collect();
    Tool::new(name, Does::Asks { questions, then })
}

/// What a server asks one after the other.
pub(crate) const IN_TURN: [&str; 3] = ["Who?", "Where?", "When?"];
/// How many calls wait for each other.
pub(crate) const IN_REVERSE: usize = 8;
/// How far a call says it is.
pub(crate) const STEPS: [f64; 4] = [0.5, 1.0, 2.5, 7.0];
/// How far it will be.
pub(crate) const TOTAL: f64 = 8.0;
/// What servers ask.
pub(crate) const QUESTION: &str = "What is your name?";

fn count_schema() -> serde_json::Value {
    json!({
        "type": "object",
        "properties": {"count": {"type": "integer"}},
        "required": ["count"],
    })
}

pub(crate) fn failed() -> McpCallResult {
    McpCallResult {
        is_error: true,
        structured: None,
        content: vec![text("the disk is full")],
    }
}

pub(crate) fn counted(data: &serde_json::Value) -> McpCallResult {
    McpCallResult {
        is_error: false,
        structured: Some(data.clone()),
        content: vec![text(&data.to_string())],
    }
}

fn template(name: &str) -> McpResourceTemplate {
    McpResourceTemplate {
        uri_template: format!("contract:{name}/{{path}}"),
        name: name.to_owned(),
        title: (name != "a").then(|| format!("Template {name}")),
        description: Some(format!("What {name} is")),
        media_type: (name != "b").then(|| "text/plain".to_owned()),
    }
}

fn prompt(name: &str) -> (McpPrompt, McpPromptResult) {
    let argument = |name: &str, required: bool| McpPromptArgument {
        name: name.to_owned(),
        description: required.then(|| format!("What {name} is")),
        required,
    };
    let prompt = McpPrompt {
        name: name.to_owned(),
        title: Some(format!("Prompt {name}")),
        description: (name != "x").then(|| format!("What {name} is for")),
        arguments: vec![argument("who", true), argument("when", false)],
    };
    let said = |role, content| McpPromptMessage { role, content };
    let filled = McpPromptResult {
        description: Some(format!("{name}, filled in")),
        messages: vec![
            said(Role::User, text("hello")),
            said(Role::Assistant, text("hello yourself")),
            said(
                Role::User,
                McpContent::Image {
                    media_type: "image/png".to_owned(),
                    bytes: Digest::of(b"picture").to_hex().into(),
                },
            ),
        ],
    };
    (prompt, filled)
}
