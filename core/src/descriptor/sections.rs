//! The sections of a descriptor, one function each.

use std::collections::BTreeMap;

use seaworthy_ports::ToolName;
use seaworthy_ports::mcp::tool_name;
use seaworthy_ports::model_provider::Parameters;

use super::context;
use super::error::{Position, Reporter, codes};
use super::fields::{Fields, ROOT, duration, integer, sequence, shown, text};
use super::materialised::{AgentSpec, Metadata, Runtime, ToolSource};
use super::parameters::Nameable;
use super::schema::OutputSource;
use super::server::ServerTools;
use super::servers::{self, Servers};
use super::suggest::{advice, listed};
use super::yaml::{Content, Key, Node};
use super::{
    AgentSource, DEFAULT_MAX_TURNS, Descriptor, MAX_TURNS, ModelSource, VERSION, aliases,
    parameters, schema,
};
use crate::output::ANSWER_TOOL;
use crate::tool::{ApprovalRule, Builtin, Risk, Settings, SideEffect};

pub(super) const SIDE_EFFECTS: [(&str, SideEffect); 3] = [
    ("read_only", SideEffect::ReadOnly),
    ("idempotent", SideEffect::Idempotent),
    ("non_idempotent", SideEffect::NonIdempotent),
];
pub(super) const RISKS: [(&str, Risk); 5] = [
    ("low", Risk::Low),
    ("medium", Risk::Medium),
    ("high", Risk::High),
    ("destructive", Risk::Destructive),
    ("financial_or_legal", Risk::FinancialOrLegal),
];
pub(super) const APPROVALS: [(&str, ApprovalRule); 2] = [
    ("required", ApprovalRule::Required),
    ("none", ApprovalRule::None),
];
/// What a command tool is held for unless the descriptor says otherwise.
const COMMAND_RISK: Risk = Risk::Medium;
const COMMAND_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);
const NAME_RULE: &str = "use letters, digits, _ or -, starting with a letter, at most 64";

/// The whole descriptor. Reports every problem it can find; `None` only where it has reported one.
pub(super) fn descriptor(
    root: &Node,
    file: &str,
    reporter: &mut Reporter<'_>,
) -> Option<Descriptor> {
    let known = [
        "version",
        "metadata",
        "runtime",
        "models",
        "tools",
        "mcp_servers",
        "agents",
    ];
    let fields = Fields::known(root, ROOT, &known, reporter)?;
    let version = version(&fields, reporter);
    let metadata = fields
        .required("metadata", "metadata: { name: my-agent }", reporter)
        .and_then(|node| metadata(node, reporter));
    let models = fields
        .required(
            "models",
            "models: { main: { provider: openai, model: NAME } }",
            reporter,
        )
        .and_then(|node| models(node, reporter));
    let tools = match fields.get("tools") {
        Some(node) => tools(node, reporter),
        None => Some(Tools::default()),
    };
    let servers = match fields.get("mcp_servers") {
        Some(node) => servers::servers(node, reporter),
        None => Some(Servers::default()),
    };
    if let (Some(node), Some(servers)) = (fields.get("tools"), &servers) {
        names_are_free(node, servers, reporter);
    }
    let agents = fields
        .required(
            "agents",
            "agents: { helper: { instructions: …, model: main } }",
            reporter,
        )
        .and_then(|node| {
            let declared = Sections {
                models: models.as_ref(),
                tools: tools.as_ref(),
                servers: servers.as_ref(),
            };
            agents(node, declared, reporter)
        });
    let runtime = fields
        .required("runtime", "runtime: { entry_agent: helper }", reporter)
        .and_then(|node| runtime(node, agents.as_ref(), reporter));
    version?;
    let (mut tools, agents) = (tools?.parsed, agents?.parsed);
    for name in agents.values().flat_map(|agent| &agent.spec.tools) {
        if let (None, Ok(builtin)) = (tools.get(name), name.as_str().parse::<Builtin>()) {
            let source = ToolSource::Builtin {
                builtin,
                description: None,
                settings: builtin.settings(),
            };
            tools.insert(name.clone(), source);
        }
    }
    Some(Descriptor {
        file: file.to_owned(),
        metadata: metadata?,
        runtime: runtime?,
        models: models?.parsed,
        tools,
        servers: servers?.parsed,
        agents,
    })
}

