//! The suite's MCP servers inside the test: scripts played by the double that applications use.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_contract::mcp::{
    ALIAS, Access, Answered, Begins, Completes, Does, Journal, NEWEST_PROTOCOL, Poll,
    RENEWED_TOKEN, Root, SILENT_URI, STATELESS_PROTOCOL, Said, Script, Seen, Start, Stubborn, Task,
    Then, Tool, VERSION, echoed, suggested, told, told_all,
};
use seaworthy_fakes::{
    FakeMcp, FakeMcpAnswer, FakeMcpCall, FakeMcpServer, FakeMcpTask, FakeMcpTool, McpFault,
    McpSeen, McpStart, McpTokens,
};
use seaworthy_ports::Secret;
use seaworthy_ports::mcp::{
    Elicited, McpCallResult, McpCompleted, McpCompletion, McpContent, McpRoot, Sampled,
    TaskSupport, Transport,
};
use seaworthy_ports::model_provider::Role;
use seaworthy_system::SystemClock;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// Calls that wait for each other, and the answers they are then given.
#[derive(Default)]
struct Gate {
    waiting: Mutex<usize>,
    open: Notify,
}

/// An adapter whose servers live in the test.
pub(crate) fn adapter() -> FakeMcp {
    FakeMcp::new().timed_by(Arc::new(SystemClock::new()))
}

/// Makes a server of `script` behind the adapter, and says how it is reached. `None`: the script is about a process.
pub(crate) fn play(mcp: &FakeMcp, script: &Script, journal: &Journal) -> Option<Transport> {
    if script.stubborn != Stubborn::No {
        return None;
    }
    let server = server(script, journal.clone());
    let mcp = mcp.clone().with_server(ALIAS, server).unwrap();
    Some(mcp.server(ALIAS).unwrap().transport)
}

fn server(script: &Script, journal: Journal) -> FakeMcpServer {
    let mut server = FakeMcpServer::new(&script.name)
        .with_version(VERSION)
        .with_protocol(script.protocol.as_deref().unwrap_or(NEWEST_PROTOCOL))
        .with_start(match script.start {
            Start::Answers => McpStart::Ready,
            Start::Exits => McpStart::Fails,
            Start::Silent => McpStart::Silent,
        })
        .watched_by(move |seen| {
            if let Some(seen) = told_as(seen) {
                // A scenario that has given up has taken its journal with it.
                let _told = journal.note(&seen);
            }
        });
    if let Some(instructions) = &script.instructions {
        server = server.with_instructions(instructions);
    }
    if script.page > 0 {
        server = server.with_pages_of(script.page);
    }
    if script.is_endless {
        server = server.with_endless_lists();
    }
    let mut offered = script.tools.clone();
    if !script.keeps_tasks {
        offered.iter_mut().for_each(|tool| tool.task = None);
    }
    for scripted in &offered {
        let mut made = tool(scripted, &script.later_tools);
        if script.keeps_tasks && is_stateless(script) && scripted.task.is_none() {
            let mut never = FakeMcpTask::new(TaskSupport::ServerDecides, &[]);
            never.is_immediate = true;
            made = made.with_task(never);
        }
        server = server.with_tool(made);
    }
    if !script.resources.is_empty() {
        let silent = |uri: &str| (uri == SILENT_URI).then_some(Err(McpFault::Silence));
        server = server.with_reading(silent);
    }
    for (resource, contents) in &script.resources {
        server = server.with_resource(resource.clone(), contents.clone());
    }
    for template in &script.templates {
        server = server.with_template(template.clone());
    }
    if !script.completes.is_empty() {
        let completes = script.completes.clone();
        server = server.with_completions(move |asked| complete(&completes, asked));
    }
    if script.levels.is_some() {
        server = server.with_logging();
    }
    for (prompt, filled) in script.prompts.clone() {
        server = server.with_prompt(prompt, move |_arguments| filled.clone());
    }
    let faults = match script.access {
        Access::Open => vec![],
        Access::Expired | Access::ShortLived | Access::Revoked => vec![],
        Access::NeverAllowed => vec![McpFault::Unauthorized; 100],
        Access::ForgetsOnce => vec![McpFault::LostSession],
        Access::AlwaysForgets => vec![McpFault::LostSession; 100],
    };
    server = match script.access {
        Access::Expired => server
            .with_tokens(McpTokens::Expired)
            .with_good_token(Secret::new(RENEWED_TOKEN)),
        Access::ShortLived => server.with_tokens(McpTokens::ShortLived),
        Access::Revoked => server.with_tokens(McpTokens::Revoked),
        _ => server,
    };
    for fault in faults {
        server.fail_next(fault);
    }
    server
}