/// What was declared: everything that parsed, and all names, so that a mistake in a declaration is not reported again
/// wherever it is used.
#[derive(Debug)]
pub(super) struct Declared<K, T> {
    pub(super) parsed: BTreeMap<K, T>,
    pub(super) names: Vec<String>,
}

impl<K, T> Default for Declared<K, T> {
    fn default() -> Self {
        Self {
            parsed: BTreeMap::new(),
            names: Vec::new(),
        }
    }
}

impl<K, T> Declared<K, T> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|candidate| candidate == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter().map(String::as_str)
    }
}

type Models = Declared<String, ModelSource>;
type Tools = Declared<ToolName, ToolSource>;
type Agents = Declared<String, AgentSource>;

/// What agents may refer to, as far as it could be read.
#[derive(Clone, Copy)]
struct Sections<'a> {
    models: Option<&'a Models>,
    tools: Option<&'a Tools>,
    servers: Option<&'a Servers>,
}

fn version(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Option<()> {
    let example = format!("version: {VERSION}");
    let (version, at) = fields.required_text("version", &example, reporter)?;
    if version == VERSION {
        return Some(());
    }
    let message = format!(
        "version `{}` cannot be read here; this program reads `{VERSION}`",
        shown(version)
    );
    reporter.report(at, codes::UNSUPPORTED_VERSION, message);
    None
}

fn metadata(node: &Node, reporter: &mut Reporter<'_>) -> Option<Metadata> {
    let fields = Fields::known(node, "metadata", &["name", "version"], reporter)?;
    let name = fields.required_text("name", "name: my-agent", reporter);
    let name = name.and_then(|(name, at)| plain_name(name, at, "metadata.name", reporter));
    let version = match fields.get("version") {
        Some(node) => Some(text(node, "metadata.version", reporter)?.to_owned()),
        None => None,
    };
    Some(Metadata {
        name: name?,
        version,
    })
}

fn runtime(node: &Node, agents: Option<&Agents>, reporter: &mut Reporter<'_>) -> Option<Runtime> {
    let fields = Fields::known(node, "runtime", &["entry_agent", "max_turns"], reporter)?;
    let max_turns = match fields.get("max_turns") {
        Some(node) => integer(node, "runtime.max_turns", 1, MAX_TURNS, reporter),
        None => Some(DEFAULT_MAX_TURNS),
    };
    let (entry, at) = fields.required_text("entry_agent", "entry_agent: helper", reporter)?;
    if let Some(agents) = agents
        && !agents.has(entry)
    {
        let message = format!(
            "`runtime.entry_agent`: there is no agent `{}`; {}",
            shown(entry),
            advice(entry, agents.names())
        );
        reporter.report(at, codes::UNKNOWN_NAME, message);
    }
    Some(Runtime {
        entry_agent: entry.to_owned(),
        max_turns: max_turns?,
    })
}

/// The entries of a section that must not be empty, with their keys checked as names.
fn named<'n>(
    node: &'n Node,
    section: &str,
    reporter: &mut Reporter<'_>,
) -> Option<(Fields<'n>, Vec<(&'n Key, &'n Node)>)> {
    let fields = Fields::open(node, section, reporter)?;
    let entries: Vec<_> = fields.entries().collect();
    if entries.is_empty() {
        let message = format!("`{section}` must have at least one entry");
        reporter.report(fields.at(), codes::INVALID_VALUE, message);
    }
    Some((fields, entries))
}

fn plain_name(name: &str, at: Position, what: &str, reporter: &mut Reporter<'_>) -> Option<String> {
    let is_name = name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_name {
        return Some(name.to_owned());
    }
    let message = format!("`{what}`: `{}` is no name; {NAME_RULE}", shown(name));
    reporter.report(at, codes::INVALID_NAME, message);
    None
}

fn models(node: &Node, reporter: &mut Reporter<'_>) -> Option<Models> {
    let (fields, entries) = named(node, "models", reporter)?;
    let mut models = Models::default();
    for (key, node) in entries {
        models.names.push(key.text.clone());
        let name = plain_name(&key.text, key.at, "models", reporter);
        let model = aliases::alias(node, &fields.path(&key.text), reporter);
        if let (Some(name), Some(model)) = (name, model) {
            models.parsed.insert(name, model);
        }
    }
    for (key, node) in fields.entries() {
        if let Some(source) = models.parsed.get(&key.text) {
            let path = fields.path(&key.text);
            aliases::check_fallback(node, &path, &key.text, source, models.names(), reporter);
        }
    }
    Some(models)
}