fn complete(
    completes: &[(String, Completes)],
    asked: &McpCompletion,
) -> Result<McpCompleted, McpFault> {
    let does = completes
        .iter()
        .find(|(name, _does)| *name == asked.argument);
    match does.map(|(_name, does)| *does) {
        None => Err(McpFault::Refused(-32602)),
        Some(Completes::Echoes) => Ok(suggested(asked)),
        Some(Completes::With { values, bytes }) => Ok(McpCompleted {
            values: vec!["x".repeat(bytes); values],
            total: None,
            has_more: false,
        }),
        Some(Completes::Wrongly) => Err(McpFault::Garbled),
        Some(Completes::Never) => Err(McpFault::Silence),
    }
}

/// How often a server may ask before it answers.
const MOST_ROUNDS: usize = 10;

fn is_stateless(script: &Script) -> bool {
    script.protocol.as_deref() == Some(STATELESS_PROTOCOL)
}

fn told_as(seen: &McpSeen) -> Option<Seen> {
    Some(match seen {
        McpSeen::Started => Seen::Started(None),
        McpSeen::Listed(what) => Seen::Listed((*what).to_owned()),
        McpSeen::Called(tool) => Seen::Called(tool.clone()),
        McpSeen::Cancelled(tool) => Seen::Cancelled(tool.clone()),
        McpSeen::Completed(argument) => Seen::Completed(argument.clone()),
        McpSeen::LogLevel(level) => Seen::LogLevel(level.as_str().to_owned()),
        McpSeen::Refreshed => Seen::Refreshed,
        McpSeen::Ended => Seen::Ended,
        McpSeen::CalledOff(tool) => Seen::CalledOff(tool.clone()),
        McpSeen::Read(_)
        | McpSeen::Prompted(_)
        | McpSeen::Polled(_)
        | McpSeen::Fetched(_)
        | McpSeen::Listened(_) => {
            return None;
        }
    })
}

fn tools(tools: &[Tool], later: &[Tool]) -> Vec<FakeMcpTool> {
    tools.iter().map(|scripted| tool(scripted, later)).collect()
}

fn tool(scripted: &Tool, later: &[Tool]) -> FakeMcpTool {
    let (does, later) = (scripted.does.clone(), later.to_vec());
    let asks = matches!(
        does,
        Does::Elicits { .. } | Does::Asks { .. } | Does::Samples { .. }
    );
    let gate = Arc::<Gate>::default();
    let mut tool = FakeMcpTool::new(&scripted.name, move |call| {
        run(does.clone(), later.clone(), Arc::clone(&gate), call)
    })
    .with_description(scripted.description())
    .with_input_schema(scripted.input_schema.clone())
    .with_hints(scripted.hints);
    if let Some(title) = &scripted.title {
        tool = tool.with_title(title);
    }
    if let Some(scripted) = &scripted.task {
        tool = tool.with_task(match asks {
            true => task(scripted).asking(1, &[]),
            false => task(scripted),
        });
    }
    if let Some(schema) = &scripted.output_schema {
        tool = tool.with_output_schema(schema.clone());
    }
    tool
}

fn task(scripted: &Task) -> FakeMcpTask {
    let poll = |poll: &Poll| match poll {
        Poll::Stands(status) => Ok(*status),
        // Neither gets past the connection.
        Poll::Another | Poll::Garbage => Err(McpFault::Garbled),
    };
    let mut task = FakeMcpTask::new(scripted.support, &[])
        .with_message(&scripted.message)
        .with_poll_interval(
            Duration::try_from_secs_f64(scripted.poll_interval / 1000.0).unwrap_or(Duration::MAX),
        );
    task.polls = scripted.polls.iter().map(poll).collect();
    task.is_eager = scripted.begins == Begins::Unasked;
    task.is_immediate = scripted.begins == Begins::Never;
    task.begins =
        matches!(scripted.begins, Begins::Nameless | Begins::Endless).then_some(McpFault::Garbled);
    task
}

async fn run(
    does: Does,
    later: Vec<Tool>,
    gate: Arc<Gate>,
    call: FakeMcpCall,
) -> Result<FakeMcpAnswer, McpFault> {
    let echo = || FakeMcpAnswer(echoed(&call.arguments, &json!(call.meta)));
    let became = |answered: &Answered| FakeMcpAnswer(told(answered).unwrap());
    match does {
        Does::Answers(result) => Ok(result.into()),
        // What comes too often or too late never gets past the connection, and neither does noise.
        Does::Echoes | Does::AnswersTooOften | Does::WritesNoise => Ok(echo()),
        Does::Dies => Err(McpFault::Dies),
        Does::NeverAnswers | Does::AnswersTooLate => Err(McpFault::Silence),
        Does::AnswersInReverse(many) => {
            let open = gate.open.notified();
            let place = {
                let mut waiting = gate.waiting.lock().unwrap();
                *waiting += 1;
                *waiting
            };
            if place == many {
                gate.open.notify_waiters();
            } else {
                open.await;
            }
            Ok(echo())
        }
        Does::AnswersWrongly => Err(McpFault::Garbled),
        Does::AnswersAtLength(bytes) => Ok("x".repeat(bytes).into()),
        Does::ReportsProgress { steps, total } => {
            for step in steps {
                call.progress(step, Some(total));
            }
            Ok(echo())
        }
        Does::ChangesTools => {
            call.server().set_tools(tools(&later, &[]));
            Ok(echo())
        }
        Does::Elicits { message, schema } => {
            Ok(became(&match call.elicit(message, schema).await {
                Some(Elicited::Accepted(answer)) => Answered::Accepted(answer),
                Some(Elicited::Declined | Elicited::Cancelled) | None => Answered::Refused,
            }))
        }
        Does::Asks { questions, then } => {
            if questions.len() > MOST_ROUNDS {
                return Err(McpFault::Garbled);
            }
            let mut heard = Vec::new();
            for question in questions {
                let schema = json!({"type": "object", "required": ["answer"]});
                heard.push(match call.elicit(question, schema).await {
                    Some(Elicited::Accepted(answer)) => Answered::Accepted(answer),
                    Some(Elicited::Declined | Elicited::Cancelled) | None => Answered::Refused,
                });
            }
            match then {
                Then::Answers => Ok(FakeMcpAnswer(told_all(&heard).unwrap())),
                Then::Dies => Err(McpFault::Dies),
            }
        }
        Does::Samples {
            instructions,
            text,
            max_tokens,
        } => {
            let said = vec![(Role::User, McpContent::Text(text))];
            let sampled = call.sample(Some(instructions), said, max_tokens).await;
            Ok(became(&match sampled {
                Sampled::Answered {
                    model,
                    content: McpContent::Text(text),
                } => Answered::Sampled { model, text },
                Sampled::Answered { .. } | Sampled::Refused => Answered::Refused,
            }))
        }
        Does::Logs(said) => {
            for said in said {
                // Noise never gets past the connection.
                if let Said::Message {
                    level,
                    logger,
                    data,
                } = said
                {
                    let text = match data {
                        Value::String(text) => text,
                        data => data.to_string(),
                    };
                    call.log(level, logger.as_deref(), &text);
                }
            }
            Ok(echo())
        }
        Does::AsksRoots => Ok(became(&match call.roots() {
            Some(roots) => {
                let root = |McpRoot { uri, name }| Root { uri, name };
                Answered::Roots(roots.into_iter().map(root).collect())
            }
            None => Answered::Refused,
        })),
        Does::TellsWhatItMayAsk => {
            let may = json!({
                "elicitation": call.may_elicit(),
                "sampling": call.may_sample(),
                "roots": call.roots().is_some(),
            });
            Ok(FakeMcpAnswer(McpCallResult {
                is_error: false,
                content: vec![McpContent::Text(may.to_string())],
                structured: Some(may),
            }))
        }
        Does::Refuses(code) => Err(McpFault::Refused(code)),
    }
}