fn tools(node: &Node, reporter: &mut Reporter<'_>) -> Option<Tools> {
    let fields = Fields::open(node, "tools", reporter)?;
    let mut tools = Tools::default();
    for (key, node) in fields.entries() {
        tools.names.push(key.text.clone());
        let name = match ToolName::new(&key.text) {
            Ok(name) => Some(name),
            Err(_invalid) => {
                let message = format!(
                    "`{}` is no tool name; use a lower-case letter, then lower-case letters, digits or _, at most 64",
                    shown(&key.text)
                );
                reporter.report(key.at, codes::INVALID_NAME, message);
                None
            }
        };
        let path = fields.path(&key.text);
        let is_builtin = Fields::open(node, path.as_str(), reporter)
            .map(|fields| fields.get("builtin").is_some());
        let source = match is_builtin {
            Some(true) => builtin(node, key, &path, reporter),
            Some(false) => command(node, key, &path, reporter),
            None => None,
        };
        if let (Some(name), Some(source)) = (name, source) {
            tools.parsed.insert(name, source);
        }
    }
    Some(tools)
}

/// The settings of a tool, on top of its defaults. An approval that is not written follows from the risk.
fn settings(
    fields: &Fields<'_>,
    defaults: Settings,
    reporter: &mut Reporter<'_>,
) -> Option<Settings> {
    let side_effect = fields.word("side_effect", &SIDE_EFFECTS, reporter);
    let risk = fields.word("risk", &RISKS, reporter);
    let approval = fields.word("approval", &APPROVALS, reporter);
    let timeout = match fields.get("timeout") {
        Some(node) => duration(node, &fields.path("timeout"), reporter),
        None => Some(defaults.timeout),
    };
    let risk = risk.unwrap_or(Some(defaults.risk))?;
    let follows = if risk >= Risk::High {
        ApprovalRule::Required
    } else {
        ApprovalRule::None
    };
    Some(Settings {
        side_effect: side_effect.unwrap_or(Some(defaults.side_effect))?,
        risk,
        approval: approval.unwrap_or(Some(follows))?,
        timeout: timeout?,
    })
}

fn builtin(node: &Node, key: &Key, path: &str, reporter: &mut Reporter<'_>) -> Option<ToolSource> {
    let known = [
        "builtin",
        "description",
        "side_effect",
        "risk",
        "approval",
        "timeout",
    ];
    let fields = Fields::known(node, path, &known, reporter)?;
    let builtins = Builtin::ALL.map(|builtin| (builtin.as_str(), builtin));
    let builtin = fields.word("builtin", &builtins, reporter).flatten();
    if let (Some(builtin), Ok(other)) = (builtin, key.text.parse::<Builtin>())
        && builtin != other
    {
        let message = format!(
            "`{other}` is the name of another built-in tool; give `{builtin}` its own name or a new one"
        );
        reporter.report(key.at, codes::RESERVED_NAME, message);
    }
    let description = match fields.get("description") {
        Some(node) => Some(text(node, &fields.path("description"), reporter)?.to_owned()),
        None => None,
    };
    let builtin = builtin?;
    let settings = settings(&fields, builtin.settings(), reporter)?;
    Some(ToolSource::Builtin {
        builtin,
        description,
        settings,
    })
}

fn command(node: &Node, key: &Key, path: &str, reporter: &mut Reporter<'_>) -> Option<ToolSource> {
    let known = [
        "description",
        "input_schema",
        "command",
        "verify",
        "side_effect",
        "risk",
        "approval",
        "timeout",
        "builtin",
    ];
    let fields = Fields::known(node, path, &known, reporter)?;
    if let Ok(builtin) = key.text.parse::<Builtin>() {
        let message = format!(
            "`{builtin}` is a built-in tool; choose another name, or write `{builtin}: {{ builtin: {builtin}, … }}` to \
             change its settings"
        );
        reporter.report(key.at, codes::RESERVED_NAME, message);
    }
    let description = fields.required_text("description", "description: What it does.", reporter);
    let input_schema = fields
        .required(
            "input_schema",
            "input_schema: { type: object, properties: {} }",
            reporter,
        )
        .and_then(|node| schema::read(node, &fields.path("input_schema"), reporter));
    let command = fields
        .required("command", "command: [./tool.sh]", reporter)
        .and_then(|node| argv(node, &fields.path("command"), reporter));
    let verify = match fields.get("verify") {
        Some(node) => argv(node, &fields.path("verify"), reporter).map(Some),
        None => Some(None),
    };
    let defaults = Settings {
        side_effect: SideEffect::default(),
        risk: COMMAND_RISK,
        approval: ApprovalRule::None,
        timeout: COMMAND_TIMEOUT,
    };
    let settings = settings(&fields, defaults, reporter);
    Some(ToolSource::Command {
        description: description?.0.to_owned(),
        input_schema: input_schema?,
        command: command?,
        verify: verify?,
        settings: settings?,
    })
}

/// A program and its arguments.
pub(super) fn argv(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Vec<String>> {
    let nodes = sequence(node, path, "[./tool.sh, --flag]", reporter)?;
    let Some(program) = nodes.first() else {
        let message = format!("`{path}` must name a program, such as `[./tool.sh]`");
        reporter.report(node.at, codes::INVALID_VALUE, message);
        return None;
    };
    text(program, path, reporter)?;
    let mut argv = Vec::new();
    for node in nodes {
        let argument = match &node.content {
            Content::Text(text) if text.contains('\0') => {
                let message = format!("`{path}` has a zero byte, which no argument can have");
                reporter.report(node.at, codes::INVALID_VALUE, message);
                None
            }
            // An argument may be empty, unlike the program.
            Content::Text(text) => Some(text.clone()),
            _ => text(node, path, reporter).map(str::to_owned),
        };
        argv.push(argument);
    }
    argv.into_iter().collect()
}

fn agents(node: &Node, declared: Sections<'_>, reporter: &mut Reporter<'_>) -> Option<Agents> {
    let (fields, entries) = named(node, "agents", reporter)?;
    let mut agents = Agents::default();
    for (key, node) in entries {
        agents.names.push(key.text.clone());
        let name = plain_name(&key.text, key.at, "agents", reporter);
        let agent = agent(node, &fields.path(&key.text), declared, reporter);
        if let (Some(name), Some(mut agent)) = (name, agent) {
            agent.spec.name.clone_from(&name);
            agents.parsed.insert(name, agent);
        }
    }
    Some(agents)
}

fn agent(
    node: &Node,
    path: &str,
    declared: Sections<'_>,
    reporter: &mut Reporter<'_>,
) -> Option<AgentSource> {
    let models = declared.models;
    let known = [
        "instructions",
        "model",
        "tools",
        "history",
        "compaction",
        "output_schema",
        "parameters",
    ];
    let fields = Fields::known(node, path, &known, reporter)?;
    let instructions = fields.required_text("instructions", "instructions: What to do.", reporter);
    let model = fields.required_text("model", "model: main", reporter);
    if let (Some((model, at)), Some(models)) = (model, models)
        && !models.has(model)
    {
        let message = format!(
            "`{}`: there is no model `{}`; {}",
            fields.path("model"),
            shown(model),
            advice(model, models.names())
        );
        reporter.report(at, codes::UNKNOWN_NAME, message);
    }
    let listed = match fields.get("tools") {
        Some(node) => tool_names(node, &fields.path("tools"), declared, reporter),
        None => Some(Listed::default()),
    };
    let parameters = match (fields.get("parameters"), &listed) {
        // Which tools there are has been reported to be wrong.
        (
            Some(_),
            Some(Listed {
                lacks_some: true, ..
            })
            | None,
        ) => None,
        (Some(node), Some(tools)) => {
            let names = tools.known();
            let nameable = Nameable {
                names: &names,
                has_more: tools.of_servers.iter().any(|pick| pick.tool.is_none()),
            };
            parameters::of_agent(node, &fields.path("parameters"), nameable, reporter)
        }
        (None, _) => Some(Parameters::default()),
    };
    let aliases = models.map(|models| models.names.as_slice());
    let context = context::read(&fields, aliases, reporter);
    let output = match fields.get("output_schema") {
        Some(node) => {
            if let (Some(listed), Some(tools)) = (&listed, fields.get("tools")) {
                answer_tool_is_free(&listed.own, tools, &fields.path("tools"), reporter);
            }
            schema::output(node, &fields.path("output_schema"), reporter).map(Some)
        }
        None => Some(None),
    };
    let (instructions, model) = (instructions?.0.to_owned(), model?.0.to_owned());
    let (context, output, parameters) = (context?, output?, parameters?);
    let (output_schema, schema) = match output {
        Some(OutputSource::Inline(schema)) => (Some(schema), None),
        Some(OutputSource::File { path, at }) => (None, Some((path, at))),
        None => (None, None),
    };
    let listed = listed?;
    let spec = AgentSpec {
        name: String::new(),
        instructions,
        model,
        tools: listed.own,
        server_tools: listed.of_servers,
        history: context.history,
        compaction: context.compaction,
        output_schema,
        parameters,
    };
    Some(AgentSource { spec, schema })
}

/// An agent whose answer must fit a schema may have to answer by a tool of that name.
fn answer_tool_is_free(listed: &[ToolName], node: &Node, path: &str, reporter: &mut Reporter<'_>) {
    if let Some(index) = listed.iter().position(|name| name.as_str() == ANSWER_TOOL) {
        let message = format!(
            "`{path}`: an agent with an `output_schema` answers by `{ANSWER_TOOL}` where its model has no other way; give \
             the tool another name"
        );
        let at = node.find([index.to_string().as_str()]).at;
        reporter.report(at, codes::RESERVED_NAME, message);
    }
}

/// The tools that an agent lists.
#[derive(Debug, Default)]
struct Listed {
    /// Built-in ones and those of the section `tools`.
    own: Vec<ToolName>,
    /// Those of servers.
    of_servers: Vec<ServerTools>,
    /// Whether others were meant, or their server is not what it should be, which has been reported.
    lacks_some: bool,
}

impl Listed {
    /// What models call those whose names are written out.
    fn known(&self) -> Vec<ToolName> {
        let of_servers = self.of_servers.iter().filter_map(|pick| {
            let remote = pick.tool.as_deref()?;
            tool_name(&pick.server, remote).ok()
        });
        self.own.iter().cloned().chain(of_servers).collect()
    }
}

/// No tool of the descriptor may have a name that tools of its servers have.
fn names_are_free(node: &Node, servers: &Servers, reporter: &mut Reporter<'_>) {
    let Content::Mapping(entries) = &node.content else {
        return;
    };
    for (key, _) in entries {
        let Some((alias, _rest)) = key.text.split_once("__") else {
            continue;
        };
        if servers.has(alias) {
            let message = format!(
                "`tools`: names that begin with `{alias}__` belong to the tools of the server `{alias}`; choose another"
            );
            reporter.report(key.at, codes::RESERVED_NAME, message);
        }
    }
}

fn tool_names(
    node: &Node,
    path: &str,
    declared: Sections<'_>,
    reporter: &mut Reporter<'_>,
) -> Option<Listed> {
    let tools = declared.tools;
    let (mut of_servers, mut lacks_some) = (Vec::<ServerTools>::new(), false);
    let mut names: Vec<ToolName> = Vec::new();
    for node in sequence(node, path, "[list, read]", reporter)? {
        let Some(name) = text(node, path, reporter) else {
            continue;
        };
        if let Some(of_server) = name.split_once('.') {
            match servers::pick(of_server, node, path, declared.servers, reporter) {
                None => lacks_some = true,
                Some(pick) if of_servers.contains(&pick) => {
                    let message = format!("`{path}` lists {} twice", listed(&[name]));
                    reporter.report(node.at, codes::DUPLICATE_NAME, message);
                }
                Some(pick) => of_servers.push(pick),
            }
            continue;
        }
        let is_known = name.parse::<Builtin>().is_ok() || tools.is_none_or(|tools| tools.has(name));
        if !is_known {
            let builtins = Builtin::ALL.map(Builtin::as_str);
            let declared = tools.into_iter().flat_map(Declared::names);
            let message = format!(
                "`{path}`: there is no tool `{}`; {}",
                shown(name),
                advice(name, builtins.into_iter().chain(declared))
            );
            reporter.report(node.at, codes::UNKNOWN_NAME, message);
            continue;
        }
        // A bad name that is declared has been reported there.
        let Ok(name) = ToolName::new(name) else {
            continue;
        };
        if names.contains(&name) {
            let message = format!("`{path}` lists {} twice", listed(&[name.as_str()]));
            reporter.report(node.at, codes::DUPLICATE_NAME, message);
            continue;
        }
        names.push(name);
    }
    Some(Listed {
        own: names,
        of_servers,
        lacks_some,
    })
}
